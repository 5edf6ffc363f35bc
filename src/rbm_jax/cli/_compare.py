"""`rbm-jax compare`: train by PCD, integrate the learning equations, show both on one clock."""

import math
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax._internal.checks import check_positive
from rbm_jax.cli._common import (
    BatchSize,
    LearningRate,
    Modes,
    NChains,
    NHidden,
    NSweeps,
    Out,
    Seed,
    prepare_folder,
    write_figure,
)
from rbm_jax.cli._datasets import Data, Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.cli._side_by_side import ComparisonRecipe, SideBySide, train_and_integrate
from rbm_jax.dynamics import Comparison, GrowthModes, growth_rates_along, linear_window
from rbm_jax.io import save_trajectories
from rbm_jax.model.exact import exact_log_likelihood
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.plotting import figure_style, new_figure, plot_comparison, plot_images, plot_quantity
from rbm_jax.spectral import svd_modes

__all__ = ["compare", "comparison_error_figure", "comparison_figure"]

Figure = Any

N_JUDGED = 3
"""Leading modes of which the figure of errors takes the largest."""
NUpdates = Annotated[
    int | None,
    typer.Option(min=1, help="Updates [default: 2.5 times what takes the leading mode out of the linear regime]."),
]
Tap = Annotated[
    bool | None,
    typer.Option("--tap/--no-tap", help="Integrate the TAP closure [default: where it takes less than a few minutes]."),
]
Centered = Annotated[
    bool, typer.Option("--centered/--plain", help="Centered or plain gradient, for training and theory.")
]


@with_json
def compare(
    data: Data = "digits",
    n_hidden: NHidden = ComparisonRecipe.n_hidden,
    n_updates: NUpdates = ComparisonRecipe.n_updates,
    learning_rate: LearningRate = ComparisonRecipe.learning_rate,
    n_chains: NChains = ComparisonRecipe.n_chains,
    n_sweeps: NSweeps = ComparisonRecipe.n_sweeps,
    batch_size: BatchSize = ComparisonRecipe.batch_size,
    modes: Modes = ComparisonRecipe.n_modes,
    units: Units = UnitName.BERNOULLI,
    centered: Centered = ComparisonRecipe.centered,
    tap: Tap = ComparisonRecipe.tap,
    threshold: Threshold = 0.5,
    seed: Seed = 0,
    out: Out = Path("compare"),
) -> dict[str, Any]:
    """Training by PCD against the continuous-time learning equations.

    Trains an RBM from small random weights, integrates from the same weights the linear theory, the Gaussian closure,
    the TAP closure and, for up to 12 units in the smaller layer, the exact equations, and writes compare.png and
    compare.h5.

    Example: rbm-jax compare --data digits --n-hidden 64 --out compare
    """
    check_positive("--learning-rate", learning_rate)
    dataset = Source(data, units, threshold).load_images()
    folder = prepare_folder(out)
    recipe = ComparisonRecipe(
        n_hidden, n_updates, learning_rate, n_chains, n_sweeps, batch_size, modes, centered, tap, seed
    )
    result = train_and_integrate(dataset, recipe)
    save_trajectories(folder / "compare.h5", {"training": result.training, **result.theories})
    window = linear_window(result.training, result.growth)
    measured = np.asarray(growth_rates_along(result.training, result.growth, window))
    window_end = float(result.training.ts[window][-1])
    _print_table(result.growth, measured, window_end, result.comparisons, learning_rate)
    files = [folder / "compare.png", folder / "compare.h5"]
    write_figure(files[0], comparison_figure(result))
    typer.echo(f"wrote {files[0]} and {files[1]}")
    return {
        "growth_rates": {"measured": measured, "theory": result.growth.rates, "until": window_end},
        "comparisons": {
            name: {
                "time": each.ts[_end(each)],
                "discrete_values": each.discrete_values[_end(each)],
                "continuous_values": each.continuous_values[_end(each)],
                "departure": each.departure,
            }
            for name, each in result.comparisons.items()
        },
        "files": files,
    }


