"""Signals that wait until a training is saved."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["held_signals"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def held_signals() -> Iterator[Callable[[], int]]:
    """Let SIGINT, SIGTERM and SIGHUP wait: what is yielded says which one has come, or 0.

    A second one of the same kind acts at once. Signals that the process ignores, as a job in the background does, stay
    ignored. Only the main thread is told of signals; in others nothing is held.
    """
    came = [0]

    def note(number: int, frame) -> None:
        del frame
        came[0] = number
        signal.signal(number, previous[number])

    previous = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        previous = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, note)
    try:
        yield lambda: came[0]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
