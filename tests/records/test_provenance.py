"""Where a run was done, without saying on whose machine."""

import getpass
import platform
import socket
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

import medseg
from medseg.records import provenance, store

ROOT = Path(medseg.__file__).parents[1]


def test_environment_names_hardware_and_libraries():
    environment = provenance.environment()
    assert environment.hardware and environment.threads == torch.get_num_threads()
    assert environment.python == platform.python_version()
    assert environment.libraries["torch"] == torch.__version__.split("+")[0]
    assert all(version[0].isdigit() for version in environment.libraries.values())


def test_time_is_utc_to_the_second():
    then = datetime.fromisoformat(provenance.now())
    assert then.utcoffset() is not None and then.utcoffset().total_seconds() == 0 and then.microsecond == 0
    assert abs((datetime.now(UTC) - then).total_seconds()) < 5


def test_code_in_a_checkout():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    code = provenance.code()
    assert code.version == medseg.__version__
    assert code.commit is not None and len(code.commit) == 40
    assert code.dirty in (True, False)


def test_code_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(medseg, "__file__", str(tmp_path / "medseg" / "__init__.py"))
    code = provenance.code()
    assert (code.version, code.commit, code.dirty) == (medseg.__version__, None, None)


def test_a_checkout_without_git(monkeypatch, tmp_path):
    def absent(*arguments, **options):
        raise FileNotFoundError("git")

    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(medseg, "__file__", str(tmp_path / "medseg" / "__init__.py"))
    monkeypatch.setattr(subprocess, "run", absent)
    assert provenance.code().commit is None and provenance.code().dirty is None


@pytest.mark.parametrize("name", ["hostname", "user", "home", "checkout", "temporary folder", "run folder"])
def test_a_record_is_not_private(tiny_run, name):
    words = {
        "hostname": socket.gethostname(),
        "user": getpass.getuser(),
        "home": str(Path.home()),
        "checkout": str(ROOT),
        "temporary folder": tempfile.gettempdir(),
        "run folder": str(tiny_run.folder),
    }
    text = store.to_json(tiny_run.record).lower()
    # A name of three letters stands in many a word.
    assert len(words[name]) < 4 or words[name].lower() not in text
