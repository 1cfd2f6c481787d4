"""SIGTERM, the word of a scheduler that wants the machine back: acted on between two steps, or at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from medseg.errors import Interrupted

TRAINED = "trained, not scored yet; go on with --resume"


class Interruption:
    """Whether this process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.asked = True


@contextmanager
def watched() -> Iterator[Interruption]:
    """Note SIGTERM within the block, and put the former handler back after it."""
    found = Interruption()
    with _handled_by(found.note):
        yield found


@contextmanager
def ended_at_once(said: str) -> Iterator[None]:
    """Raise where SIGTERM arrives within the block, which must leave nothing half done.

    Raises:
        Interrupted: with the words given.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(said)

    with _handled_by(end):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # Python delivers signals to the main thread alone; in another thread nothing is watched.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
