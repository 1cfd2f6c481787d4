"""Workers that are killed: the page is run again, no kernel stays, every record is there once."""

import os
import signal
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from tiny_book import notebook, write_book

from medseg.book.rerun import rerun
from medseg.records import store
from medseg.studies import schedule, study
from medseg.studies.run import open_data
from medseg.studies.spread import run_study

pytestmark = [pytest.mark.notebook, pytest.mark.slow]

STUDY = """
name: tiny
title: Tiny
question: Does it run?
dataset: Phantom
seeds: [1, 2]
paper_table: none
cells:
  - cell: three
    title: three slices
    changes: &tiny
      model: {weights: stand_in, image_px: 32, slices: 3, decoder_channels: 8}
      train: {steps: 10, batch: 2, checkpoint_every: 3, warmup_steps: 1}
  - cell: three_again
    title: three slices, again
    changes: *tiny
"""

# A page that trains, and whose kernel kills the worker above it in the middle of the first training.
TRAINS = """
import os, signal, time
from pathlib import Path
from medseg.data.download import find_dataset
from medseg.studies import schedule, study
from medseg.studies.run import open_data

root = study.project_root()
with open(root / "kernels", "a") as stream:
    print(os.getpid(), os.getppid(), file=stream)
first = len((root / "kernels").read_text().splitlines()) == 1

def kill_worker(progress):
    if first and progress.step == 5:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3)
        (root / "orphan").touch()

asked = study.load("tiny")
data = open_data(find_dataset("Phantom"), 1234)
task = schedule.Task(asked.cells[0], 1)
record = schedule.run_task(asked, task, "colab", data, root / "runs", root / "results", kill_worker)
print(record.identity.run_id)
"""
READS = """
from medseg.records import store
from medseg.studies import study
records = store.read_study(study.project_root() / "results", "tiny")
print(*sorted(record.identity.run_id for record in records))
"""


@pytest.fixture
def root(tmp_path, phantoms, monkeypatch):
    monkeypatch.setenv("MEDSEG_DATA", str(phantoms.parent))
    root = write_book(tmp_path / "book", trains=notebook(TRAINS), reads=notebook(READS))
    for name in ("studies", "results"):
        (root / name).mkdir()
    (root / "studies" / "tiny.yaml").write_text(STUDY)
    return root


def printed(root, page):
    made = nbformat.read(root / "_build" / "stage" / "notebooks" / f"{page}.ipynb", as_version=4)
    nbformat.validate(made)
    return "".join(o.text for cell in made.cells for o in cell.get("outputs", ()) if "text" in o).split()


def test_a_worker_killed_in_the_middle_of_a_page(root):
    (page,) = rerun(root, "colab", ["trains"], workers=1)
    assert (page.state, page.attempts) == ("done", 2), page.message
    kernels = [tuple(map(int, line.split())) for line in (root / "kernels").read_text().splitlines()]
    assert len(kernels) == 2 and kernels[0][1] != kernels[1][1]
    assert not (root / "orphan").exists()
    assert not any(psutil.pid_exists(pid) for pair in kernels for pid in pair)
    (record,) = store.read_study(root / "results", "tiny")
    assert printed(root, "trains") == [record.identity.run_id]
    assert [path.name for path in (root / "results" / "tiny").iterdir()] == [store.file_name(record)]
    # Nothing of the first attempt is left over in the stage.
    assert [p.name for p in (root / "_build" / "stage" / "notebooks").iterdir()] == ["trains.ipynb"]


class Killer(threading.Thread):
    """Kills, once, the worker that holds the run folder in which the first checkpoint appears."""

    def __init__(self, runs: Path):
        super().__init__(daemon=True)
        self.runs, self.killed = runs, ""

    def run(self):
        until = time.monotonic() + 120
        while time.monotonic() < until:
            for checkpoint in self.runs.glob("tiny/*/checkpoints/*.pt"):
                run_dir = checkpoint.parents[1]
                for process in psutil.Process().children(recursive=True):
                    if holds(process, run_dir / ".lock"):
                        os.kill(process.pid, signal.SIGKILL)
                        self.killed = run_dir.name
                        return
            time.sleep(0.01)


def holds(process, path):
    try:
        return str(path) in [file.path for file in process.open_files()]
    except psutil.Error:
        return False


def test_a_worker_killed_in_the_middle_of_a_run_ahead_of_a_page(root, phantoms, tmp_path):
    killer = Killer(root / "runs")
    killer.start()
    outcomes = rerun(root, "colab", ["reads"], workers=2, with_runs=True, runs=root / "runs")
    killer.join()
    *runs, page = outcomes
    assert [outcome.state for outcome in outcomes] == ["done"] * 5, outcomes
    assert {outcome.name.rpartition("-")[0] for outcome in runs if outcome.attempts == 2} == {
        f"tiny/{killer.killed}"
    }
    records = store.read_study(root / "results", "tiny")
    assert {(r.identity.cell, r.identity.seed) for r in records} == {
        (cell, seed) for cell in ("three", "three_again") for seed in (1, 2)
    }
    # Each record is filed under the name that its task had, and the page waited for all of them.
    assert sorted(run.name for run in runs) == sorted(f"tiny/{store.file_name(r)}" for r in records)
    assert len(list((root / "results" / "tiny").iterdir())) == 4
    assert printed(root, "reads") == sorted(record.identity.run_id for record in records)

    # A run that was killed says the same as one that was not.
    asked, data = study.load("tiny", root), open_data(phantoms, 1234)
    cell, _, seed = killer.killed.split("-")
    task = schedule.Task(asked.choose([cell])[0], int(seed[1:]))
    whole = schedule.run_task(asked, task, "colab", data, tmp_path / "runs", tmp_path / "results")
    (resumed,) = [r for r in records if r.identity == whole.identity]
    assert resumed.substance() == whole.substance()

    assert [o.state for o in rerun(root, "colab", ["reads"], workers=2, with_runs=True)] == ["fresh"]
    assert run_study("tiny", root, "colab", root / "runs", workers=2) == []
