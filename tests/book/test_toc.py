"""The table of contents: reading order, and names that do not exist."""

import pytest

from medseg.book.toc import chosen, notebooks, toc_files
from medseg.errors import InputError


def test_toc_in_reading_order():
    toc = {
        "root": "a",
        "parts": [{"chapters": [{"file": "b", "sections": [{"file": "c"}]}]}, {"chapters": []}],
    }
    assert toc_files(toc) == ["a", "b", "c"]


def test_notebooks_are_what_is_not_prose(tmp_path):
    (tmp_path / "_toc.yml").write_text("{root: intro, chapters: [{file: two}, {file: one.ipynb}]}")
    for name in ("intro.md", "one.ipynb", "two.ipynb"):
        (tmp_path / name).touch()
    assert notebooks(tmp_path) == ["two", "one"]
    (tmp_path / "one.ipynb").unlink()
    with pytest.raises(InputError, match="does not exist: one"):
        notebooks(tmp_path)


def test_no_book_here(tmp_path):
    with pytest.raises(InputError, match="no book"):
        notebooks(tmp_path)


def test_pages_are_chosen_by_name_or_its_last_part():
    names = ["notebooks/one", "notebooks/two", "notebooks/three"]
    assert chosen(None, names) == chosen([], names) == names
    assert chosen(["three", "notebooks/one.ipynb"], names) == ["notebooks/one", "notebooks/three"]
    with pytest.raises(InputError, match="no notebook four"):
        chosen(["four", "one"], names)
