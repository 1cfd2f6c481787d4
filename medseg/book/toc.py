"""The table of contents: which pages there are, and which are meant."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import InputError


def toc_files(toc: dict[str, Any]) -> list[str]:
    """Every file of a table of contents, in reading order, without suffixes.

    >>> toc_files({"root": "book/intro", "parts": [{"chapters": [{"file": "notebooks/a"}]}]})
    ['book/intro', 'notebooks/a']
    """
    found = [toc["root"]] if "root" in toc else []
    if "file" in toc:
        found.append(toc["file"])
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, ()):
            found.extend(toc_files(entry))
    return found


def notebooks(root: Path) -> list[str]:
    """Names of the book's notebooks in reading order, as `_toc.yml` gives them.

    Raises:
        InputError: no table of contents, or a page in it that does not exist.
    """
    path = root / "_toc.yml"
    if not path.exists():
        raise InputError(
            "there is no book here",
            expected="a folder with _toc.yml, _config.yml, book/ and notebooks/",
            got=str(root),
            do="run it in the folder of the book",
        )
    found = []
    for page in toc_files(yaml.safe_load(path.read_text("utf-8"))):
        name = page.removesuffix(".ipynb").removesuffix(".md")
        if (root / f"{name}.ipynb").exists():
            found.append(name)
        elif not (root / f"{name}.md").exists():
            raise InputError(
                f"_toc.yml names a page that does not exist: {page}",
                expected=f"{name}.ipynb or {name}.md",
                got="neither file",
                do="write the page or take it out of _toc.yml",
            )
    return found


def chosen(pages: Iterable[str] | None, names: list[str]) -> list[str]:
    """The notebooks that are meant, in reading order; all where none is named.

    Args:
        pages: as `_toc.yml` names them, or by the last part of that name.
        names: all notebooks.

    Raises:
        InputError: a page that is not there.
    """
    if not (wanted := {page.removesuffix(".ipynb") for page in pages or ()}):
        return names
    if unknown := sorted(wanted - set(names) - {Path(name).name for name in names}):
        raise InputError(
            f"the book has no notebook {', '.join(unknown)}",
            expected=f"one of: {', '.join(names) or 'none'}",
            got=", ".join(unknown),
            do="give the page as _toc.yml names it",
        )
    return [name for name in names if wanted & {name, Path(name).name}]
