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
_ANY = ".*"
_GROUP = "medseg.studies.study.group"


def studies_of(page: Path, studies: Sequence[str]) -> tuple[str, ...]:
    """The studies whose records a page reads.

    These are the studies whose names stand in its code as strings, those that an f-string with a fixed start
    can name, and those of a group that it asks for. A page that lists the studies, or that reads records
    without naming a study, or whose code cannot be parsed, reads all of them.

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
    used = set(_names(nodes))
    composed = [_pattern(node) for node in nodes if isinstance(node, ast.JoinedStr)]
    # An f-string that starts with what varies says nothing by itself: pages make titles so.
    composed = [pattern for pattern in composed if not pattern.startswith(_ANY)]
    if _GROUP in used:
        composed += [re.escape(f"{name}_") + _ANY for name in strings]
    named = tuple(
        study
        for study in studies
        if study in strings or any(re.fullmatch(pattern, study) for pattern in composed)
    )
    if _ALL in used or (not named and used & _READERS):
        return tuple(studies)
    return named


def _pattern(text: ast.JoinedStr) -> str:
    """A regular expression of what an f-string may become."""
    return "".join(
        re.escape(part.value) if isinstance(part, ast.Constant) and isinstance(part.value, str) else _ANY
        for part in text.values
    )


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
