"""Fixed points of the mean field as clusters of the data."""

import numpy as np

from rbm_jax._internal.typing import ArrayLike, Float, Shaped
from rbm_jax.plotting._axes import Axes, as_matrix, new_axes

__all__ = ["plot_fixed_points", "plot_tree"]


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
    data, points, sizes = as_matrix("data", data, None, 2), np.asarray(points), np.asarray(sizes, float)
    if points.shape != (len(sizes), 2):
        raise ValueError(
            f"points must have shape (n_points, 2), and sizes (n_points,), got {points.shape} and {sizes.shape}"
        )
    ax = new_axes(ax)
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
    labels = np.asarray(labels)
    if labels.ndim != 2 or len(labels) != len(ts):
        raise ValueError(f"labels must have shape (n_times, n_samples) with n_times {len(ts)}, got {labels.shape}")
    ax = new_axes(ax)
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
