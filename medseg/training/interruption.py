"""SIGTERM, the word of a scheduler that wants the machine back: noted, and acted on between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether this process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.asked = True


@contextmanager
def watched() -> Iterator[Interruption]:
    """Note SIGTERM within the block, and put the former handler back after it.

    Python delivers signals to the main thread alone; in another thread nothing is watched.
    """
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    former = signal.signal(signal.SIGTERM, found.note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, former)
