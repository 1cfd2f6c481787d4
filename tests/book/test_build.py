"""The build: HTML from executed pages, warnings as errors, and no trace of other hosts."""

import json
import re

import pytest
from tiny_book import ROOT, VIEWER_CELL, notebook, write_book

from medseg.book.build import build_book
from medseg.book.polish import polish
from medseg.book.runner import PageError

pytestmark = [pytest.mark.notebook, pytest.mark.slow]


def test_build_then_a_broken_build_keeps_the_first(tmp_path):
    root = write_book(tmp_path / "book", one=notebook(VIEWER_CELL))
    lines = []
    index = build_book(root, log=lines.append)
    assert index == root / "_build" / "html" / "index.html" and index.exists()
    assert lines[0].startswith("notebooks/one: ") and len(lines) == 2
    assert (
        json.loads((root / "_build" / "page_times.json").read_text())["notebooks/one"]["profile"] == "smoke"
    )

    page = (root / "_build" / "html" / "notebooks" / "one.html").read_text()
    assert page.count('class="medseg-viewer"') == 1 and 'alt="Three planes of A box &amp; its shadow' in page
    assert "blob/main/notebooks/one.ipynb" in page  # the Colab button
    # Nothing that the browser fetches by itself comes from elsewhere; links are for the reader to follow.
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*', page)

    (root / "book" / "intro.md").write_text("# Introduction\n\n[nowhere](no_such_page.md)\n")
    with pytest.raises(PageError, match="did not build") as caught:
        build_book(root)
    assert "intro.md" in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert (root / "_build" / "html" / "notebooks" / "one.html").read_text() == page


def test_failing_page_stops_the_build(tmp_path):
    root = write_book(tmp_path / "book", one=notebook("1 / 0"))
    with pytest.raises(PageError, match="one.ipynb: cell 3"):
        build_book(root)
    assert not (root / "_build" / "html").exists()


def test_polish_touches_the_head_only(tmp_path):
    live = '<script>const THEBE_JS_URL = "https://example.org/x.js"</script>'
    (tmp_path / "a.html").write_text(f"<html><head><title>t</title>{live}</head><body>{live}</body></html>")
    polish(tmp_path)
    assert (tmp_path / "a.html").read_text() == (
        f"<html><head><title>t</title></head><body>{live}</body></html>"
    )


def test_vendored_files_are_the_ones_named():
    from medseg.files import sha256_of

    assets = ROOT / "book" / "_assets"
    rows = re.findall(r"^\| (\S+\.js) .*?([0-9a-f]{64})", (assets / "VENDORED.md").read_text(), re.MULTILINE)
    assert len(rows) == 2
    for name, digest in rows:
        assert sha256_of(assets / name) == digest
