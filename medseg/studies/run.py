"""One configuration on one data set: train, predict, score, record."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import numpy as np
from lightning.fabric import Fabric

from medseg.batch.lock import sole_in
from medseg.config import DataConfig, RunConfig
from medseg.data import cache
from medseg.data.cases import load_case, to_label_values
from medseg.data.catalog import DatasetCard, clipped
from medseg.data.layouts import Case, read_folder
from medseg.data.splits import Split, split_cases
from medseg.errors import OutOfMemory
from medseg.inference.slice_windows import predict
from medseg.metrics.case import CaseScore
from medseg.metrics.regions import check_enhancing, score_as_card
from medseg.records import provenance, store
from medseg.records.schema import Outcome, Part, Record
from medseg.runtime import Stopwatch, count_peak_anew
from medseg.segmenter import Segmenter, build, measure_size
from medseg.studies.fitted import fitted_to
from medseg.studies.report import Facts, failed, finished
from medseg.training import checkpoint, devices, memory, run_folder
from medseg.training.engine import Engine, settled
from medseg.training.interruption import TRAINED, ended_at_once
from medseg.training.loop import fit
from medseg.training.precision import PrecisionPlan, plan
from medseg.training.progress import Progress


@dataclass(frozen=True)
class Data:
    """A data set on disk: card, cases by id, and a split of them."""

    card: DatasetCard
    cases: dict[str, Case]
    split: Split

    def asked(self, config: DataConfig) -> "Data":
        """The same cases, split and normalised as a configuration asks.

        Raises:
            InputError: a fold that the data set does not have.
        """
        split = split_cases(list(self.cases), self.card.name, config.split_seed, config.fold)
        return replace(self, card=clipped(self.card, config.clip), split=split.with_train(config.train_cases))


def open_data(folder: Path, split_seed: int) -> Data:
    """Read a folder, whatever its layout, and split it by the paper's rule."""
    card, cases = read_folder(folder)
    split = split_cases([case.id for case in cases], card.name, split_seed)
    return Data(card, {case.id: case for case in cases}, split)


