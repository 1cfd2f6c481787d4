"""Seconds until `import medseg` and `medseg --help` are done, each in a fresh process, torch not imported."""

import importlib.util
import subprocess
import sys

from benchmarks.measure import Aim, Options, Row, median_seconds

NAME = "imports"
COUNT = "import sys, {name}; print(sum(m.split('.')[0] == 'torch' for m in sys.modules))"
HELP = "import sys; sys.argv = ['medseg', '--help']; from medseg.cli import main; main()"


def run(options: Options) -> list[Row]:
    commands = {"bare": "pass", "import": "import medseg"}
    has_cli = importlib.util.find_spec("medseg.cli") is not None
    if has_cli:
        commands["help"] = HELP
    seconds = median_seconds(
        {name: lambda _, code=code: _python(code) for name, code in commands.items()},  # type: ignore[misc]
        repeats=1 if options.quick else 5,
    )
    rows = [
        Row(NAME, "import medseg, against starting Python", "s", seconds["bare"], seconds["import"],
            Aim("ours", "<", 1.0)),
        Row(NAME, "torch modules after import medseg, against import torch", "modules",
            int(_python(COUNT.format(name="torch"))), int(_python(COUNT.format(name="medseg"))),
            Aim("ours", "<=", 0)),
    ]  # fmt: skip
    if has_cli:
        what = "medseg --help, against starting Python"
        rows.append(Row(NAME, what, "s", seconds["bare"], seconds["help"], Aim("ours", "<", 2.0)))
    return rows


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
