"""Where and with what a run was done: hardware, libraries, code version. No host name, user or path."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

import medseg
from medseg.records.schema import Code, Environment

LIBRARIES = ("torch", "timm", "monai", "lightning", "numpy", "nibabel")


def environment() -> Environment:
    """Hardware name, thread count and library versions of this process."""
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {_cpu_name()}"
    versions = {name: metadata.version(name).split("+")[0] for name in LIBRARIES}
    return Environment(
        hardware=hardware,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        libraries=versions,
    )


def code() -> Code:
    """Version of the package and, in a git checkout, its commit and whether tracked files were changed."""
    root = Path(medseg.__file__).parent.parent
    if not (root / ".git").exists():
        return Code(version=medseg.__version__, commit=None, dirty=None)
    commit, status = (
        _git(root, "rev-parse", "HEAD"),
        _git(root, "status", "--porcelain", "--untracked-files=no"),
    )
    return Code(version=medseg.__version__, commit=commit, dirty=None if status is None else bool(status))


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
