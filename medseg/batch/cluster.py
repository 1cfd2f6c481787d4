"""A Dask client: on workers of this machine, or on a scheduler that runs elsewhere."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import medseg
from medseg.batch.run import ATTEMPTS
from medseg.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Nanny

_HOST = "127.0.0.1"
_ANSWER_S = 10  # for a scheduler
_WORKER_S = 600  # for its first worker: a queue may have to start it
_QUIET = logging.CRITICAL  # a worker or scheduler that goes away is reported as the state of its tasks
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextmanager
def client(
    workers: int | None = None, scheduler: str | None = None, attempts: int = ATTEMPTS
) -> Iterator["Client | None"]:
    """Give a client, or None where neither workers nor a scheduler are asked for.

    Args:
        workers: processes of this machine, each with one task at a time. With GPUs, each has one of them.
        scheduler: address of a running scheduler, such as tcp://10.0.0.1:8786. Its workers see the same
            files at the same paths and have this package; they are not stopped afterwards.
        attempts: workers that may die under a task before the scheduler gives it up.

    Raises:
        InputError: both are given, more workers than GPUs, no such scheduler, or one without workers or
            without this package.
    """
    if workers is not None and scheduler is not None:
        raise InputError(
            "two options exclude each other",
            expected="--workers or --scheduler",
            got="both",
            do="drop one",
        )
    if scheduler is not None:
        with _running(scheduler) as found:
            yield found
    elif workers is not None:
        with _local(workers, attempts) as made:
            yield made
    else:
        yield None


def offers_gpu(client: "Client") -> bool:
    """Whether a worker of the cluster offers the resource GPU."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker["resources"].get("GPU", 0) >= 1 for worker in workers)


def gpus() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES of the GPUs that this process may use; found without importing torch."""
    if (allowed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1")]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    command = [tool, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


@contextmanager
def _local(workers: int, attempts: int) -> Iterator["Client"]:
    cards = gpus()
    if cards and workers > len(cards):
        raise InputError(
            "there are more workers than GPUs",
            expected=f"at most {len(cards)}: each worker has a GPU of its own",
            got=str(workers),
            do='ask for fewer workers, or hide the GPUs: CUDA_VISIBLE_DEVICES=""',
        )
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster
    from distributed.utils import silence_logging_cmgr

    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": attempts - 1,
        "distributed.scheduler.worker-saturation": 1.0,  # tasks wait at the scheduler, not at a worker
        "distributed.scheduler.worker-ttl": None,  # a training may hold the interpreter for long
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.daemon": False,  # a training may start processes of its own
        "distributed.worker.profile.enabled": False,
        # Not Dask's, which has malloc give memory back so eagerly that each large tensor is mapped anew.
        "distributed.nanny.pre-spawn-environ": {},
        "distributed.comm.timeouts.connect": "60s",  # a busy machine starts processes late
    }
    scheduler = {"host": _HOST, "port": 0, "dashboard": False, "dashboard_address": f"{_HOST}:0"}
    with (
        tempfile.TemporaryDirectory(prefix="medseg-workers-") as folder,
        dask.config.set(settings),
        silence_logging_cmgr(_QUIET),  # around the cluster, which lets its loggers speak again when it closes
        SpecCluster(
            scheduler={"cls": Scheduler, "options": scheduler},
            workers={
                number: {
                    "cls": Nanny,
                    "options": {
                        "host": _HOST,
                        "nthreads": 1,
                        "memory_limit": 0,
                        "dashboard": False,
                        "local_directory": folder,
                        "silence_logs": _QUIET,
                        **_share(number, workers, cards),
                    },
                }
                for number in range(workers)
            },
            silence_logs=_QUIET,
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        try:
            yield made
        finally:
            _kill(cluster.workers.values())


def _kill(nannies: Iterable["Nanny"]) -> None:
    """End the workers at once: they hold nothing, and one that has torch loaded takes seconds to leave."""
    for nanny in nannies:
        nanny.close_gracefully()  # it shall not start another one
        if nanny.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


def _share(number: int, workers: int, cards: list[str]) -> dict[str, Any]:
    """What one worker has of the machine: a GPU where there are any, and its part of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    env = {name: os.environ.get(name, str(max(1, cores // workers))) for name in _THREADS}
    if not cards:
        return {"env": env}
    return {"env": {**env, "CUDA_VISIBLE_DEVICES": cards[number]}, "resources": {"GPU": 1}}


@contextmanager
def _running(address: str) -> Iterator["Client"]:
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    try:
        asyncio.run(_greet(address))
    except (OSError, ValueError) as error:
        raise InputError(
            "no scheduler answers",
            expected=f"the address of a running Dask scheduler, within {_ANSWER_S} s",
            got=f"{address} ({type(error).__name__})",
            do="start one with `dask scheduler` and give the address that it prints, or use --workers",
        ) from error
    # After a greeting only: a client that finds nobody leaves threads behind, which hold up the next one.
    found = Client(address, timeout=_ANSWER_S, set_as_default=False)
    with silence_logging_cmgr(_QUIET), found:
        try:
            found.wait_for_workers(1, timeout=_WORKER_S)
        except TimeoutError as error:
            raise InputError(
                "the scheduler has no worker",
                expected=f"a worker within {_WORKER_S} s",
                got="none",
                do=f"start one: dask worker {address} --nthreads 1",
            ) from error
        _require_package(found)
        yield found


async def _greet(address: str) -> None:
    from distributed.comm import connect

    await (await connect(address, timeout=_ANSWER_S)).close()


def package_version() -> str:
    """Version of the package where this is called."""
    return medseg.__version__


def _require_package(client: "Client") -> None:
    """Refuse a scheduler that would fail every task, with a word on why."""
    own = package_version()
    try:
        found = {str(client.run_on_scheduler(package_version)), *client.run(package_version).values()}
        got = ", ".join(sorted(found - {own}))
    except Exception as error:  # whatever an import there may raise
        got = f"{type(error).__name__}: {error}".partition("\n")[0]
    if got:
        raise InputError(
            "the scheduler or a worker has another medseg, or none",
            expected=f"medseg {own} in the Python of the scheduler and of each worker",
            got=got,
            do="install it there, or start them from this environment",
        )
