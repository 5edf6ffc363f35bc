"""The phase diagram, and replica theory beside simulation."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rbm_jax._internal.optional import require
from rbm_jax._internal.typing import ArrayLike, Float, Int
from rbm_jax.plotting._axes import LINE_STYLES, Axes, mode_colors, new_axes
from rbm_jax.replica import Phase

__all__ = ["PhaseLine", "plot_phase_diagram", "plot_theory"]

_SHADES = {
    Phase.PARAMAGNET: "#f2f2f2",
    Phase.FERROMAGNET: "#d5e5f5",
    Phase.SPIN_GLASS: "#f6dfce",
    Phase.MIXED: "#e4d7ec",
}

Curve = tuple[ArrayLike, ...]


@dataclasses.dataclass(frozen=True)
class PhaseLine:
    """A boundary in the diagram.

    Attributes:
        temperature: 1/σ.
        bias: w/σ.
        style: matplotlib's line style.
    """

    temperature: ArrayLike
    bias: ArrayLike
    style: str = "-"


def plot_phase_diagram(
    temperature: Float[ArrayLike, " n_temperatures"],
    bias: Float[ArrayLike, " n_biases"],
    phase: Int[ArrayLike, "n_biases n_temperatures"],
    *,
    lines: Mapping[str, PhaseLine] | None = None,
    points: Float[ArrayLike, "n_points 3"] | None = None,
    points_label: str = "",
    path: Float[ArrayLike, "n_times 2"] | None = None,
    ax: Axes = None,
) -> Axes:
    """Phases in the plane of 1/σ and w/σ, as shades with their names.

    Args:
        temperature: 1/σ of the columns; axes are logarithmic if these are spaced so.
        bias: w/σ of the rows.
        phase: a `Phase` at each point.
        lines: boundaries, by name for the legend.
        points: measurements 1/σ, w/σ and a value in [0, 1], shown by a color.
        points_label: what the value is.
        path: 1/σ and w/σ along a training; NaN where no mode can be seen, which is drawn at w = σ.
        ax: where to draw; a new figure by default.
    """
    ax = new_axes(ax)
    temperature, bias, phase = np.asarray(temperature), np.asarray(bias), np.asarray(phase)
    shades = require("matplotlib.colors").ListedColormap([_SHADES[each] for each in Phase])
    ax.pcolormesh(temperature, bias, phase, cmap=shades, vmin=-0.5, vmax=3.5, shading="nearest", rasterized=True)
    if len(temperature) > 2 and not np.isclose(*np.diff(temperature)[[0, -1]]):
        ax.set_xscale("log")
        ax.set_yscale("log")
    measured = [np.asarray(each)[:, :2] for each in (points, path) if each is not None]
    free = _uncovered(temperature, bias, measured)
    for each in Phase:
        _name_phase(ax, each, temperature, bias, phase == each, free)
    for name, line in (lines or {}).items():
        ax.plot(line.temperature, line.bias, line.style, color="0.15", linewidth=1.2, label=name)
    if points is not None:
        x, y, value = np.asarray(points).T
        shown = ax.scatter(x, y, c=value, vmin=0, vmax=1, cmap="viridis", s=26, edgecolors="white", linewidths=0.4)
        ax.figure.colorbar(shown, ax=ax, label=points_label)
    if path is not None:
        _draw_path(ax, np.asarray(path))
    ax.set_xlim(temperature[0], temperature[-1])
    ax.set_ylim(bias[0], bias[-1])
    ax.set_xlabel(r"temperature $1/\sigma$")
    ax.set_ylabel(r"ferromagnetic bias $w/\sigma$")
    if lines or path is not None:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize="small", frameon=False)
    return ax


def plot_theory(
    theory: Mapping[str, Curve],
    points: Mapping[str, Curve] | None = None,
    *,
    x_label: str,
    label: str,
    ax: Axes = None,
) -> Axes:
    """Lines of theory, and measurements of the same names as points with error bars.

    Args:
        theory: x and y of each line.
        points: x, y and, if there are any, standard errors.
        x_label: name of the x axis, with its unit.
        label: name of the y axis, with its unit.
        ax: where to draw; a new figure by default.
    """
    ax = new_axes(ax)
    points = points or {}
    names = list(dict.fromkeys([*theory, *points]))
    for index, (name, color) in enumerate(zip(names, mode_colors(len(names)), strict=True)):
        if name in theory:
            ax.plot(*theory[name], LINE_STYLES[index % len(LINE_STYLES)], color=color, linewidth=1.3, label=name)
        if name in points:
            x, y, *error = points[name]
            known = None if name in theory else name
            options = {"fmt": "o", "color": color, "markersize": 3.5, "elinewidth": 1, "capsize": 2, "label": known}
            ax.errorbar(x, y, yerr=error[0] if error else None, **options)
    ax.set_xlabel(x_label)
    ax.set_ylabel(label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small")
    return ax


def _uncovered(temperature, bias, measured) -> np.ndarray:
    """Where a name can stand: not at a measured point."""
    free = np.ones((len(bias), len(temperature)), bool)
    for x, y in (each.T for each in measured):
        near_x, near_y = (abs(np.subtract.outer(axis, at)).argmin(0) for axis, at in ((temperature, x), (bias, y)))
        free[near_y, near_x] = False
    return free


def _name_phase(ax: Axes, phase: Phase, temperature, bias, inside, free) -> None:
    """The name where the region has most room, if it is large enough and not covered by points."""
    if inside.mean() < 0.03 or not (inside & free).any():
        return
    room = require("scipy.ndimage").distance_transform_edt(np.pad(inside & free, 1))[1:-1, 1:-1]
    roomy = np.argwhere(room > 0.95 * room.max())
    row, column = roomy[((roomy - np.argwhere(inside).mean(0)) ** 2).sum(1).argmin()]
    name = phase.name.replace("_", " ").lower()
    ax.text(temperature[column], bias[row], name, ha="center", va="center", color="0.35", fontsize="small")


def _draw_path(ax: Axes, path) -> None:
    """With its two ends named."""
    seen = np.isfinite(path[:, 1])
    path = np.where(np.isfinite(path), path, 1.0)
    options = {"color": "tab:red", "markersize": 3.5}
    ax.plot(*path.T, "-", color="tab:red", linewidth=1, alpha=0.6)
    ax.plot(*path[seen].T, "o", label="a training", **options)
    ax.plot(*path[~seen].T, "o", fillstyle="none", label=r"no mode seen, $w\leq\sigma$", **options)
    for name, at, offset in (("start", path[0], (7, -3)), ("end", path[-1], (-8, -13))):
        ax.annotate(name, at, xytext=offset, textcoords="offset points", color="tab:red", fontsize="small")
