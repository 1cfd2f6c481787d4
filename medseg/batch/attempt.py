"""One attempt at a task, in whatever process it runs."""

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputError, Interrupted

# One task at a time in a process, also on a worker with many threads: a page sets environment variables, a
# training draws from torch's global generator.
_ALONE = threading.Lock()


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended; an exception comes back as text, for not every one survives the way."""

    done: bool
    seconds: float
    message: str = ""
    value: Any = None


def attempt(function: Callable[..., Any], args: tuple[Any, ...]) -> Attempt:
    """Call a function and say how it ended.

    Raises:
        Interrupted: the run in it was asked to end and saved itself.
    """
    with _ALONE:
        begun = time.monotonic()
        try:
            value = function(*args)
        except Interrupted:
            raise
        except Exception as error:
            return Attempt(False, round(time.monotonic() - begun, 1), _said(error))
        return Attempt(True, round(time.monotonic() - begun, 1), "", value)


def announced(topic: str, name: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Attempt:
    """An attempt on a Dask worker, which first tells the scheduler: starts are counted by these words."""
    from distributed import get_worker

    get_worker().log_event(topic, name)
    return attempt(function, args)


def _said(error: Exception) -> str:
    """The message; for errors that are not ours also the kind and the place."""
    if isinstance(error, InputError) or type(error).__module__.startswith("medseg."):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
