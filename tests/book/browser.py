"""Headless Chromium over its debugging pipe: open a page, watch what it asks for and complains about."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    # A page that needs another host must fail here even where there is a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_LONGEST_PX = 8000  # beyond 8192 a screenshot begins again from the top
# Chromium reads commands from descriptor 3 and answers on 4; copies above 9 keep the two from overwriting
# each other on the way there.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One Chromium, a fresh tab for every page; close it when done."""

    def __init__(self, *flags: str):
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_child, self._out = os.pipe()
        self._in, from_child = os.pipe()
        command = [sys.executable, "-c", _LAUNCH, str(to_child), str(from_child), CHROMIUM, *_FLAGS, *flags]
        command += ["--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(to_child, from_child), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_child)
        os.close(from_child)
        self._buffer, self._number, self._session = b"", 0, None
        self._target: str | None = None
        self._window = (1280, 900, False)
        self.events: list[dict] = []

    def send(self, method: str, timeout_s: float = 120, **parameters):
        """Send one command and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]

    def _read(self, deadline: float) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium did not answer")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise EOFError("Chromium has ended")
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Set the window and the reader's preferred theme for the pages opened from now on."""
        self._window = (width, height, dark)

    def open(self, url: str) -> None:
        """Open a page in a fresh tab, forgetting earlier events, and wait until it has loaded."""
        if self._target:
            self._session = None
            self.send("Target.closeTarget", targetId=self._target)
        self._target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        width, height, dark = self._window
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str):
        """The value of a JavaScript expression (a promise is awaited)."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = 120) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + timeout_s
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true after {timeout_s} s: {expression}; {self.state()}")
            time.sleep(0.1)

    def state(self) -> str:
        """Where the page stands, for the message of an error: its address, and loads without an end."""
        begun = {
            e["params"]["requestId"]: e["params"]["request"]["url"] for e in self._named("requestWillBeSent")
        }
        for end in (*self._named("loadingFinished"), *self._named("loadingFailed")):
            begun.pop(end["params"]["requestId"], None)
        return f"at {self.value('location.href + document.readyState')}, still loading {list(begun.values())}"

    def _named(self, event: str) -> list[dict]:
        return [e for e in self.events if e["method"] == f"Network.{event}"]

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            extra = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9}.get(key, 0)
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra
            )

    def wheel(self, x: float, y: float, down: float) -> None:
        """Turn the wheel by some pixels at a place in the window."""
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=down)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a place in the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Save the whole page as PNG, smaller where it is longer than a picture of the software renderer."""
        box = self.send("Page.getLayoutMetrics")["cssContentSize"]
        scale = min(1.0, _LONGEST_PX / box["height"])
        clip = {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": scale}
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def requests(self) -> list[str]:
        """Every address the page asked for, but those inside the page itself."""
        urls = [e["params"]["request"]["url"] for e in self._named("requestWillBeSent")]
        return [url for url in urls if not url.startswith(("data:", "blob:", "about:"))]

    def complaints(self) -> list[str]:
        """Console errors, uncaught exceptions and failed loads."""
        found = []
        for event in self.events:
            parameters = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                found.append(details.get("exception", {}).get("description", details["text"]))
            elif event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in parameters["args"]))
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        return found

    def close(self) -> None:
        for descriptor in (self._out, self._in):
            os.close(descriptor)
        self._process.terminate()
        self._process.wait(timeout=20)
        self._profile.cleanup()


@contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """A browser for the length of a block."""
    opened = Browser(*flags)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine only; yields the address of its root."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def wait_for_viewers(tab: Browser) -> list[str]:
    """Scroll every viewer of the open page into view and wait until it has settled; gives their states."""
    for place in range(tab.value("document.querySelectorAll('.medseg-viewer').length")):
        one = f"document.querySelectorAll('.medseg-viewer')[{place}]"
        tab.value(f"{one}.scrollIntoView({{behavior: 'instant'}})")
        tab.until(f"['true', 'failed'].includes({one}.dataset.ready)", timeout_s=120)
    return tab.value("[...document.querySelectorAll('.medseg-viewer')].map(v => v.dataset.ready)")


def check_page(tab: Browser, url: str, own: str) -> int:
    """The checks for one built page; gives the number of its viewers.

    Every viewer is drawn, nothing is asked of an address outside `own`, and the console stays silent.
    """
    tab.open(url)
    states = wait_for_viewers(tab)
    assert all(state == "true" for state in states), states
    outside = [address for address in tab.requests() if not address.startswith(own)]
    assert not outside, outside
    assert not tab.complaints(), tab.complaints()
    return len(states)


def page_bytes(html: Path) -> int:
    """Weight of one page: its HTML and the pictures that it names."""
    text = html.read_text(encoding="utf-8")
    pictures = {p for p in html.parent.parent.glob("_images/*") if p.name in text}
    return len(text.encode()) + sum(p.stat().st_size for p in pictures)
