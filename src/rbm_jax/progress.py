"""Progress of long work, on standard error."""

import contextlib
from collections.abc import Callable, Iterator

from rbm_jax._internal.optional import require

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(total: int, description: str, *, unit: str = "update") -> Iterator[Callable[[int], object]]:
    """A tqdm bar for the `progress` argument of `fit`; silent where standard error is not a terminal.

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
        yield bar.update