def run_one(
    config: RunConfig,
    data: Data,
    run_dir: Path,
    study: str = "own_data",
    cell: str = "train",
    resume: bool = False,
    overwrite: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> Record:
    """Run one configuration to its record; the folder keeps checkpoints, trained network and record.

    Training sees the training part only, and the validation part where the configuration asks for it.
    Validation and test cases are scored once with the weights that the configuration selects. A run that
    does not fit in memory, or whose loss is not a number, leaves a record of that and raises.

    Raises:
        InputError: bad data, a folder that holds a run or in which another process is at work, weights that
            do not fit, a full disk.
        OutOfMemory: the run does not fit; FloatingPointError: its loss or gradient is not a number.
        Interrupted: SIGTERM arrived, in training or in scoring; the run was saved and can be gone on with.
    """
    with ExitStack() as held:
        return _run(
            held,
            config,
            data,
            Path(run_dir),
            study,
            cell,
            resume,
            overwrite,
            on_step,
            on_start,
            engine or Engine(),
        )


def _run(
    held: ExitStack,
    config: RunConfig,
    data: Data,
    run_dir: Path,
    study: str,
    cell: str,
    resume: bool,
    overwrite: bool,
    on_step: Callable[[Progress], None] | None,
    on_start: Callable[[str], None] | None,
    engine: Engine,
) -> Record:
    """See `run_one`; the folder is held until the stack is closed."""
    config = fitted_to(config, data.card)
    data = data.asked(config.data)
    started = provenance.now()
    count_peak_anew()
    # Everything that can be refused is refused before the folder is touched.
    check_enhancing(data.card, config.data.least_enhancing_voxels)
    size = measure_size(config.model)
    network, weights = build(config.model, config.train.seed)
    chosen = plan(config.train.precision, network)
    fabric = devices.launch(settled(engine, chosen), chosen, run_dir)
    devices.Share.of(fabric, config.train, network)
    facts = Facts(study, cell, config, data.card, data.split, weights, size, started)
    there = devices.on_first(fabric, lambda: _hold(held, run_dir))
    try:
        with memory.explained(config.train, fabric.world_size):
            train, validation = _volumes(config, data, engine, run_dir)
            asked = run_folder.Run(config=config, card=data.card)
            resume = devices.on_first(
                fabric, lambda: _prepared(held, run_dir, asked, resume, overwrite, there)
            )
            score_case = partial(_while_training, config, data)
            fitted = fit(
                config, train, run_dir, resume, on_step, on_start, validation, engine, fabric, score_case
            )
            watch = Stopwatch()
            score = partial(_score, fitted.segmenter, config, data, chosen, fabric, engine)
            # Nothing is kept of scoring; the last checkpoint is that of the trained network.
            with ended_at_once(TRAINED):
                parts: dict[Part, list[CaseScore]] = {
                    "validation": score(data.split.validation),
                    "test": score(data.split.test),
                }
    except (OutOfMemory, FloatingPointError) as error:
        status = "out_of_memory" if isinstance(error, OutOfMemory) else "failed"
        record = failed(facts, Outcome(status=status, reason=str(error)), chosen.choice)
        if fabric.is_global_zero:
            store.write(record, run_dir / run_folder.RECORD_FILE)
        raise
    finally:
        cache.empty(run_dir)
    infer_s = watch.seconds() / (len(data.split.validation) + len(data.split.test))
    state = checkpoint.whole_weights(fitted.segmenter)

    def keep() -> Record:
        with run_folder.writing("the trained network", run_dir):
            run_folder.save_model(state, run_dir)
            tuned_bytes = run_folder.save_tuned(state, config.model, run_dir)
            record = finished(facts, fitted, parts, infer_s, tuned_bytes)
            store.write(record, run_dir / run_folder.RECORD_FILE)
        return record

    return devices.on_first(fabric, keep)


def _volumes(
    config: RunConfig, data: Data, engine: Engine, run_dir: Path
) -> tuple[list[cache.CachedCase], list[cache.CachedCase]]:
    """Training volumes, and those that choose or are looked at while training, where that is asked."""
    limit = int(engine.cache_gb * 1e9) if engine.cache_gb else cache.free_bytes() // (2 * engine.devices)

    def load(names: Sequence[str], limit_bytes: int) -> list[cache.CachedCase]:
        return cache.fill(names, lambda name: load_case(data.cases[name], data.card), limit_bytes, run_dir)

    train = load(data.split.train, limit)
    left = limit - cache.size_bytes(case for case in train if not case.mapped)
    looked_at = data.split.test if config.train.selection == "best_on_test" else data.split.validation
    return train, load(looked_at if config.train.validate_every else (), left)


def _hold(held: ExitStack, run_dir: Path) -> bool:
    """Keep other processes out of a folder that is there, until the stack is closed; whether it is."""
    there = run_dir.is_dir()
    if there:
        held.enter_context(sole_in(run_dir))
    return there


def _prepared(
    held: ExitStack, run_dir: Path, asked: run_folder.Run, resume: bool, overwrite: bool, there: bool
) -> bool:
    """Make or accept the folder; whether there is something to go on with."""
    run_folder.prepare(run_dir, asked, resume, overwrite)
    if not there:
        _hold(held, run_dir)
    # A run that ended before its first checkpoint starts again.
    return resume and checkpoint.has_any(run_dir)


def _score(
    segmenter: Segmenter,
    config: RunConfig,
    data: Data,
    chosen: PrecisionPlan,
    fabric: Fabric,
    engine: Engine,
    names: Sequence[str],
) -> list[CaseScore]:
    """Predict and score cases, shared out over the processes; the time of scoring is small."""
    segmenter.eval()
    scores = []
    for name in devices.share_of(fabric, engine, list(names)):
        case = load_case(data.cases[name], data.card)
        assert case.volume.labels is not None
        predicted = predict(segmenter, case.image, config.model, chosen)
        predicted, spacing = to_label_values(predicted, data.card), case.volume.spacing_mm
        least = config.data.least_enhancing_voxels
        scores.append((name, score_as_card(name, predicted, case.volume.labels, data.card, spacing, least)))
    of_case = dict(devices.gathered(fabric, scores))
    return [row for name in names for row in of_case[name]]


def _while_training(
    config: RunConfig, data: Data, predicted: np.ndarray, reference: np.ndarray
) -> list[CaseScore]:
    """The rows of a record without distances, of class numbers."""
    ours, theirs = to_label_values(predicted, data.card), to_label_values(reference, data.card)
    return score_as_card("", ours, theirs, data.card, None, config.data.least_enhancing_voxels)
