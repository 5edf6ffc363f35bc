"""Visible configurations and patterns as images."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rbm_jax._internal.checks import as_array, check_count
from rbm_jax._internal.typing import ArrayLike, Float
from rbm_jax.plotting._axes import Axes, new_axes

__all__ = ["plot_images", "plot_imputation"]


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
        ValueError: no images, images that do not have the shape, or n_columns below 1.
    """
    images = np.asarray(as_array("images", images), float)
    if images.ndim != 2 or images.shape[1] != shape[0] * shape[1]:
        raise ValueError(f"images must have one row of {shape[0]}×{shape[1]} pixels each, got shape {images.shape}")
    if images.size == 0:
        raise ValueError(f"images must hold at least one image, got shape {images.shape}")
    ax = new_axes(ax)
    n_columns = math.ceil(math.sqrt(len(images))) if n_columns is None else check_count("n_columns", n_columns)
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


def plot_imputation(
    observed: Float[ArrayLike, "n_samples n_pixels"],
    found: Any,
    shape: tuple[int, int],
    *,
    n_images: int = 10,
    ax: Axes = None,
) -> Axes:
    """The first images in columns: what was observed (missing pixels in gray), mean, deviation and a sample.

    Args:
        observed: one image a row, NaN where a pixel is missing, shape (n_samples, n_pixels).
        found: what an RBM makes of them, a `missing.Imputation`: `mean`, `std` and `sample`, arrays of that shape.
        shape: rows and columns of an image.
        n_images: largest number of images.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: no images, arrays of different shapes or that do not have the shape of images, or n_images below 1.
    """
    known = np.asarray(as_array("observed", observed, allow_missing=True), float)
    mean, std, sample = (np.asarray(each, float) for each in (found.mean, found.std, found.sample))
    if known.size == 0 or not known.shape == mean.shape == std.shape == sample.shape:
        raise ValueError(f"observed must be images of the shape {mean.shape} of what was found, got {known.shape}")
    n_images = min(check_count("n_images", n_images), len(known))
    values = np.concatenate([known, sample])
    low, high = np.nanmin(values), np.nanmax(values)
    rows = {
        "observed": np.where(np.isnan(known), (low + high) / 2, known),
        "mean given it": mean,
        "deviation": low + 2 * std,  # at most half the distance of two states
        "a sample": sample,
    }
    images = np.concatenate([each[:n_images] for each in rows.values()])
    return plot_images(images, shape, n_columns=n_images, row_labels=list(rows), ax=ax)
