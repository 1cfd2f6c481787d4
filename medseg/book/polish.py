"""Take out of the built pages what only fails there, and what would ask another host."""

import re
from pathlib import Path

_OUT = (
    # The theme asks for its icon fonts ahead with a cross-origin flag: refused from file://, and the
    # style sheet asks for them again in a way that works.
    re.compile(r'\s*<link rel="preload" as="font"[^>]*>'),
    # Live cells of sphinx-thebe, which would load a script from elsewhere; declared twice, it is an error.
    re.compile(r"\s*<script>const THEBE_JS_URL.*?</script>", re.DOTALL),
    re.compile(r'\s*<script[^>]*src="[^"]*sphinx-thebe\.js[^"]*"[^>]*></script>'),
)
_HEAD = re.compile(r"<head\b.*?</head>", re.DOTALL)


def polish(html: Path) -> None:
    """Rewrite the head of every page below `html` without those lines; what the pages say stays as it is."""
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(_HEAD.sub(lambda match: _cleaned(match[0]), text, count=1), encoding="utf-8")


def _cleaned(head: str) -> str:
    for pattern in _OUT:
        head = pattern.sub("", head)
    return head
