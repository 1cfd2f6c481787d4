"""Tasks on the workers of a Dask scheduler: started, counted, started again when a worker died."""

import uuid
from collections import Counter
from typing import Any

from distributed import Client, Future, as_completed
from distributed.scheduler import KilledWorker

from medseg.batch.attempt import Attempt, announced
from medseg.batch.cluster import offers_gpu
from medseg.batch.tasks import Outcome, Task
from medseg.errors import Interrupted

_FIRST = 1e9  # seconds assumed of a task that never ran: it may be the longest


class Workers:
    """A lane on a client's workers. Each task takes one GPU where workers offer them."""

    def __init__(self, client: Client, attempts: int):
        self._client, self._attempts = client, attempts
        self._topic = f"medseg-{uuid.uuid4().hex}"
        self._resources = {"GPU": 1} if offers_gpu(client) else None
        self._ended = as_completed(loop=client.loop)
        self._tasks: dict[Future, Task] = {}

    def ordered(self, tasks: list[Task]) -> list[Task]:
        """The longest first: the last one to end leaves the other workers idle."""
        return sorted(tasks, key=_expected_s, reverse=True)

    def start(self, task: Task) -> None:
        """Hand a task to the scheduler."""
        future = self._client.submit(
            announced,
            self._topic,
            task.name,
            task.function,
            task.args,
            # The first part is the kind of the task: its mean time helps the scheduler to balance.
            key=("medseg-task", task.name, uuid.uuid4().hex),
            priority=_expected_s(task),
            resources=self._resources,
            retries=0,
            pure=False,
        )
        self._tasks[future] = task
        self._ended.add(future)

    def next(self) -> Outcome:
        """Wait for the next task that is done, failed or lost."""
        while True:
            future = next(self._ended)
            task = self._tasks.pop(future)
            if future.status == "finished":
                ended: Attempt = future.result()
                state: Any = "done" if ended.done else "failed"
                return Outcome(
                    task.name, state, ended.seconds, self._starts(task), ended.message, ended.value
                )
            if future.status == "cancelled" or self._client.status != "running":
                return Outcome(task.name, "lost", message="the scheduler went away")
            if future.status != "error":
                # Its worker died with the result before it was fetched: the scheduler starts it again.
                self._tasks[future] = task
                self._ended.add(future)
                continue
            error = future.exception()
            if not isinstance(error, KilledWorker | Interrupted):
                # It could not even be called: another version of the package, or none, on that worker.
                message = f"{type(error).__name__}: {error}"
                return Outcome(task.name, "failed", attempts=self._starts(task), message=message)
            # The scheduler suspects all tasks that waited on a worker that died, ours counts starts.
            if (starts := self._starts(task)) >= self._attempts:
                message = f"its worker died or was stopped, {starts} times"
                return Outcome(task.name, "lost", attempts=starts, message=message)
            self.start(task)

    def _starts(self, task: Task) -> int:
        return Counter(name for _, name in self._client.get_events(self._topic))[task.name]


def _expected_s(task: Task) -> float:
    return _FIRST if task.seconds is None else task.seconds
