import pytest

from medseg.errors import InputError
from medseg.metrics.case import CaseScore
from medseg.metrics.overlap import case_dice
from medseg.metrics.summary import case_means, summarise


def row(case: str, label: int, tp: int, fp: int, fn: int, hd95_mm=None, nsd=None) -> CaseScore:
    return CaseScore(
        case=case,
        label=label,
        dice=case_dice(tp, fp, fn),
        hd95_mm=hd95_mm,
        nsd=nsd,
        volume_ml=(tp + fp) / 1000,
        reference_ml=(tp + fn) / 1000,
        tp=tp,
        fp=fp,
        fn=fn,
    )


ROWS = [
    row("a", 1, 90, 10, 10, 2.0, 0.9),  # dice 0.9
    row("a", 2, 5, 5, 5, 4.0, 0.5),  # dice 0.5
    row("b", 1, 0, 4, 0, None, 0.0),  # predicted only
    row("b", 2, 0, 0, 0),  # in neither map
    row("c", 1, 0, 0, 0),
    row("c", 2, 0, 0, 0),
]


def test_undefined_scores_are_counted_and_left_out():
    first, second = summarise(ROWS).labels
    assert (first.label, first.n, first.n_both_empty, first.n_no_distance) == (1, 3, 1, 2)
    assert first.mean_dice == pytest.approx(0.45)
    assert first.mean_hd95_mm == 2.0
    assert first.mean_nsd == pytest.approx(0.45)
    assert first.pooled_dice == pytest.approx(180 / 204)
    assert (second.n_both_empty, second.n_no_distance, second.mean_dice) == (2, 2, 0.5)


def test_the_overall_mean_is_over_cases_of_the_mean_over_labels():
    summary = summarise(ROWS)
    assert case_means(ROWS) == {"a": pytest.approx(0.7), "b": 0.0, "c": None}
    assert (summary.n_cases, summary.n_no_dice) == (3, 1)
    assert summary.mean_dice == pytest.approx(0.35)
    assert summary.mean_hd95_mm == pytest.approx(3.0)
    assert summary.mean_nsd == pytest.approx(0.35)
    assert summary.mean_pooled_dice == pytest.approx((180 / 204 + 0.5) / 2)


def test_rows_without_spacing_have_dice_and_no_distance():
    unknown = {"hd95_mm": None, "nsd": None, "volume_ml": None, "reference_ml": None}
    rows = [known.model_copy(update=unknown) for known in ROWS]
    summary, known = summarise(rows), summarise(ROWS)
    assert (summary.mean_dice, summary.mean_pooled_dice) == (known.mean_dice, known.mean_pooled_dice)
    assert summary.mean_hd95_mm is summary.mean_nsd is None
    assert [label.n_no_distance for label in summary.labels] == [3, 3]


def test_pooled_and_per_case_agree_when_the_cases_have_equal_counts():
    rows = [row(case, label, 6, 2, 1) for case in "abc" for label in (1, 2)]
    summary = summarise(rows)
    assert summary.mean_dice == pytest.approx(summary.mean_pooled_dice) == pytest.approx(12 / 15)


def test_the_order_of_rows_does_not_matter():
    assert summarise(ROWS[::-1]) == summarise(ROWS)


def test_means_are_none_when_nothing_is_defined():
    summary = summarise(ROWS[4:])
    assert summary.mean_dice is summary.mean_hd95_mm is summary.mean_nsd is summary.mean_pooled_dice is None


def test_no_rows_and_double_rows_are_refused():
    with pytest.raises(InputError, match="no scores"):
        summarise([])
    with pytest.raises(InputError, match="scored twice"):
        summarise([*ROWS, ROWS[0]])
