"""The training loop, two pages: Fabric runs it on any number of devices, in the precision of the plan."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric
from torch.distributed.checkpoint.state_dict import get_state_dict, set_model_state_dict, set_state_dict

from medseg.config import RunConfig
from medseg.data.cases import TrainingCase
from medseg.encoders.checkpoints import LoadReport
from medseg.errors import Interrupted
from medseg.runtime import Stopwatch, peak_bytes, seed_for
from medseg.segmenter import Segmenter, build
from medseg.training import checkpoint, devices, memory, precision, run_folder
from medseg.training.batches import Batches
from medseg.training.checkpoint import WHOLE
from medseg.training.engine import Engine, settled
from medseg.training.interruption import TRAINED, watched
from medseg.training.losses import DiceFocal
from medseg.training.optimizer import adamw, lay_out
from medseg.training.progress import Progress
from medseg.training.readings import Readings
from medseg.training.reporter import Reporter
from medseg.training.schedules import slanted_triangle
from medseg.training.state import TrainingState
from medseg.training.validation import ScoreCase, validate

# Reading a number from a GPU waits for it; on a CPU it costs nothing.
READ_EVERY = {"cpu": 1, "cuda": 10}


@dataclass(frozen=True)
class Fitted:
    """A trained network, what was loaded into it and what the training cost."""

    segmenter: Segmenter
    weights: LoadReport | None
    losses: list[float]
    validations: list[tuple[int, float]]
    skipped_steps: int
    train_s: float
    peak_bytes: int
    samples_per_s: float
    precision: str
    engine: Engine


def fit(
    config: RunConfig,
    cases: Sequence[TrainingCase],
    run_dir: Path,
    resume: bool = False,
    on_step: Callable[[Progress], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    validation: Sequence[TrainingCase] = (),
    engine: Engine | None = None,
    fabric: Fabric | None = None,
    score: ScoreCase | None = None,
) -> Fitted:
    """Train one network on the given cases.

    Args:
        config: the whole run.
        cases: training cases, in the order of the split.
        run_dir: takes checkpoints, loss curve and progress.
        resume: go on from the newest whole checkpoint in `run_dir`, on any number of devices. On one CPU
            process the resumed run ends with the same bits.
        on_step: called after every step, in the first process.
        on_start: called once with a line on the data path, in the first process.
        validation: cases scored every `validate_every` steps.
        engine: how it is computed; one device where None.
        fabric: processes that were launched before.
        score: what is scored of a validation case; its labels where None.

    Raises:
        InputError: nothing to resume, or a batch that the processes cannot share.
        FloatingPointError: loss or gradient is not a number; the message names the cases of the batch.
        Interrupted: SIGTERM or Ctrl-C arrived; the run was saved.
        OutOfMemory: it does not fit; the message says what would.
    """
    train = config.train
    segmenter, report = build(config.model, train.seed)
    chosen = precision.plan(train.precision, segmenter)
    engine = settled(engine or Engine(), chosen)
    fabric = fabric or devices.launch(engine, chosen, run_dir)
    share = devices.Share.of(fabric, train, segmenter)
    network = devices.prepare(segmenter, engine, fabric)
    adam = adamw(segmenter, train, bool(engine.fused))
    optimizer: Any = fabric.setup_optimizers(adam)
    if resume:
        state = checkpoint.load(run_dir, config.digest())
        set_state_dict(
            segmenter, adam, model_state_dict=state.model, optim_state_dict=state.optimizer, options=WHOLE
        )
        lay_out(adam)
        fabric._precision.load_state_dict(state.scaler)
    else:
        state = TrainingState.fresh(config.digest())
        devices.on_first(fabric, lambda: checkpoint.clear(run_dir))
    batches = Batches(config, cases, segmenter.target == "all", share, fabric.device, engine)
    if on_start and fabric.is_global_zero:
        on_start(batches.statement)
    coming = batches.since(state.step)
    reporter, readings = Reporter(fabric, run_dir, train, on_step), Readings(fabric)
    loss_of, watch, earlier_s = DiceFocal(), Stopwatch(), state.train_s
    network.train()
    with watched() as interruption, memory.explained(train, fabric.world_size), closing(coming):
        for step in range(state.step, train.steps):
            for group in optimizer.param_groups:
                group["lr"] = train.lr * slanted_triangle(step, train.warmup_steps, train.steps)
            total = torch.zeros((), device=fabric.device)
            for part in range(train.accumulate):
                torch.manual_seed(seed_for(train.seed, "forward", step))
                share.tell(segmenter, part)
                images, labels = next(coming)
                with devices.gradients_stay_here(fabric, network, part + 1 < train.accumulate):
                    loss = loss_of(network(images), labels) / train.accumulate
                    fabric.backward(loss)
                total += loss.detach()
            norm = fabric.clip_gradients(
                network, optimizer, max_norm=train.clip_norm, error_if_nonfinite=False
            )
            optimizer.step()
            optimizer.zero_grad()
            readings.add(total, norm, interruption.asked)
            done, last = step + 1, step + 1 == train.steps
            scoring = train.validate_every is not None and (last or done % train.validate_every == 0)
            saving = scoring or last or done % train.checkpoint_every == 0
            if not saving and len(readings) < READ_EVERY[fabric.device.type]:
                continue
            stopping = False
            for reading in readings.read():
                # An overflow under a gradient scaler is no error: it skips the step and lowers its scale.
                reading.check(len(state.losses), chosen.scaler, batches.names_at)
                state.skipped += reading.overflow
                state.losses.append(reading.loss)
                reporter.tell(state)
                stopping |= reading.stop
            if scoring:
                dice = validate(segmenter, validation, config.model, chosen, fabric, engine, score)
                state.validations.append((done, dice))
                reporter.scored(done, dice)
            if saving or stopping:
                state.step, state.train_s = done, earlier_s + watch.seconds()
                state.model, state.optimizer = get_state_dict(segmenter, adam, options=WHOLE)
                state.scaler = fabric._precision.state_dict()
                devices.on_first(fabric, lambda: run_folder.save_state(state, train, run_dir, engine.keep))
            if stopping:
                raise Interrupted(
                    TRAINED if last else f"saved after step {done} of {train.steps}; go on with --resume"
                )
        if interruption.asked:  # while the last validation ran
            raise Interrupted(TRAINED)
    if train.selection != "last" and state.best is not None:
        weights = checkpoint.best_weights(state, run_dir)
        set_model_state_dict(segmenter, weights, options=WHOLE)
    return Fitted(
        segmenter=segmenter,
        weights=report,
        losses=state.losses,
        validations=state.validations,
        skipped_steps=state.skipped,
        train_s=state.train_s,
        peak_bytes=peak_bytes(),
        samples_per_s=train.steps * train.batch / state.train_s,
        precision=chosen.choice,
        engine=engine,
    )
