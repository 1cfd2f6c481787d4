"""Dice of patients: what a test or an interval counts once, though a data set has several cases of one."""

from collections.abc import Iterable
from statistics import fmean

from medseg.data.catalog import DATASETS
from medseg.metrics.case import CaseScore
from medseg.metrics.summary import case_means
from medseg.records.schema import Part, Record


def patient_of(dataset: str, case: str) -> str:
    """The patient a case is of; in a data set that the catalog does not know, every case is one.

    >>> patient_of("ACDC", "patient007_frame12"), patient_of("Task04_Hippocampus", "hippocampus_001")
    ('patient007', 'hippocampus_001')
    """
    card = DATASETS.get(dataset)
    return card.patient_of(case) if card else case


def unit_of(dataset: str) -> str:
    """What a test counts once: "patient" where names of cases tell patients apart, else "case"."""
    card = DATASETS.get(dataset)
    return "patient" if card and card.patient else "case"


def scores_of(record: Record, *parts: Part) -> list[CaseScore]:
    """The scores that a table counts: of the named parts, all where none is named.

    Of a run on a fold the test cases alone, for its validation cases are those of another fold's test.
    """
    return record.scores(*(parts if record.config.data.fold is None else ("test",)))


def dice_by_seed(records: Iterable[Record], *parts: Part) -> dict[int, dict[str, float | None]]:
    """`patient_dice` of the records of one cell by seed; the folds of a seed are put together."""
    found: dict[int, dict[str, float | None]] = {}
    for record in records:
        found.setdefault(record.identity.seed, {}).update(patient_dice(record, *parts))
    return found


def patient_dice(record: Record, *parts: Part) -> dict[str, float | None]:
    """Dice of every scored patient, as a share of 1: the mean over labels of a case, then over cases.

    None where no case of a patient has a Dice. Parts as of `scores_of`.
    """
    found: dict[str, list[float]] = {}
    for case, dice in case_means(scores_of(record, *parts)).items():
        own = found.setdefault(patient_of(record.data.name, case), [])
        own += [] if dice is None else [dice]
    return {patient: fmean(dice) if dice else None for patient, dice in found.items()}
