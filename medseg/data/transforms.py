"""Intensity normalisation and the training transforms of TransSeg (Table 6), in one resampling.

Resize to the network's size, random zoom with crop or pad, flips and quarter turns are one map of the slice
plane, so each window is interpolated once.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medseg.config import AugmentConfig
from medseg.data.catalog import DatasetCard

# Both ends of the normalised range, as in the paper; what lies outside the image is given the lower end.
LOW, HIGH = -1.0, 1.0
PERCENTILES = (0.5, 99.5)
# Planes of this edge, before or after resampling, are resampled by weights in place of matrices.
LARGE_PX = 256


def normalise(array: np.ndarray, card: DatasetCard) -> np.ndarray:
    """Intensities to [-1, 1], clipped: a fixed window (CT, HU) or each volume's own percentiles (MRI).

    Args:
        array: float32 (C, D, H, W), raw intensities; every channel has its own percentiles.
        card: says which rule holds.
    """
    if card.normalise == "window" and card.window is not None:
        low, high = (np.full((array.shape[0], 1, 1, 1), end, np.float32) for end in card.window)
    else:
        ends = np.percentile(array.reshape(array.shape[0], -1), PERCENTILES, axis=1).astype(np.float32)
        low, high = (end[:, None, None, None] for end in ends)
    unit = (array - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    return (LOW + (HIGH - LOW) * np.clip(unit, 0, 1)).astype(np.float32)


@dataclass(frozen=True)
class PlaneMap:
    """Where the output's pixels lie in the input plane.

    Attributes:
        zoom: above 1 enlarges (a crop is seen), below 1 shrinks (the border is padded).
        center_hw: centre of the crop along height and width, in [-1, 1]; 0 is the middle.
        flip_hw: mirror along height and width.
        quarter_turns: number of 90 degree turns, done last.
    """

    zoom: float = 1.0
    center_hw: tuple[float, float] = (0.0, 0.0)
    flip_hw: tuple[bool, bool] = (False, False)
    quarter_turns: int = 0


RESIZE_ONLY = PlaneMap()


def axis_weights(n_in: int, n_out: int, zoom: float, center: float, flip: bool, nearest: bool) -> Tensor:
    """Interpolation along one axis as a matrix (n_out, n_in); rows of positions outside sum to less than 1.

    Pixels are areas: the first pixel's centre lies half a pixel inside the border.

    >>> axis_weights(2, 4, zoom=1.0, center=0.0, flip=False, nearest=True).argmax(1).tolist()
    [0, 0, 1, 1]
    """
    unit = (2 * torch.arange(n_out, dtype=torch.float64) + 1) / n_out - 1
    position = ((center + (-unit if flip else unit) / zoom + 1) * n_in - 1) / 2
    distance = position[:, None] - torch.arange(n_in, dtype=torch.float64)
    # Half-open, so that a position in the middle of two pixels takes one of them.
    weights = ((distance >= -0.5) & (distance < 0.5)) if nearest else (1 - distance.abs()).clamp(min=0)
    return weights.float()


def resample(window: Tensor, plane: PlaneMap, size_px: int, nearest: bool = False) -> Tensor:
    """Sample every slice of (C, D, H, W) at the same plane positions, giving (C, D, size_px, size_px).

    Zoom, flips and quarter turns keep the axes apart: bilinear interpolation is two products with matrices
    that have two weights a row. Outside the input an image has the lower end of the range, a label map
    (`nearest`) the background.

    Below `LARGE_PX` the products are computed as they stand, from there on by their weights alone: less work,
    and equal within 1e-6. Small planes keep the products because a recorded run is repeatable only with the
    same windows to the last bit.
    """
    outside = 0.0 if nearest else LOW
    rows, columns = (
        axis_weights(n, size_px, plane.zoom, center, flip, nearest).to(window.device)
        for n, center, flip in zip(window.shape[-2:], plane.center_hw, plane.flip_hw, strict=True)
    )
    if max(*window.shape[-2:], size_px) < LARGE_PX:
        sampled = rows @ (window - outside) @ columns.T + outside
    elif plane == RESIZE_ONLY and window.shape[-2:] == (size_px, size_px):
        sampled = window - outside + outside
    else:
        (share_h, from_h), (share_w, from_w) = (
            weights.topk(1 if nearest else min(2, weights.shape[1]), dim=1) for weights in (rows, columns)
        )
        sampled = window.new_empty(*window.shape[:2], size_px, size_px)
        # One slice after another: what is worked on stays in the processor's cache.
        for image, result in zip(window.flatten(0, 1), sampled.flatten(0, 1), strict=True):
            mixed = mix_lines(mix_lines(image - outside, from_h, share_h).T, from_w, share_w)
            result.copy_(mixed.T + outside)
    return sampled.rot90(plane.quarter_turns, (-2, -1))


def mix_lines(image: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """Weighted sums of the lines of an image (n_in, n): `index` and `share` (n_out, lines a sum)."""
    return functional.embedding_bag(index, image.contiguous(), per_sample_weights=share, mode="sum")


def draw_plane(augment: AugmentConfig, generator: torch.Generator) -> tuple[PlaneMap, bool, float]:
    """Draw one window's plane map, whether depth is reversed, and its intensity shift."""
    u = torch.rand(10, generator=generator).tolist()
    low, high = augment.zoom
    zoom = low + (high - low) * u[0]
    # A zoom above 1 sees a part 1 / zoom wide: its centre may move until the part touches the border.
    room = max(0.0, 1.0 - 1.0 / zoom)
    plane = PlaneMap(
        zoom=zoom,
        center_hw=(room * (2 * u[1] - 1), room * (2 * u[2] - 1)),
        flip_hw=(u[3] < augment.flip_p, u[4] < augment.flip_p),
        quarter_turns=1 + int(3 * u[5]) if u[6] < augment.rotate90_p else 0,
    )
    # The shift is a share of the range, as in the official code (0.1 of a range of width 1).
    offset = augment.shift * (2 * u[7] - 1) * (HIGH - LOW) if u[8] < augment.shift_p else 0.0
    return plane, u[9] < augment.flip_p, offset


