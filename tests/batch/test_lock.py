"""One process at a time in a folder, and a killed one holds nobody back."""

import signal
import subprocess
import sys

import pytest

from medseg.batch.lock import alone_in, sole_in
from medseg.errors import InputError

HOLD = """
import sys, time
from pathlib import Path
from medseg.batch import lock
with getattr(lock, sys.argv[2])(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""
TRY = """
import fcntl, sys
with open(sys.argv[1], "ab") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def test_held_until_the_process_ends_however_it_ends(tmp_path):
    folder = tmp_path / "runs" / "one"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), "alone_in"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        tried = subprocess.run([sys.executable, "-c", TRY, str(folder / ".lock")], capture_output=True)
        assert tried.returncode != 0 and b"BlockingIOError" in tried.stderr
        holder.send_signal(signal.SIGKILL)
    with alone_in(folder):
        pass
    with alone_in(folder):
        pass


def test_a_second_process_is_refused_and_leaves_no_trace(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "sole_in"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(InputError, match="another process is at work"), sole_in(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    with sole_in(tmp_path), alone_in(tmp_path / "other"):
        pass
    with sole_in(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["other"]
