"""Made ahead or not: the same things in the same order, errors in their place, and no thread left behind."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.data.prefetch import prefetched


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "medseg-prefetch"]


@given(st.lists(st.integers()), st.integers(0, 4))
def test_order(keys, depth):
    assert list(prefetched(lambda key: 2 * key, keys, depth)) == [2 * key for key in keys]
    assert not threads()


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_an_error_arrives_in_its_place(depth, bad):
    def make(key):
        if key == bad:
            raise KeyError(key)
        return key

    seen = []
    with pytest.raises(KeyError, match=str(bad)):
        for item in prefetched(make, range(5), depth):
            seen.append(item)
    assert seen == list(range(bad))
    assert not threads()


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_in_the_keys_arrives_too(depth):
    def keys():
        yield 1
        raise ValueError("no more")

    coming = prefetched(lambda key: key, keys(), depth)
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no more"):
        next(coming)


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_stopping_early_ends_the_thread(taken):
    def endless():
        n = 0
        while True:
            yield (n := n + 1)

    coming = prefetched(lambda key: key, endless(), 2)
    assert [next(coming) for _ in range(taken)] == list(range(1, taken + 1))
    coming.close()
    assert not threads()


def test_at_most_so_many_wait():
    made, room = [], threading.Semaphore(0)

    def make(key):
        made.append(key)
        room.release()
        return key

    coming = prefetched(make, range(10), 2)
    assert next(coming) == 0
    # Two wait in the queue and one more is in hand.
    for _ in range(4):
        assert room.acquire(timeout=30)
    assert not room.acquire(timeout=0.3) and made == [0, 1, 2, 3]
    coming.close()


def test_depth_0_makes_when_asked_in_this_thread():
    made = []

    def make(key):
        made.append(threading.current_thread())
        return key

    coming = prefetched(make, range(3), 0)
    assert not made and next(coming) == 0 and made == [threading.current_thread()]
