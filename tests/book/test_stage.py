"""Staging: what is executed, what is kept, and what stays out."""

import json

import nbformat
import pytest
from tiny_book import notebook, write_book

from medseg.book.runner import PageError
from medseg.book.stage import stage
from medseg.errors import InputError

pytestmark = pytest.mark.notebook


def lines_of(path):
    return [o.text for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])]


def test_runs_once_and_again_only_after_a_change(tmp_path):
    root = write_book(tmp_path / "book", one=notebook("print(profile)"), two=notebook("print(2)"))
    out = root / "_build" / "stage"
    lines = []
    times = stage(root, out, "smoke", log=lines.append)
    assert [name for name, _ in times] == ["notebooks/one", "notebooks/two"]
    assert all(seconds > 0 for _, seconds in times)
    assert lines_of(out / "notebooks" / "one.ipynb") == ["smoke\n"]
    table = json.loads((root / "_build" / "page_times.json").read_text())
    assert {name: row["seconds"] for name, row in table.items()} == dict(times)

    nbformat.write(notebook("print(3)"), root / "notebooks" / "two.ipynb")
    lines.clear()
    stage(root, out, "smoke", log=lines.append)
    assert "unchanged" in lines[0] and "unchanged" not in lines[1]
    assert lines_of(out / "notebooks" / "two.ipynb") == ["3\n"]

    # Another profile is another run, but only of the page that was asked for.
    stage(root, out, "colab", pages=["notebooks/one"])
    assert lines_of(out / "notebooks" / "one.ipynb") == ["colab\n"]
    assert lines_of(out / "notebooks" / "two.ipynb") == ["3\n"]


def test_smoke_has_one_thread_and_no_network(tmp_path):
    cell = (
        "import os, urllib.request\nprint(os.environ['OMP_NUM_THREADS'])\n"
        "try:\n    urllib.request.urlopen('https://example.org', timeout=20)\n"
        "except OSError as error:\n    print('refused' in str(error))"
    )
    root = write_book(tmp_path / "book", one=notebook(cell))
    stage(root, tmp_path / "out", "smoke")
    # Two prints may arrive as one output or as two.
    assert "".join(lines_of(tmp_path / "out" / "notebooks" / "one.ipynb")) == "1\nTrue\n"


def test_relative_data_folder_means_the_same_in_the_page(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSEG_DATA", "data")
    cell = "import os\nprint(os.path.isdir(os.environ['MEDSEG_DATA']))"
    root = write_book(tmp_path / "book", one=notebook(cell))
    stage(root, tmp_path / "out", "smoke")
    assert lines_of(tmp_path / "out" / "notebooks" / "one.ipynb") == ["True\n"]


def test_failing_pages_are_named_and_the_others_are_kept(tmp_path):
    root = write_book(
        tmp_path / "book", bad=notebook("1 / 0"), good=notebook("1"), worse=notebook("missing_name")
    )
    with pytest.raises(PageError, match="bad.ipynb: cell 3") as caught:
        stage(root, tmp_path / "out", "smoke")
    assert "worse.ipynb: cell 3" in str(caught.value)
    assert (tmp_path / "out" / "notebooks" / "good.ipynb").exists()
    assert not (tmp_path / "out" / "notebooks" / "bad.ipynb").exists()
    assert list(json.loads((tmp_path / "page_times.json").read_text())) == ["notebooks/good"]


def test_a_page_staged_without_outputs_is_not_taken_for_one_that_ran(tmp_path):
    root = write_book(tmp_path / "book", one=notebook("print(1)"), two=notebook("print(2)"))
    out = tmp_path / "out"
    stage(root, out, "smoke")
    (out / "notebooks" / "one.ipynb").unlink()
    stage(root, out, "smoke", pages=["notebooks/two"])
    assert lines_of(out / "notebooks" / "one.ipynb") == []
    stage(root, out, "smoke")
    assert lines_of(out / "notebooks" / "one.ipynb") == ["1\n"]


def test_pages_that_left_the_book_leave_the_stage(tmp_path):
    root = write_book(tmp_path / "book")
    stray = tmp_path / "out" / "notebooks" / "old.ipynb"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}")
    stage(root, tmp_path / "out", "smoke")
    assert not stray.exists()
    assert (tmp_path / "out" / "book" / "_assets" / "niivue" / "niivue.umd.js").exists()


def test_wrong_names(tmp_path):
    root = write_book(tmp_path / "book", one=notebook("1"))
    with pytest.raises(InputError, match="no notebook notebooks/oen"):
        stage(root, tmp_path / "out", "smoke", pages=["notebooks/oen"])
    (root / "notebooks" / "one.ipynb").unlink()
    with pytest.raises(InputError, match="does not exist: notebooks/one"):
        stage(root, tmp_path / "out", "smoke")
