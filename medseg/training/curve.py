"""The learning curve in the folder of a run: a CSV file with a row a step, rewritten at every checkpoint."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.files import write_atomic

CURVE_FILE = "curve.csv"
COLUMNS = ("step", "loss", "lr", "dice")


@dataclass(frozen=True)
class Curve:
    """Loss and learning rate of every step, and (step, Dice) of the validations."""

    losses: list[float]
    rates: list[float]
    validations: list[tuple[int, float]]


def write_curve(curve: Curve, run_dir: Path) -> None:
    """Write `curve.csv`; the Dice stands in the row of the step after which it was measured."""
    dice = dict(curve.validations)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for step, (loss, rate) in enumerate(zip(curve.losses, curve.rates, strict=True), start=1):
        rows.writerow((step, repr(loss), repr(rate), repr(dice[step]) if step in dice else ""))
    write_atomic(Path(run_dir) / CURVE_FILE, text.getvalue())


def read_curve(run_dir: Path) -> Curve:
    """Read the curve of a run, finished or not.

    Raises:
        InputError: no curve there, or one of another form.
    """
    path = Path(run_dir) / CURVE_FILE
    try:
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        return Curve(
            [float(row["loss"]) for row in rows],
            [float(row["lr"]) for row in rows],
            [(int(row["step"]), float(row["dice"])) for row in rows if row["dice"]],
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run_dir} holds no learning curve",
            expected=f"{CURVE_FILE} with the columns {', '.join(COLUMNS)}",
            got=str(error) or type(error).__name__,
            do="name the folder of a run that reached its first checkpoint",
        ) from error
