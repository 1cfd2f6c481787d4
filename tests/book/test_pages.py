"""Built pages in a browser: the viewers draw, nothing is asked of another host, the console is silent.

The tiny book is built for the test. The project's own pages are read from the folder in MEDSEG_HTML, or from
`_build/html`, and skipped where they are not built.
"""

import os
from pathlib import Path

import pytest
from browser import CHROMIUM, browser, check_page, page_bytes, served, wait_for_viewers
from tiny_book import ROOT, VIEWER_CELL, notebook, write_book

from medseg.book import toc
from medseg.book.build import build_book

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
BUILT = Path(os.environ.get("MEDSEG_HTML", ROOT / "_build" / "html"))
PAGES = toc.notebooks(ROOT)
ONE = "document.querySelector('.medseg-viewer')"

STAGE = f"{ONE}.querySelector('.medseg-viewer-stage')"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = write_book(tmp_path_factory.mktemp("tiny") / "book", one=notebook(VIEWER_CELL))
    return build_book(root).parent


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


@pytest.fixture(params=["http", "file"])
def address(request):
    """How the pages are reached: from a folder to its address."""
    if request.param == "file":
        yield lambda html: html.as_uri()
        return
    folder = BUILT if "built" in request.node.name else request.getfixturevalue("tiny")
    with served(folder) as root:
        yield lambda html: root


def test_tiny_page(tab, tiny, address):
    own = address(tiny)
    assert check_page(tab, f"{own}/notebooks/one.html", own) == 1
    assert check_page(tab, f"{own}/book/intro.html", own) == 0
    assert any("mathjax/tex-mml-chtml.js" in url for url in tab.requests())
    assert page_bytes(tiny / "notebooks" / "one.html") < 5e6


def test_buttons_keys_and_wheel(tab, tiny):
    tab.open((tiny / "notebooks" / "one.html").as_uri())
    assert wait_for_viewers(tab) == ["true"]
    for part, place in (("image", 0), ("reference", 1), ("prediction", 2)):
        button = f"{ONE}.querySelector('button[data-part={part}]')"
        tab.value(f"{button}.focus()")
        tab.press("Enter")
        assert tab.value(f"{button}.getAttribute('aria-pressed')") == "false"
        assert tab.value(f"{ONE}.medsegViewer.volumes[{place}].opacity") == 0
        tab.press("Enter")
        assert tab.value(f"{ONE}.medsegViewer.volumes[{place}].opacity") > 0
    where = f"[...{ONE}.medsegViewer.scene.crosshairPos]"
    before = tab.value(where)
    tab.value(f"{ONE}.querySelector('canvas').focus()")
    tab.press("ArrowRight")
    assert tab.value(where)[0] > before[0]
    # The wheel over the picture belongs to the page until the reader clicks the picture.
    tab.value(
        f"document.activeElement.blur(), {ONE}.scrollIntoView({{block: 'center', behavior: 'instant'}})"
    )
    x, y = tab.value(f"(b => [b.x + b.width / 3, b.y + b.height / 3])({STAGE}.getBoundingClientRect())")
    scrolled, before = tab.value("window.scrollY"), tab.value(where)
    tab.wheel(x, y, -100)
    tab.until(f"window.scrollY < {scrolled}")
    assert tab.value(where) == before
    tab.click(x, y + 40)
    assert tab.value("document.activeElement.tagName") == "CANVAS"
    scrolled, before = tab.value("window.scrollY"), tab.value(where)
    tab.wheel(x, y + 40, -100)
    tab.until(f"String({where}) !== String({before})")
    assert tab.value("window.scrollY") == scrolled
    assert not tab.complaints()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_narrow_page_needs_no_sideways_scrolling(tab, tiny, dark):
    tab.size(400, 800, dark)
    tab.open((tiny / "notebooks" / "one.html").as_uri())
    assert wait_for_viewers(tab) == ["true"]
    tab.size(1280, 900)
    assert tab.value("document.documentElement.scrollWidth") <= 400
    assert tab.value(f"{ONE}.getBoundingClientRect().right") <= 400
    assert tab.value(f"{ONE}.querySelector('figure img').complete")


def test_without_webgl_the_still_image_remains(tiny):
    with browser("--disable-3d-apis") as plain:
        plain.open((tiny / "notebooks" / "one.html").as_uri())
        assert wait_for_viewers(plain) == ["failed"]
        assert "WebGL" in plain.value(f"{ONE}.querySelector('[role=status]').textContent")
        assert plain.value(f"{ONE}.querySelector('figure img').getBoundingClientRect().height") > 50
        assert plain.value(f"{ONE}.querySelector('canvas').getBoundingClientRect().height") == 0


def test_outside_the_book_the_still_image_remains(tab, tiny, tmp_path):
    text = (tiny / "notebooks" / "one.html").read_text(encoding="utf-8")
    start = text.index('<div class="medseg-viewer"')
    alone = text[start : text.index("</script>\n</div>", start) + len("</script>\n</div>")]
    (tmp_path / "cell.html").write_text(f"<!doctype html><meta charset=utf-8><body>{alone}", encoding="utf-8")
    tab.open((tmp_path / "cell.html").as_uri())
    assert wait_for_viewers(tab) == ["failed"]
    assert "live=True" in tab.value(f"{ONE}.querySelector('[role=status]').textContent")
    assert tab.requests() == [(tmp_path / "cell.html").as_uri()] and not tab.complaints()


@pytest.mark.parametrize("page", PAGES)
def test_built_page(tab, address, page):
    if not (BUILT / f"{page}.html").exists():
        pytest.skip(f"{page}.html is not built")
    own = address(BUILT)
    assert check_page(tab, f"{own}/{page}.html", own) >= 1
    assert page_bytes(BUILT / f"{page}.html") < 5e6
