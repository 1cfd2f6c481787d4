"""What is asked: a study is a YAML file of cells, each the changes it makes to a profile's recipe."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

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
        paper_dice: the paper's number in percent, None where it prints none.
    """

    cell: str
    title: str
    factors: dict[str, bool] = {}
    changes: dict[str, Any] = {}
    paper_dice: float | None = None


class Reference(Frozen):
    """A number that is shown beside the table and not run here."""

    title: str
    paper_dice: float


class Study(Frozen):
    """A table: its cells, its seeds, its data set.

    Attributes:
        budgets: profile to nested changes that hold for all cells: a budget of the study's own.
    """

    name: str
    title: str
    question: str
    dataset: str
    seeds: tuple[int, ...]
    paper_table: str
    cells: tuple[Cell, ...]
    budgets: dict[str, dict[str, Any]] = {}
    references: tuple[Reference, ...] = ()

    def config(self, cell: Cell, seed: int, profile: str) -> RunConfig:
        """The configuration of one cell and seed at a profile."""
        named = {"data": {"name": self.dataset}, "train": {"seed": seed}}
        return resolve(profile, self.budgets.get(profile, {}), merged(cell.changes, named))

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
        return Study.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, ValidationError) as error:
        raise InputError(
            f"{path.name} does not describe a study",
            expected="the fields of medseg.studies.study.Study",
            got=str(error).splitlines()[0],
            do="correct the file",
        ) from error
