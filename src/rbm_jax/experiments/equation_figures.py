"""Figures and the table of a training beside the learning equations."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax.dynamics import Comparison, GrowthModes, linear_window
from rbm_jax.experiments.equations import ComparisonResult
from rbm_jax.model.exact import exact_log_likelihood
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.plotting import figure_style, new_figure, plot_comparison, plot_images, plot_quantity
from rbm_jax.runs import Dataset
from rbm_jax.spectral import svd_modes

__all__ = ["comparison_error_figure", "comparison_figure", "comparison_table"]

Figure = Any

N_JUDGED = 3
"""Leading modes of which the figure of errors takes the largest."""


def comparison_table(result: ComparisonResult) -> str:
    """Growth rates, singular values at the end, and departures from each theory, a mode a row."""
    comparisons, growth = result.comparisons, result.growth
    name, best = list(comparisons.items())[-1]
    last, leading = _end(best), float(growth.rates[0])
    discrete = _percent(math.log1p(leading * result.learning_rate) / result.learning_rate, leading).strip()
    columns = "  ".join(f"{title:>16}" for title in comparisons)
    rows = [
        f"\nGrowth rates: slopes of log|u.W| for t <= {result.measured_until:.3g}, and in theory",
        "var(h) eig(C - diag var(v)). With steps of finite length the rate r becomes",
        f"log(1 + r step)/step: {discrete} for mode 1 here.",
        f"Singular values, by rank, at t = {float(best.ts[last]):.3g}, of PCD and of the {name};",
        "and when PCD departs from each theory by more than 10 %, and by how much at most.\n",
        "          growth rate                singular value           departs at t = (at most)",
        f"mode  measured   theory   diff.     PCD   theory   diff.  {columns}",
    ]
    for mode in range(len(best.departure)):
        rate, theory = float(result.measured_rates[mode]), float(growth.rates[mode])
        value, expected = float(best.discrete_values[last, mode]), float(best.continuous_values[last, mode])
        times = "  ".join(f"{_time(comparison, mode):>16}" for comparison in comparisons.values())
        rows.append(
            f"{mode + 1:4d} {rate:9.5f} {theory:8.5f} {_percent(rate, theory)} "
            f"{value:7.3f} {expected:8.3f} {_percent(value, expected)}  {times}"
        )
    rows.append(
        "\nThe linear theory ends where weights are no longer small: growth slows as the model's own correlations"
        "\nbuild up. The Gaussian closure includes them, and ends where units saturate and stop being Gaussian. The TAP"
        "\nclosure goes on with a mixture of the model's fixed points."
    )
    if "exact equations" in comparisons:
        rows.append("The exact equations have no end: what is left are PCD's finite steps and sampling noise.")
    return "\n".join([*rows, ""])


def _end(comparison: Comparison) -> int:
    """Place of the last time that the theory reached: an integration may end early, and is NaN from there on."""
    reached = np.isfinite(np.asarray(comparison.continuous_values)).all(-1)
    return int(np.flatnonzero(reached)[-1]) if reached.any() else -1


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+6.1f}%" if math.isfinite(value) and reference else "      -"


def _time(comparison: Comparison, mode: int) -> str:
    departure, largest = float(comparison.departure[mode]), float(comparison.largest_deviation[mode])
    when = f"{departure:.3g}" if math.isfinite(departure) else f"> {float(comparison.ts[-1]):.3g}"
    return f"{when} ({largest:+.0%})"


@figure_style()
def comparison_figure(result: ComparisonResult) -> Figure:
    """Training by PCD on the lines of the learning equations, integrated from the same weights.

    What to see: straight growth on the logarithmic axis, each mode at the rate that its variance sets, until units
    saturate. The linear theory ends first, then the Gaussian closure; the TAP closure goes on, and the exact equations,
    where the RBM is small enough for them, have no end. Rings are where modes leave one of them by more than 10 %.
    Below, modes of the data turn into modes of the weights.

    Source: Decelle, Fissore and Furtlehner (2017), whose learning equations these are.
    """
    figure = new_figure(7, 4.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.4, 1), height_ratios=(1.9, 1))
    best = list(result.comparisons.values())[-1]
    n_modes = best.departure.shape[0]
    left = {f"departs from\nthe {name}": each.departure for name, each in result.comparisons.items()}
    left = {name: times for name, times in left.items() if np.isfinite(times).any()}
    plot_comparison(
        best.ts,
        best.discrete_values,
        {name: (theory.ts, theory.continuous_values) for name, theory in reversed(result.comparisons.items())},
        identified=best.left_overlap * best.right_overlap > 0.5,
        departures=list(left.items())[-1] if left else None,
        n_modes=n_modes,
        ax=figure.add_subplot(grid[0, 0]),
    )
    _draw_quality(figure.add_subplot(grid[0, 1]), result.dataset, result.training, result.theories)
    _draw_modes(figure.add_subplot(grid[1, :]), result.dataset, result.growth, result.training, n_modes)
    return figure


@figure_style()
def comparison_error_figure(result: ComparisonResult) -> Figure:
    """How far PCD is from each of the learning equations as time goes on.

    What to see: each theory holds to a few per cent until its assumption ends, which is where its vertical line is, at
    the first lasting departure beyond 10 %, and is far off soon after. What is left of the exact equations are the
    finite steps of PCD and the noise of its chains and minibatches.

    Source: ours; the equations are those of Decelle, Fissore and Furtlehner (2017).
    """
    figure = new_figure(7, 2.6)
    left, right = figure.subplots(1, 2)
    later, weights = slice(1, None), result.training.rbms.weights  # all start from the same weights
    values, distances = {}, {}
    for name, comparison in result.comparisons.items():
        n_times = len(comparison.ts)
        apart = jnp.linalg.norm(weights[:n_times] - result.theories[name].rbms.weights[:n_times], axis=(1, 2))
        values[name] = (comparison.ts[later], jnp.abs(comparison.deviation[:, :N_JUDGED]).max(1)[later])
        distances[name] = (comparison.ts[later], (apart / jnp.linalg.norm(weights[:n_times], axis=(1, 2)))[later])
    n_judged = min(N_JUDGED, len(result.comparisons["linear theory"].departure))
    plot_quantity(values, label=rf"largest $|\Delta\sigma_\alpha|/\sigma_\alpha$ of {n_judged} modes", ax=left)
    for points, comparison in zip(left.get_lines(), result.comparisons.values(), strict=True):
        departure = float(comparison.departure[:N_JUDGED].min())
        left.axvline(departure if math.isfinite(departure) else math.nan, color=points.get_color(), linewidth=0.8)
    plot_quantity(distances, label=r"$|W_\mathrm{PCD}-W_\mathrm{theory}|\,/\,|W_\mathrm{PCD}|$", ax=right)
    for ax in (left, right):
        ax.set_yscale("log")
        ax.set_ylim(top=3)
    return figure


def _draw_quality(ax, dataset: Dataset, training: Trajectory, theories: dict[str, Trajectory]) -> None:
    """The likelihood where it can be enumerated, else the free-energy gap."""
    if "exact equations" not in theories:
        label = r"free-energy gap $\langle F\rangle_\mathrm{chains}-\langle F\rangle_\mathrm{data}$ (nats)"
        plot_quantity({"PCD": (training.ts, training.observations)}, label=label, ax=ax)
        return
    likelihood = jax.jit(jax.vmap(lambda rbm: exact_log_likelihood(rbm, dataset.samples)))
    lines = {
        name: (theories[name].ts, likelihood(theories[name].rbms))
        for name in ("exact equations", "TAP closure", "Gaussian closure")
        if name in theories
    }
    points = {"PCD": (training.ts, likelihood(training.rbms))}
    plot_quantity(points, lines, label="log-likelihood per sample (nats)", ax=ax)


def _draw_modes(ax, dataset: Dataset, growth: GrowthModes, training: Trajectory, n_modes: int) -> None:
    theory = np.asarray(growth.vectors[:, :n_modes])
    early = int(linear_window(training, growth).sum()) - 1
    rows = [theory.T]
    for time in (early, -1):
        left = np.asarray(svd_modes(training.rbms.weights[time]).left[:, :n_modes])
        rows.append((left * np.where((left * theory).sum(0) < 0, -1, 1)).T)
    labels = ["theory: eigenvectors", f"PCD at t = {training.ts[early]:.3g}", f"PCD at t = {training.ts[-1]:.3g}"]
    shape = dataset.image_shape or (1, len(theory))
    plot_images(np.concatenate(rows), shape, n_columns=n_modes, row_labels=labels, diverging=True, ax=ax)
    ax.set_title("leading left singular vectors")
