"""SIGTERM and SIGINT are noted within the block, or SIGTERM ends it at once, and nowhere else."""

import os
import signal
import threading

import pytest

from medseg.errors import Interrupted
from medseg.training.interruption import ended_at_once, watched


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_noted_and_the_former_handler_comes_back(number):
    seen = []
    former = signal.signal(number, lambda *arguments: seen.append("former"))
    try:
        with watched() as found:
            assert not found.asked
            os.kill(os.getpid(), number)
            assert found.asked and not seen
        os.kill(os.getpid(), number)
        assert seen == ["former"]
    finally:
        signal.signal(number, former)


def test_a_second_ctrl_c_waits_for_nothing():
    with watched() as found, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert found.asked
        os.kill(os.getpid(), signal.SIGINT)


def test_the_handler_comes_back_after_an_error():
    former = signal.getsignal(signal.SIGTERM)
    try:
        with watched():
            raise KeyError
    except KeyError:
        assert signal.getsignal(signal.SIGTERM) == former


def test_it_ends_a_block_at_once_and_the_former_handler_comes_back():
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="go on"), ended_at_once("go on"):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the block went on")
    assert signal.getsignal(signal.SIGTERM) == former


def test_another_thread_watches_nothing():
    found = []

    def work():
        with watched() as interruption:
            found.append(interruption.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
