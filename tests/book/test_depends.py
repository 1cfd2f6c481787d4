"""Which studies a page reads is found in its code."""

import nbformat
import pytest
from tiny_book import ROOT, notebook

from medseg.book.depends import studies_of
from medseg.studies import study

STUDIES = ("first", "second", "third")


def reads(tmp_path, *cells):
    nbformat.write(notebook(*cells), tmp_path / "page.ipynb")
    return studies_of(tmp_path / "page.ipynb", STUDIES)


def test_named_studies_in_their_order(tmp_path):
    assert reads(tmp_path, "x = 'third'", "from medseg.studies import study\nstudy.load('first')") == (
        "first",
        "third",
    )


def test_a_name_within_other_text_or_prose_does_not_count(tmp_path):
    assert reads(tmp_path, "print('the first study')  # 'second'") == ()


@pytest.mark.parametrize(
    "cell",
    [
        "from medseg.studies import study\nfor name in study.names():\n    print(name, 'first')",
        "from medseg.studies.study import names as all_of_them\nall_of_them()",
        "import medseg.studies.study\nmedseg.studies.study.names()",
        "from medseg.records import store as s\ns.read_study(folder, name)",
        "from medseg.studies import study\nstudy.load(name)",
        "this is no python",
    ],
    ids=["lists them", "renamed", "dotted", "reads unnamed records", "loads an unnamed study", "no Python"],
)
def test_all_studies(tmp_path, cell):
    assert reads(tmp_path, cell) == STUDIES


def test_names_that_are_put_together(tmp_path):
    known = ("set_a", "set_b", "other")

    def found(cell):
        nbformat.write(notebook(cell), tmp_path / "page.ipynb")
        return studies_of(tmp_path / "page.ipynb", known)

    assert found("for x in 'ab':\n    study.load(f'set_{x}')") == ("set_a", "set_b")
    assert found("study.load(f'set_{x}'); study.load('other')") == known
    assert found("print(f'{x}, {y}', 'other')") == ("other",)
    assert found("from medseg.studies import study\nstudy.group('set')") == ("set_a", "set_b")


def test_what_is_not_reading(tmp_path):
    cell = "%cd /content\nif True:\n    !ls\nfrom medseg.records import store\nstore.to_json(record)"
    assert reads(tmp_path, cell, "%%bash\nnot python 'first'") == ()


def test_the_pages_of_this_book():
    known = {path.stem: studies_of(path, ["transseg_main"]) for path in ROOT.glob("notebooks/*.ipynb")}
    assert known["00_start"] == ()
    names = study.names(ROOT)
    of = {number: set(studies_of(path, names)) for path in ROOT.glob("notebooks/*.ipynb")
          for number in [path.stem[:2]]}  # fmt: skip
    tuned = {name for name in names if name.startswith("medtuning_")}
    once = {name for name in tuned if not {"time", "folds"} & {*name.split("_")}}
    assert of["21"] >= {name for name in once if "brats" in name or "methods" in name or "kits" in name}
    assert of["23"] >= {name for name in once if "deit" in name or "methods" in name}
    assert of["24"] == tuned
    assert known["10_inflation"] == known["11_main_result"] == ("transseg_main",)
