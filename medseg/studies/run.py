"""One configuration on one data set: train, predict, score, record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medseg.config import RunConfig
from medseg.data.cases import LoadedCase, load_case, to_label_values
from medseg.data.catalog import DatasetCard
from medseg.data.layouts import Case, read_msd
from medseg.data.splits import Split, msd_split
from medseg.encoders.checkpoints import LoadReport
from medseg.inference.slice_windows import predict
from medseg.metrics.case import CaseScore, score_case
from medseg.records import provenance, schema, store
from medseg.records.schema import Record
from medseg.runtime import Stopwatch, peak_bytes
from medseg.segmenter import Segmenter, build, measure_size
from medseg.training import run_folder
from medseg.training.checkpoint import CHECKPOINT
from medseg.training.loop import Fitted, Progress, fit
from medseg.training.precision import plan

Part = Literal["validation", "test"]
SELECTION = "weights of the last step; no checkpoint was selected"
TEST_USED = "scored once, after the last step; no choice was made on it"


@dataclass(frozen=True)
class Data:
    """A data set on disk: card, cases by id, split."""

    card: DatasetCard
    cases: dict[str, Case]
    split: Split


def open_data(folder: Path, split_seed: int) -> Data:
    """Read the layout and split it by the paper's rule."""
    card, cases = read_msd(folder)
    return Data(
        card, {case.id: case for case in cases}, msd_split([c.id for c in cases], card.name, split_seed)
    )


def fitted_to(config: RunConfig, card: DatasetCard) -> RunConfig:
    """The configuration with the data set's own name, channels and classes."""
    model = config.model.model_copy(update={"classes": len(card.labels), "in_channels": len(card.channels)})
    data = config.data.model_copy(update={"name": card.name})
    return config.model_copy(update={"model": model, "data": data})


def run_one(
    config: RunConfig,
    data: Data,
    run_dir: Path,
    study: str = "own_data",
    cell: str = "train",
    resume: bool = False,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] | None = None,
) -> Record:
    """Run one configuration to its record; the folder keeps checkpoint, trained network and record.

    Training sees the training part only. Validation and test cases are scored once with the weights of
    the last step.

    Raises:
        InputError: bad data, a folder that holds a run, weights that do not fit, a full disk.
    """
    config, run_dir = fitted_to(config, data.card), Path(run_dir)
    started = provenance.now()
    # Everything that can be refused is refused before the folder is touched.
    train = [load_case(data.cases[name], data.card) for name in data.split.train]
    size = measure_size(config.model)
    build(config.model, config.train.seed)
    run_folder.prepare(run_dir, run_folder.Run(config=config, card=data.card), resume, overwrite)
    # A run that ended before its first checkpoint starts again.
    resume = resume and (run_dir / CHECKPOINT).exists()
    fitted = fit(config, train, run_dir, resume, on_step)
    run_folder.save_model(fitted.segmenter, run_dir)
    watch = Stopwatch()
    scored: dict[Part, list[CaseScore]] = {
        "validation": _score(fitted.segmenter, config, data, data.split.validation),
        "test": _score(fitted.segmenter, config, data, data.split.test),
    }
    infer_s = watch.seconds() / (len(data.split.validation) + len(data.split.test))
    sha256 = fitted.weights.sha256 if fitted.weights else None
    record = Record(
        identity=schema.Identity(
            study=study,
            cell=cell,
            fold=0,
            seed=config.train.seed,
            run_id=schema.run_id(config, data.split.digest, sha256),
        ),
        outcome=schema.Outcome(status="done"),
        config=config,
        data=_data_facts(data),
        weights=_weights_facts(fitted.weights, config),
        model=schema.ModelFacts(
            parameters=size.parameters,
            trainable=size.trainable,
            gmac=round(size.flops / 2e9, 4),
            input_shape=size.input_shape,
        ),
        protocol=schema.Protocol(
            steps=config.train.steps,
            batch=config.train.batch,
            precision=fitted.precision,
            selection=SELECTION,
            test_used=TEST_USED,
        ),
        curve=schema.thinned(fitted.losses),
        per_case={part: tuple(map(schema.row_of, rows)) for part, rows in scored.items()},
        cost=_cost(fitted, infer_s),
        environment=provenance.environment(),
        code=provenance.code(),
        started=started,
        finished=provenance.now(),
    )
    store.write(record, run_dir / run_folder.RECORD_FILE)
    return record


def _score(segmenter: Segmenter, config: RunConfig, data: Data, names: Sequence[str]) -> list[CaseScore]:
    """Predict and score cases; the time of scoring is small beside that of the forward passes."""
    segmenter.eval()
    labels, scores = sorted(set(data.card.labels) - {0}), []
    for name in names:
        case: LoadedCase = load_case(data.cases[name], data.card)
        assert case.volume.labels is not None
        predicted = predict(segmenter, case.image, config.model, plan(config.train.precision, segmenter))
        scores += score_case(
            name,
            to_label_values(predicted, data.card),
            case.volume.labels,
            labels,
            case.volume.spacing_mm,
            data.card.nsd_tolerance_mm,
        )
    return scores


def _data_facts(data: Data) -> schema.DataFacts:
    card, split = data.card, data.split
    return schema.DataFacts(
        name=card.name,
        title=card.title,
        licence=card.licence,
        md5=card.md5,
        split_sha256=split.digest,
        train=split.train,
        validation=split.validation,
        test=split.test,
    )


def _weights_facts(report: LoadReport | None, config: RunConfig) -> schema.WeightsFacts:
    if report is None:
        return schema.WeightsFacts(source=None, sha256=None, rule=None, keys={}, coverage=None, drawn=None)
    return schema.WeightsFacts(
        source=report.source,
        sha256=report.sha256,
        rule=config.model.inflation,
        keys=report.counts(),
        coverage=round(report.coverage, 6),
        drawn=round(report.drawn, 6),
    )


def _cost(fitted: Fitted, infer_s: float) -> schema.Cost:
    return schema.Cost(
        train_s=round(fitted.train_s, 1),
        infer_s_per_case=round(infer_s, 3),
        peak_bytes=max(fitted.peak_bytes, peak_bytes()),
        samples_per_s=round(fitted.samples_per_s, 2),
    )
