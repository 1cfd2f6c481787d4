import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

import medseg.compat  # noqa: F401

# isort: split
from monai.metrics.utils import get_code_to_measure_table

from medseg.errors import InputError
from medseg.metrics.surface import case_surface, crop_to_union, hd95_mm, nsd

SPACING = (2.5, 0.8, 1.1)


def blobs(seed: int, shape=(5, 6, 7), share=0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pred, ref = (rng.random(shape) < share for _ in range(2))
    pred[1, 2, 3] = ref[2, 2, 2] = True  # never empty
    return pred, ref


def cube(shape=(14, 14, 14), start=(3, 3, 3), side=5) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + side) for first in start)] = True
    return mask


def brute_hd95(pred, ref, spacing) -> float:
    edges = [np.argwhere(mask & ~binary_erosion(mask)) * np.array(spacing) for mask in (pred, ref)]
    distances = cdist(*edges)
    return max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))


def brute_nsd(pred, ref, spacing, tolerance) -> float:
    table = get_code_to_measure_table(list(spacing))[0].numpy()
    points, areas = [], []
    for mask in (pred, ref):
        padded = np.pad(mask, 1)
        corners = np.array([size - 1 for size in padded.shape])
        codes = np.zeros(corners, dtype=int)
        for offset in np.ndindex(2, 2, 2):
            window = tuple(slice(o, o + c) for o, c in zip(offset, corners, strict=True))
            codes = 2 * codes + padded[window]
        surface = (codes > 0) & (codes < 255)
        points.append(np.argwhere(surface) * np.array(spacing))
        areas.append(table[codes[surface]])
    distances = cdist(*points)
    inside = sum(area[distances.min(axis=1 - k) <= tolerance].sum() for k, area in enumerate(areas))
    return inside / sum(area.sum() for area in areas)


