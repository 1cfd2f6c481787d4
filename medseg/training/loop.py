"""The training loop, one page: Fabric runs it on any device, in the precision of the plan."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric

from medseg.config import RunConfig
from medseg.data.cases import LoadedCase, WindowFeed
from medseg.encoders.checkpoints import LoadReport
from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.runtime import Stopwatch, device_kind, peak_bytes, seed_for
from medseg.segmenter import Segmenter, build
from medseg.training import checkpoint, precision
from medseg.training.losses import DiceFocal
from medseg.training.schedules import slanted_triangle

CURVE_FILE = "curve.csv"


@dataclass(frozen=True)
class Progress:
    """What the loop tells its caller after every step (steps counted from 1)."""

    step: int
    steps: int
    loss: float
    samples_per_s: float


@dataclass(frozen=True)
class Fitted:
    """A trained network, what was loaded into it and what the training cost."""

    segmenter: Segmenter
    weights: LoadReport | None
    losses: list[float]
    train_s: float
    peak_bytes: int
    samples_per_s: float
    precision: str


def fit(
    config: RunConfig,
    cases: Sequence[LoadedCase],
    run_dir: Path,
    resume: bool = False,
    on_step: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Train one network on the given cases; the last step's weights are the result, none is selected.

    Args:
        config: the whole run.
        cases: training cases, in the order of the split.
        run_dir: takes the checkpoint and the loss curve.
        resume: go on from the checkpoint in `run_dir`. On a CPU the resumed run ends with the same bits.
        on_step: called after every step.

    Raises:
        InputError: the checkpoint to resume from is missing, damaged or of another configuration.
        FloatingPointError: the loss is not a number; the message names the cases of the batch.
    """
    train = config.train
    segmenter, report = build(config.model, train.seed)
    chosen = precision.plan(train.precision, segmenter)
    fabric = Fabric(accelerator=device_kind(), devices=1, plugins=[precision.plugin(chosen)])
    model, optimizer = fabric.setup(segmenter, _optimizer(segmenter, config))
    feed = WindowFeed(cases, config.model, config.augment, train.batch, train.seed, segmenter.target == "all")
    loss_of, losses, done, earlier_s = DiceFocal(), [], 0, 0.0
    if resume:
        state = checkpoint.load(run_dir, config.digest())
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        fabric._precision.load_state_dict(state.scaler)
        losses, done, earlier_s = state.losses, state.step, state.train_s
    watch = Stopwatch()
    model.train()
    for step in range(done, train.steps):
        torch.manual_seed(seed_for(train.seed, "forward", step))
        for group in optimizer.param_groups:
            group["lr"] = train.lr * slanted_triangle(step, train.warmup_steps, train.steps)
        images, labels = (fabric.to_device(part) for part in feed.at(step))
        loss = loss_of(model(images), labels)
        if not torch.isfinite(loss):
            names = sorted({cases[case].id for case, _ in feed.index.at(step)})
            raise FloatingPointError(f"loss is {loss.item()} at step {step + 1}; cases of the batch: {names}")
        fabric.backward(loss)
        # An overflow under a gradient scaler is no error: the scaler skips the step and lowers its scale.
        fabric.clip_gradients(
            model, optimizer, max_norm=train.clip_norm, error_if_nonfinite=not chosen.scaler
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        speed = (step + 1 - done) * train.batch / watch.seconds()
        if (step + 1) % train.checkpoint_every == 0 or step + 1 == train.steps:
            state = checkpoint.TrainingState(
                step=step + 1,
                model=segmenter.state_dict(),
                optimizer=optimizer.state_dict(),
                scaler=fabric._precision.state_dict(),
                losses=losses,
                train_s=earlier_s + watch.seconds(),
                config_digest=config.digest(),
            )
            _save(state, run_dir)
        if on_step:
            on_step(Progress(step + 1, train.steps, losses[-1], speed))
    train_s = earlier_s + watch.seconds()
    return Fitted(
        segmenter, report, losses, train_s, peak_bytes(), train.steps * train.batch / train_s, chosen.choice
    )


def _optimizer(segmenter: Segmenter, config: RunConfig) -> torch.optim.Optimizer:
    """AdamW; biases, norms and embeddings are not decayed (the official code decays LayerNorm weights)."""
    named = list(segmenter.named_parameters())
    plain = {n for n, p in named if p.ndim == 1 or n.endswith(("pos_embed", "cls_token", "reg_token"))}
    groups = [
        {"params": [p for n, p in named if n not in plain], "weight_decay": config.train.weight_decay},
        {"params": [p for n, p in named if n in plain], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.train.lr)


def _save(state: checkpoint.TrainingState, run_dir: Path) -> None:
    rows = "".join(f"{step},{loss!r}\n" for step, loss in enumerate(state.losses, start=1))
    try:
        checkpoint.save(state, run_dir)
        write_atomic(run_dir / CURVE_FILE, "step,loss\n" + rows)
    except OSError as error:
        raise InputError(
            f"checkpoint of step {state.step} cannot be written to {run_dir}",
            expected="a folder with room for the checkpoint",
            got=os.strerror(error.errno) if error.errno else str(error),
            do="free some space and go on with --resume; the previous checkpoint is whole",
        ) from error
