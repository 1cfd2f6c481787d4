"""Splits: the paper's sizes, no case twice, and an order that never moves."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.data.splits import MSD_CASES, Split, acdc_split, msd_split, split_cases
from medseg.errors import InputError

# TransSeg, Table 1: training, validation, test.
SIZES = {
    "Task01_BrainTumour": (387, 72, 25),
    "Task02_Heart": (16, 3, 1),
    "Task03_Liver": (104, 20, 7),
    "Task04_Hippocampus": (208, 39, 13),
    "Task05_Prostate": (25, 5, 2),
    "Task06_Lung": (50, 9, 4),
    "Task07_Pancreas": (224, 42, 15),
    "Task08_HepaticVessel": (242, 45, 16),
    "Task09_Spleen": (32, 6, 3),
    "Task10_Colon": (100, 19, 7),
}


def ids(n):
    return [f"case_{i:03d}" for i in range(n)]


def sizes(split):
    return len(split.train), len(split.validation), len(split.test)


@pytest.mark.parametrize("task", SIZES)
def test_sizes_are_those_of_the_paper(task):
    assert sizes(msd_split(ids(MSD_CASES[task]), task)) == SIZES[task]


@pytest.mark.parametrize(("task", "n"), [*MSD_CASES.items(), ("Phantom", 12), ("Task04_Hippocampus", 20)])
def test_every_case_is_in_exactly_one_part(task, n):
    split = msd_split(ids(n), task)
    assert sorted(split.train + split.validation + split.test) == ids(n)


@pytest.mark.parametrize("task", list(MSD_CASES))
def test_one_generator_runs_over_the_tasks_in_order(task):
    # The recipe of the released code, written out: shuffle each task's own list, one generator for all.
    generator = random.Random(1234)
    for name, n in MSD_CASES.items():
        cases = ids(n)
        generator.shuffle(cases)
        if name == task:
            split = msd_split(ids(n), task)
            assert split.train + split.validation + split.test == tuple(cases)


def test_order_is_stable():
    split = msd_split(ids(260), "Task04_Hippocampus")
    assert split.digest == "039804cb611426ffbe8d6c5ee62f4b31c2ae70df764bfd8df3fd3e4aa0b42934"
    assert split == msd_split(tuple(ids(260)), "Task04_Hippocampus")
    assert split.digest != msd_split(ids(260), "Task04_Hippocampus", seed=1).digest
    assert split.digest != msd_split(ids(260)[::-1], "Task04_Hippocampus").digest


def test_digest_depends_on_the_part_and_the_order():
    digests = {
        Split(("a", "b"), ("c",), ("d",)).digest,
        Split(("b", "a"), ("c",), ("d",)).digest,
        Split(("a",), ("b", "c"), ("d",)).digest,
    }
    assert len(digests) == 3 and all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize("n", range(3, 40))
def test_no_part_is_empty_from_three_cases_on(n):
    split = msd_split(ids(n), "Phantom")
    assert min(sizes(split)) >= 1 and sum(sizes(split)) == n


def test_the_plain_rule_holds_where_it_leaves_no_part_empty():
    assert sizes(msd_split(ids(100), "Phantom")) == (80, 15, 5)


@pytest.mark.parametrize("cases", [[], ["a"], ["a", "b"], ["a", "b", "b"]])
def test_too_few_or_repeated_cases_are_refused(cases):
    with pytest.raises(InputError, match="cannot be split"):
        msd_split(cases, "Phantom")


# TransSeg's released code, src/data/acdc/ACDC_dataset.json: the patients of its only other part.
ACDC_TEST = {2, 3, 8, 9, 12, 14, 17, 24, 42, 48, 49, 53, 55, 64, 67, 79, 81, 88, 92, 95}


def acdc_frames(patients=range(1, 101)):
    return [f"patient{number:03d}_frame{frame:02d}" for number in patients for frame in (1, 4 + number % 9)]


def patients(part):
    return {int(name[7:10]) for name in part}


def test_acdc_has_the_papers_sizes_and_its_test_patients():
    split = acdc_split(acdc_frames())
    assert sizes(split) == (140, 20, 40)
    assert [len(patients(part)) for part in (split.train, split.validation, split.test)] == [70, 10, 20]
    assert patients(split.test) == ACDC_TEST


@given(st.integers(0, 2**32))
def test_both_frames_of_a_patient_stay_together(seed):
    split = acdc_split(acdc_frames(), seed)
    train, validation, test = map(patients, (split.train, split.validation, split.test))
    assert not train & validation and not (train | validation) & ACDC_TEST and test == ACDC_TEST
    for part in (split.train, split.validation, split.test):
        assert [name[:10] for name in part[::2]] == [name[:10] for name in part[1::2]]
    assert sorted(split.train + split.validation + split.test) == sorted(acdc_frames())


def test_the_order_of_acdc_is_the_seeds_alone():
    split = acdc_split(acdc_frames())
    assert split == acdc_split(acdc_frames()[::-1]) == split_cases(acdc_frames(), "ACDC")
    assert split.digest == "f1a598ea2735ac228608f6add80175fccccc806b98d2edad1e9609db21c2ff86"
    assert split.validation != acdc_split(acdc_frames(), seed=1).validation


def test_a_part_of_acdc_can_be_split():
    assert sizes(acdc_split(acdc_frames([1, 2, 4]))) == (2, 2, 2)


@pytest.mark.parametrize(
    "cases",
    [
        [],
        acdc_frames([1, 4]),
        acdc_frames([2, 3]),
        acdc_frames([1, 2]),
        acdc_frames([1, 2, 4]) + acdc_frames([1]),
        [*acdc_frames([1, 2, 4]), "case_7"],
    ],
)
def test_acdc_without_a_part_or_with_other_names_is_refused(cases):
    with pytest.raises(InputError, match="cannot be split"):
        acdc_split(cases)


def test_every_other_data_set_is_split_as_the_decathlon():
    assert split_cases(ids(30), "Phantom", 7) == msd_split(ids(30), "Phantom", 7)


BCV = [f"img{n:04}" for n in range(1, 41) if n not in range(11, 21)]


def test_bcv_has_the_cases_of_the_paper():
    split = split_cases(BCV, "BCV")
    assert [int(case[3:]) for case in split.test] == [1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38]
    assert len(BCV) == 30 and (len(split.train), len(split.validation), len(split.test)) == (16, 2, 12)
    # TransSeg's released code trains on these 18.
    paper = {5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40}
    assert {int(case[3:]) for case in (*split.train, *split.validation)} == paper
    assert split_cases(BCV[::-1], "BCV") == split != split_cases(BCV, "BCV", seed=1)


@pytest.mark.parametrize("cases", [BCV[:4], [*BCV, BCV[0]], [*BCV, "scan"], []])
def test_bcv_that_cannot_be_split_is_refused(cases):
    with pytest.raises(InputError, match="BCV cannot be split"):
        split_cases(cases, "BCV")
