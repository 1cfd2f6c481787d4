"""Splits by named case ids, among them the paper's split of the Decathlon."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from medseg.errors import InputError

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


@dataclass(frozen=True)
class Split:
    """Case ids for training, validation and test, each in shuffled order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Hex sha256 of the split as canonical JSON: the same ids in the same order give the same digest."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


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
