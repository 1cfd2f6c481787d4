"""Functions that tests hand to workers: a worker imports them by name."""

import json
import os
import signal
import time
from pathlib import Path


def note(folder, name, *needed):
    """Say that it ran, and what was there before it."""
    there = [other for other in needed if Path(folder, other).exists()]
    Path(folder, name).write_text(" ".join(there))
    return name


def where():
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")
    return {name: os.environ.get(name) for name in names} | {"pid": os.getpid()}


def fail(folder, name):
    with open(Path(folder, name), "a") as stream:
        stream.write("x")
    raise KeyError("no such thing")


def wait_for(folder, own, other):
    """Say that it runs, and wait until the other one does: only where they run at the same time."""
    Path(folder, own).touch()
    until = time.monotonic() + 60
    while not Path(folder, other).exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{other} never came")
        time.sleep(0.02)
    return os.getpid()


def die_first(folder, times):
    """Kill this worker the first so many times."""
    path = Path(folder, "deaths")
    deaths = len(path.read_text()) if path.exists() else 0
    if deaths < times:
        path.write_text("x" * (deaths + 1))
        time.sleep(0.3)  # what the worker said is on its way
        os.kill(os.getpid(), signal.SIGKILL)
    return deaths


def sign(folder, name, seconds=0.0):
    """Write the name to a list, and stay for a while."""
    with open(Path(folder, "order"), "a") as stream:
        stream.write(f"{name} ")
    time.sleep(seconds)


HERE = Path(__file__).parent


def address_in(file):
    """The address of a scheduler, once it has written its file."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if file.exists() and (text := file.read_text()):
            return json.loads(text)["address"]
        time.sleep(0.1)
    raise TimeoutError("the scheduler did not start")


def kill_once(pid, path):
    """Kill a process as soon as a file is there."""
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
