"""Five folds partition the cases; a split of a fold never trains or validates on what it tests."""

import pytest

from medseg.data.folds import FOLDS, five_folds, fold_split
from medseg.errors import InputError


def ids(n):
    return [f"case_{number:03d}" for number in range(n)]


# 335, 369 and 210 are the labelled cases of BraTS 2019, BraTS 2020 and KiTS19.
@pytest.mark.parametrize("n", [5, 7, 12, 210, 335, 369])
@pytest.mark.parametrize("seed", [0, 1234])
def test_folds_partition_the_cases_evenly(n, seed):
    folds = five_folds(ids(n), seed)
    assert len(folds) == FOLDS and sorted(case for fold in folds for case in fold) == ids(n)
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_seed_alone_decides():
    assert five_folds(ids(20), 7) == five_folds(ids(20)[::-1], 7) != five_folds(ids(20), 8)
    assert fold_split(ids(20), 2, 7) == fold_split(ids(20)[::-1], 2, 7) != fold_split(ids(20), 2, 8)


def test_the_lists_stay_what_they_are():
    assert [fold[0] for fold in five_folds(ids(10))] == [
        "case_002",
        "case_008",
        "case_003",
        "case_005",
        "case_006",
    ]


@pytest.mark.parametrize("n", [5, 12, 335])
def test_every_case_is_tested_once_and_never_trained_on_then(n):
    splits = [fold_split(ids(n), fold) for fold in range(FOLDS)]
    assert sorted(case for split in splits for case in split.test) == ids(n)
    for split, fold in zip(splits, five_folds(ids(n)), strict=True):
        assert split.test == fold and split.train and split.validation
        assert sorted((*split.train, *split.validation, *split.test)) == ids(n)
        assert len(split.validation) == max(1, (n - len(fold)) // 8)


def test_what_cannot_be_dealt_is_refused():
    for cases in (ids(4), [*ids(6), "case_000"]):
        with pytest.raises(InputError, match="dealt into folds"):
            five_folds(cases)
    for fold in (-1, FOLDS):
        with pytest.raises(InputError, match="no such fold"):
            fold_split(ids(10), fold)
