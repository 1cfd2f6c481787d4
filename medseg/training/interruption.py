"""How a run is asked to end: SIGTERM by a scheduler, SIGINT by Ctrl-C or a notebook's stop button."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from medseg.errors import Interrupted

TRAINED = "trained, not scored yet; go on with --resume"


class Interruption:
    """Whether this process was asked to end; asked a second time by Ctrl-C, it ends without saving."""

    def __init__(self) -> None:
        self.asked = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def watched() -> Iterator[Interruption]:
    """Note SIGTERM and SIGINT within the block, and put the former handlers back after it."""
    found = Interruption()
    with _handled_by(signal.SIGTERM, found.note), _handled_by(signal.SIGINT, found.note):
        yield found


@contextmanager
def ended_at_once(said: str) -> Iterator[None]:
    """Raise where SIGTERM arrives within the block, which must leave nothing half done.

    Raises:
        Interrupted: with the words given.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(said)

    with _handled_by(signal.SIGTERM, end):
        yield


@contextmanager
def _handled_by(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # Python delivers signals to the main thread alone; in another thread nothing is watched.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, former)
