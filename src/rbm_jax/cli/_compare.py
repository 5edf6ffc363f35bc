"""`rbm-jax compare`: train by PCD, integrate the learning equations, show both on one clock."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer

from rbm_jax._checks import check_positive
from rbm_jax._optional import require
from rbm_jax.checkpoint import atomic_write, save_trajectories
from rbm_jax.cli._common import BatchSize, LearningRate, NChains, NHidden, NSteps, Out, Seed, prepare_folder
from rbm_jax.cli._datasets import Data, Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.dynamics import (
    Comparison,
    GrowthModes,
    LearningForce,
    compare_trajectories,
    data_statistics,
    exact_force,
    gaussian_force,
    growth_modes,
    growth_rates_along,
    integrate,
    linear_bound,
    linear_weights,
    linear_window,
    mean_field_force,
)
from rbm_jax.energies import visible_free_energy
from rbm_jax.estimators import pcd
from rbm_jax.exact import exact_log_likelihood
from rbm_jax.plotting import plot_comparison, plot_images, plot_quantity
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import RBM, init_rbm
from rbm_jax.spectral import svd_modes
from rbm_jax.training import TrainState, fit, init_train_state
from rbm_jax.trajectory import Status, Trajectory, finite_status

__all__ = ["compare"]

N_SAVES = 80
MAX_DEFAULT_UPDATES = 20_000
ENUMERABLE = 12
"""Largest smaller layer for which the exact equations are integrated."""
N_TAP_STARTS = 30
TAP_STEP = 0.02
"""Step of its integration, in growth times of the leading mode."""
MAX_TAP_SIZE = 20_000_000
"""Largest n_samples·n_visible·n_hidden for which the TAP closure is integrated unasked."""

Modes = Annotated[int, typer.Option(min=1, help="Leading modes to compare.")]
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
    n_hidden: NHidden = 64,
    n_updates: NUpdates = None,
    learning_rate: LearningRate = 0.02,
    n_chains: NChains = 4000,
    n_steps: NSteps = 1,
    batch_size: BatchSize = None,
    modes: Modes = 10,
    units: Units = UnitName.BERNOULLI,
    centered: Centered = True,
    tap: Tap = None,
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
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(seed), 3)
    rbm = init_rbm(
        key_rbm,
        dataset.samples.shape[1],
        n_hidden,
        visible_units=dataset.units,
        hidden_units=dataset.units,
        scale=1e-3,
        visible_mean=dataset.samples.mean(0),
    )
    statistics = data_statistics(dataset.samples)
    growth = growth_modes(statistics, visible_units=dataset.units, hidden_units=dataset.units)
    n_updates = n_updates or _default_updates(rbm, growth, learning_rate)
    optimizer = optax.sgd(learning_rate)
    state = init_train_state(key_chains, rbm, optimizer, n_chains=n_chains)
    with progress_bar(n_updates, "PCD") as progress:
        _, training = fit(
            key_run,
            state,
            dataset.samples,
            estimator=functools.partial(pcd, n_steps=n_steps, centered=centered),
            optimizer=optimizer,
            n_updates=n_updates,
            batch_size=dataset.batch_size(batch_size),
            save_at=np.unique(np.linspace(0, n_updates, N_SAVES + 1).astype(int)),
            observe=functools.partial(_free_energy_gap, jnp.asarray(dataset.samples[:2000])),
            time_step=learning_rate,
            progress=progress,
        )
    if training.status != Status.SUCCESS:
        raise ValueError("training diverged (the weights are no longer finite): try a smaller --learning-rate")
    theories = _integrate_theories(rbm, dataset, statistics, growth, training.ts, centered, tap)
    save_trajectories(folder / "compare.h5", {"training": training, **theories})
    comparisons = {name: compare_trajectories(training, theory, n_modes=modes) for name, theory in theories.items()}
    window = linear_window(training, growth)
    measured = np.asarray(growth_rates_along(training, growth, window))
    window_end = float(training.ts[window][-1])
    _print_table(growth, measured, window_end, comparisons, learning_rate)
    files = [folder / "compare.png", folder / "compare.h5"]
    with atomic_write(files[0]) as path:
        _draw(path, dataset, growth, training, theories, comparisons)
    typer.echo(f"wrote {files[0]} and {files[1]}")
    return {
        "growth_rates": {"measured": measured, "theory": growth.rates, "until": window_end},
        "comparisons": {
            name: {
                "time": each.ts[-1],
                "discrete_values": each.discrete_values[-1],
                "continuous_values": each.continuous_values[-1],
                "departure": each.departure,
            }
            for name, each in comparisons.items()
        },
        "files": files,
    }


def _default_updates(rbm: RBM, growth: GrowthModes, learning_rate: float) -> int:
    """Long enough to see the leading mode leave the linear regime, whatever the data's variance."""
    rate = float(growth.rates[0])
    if rate <= 0:
        return 1000
    start = float(jnp.linalg.norm(growth.vectors[:, 0] @ rbm.weights))
    updates = math.ceil(2.5 * math.log(_bound(rbm) / start) / rate / learning_rate)
    if updates > MAX_DEFAULT_UPDATES:
        updates = MAX_DEFAULT_UPDATES
        typer.echo(
            f"note: modes grow slowly; stopping at {MAX_DEFAULT_UPDATES} updates (--n-updates for more)", err=True
        )
    return updates


