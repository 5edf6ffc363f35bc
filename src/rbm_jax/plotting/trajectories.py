"""Quantities along training: points for training and data, lines for theory."""

from collections.abc import Mapping, Sequence

import numpy as np

from rbm_jax._internal.typing import ArrayLike, Float, Shaped
from rbm_jax.plotting._axes import LINE_STYLES, Axes, as_matrix, label_time_axes, mode_colors, new_axes

__all__ = [
    "plot_against_fraction",
    "plot_comparison",
    "plot_learning_curves",
    "plot_modes",
    "plot_quantity",
    "plot_spectrum",
]


def plot_spectrum(
    ts: Float[ArrayLike, " n_times"],
    values: Float[ArrayLike, "n_times n_modes"],
    *,
    n_modes: int = 10,
    edge: float | None = None,
    logarithmic: bool = True,
    ax: Axes = None,
) -> Axes:
    """Singular values of W along training, as points: the leading modes in color, all others in gray.

    What to see: values that leave the bulk of the random start one after the other.

    Args:
        ts: times, shape (n_times,).
        values: σ_α(t), decreasing along the last axis, shape (n_times, n_modes).
        n_modes: how many to color.
        edge: largest singular value of the random start in theory, drawn as a line.
        logarithmic: whether the axis of the singular values is logarithmic.
        ax: where to draw; a new figure by default.
    """
    values = as_matrix("values", values, len(ts))
    ax = new_axes(ax)
    if values.shape[1] > n_modes:
        ax.plot(ts, values[:, n_modes:], ".", color="0.8", markersize=2, zorder=1)
    references = {} if edge is None else {"Marchenko-Pastur edge": edge}
    plot_modes(ts, values[:, :n_modes], label=r"singular values $\sigma_\alpha$", references=references, ax=ax)
    if logarithmic:
        ax.set_yscale("log")
    return ax


def plot_modes(
    ts: Float[ArrayLike, " n_times"],
    values: Float[ArrayLike, "n_times n_modes"],
    *,
    label: str,
    references: Mapping[str, float] | None = None,
    ax: Axes = None,
) -> Axes:
    """Any quantity of each mode along training, as points, dark for the leading mode to bright for the last.

    Args:
        ts: times, shape (n_times,).
        values: one column a mode, shape (n_times, n_modes).
        label: what the values are, with their unit.
        references: names and values of what theory expects, drawn as horizontal lines.
        ax: where to draw; a new figure by default.
    """
    values = as_matrix("values", values, len(ts))
    ax = new_axes(ax)
    n_modes = values.shape[1]
    for mode, color in enumerate(mode_colors(n_modes)):
        named = n_modes <= 5 or mode in (0, n_modes - 1)
        ax.plot(ts, values[:, mode], "o", color=color, markersize=2.5, label=f"mode {mode + 1}" if named else None)
    for (name, reference), style in zip((references or {}).items(), LINE_STYLES, strict=False):
        ax.axhline(reference, linestyle=style, color="0.3", linewidth=1, label=name)
    ax.legend(frameon=False)
    return label_time_axes(ax, label, logarithmic=False)


