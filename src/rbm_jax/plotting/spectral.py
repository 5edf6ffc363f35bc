"""The spectrum of the weights against random-matrix theory and the linear theory."""

from collections.abc import Mapping, Sequence

import numpy as np

from rbm_jax._internal.checks import check_finite, check_positive
from rbm_jax._internal.typing import ArrayLike, Float
from rbm_jax.plotting._axes import LINE_STYLES, Axes, label_time_axes, mode_colors, new_axes
from rbm_jax.spectral import Bulk

__all__ = ["plot_convergence", "plot_growth_rates", "plot_linear_theory", "plot_spectrum_histogram"]

_FAR = 4
"""Outliers beyond so many times the edge get logarithmic bins: with equal ones, the bulk would be a few bars."""


def plot_spectrum_histogram(bulk: Bulk, *, ax: Axes = None) -> Axes:
    """Histogram of the singular values, with the theory of the bulk as a line and outliers as triangles.

    What to see: of random initial weights all values are under the line, the density of Marchenko and Pastur; what
    training has learned stands to the right. The counts are per bin; bins are logarithmic if outliers are far away, and
    the first one holds all below it.

    Args:
        bulk: from `split_bulk(weights)`.
        ax: where to draw; a new figure by default.

    Raises:
        ValueError: a stack of bulks, values that are not finite, or a bulk without noise.
    """
    values, is_outlier = np.asarray(bulk.values), np.asarray(bulk.is_outlier)
    if values.ndim != 1 or values.size == 0 or values.shape != is_outlier.shape:
        raise ValueError(
            f"bulk must have values and is_outlier of one shape (n_modes,), got {values.shape} and {is_outlier.shape}"
        )
    check_finite("bulk.values", values)
    check_positive("bulk.noise", bulk.noise)
    ax = new_axes(ax)
    bins, line, widths = _bins(values, *(float(edge) for edge in bulk.edges))
    if np.ndim(widths):
        ax.set_xscale("log")
    ax.hist(np.maximum(values, bins[0]), bins=bins, color="0.8", label="singular values")
    expected = np.asarray(bulk.density(line)) * widths * (~is_outlier).sum()
    ax.plot(line, expected, "-", color="tab:blue", linewidth=1, label="Marchenko-Pastur density")
    if is_outlier.any():
        label = f"{is_outlier.sum()} outliers"
        ax.plot(values[is_outlier], np.zeros(is_outlier.sum()), "^", color="tab:red", clip_on=False, label=label)
    ax.set_xlabel(r"singular value $\sigma_\alpha$")
    ax.set_ylabel("number of modes")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def _bins(values: np.ndarray, lower: float, upper: float):
    """Bins, points on the curve of the bulk, and the width of a bin there (of each, if bins are logarithmic)."""
    if values.max() > _FAR * upper:
        smallest = max(lower, upper / 100)  # the lower edge of square matrices is 0
        bins = np.geomspace(smallest / 2, values.max() * 1.2, 40)
        line = np.geomspace(max(lower, bins[0]), upper, 300)
        return bins, line, line * np.log(bins[1] / bins[0])
    width = (upper - lower) / 12
    bins = np.arange(max(0.0, lower - 2 * width), max(values.max(), upper) + 2 * width, width)
    return bins, np.linspace(lower, upper, 300), width


def plot_growth_rates(
    theory: Float[ArrayLike, " n_modes"], measured: Float[ArrayLike, " n_modes"], *, ax: Axes = None
) -> Axes:
    """Measured growth rates against the linear theory's, as points on the diagonal if it holds.

    Args:
        theory: rates of `growth_modes`, shape (n_modes,).
        measured: such as those of `growth_rates_along`, shape (n_modes,).
        ax: where to draw; a new figure by default.
    """
    ax = new_axes(ax)
    theory, measured = np.asarray(theory), np.asarray(measured)
    ends = np.array([min(theory.min(), np.nanmin(measured)), max(theory.max(), np.nanmax(measured))])
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.plot(ends, ends, "-", color="tab:blue", linewidth=1, label="equal")
    ax.plot(theory, measured, "o", color="0.2", markersize=3, label="modes of the data")
    ax.set_xlabel(r"linear theory $\sigma_h^2\,\mathrm{eig}(C-\Sigma_v)$ (per unit of time)")
    ax.set_ylabel("growth rate measured (per unit of time)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def plot_linear_theory(
    ts: Float[ArrayLike, " n_times"],
    runs: Float[ArrayLike, "n_runs n_times n_modes"],
    theory: tuple[Float[ArrayLike, " n_theory"], Float[ArrayLike, "n_theory n_modes"]],
    plateaus: Float[ArrayLike, " n_modes"],
    *,
    names: Sequence[str],
    ax: Axes = None,
) -> Axes:
    """Singular values of repeated trainings, as mean and standard deviation, on the linear theory's curves.

    What to see: sigmoids, one after the other by variance, that end on their plateaus; modes below threshold decay.

    Args:
        ts: times, shape (n_times,).
        runs: of each repetition, shape (n_runs, n_times, n_modes).
        theory: times and singular values.
        plateaus: fixed points, shape (n_modes,), drawn dotted.
        names: one a mode, for the legend.
        ax: where to draw; a new figure by default.
    """
    ax = new_axes(ax)
    runs = np.asarray(runs)
    mean, spread = runs.mean(0), runs.std(0, ddof=1)
    for mode, (name, color) in enumerate(zip(names, mode_colors(len(names)), strict=True)):
        ax.plot(theory[0], np.asarray(theory[1])[:, mode], "-", color=color, linewidth=1)
        ax.axhline(plateaus[mode], linestyle=":", color=color, linewidth=0.8)
        ax.errorbar(
            ts, mean[:, mode], spread[:, mode], fmt="o", color=color, markersize=2.5, elinewidth=0.8, label=name
        )
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return label_time_axes(ax, r"singular values $\sigma_\alpha$", logarithmic=False)


def plot_convergence(
    steps: Float[ArrayLike, " n_steps"],
    errors: Mapping[str, tuple[Float[ArrayLike, " n_steps"], float]],
    *,
    label: str,
    ax: Axes = None,
) -> Axes:
    """Errors against a step length on logarithmic axes, as points, with power laws as lines through them.

    Args:
        steps: such as learning rates, shape (n_steps,).
        errors: a name, its errors and the exponent of its fitted power law, which is drawn through the geometric mean.
        label: what the errors are.
        ax: where to draw; a new figure by default.
    """
    ax = new_axes(ax)
    steps = np.asarray(steps)
    for (name, (error, slope)), color, style in zip(
        errors.items(), mode_colors(len(errors)), LINE_STYLES * 3, strict=False
    ):
        error = np.asarray(error)
        ax.plot(steps, error, "o", color=color, markersize=4, label=f"{name}: slope {slope:.2f}")
        center = np.exp(np.log(error).mean() - slope * np.log(steps).mean())
        ax.plot(steps, center * steps**slope, style, color=color, linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_minor_formatter("")
    ax.set_xticks(steps, [f"{step:g}" for step in steps])
    ax.set_xlabel("learning rate")
    ax.set_ylabel(label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    return ax
