"""Seeded five folds over case ids, for cross-validation: Med-Tuning never published its lists."""

import random
from collections.abc import Sequence

from medseg.data.splits import VALIDATION_SHARE, Split
from medseg.errors import InputError

FOLDS = 5


def five_folds(case_ids: Sequence[str], seed: int = 1234) -> tuple[tuple[str, ...], ...]:
    """Deal cases into five folds whose sizes differ by at most one; the order of `case_ids` has no effect.

    Args:
        case_ids: all labelled cases, without repeats.
        seed: of the shuffle.

    Raises:
        InputError: fewer cases than folds, or a case twice.

    >>> [len(fold) for fold in five_folds([f"case_{n}" for n in range(12)])]
    [3, 3, 2, 2, 2]
    """
    different = sorted(set(case_ids))
    if len(different) != len(case_ids) or len(different) < FOLDS:
        raise InputError(
            "the cases cannot be dealt into folds",
            expected=f"at least {FOLDS} different cases",
            got=f"{len(case_ids)} cases, {len(different)} of them different",
            do="add cases, or remove the repeats",
        )
    random.Random(seed).shuffle(different)
    return tuple(tuple(different[first::FOLDS]) for first in range(FOLDS))


def fold_split(case_ids: Sequence[str], fold: int, seed: int = 1234) -> Split:
    """Test on one fold and train on the other four, of which one case in eight validates.

    The paper trains on all of the four and takes the last checkpoint. Here the epoch may be chosen, so cases
    are set aside for that, never from the fold that is tested on.

    Args:
        case_ids: all labelled cases, without repeats.
        fold: from 0 to 4.
        seed: of the shuffle.

    Raises:
        InputError: no such fold, or as `five_folds`.
    """
    folds = five_folds(case_ids, seed)
    if not 0 <= fold < FOLDS:
        raise InputError(
            "there is no such fold", expected=f"0 to {FOLDS - 1}", got=str(fold), do="name one of the folds"
        )
    rest = [case for number, cases in enumerate(folds) if number != fold for case in cases]
    random.Random(f"{seed} {fold}").shuffle(rest)
    cut = len(rest) - max(1, len(rest) // VALIDATION_SHARE)
    return Split(tuple(rest[:cut]), tuple(rest[cut:]), folds[fold])
