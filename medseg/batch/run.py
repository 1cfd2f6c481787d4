"""Run tasks: what is needed comes first, what needs a failure is skipped."""

from collections import deque
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from medseg.batch.attempt import attempt
from medseg.batch.tasks import Outcome, Task

if TYPE_CHECKING:
    from distributed import Client

    from medseg.batch.workers import Workers

# Starts of a task whose workers die. A page that takes its worker down each time is not the worker's fault.
ATTEMPTS = 3


class Here:
    """One task after another in this process, in the order given."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    def ordered(self, tasks: list[Task]) -> list[Task]:
        """Tasks that became ready together, in the order they are started in."""
        return tasks

    def start(self, task: Task) -> None:
        """Queue a task."""
        self._waiting.append(task)

    def next(self) -> Outcome:
        """Run the task that waits longest."""
        task = self._waiting.popleft()
        ended = attempt(task.function, task.args)
        return Outcome(
            task.name, "done" if ended.done else "failed", ended.seconds, 1, ended.message, ended.value
        )


def run(
    tasks: Sequence[Task],
    client: "Client | None" = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    attempts: int = ATTEMPTS,
) -> list[Outcome]:
    """Run tasks in the order of their needs; with a client on its workers, longest first.

    A task that raises is not run again. One whose worker died is, until it was started `attempts` times;
    then it is lost. What needs a task that is not done is skipped.

    Args:
        tasks: names are unique; `after` names tasks of this list.
        client: from `medseg.batch.cluster.client`; None: in this process, one after another.
        on_outcome: called here, as tasks end.
        attempts: starts of a task whose workers die.

    Returns:
        One outcome a task, in the order given.

    Raises:
        ValueError: a name that stands twice or is not there, or needs in a circle.
        Interrupted: in this process, a run was asked to end.
    """
    by_name = {task.name: task for task in tasks}
    if len(by_name) < len(tasks) or any(name not in by_name for task in tasks for name in task.after):
        raise ValueError("task names must be unique, and `after` must name tasks of the same list")
    order = TopologicalSorter({task.name: task.after for task in tasks})
    order.prepare()
    lane = _lane(client, attempts)
    outcomes: dict[str, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        order.done(outcome.name)
        if on_outcome is not None:
            on_outcome(outcome)

    while order.is_active():
        ready = set(order.get_ready())
        if not ready:
            settle(lane.next())
        for task in lane.ordered([task for task in tasks if task.name in ready]):
            lacking = [name for name in task.after if outcomes[name].state != "done"]
            if lacking:
                settle(Outcome(task.name, "skipped", message=_needs(lacking, outcomes)))
            else:
                lane.start(task)
    return [outcomes[task.name] for task in tasks]


def _lane(client: "Client | None", attempts: int) -> "Here | Workers":
    if client is None:
        return Here()
    from medseg.batch.workers import Workers

    return Workers(client, attempts)


def _needs(lacking: list[str], outcomes: dict[str, Outcome]) -> str:
    return "needs " + ", ".join(f"{name} ({outcomes[name].state})" for name in lacking)