def zoom_depth(window: Tensor, zoom: float, place: float, nearest: bool = False) -> Tensor:
    """Zoom (C, D, H, W) along depth to the same number of slices; beyond the ends as in `resample`.

    Args:
        window: image, or labels with `nearest`.
        zoom: above 1 a part of the slices is seen, below 1 empty slices surround them.
        place: where that part lies, from -1 (first slices) to 1.
        nearest: take slices, do not mix them.
    """
    outside, slices = 0.0 if nearest else LOW, window.shape[1]
    center = place * max(0.0, 1.0 - 1.0 / zoom)
    weights = axis_weights(slices, slices, zoom, center, False, nearest).to(window.device)
    return torch.einsum("od,cdhw->cohw", weights, window - outside) + outside


def augmented(
    image: Tensor, label: Tensor, augment: AugmentConfig, size_px: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One training window: image (C, D, H, W) and label (1, D', H, W) at the network's size.

    Depth may be reversed, but for an even window with one labelled slice: it has no middle to turn about.
    It is zoomed only where the configuration asks for what the official code does. Else the centre slice
    stays the centre slice.
    """
    plane, reverse, offset = draw_plane(augment, generator)
    if augment.depth_zoom:
        place = 2 * torch.rand(1, generator=generator).item() - 1
        image = zoom_depth(image, plane.zoom, place)
        label = zoom_depth(label, plane.zoom, place, nearest=True)
    image = resample(image, plane, size_px) + offset
    label = resample(label, plane, size_px, nearest=True)
    has_middle = image.shape[1] == label.shape[1] or image.shape[1] % 2 == 1
    return (image.flip(1), label.flip(1)) if reverse and has_middle else (image, label)