def plot_comparison(
    ts: Float[ArrayLike, " n_times"],
    values: Float[ArrayLike, "n_times n_modes"],
    theories: Mapping[str, tuple[Float[ArrayLike, " n_theory"], Float[ArrayLike, "n_theory n_modes"]]],
    *,
    training: str = "PCD",
    identified: Shaped[ArrayLike, "n_times n_modes"] | None = None,
    departures: tuple[str, Shaped[ArrayLike, " n_departures"]] | None = None,
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
        departures: label and times of departures of each mode, such as `dynamics.Comparison.departure`; they are rings
            on the points, but for those that are inf.
        n_modes: modes to draw.
        ax: where to draw; a new figure by default.
    """
    values = as_matrix("values", values, len(ts))
    ax = new_axes(ax)
    colors = mode_colors(min(n_modes, values.shape[1]))
    identified = np.ones(values.shape, bool) if identified is None else np.asarray(identified)
    for mode, color in enumerate(colors):
        ax.plot(ts, np.where(identified[:, mode], np.nan, values[:, mode]), "o", color="0.8", markersize=2, zorder=2)
        ax.plot(ts, np.where(identified[:, mode], values[:, mode], np.nan), "o", color=color, markersize=2.5, zorder=3)
    if not np.isfinite(values).any():
        raise ValueError("values must hold numbers that are finite, got none")
    top = 2 * np.nanmax(values)
    for (theory_ts, theory_values), style in zip(theories.values(), LINE_STYLES, strict=False):
        shown = np.where(np.asarray(theory_values) < top, theory_values, np.nan)
        for mode, color in enumerate(colors):
            ax.plot(theory_ts, shown[:, mode], style, color=color, linewidth=1)
    handles = ax.plot([], [], "o", color="0.3", markersize=2.5, label=training)
    if not identified.all():
        handles += ax.plot([], [], "o", color="0.8", markersize=2, label=f"{training}, other direction")
    for name, style in zip(theories, LINE_STYLES, strict=False):
        handles += ax.plot([], [], style, color="0.3", linewidth=1, label=name)
    if departures is not None:
        handles += _ring_departures(ax, ts, values, *departures, colors)
    ax.legend(handles=handles, loc="upper left", frameon=False)
    label_time_axes(ax, r"singular values $\sigma_\alpha$", logarithmic=True)
    ax.set_ylim(np.nanmin(values[:, : len(colors)]) / 2, top)
    return ax


def _ring_departures(ax, ts, values, label: str, times, colors) -> list:
    """Rings on the points of each mode at its time; an entry for the legend."""
    ring = {"marker": "o", "markersize": 6, "markerfacecolor": "none", "linestyle": "none"}
    for mode, (time, color) in enumerate(zip(np.asarray(times), colors, strict=False)):
        if np.isfinite(time):
            ax.plot(time, np.interp(time, ts, values[:, mode]), markeredgecolor=color, zorder=4, **ring)
    return ax.plot([], [], markeredgecolor="0.3", label=label, **ring)


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
    ax = new_axes(ax)
    colors = ("0.2", "0.6") if len(points) <= 2 else mode_colors(len(points))
    for (name, (ts, quantity)), marker, color in zip(points.items(), "osx^" * len(points), colors, strict=False):
        ax.plot(ts, quantity, marker, markersize=2.5, label=name, color=color)
    for (name, (ts, quantity)), style in zip((lines or {}).items(), LINE_STYLES, strict=False):
        ax.plot(ts, quantity, style, linewidth=1, label=name, color="tab:blue")
    ax.legend(frameon=False)
    return label_time_axes(ax, label, logarithmic=False)


def plot_learning_curves(
    sizes: Shaped[ArrayLike, " n_sizes"],
    curves: Mapping[str, Sequence[float]],
    *,
    label: str,
    theory: tuple[str, Mapping[str, Sequence[float]]] | None = None,
    ax: Axes = None,
) -> Axes:
    """A quality of several kinds of RBM against the number of training samples, as points on a logarithmic axis.

    Args:
        sizes: numbers of samples, shape (n_sizes,).
        curves: names and values, one for each size.
        label: what the values are, with their unit.
        theory: what to call it, and what it expects of each of the curves, drawn as lines of their colors.
        ax: where to draw; a new figure by default.
    """
    ax = _marked_curves(sizes, curves, label, ax)
    if theory is not None:
        name, expected = theory
        for values, color in zip(expected.values(), mode_colors(len(curves)), strict=True):
            ax.plot(sizes, values, "-", color=color, linewidth=1, label=name)
            name = None
    ax.set_xscale("log")
    ax.set_xlabel("training samples")
    ax.legend(frameon=False)
    return ax


def plot_against_fraction(
    fractions: Float[ArrayLike, " n_fractions"],
    curves: Mapping[str, Sequence[float]],
    *,
    label: str,
    reference: tuple[str, float] | None = None,
    ax: Axes = None,
) -> Axes:
    """A quantity of several trainings against the fraction of entries that were missing, as points.

    Args:
        fractions: in [0, 1), shape (n_fractions,).
        curves: names and values, one for each fraction.
        label: what the values are, with their unit.
        reference: name and value of a horizontal line.
        ax: where to draw; a new figure by default.
    """
    ax = _marked_curves(fractions, curves, label, ax)
    if reference is not None:
        ax.axhline(reference[1], color="0.3", linewidth=1, label=reference[0])
    ax.set_xlabel("fraction of entries missing in training")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax


def _marked_curves(positions, curves: Mapping[str, Sequence[float]], label: str, ax: Axes) -> Axes:
    """Points with a marker of their own for each name; thin dots between them guide the eye."""
    ax = new_axes(ax)
    for (name, values), color, marker in zip(curves.items(), mode_colors(len(curves)), "os^Dv" * 3, strict=False):
        ax.plot(positions, values, marker + ":", color=color, markersize=4.5, linewidth=0.8, label=name)
    ax.set_ylabel(label)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
