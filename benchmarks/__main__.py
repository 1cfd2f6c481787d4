"""Run all benchmarks or the named ones, print a table and write `_build/bench.json`."""

import argparse
import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Options, Row
from medseg.data.download import VARIABLE
from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.records.provenance import environment

NAMES = ("imports", "windows", "resample", "inference", "training", "transseg", "tuning")
# Columns where the output is no terminal: rich would take 80.
FILE_WIDTH = 180
OUTPUT = Path(__file__).parent.parent / "_build" / "bench.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few repeats, small inputs: does it run")
    parser.add_argument("--run", type=Path, help="finished run whose network `inference` takes")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: _build/bench.json")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; expected any of {', '.join(NAMES)}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    rows: list[Row] = []
    try:
        for name in given.names or NAMES:
            with console.status(name):
                for row in run(name, Options(quick=given.quick, run=given.run)):
                    rows.append(row)
                    # A benchmark that is stopped has said and kept what it found so far.
                    console.print(f"{name}: {row.what}: {row.ratio:.3f}", soft_wrap=True)
                    write_atomic(given.output, json.dumps(report(rows, given.quick), indent=1) + "\n")
    except InputError as error:
        parser.error(str(error))
    console.print(table(rows))
    console.print(f"written to {given.output}", soft_wrap=True)


def run(name: str, options: Options) -> Iterator[Row]:
    yield from importlib.import_module(f"benchmarks.{name}").run(options)


def report(rows: list[Row], quick: bool) -> dict[str, object]:
    data = "Task04_Hippocampus" if os.environ.get(VARIABLE) else "Phantom"
    plain = [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows]
    return {
        "schema": 1,
        "quick": quick,
        "data": data,
        "environment": environment().model_dump(),
        "rows": plain,
    }


def table(rows: list[Row]) -> Table:
    result = Table("what", "unit", "baseline", "ours", "ours / baseline", "aim", "note")
    for column in result.columns[2:5]:
        column.justify = "right"
    for row in rows:
        aim = (
            f"{row.aim.on} {row.aim.sense} {row.aim.value:g}: {'met' if row.met else 'missed'}"
            if row.aim
            else ""
        )
        numbers = (f"{value:,.4g}" for value in (row.baseline, row.ours, row.ratio))
        result.add_row(f"{row.benchmark}: {row.what}", row.unit, *numbers, aim, row.note)
    return result


if __name__ == "__main__":
    main()
