"""SIGTERM as a Ctrl-C."""

import os
import signal
import threading

import pytest

from raynas.interrupts import sigterm_as_ctrl_c


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["usual", "ignored"])
def ctrl_c(request):
    """Ctrl-C as in a terminal, and ignored, as in what a shell script starts with ``&``."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


def test_sigterm_raises_what_ctrl_c_raises_and_the_handler_is_given_back(ctrl_c):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_are_left_alone():
    before, within = signal.getsignal(signal.SIGTERM), []

    def work():
        with sigterm_as_ctrl_c():
            within.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert within == [before]