@pytest.mark.parametrize("seed", range(5))
def test_hd95_equals_brute_force(seed):
    pred, ref = blobs(seed, share=0.05)
    assert hd95_mm(pred, ref, SPACING) == pytest.approx(brute_hd95(pred, ref, SPACING), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tolerance", [0.3, 1.0, 2.6])
def test_nsd_equals_brute_force(seed, tolerance):
    pred, ref = blobs(seed)
    assert nsd(pred, ref, SPACING, tolerance) == pytest.approx(
        brute_nsd(pred, ref, SPACING, tolerance), rel=1e-5
    )


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("voxels", [1, 2, 3])
def test_a_moved_cube_is_as_far_away_as_it_was_moved(axis, voxels):
    reference = cube()
    moved = np.roll(reference, voxels, axis=axis)
    assert hd95_mm(moved, reference, SPACING) == pytest.approx(voxels * SPACING[axis], rel=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_nsd_is_one_within_the_tolerance_and_below_one_outside(axis):
    reference = cube()
    moved = np.roll(reference, 2, axis=axis)
    distance = 2 * SPACING[axis]
    assert nsd(moved, reference, SPACING, distance + 0.01) == 1.0
    assert nsd(moved, reference, SPACING, distance - 0.01) < 1.0


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_distances_scale_with_the_spacing(seed, factor):
    pred, ref = blobs(seed)
    scaled = tuple(step * factor for step in SPACING)
    assert hd95_mm(pred, ref, scaled) == pytest.approx(factor * hd95_mm(pred, ref, SPACING), rel=1e-5)
    # 1.93 mm is no distance between two voxels of this grid, so rounding cannot tip a comparison.
    assert nsd(pred, ref, scaled, 1.93 * factor) == pytest.approx(nsd(pred, ref, SPACING, 1.93), rel=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_symmetric_bounded_and_blind_to_the_order_of_axes(seed):
    pred, ref = blobs(seed)
    distance, share = hd95_mm(pred, ref, SPACING), nsd(pred, ref, SPACING, 1.0)
    assert distance == hd95_mm(ref, pred, SPACING)
    assert share == pytest.approx(nsd(ref, pred, SPACING, 1.0), rel=1e-6)
    assert 0.0 <= share <= 1.0
    assert distance == pytest.approx(hd95_mm(pred.T, ref.T, SPACING[::-1]), rel=1e-6)
    assert share == pytest.approx(nsd(pred.T, ref.T, SPACING[::-1], 1.0), rel=1e-5)


def test_a_mask_with_itself():
    pred, _ = blobs(0)
    assert hd95_mm(pred, pred, SPACING) == 0.0
    assert nsd(pred, pred, SPACING, 0.0) == 1.0


def test_nsd_grows_with_the_tolerance():
    pred, ref = blobs(3)
    shares = [nsd(pred, ref, SPACING, tolerance) for tolerance in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert shares == sorted(shares)


def test_nsd_weighs_by_area():
    # Both predictions add 3 layers of 12 x 12 voxels; seen along W a voxel has 4 times the area.
    spacing = (4.0, 1.0, 1.0)
    reference = cube((18, 18, 18), (1, 1, 1), 12)
    along_d, along_w = reference.copy(), reference.copy()
    along_d[13:16, 1:13, 1:13] = True
    along_w[1:13, 1:13, 13:16] = True
    assert nsd(along_w, reference, spacing, 0.5) < nsd(along_d, reference, spacing, 0.5) - 0.05


@pytest.mark.parametrize("start", [(6, 7, 9), (0, 0, 0), (12, 12, 12)])
def test_cropping_changes_nothing(start):
    # The three blocks lie inside the image, in its first corner and in its last corner.
    shape = (17, 18, 19)
    pred, ref = np.zeros(shape, bool), np.zeros(shape, bool)
    box = tuple(slice(first, first + 5) for first in start)
    pred[box], ref[box] = blobs(1, (5, 5, 5))
    cut = crop_to_union(pred, ref)
    assert cut[0].size < pred.size
    assert cut[0].sum() == pred.sum() and cut[1].sum() == ref.sum()
    whole = np.pad(pred, 3), np.pad(ref, 3)
    for pair in (cut, whole):
        assert hd95_mm(*pair, SPACING) == pytest.approx(hd95_mm(pred, ref, SPACING), rel=1e-6)
        assert nsd(*pair, SPACING, 1.0) == pytest.approx(nsd(pred, ref, SPACING, 1.0), rel=1e-6)


def test_case_surface_takes_every_label_on_its_own():
    pred, ref = blobs(2)
    both = pred & ~ref
    pred_map, ref_map = pred + 2 * both.astype(np.uint8), ref.astype(np.uint8)
    ref_map[0, 0, 0] = 3
    got = case_surface(pred_map, ref_map, {0: "background", 1: "a", 2: "b", 3: "c"}, SPACING, 1.0)
    assert list(got) == [1, 2, 3]
    for label in (1, 3):
        masks = pred_map == label, ref_map == label
        assert got[label] == (
            pytest.approx(hd95_mm(*masks, SPACING), rel=1e-6),
            pytest.approx(nsd(*masks, SPACING, 1.0), rel=1e-6),
        )


def test_empty_policy():
    nothing, something = np.zeros((3, 3, 3), np.uint8), np.ones((3, 3, 3), np.uint8)
    assert case_surface(nothing, nothing, [1], SPACING, 1.0) == {1: (None, None)}
    assert case_surface(something, nothing, [1], SPACING, 1.0) == {1: (None, 0.0)}
    assert case_surface(nothing, something, [1], SPACING, 1.0) == {1: (None, 0.0)}


def test_views_with_negative_strides_are_taken():
    pred, ref = blobs(4)
    flipped = pred[::-1, :, ::-1], ref[::-1, :, ::-1]
    assert hd95_mm(*flipped, SPACING) == pytest.approx(hd95_mm(pred, ref, SPACING), rel=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, float("nan"), 1.0)])
def test_bad_spacing_is_refused(spacing):
    array = np.ones((3, 3, 3), np.uint8)
    with pytest.raises(InputError, match="spacing"):
        case_surface(array, array, [1], spacing, 1.0)


@pytest.mark.parametrize("tolerance", [-1.0, float("inf")])
def test_bad_tolerance_is_refused(tolerance):
    array = np.ones((3, 3, 3), np.uint8)
    with pytest.raises(InputError, match="tolerance"):
        case_surface(array, array, [1], SPACING, tolerance)