def _bound(rbm: RBM) -> float:
    """Where the Gaussian theory of the units at zero field ends."""
    zero = jnp.zeros(1)
    variances = rbm.visible_units.variance(zero)[0], rbm.hidden_units.variance(zero)[0]
    return float(linear_bound(visible_variance=variances[0], hidden_variance=variances[1]))


def _free_energy_gap(data, state: TrainState):
    """⟨F⟩ of the chains minus ⟨F⟩ of the data: positive where the data are likelier than the chains' states."""
    return visible_free_energy(state.rbm, state.chains).mean() - visible_free_energy(state.rbm, data).mean()


def _integrate_theories(rbm, dataset: Dataset, statistics, growth, ts, centered, tap) -> dict[str, Trajectory]:
    samples = dataset.samples
    theories = {"linear theory": _linear_theory(rbm, growth, ts)}
    forces: dict[str, tuple[LearningForce, dict]] = {
        "Gaussian closure": (gaussian_force(statistics, centered=centered), {})
    }
    if tap or (tap is None and len(samples) * rbm.weights.size <= MAX_TAP_SIZE):
        starts = samples[np.linspace(0, len(samples) - 1, min(N_TAP_STARTS, len(samples))).astype(int)]
        force = mean_field_force(samples, starts=starts, centered=centered, tol=1e-4, max_steps=200)
        step = TAP_STEP / float(growth.rates[0]) if growth.rates[0] > 0 else 1.0
        forces["TAP closure"] = (force, {"step": step, "max_steps": math.ceil(float(ts[-1]) / step) + 1})
    elif tap is None:
        typer.echo("note: the TAP closure is left out for data of this size (--tap to integrate it)", err=True)
    if min(rbm.weights.shape) <= ENUMERABLE:
        forces["exact equations"] = (exact_force(samples, centered=centered), {})
    for name, (force, options) in forces.items():
        with progress_bar(100, f"integrating the {name}", unit="%") as progress:
            trajectory = integrate(_Watched(force, _report_time(float(ts[-1]), progress)), rbm, ts, **options)
            jax.effects_barrier()
        if trajectory.status != Status.SUCCESS:
            status = Status(int(trajectory.status)).name.lower().replace("_", " ")
            typer.echo(f"warning: integration of the {name} ended early ({status}); its curves stop there", err=True)
        theories[name] = trajectory
    return theories


class _Watched(eqx.Module):
    """A force that reports the times at which it is asked for."""

    force: LearningForce
    report: Callable[[Any], None] = eqx.field(static=True)

    def __call__(self, t, rbm, args):
        jax.debug.callback(self.report, t)
        return self.force(t, rbm, args)


def _report_time(end: float, progress: Callable[[int], object]) -> Callable[[Any], None]:
    """A function of the time that moves a progress bar on by the hundredths of the way to the end."""
    done = 0

    def report(t) -> None:
        nonlocal done
        step = int(100 * float(t) / end) - done
        if step > 0:  # steps that were too long are tried again
            progress(step)
            done += step

    return report


def _linear_theory(rbm: RBM, growth: GrowthModes, ts) -> Trajectory:
    """W(t) up to ten times where the theory ends: far beyond, small singular values would drown in rounding."""
    norms = jnp.linalg.norm(growth.vectors.T @ rbm.weights, axis=1) * jnp.exp(ts[:, None] * growth.rates)
    ts = ts[: max(2, int((norms.max(1) < 10 * _bound(rbm)).sum()))]
    steady = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(ts), *leaf.shape)), rbm)
    rbms = dataclasses.replace(steady, weights=linear_weights(ts, rbm.weights, growth))
    return Trajectory(ts, rbms, finite_status(rbms))


def _print_table(
    growth: GrowthModes, measured, window_end: float, comparisons: dict[str, Comparison], learning_rate: float
) -> None:
    name, best = list(comparisons.items())[-1]
    end, leading = float(best.ts[-1]), float(growth.rates[0])
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
        value, expected = float(best.discrete_values[-1, mode]), float(best.continuous_values[-1, mode])
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


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+6.1f}%" if math.isfinite(value) and reference else "      -"


def _time(comparison: Comparison, mode: int) -> str:
    departure = float(comparison.departure[mode])
    return f"{departure:.3g}" if math.isfinite(departure) else f"> {float(comparison.ts[-1]):.3g}"


def _draw(path: Path, dataset: Dataset, growth: GrowthModes, training, theories, comparisons) -> None:
    figure = require("matplotlib.figure").Figure(figsize=(10, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1), height_ratios=(1.7, 1))
    best = list(comparisons.values())[-1]
    n_modes = best.departure.shape[0]
    plot_comparison(
        best.ts,
        best.discrete_values,
        {name: (theory.ts, theory.continuous_values) for name, theory in reversed(comparisons.items())},
        identified=best.left_overlap * best.right_overlap > 0.5,
        n_modes=n_modes,
        ax=figure.add_subplot(grid[0, 0]),
    )
    _draw_quality(figure.add_subplot(grid[0, 1]), dataset, training, theories)
    _draw_modes(figure.add_subplot(grid[1, :]), dataset, growth, training, n_modes)
    figure.savefig(path, dpi=160, format="png")


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
