"""Windows cut on the fly against one NIfTI file per 5-slice window, read back through MONAI.

The file way is the one of TransSeg's code: image and label of every window stored by themselves, float64,
gzipped; each read, resized to the network's size, zoomed in all three axes, cropped, scaled, flipped,
turned, shifted and padded. A second baseline favours files: stored in the type of the volume's file,
not compressed, read without MONAI's meta tensors. Both read from a warm file cache. One process each.
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import medseg.compat  # noqa: F401  isort: skip
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
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

from benchmarks.measure import Aim, Options, Row, median_seconds
from benchmarks.subject import subject
from medseg.config import resolve
from medseg.data.cases import LoadedCase, WindowFeed, load_case
from medseg.data.layouts import Case
from medseg.data.windows import window_indices

NAME = "windows"
AREA_AND_NEAREST = ("area", "nearest")


@dataclass(frozen=True)
class Stored:
    """How window files are written: their suffix, and float64 or the type of the volume's own file."""

    suffix: str
    source_type: bool


OFFICIAL, FAVOURED = Stored(".nii.gz", source_type=False), Stored(".nii", source_type=True)
SMALL = Stored(".nii.gz", source_type=True)


def run(options: Options) -> list[Row]:
    batch = resolve("full").train.batch
    windows, repeats = (4, 2) if options.quick else (4 * batch, 7)
    with subject(options.quick) as (card, cases, scratch):
        fit = {"in_channels": len(card.channels), "classes": len(card.labels)}
        config = resolve("full", {"model": fit})
        model = config.model
        start = time.perf_counter()
        loaded = [load_case(case, card) for case in cases]
        loading = time.perf_counter() - start
        original = sum(_size(path) for case in cases for path in (case.image, case.labels) if path)
        files = {
            how: write_windows(loaded, cases, scratch / str(i), how, model.slices)
            for i, how in enumerate((OFFICIAL, FAVOURED, SMALL))
        }
        low, high = np.percentile(loaded[0].volume.array, (0.5, 99.5))
        steps = windows // batch or 1
        feed = WindowFeed(loaded, model, config.augment, windows // steps, 1, all_slices=False)
        full_feed = WindowFeed(loaded, model, config.augment, windows // steps, 1, all_slices=True)
        transforms = official_transforms(model.image_px, model.slices, float(low), float(high))
        order = np.random.default_rng(1).integers(len(files[OFFICIAL]), size=(repeats + 1, windows))

        def on_the_fly(source: WindowFeed, turn: int) -> None:
            for step in range(turn * steps, (turn + 1) * steps):
                source.at(step)

        def from_files(how: Stored, turn: int) -> None:
            set_track_meta(how is OFFICIAL)
            try:
                read_back([files[how][i] for i in order[turn]], transforms)
            finally:
                set_track_meta(True)

        seconds = median_seconds(
            {
                "ours": lambda turn: on_the_fly(feed, turn),
                "ours, all": lambda turn: on_the_fly(full_feed, turn),
                "official": lambda turn: from_files(OFFICIAL, turn),
                "favoured": lambda turn: from_files(FAVOURED, turn),
            },
            repeats,
        )
        on_disk = {
            how: sum(_size(path) for pair in pairs for path in pair.values()) for how, pairs in files.items()
        }
    rate = {name: windows / value for name, value in seconds.items()}
    n = len(files[OFFICIAL])
    epoch = n / (loading + n / rate["ours"])
    where = f"{card.name}, {len(cases)} cases, {n} windows, {model.slices} slices, {model.image_px} px"
    return [
        Row(NAME, "training windows from memory against window files", "windows/s",
            rate["official"], rate["ours"], Aim("ratio", ">=", 10), where),
        Row(NAME, "the same, with the labels of all slices on both sides", "windows/s",
            rate["official"], rate["ours, all"]),
        Row(NAME, "the first epoch, the reading of all volumes included", "windows/s",
            rate["official"], epoch, note=f"{loading:.2f} s for all volumes"),
        Row(NAME, "against uncompressed files of the volume's type, no meta tensors", "windows/s",
            rate["favoured"], rate["ours"]),
        Row(NAME, "volume files against window files (images and labels)", "bytes",
            on_disk[OFFICIAL], original, Aim("ratio", "<=", 0.2), "float64, gzipped"),
        Row(NAME, "the same, window files in the volume's type", "bytes", on_disk[SMALL], original,
            note="gzipped"),
    ]  # fmt: skip


def write_windows(
    loaded: list[LoadedCase], cases: list[Case], folder: Path, how: Stored, slices: int
) -> list[dict[str, Path]]:
    """Write image and label of every window (W, H, slices), the edges clamped, the affine the identity."""
    folder.mkdir()
    pairs = []
    for case, source in zip(loaded, cases, strict=True):
        assert case.volume.labels is not None and source.labels is not None
        volumes = {"image": case.volume.array[0].transpose(), "label": case.volume.labels.transpose()}
        types = {"image": source.image, "label": source.labels}
        for center in range(volumes["image"].shape[-1]):
            pair = {}
            for key, voxels in volumes.items():
                window = voxels[..., window_indices(center, slices, voxels.shape[-1])]
                kind = _stored_type(types[key]) if how.source_type else np.dtype(np.float64)
                pair[key] = folder / f"{case.id}_{center:03d}_{key}{how.suffix}"
                nib.save(nib.Nifti1Image(window.astype(kind), np.eye(4)), pair[key])
            pairs.append(pair)
    return pairs


def official_transforms(px: int, slices: int, low: float, high: float) -> Compose:
    """The training transforms of TransSeg's code, in their order, with MONAI's current names."""
    keys, size = ("image", "label"), (px, px, slices)
    return Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys, channel_dim="no_channel"),
            Resized(keys, spatial_size=size, mode=AREA_AND_NEAREST),
            RandZoomd(keys, prob=1, min_zoom=0.5, max_zoom=2.0, mode=AREA_AND_NEAREST, keep_size=False),
            RandSpatialCropd(keys, roi_size=size, random_size=False),
            ScaleIntensityRanged(("image",), a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True),
            *(RandFlipd(keys, prob=0.1, spatial_axis=axis) for axis in range(3)),
            RandRotate90d(keys, prob=0.1, max_k=3),
            RandShiftIntensityd(("image",), offsets=0.1, prob=0.5),
            SpatialPadd(keys, spatial_size=size),
        ]
    )


def read_back(pairs: list[dict[str, Path]], transforms: Compose) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch of windows, images and labels, from their files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what MONAI says about its own future
        read: list[Any] = [transforms(pair) for pair in pairs]
    return torch.stack([r["image"] for r in read]), torch.stack([r["label"] for r in read])


def _stored_type(path: Path) -> np.dtype:
    """The type of a volume's file, without reading its voxels."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image.get_data_dtype()


def _size(path: Path) -> int:
    return path.stat().st_size
