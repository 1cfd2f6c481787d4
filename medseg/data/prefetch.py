"""Batches made ahead in a thread, so that the device does not wait; at most `depth` are held."""

import threading
from collections.abc import Callable, Generator, Iterable
from queue import Full, Queue
from typing import Any, TypeVar

Key = TypeVar("Key")
Made = TypeVar("Made")
_END = object()
_POLL_S = 0.1


def prefetched(make: Callable[[Key], Made], keys: Iterable[Key], depth: int) -> Generator[Made, None, None]:
    """Give make(key) for every key, in order.

    Args:
        make: called once a key; what it raises is raised here, in its place.
        keys: in the order of use.
        depth: results that may wait; 0 makes each when it is asked for, in this thread.

    >>> list(prefetched(lambda n: n * n, range(4), depth=2))
    [0, 1, 4, 9]
    """
    if depth == 0:
        yield from map(make, keys)
        return
    ready: Queue[Any] = Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=_POLL_S)
            except Full:
                continue

    def work() -> None:
        try:
            for key in keys:
                put((make(key), None))
                if stop.is_set():
                    return
        except BaseException as error:  # it belongs to the caller
            put((None, error))
        put((_END, None))

    thread = threading.Thread(target=work, name="medseg-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        # The caller may stop early: the thread must not wait for room for ever.
        stop.set()
        thread.join()
