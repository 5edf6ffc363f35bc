"""Figures. Every function takes arrays and an optional `ax`, and returns the matplotlib axes it drew on.

Theory is drawn as lines, data and training as points.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbm_jax._optional import require
from rbm_jax._typing import ArrayLike, Float, Shaped

__all__ = ["plot_comparison", "plot_images", "plot_quantity", "plot_spectrum"]

_LINE_STYLES = ("-", "--", ":", "-.")

Axes = Any


def plot_spectrum(
    ts: Float[ArrayLike, " n_times"],
    values: Float[ArrayLike, "n_times n_modes"],
    *,
    n_modes: int = 10,
    logarithmic: bool = True,
    ax: Axes = None,
) -> Axes:
    """Singular values of W along training, as points: the leading modes in color, all others in gray.

    Args:
        ts: times, shape (n_times,).
        values: σ_α(t), decreasing along the last axis, shape (n_times, n_modes).
        n_modes: how many to color.
        logarithmic: whether the axis of the singular values is logarithmic.
        ax: where to draw; a new figure by default.
    """
    ax = _axes(ax)
    values = np.asarray(values)
    if values.shape[1] > n_modes:
        ax.plot(ts, values[:, n_modes:], ".", color="0.8", markersize=2, zorder=1)
    for mode, color in enumerate(_mode_colors(min(n_modes, values.shape[1]))):
        ax.plot(ts, values[:, mode], "o", color=color, markersize=2.5)
    return _label_time_axes(ax, r"singular values $\sigma_\alpha$", logarithmic)


def plot_comparison(
    ts: Float[ArrayLike, " n_times"],
    values: Float[ArrayLike, "n_times n_modes"],
    theories: Mapping[str, tuple[Float[ArrayLike, " n_theory"], Float[ArrayLike, "n_theory n_modes"]]],
    *,
    training: str = "PCD",
    identified: Shaped[ArrayLike, "n_times n_modes"] | None = None,
    n_modes: int = 10,
    ax: Axes = None,
) -> Axes:
    """Leading singular values against time: points for training, lines for each theory.

    What to see: straight growth on the logarithmic axis, each mode at its own rate; where points leave lines, the
    theory's assumptions end.

    Args:
        ts: times of the training, shape (n_times,).
        values: σ_α(t) of the training, shape (n_times, n_modes).
        theories: a name, its times and its singular values; the first is drawn solid, then dashed, dotted, dash-dotted.
        training: name of the training in the legend.
        identified: False for points whose mode has too little overlap with the theory's; they are gray.
        n_modes: modes to draw.
        ax: where to draw; a new figure by default.
    """
    ax = _axes(ax)
    values = np.asarray(values)
    colors = _mode_colors(min(n_modes, values.shape[1]))
    identified = np.ones(values.shape, bool) if identified is None else np.asarray(identified)
    for mode, color in enumerate(colors):
        ax.plot(ts, np.where(identified[:, mode], np.nan, values[:, mode]), "o", color="0.8", markersize=2, zorder=2)
        ax.plot(ts, np.where(identified[:, mode], values[:, mode], np.nan), "o", color=color, markersize=2.5, zorder=3)
    top = 2 * np.nanmax(values)
    for (theory_ts, theory_values), style in zip(theories.values(), _LINE_STYLES, strict=False):
        shown = np.where(np.asarray(theory_values) < top, theory_values, np.nan)
        for mode, color in enumerate(colors):
            ax.plot(theory_ts, shown[:, mode], style, color=color, linewidth=1)
    handles = ax.plot([], [], "o", color="0.3", markersize=2.5, label=training)
    if not identified.all():
        handles += ax.plot([], [], "o", color="0.8", markersize=2, label=f"{training}, other direction")
    for name, style in zip(theories, _LINE_STYLES, strict=False):
        handles += ax.plot([], [], style, color="0.3", linewidth=1, label=name)
    ax.legend(handles=handles, loc="upper left", frameon=False)
    _label_time_axes(ax, r"singular values $\sigma_\alpha$", logarithmic=True)
    ax.set_ylim(values[:, : len(colors)].min() / 2, top)
    return ax


def plot_quantity(
    points: Mapping[str, tuple[Float[ArrayLike, " n_times"], Float[ArrayLike, " n_times"]]],
    lines: Mapping[str, tuple[Float[ArrayLike, " n_theory"], Float[ArrayLike, " n_theory"]]] | None = None,
    *,
    label: str,
    ax: Axes = None,
) -> Axes:
    """Quantities along training: points for training or data, lines for theory.

    Args:
        points: a name, times and values of each quantity drawn as points.
        lines: the same for those drawn as lines.
        label: what the values are, with their unit.
        ax: where to draw; a new figure by default.
    """
    ax = _axes(ax)
    markers = "os^v"
    for (name, (ts, quantity)), marker in zip(points.items(), markers, strict=False):
        ax.plot(ts, quantity, marker, markersize=2.5, label=name, color="0.2")
    for (name, (ts, quantity)), style in zip((lines or {}).items(), _LINE_STYLES, strict=False):
        ax.plot(ts, quantity, style, linewidth=1, label=name, color="tab:blue")
    ax.legend(frameon=False)
    return _label_time_axes(ax, label, logarithmic=False)


def plot_images(
    images: Float[ArrayLike, "n_images n_pixels"],
    shape: tuple[int, int],
    *,
    n_columns: int | None = None,
    row_labels: Sequence[str] = (),
    diverging: bool = False,
    ax: Axes = None,
) -> Axes:
    """A grid of images in one axes.

    Args:
        images: one a row, shape (n_images, n_pixels).
        shape: rows and columns of an image.
        n_columns: images in a row of the grid; about a square by default.
        row_labels: a label at the left of each row of the grid.
        diverging: draw signed patterns, each image scaled to its largest absolute value, blue below and red above 0.
            Otherwise intensities, from white at the smallest value of all to black at the largest.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: images that do not have the shape.
    """
    images = np.asarray(images, float)
    if images.ndim != 2 or images.shape[1] != shape[0] * shape[1]:
        raise ValueError(f"images must have one row of {shape[0]}×{shape[1]} pixels each, got shape {images.shape}")
    ax = _axes(ax)
    n_columns = n_columns or math.ceil(math.sqrt(len(images)))
    n_rows = math.ceil(len(images) / n_columns)
    if diverging:
        images = images / np.maximum(np.abs(images).max(1, keepdims=True), np.finfo(float).tiny)
    height, width = shape[0] + 1, shape[1] + 1
    canvas = np.full((n_rows * height - 1, n_columns * width - 1), np.nan)
    for index, image in enumerate(images):
        top, left = index // n_columns * height, index % n_columns * width
        canvas[top : top + shape[0], left : left + shape[1]] = image.reshape(shape)
    limits = {"vmin": -1, "vmax": 1} if diverging else {}
    ax.imshow(canvas, cmap="RdBu_r" if diverging else "gray_r", interpolation="nearest", **limits)
    ax.set_xticks([])
    ax.set_yticks([row * height + (shape[0] - 1) / 2 for row in range(len(row_labels))], row_labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _axes(ax: Axes) -> Axes:
    if ax is not None:
        return ax
    # A figure without pyplot is not kept alive by it and needs no display.
    figure = require("matplotlib.figure").Figure(figsize=(5, 3.5), layout="constrained")
    return figure.add_subplot()


def _mode_colors(n_modes: int):
    """Colors from dark to bright that stay apart for the color-blind and in gray."""
    return require("matplotlib").colormaps["viridis"](np.linspace(0, 0.9, n_modes))


def _label_time_axes(ax: Axes, label: str, logarithmic: bool) -> Axes:
    ax.set_xlabel(r"time $t$ (learning rate × updates)")
    ax.set_ylabel(label)
    if logarithmic:
        ax.set_yscale("log")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
