"""Five folds partition the cases; a split of a fold never trains or validates on what it tests."""

import pytest

from medseg.config import DataConfig, resolve
from medseg.data.folds import FOLDS, five_folds, fold_split
from medseg.data.splits import msd_split, split_cases
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


@pytest.mark.parametrize("dataset", ["BraTS2019", "KiTS19", "Task04_Hippocampus"])
def test_a_fold_is_chosen_in_place_of_the_split_of_the_data_set(dataset):
    assert split_cases(ids(40), dataset, 7) == msd_split(ids(40), dataset, 7)
    for fold in range(FOLDS):
        assert split_cases(ids(40), dataset, 7, fold) == fold_split(ids(40), fold, 7)


def test_two_frames_of_a_patient_are_not_dealt_into_folds():
    frames = [f"patient{n:03}_frame{frame:02}" for n in range(1, 10) for frame in (1, 9)]
    assert split_cases(frames, "ACDC").test
    with pytest.raises(InputError, match="not dealt into folds"):
        split_cases(frames, "ACDC", fold=0)


def test_a_run_is_asked_for_a_fold_by_its_configuration():
    folds = [resolve("full", {"data": {"fold": fold}}) for fold in range(FOLDS)]
    plain = resolve("full")
    assert resolve("full", {"data": {"fold": None}}).digest() == plain.digest()
    assert len({config.digest() for config in (plain, *folds)}) == FOLDS + 1
    assert DataConfig().fold is None and DataConfig().least_enhancing_voxels == 0
    for fields in ({"fold": FOLDS}, {"fold": -1}, {"least_enhancing_voxels": -1}):
        with pytest.raises(InputError, match="not valid"):
            resolve("full", {"data": fields})
