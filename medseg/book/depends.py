"""Which studies a page reads, found in its code: nobody types a list that could be wrong."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Calls that read what a study asks or what was found.
_READERS = {
    "medseg.records.store.read",
    "medseg.records.store.read_study",
    "medseg.studies.study.load",
    "medseg.studies.study.project_root",
}
_ALL = "medseg.studies.study.names"


def studies_of(page: Path, studies: Sequence[str]) -> tuple[str, ...]:
    """The studies whose records a page reads.

    These are the studies whose names stand in its code as strings. A page that lists the studies, or that
    reads records without naming a study, or whose code cannot be parsed, reads all of them.

    Args:
        page: a notebook.
        studies: names of all studies.
    """
    trees = []
    for source in _code(page):
        try:
            trees.append(ast.parse(source))
        except SyntaxError:
            return tuple(studies)
    nodes = [node for tree in trees for node in ast.walk(tree)]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = tuple(study for study in studies if study in strings)
    used = set(_names(nodes))
    if _ALL in used or (not named and used & _READERS):
        return tuple(studies)
    return named


def _code(page: Path) -> Iterator[str]:
    """Source of the code cells; lines for IPython or the shell become `pass`."""
    for cell in json.loads(page.read_text("utf-8")).get("cells", ()):
        if cell["cell_type"] == "code":
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            yield "" if source.startswith("%%") else re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", source)


def _names(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Dotted names that are used, as they are called where they are defined."""
    origin: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            # `import a.b` binds a, `import a.b as c` binds c to a.b.
            origin |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            origin |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and (dotted := _dotted(node)):
            first, dot, rest = dotted.partition(".")
            yield origin.get(first, first) + dot + rest


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""
