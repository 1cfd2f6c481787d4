"""SIGTERM is noted within the block and nowhere else."""

import os
import signal
import threading

from medseg.training.interruption import watched


def test_it_is_noted_and_the_former_handler_comes_back():
    seen = []
    former = signal.signal(signal.SIGTERM, lambda *arguments: seen.append("former"))
    try:
        with watched() as found:
            assert not found.asked
            os.kill(os.getpid(), signal.SIGTERM)
            assert found.asked and not seen
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["former"]
    finally:
        signal.signal(signal.SIGTERM, former)


def test_the_handler_comes_back_after_an_error():
    former = signal.getsignal(signal.SIGTERM)
    try:
        with watched():
            raise KeyError
    except KeyError:
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
