"""Progress of long work, on standard error."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rbm_jax._internal.optional import require

__all__ = ["Progress", "in_chunks", "progress_bar"]

_SECONDS_OF_A_LINE = 60.0
"""Between lines where there is no bar: seldom enough for a log file of days, often enough to see that work goes on."""


@contextlib.contextmanager
def progress_bar(total: int, description: str, *, unit: str = "update") -> Iterator["Progress"]:
    """A tqdm bar for the `progress` argument of `fit`; where standard error is no terminal, a line every minute.

    Args:
        total: number of updates, or of other units.
        description: what is going on.
        unit: what is counted.

    Yields:
        A function to call with the number of updates done since its last call.

    Raises:
        ImportError: tqdm is not installed.
    """
    with require("tqdm").tqdm(total=total, desc=description, unit=unit, disable=None, leave=False) as bar:
        yield Progress(bar, total, description, unit)


class Progress:
    """How far work is; call it with the number of units done since the last call.

    Args:
        bar: of tqdm; one that is disabled stands for a terminal that there is not.
        total: number of units.
        description: what is going on.
        unit: what is counted.
    """

    def __init__(self, bar: Any, total: int, description: str, unit: str):
        self._bar, self._total, self._description, self._unit = bar, total, description, unit
        self._done, self._began = 0, time.monotonic()
        self._at, self._numbers, self._was_called = self._began, "", False

    @property
    def is_new(self) -> bool:
        """Whether it has not been called yet."""
        return not self._was_called

    def __call__(self, n_done: int) -> None:
        """So many units more are done."""
        self._was_called = True
        self._done += n_done
        self._bar.update(n_done)
        now = time.monotonic()
        if self._bar.disable and now - self._at > _SECONDS_OF_A_LINE:
            self._at = now
            how_far = f"{self._done} of {self._total} {self._unit}s in {now - self._began:.0f} s"
            numbers = f"; {self._numbers}" if self._numbers else ""
            sys.stderr.write(f"{self._description}: {how_far}{numbers}\n")
            sys.stderr.flush()

    def show(self, numbers: Mapping[str, float]) -> None:
        """Numbers to stand beside the bar, or in the next line."""
        self._numbers = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self._bar.set_postfix_str(self._numbers)


def in_chunks(total: int, size: int, description: str, unit: str) -> Iterator[slice]:
    """The parts of long work one by one, with a progress bar; each must be done when the next one is asked for.

    Args:
        total: number of units.
        size: of a part.
        description: what is going on.
        unit: what is counted.
    """
    with progress_bar(total, description, unit=unit) as progress:
        for start in range(0, total, size):
            part = slice(start, min(start + size, total))
            yield part
            progress(part.stop - part.start)
