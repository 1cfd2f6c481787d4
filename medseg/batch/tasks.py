"""What is to be done and what became of it, as plain data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["fresh", "done", "failed", "skipped", "lost"]
STATES: tuple[State, ...] = ("done", "fresh", "failed", "skipped", "lost")
FAILED, LOST = 1, 3  # exit codes


@dataclass(frozen=True)
class Task:
    """A call that may run in another process, on another machine.

    Attributes:
        name: unique among the tasks of one run.
        function: importable by its name where it runs; gives plain data.
        args: plain data too.
        after: names of the tasks whose results it reads.
        seconds: what it took before, None where nothing is known.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        name: of the task.
        state: fresh: an earlier result still holds; done; failed: it raised; skipped: something it needs
            is not there; lost: its workers died, each time.
        seconds: of the last attempt, wall time; of the earlier run where fresh.
        attempts: how often it was started.
        message: why it is not done.
        value: what the function gave.
    """

    name: str
    state: State
    seconds: float = 0.0
    attempts: int = 0
    message: str = ""
    value: Any = field(default=None, repr=False)


def counts(outcomes: Iterable[Outcome]) -> dict[State, int]:
    """How many outcomes there are of each state that occurs.

    >>> counts([Outcome("a", "done"), Outcome("b", "failed"), Outcome("c", "done")])
    {'done': 2, 'failed': 1}
    """
    states = [outcome.state for outcome in outcomes]
    return {state: states.count(state) for state in STATES if state in states}


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 where all is done, 1 where something failed, 3 where nothing failed but workers were lost.

    >>> exit_code([Outcome("a", "lost"), Outcome("b", "skipped")])
    3
    """
    found = counts(outcomes)
    return FAILED if "failed" in found else LOST if "lost" in found else 0


def line_of(outcome: Outcome) -> str:
    """One line on an outcome, for a log.

    >>> line_of(Outcome("a", "done", 1.25)), line_of(Outcome("a", "lost", message="its worker died"))
    ('a: 1.2 s', 'a: lost: its worker died')
    """
    if outcome.state == "done":
        again = f", start {outcome.attempts}" if outcome.attempts > 1 else ""
        return f"{outcome.name}: {outcome.seconds:.1f} s{again}"
    return f"{outcome.name}: {outcome.state}: {outcome.message.partition(chr(10))[0]}"
