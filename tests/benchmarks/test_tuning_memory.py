import subprocess
import sys

import pytest
import torch

from benchmarks.process import ROOT
from benchmarks.tuning import AIM, ALIVE, WHOLE, Measured, compared, middle, resident
from medseg.reports.step_memory import COLUMNS, PEAK

CODE = "from benchmarks.tuning import resident; print(resident('VmHWM'))"


def found(peak: int, step_s: float) -> Measured:
    counted = dict.fromkeys(COLUMNS, 30) | {PEAK: peak}
    return Measured(before=100, peak=peak, counted=counted, step_s=step_s)


def test_aims_are_on_what_lies_above_the_libraries_and_on_what_is_alive() -> None:
    rows = compared("x", {WHOLE: found(1100, 2.0), "head": found(300, 1.0), "lora": found(790, 1.0)}, AIM)
    aimed = {row.what: row for row in rows if row.aim}
    resident_row, alive = aimed.values()
    assert resident_row.what.startswith("lora") and resident_row.ratio == pytest.approx(0.69)
    assert resident_row.met and alive.what.endswith(ALIVE) and alive.ratio == pytest.approx(790 / 1100)
    steps = [row for row in rows if row.unit == "s"]
    assert [row.ratio for row in steps] == [0.5, 0.5]
    assert not any(row.aim for row in compared("x", {WHOLE: found(9, 1.0), "lora": found(9, 1.0)}, None))


def test_one_odd_process_does_not_move_the_peak() -> None:
    of = middle([found(700, 1.0), found(950, 3.0), found(710, 2.0)])
    assert (of.peak, of.step_s) == (710, 2.0)


def test_peak_holds_what_was_freed() -> None:
    # In a fresh process: this one may hold freed memory that a new block lies in.
    code = "import torch; from benchmarks.tuning import resident; before = resident('VmRSS')\n"
    code += "block = torch.ones(30_000_000); held = resident('VmRSS'); del block\n"
    code += "print(before, held, resident('VmHWM'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, held, peak = map(int, done.stdout.split())
    assert min(held, peak) >= before + 100_000_000


def test_peak_of_a_process_is_its_own() -> None:
    block = torch.ones(500_000_000, dtype=torch.uint8)
    held = resident("VmRSS")
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < held
    del block
