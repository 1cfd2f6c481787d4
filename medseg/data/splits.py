"""Splits by named case ids, among them the paper's split of the Decathlon."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from medseg.errors import InputError

_Name = TypeVar("_Name", int, str)

# Labelled cases of the ten tasks, in the order in which the paper's one generator shuffles them.
MSD_CASES = {
    "Task01_BrainTumour": 484,
    "Task02_Heart": 20,
    "Task03_Liver": 131,
    "Task04_Hippocampus": 260,
    "Task05_Prostate": 32,
    "Task06_Lung": 63,
    "Task07_Pancreas": 281,
    "Task08_HepaticVessel": 303,
    "Task09_Spleen": 41,
    "Task10_Colon": 126,
}

# TransSeg's released code: the patients of ACDC that it validates and tests on (its ACDC_dataset.json).
ACDC_TEST_PATIENTS = (2, 3, 8, 9, 12, 14, 17, 24, 42, 48, 49, 53, 55, 64, 67, 79, 81, 88, 92, 95)
# The 12 cases of BCV on which TransUNet and TransSeg report; the paper also chooses the epoch on them.
BCV_TEST_CASES = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
# One in eight of the others validates: of ACDC 10 of 80 patients, as the paper has it; of BCV 2 of 18 cases.
VALIDATION_SHARE = 8


@dataclass(frozen=True)
class Split:
    """Case ids for training, validation and test, each in shuffled order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def with_train(self, cases: int | None) -> "Split":
        """The same split with at most so many training cases, the first ones; None: all."""
        return replace(self, train=self.train[:cases])

    @property
    def digest(self) -> str:
        """Hex sha256 of the split as canonical JSON: the same ids in the same order give the same digest."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def split_cases(case_ids: Sequence[str], dataset: str, seed: int = 1234, fold: int | None = None) -> Split:
    """The split of a data set by its own rule: ACDC and BCV have one, `msd_split` is for all others.

    Where a fold is asked for (0 to 4), all data sets have the same rule: `medseg.data.folds.fold_split`.

    Raises:
        InputError: as the rules; a fold of ACDC, whose cases are not independent.
    """
    if fold is not None:
        if dataset == "ACDC":
            raise InputError(
                "ACDC is not dealt into folds",
                expected="a data set with one case a patient",
                got="two frames of each patient, which would be trained and tested on",
                do="leave fold at None: ACDC has a split by patients",
            )
        from medseg.data.folds import fold_split  # a fold is a Split, so folds.py imports this file

        return fold_split(case_ids, fold, seed)
    if dataset == "BCV":
        return bcv_split(case_ids, seed)
    return acdc_split(case_ids, seed) if dataset == "ACDC" else msd_split(case_ids, dataset, seed)


def msd_split(case_ids: Sequence[str], task: str, seed: int = 1234) -> Split:
    """Split by the rule of TransSeg's released code: shuffle, then cut at int(0.8 n) and int(0.95 n).

    For a Decathlon task with its official number of cases, one generator shuffles the case lists of Task01,
    Task02, ... in turn, so a split depends on the sizes of all earlier tasks. The released ids come out when
    `case_ids` stand in the order of the official dataset.json; any other order gives the same sizes only.

    For any other data set, or another number of cases, a generator of its own shuffles `case_ids`. The same
    cuts are moved where needed so that training, validation and test have at least one case each.

    Args:
        case_ids: all labelled cases, without repeats.
        task: folder name of the data set, "Task04_Hippocampus" for example.
        seed: of the generator; 1234 in the paper's code.

    Raises:
        InputError: fewer than three cases, or a case twice.

    >>> split = msd_split([f"case_{n}" for n in range(260)], "Task04_Hippocampus")
    >>> len(split.train), len(split.validation), len(split.test)
    (208, 39, 13)
    """
    n = len(case_ids)
    if n < 3 or len(set(case_ids)) != n:
        raise InputError(
            f"{task} cannot be split",
            expected="at least three different cases",
            got=f"{n} cases, {len(set(case_ids))} of them different",
            do="add cases, or remove the repeats",
        )
    order = _shared_order(task, seed) if MSD_CASES.get(task) == n else _own_order(n, seed)
    shuffled = [case_ids[index] for index in order]
    first = min(int(0.8 * n), n - 2)
    second = min(max(int(0.95 * n), first + 1), n - 1)
    return Split(tuple(shuffled[:first]), tuple(shuffled[first:second]), tuple(shuffled[second:]))


def acdc_split(case_ids: Sequence[str], seed: int = 1234) -> Split:
    """Split ACDC by patients: the paper's 20 test patients, and the other 80 shuffled into 70 and 10.

    Both frames of a patient are in the same part, in the order of their numbers; the order of `case_ids` has
    no effect. The paper states 70, 10 and 20 patients, but its code trains on 80 and chooses the epoch on
    the patients it tests on. Here the validation patients are taken from the 80, and the test patients are
    used for nothing else. The paper does not say which 10 it had.

    Args:
        case_ids: frames, `patient001_frame01` for example, without repeats.
        seed: of the shuffle of patients.

    Raises:
        InputError: a case twice, another kind of name, or a part that would be empty.
    """
    frames: dict[int, list[str]] = {}
    for case_id in sorted(set(case_ids)):
        if match := re.fullmatch(r"patient(\d{3})_frame\d+", case_id):
            frames.setdefault(int(match[1]), []).append(case_id)
    test = [patient for patient in frames if patient in ACDC_TEST_PATIENTS]
    rest = [patient for patient in frames if patient not in ACDC_TEST_PATIENTS]
    # Repeats and other names are not among the frames.
    if sum(map(len, frames.values())) != len(case_ids) or not test or len(rest) < 2:
        raise InputError(
            "ACDC cannot be split",
            expected="frames like patient001_frame01, each once; of patients "
            f"{', '.join(map(str, ACDC_TEST_PATIENTS))} (test) at least one, of the others at least two",
            got=f"{len(case_ids)} cases, {len(test)} test patients and {len(rest)} others",
            do="add patients, or remove the repeats",
        )
    parts = (*_drawn(rest, seed), test)
    return Split(*(tuple(frame for patient in part for frame in frames[patient]) for part in parts))


def bcv_split(case_ids: Sequence[str], seed: int = 1234) -> Split:
    """Split BCV: the paper's 12 cases test; of the other 18, shuffled, 2 validate.

    The paper trains on all 18, and chooses the epoch on the 12 that it reports.

    Args:
        case_ids: names that end with the number of the case, `img0001` for example, without repeats.
        seed: of the shuffle.

    Raises:
        InputError: a case twice, another kind of name, or a part that would be empty.
    """
    numbers = {int(m[1]): case for case in case_ids if (m := re.search(r"(\d+)$", case))}
    test = [case for number, case in sorted(numbers.items()) if number in BCV_TEST_CASES]
    rest = [case for number, case in sorted(numbers.items()) if number not in BCV_TEST_CASES]
    if len(numbers) != len(case_ids) or not test or len(rest) < 2:
        raise InputError(
            "BCV cannot be split",
            expected=f"names that end with the number of the case, each once; of {BCV_TEST_CASES} at least"
            " one, of the others at least two",
            got=f"{len(case_ids)} cases, {len(test)} to test on and {len(rest)} others",
            do="add cases, or remove the repeats",
        )
    train, validation = _drawn(rest, seed)
    return Split(tuple(train), tuple(validation), tuple(test))


def _drawn(rest: list[_Name], seed: int) -> tuple[list[_Name], list[_Name]]:
    """What is left beside the test part, shuffled, for training and validation."""
    shuffled = list(rest)
    random.Random(seed).shuffle(shuffled)
    cut = len(shuffled) - max(1, len(shuffled) // VALIDATION_SHARE)
    return shuffled[:cut], shuffled[cut:]


def _shared_order(task: str, seed: int) -> list[int]:
    generator = random.Random(seed)
    for name, cases in MSD_CASES.items():
        order = list(range(cases))
        generator.shuffle(order)
        if name == task:
            break
    return order


def _own_order(n: int, seed: int) -> list[int]:
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return order
