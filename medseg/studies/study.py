"""What is asked: a study is a YAML file of cells, each the changes it makes to a profile's recipe."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from medseg.config import Frozen, RunConfig, merged, resolve
from medseg.errors import InputError

ROOT = Path(__file__).parents[2]


class Cell(Frozen):
    """One cell of a table.

    Attributes:
        cell: short name, used in file names.
        title: for tables.
        factors: levels of the factors that the study crosses; empty for a control.
        changes: nested changes to the profile's configuration.
        steps_share: of the steps of the budget, those that the cell trains for; other than 1 where it is to
            take the time of another way to train.
        paper_dice: the paper's number in percent, None where it prints none.
    """

    cell: str
    title: str
    factors: dict[str, bool] = {}
    changes: dict[str, Any] = {}
    steps_share: float = Field(default=1.0, gt=0)
    paper_dice: float | None = None


class Row(Frozen):
    """One row of a table: a cell, and what the paper prints for it there."""

    cell: str
    paper_dice: float | None = None


class Reference(Frozen):
    """A number that is shown beside the table and not run here."""

    title: str
    paper_dice: float


class TableOf(Frozen):
    """A table of the paper, or one beyond it: some of the cells of a study, in its own order.

    Attributes:
        table: short name, such as "4a".
        title: what it asks.
        paper_table: where the paper prints it, and on what data.
        references: numbers of the paper that no cell of the study stands for.
    """

    table: str
    title: str
    paper_table: str
    rows: tuple[Row, ...]
    references: tuple[Reference, ...] = ()


class Study(Frozen):
    """Cells that share a data set, seeds and a budget, and the tables that show them.

    Attributes:
        base: the study whose fields hold where this one gives none: the same cells on another data set.
        rows: of the base's cells, those that this study asks, with what the paper prints for them here;
            empty: all cells as they stand.
        labels: what is scored in tables, where the paper prints a mean over some of the labels; empty: all.
        tables: a cell may stand in several, and one in none is not asked; empty: one table of all cells.
        changes: nested changes that hold for all cells at every profile: the network they start from.
        budgets: profile to nested changes that hold for all cells: a budget of the study's own.
        folds: of the five of `medseg.data.folds`, those on which each cell and seed is trained and tested in
            turn; empty: the split of the data set.
    """

    name: str
    title: str
    question: str
    dataset: str
    seeds: tuple[int, ...]
    paper_table: str
    cells: tuple[Cell, ...]
    changes: dict[str, Any] = {}
    budgets: dict[str, dict[str, Any]] = {}
    references: tuple[Reference, ...] = ()
    base: str | None = None
    rows: tuple[Row, ...] = ()
    labels: tuple[int, ...] = ()
    tables: tuple[TableOf, ...] = ()
    folds: tuple[int, ...] = ()

    @property
    def splits(self) -> tuple[int | None, ...]:
        """The folds; None alone where there is one split."""
        return self.folds or (None,)

    @model_validator(mode="after")
    def _check(self) -> "Study":
        rows = [*self.rows, *(row for table in self.tables for row in table.rows)]
        unknown = {row.cell for row in rows} - {cell.cell for cell in self.cells}
        if unknown:
            raise ValueError(f"rows name cells that are not there: {', '.join(sorted(unknown))}")
        return self

    def _asked(self, rows: tuple[Row, ...]) -> tuple[Cell, ...]:
        cells = {cell.cell: cell for cell in self.cells}
        return tuple(cells[row.cell].model_copy(update={"paper_dice": row.paper_dice}) for row in rows)

    def _shown(self) -> tuple[Cell, ...]:
        """The cells of its rows; else those of its tables, for others are there for studies on this base."""
        if self.rows:
            return self._asked(self.rows)
        shown = {row.cell for table in self.tables for row in table.rows}
        return tuple(cell for cell in self.cells if cell.cell in shown or not shown)

    def part(self, table: str) -> "Study":
        """The study as one of its tables: those cells, with the paper's numbers of that table.

        Raises:
            InputError: no such table.
        """
        known = {found.table: found for found in self.tables}
        if table not in known:
            raise InputError(
                f"study {self.name} has no table of this name",
                expected=" | ".join(known) or "no table: the study is one",
                got=table,
                do=f"see studies/{self.name}.yaml",
            )
        found = known[table]
        changes = {"title": found.title, "paper_table": found.paper_table, "references": found.references}
        return self.model_copy(update=changes | {"cells": self._asked(found.rows), "tables": ()})

    def config(self, cell: Cell, seed: int, profile: str, fold: int | None = None) -> RunConfig:
        """The configuration of one cell and seed, and fold, at a profile; smoke takes stand-in weights."""
        named: dict[str, Any] = {"data": {"name": self.dataset, "fold": fold}, "train": {"seed": seed}}
        own = merged(self.changes, cell.changes)
        if profile == "smoke" and own.get("model", {}).get("weights"):
            named["model"] = {"weights": "stand_in"}
        changes = self.budgets.get(profile, {}), merged(own, named)
        steps = round(cell.steps_share * resolve(profile, *changes).train.steps)
        return resolve(profile, *changes, {"train": {"steps": steps}})

    def choose(self, names: list[str] | None) -> list[Cell]:
        """The named cells, all where none is named.

        Raises:
            InputError: a name that the study does not have.
        """
        known = {cell.cell: cell for cell in self.cells}
        for name in names or ():
            if name not in known:
                raise InputError(
                    f"study {self.name} has no cell of this name",
                    expected=" | ".join(known),
                    got=name,
                    do=f"see medseg study status {self.name}",
                )
        return [known[name] for name in names] if names else list(self.cells)


def project_root() -> Path:
    """Where studies/ and results/ lie: $MEDSEG_ROOT, the working folder, or the source checkout."""
    if "MEDSEG_ROOT" in os.environ:
        return Path(os.environ["MEDSEG_ROOT"])
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "studies").is_dir() and (folder / "results").is_dir():
            return folder
    return ROOT


def names(root: Path | None = None) -> list[str]:
    """Names of all studies."""
    return sorted(path.stem for path in ((root or project_root()) / "studies").glob("*.yaml"))


def group(name: str, root: Path | None = None) -> list[str]:
    """The studies of a name: the one that has it, or all of its group (`transseg`: `transseg_main`, ...)."""
    known = names(root)
    return [name] if name in known else [other for other in known if other.startswith(f"{name}_")]


def load(name: str, root: Path | None = None) -> Study:
    """Read a study by name.

    Raises:
        InputError: no such study, or a file that does not describe one.
    """
    root = root or project_root()
    path = root / "studies" / f"{name}.yaml"
    if not path.is_file():
        raise InputError(
            "unknown study",
            expected=" | ".join(names(root)) or "a folder studies/ with YAML files",
            got=name,
            do="see medseg study list; run it in the folder of the book",
        )
    try:
        study = Study.model_validate(_fields(path))
    except (yaml.YAMLError, ValidationError, OSError, RecursionError) as error:
        raise InputError(
            f"{path.name} does not describe a study",
            expected="the fields of medseg.studies.study.Study",
            got=str(error).splitlines()[0],
            do="correct the file",
        ) from error
    return study.model_copy(update={"cells": study._shown()})


def _fields(path: Path) -> object:
    """What a file gives, on top of what its base gives."""
    fields = yaml.safe_load(path.read_text())
    if not isinstance(fields, dict) or not (base := fields.get("base")):
        return fields
    of_base = _fields(path.with_name(f"{base}.yaml"))
    return of_base | fields if isinstance(of_base, dict) else fields
