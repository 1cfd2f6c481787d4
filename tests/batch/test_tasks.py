"""Outcomes in numbers: the exit code says whether to look at a page or at the machines."""

import pytest

from medseg.batch.tasks import STATES, Outcome, counts, exit_code


def outcomes(*states):
    return [Outcome(f"{number}", state) for number, state in enumerate(states)]


def test_counts_name_what_occurs():
    assert counts(outcomes()) == {}
    assert counts(outcomes("failed", "done", "failed")) == {"done": 1, "failed": 2}
    assert sum(counts(outcomes(*STATES)).values()) == len(STATES)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), 0),
        (("done", "fresh"), 0),
        (("done", "failed", "skipped"), 1),
        (("lost", "skipped"), 3),
        (("lost", "failed"), 1),
    ],
)
def test_exit_code(states, code):
    assert exit_code(outcomes(*states)) == code
