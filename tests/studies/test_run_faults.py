"""Nothing is lost: killed, asked to end, or out of disk, a run goes on to the bits it would have had."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.records import store
from medseg.studies.study import ROOT
from medseg.training import checkpoint
from medseg.training.progress import PROGRESS_FILE
from medseg.training.run_folder import MODEL_FILE, RECORD_FILE

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
TRAIN = ("-m", "medseg", "train")
OPTIONS = ("--profile", "smoke", "--steps", "16")


def environment():
    inherited = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def started(*command):
    """A Python process of its own, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process, timeout_s=300):
    """Exit code and output; whatever is left of the group is ended, too."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def model(run_dir):
    return (run_dir / MODEL_FILE).read_bytes()


@pytest.fixture(scope="module")
def whole(phantoms, tmp_path_factory):
    """The uninterrupted run on so many processes."""
    made = {}

    def run(devices):
        if devices not in made:
            folder = tmp_path_factory.mktemp("whole") / str(devices)
            code, _, err = ended(started(*TRAIN, phantoms, "-o", folder, *OPTIONS, "--devices", devices))
            assert code == 0, err
            made[devices] = folder
        return made[devices]

    return run


def test_killed_at_any_point(phantoms, tmp_path, record_property):
    code, out, err = ended(started(HERE / "killed_runs.py", phantoms, tmp_path), timeout_s=900)
    assert code == 0, err
    trials = json.loads(out)
    killed = [trial for trial in trials if trial["killed"]]
    lost = [trial for trial in trials if not trial["survived"]]
    record_property("faults_tried", len(killed))
    record_property("faults_survived", len(killed) - len(lost))
    print(f"faults tried {len(killed)}, survived {len(killed) - len(lost)}")
    for trial in trials:
        print(trial)
    assert not lost, err
    # A run that was faster than expected may have ended before its kill.
    assert len(killed) >= 25
    newest = {(trial["left"]["steps"] or [0])[0] for trial in killed}
    assert len(newest) >= 4, "points all over the run"
    assert any(trial["left"]["halves"] for trial in killed), "some in the middle of a checkpoint"


@pytest.mark.parametrize("devices", [1, 2])
def test_asked_to_end_it_saves_and_goes_on(phantoms, tmp_path, whole, devices):
    train = (*TRAIN, phantoms, "-o", tmp_path / "run", *OPTIONS, "--devices", devices)
    process, deadline = started(*train), time.monotonic() + 200
    while not (tmp_path / "run" / PROGRESS_FILE).exists():
        assert process.poll() is None and time.monotonic() < deadline, ended(process, 1)
        time.sleep(0.02)
    # A scheduler tells the first process alone, or all: here the first.
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 75, err
    assert "saved after step" in err and err.count("interrupted:") == 1
    saved = max(checkpoint.paths(tmp_path / "run"))
    assert 0 < saved < 16 and f"saved after step {saved} of 16" in err
    assert not (tmp_path / "run" / MODEL_FILE).exists()
    code, _, err = ended(started(*train, "--resume"))
    assert code == 0, err
    assert model(tmp_path / "run") == model(whole(devices))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for its own size")
def test_too_little_memory(phantoms, tmp_path):
    code, out, err = ended(started(HERE / "limited_memory.py", phantoms, tmp_path))
    assert code == 0, err
    assert "out of memory with 256 windows" in out and "GB used of" in out and "--accumulate 2" in out
    record = store.read(tmp_path / RECORD_FILE)
    assert record.outcome.status == "out_of_memory" and record.outcome.reason == out.strip()


FULL = """
mount -t tmpfs -o size=240m none "$ROOM" || exit 99
head -c 130000000 /dev/zero > "$ROOM/filler"
"$@" 2> "$OUT/error"; echo $? > "$OUT/first"
ls -A "$ROOM/run/checkpoints" > "$OUT/left"
rm "$ROOM/filler"
"$@" --resume; echo $? > "$OUT/second"
cp "$ROOM/run/model.safetensors" "$ROOM/run/record.json" "$OUT"
"""


def may_mount():
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs a user namespace to mount a small disk")
def test_a_full_disk(phantoms, tmp_path, whole):
    room = tmp_path / "room"
    room.mkdir()
    # A checkpoint has 72 MB: one fits beside the filler, a second one does not.
    train = (sys.executable, *TRAIN, str(phantoms), "-o", str(room / "run"), *OPTIONS, "--keep", "1")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", FULL, "sh", *train],
        env=environment() | {"ROOM": str(room), "OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    if done.returncode == 99:
        pytest.skip("may not mount")
    assert (tmp_path / "first").read_text() == "2\n", done.stderr
    error = (tmp_path / "error").read_text()
    assert "checkpoint of step 8 cannot be written" in error and "No space left on device" in error
    assert "--resume" in error and "Traceback" not in error
    left = (tmp_path / "left").read_text().split()
    assert len(left) == 1 and left[0].startswith("step-00000004-"), "the old one is whole, no half is left"
    assert (tmp_path / "second").read_text() == "0\n", done.stderr
    assert (tmp_path / MODEL_FILE).read_bytes() == model(whole(1))
    assert (tmp_path / RECORD_FILE).exists()
