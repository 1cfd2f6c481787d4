import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg.errors import InputError
from medseg.metrics.overlap import LabelOverlap, case_dice, case_overlap, foreground, pooled_dice

LABELS = (1, 2)
maps = hnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 2))
counts = st.tuples(*[st.integers(0, 1000)] * 3)


@settings(deadline=None)
@given(maps, maps)
def test_counts_add_up_to_the_volumes(pred, ref):
    for row in case_overlap(pred, ref, LABELS):
        assert row.tp + row.fp == np.count_nonzero(pred == row.label)
        assert row.tp + row.fn == np.count_nonzero(ref == row.label)
        assert row.dice is None or 0 <= row.dice <= 1


@settings(deadline=None)
@given(maps, maps)
def test_dice_is_symmetric_and_blind_to_the_order_of_axes(pred, ref):
    dice = [row.dice for row in case_overlap(pred, ref, LABELS)]
    assert dice == [row.dice for row in case_overlap(ref, pred, LABELS)]
    assert dice == [row.dice for row in case_overlap(pred.T, ref.T, LABELS)]


@settings(deadline=None)
@given(maps)
def test_dice_of_a_map_with_itself_is_one(labels):
    for row in case_overlap(labels, labels, LABELS):
        assert row.dice == (1.0 if (labels == row.label).any() else None)


@settings(deadline=None)
@given(st.lists(counts, min_size=1, max_size=5))
def test_pooled_dice_lies_between_the_cases(cases):
    rows = [LabelOverlap(1, case_dice(*case), *case) for case in cases]
    dice = [row.dice for row in rows if row.dice is not None]
    pooled = pooled_dice(rows)[1]
    if not dice:
        assert pooled is None
    else:
        assert pooled is not None
        assert min(dice) - 1e-12 <= pooled <= max(dice) + 1e-12


@given(counts, st.integers(1, 6))
def test_pooled_dice_equals_the_mean_when_all_cases_have_equal_counts(case, n):
    row = LabelOverlap(1, case_dice(*case), *case)
    assert pooled_dice([row] * n) == {1: row.dice}


def test_pooled_dice_follows_the_large_case():
    large, small = LabelOverlap(1, case_dice(90, 10, 10), 90, 10, 10), LabelOverlap(1, 0.0, 0, 1, 1)
    assert (large.dice + small.dice) / 2 == pytest.approx(0.45)
    assert pooled_dice([large, small])[1] == pytest.approx(180 / 202)


def test_pooled_dice_counts_the_false_positives_of_a_case_without_the_structure():
    rows = [LabelOverlap(1, 1.0, 10, 0, 0), LabelOverlap(1, 0.0, 0, 20, 0), LabelOverlap(2, None, 0, 0, 0)]
    assert pooled_dice(rows) == {1: 0.5, 2: None}


def test_empty_policy():
    nothing, something = np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.uint8)
    assert case_overlap(nothing, nothing, [1])[0].dice is None
    assert case_overlap(something, nothing, [1])[0] == LabelOverlap(1, 0.0, 0, 8, 0)
    assert case_overlap(nothing, something, [1])[0] == LabelOverlap(1, 0.0, 0, 0, 8)


def test_background_is_never_a_row():
    array = np.array([[[0, 1, 2]]], np.uint8)
    assert [row.label for row in case_overlap(array, array, {0: "background", 2: "b", 1: "a"})] == [1, 2]
    assert foreground([0]) == []


def test_a_thin_map_is_not_broadcast():
    with pytest.raises(InputError, match="shape"):
        case_overlap(np.zeros((1, 2, 3), np.uint8), np.zeros((4, 2, 3), np.uint8), LABELS)


@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_a_label_outside_the_card_is_named(side):
    good, bad = np.zeros((2, 2, 2), np.uint8), np.full((2, 2, 2), 7, np.uint8)
    pair = (bad, good) if side == "prediction" else (good, bad)
    with pytest.raises(InputError, match=rf"{side} holds labels[\s\S]*\[7\]"):
        case_overlap(*pair, LABELS)


def test_a_negative_label_is_refused():
    with pytest.raises(InputError, match="negative"):
        foreground([1, -1])


def test_probabilities_are_refused():
    good = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(InputError, match="float32"):
        case_overlap(good.astype(np.float32), good, LABELS)
