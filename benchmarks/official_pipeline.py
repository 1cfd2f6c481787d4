"""The data path of TransSeg's code, from its description: one file a slice, transforms in its order, fp32.

Every slice lies on disk with its neighbours as a small volume of its own (edges repeated, no affine). A step
reads such files, resizes, zooms all three axes by one factor, crops, scales, flips, turns, shifts and
pads. Files are not compressed: where the description leaves a choice, the faster one is taken.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import medseg.compat  # noqa: F401  isort: skip
import nibabel as nib
import numpy as np
import torch
from monai.data import Dataset
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
    ScaleIntensityRanged,
    SpatialPadd,
)

from benchmarks.plain_loop import BOTH, IMAGE, LABEL, train_on
from medseg.config import RunConfig
from medseg.data.layouts import Case
from medseg.data.volume import read
from medseg.data.windows import window_indices

PRECISION = "32-true"
AREA_AND_NEAREST = ("area", "nearest")
# TransSeg's clip of the hippocampus; the speed does not depend on it.
CLIP = (29.0, 205_431.0)
ZOOM = (0.5, 2.0)


def write_slices(cases: list[Case], folder: Path, slices: int) -> None:
    """Write every slice of the cases with its neighbours, image and label, as (H, W, slices) NIfTI files."""
    for case in cases:
        volume = read(case.image, case.labels)
        assert volume.labels is not None
        for center in range(volume.labels.shape[0]):
            chosen = window_indices(center, slices, volume.labels.shape[0])
            arrays = {IMAGE: volume.array[0, chosen], LABEL: volume.labels[chosen].astype(np.uint8)}
            for name, array in arrays.items():
                file = nib.Nifti1Image(np.moveaxis(array, 0, -1), np.eye(4))
                nib.save(file, folder / f"{case.id}_{center:03d}_{name}.nii")


def train_officially(config: RunConfig, folder: Path, workers: int, on_step: Callable[[int], None]) -> None:
    """Train the network of `config` on the slice files of `folder` in float32.

    Args:
        config: a run of a network that predicts the centre slice of single-channel windows.
        folder: what `write_slices` wrote.
        workers: processes of the data loader.
        on_step: called after every step with its number, from 1.
    """
    images = sorted(folder.glob(f"*_{IMAGE}.nii"))
    files = [{IMAGE: str(path), LABEL: str(path).replace(f"_{IMAGE}.", f"_{LABEL}.")} for path in images]
    train_on(partial(Dataset, files, transforms(config)), config, PRECISION, workers, on_step)


def transforms(config: RunConfig) -> Compose:
    """Image (slices, H, W) and the label of the centre slice (1, H, W) of a slice file."""
    slices, px = config.model.slices, config.model.image_px
    size = (px, px, slices)
    return Compose(
        [
            LoadImaged(BOTH),
            EnsureChannelFirstd(BOTH, channel_dim="no_channel"),
            Resized(BOTH, size, mode=AREA_AND_NEAREST),
            RandZoomd(
                BOTH, prob=1.0, min_zoom=ZOOM[0], max_zoom=ZOOM[1], mode=AREA_AND_NEAREST, keep_size=False
            ),
            RandSpatialCropd(BOTH, roi_size=size, random_size=False),
            ScaleIntensityRanged(IMAGE, *CLIP, 0.0, 1.0, clip=True),
            *(RandFlipd(BOTH, prob=0.1, spatial_axis=axis) for axis in range(3)),
            RandRotate90d(BOTH, prob=0.1, max_k=3),
            RandShiftIntensityd(IMAGE, offsets=0.1, prob=0.5),
            SpatialPadd(BOTH, size),
            Lambdad(IMAGE, lambda window: window[0].movedim(-1, 0)),
            Lambdad(LABEL, lambda window: window[..., slices // 2]),
            EnsureTyped(LABEL, dtype=torch.long, track_meta=False),
            EnsureTyped(IMAGE, track_meta=False),
        ]
    )
