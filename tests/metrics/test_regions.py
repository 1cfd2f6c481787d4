"""Regions are unions of labels; empty ones and the rule on small enhancing tumours."""

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.metrics.case import score_case
from medseg.metrics.regions import (
    BRATS_REGIONS,
    KITS_REGIONS,
    composite_dice,
    score_regions,
    without_small_enhancing,
)

SPACING = (3.0, 0.5, 2.0)


def random_maps(values, shape=(5, 9, 8)):
    rng = np.random.default_rng(3)
    return [rng.choice(values, shape).astype(np.uint8) for _ in range(2)]


@pytest.mark.parametrize(
    ("regions", "values"), [(BRATS_REGIONS, [0, 0, 1, 2, 4]), (KITS_REGIONS, [0, 0, 1, 2])]
)
def test_a_region_is_scored_as_a_map_of_its_own(regions, values):
    pred, ref = random_maps(values)
    scores = score_regions(pred, ref, regions, SPACING)
    assert [score.region for score in scores] == list(regions)
    for score in scores:
        masks = (np.isin(array, regions[score.region]).astype(np.uint8) for array in (pred, ref))
        (row,) = score_case("x", *masks, [1], SPACING, 1.0)
        assert (score.dice, score.hd95_mm) == (row.dice, row.hd95_mm)
    assert score_regions(pred, ref, regions, SPACING, as_server_2020=True) == scores


def test_labels_exchanged_inside_a_region_do_not_matter_to_it():
    _, ref = random_maps([0, 1, 2, 4])
    pred = np.array([0, 4, 2, 0, 1], np.uint8)[ref]
    by_name = {score.region: score for score in score_regions(pred, ref, BRATS_REGIONS, SPACING)}
    assert by_name["ET"].dice == 0.0
    assert by_name["TC"].dice == by_name["WT"].dice == 1.0 and by_name["TC"].hd95_mm == 0.0
    swapped = np.where(ref == 2, 1, ref).astype(np.uint8)
    by_name = {score.region: score for score in score_regions(swapped, ref, BRATS_REGIONS, SPACING)}
    assert by_name["ET"].dice == by_name["WT"].dice == 1.0 > by_name["TC"].dice


def test_the_kidney_includes_its_tumour_and_the_composite_is_the_mean():
    ref = np.zeros((3, 4, 5), np.uint8)
    ref[1, :2], ref[1, 2] = 1, 2
    pred = np.where(ref == 2, 1, ref).astype(np.uint8)  # the tumour taken for kidney
    scores = score_regions(pred, ref, KITS_REGIONS, SPACING)
    assert [score.dice for score in scores] == [1.0, 0.0]
    assert composite_dice(scores) == 0.5
    assert composite_dice(score_regions(pred, pred, KITS_REGIONS, SPACING)) is None
    assert composite_dice([]) is None


def test_empty_regions_as_here_and_as_on_the_server():
    # The extent of a BraTS volume, 155 x 240 x 240 mm, in coarser voxels.
    empty = np.zeros((31, 48, 48), np.uint8)
    one = empty.copy()
    one[7:9, 10, 10] = 4
    only_et, iso = {"ET": (4,)}, (5.0, 5.0, 5.0)
    for pair, here, server in (
        ((empty, empty), (None, None), (1.0, 0.0)),
        ((one, empty), (0.0, None), (0.0, 373.1287)),
        ((empty, one), (0.0, None), (0.0, 373.1287)),
        ((one, one), (1.0, 0.0), (1.0, 0.0)),
    ):
        for as_server, wanted in ((False, here), (True, server)):
            (score,) = score_regions(*pair, only_et, iso, as_server)
            assert (score.dice, score.hd95_mm) == (
                wanted[0],
                wanted[1] and pytest.approx(wanted[1], abs=1e-4),
            )
            (score,) = score_regions(*pair, only_et, None, as_server)
            assert (score.dice, score.hd95_mm) == (wanted[0], None)


def test_other_labels_and_shapes_are_refused():
    pred, ref = random_maps([0, 1, 2, 4])
    with pytest.raises(InputError, match="labels"):
        score_regions(pred, ref, KITS_REGIONS, SPACING)
    with pytest.raises(InputError, match="shape"):
        score_regions(pred[:1], ref, BRATS_REGIONS, SPACING)
    with pytest.raises(InputError, match="spacing"):
        score_regions(pred, ref, BRATS_REGIONS, (1.0, 0.0, 1.0))


@pytest.mark.parametrize(("voxels", "least", "kept"), [(499, 500, False), (500, 500, True), (1, 0, True)])
def test_a_small_enhancing_tumour_is_core(voxels, least, kept):
    pred = np.full((8, 9, 10), 2, np.uint8)
    pred.flat[:voxels], pred.flat[voxels] = 4, 1
    before = pred.copy()
    after = without_small_enhancing(pred, least)
    assert np.array_equal(pred, before) and after.dtype == pred.dtype and after is not pred
    assert np.count_nonzero(after == 4) == (voxels if kept else 0)
    assert np.array_equal(np.isin(after, (1, 4)), np.isin(pred, (1, 4)))  # core and whole tumour stay
    assert np.array_equal(after == 2, pred == 2)


def test_a_negative_size_is_refused():
    with pytest.raises(InputError, match="negative"):
        without_small_enhancing(np.zeros((2, 2, 2), np.uint8), -1)
