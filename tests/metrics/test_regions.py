"""Regions are unions of labels; empty ones, their mean, and the rule on small enhancing tumours."""

import numpy as np
import pytest

from medseg.data.catalog import DATASETS
from medseg.errors import InputError
from medseg.metrics.case import score_case
from medseg.metrics.regions import (
    BRATS_DIAGONAL_MM,
    as_server_2020,
    check_enhancing,
    score_as_card,
    score_regions,
    without_small_enhancing,
)
from medseg.metrics.summary import case_means, summarise

SPACING = (3.0, 0.5, 2.0)
BRATS, KITS = DATASETS["BraTS2019"], DATASETS["KiTS19"]


def random_maps(values, shape=(5, 9, 8)):
    rng = np.random.default_rng(3)
    return [rng.choice(values, shape).astype(np.uint8) for _ in range(2)]


def brats_rows(pred, ref, case="x"):
    return score_regions(case, pred, ref, BRATS.regions, SPACING, 1.0)


@pytest.mark.parametrize(("card", "values"), [(BRATS, [0, 0, 1, 2, 4]), (KITS, [0, 0, 1, 2])])
@pytest.mark.parametrize("spacing", [SPACING, None])
def test_a_region_is_scored_as_a_map_of_its_own(card, values, spacing):
    pred, ref = random_maps(values)
    scores = score_as_card("x", pred, ref, card, spacing)
    assert [score.label for score in scores] == list(card.structures)
    for score in scores:
        labels = card.regions[score.label].labels
        masks = (np.isin(array, labels).astype(np.uint8) for array in (pred, ref))
        (row,) = score_case("x", *masks, [1], spacing, card.nsd_tolerance_mm)
        assert score == row.model_copy(update={"label": score.label})
    assert as_server_2020(scores) == scores or spacing is None


def test_a_card_without_regions_is_scored_by_label():
    pred, ref = random_maps([0, 1, 2])
    card = DATASETS["Task04_Hippocampus"]
    assert score_as_card("x", pred, ref, card, SPACING) == score_case(
        "x", pred, ref, card.labels, SPACING, 1.0
    )


def test_labels_exchanged_inside_a_region_do_not_matter_to_it():
    _, ref = random_maps([0, 1, 2, 4])
    et, tc, wt = brats_rows(np.array([0, 4, 2, 0, 1], np.uint8)[ref], ref)
    assert et.dice == 0.0 and tc.dice == wt.dice == 1.0 and tc.hd95_mm == 0.0
    et, tc, wt = brats_rows(np.where(ref == 2, 1, ref).astype(np.uint8), ref)
    assert et.dice == wt.dice == 1.0 > tc.dice


def test_the_kidney_includes_its_tumour_and_the_composite_is_the_mean_of_a_case():
    ref = np.zeros((3, 4, 5), np.uint8)
    ref[1, :2], ref[1, 2] = 1, 2
    pred = np.where(ref == 2, 1, ref).astype(np.uint8)  # the tumour taken for kidney
    half = np.where(ref == 2, 0, ref).astype(np.uint8)  # the tumour missed: 10 of 15 voxels of the kidney
    scores = [
        row for case, m in (("a", pred), ("b", half)) for row in score_as_card(case, m, ref, KITS, SPACING)
    ]
    assert [score.dice for score in scores] == [1.0, 0.0, 0.8, 0.0]
    assert case_means(scores) == {"a": 0.5, "b": 0.4}
    found = summarise(scores)
    # The order of the two means does not matter where every region is there.
    assert found.mean_dice == pytest.approx(0.45)
    assert np.mean([label.mean_dice for label in found.labels]) == pytest.approx(found.mean_dice)


def test_a_region_that_both_maps_lack_is_left_out_of_the_mean_of_its_case():
    ref = np.zeros((3, 4, 5), np.uint8)
    ref[1, :2], ref[1, 2] = 1, 2
    rows = brats_rows(ref, ref)
    assert [row.dice for row in rows] == [None, 1.0, 1.0] and case_means(rows) == {"x": 1.0}
    assert summarise(rows).labels[0].n_both_empty == 1
    worse = brats_rows(np.where(ref == 2, 0, ref).astype(np.uint8), ref)
    assert case_means(worse) == {"x": pytest.approx((1 + 0.8) / 2)}
    # With the server's values the region counts.
    assert case_means(as_server_2020(worse)) == {"x": pytest.approx((1 + 1 + 0.8) / 3)}


def test_empty_regions_as_on_the_server():
    assert pytest.approx(373.1287, abs=1e-4) == BRATS_DIAGONAL_MM
    empty = np.zeros((4, 5, 6), np.uint8)
    one = empty.copy()
    one[1:3, 2, 2] = 4
    for pair, here, server in (
        ((empty, empty), (None, None), (1.0, 0.0)),
        ((one, empty), (0.0, None), (0.0, BRATS_DIAGONAL_MM)),
        ((empty, one), (0.0, None), (0.0, BRATS_DIAGONAL_MM)),
        ((one, one), (1.0, 0.0), (1.0, 0.0)),
    ):
        rows = brats_rows(*pair)
        assert {(row.dice, row.hd95_mm) for row in rows} == {here}
        assert {(row.dice, row.hd95_mm) for row in as_server_2020(rows)} == {server}
        assert [(r.case, r.label, r.tp, r.fp, r.fn) for r in rows] == [
            (r.case, r.label, r.tp, r.fp, r.fn) for r in as_server_2020(rows)
        ]


def test_other_labels_and_shapes_are_refused():
    pred, ref = random_maps([0, 1, 2, 4])
    with pytest.raises(InputError, match="labels"):
        score_as_card("x", pred, ref, KITS, SPACING)
    with pytest.raises(InputError, match="shape"):
        brats_rows(pred[:1], ref)
    with pytest.raises(InputError, match="spacing"):
        score_as_card("x", pred, ref, BRATS, (1.0, 0.0, 1.0))


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
    # In scores it changes the enhancing tumour alone.
    ref = np.full_like(pred, 4)
    plain, ruled = (score_as_card("x", pred, ref, BRATS, SPACING, n) for n in (0, least))
    assert plain[1:] == ruled[1:] and (plain[0] == ruled[0]) == kept


def test_the_rule_is_for_brats_alone():
    maps = random_maps([0, 1, 2])
    for name, card in DATASETS.items():
        check_enhancing(card, 0)
        if name in ("BraTS2019", "BraTS2020"):
            check_enhancing(card, 500)
        else:
            with pytest.raises(InputError, match=f"{name} has no enhancing tumour"):
                check_enhancing(card, 500)
    with pytest.raises(InputError, match="no enhancing tumour"):
        score_as_card("x", *maps, KITS, SPACING, 500)
