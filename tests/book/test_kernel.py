"""The kernel of a page ends with the process that runs the page, also when that one is killed."""

import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from tiny_book import notebook

pytestmark = pytest.mark.notebook

RUN = """
import sys
from pathlib import Path
from medseg.book.runner import run_notebook
run_notebook(Path(sys.argv[1]), Path(sys.argv[2]), {})
"""
PAGE = """
import os, time
from pathlib import Path
Path("kernel").write_text(f"{os.getpid()} {os.getppid()}")
time.sleep(600)
"""


def test_a_killed_process_leaves_no_kernel(tmp_path):
    nbformat.write(notebook(PAGE), tmp_path / "page.ipynb")
    command = [sys.executable, "-c", RUN, str(tmp_path / "page.ipynb"), str(tmp_path / "out.ipynb")]
    with subprocess.Popen(command) as running:
        while not ((tmp_path / "kernel").exists() and (tmp_path / "kernel").read_text()):
            assert running.poll() is None
            time.sleep(0.05)
        kernel, parent = map(int, (tmp_path / "kernel").read_text().split())
        assert parent == running.pid and psutil.pid_exists(kernel)
        running.kill()
    for _ in range(200):
        if not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the kernel lives on")
    assert not (tmp_path / "out.ipynb").exists()
