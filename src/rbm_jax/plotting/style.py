"""The style of the gallery, and figures to draw on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbm_jax._internal.files import atomic_write
from rbm_jax._internal.optional import require

__all__ = ["figure_style", "new_figure", "write_figure"]

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.3,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "figure.constrained_layout.w_pad": 0.06,
}

Figure = Any


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """The style of the gallery, for figures that are made inside: text that can be read at the width of a column.

    `with figure_style(): ...`, or `@figure_style()` before a function that makes a figure.
    """
    with require("matplotlib").rc_context(_STYLE):
        yield


def new_figure(width: float = 3.4, height: float = 2.6) -> Figure:
    """An empty figure, of a width and height in inches, that needs no display and that pyplot does not keep alive.

    Args:
        width: of the whole figure, 3.4 for a column and 7 for a page of a journal.
        height: of the whole figure.
    """
    return require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file, whatever the file's name says; it is there whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=200, format="png")
