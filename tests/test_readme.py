"""The README's tree, commands and targets are true, and the prose pages hold no score."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "medseg"


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def parse_tree(text: str) -> dict[str, str]:
    """Path to description, from lines that are indented by two spaces a level and end folders with `/`."""
    described: dict[str, str] = {}
    parents: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, description = line.strip().partition("  ")
        parents[depth:] = [name]
        described["".join(parents)] = description.strip()
    return described


TREE = parse_tree(fenced("tree")[0])
COMMANDS = [line for block in fenced("bash") for line in block.splitlines() if line.startswith("medseg ")]


@pytest.mark.parametrize("path", TREE)
def test_tree_names_what_exists(path):
    assert (ROOT / path).exists()
    assert path.endswith("/") == (ROOT / path).is_dir()
    assert TREE[path], "a line of the tree says what the file is for"


def test_tree_names_every_module():
    modules = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py") if p.name != "__init__.py"}
    assert modules - set(TREE) == set()


def test_tree_names_every_page_and_study():
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("notebooks/*.ipynb", "book/*.md", "studies/*.yaml")
        for path in ROOT.glob(pattern)
    }
    assert found - set(TREE) == set()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line):
    import typer

    from medseg.cli import app

    words = shlex.split(line.split("  #")[0])[1:]
    command, name = typer.main.get_command(app), "medseg"
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    context = command.make_context(name, [], resilient_parsing=True)
    command.make_parser(context).parse_args(list(words))


def test_make_targets_exist():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets


def test_leaderboard_names_every_study_and_no_score():
    page = (ROOT / "book" / "leaderboard.md").read_text(encoding="utf-8")
    assert [p.stem for p in ROOT.glob("studies/*.yaml") if f"`{p.stem}`" not in page] == []
    assert re.findall(r"\b\d{1,2}\.\d+\b", page) == []


def test_citations_resolve():
    known = set(
        re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text("utf-8"), re.MULTILINE)
    )
    pages = [*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")]
    cited = {
        key.strip()
        for page in pages
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert cited - known == set()
