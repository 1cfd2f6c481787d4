import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from medseg.errors import InputError
from medseg.metrics.case import CaseScore, score_case

LABELS = {0: "background", 1: "anterior", 2: "posterior"}
SPACING = (3.0, 0.5, 2.0)


def pair() -> tuple[np.ndarray, np.ndarray]:
    pred, ref = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    ref[1:3, 1:4, 1:4] = 1
    pred[1:3, 1:4, 2:5] = 1
    return pred, ref


def test_one_row_per_label_with_volumes_in_ml():
    pred, ref = pair()
    first, second = score_case("case_7", pred, ref, LABELS, SPACING, 2.5)
    assert (first.case, first.label) == ("case_7", 1)
    assert (first.tp, first.fp, first.fn) == (12, 6, 6)
    assert first.dice == pytest.approx(2 / 3)
    assert first.volume_ml == first.reference_ml == pytest.approx(18 * 3.0 / 1000)
    assert first.hd95_mm == pytest.approx(2.0)
    assert first.nsd == 1.0
    assert (second.label, second.both_empty) == (2, True)
    assert second.dice is second.hd95_mm is second.nsd is None


def test_one_side_empty():
    pred, _ = pair()
    row = score_case("x", pred, np.zeros_like(pred), [1], SPACING, 1.0)[0]
    assert (row.dice, row.hd95_mm, row.nsd, row.both_empty) == (0.0, None, 0.0, False)
    assert row.volume_ml > 0 and row.reference_ml == 0


def test_without_spacing_only_counts_and_dice_are_given():
    rows, with_mm = (score_case("x", *pair(), LABELS, spacing, 1.0) for spacing in (None, SPACING))
    for row, known in zip(rows, with_mm, strict=True):
        assert (row.label, row.dice, row.tp, row.fp, row.fn) == (
            known.label, known.dice, known.tp, known.fp, known.fn,
        )  # fmt: skip
        assert row.hd95_mm is row.nsd is row.volume_ml is row.reference_ml is None
        assert CaseScore.model_validate_json(row.model_dump_json()) == row
    with pytest.raises(InputError, match="labels"):
        score_case("x", *pair(), [2], None, 1.0)


def test_perfect_prediction():
    _, ref = pair()
    row = score_case("x", ref, ref, [1], SPACING, 0.0)[0]
    assert (row.dice, row.hd95_mm, row.nsd) == (1.0, 0.0, 1.0)


def test_rows_survive_json_and_cannot_be_changed():
    pred, ref = pair()
    for row in score_case("x", pred, ref, LABELS, SPACING, 1.0):
        assert CaseScore.model_validate_json(row.model_dump_json()) == row
        with pytest.raises(ValidationError):
            row.dice = 1.0


def test_nan_is_not_a_score():
    good = score_case("x", *pair(), [1], SPACING, 1.0)[0].model_dump()
    with pytest.raises(ValidationError):
        CaseScore(**{**good, "dice": float("nan")})
    with pytest.raises(ValidationError):
        CaseScore(**{**good, "hd95_mm": float("inf")})


def test_shapes_and_labels_are_checked():
    pred, ref = pair()
    with pytest.raises(InputError, match="shape"):
        score_case("x", pred[1:], ref, LABELS, SPACING, 1.0)
    with pytest.raises(InputError, match="labels"):
        score_case("x", pred, ref, [2], SPACING, 1.0)


def test_stored_scores_are_read_without_torch():
    code = "import sys, medseg.metrics.summary, medseg.metrics.statistics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
