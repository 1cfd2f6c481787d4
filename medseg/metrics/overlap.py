"""Dice from voxel counts, per case and pooled over cases.

The same counts give two numbers that published tables often confuse. `case_dice` judges one case; averaged
over cases, a small organ in one case weighs as much as a large one in another. `pooled_dice` adds the counts
of all cases first, so large structures dominate and an empty case adds only its false positives.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from medseg.errors import InputError


@runtime_checkable  # the shape checker of the tests asks isinstance
class Counts(Protocol):
    """Anything that carries one label's voxel counts: a `LabelOverlap` or a `CaseScore`."""

    @property
    def label(self) -> int:
        """Label value in the map."""

    @property
    def tp(self) -> int:
        """Voxels that carry the label in both maps."""

    @property
    def fp(self) -> int:
        """Voxels that carry the label in the prediction only."""

    @property
    def fn(self) -> int:
        """Voxels that carry the label in the reference only."""


@dataclass(frozen=True)
class LabelOverlap:
    """Voxel counts and Dice of one label in one case; `dice` is None where both maps lack the label."""

    label: int
    dice: float | None
    tp: int
    fp: int
    fn: int


def case_dice(tp: int, fp: int, fn: int) -> float | None:
    """Dice coefficient of one label in one case (Dice 1945): 2 TP / (2 TP + FP + FN).

    Args:
        tp: Voxels in both masks.
        fp: Voxels in the prediction only.
        fn: Voxels in the reference only.

    Returns:
        A value in [0, 1]; 0.0 where exactly one mask is empty; None where both are (nothing to judge).

    >>> case_dice(3, 1, 1), case_dice(0, 5, 0), case_dice(0, 0, 0)
    (0.75, 0.0, None)
    """
    size = 2 * tp + fp + fn
    return 2 * tp / size if size else None


def case_overlap(pred_dhw: np.ndarray, ref_dhw: np.ndarray, labels: Iterable[int]) -> list[LabelOverlap]:
    """Count TP, FP and FN of every label in one case, and its Dice.

    Args:
        pred_dhw: Predicted label map, integers, axes D H W.
        ref_dhw: Reference label map, integers, same shape.
        labels: The labels of the data set; 0 (background) is left out if it is among them.

    Returns:
        One row per label, in ascending order of label.

    Raises:
        InputError: Shapes differ, a map is not integer, or a map holds a label that is not in `labels`.
    """
    wanted = foreground(labels)
    check_label_maps(pred_dhw, ref_dhw, wanted)
    rows = []
    for label in wanted:
        pred, ref = pred_dhw == label, ref_dhw == label
        tp = int(np.count_nonzero(pred & ref))
        fp = int(np.count_nonzero(pred)) - tp
        fn = int(np.count_nonzero(ref)) - tp
        rows.append(LabelOverlap(label, case_dice(tp, fp, fn), tp, fp, fn))
    return rows


def pooled_dice(rows: Iterable[Counts]) -> dict[int, float | None]:
    """Dice per label after adding up the counts of all cases: 2 sum TP / (2 sum TP + sum FP + sum FN).

    Args:
        rows: Rows of any number of cases and labels (`LabelOverlap` or `CaseScore`).

    Returns:
        Pooled Dice of each label that occurs in `rows`; None where no case holds it in either map.

    >>> pooled_dice([LabelOverlap(1, 1.0, 9, 0, 0), LabelOverlap(1, 0.0, 0, 1, 1)])
    {1: 0.9}
    """
    totals: dict[int, list[int]] = {}
    for row in rows:
        total = totals.setdefault(row.label, [0, 0, 0])
        for index, count in enumerate((row.tp, row.fp, row.fn)):
            total[index] += count
    return {label: case_dice(*totals[label]) for label in sorted(totals)}


def foreground(labels: Iterable[int]) -> list[int]:
    """Sort labels and drop the background, which is never scored.

    Raises:
        InputError: A label is negative.

    >>> foreground({2: "posterior", 0: "background", 1: "anterior"})
    [1, 2]
    """
    found = sorted(int(label) for label in set(labels) if label != 0)
    if found and found[0] < 0:
        raise InputError(
            "a label is negative",
            expected="labels of 1 or more, and 0 for the background",
            got=str(found),
            do="number the structures from 1 on; a mask of voxels to leave out is not a label",
        )
    return found


def check_label_maps(pred_dhw: np.ndarray, ref_dhw: np.ndarray, labels: Iterable[int]) -> None:
    """Refuse a pair of label maps that cannot be compared voxel by voxel.

    Args:
        pred_dhw: Predicted label map, axes D H W.
        ref_dhw: Reference label map, axes D H W.
        labels: Permitted labels; 0 is always permitted.

    Raises:
        InputError: Shapes differ, a map is not integer, or a map holds a label that is not in `labels`.
    """
    if pred_dhw.ndim != 3 or pred_dhw.shape != ref_dhw.shape:
        # Without this check numpy would broadcast a thin map over a thick one and return a number.
        raise InputError(
            "prediction and reference differ in shape",
            expected=f"two maps of shape D H W, reference {ref_dhw.shape}",
            got=f"prediction {pred_dhw.shape}",
            do="export the prediction in the space of its own image",
        )
    allowed = {0, *labels}
    for name, array in (("prediction", pred_dhw), ("reference", ref_dhw)):
        if array.dtype.kind not in "biu":
            raise InputError(
                f"the {name} is not a label map",
                expected="integers",
                got=str(array.dtype),
                do="take the argmax over classes, then convert to uint8",
            )
        unknown = sorted({int(label) for label in np.unique(array)} - allowed)
        if unknown:
            raise InputError(
                f"the {name} holds labels that the data set does not have",
                expected=f"labels {sorted(allowed)}",
                got=f"also {unknown}",
                do="map the labels to those of the data set, or pass the labels that belong to it",
            )
