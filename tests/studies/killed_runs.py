"""Kills runs with SIGKILL and goes on with them (`killed_runs.py DATA FOLDER`): prints a JSON list of trials.

One process imports everything once and forks a child for each run, so that a trial takes seconds. The
parent starts no thread and computes nothing, so that its children may fork from it.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medseg.config import resolve
from medseg.records import store
from medseg.studies.run import open_data, run_one
from medseg.training import checkpoint
from medseg.training.curve import CURVE_FILE
from medseg.training.run_folder import MODEL_FILE, RECORD_FILE, RUN_FILE

TIMED, IN_A_WRITE, AT_A_RENAME = 20, 6, 6
MODEL = {"encoder": "test_vit", "taps": (1, 2, 3, 5), "image_px": 32, "slices": 3, "decoder_channels": 8}
TRAIN = {"steps": 12, "batch": 2, "checkpoint_every": 2, "warmup_steps": 1, "validate_every": 4}
CONFIG = resolve("smoke", {"model": MODEL, "train": TRAIN})


def start(call: Callable[[], Any]) -> int:
    """Fork a child that makes one call."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int) -> int:
    """Exit code of a child; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_in_a_write(limit: int) -> None:
    """Die when so many bytes of checkpoints were written, in the middle of a write."""
    write, seen = checkpoint._Hashing.write, [0]

    def cut(self: Any, data: bytes) -> int:
        seen[0] += len(data)
        if seen[0] > limit:
            write(self, memoryview(data)[: len(data) // 2])
            self.handle.flush()
            die()
        return write(self, data)

    checkpoint._Hashing.write = cut  # type: ignore[method-assign]


def dying_at_a_rename(number: int, after: bool) -> None:
    """Die just before or just after the given rename of a written file."""
    replace, seen = os.replace, [0]

    def cut(*paths: Any) -> None:
        seen[0] += 1
        if seen[0] == number and not after:
            die()
        replace(*paths)
        if seen[0] == number:
            die()

    os.replace = cut  # type: ignore[assignment]


def counted(folder: Path) -> None:
    """Leave the number of checkpoint bytes and of renames of a run."""
    written, renamed = [0], [0]
    write, replace = checkpoint._Hashing.write, os.replace

    def count_write(self: Any, data: bytes) -> int:
        written[0] += len(data)
        return write(self, data)

    def count_replace(*paths: Any) -> None:
        renamed[0] += 1
        replace(*paths)

    checkpoint._Hashing.write, os.replace = count_write, count_replace  # type: ignore[method-assign,assignment]
    run(folder)
    (folder / "counts.json").write_text(json.dumps([written[0], renamed[0]]))


def run(folder: Path, before: Callable[[], None] = lambda: None) -> None:
    before()
    # What a caller does who knows no more than the folder.
    run_one(CONFIG, DATA, folder, resume=(folder / RUN_FILE).exists())


def substance(folder: Path) -> dict[str, Any]:
    return store.read(folder / RECORD_FILE).substance()


def trial(name: str, folder: Path, whole: Path, killed: int) -> dict[str, Any]:
    """Go on with a killed run to its end; what was left, and whether it is the uninterrupted one."""
    left = {"steps": list(checkpoint.paths(folder)), "halves": len(list(folder.rglob("*writing.pt")))}
    code = ended(start(lambda: run(folder)))
    same = {"code": code == 0, "no half": not list(folder.rglob("*writing.pt"))}
    for file in (MODEL_FILE, CURVE_FILE):
        same[file] = code == 0 and (folder / file).read_bytes() == (whole / file).read_bytes()
    same["record"] = code == 0 and substance(folder) == substance(whole)
    found = {"fault": name, "killed": killed == -signal.SIGKILL, "left": left, "same": same}
    if all(same.values()):
        shutil.rmtree(folder)
    return found | {"survived": all(same.values())}


def trials(folder: Path) -> list[dict[str, Any]]:
    whole, found, draw = folder / "whole", [], random.Random(1)
    assert ended(start(lambda: counted(whole))) == 0
    all_bytes, renames = json.loads((whole / "counts.json").read_text())
    lives_s = []
    for n in range(2):
        begun = time.perf_counter()
        assert ended(start(lambda n=n: run(folder / f"life {n}"))) == 0
        lives_s.append(time.perf_counter() - begun)
    for n in range(TIMED):
        target, delay_s = folder / f"timed {n}", draw.random() * min(lives_s)
        pid = start(lambda target=target: run(target))
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
        found.append(trial(f"after {delay_s:.3f} s", target, whole, ended(pid)))
    for n in range(IN_A_WRITE):
        target, limit = folder / f"write {n}", draw.randrange(all_bytes)
        pid = start(lambda target=target, limit=limit: run(target, lambda: dying_in_a_write(limit)))
        found.append(trial(f"in byte {limit} of {all_bytes}", target, whole, ended(pid)))
    for n in range(AT_A_RENAME):
        target, number, after = folder / f"rename {n}", draw.randint(1, renames), n % 2 == 0
        pid = start(lambda t=target, k=number, a=after: run(t, lambda: dying_at_a_rename(k, a)))
        name = f"{'after' if after else 'before'} rename {number} of {renames}"
        found.append(trial(name, target, whole, ended(pid)))
    return found


if __name__ == "__main__":
    DATA = open_data(Path(sys.argv[1]), split_seed=1234)
    print(json.dumps(trials(Path(sys.argv[2]))))
