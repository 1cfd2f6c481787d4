"""The baseline of `training`: the loop that the public documentation of Lightning and MONAI leads to.

Where the documentation leaves a choice, the faster one is taken: volumes cached without meta tensors, windows
transformed as planes whose channels are the slices, the labels of the centre slice only, all steps in
one epoch, no logger, progress bar, checkpoint or summary.
"""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from monai.data import CacheDataset, DataLoader, Dataset, set_track_meta
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    RandShiftIntensityd,
    RandSpatialCropd,
    RandZoomd,
    Resized,
    ScaleIntensityRangePercentilesd,
)
from torch import Tensor
from torch.utils.data import RandomSampler

from medseg.config import RunConfig
from medseg.data.layouts import Case
from medseg.data.transforms import HIGH, LOW, PERCENTILES
from medseg.segmenter import build
from medseg.training.losses import DiceFocal
from medseg.training.schedules import slanted_triangle

IMAGE, LABEL = "image", "label"
BOTH = (IMAGE, LABEL)
LINEAR_AND_NEAREST = ("bilinear", "nearest")


def train_plainly(
    config: RunConfig, cases: list[Case], precision: str, workers: int, on_step: Callable[[int], None]
) -> None:
    """Train the network of `config` for `config.train.steps` steps with Trainer and CacheDataset.

    Args:
        config: a run of a network that predicts the centre slice of single-channel windows.
        cases: files of the training cases.
        precision: Lightning's name of it.
        workers: processes of the data loader.
        on_step: called after every step with its number, from 1.
    """
    files = [{IMAGE: str(case.image), LABEL: str(case.labels)} for case in cases]
    make = partial(CacheDataset, files, transforms(config), progress=False)
    train_on(make, config, precision, workers, on_step)


def train_on(
    make: Callable[[], Dataset],
    config: RunConfig,
    precision: str,
    workers: int,
    on_step: Callable[[int], None],
) -> None:
    """Train the network of `config` with Trainer on the windows of a MONAI data set.

    Turns MONAI's meta tensors off for the whole process, as its documentation advises for speed.

    Args:
        make: gives the data set, whose items have an image (slices, H, W) and a label (1, H, W).
        config: a run of a network that predicts the centre slice of single-channel windows.
        precision: Lightning's name of it.
        workers: processes of the data loader.
        on_step: called after every step with its number, from 1.
    """
    train, cuda = config.train, torch.cuda.is_available()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    set_track_meta(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the two libraries say about their own future
        data = make()
        loader = DataLoader(
            data,
            batch_size=train.batch,
            # Few volumes: with one window of each an epoch would be over in a step or two.
            sampler=RandomSampler(data, replacement=True, num_samples=train.steps * train.batch),
            num_workers=workers,
            pin_memory=cuda,
        )
        trainer = Trainer(
            max_steps=train.steps,
            accelerator="auto",
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            gradient_clip_val=train.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Call(on_step)],
        )
        trainer.fit(PlainModule(config), loader)


class PlainModule(LightningModule):
    """The network, the loss and the optimiser of a run, as Lightning wants them."""

    def __init__(self, config: RunConfig):
        super().__init__()
        self.train_config = config.train
        self.network, _ = build(config.model, config.train.seed)
        self.loss = DiceFocal()

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The loss of one batch; windows come as (B, slices, H, W)."""
        return self.loss(self.network(batch[IMAGE][:, None]), batch[LABEL])

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule, a step at a time."""
        train = self.train_config
        optimizer = torch.optim.AdamW(self.parameters(), lr=train.lr, weight_decay=train.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: slanted_triangle(step, train.warmup_steps, train.steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def transforms(config: RunConfig) -> Compose:
    """Load, normalise (cached up to here), then cut and augment: image (slices, H, W), label (1, H, W).

    The crop and pad of the zoom are MONAI's own, about the middle: less work than ours at random places.
    """
    model, augment = config.model, config.augment
    low, high = PERCENTILES
    middle = model.slices // 2
    px = (model.image_px, model.image_px)
    return Compose(
        [
            LoadImaged(BOTH),
            EnsureChannelFirstd(BOTH, channel_dim="no_channel"),
            ScaleIntensityRangePercentilesd(IMAGE, low, high, LOW, HIGH, clip=True),
            EnsureTyped(BOTH, track_meta=False),
            RandSpatialCropd(BOTH, roi_size=(-1, -1, model.slices), random_size=False),
            *(RandFlipd(BOTH, prob=augment.flip_p, spatial_axis=axis) for axis in range(3)),
            RandRotate90d(BOTH, prob=augment.rotate90_p, max_k=3),
            Lambdad(IMAGE, lambda window: window[0].movedim(-1, 0)),
            Lambdad(LABEL, lambda window: window[..., middle]),
            Resized(BOTH, px, mode=LINEAR_AND_NEAREST),
            RandZoomd(
                BOTH, prob=1.0, min_zoom=augment.zoom[0], max_zoom=augment.zoom[1], mode=LINEAR_AND_NEAREST
            ),
            RandShiftIntensityd(IMAGE, offsets=augment.shift * (HIGH - LOW), prob=augment.shift_p),
            EnsureTyped(LABEL, dtype=torch.long),
        ]
    )


class _Call(Callback):
    def __init__(self, on_step: Callable[[int], None]):
        self.on_step = on_step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        self.on_step(trainer.global_step)
