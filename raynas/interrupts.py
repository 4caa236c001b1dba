"""SIGTERM, the notice of a preemption, as the Ctrl-C that every run knows how to end on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Turn SIGTERM into SIGINT while it lasts; outside the main thread, do nothing.

    Schedulers of clusters, spot machines and containers announce their end by SIGTERM, with
    seconds to go. Ray, once connected, would leave without writing anything, so this belongs
    inside a connection.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell script starts what ends in &
        signal.default_int_handler(number, frame)
    signal.raise_signal(signal.SIGINT)
