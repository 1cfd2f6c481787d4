"""What makes a page stale, and what does not."""

import os

import nbformat
import pytest
from tiny_book import notebook, write_book

from medseg.book import freshness


@pytest.fixture
def root(tmp_path):
    pages = {
        "reads": notebook("x = 'first'"),
        "plain": notebook("1"),
        "lists": notebook("from medseg.studies import study\nstudy.names()"),
    }
    root = write_book(tmp_path / "book", **pages)
    for name in ("first", "second"):
        (root / "results" / name).mkdir(parents=True)
        (root / "studies").mkdir(exist_ok=True)
        (root / "studies" / f"{name}.yaml").write_text(name)
        (root / "results" / name / "a.json").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nii").write_bytes(b"1")
    return root


def stale(root, change, env=None):
    """The pages whose digest is another one after a change."""
    env = env or {"MEDSEG_DATA": str(root.parent / "data")}
    pages = ("reads", "plain", "lists")
    before = [freshness.digest(root, f"notebooks/{page}", "smoke", env) for page in pages]
    change()
    after = [freshness.digest(root, f"notebooks/{page}", "smoke", env) for page in pages]
    return {page for page, a, b in zip(pages, before, after, strict=True) if a != b}


def test_nothing_changed(root):
    assert stale(root, lambda: None) == set()


def test_own_source(root):
    path = root / "notebooks" / "plain.ipynb"
    assert stale(root, lambda: nbformat.write(notebook("2"), path)) == {"plain"}


@pytest.mark.parametrize("folder", ["studies/papers", "book/_data"])
def test_printed_tables_and_what_scripts_found(root, folder):
    (root / folder).mkdir(parents=True, exist_ok=True)
    assert stale(root, lambda: (root / folder / "a.csv").write_text("x")) == {"reads", "plain", "lists"}


def test_libraries(root, monkeypatch):
    def change():
        monkeypatch.setattr(freshness, "version", lambda name: "another")

    assert stale(root, change) == {"reads", "plain", "lists"}


@pytest.mark.parametrize("study", ["first", "second"])
def test_only_the_records_that_a_page_reads(root, study):
    expected = {"lists"} | ({"reads"} if study == "first" else set())
    results = root / "results" / study
    assert stale(root, lambda: (results / "b.json").write_text("{}")) == expected
    assert stale(root, lambda: (results / "a.json").write_text("{ }")) == expected
    assert stale(root, lambda: (root / "studies" / f"{study}.yaml").write_text("other")) == expected


def test_data_by_name_size_and_time(root):
    folder, everything = root.parent / "data", {"reads", "plain", "lists"}
    assert stale(root, lambda: (folder / "a.nii").write_bytes(b"12")) == everything
    assert stale(root, lambda: os.utime(folder / "a.nii", ns=(1, 1))) == everything
    assert stale(root, lambda: (folder / "a.nii").rename(folder / "b.nii")) == everything
    # A loop of links ends, and the place of the folder does not matter.
    assert stale(root, lambda: (folder / "loop").symlink_to(folder)) == set()
    moved = root.parent / "elsewhere"
    before = freshness.digest(root, "notebooks/plain", "smoke", {"MEDSEG_DATA": str(folder)})
    folder.rename(moved)
    (moved / "loop").unlink()
    assert freshness.digest(root, "notebooks/plain", "smoke", {"MEDSEG_DATA": str(moved)}) == before


def test_profile_and_package(root, monkeypatch):
    def digest(profile="smoke"):
        return freshness.digest(root, "notebooks/plain", profile, {})

    assert digest() != digest("colab")
    other = root.parent / "medseg"
    other.mkdir()
    (other / "__init__.py").write_text("")
    before = digest()
    monkeypatch.setattr(freshness.medseg, "__file__", str(other / "__init__.py"))
    assert digest() != before


def test_an_output_that_was_touched_is_not_fresh(tmp_path):
    target = tmp_path / "stage" / "page.ipynb"
    assert not freshness.is_fresh(target, {}, "d")
    target.parent.mkdir()
    target.write_text("out")
    known = {"digest": "d", "output": freshness.sha256_of(target)}
    assert freshness.is_fresh(target, known, "d") and not freshness.is_fresh(target, known, "e")
    target.write_text("ou")
    assert not freshness.is_fresh(target, known, "d")


def test_a_damaged_table_is_an_empty_one(tmp_path):
    out = tmp_path / "stage"
    assert freshness.read_times(out) == {}
    freshness.note(out, "a", seconds=1.0)
    freshness.note(out, "b", seconds=2.0)
    assert freshness.read_times(out) == {"a": {"seconds": 1.0}, "b": {"seconds": 2.0}}
    (tmp_path / freshness.TIMES).write_text("{")
    assert freshness.read_times(out) == {}
