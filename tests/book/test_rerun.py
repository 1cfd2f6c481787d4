"""Reruns: stale pages only, in this process or on workers, and `medseg book build` agrees."""

import json
import subprocess
import sys

import nbformat
import pytest
from tiny_book import notebook, write_book

from medseg.batch import cluster
from medseg.book.rerun import rerun
from medseg.book.stage import stage
from medseg.errors import InputError

pytestmark = pytest.mark.notebook

# A page that a count in a file shows to have run.
COUNTED = "with open('ran-{0}', 'a') as stream:\n    print('{0}', file=stream)\nprint('{0}')"


def states(outcomes):
    return {outcome.name.removeprefix("notebooks/"): outcome.state for outcome in outcomes}


def runs_of(root, page):
    path = root / "notebooks" / f"ran-{page}"
    return len(path.read_text().splitlines()) if path.exists() else 0


def printed(root, page):
    made = nbformat.read(root / "_build" / "stage" / "notebooks" / f"{page}.ipynb", as_version=4)
    nbformat.validate(made)
    return "".join(o.text for cell in made.cells for o in cell.get("outputs", ()) if "text" in o)


@pytest.fixture
def no_cluster(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a cluster was started")

    return lambda: monkeypatch.setattr(cluster, "_local", refuse)


def test_here(tmp_path, no_cluster):
    root = write_book(tmp_path / "book", **{name: notebook(COUNTED.format(name)) for name in ("a", "b")})
    lines = []
    assert states(rerun(root, pages=["b"], log=lines.append)) == {"b": "done"}
    assert states(rerun(root, log=lines.append)) == {"b": "fresh", "a": "done"}
    assert printed(root, "a") == "a\n" and (runs_of(root, "a"), runs_of(root, "b")) == (1, 1)
    assert [line.partition(":")[0] for line in lines] == ["notebooks/b", "notebooks/b", "notebooks/a"]
    no_cluster()
    assert states(rerun(root, workers=2)) == {"a": "fresh", "b": "fresh"}
    with pytest.raises(InputError, match="no notebook c"):
        rerun(root, pages=["c"])
    with pytest.raises(InputError, match="smoke runs"):
        rerun(root, with_runs=True)


@pytest.mark.slow
def test_on_workers_a_failing_page_is_run_once_and_the_others_are_kept(tmp_path, no_cluster):
    bad = notebook(COUNTED.format("bad"), "1 / 0")
    root = write_book(tmp_path / "book", a=notebook(COUNTED.format("a")), bad=bad, c=notebook("print('c')"))
    a, failed, c = rerun(root, workers=2)
    assert states([a, failed, c]) == {"a": "done", "bad": "failed", "c": "done"}
    assert failed.attempts == 1 and "bad.ipynb: cell 4: line 1, `1 / 0`: ZeroDivision" in failed.message
    assert (runs_of(root, "a"), runs_of(root, "bad")) == (1, 1)
    assert (printed(root, "a"), printed(root, "c")) == ("a\n", "c\n")

    nbformat.write(notebook(COUNTED.format("bad")), root / "notebooks" / "bad.ipynb")
    assert states(rerun(root, workers=1)) == {"a": "fresh", "c": "fresh", "bad": "done"}
    assert (runs_of(root, "a"), runs_of(root, "bad")) == (1, 2)
    # The build executes nothing then.
    no_cluster()
    lines = []
    times = stage(root, root / "_build" / "stage", "smoke", log=lines.append)
    assert len(times) == 3 and all("unchanged" in line for line in lines)
    assert runs_of(root, "a") == 1


def test_nothing_heavy_is_imported_where_all_is_fresh(tmp_path):
    root = write_book(tmp_path / "book", a=notebook("from medseg.studies import study\nstudy"))
    rerun(root)
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom medseg.book.rerun import rerun\n"
        "states = [outcome.state for outcome in rerun(Path(sys.argv[1]), workers=2)]\n"
        "heavy = {'torch', 'distributed', 'papermill', 'nbformat', 'lightning', 'timm', 'monai'}\n"
        "print(json.dumps([states, sorted(heavy & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["fresh"], []]
