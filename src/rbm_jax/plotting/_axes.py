"""What all figures share: new axes, the colors of modes, the axis of time."""

from typing import Any

import numpy as np

from rbm_jax._internal.checks import as_array
from rbm_jax._internal.optional import require
from rbm_jax.plotting.style import new_figure

__all__ = [
    "LINE_STYLES",
    "Axes",
    "as_matrix",
    "label_time_axes",
    "mode_colors",
    "new_axes",
]

LINE_STYLES = ("-", "--", ":", "-.")

Axes = Any


def as_matrix(name: str, values: Any, n_rows: int | None = None, n_columns: int | None = None) -> np.ndarray:
    """Values as a matrix of at least one row and column, or an error; None: any number of them."""
    matrix = np.asarray(as_array(name, values))
    wanted = (matrix.shape[0] if n_rows is None else n_rows, matrix.shape[-1] if n_columns is None else n_columns)
    if matrix.size == 0 or matrix.shape != wanted:
        rows, columns = ("any" if size is None else size for size in (n_rows, n_columns))
        raise ValueError(f"{name} must be a matrix of {rows} rows and {columns} columns, got shape {matrix.shape}")
    return matrix


def new_axes(ax: Axes) -> Axes:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    return new_figure(5, 3.5).add_subplot()


def mode_colors(n_modes: int):
    """Colors from dark to bright that stay apart for the color-blind and in gray."""
    return require("matplotlib").colormaps["viridis"](np.linspace(0, 0.9, n_modes))


def label_time_axes(ax: Axes, label: str, logarithmic: bool) -> Axes:
    """Name both axes of a figure against training time."""
    ax.set_xlabel(r"time $t$ (learning rate × updates)")
    ax.set_ylabel(label)
    if logarithmic:
        ax.set_yscale("log")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
