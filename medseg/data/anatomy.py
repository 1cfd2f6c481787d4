"""The drawn anatomy of a phantom: structures that one slice alone does not tell apart.

A body (an ellipse of fourth power) holds three labelled structures. Two pairs of things share a tissue, and
intensity depends on the tissue only, so that some slices cannot be labelled without their neighbours:

* Vessel (label 2) and nodule (label 3) are discs of the same tissue. In every slice each disc is a copy,
  moved by whole voxels, of one disc of the case. The two vessels run through all slices; a nodule is on three
  slices and ends. Places and drift are drawn alike for both. In a slice with more than two discs nothing but
  the slices around it (two up, two down) says which are the vessels.
* The organ (label 1) touches, on single slices, its own mirror image (background, same tissue). The union is
  mirror symmetric, so that neither its outline nor its intensity says which half is the organ, nor where the
  organ ends inside the union. On the slices above and below, only the organ is there.
"""

from dataclasses import dataclass

import numpy as np

SHAPE = (48, 40, 16)  # canonical x, y, z
AIR, BODY, ORGAN, VESSEL = range(4)  # tissues
NODULE_SLICES = 3


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What is where, before intensities: integer maps with axes x, y, z (canonical RAS order)."""

    tissue: np.ndarray
    labels: np.ndarray


def anatomy(seed: int, index: int) -> Anatomy:
    """Tissue and label map of one case; the same seed and index give the same maps."""
    rng = np.random.default_rng([seed, index, 0])
    tissue = np.full(SHAPE, AIR, dtype=np.uint8)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    x, y, _ = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    body = ((x - 23.5) / 23.0) ** 4 + ((y - 19.5) / 19.0) ** 4 <= 1.0
    tissue[np.broadcast_to(body, SHAPE)] = BODY
    _draw_organ(rng, tissue, labels)
    _draw_discs(rng, tissue, labels)
    return Anatomy(tissue, labels)


def _draw_organ(rng: np.random.Generator, tissue: np.ndarray, labels: np.ndarray) -> None:
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    side = rng.choice([-1.0, 1.0])
    cx, cy = 12.0 + rng.uniform(-0.5, 0.5), 19.5 + side * rng.uniform(4.5, 5.5)
    cz, rz = 7.5 + rng.uniform(-0.8, 0.8), rng.uniform(6.0, 7.0)
    angle = np.arctan2(y - cy, x - cx)
    wobble = 1.0 + 0.08 * np.sin(3 * angle + rng.uniform(0, 2 * np.pi)) + 0.015 * (z - cz)
    profile = np.clip(1.0 - ((z - cz) / rz) ** 2, 0.0, None)
    organ = ((x - cx) / 7.0) ** 2 + ((y - cy) / 7.0) ** 2 < profile * wobble**2
    tissue[organ], labels[organ] = ORGAN, 1
    touching = [k for k in range(SHAPE[2]) if (organ[:, :, k] & organ[:, ::-1, k]).any()]
    # Every second slice at most, so that each has a clean slice above and below.
    for k in touching[int(rng.integers(0, 2)) :: 2][:3]:
        tissue[:, :, k][organ[:, ::-1, k]] = ORGAN


def _draw_discs(rng: np.random.Generator, tissue: np.ndarray, labels: np.ndarray) -> None:
    radius = rng.uniform(2.0, 3.0)
    offset = rng.uniform(-0.4, 0.4, size=2)
    grid = np.arange(-4, 5)
    disc = (grid[:, None] - offset[0]) ** 2 + (grid[None, :] - offset[1]) ** 2 <= radius**2
    cells = [(26 + 10 * i, 11 + 9 * j) for i in range(2) for j in range(3)]
    cells = [cells[i] for i in rng.permutation(len(cells))]
    for cell in cells[:2]:
        _draw_disc(rng, tissue, labels, disc, cell, range(SHAPE[2]), 2)
    for cell in cells[2:]:
        start = int(rng.integers(2, 5))
        while start + NODULE_SLICES <= SHAPE[2] - 2:
            _draw_disc(rng, tissue, labels, disc, cell, range(start, start + NODULE_SLICES), 3)
            start += NODULE_SLICES + int(rng.integers(3, 6))


def _draw_disc(
    rng: np.random.Generator,
    tissue: np.ndarray,
    labels: np.ndarray,
    disc: np.ndarray,
    cell: tuple[int, int],
    slices: range,
    label: int,
) -> None:
    place = rng.integers(-1, 2, size=2)
    for k in slices:
        px, py = np.array(cell) + place
        window = (slice(px - 4, px + 5), slice(py - 4, py + 5), k)
        tissue[window][disc], labels[window][disc] = VESSEL, label
        place = np.clip(place + rng.integers(-1, 2, size=2), -1, 1)
