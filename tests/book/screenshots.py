"""Pictures of built pages in light, dark and narrow: `python tests/book/screenshots.py OUTDIR [HTMLDIR]`."""

import sys
from pathlib import Path

from browser import browser, served, wait_for_viewers

WINDOWS = {"light": (1280, 900, False), "dark": (1280, 900, True), "narrow": (400, 800, False)}


def take(html: Path, out: Path) -> list[Path]:
    """Save every page below `html` in each window, whole; gives the files."""
    pages = sorted(p for folder in ("book", "notebooks") for p in (html / folder).glob("*.html"))
    written = []
    with served(html) as address, browser() as tab:
        for page in pages:
            for name, (width, height, dark) in WINDOWS.items():
                tab.size(width, height, dark)
                tab.open(f"{address}/{page.relative_to(html).as_posix()}")
                wait_for_viewers(tab)
                tab.value("window.scrollTo(0, 0)")
                written.append(out / f"{page.stem}-{name}.png")
                tab.screenshot(written[-1])
    return written


if __name__ == "__main__":
    for path in take(Path(sys.argv[2] if len(sys.argv) > 2 else "_build/html"), Path(sys.argv[1])):
        print(path)
