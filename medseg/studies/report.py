"""The record of a run from what is known of it: finished, or failed with a reason."""

from dataclasses import dataclass

from medseg.config import RunConfig
from medseg.data.catalog import DatasetCard
from medseg.data.splits import Split
from medseg.encoders.checkpoints import LoadReport
from medseg.metrics.case import CaseScore
from medseg.records import provenance, schema
from medseg.records.schema import Outcome, Part, Record
from medseg.runtime import peak_bytes
from medseg.segmenter import Size
from medseg.training.loop import Fitted

SELECTION = {
    "last": "weights of the last step; no checkpoint was selected",
    "best": "weights of the best validation Dice among the steps of the curve",
    "best_on_test": "weights of the best Dice of the TEST cases among the steps of the curve",
}
TEST_USED = {
    "last": "scored once, after the last step; no choice was made on it",
    "best": "scored once, after the last step; no choice was made on it",
    "best_on_test": "it chose the weights: its score is no estimate",
}
NOT_USED = "not scored: the run did not end"


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it starts."""

    study: str
    cell: str
    config: RunConfig
    card: DatasetCard
    split: Split
    weights: LoadReport | None
    size: Size
    started: str


def finished(
    facts: Facts,
    fitted: Fitted,
    scores: dict[Part, list[CaseScore]],
    infer_s_per_case: float,
    tuned_bytes: int | None = None,
) -> Record:
    """The record of a run that reached its last step; `tuned_bytes` of the file of what was tuned."""
    return _record(
        facts,
        Outcome(status="done"),
        schema.Protocol(
            steps=facts.config.train.steps,
            batch=facts.config.train.batch,
            precision=fitted.precision,
            selection=SELECTION[facts.config.train.selection],
            test_used=TEST_USED[facts.config.train.selection],
            skipped_steps=fitted.skipped_steps,
            engine=fitted.engine.model_dump(mode="json", exclude={"loggers"}),
        ),
        schema.Cost(
            train_s=round(fitted.train_s, 1),
            infer_s_per_case=round(infer_s_per_case, 3),
            peak_bytes=max(fitted.peak_bytes, peak_bytes()),
            samples_per_s=round(fitted.samples_per_s, 2),
        ),
        schema.thinned(fitted.losses),
        {part: tuple(map(schema.row_of, rows)) for part, rows in scores.items()},
        tuned_bytes,
    )


def failed(facts: Facts, outcome: Outcome, precision: str) -> Record:
    """The record of a run that did not reach its last step: a failure is a result."""
    return _record(
        facts,
        outcome,
        schema.Protocol(
            steps=facts.config.train.steps,
            batch=facts.config.train.batch,
            precision=precision,
            selection=SELECTION[facts.config.train.selection],
            test_used=NOT_USED,
        ),
        schema.Cost(train_s=0.0, infer_s_per_case=None, peak_bytes=peak_bytes(), samples_per_s=0.0),
        (),
        {},
    )


def _record(
    facts: Facts,
    outcome: Outcome,
    protocol: schema.Protocol,
    cost: schema.Cost,
    curve: tuple[tuple[int, float], ...],
    per_case: dict[Part, tuple[schema.Row, ...]],
    tuned_bytes: int | None = None,
) -> Record:
    config, split, weights, size = facts.config, facts.split, facts.weights, facts.size
    return Record(
        identity=schema.Identity(
            study=facts.study,
            cell=facts.cell,
            fold=config.data.fold or 0,
            seed=config.train.seed,
            run_id=schema.run_id(config, split.digest, weights.sha256 if weights else None),
        ),
        outcome=outcome,
        config=config,
        data=schema.DataFacts(
            name=facts.card.name,
            title=facts.card.title,
            licence=facts.card.licence,
            md5=facts.card.md5,
            split_sha256=split.digest,
            train=split.train,
            validation=split.validation,
            test=split.test,
            regions=facts.card.regions,
        ),
        weights=_weights(weights, config),
        model=schema.ModelFacts(
            parameters=size.parameters,
            trainable=size.trainable,
            gmac=round(size.flops / 2e9, 4),
            input_shape=size.input_shape,
            tuned_bytes=tuned_bytes,
        ),
        protocol=protocol,
        curve=curve,
        per_case=per_case,
        cost=cost,
        environment=provenance.environment(),
        code=provenance.code(),
        started=facts.started,
        finished=provenance.now(),
    )


def _weights(report: LoadReport | None, config: RunConfig) -> schema.WeightsFacts:
    if report is None:
        return schema.WeightsFacts(source=None, sha256=None, rule=None, keys={}, coverage=None, drawn=None)
    return schema.WeightsFacts(
        source=report.source,
        sha256=report.sha256,
        rule=config.model.inflation,
        keys=report.counts(),
        coverage=round(report.coverage, 6),
        drawn=round(report.drawn, 6),
        decoder_keys=report.decoder.counts() if report.decoder else {},
    )
