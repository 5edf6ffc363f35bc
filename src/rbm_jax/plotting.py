"""Figures. Every function takes arrays and an optional `ax`, and returns the matplotlib axes it drew on.

Theory is drawn as lines, data and training as points.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbm_jax._optional import require
from rbm_jax._typing import ArrayLike, Float, Shaped

__all__ = ["plot_comparison", "plot_fixed_points", "plot_images", "plot_quantity", "plot_spectrum", "plot_tree"]

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
    for (name, (ts, quantity)), marker, color in zip(
        points.items(), "osx^", ("0.2", "0.6", "0.4", "0.8"), strict=False
    ):
        ax.plot(ts, quantity, marker, markersize=2.5, label=name, color=color)
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


def plot_fixed_points(
    data: Float[ArrayLike, "n_samples 2"],
    points: Float[ArrayLike, "n_points 2"],
    sizes: Shaped[ArrayLike, " n_points"],
    *,
    ax: Axes = None,
) -> Axes:
    """Data and fixed points in a plane, usually that of the two leading left singular vectors.

    Args:
        data: projections of the data, shape (n_samples, 2), drawn as small gray dots.
        points: projections of the fixed points, shape (n_points, 2), drawn as red circles.
        sizes: data in each basin, shape (n_points,); the area of a circle is proportional to it.
        ax: where to draw; a new figure by default.
    """
    ax = _axes(ax)
    data, points, sizes = np.asarray(data), np.asarray(points), np.asarray(sizes, float)
    ax.plot(data[:, 0], data[:, 1], ".", color="0.75", markersize=3, label="data", zorder=1)
    area = 10 + 200 * sizes / max(sizes.sum(), 1)
    label = "fixed points (area: basin)"
    ax.scatter(
        points[:, 0], points[:, 1], s=area, color="tab:red", edgecolor="white", linewidth=0.5, label=label, zorder=2
    )
    ax.set_xlabel(r"$u_1\cdot v$")
    ax.set_ylabel(r"$u_2\cdot v$")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def plot_tree(
    ts: Float[ArrayLike, " n_times"],
    labels: Shaped[ArrayLike, "n_times n_samples"],
    *,
    ax: Axes = None,
) -> Axes:
    """How nested clusters split along training: time to the right, one leaf for each final cluster.

    Args:
        ts: times, increasing, shape (n_times,).
        labels: the cluster of each sample at each time, -1 for none, shape (n_times, n_samples), as `fixed_point_tree`
            gives them. Samples of one cluster are of one cluster at all earlier times.
        ax: where to draw; a new figure by default.
    """
    ax = _axes(ax)
    labels = np.asarray(labels)
    labels = labels[:, (labels >= 0).all(0)]
    ordered = labels[:, np.lexsort(labels[::-1])]  # by the first time's label, then the second's, ...
    is_new = np.append(True, ordered[-1, 1:] != ordered[-1, :-1]) if ordered.size else np.zeros(0, bool)
    leaf = np.cumsum(is_new) - 1
    n_leaves = int(is_new.sum())
    leaves = ordered[:, is_new]  # one sample of each leaf
    sizes = np.bincount(leaf, minlength=n_leaves)
    heights = np.stack([_group_means(row, np.arange(n_leaves)) for row in leaves]) if n_leaves else leaves
    for index in range(n_leaves):
        ax.plot(ts, heights[:, index], "-", color="0.4", linewidth=0.8, zorder=1)
    for time, row, height in zip(np.asarray(ts), leaves, heights, strict=True):
        share = np.array([sizes[row == label].sum() for label in row]) / max(sizes.sum(), 1)
        ax.scatter(np.full(n_leaves, time), height, s=4 + 80 * share, color="tab:red", zorder=2)
    ax.set_xlabel(r"time $t$ (learning rate × updates)")
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _group_means(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each element, the mean of the values over its group."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return (np.bincount(inverse, values) / counts)[inverse]


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
