"""The ambiguity that the phantoms promise: same slice, different label; the neighbours decide."""

import numpy as np
import pytest
from scipy.ndimage import find_objects
from scipy.ndimage import label as components

from medseg.data.anatomy import BODY, NODULE_SLICES, ORGAN, SHAPE, VESSEL, anatomy

CASES = [(seed, index) for seed in (0, 7) for index in range(4)]


def discs_of(parts, k):
    """(tissue in its box with a margin of one voxel, its label) of every disc in slice k."""
    found, _ = components(parts.tissue[:, :, k] == VESSEL)
    for box in find_objects(found):
        around = tuple(slice(side.start - 1, side.stop + 1) for side in box)
        patch = parts.tissue[(*around, k)]
        yield (patch.shape, patch.tobytes()), int(parts.labels[(*around, k)].max())


@pytest.mark.parametrize(("seed", "index"), CASES)
def test_equal_patches_of_one_slice_have_different_labels(seed, index):
    parts = anatomy(seed, index)
    ambiguous = 0
    for k in range(SHAPE[2]):
        looks, labels = zip(*discs_of(parts, k), strict=True)
        assert len(set(looks)) == 1  # every disc of a slice looks the same, voxel for voxel
        assert labels.count(2) == 2
        ambiguous += 3 in labels
    assert ambiguous >= 6


@pytest.mark.parametrize(("seed", "index"), CASES)
def test_length_across_slices_tells_vessel_from_nodule(seed, index):
    parts = anatomy(seed, index)
    found, count = components(parts.tissue == VESSEL, structure=np.ones((3, 3, 3)))
    decided = np.zeros_like(parts.labels)
    for number in range(1, count + 1):
        disc = found == number
        length = int(disc.any(axis=(0, 1)).sum())
        assert length in (NODULE_SLICES, SHAPE[2])
        decided[disc] = 2 if length == SHAPE[2] else 3
    discs = parts.tissue == VESSEL
    np.testing.assert_array_equal(decided[discs], parts.labels[discs])
    assert {2, 3} <= set(np.unique(decided))


@pytest.mark.parametrize(("seed", "index"), CASES)
def test_five_slices_are_enough_to_tell_a_nodule(seed, index):
    parts = anatomy(seed, index)
    for k in range(2, SHAPE[2] - 2):
        found, count = components(parts.tissue[:, :, k - 2 : k + 3] == VESSEL, structure=np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            through = (found == number).any(axis=(0, 1))
            if through[2]:
                values = np.unique(parts.labels[:, :, k][found[:, :, 2] == number])
                assert values.tolist() == ([2] if through.all() else [3])


@pytest.mark.parametrize(("seed", "index"), CASES)
def test_the_organ_border_is_hidden_on_single_slices_only(seed, index):
    parts = anatomy(seed, index)
    same_tissue = (parts.tissue == ORGAN) & (parts.labels == 0)
    hidden = np.flatnonzero(same_tissue.any(axis=(0, 1)))
    assert len(hidden) >= 2 and np.diff(hidden).min() >= 2
    for k in hidden:
        union, organ = parts.tissue[:, :, k] == ORGAN, parts.labels[:, :, k] == 1
        np.testing.assert_array_equal(union, union[:, ::-1])  # mirror symmetric: no half is special
        assert not np.array_equal(organ, organ[:, ::-1])
        assert components(union)[1] == 1  # one blob: the border is nowhere to be seen
        for neighbour in (k - 1, k + 1):
            np.testing.assert_array_equal(
                parts.tissue[:, :, neighbour] == ORGAN, parts.labels[:, :, neighbour] == 1
            )


@pytest.mark.parametrize(("seed", "index"), CASES)
def test_structures_lie_in_the_body_and_do_not_meet(seed, index):
    parts = anatomy(seed, index)
    discs, organ = parts.tissue == VESSEL, parts.tissue == ORGAN
    assert np.array_equal(discs, parts.labels >= 2) and (parts.tissue[parts.labels == 1] == ORGAN).all()
    assert (np.bincount(parts.labels.ravel(), minlength=4) > 100).all()
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        around = np.roll(discs, shift, axis=(0, 1))
        assert np.isin(parts.tissue[around & ~discs], [BODY]).all()
        assert not (around & organ).any()


def test_cases_of_a_set_differ():
    maps = [anatomy(0, index).labels.tobytes() for index in range(6)] + [anatomy(1, 0).labels.tobytes()]
    assert len(set(maps)) == len(maps)
