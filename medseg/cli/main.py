"""The commands put together, and what each way to end is called."""

import sys
import warnings

import typer
from rich.console import Console

from medseg.batch.tasks import FAILED
from medseg.cli.book import book_app
from medseg.cli.console import is_first_process
from medseg.cli.data import data_app
from medseg.cli.inflate import inflate
from medseg.cli.model import model_app
from medseg.cli.score import evaluate, predict
from medseg.cli.study import study_app
from medseg.cli.train import curve, train
from medseg.errors import InputError, Interrupted

# 0: all done; 3: workers were lost too often (medseg.batch.tasks).
BAD_INPUT = 2
INTERRUPTED = 75  # asked to end, saved: go on with --resume (EX_TEMPFAIL of sysexits.h)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Commands: medseg data | inflate | train | predict | evaluate | curve | model | study | book.",
)
app.command(epilog="Example: medseg inflate resnet50 --depth 5 --rule center")(inflate)
app.command(epilog="Example: medseg train Phantom -o runs/first --profile smoke")(train)
app.command(epilog="Example: medseg predict runs/first Phantom/imagesTr/phantom_000.nii.gz -o predictions")(
    predict
)
app.command(epilog="Example: medseg evaluate predictions Phantom/labelsTr -o metrics.csv")(evaluate)
app.command(epilog="Example: medseg curve runs/first -o curve.png")(curve)
for name, group in (("data", data_app), ("model", model_app), ("study", study_app), ("book", book_app)):
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command line; the exit code says how it ended."""
    errors = Console(stderr=True, quiet=not is_first_process())
    warnings.showwarning = lambda message, *rest, **more: errors.print(
        f"warning: {message}", markup=False, highlight=False, soft_wrap=True
    )
    try:
        app()
    except InputError as error:
        sys.exit(_say(errors, "error", error, BAD_INPUT))
    except Interrupted as error:
        # The first process speaks for all: one that ends with an error has the others killed.
        sys.exit(_say(errors, "interrupted", error, INTERRUPTED if is_first_process() else 0))
    except (RuntimeError, FloatingPointError) as error:
        sys.exit(_say(errors, "failed", error, FAILED))


def _say(errors: Console, what: str, error: Exception, code: int) -> int:
    errors.print(f"{what}: {error}", markup=False, highlight=False, soft_wrap=True)
    return code