def _print_table(
    growth: GrowthModes, measured, window_end: float, comparisons: dict[str, Comparison], learning_rate: float
) -> None:
    name, best = list(comparisons.items())[-1]
    last, leading = _end(best), float(growth.rates[0])
    end = float(best.ts[last])
    discrete = _percent(math.log1p(leading * learning_rate) / learning_rate, leading).strip()
    typer.echo(f"\nGrowth rates: slopes of log|u.W| for t <= {window_end:.3g}, and in theory")
    typer.echo("var(h) eig(C - diag var(v)). With steps of finite length the rate r becomes")
    typer.echo(f"log(1 + r step)/step: {discrete} for mode 1 here.")
    typer.echo(f"Singular values, by rank, at t = {end:.3g}, of PCD and of the {name};")
    typer.echo("and the time from which on PCD is more than 10 % off each theory.\n")
    columns = "  ".join(f"{title:>16}" for title in comparisons)
    typer.echo("          growth rate                singular value           10 % off from t =")
    typer.echo(f"mode  measured   theory   diff.     PCD   theory   diff.  {columns}")
    for mode in range(len(best.departure)):
        rate, theory = float(measured[mode]), float(growth.rates[mode])
        value, expected = float(best.discrete_values[last, mode]), float(best.continuous_values[last, mode])
        times = "  ".join(f"{_time(comparison, mode):>16}" for comparison in comparisons.values())
        typer.echo(
            f"{mode + 1:4d} {rate:9.5f} {theory:8.5f} {_percent(rate, theory)} "
            f"{value:7.3f} {expected:8.3f} {_percent(value, expected)}  {times}"
        )
    typer.echo(
        "\nThe linear theory ends where weights are no longer small: growth slows as the model's own correlations"
        "\nbuild up. The Gaussian closure includes them, and ends where units saturate and stop being Gaussian. The TAP"
        "\nclosure goes on with a mixture of the model's fixed points."
    )
    if "exact equations" in comparisons:
        typer.echo("The exact equations have no end: what is left are PCD's finite steps and sampling noise.")
    typer.echo("")


def _end(comparison: Comparison) -> int:
    """Place of the last time that the theory reached: an integration may end early, and is NaN from there on."""
    reached = np.isfinite(np.asarray(comparison.continuous_values)).all(-1)
    return int(np.flatnonzero(reached)[-1]) if reached.any() else -1


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+6.1f}%" if math.isfinite(value) and reference else "      -"


def _time(comparison: Comparison, mode: int) -> str:
    departure = float(comparison.departure[mode])
    return f"{departure:.3g}" if math.isfinite(departure) else f"> {float(comparison.ts[-1]):.3g}"


@figure_style()
def comparison_figure(result: SideBySide) -> Figure:
    """Training by PCD on the lines of the learning equations, integrated from the same weights.

    What to see: straight growth on the logarithmic axis, each mode at the rate that its variance sets, until units
    saturate. The linear theory ends first, then the Gaussian closure; the TAP closure goes on, and the exact equations,
    where the RBM is small enough for them, have no end. Below, modes of the data turn into modes of the weights.

    Source: Decelle, Fissore and Furtlehner (2017), whose learning equations these are.
    """
    figure = new_figure(7, 4.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.4, 1), height_ratios=(1.9, 1))
    best = list(result.comparisons.values())[-1]
    n_modes = best.departure.shape[0]
    plot_comparison(
        best.ts,
        best.discrete_values,
        {name: (theory.ts, theory.continuous_values) for name, theory in reversed(result.comparisons.items())},
        identified=best.left_overlap * best.right_overlap > 0.5,
        n_modes=n_modes,
        ax=figure.add_subplot(grid[0, 0]),
    )
    _draw_quality(figure.add_subplot(grid[0, 1]), result.dataset, result.training, result.theories)
    _draw_modes(figure.add_subplot(grid[1, :]), result.dataset, result.growth, result.training, n_modes)
    return figure


@figure_style()
def comparison_error_figure(result: SideBySide) -> Figure:
    """How far PCD is from each of the learning equations as time goes on.

    What to see: each theory holds to a few per cent until its assumption ends, and is far off soon after. What is left
    of the exact equations are the finite steps of PCD and the noise of its chains and minibatches.

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
