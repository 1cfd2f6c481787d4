"""The runner: one clear error for each way a page can fail, and the target only when it ran through."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from tiny_book import notebook

from medseg.book.runner import PageError, run_notebook
from medseg.errors import InputError

pytestmark = pytest.mark.notebook


def page(folder: Path, *cells: str, parameters: str = "n = 1") -> Path:
    source = folder / "page.ipynb"
    nbformat.write(notebook(*cells, parameters=parameters), source)
    return source


def test_success_writes_the_outputs_and_nothing_else(tmp_path):
    source = page(tmp_path, "import sys\nprint(n, sys.executable)")
    target = tmp_path / "out" / "page.ipynb"
    before = dict(os.environ)
    run_notebook(source, target, {"n": 3})
    assert list(target.parent.iterdir()) == [target]
    made = nbformat.read(target, as_version=4)
    assert made.cells[-1].outputs[0].text.split() == ["3", sys.executable]
    assert dict(os.environ) == before
    assert not source.read_text().count('"outputs": [{')


def test_equal_runs_give_equal_files_without_times_and_paths(tmp_path):
    source = page(tmp_path, "n + 1")
    for name in ("a", "b"):
        run_notebook(source, tmp_path / f"{name}.ipynb", {"n": 2})
    first = (tmp_path / "a.ipynb").read_text()
    assert first == (tmp_path / "b.ipynb").read_text()
    assert "papermill" not in first and str(tmp_path) not in first
    assert nbformat.reads(first, as_version=4).metadata.kernelspec.name == "python3"


def test_a_value_that_the_page_has_already_adds_no_cell(tmp_path):
    source = page(tmp_path, "n")
    run_notebook(source, tmp_path / "same.ipynb", {"n": 1})
    run_notebook(source, tmp_path / "other.ipynb", {"n": True})
    assert len(nbformat.read(tmp_path / "same.ipynb", as_version=4).cells) == 3
    assert len(nbformat.read(tmp_path / "other.ipynb", as_version=4).cells) == 4


def test_working_folder_and_environment(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    source = page(tmp_path, "import os\nprint(os.getcwd(), os.environ['MEDSEG_TEST'])")
    run_notebook(source, tmp_path / "o.ipynb", {}, cwd=folder, env={"MEDSEG_TEST": "yes"})
    printed = nbformat.read(tmp_path / "o.ipynb", as_version=4).cells[-1].outputs[0].text
    assert printed.split() == [str(folder.resolve()), "yes"]


@pytest.mark.parametrize(
    ("more", "ends"), [("", nullcontext()), ("\nraise OSError('full')", pytest.raises(PageError))]
)
def test_temporary_folders_of_a_page_go_with_its_run(tmp_path, more, ends):
    source = page(
        tmp_path,
        "import pathlib, tempfile\nwork = pathlib.Path(tempfile.mkdtemp())\n"
        "(work / 'weights').write_text('w')\npathlib.Path('where').write_text(str(work))" + more,
    )
    with ends:
        run_notebook(source, tmp_path / "o.ipynb", {})
    where = (tmp_path / "where").read_text()
    assert where and not os.path.exists(where)


def test_a_registered_kernel_of_the_user_is_not_taken(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    spec.joinpath("kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    run_notebook(page(tmp_path, "n"), tmp_path / "o.ipynb", {})
    assert (tmp_path / "o.ipynb").exists()


def test_unknown_parameter_names_the_known_ones(tmp_path):
    source = page(tmp_path, "1", parameters='profile = "smoke"\nseed = 0')
    with pytest.raises(InputError, match="does not know the parameter sed") as caught:
        run_notebook(source, tmp_path / "o.ipynb", {"sed": 1})
    assert "profile, seed" in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "page.ipynb").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        run_notebook(tmp_path / "page.ipynb", tmp_path / "o.ipynb", {})


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("x = 1\nx / 0", "cell 3: line 2, `x / 0`: ZeroDivisionError: division by zero"),
        ("import time\ntime.sleep(120)", "cell 3: the cell took longer than 5 s"),
        ("import os\nos._exit(1)", "cell 3: the kernel died"),
    ],
    ids=["failed cell", "time-out", "dead kernel"],
)
def test_failure_says_where_and_leaves_the_target_alone(tmp_path, cell, said):
    source = page(tmp_path, cell, "print('never')")
    target = tmp_path / "out" / "page.ipynb"
    target.parent.mkdir()
    target.write_text("from an earlier run")
    with pytest.raises(PageError) as caught:
        run_notebook(source, target, {"n": 2}, timeout_s=5 if "sleep" in cell else 60)
    failed = target.with_name("page.failed.ipynb")
    assert (
        said in str(caught.value) and "page.ipynb" in str(caught.value) and str(failed) in str(caught.value)
    )
    assert len(str(caught.value).splitlines()) == 1
    assert target.read_text() == "from an earlier run"
    assert sorted(p.name for p in target.parent.iterdir()) == ["page.failed.ipynb", "page.ipynb"]
    nbformat.validate(nbformat.read(failed, as_version=4))


def test_a_good_run_removes_the_failed_notebook(tmp_path):
    with pytest.raises(PageError):
        run_notebook(page(tmp_path, "1 / 0"), tmp_path / "o.ipynb", {})
    run_notebook(page(tmp_path, "1"), tmp_path / "o.ipynb", {})
    assert not (tmp_path / "o.failed.ipynb").exists()
