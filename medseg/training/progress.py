"""Where a running training stands: a small file in its folder that anyone may read."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from medseg.files import write_atomic

PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class Progress:
    """The state after a step (counted from 1).

    Attributes:
        step, steps: done and in all.
        loss: of this step.
        dice: of the last validation; None before the first.
        samples_per_s: windows a second since the start of this process.
        left_s: seconds to the last step at this speed.
    """

    step: int
    steps: int
    loss: float
    dice: float | None
    samples_per_s: float
    left_s: float


@dataclass(frozen=True)
class Seen:
    """What the file of a running or ended training says, and how old it is."""

    progress: Progress
    age_s: float


def write(progress: Progress, run_dir: Path) -> None:
    """Note where a run stands, and when."""
    stamp = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomic(Path(run_dir) / PROGRESS_FILE, json.dumps(asdict(progress) | stamp) + "\n")


def look(run_dir: Path) -> Seen | None:
    """The last progress of a run; None where there is none."""
    path = Path(run_dir) / PROGRESS_FILE
    try:
        found = json.loads(path.read_text())
        then = datetime.fromisoformat(found.pop("time"))
        return Seen(Progress(**found), (datetime.now(UTC) - then).total_seconds())
    except (OSError, ValueError, TypeError, KeyError):
        return None
