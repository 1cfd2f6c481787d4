"""Executing the pages of a book: one way, in this process or on workers."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import medseg
from medseg.batch import cluster
from medseg.batch.run import ATTEMPTS, run
from medseg.batch.tasks import Outcome, Task, line_of
from medseg.book import freshness
from medseg.files import sha256_of
from medseg.training.interruption import ended_at_once

ENDED = "pages that were done stay so; the same command executes the others"
# A closed port: a page that reaches for the network fails at once instead of waiting.
_NOWHERE = "http://127.0.0.1:9"


def execute_pages(
    root: Path,
    out: Path,
    profile: str,
    pages: Iterable[str],
    log: Callable[[str], None] | None = None,
    ahead: Mapping[str, Sequence[Task]] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    attempts: int = ATTEMPTS,
) -> list[Outcome]:
    """Execute those pages whose outputs no longer hold, into the staged folder.

    Where all are fresh nothing is started, no cluster either.

    Args:
        root: the folder of the book.
        out: the staged folder.
        profile: passed to every page as its parameter `profile`; "smoke" means one thread and no network.
        pages: names of notebooks.
        log: called with one line for each page or run that ends.
        ahead: for a page, the tasks whose results it reads and that are still to be done.
        workers: processes of this machine, see `medseg.batch.cluster.client`.
        scheduler: address of a running scheduler.
        attempts: starts of a task whose workers die.

    Returns:
        One outcome a task ahead and a page, fresh ones too.

    Raises:
        InputError: a scheduler that does not answer, or more workers than GPUs.
        Interrupted: SIGTERM arrived; pages that were done stay so.
    """
    root, out = Path(root).resolve(), Path(out).resolve()
    log = log or (lambda line: None)
    env, times = _environment(root, profile), freshness.read_times(out)
    fresh: list[Outcome] = []
    before: dict[str, Task] = {}
    tasks: list[Task] = []
    for page in pages:
        known, needs = times.get(page, {}), (ahead or {}).get(page, ())
        digest = freshness.digest(root, page, profile, env)
        if not needs and freshness.is_fresh(out / f"{page}.ipynb", known, digest):
            fresh.append(Outcome(page, "fresh", known["seconds"]))
            log(f"{page}: unchanged, run before in {known['seconds']:.1f} s")
            continue
        before |= {task.name: task for task in needs}
        seconds = known.get("seconds") if known.get("profile") == profile else None
        args = (str(root), str(out), page, profile, env)
        tasks.append(Task(page, execute_page, args, tuple(task.name for task in needs), seconds))
    if not tasks:
        return fresh
    names = {task.name for task in tasks}
    tasks = [*before.values(), *tasks]

    def ended(outcome: Outcome) -> None:
        if outcome.name in names and outcome.state == "done":
            freshness.note(out, outcome.name, profile=profile, seconds=outcome.seconds, **outcome.value)
        log(line_of(outcome))

    slots = None if workers is None else min(workers, len(tasks))
    with ended_at_once(ENDED), cluster.client(slots, scheduler, attempts) as client:
        return [*fresh, *run(tasks, client, ended, attempts)]


def execute_page(root: str, out: str, page: str, profile: str, env: dict[str, str]) -> dict[str, Any]:
    """Execute one page and give its digest and that of its output: a task, on whatever machine.

    Raises:
        InputError: the page does not know the parameter `profile`.
        PageError: it did not run.
    """
    from medseg.book.runner import run_notebook

    source, target = Path(root, f"{page}.ipynb"), Path(out, f"{page}.ipynb")
    # Before it runs: what changes meanwhile makes it stale.
    digest = freshness.digest(Path(root), page, profile, env)
    run_notebook(source, target, {"profile": profile}, cwd=source.parent, env=env)
    return {"digest": digest, "output": sha256_of(target)}


def _environment(root: Path, profile: str) -> dict[str, str]:
    """The kernel's environment: this process's package, absolute data folders, and no network at smoke."""
    paths = [str(Path(medseg.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    # A page runs in its own folder, where relative paths would mean something else.
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MEDSEG_ROOT": str(root)}
    for name in freshness.DATA_FOLDERS:
        if folder := os.environ.get(name):
            env[name] = str(Path(folder).resolve())
    if profile == "smoke":
        env |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        env |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOWHERE)
        env |= {"HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    return env
