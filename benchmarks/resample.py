"""Resize, zoom and flip of windows in one pass by two matrices, against grid_sample and MONAI's transforms.

`grid_sample` takes the slices of a window as channels of one plane, so that it too makes its grid once;
its result is the same map. MONAI's Resize and Zoom are two passes (area and nearest), and zoom depth too.
"""

import warnings

import torch
from torch import Tensor
from torch.nn import functional

import medseg.compat  # noqa: F401  isort: skip
from monai.data import set_track_meta
from monai.transforms import Resize, Zoom

from benchmarks.measure import Options, Row, median_seconds
from benchmarks.subject import subject
from medseg.config import AugmentConfig, resolve
from medseg.data.cases import load_case
from medseg.data.transforms import LOW, PlaneMap, draw_plane, resample
from medseg.data.windows import cut
from medseg.runtime import generator_for

NAME = "resample"
LARGE_PX = 512

# One window: image (C, D, H, W), labels (1, D, H, W) and where its output's pixels lie.
Sample = tuple[Tensor, Tensor, PlaneMap]


def run(options: Options) -> list[Row]:
    config = resolve("full")
    count, repeats = (2, 2) if options.quick else (32, 7)
    with subject(options.quick) as (card, cases, _):
        loaded = [load_case(case, card) for case in cases[:count]]
    planes = [plane_of(config.augment, i) for i in range(count)]
    small = []
    for i, plane in enumerate(planes):
        case = loaded[i % len(loaded)]
        center = i % case.image.shape[1]
        small.append((cut(case.image, center, 5), cut(case.labels, center, 5).float(), plane))
    rows = _compare(small, config.model.image_px, repeats, f"{card.name}, {tuple(small[0][0].shape[-2:])}")
    side = 64 if options.quick else LARGE_PX
    noise = torch.rand(1, 5, side, side, generator=generator_for(1, "noise")) * 2 - 1
    large = [(noise, (noise > 0).float(), plane) for plane in planes[: max(2, count // 4)]]
    return rows + _compare(large, side, repeats, f"noise, {tuple(noise.shape[-2:])}")


def _compare(samples: list[Sample], px: int, repeats: int, where: str) -> list[Row]:
    def every(way: object) -> object:
        return lambda _: [way(window, plane, px, nearest)  # type: ignore[operator]
                          for image, label, plane in samples
                          for window, nearest in ((image, False), (label, True))]  # fmt: skip

    ways = {"ours": resample, "grid": by_grid, "monai": by_monai}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_track_meta(False)
        try:
            seconds = median_seconds({name: every(way) for name, way in ways.items()}, repeats)  # type: ignore[misc]
        finally:
            set_track_meta(True)
    rate = {name: len(samples) / value for name, value in seconds.items()}
    error = max(
        float((resample(image, plane, px) - by_grid(image, plane, px, False)).abs().max())
        for image, _, plane in samples
    )
    same = [
        (resample(label, plane, px, nearest=True) == by_grid(label, plane, px, True)).float().mean()
        for _, label, plane in samples
    ]
    agreement = f"largest difference {error:.1e}; equal labels {float(torch.stack(same).mean()):.5f}"
    return [
        Row(NAME, f"{where} to {px} px: grid_sample", "windows/s", rate["grid"], rate["ours"],
            note=agreement),
        Row(NAME, f"{where} to {px} px: MONAI Resize and Zoom", "windows/s", rate["monai"], rate["ours"],
            note="without meta tensors, crop and pad"),
    ]  # fmt: skip


def plane_of(augment: AugmentConfig, number: int) -> PlaneMap:
    """The plane map of the training transforms for one window."""
    return draw_plane(augment, generator_for(1, "plane", number))[0]


def by_grid(window: Tensor, plane: PlaneMap, px: int, nearest: bool) -> Tensor:
    """The same map as `medseg.data.transforms.resample`, by affine_grid and grid_sample."""
    (shift_h, shift_w), (flip_h, flip_w) = plane.center_hw, plane.flip_hw
    scale_h, scale_w = ((-1 if flip else 1) / plane.zoom for flip in (flip_h, flip_w))
    theta = torch.tensor([[[scale_w, 0.0, shift_w], [0.0, scale_h, shift_h]]])
    slices = window.flatten(0, 1)[None]
    grid = functional.affine_grid(theta, [1, slices.shape[1], px, px], align_corners=False)
    outside = 0.0 if nearest else LOW
    mode = "nearest" if nearest else "bilinear"
    sampled = functional.grid_sample(slices - outside, grid, mode, "zeros", align_corners=False) + outside
    return sampled.view(*window.shape[:2], px, px).rot90(plane.quarter_turns, (-2, -1))


def by_monai(window: Tensor, plane: PlaneMap, px: int, nearest: bool) -> Tensor:
    """MONAI's Resize and Zoom of one window, as TransSeg's code has them (depth last)."""
    mode = "nearest" if nearest else "area"
    resized = Resize((px, px, window.shape[1]), mode=mode)(window.movedim(1, -1))
    return torch.as_tensor(Zoom(plane.zoom, mode=mode, keep_size=False)(resized))
