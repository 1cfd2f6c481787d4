"""Where a client comes from, and what its workers have of the machine."""

import socket
import subprocess
import sys
import threading

import calls
import pytest

from medseg.batch import cluster
from medseg.batch.run import run
from medseg.batch.tasks import Task
from medseg.errors import InputError


def test_nothing_asked_is_no_client():
    with cluster.client() as made:
        assert made is None


def test_both_asked():
    with pytest.raises(InputError, match="exclude each other"), cluster.client(1, "tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize("address", ["free port", "no address at all", "tcp://127.0.0.1:notaport"])
def test_no_scheduler_answers(monkeypatch, address):
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.5)
    if address == "free port":
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{held.getsockname()[1]}"
    with pytest.raises(InputError, match="no scheduler answers"), cluster.client(scheduler=address):
        pass


def test_one_worker_a_gpu(monkeypatch):
    monkeypatch.setattr(cluster, "gpus", lambda: ["7", "8"])
    monkeypatch.delenv("OMP_NUM_THREADS")
    with pytest.raises(InputError, match="more workers than GPUs"), cluster.client(workers=3):
        pass
    with cluster.client(workers=2) as made:
        assert cluster.offers_gpu(made)
        found = [outcome.value for outcome in run([Task(name, calls.where) for name in "abcdefgh"], made)]
    assert {place["CUDA_VISIBLE_DEVICES"] for place in found} <= {"7", "8"}
    assert len({(place["pid"], place["CUDA_VISIBLE_DEVICES"]) for place in found}) <= 2
    assert all(int(place["OMP_NUM_THREADS"]) >= 1 for place in found)
    # Dask's own setting makes malloc map every large tensor anew: twice the page faults of a training.
    assert all(place["MALLOC_TRIM_THRESHOLD_"] is None for place in found)


def test_gpus_that_this_process_may_use(monkeypatch):
    for value, found in {"": [], "-1": [], "0": ["0"], "1, GPU-3f": ["1", "GPU-3f"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert cluster.gpus() == found
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert cluster.gpus() == []


@pytest.mark.slow
def test_a_scheduler_that_runs_elsewhere(tmp_path, monkeypatch):
    """A scheduler and a worker started by hand, as in two terminals; they are there afterwards."""
    dask = [sys.executable, "-m", "dask"]
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    listen = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    work = ["--nthreads", "4", "--resources", "GPU=1", "--no-dashboard", "--scheduler-file", str(file)]
    with (
        subprocess.Popen([*dask, "scheduler", *listen], cwd=calls.HERE, **quiet) as scheduler,
        subprocess.Popen([*dask, "worker", *work], cwd=calls.HERE, **quiet) as worker,
    ):
        try:
            address = calls.address_in(file)
            for _ in range(2):
                with cluster.client(scheduler=address) as made:
                    assert cluster.offers_gpu(made)
                    tasks = [
                        Task("bad", calls.fail, (str(tmp_path), "tries")),
                        Task("good", calls.note, (str(tmp_path), "good")),
                    ]
                    bad, good = run(tasks, made)
                    assert bad.message.startswith("KeyError") and good.state == "done", good.message
            monkeypatch.setattr(cluster.medseg, "__version__", "99")
            with pytest.raises(InputError, match="another medseg"), cluster.client(scheduler=address):
                pass
            assert scheduler.poll() is None and worker.poll() is None
            monkeypatch.undo()
            with cluster.client(scheduler=address) as made:
                killer = threading.Thread(target=calls.kill_once, args=(scheduler.pid, tmp_path / "own"))
                killer.start()
                lost = run([Task("waits", calls.wait_for, (str(tmp_path), "own", "never"))], made)[0]
                killer.join()
            assert (lost.state, lost.message) == ("lost", "the scheduler went away")
        finally:
            worker.terminate()
            scheduler.terminate()
    assert (tmp_path / "tries").read_text() == "xx"
