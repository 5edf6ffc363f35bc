"""`rbm-jax figures`: every figure of the theory, from trainings done on the spot."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import optax
import typer

from rbm_jax._optional import require
from rbm_jax.cli._common import Out, Seed, load_training, prepare_folder
from rbm_jax.cli._datasets import Data, Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._linear import draw_convergence, step_convergence
from rbm_jax.cli._lossy import lossy_figure
from rbm_jax.cli._replica import path_figure, replica_figures
from rbm_jax.cli._spectrum import spectrum_figures, spectrum_report, write_figures
from rbm_jax.cli._symmetry import symmetry_figure
from rbm_jax.cli._training import Recipe, train_run
from rbm_jax.dynamics import growth_modes, growth_rates_along, growth_windows, linear_window
from rbm_jax.estimators import pcd
from rbm_jax.plotting import plot_growth_rates
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import init_rbm
from rbm_jax.training import fit, init_train_state
from rbm_jax.trajectory import Trajectory

__all__ = ["figures"]

Figure = Any


def figures(
    data: Data = "digits",
    n_updates: Annotated[int, typer.Option(min=1, help="Updates of the training.")] = Recipe.n_updates,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    seed: Seed = 0,
    out: Out = Path("figures"),
) -> None:
    """Every figure of the theory beside simulation, as PNG files in a folder; some minutes.

    Example: rbm-jax figures --out figures
    """
    source = Source(data, units, threshold)
    dataset = source.load_images()
    folder = prepare_folder(out)
    recipe = Recipe(n_updates=n_updates, seed=seed)
    train_run(folder, source, recipe)
    training = load_training(folder)
    spins = training
    if units != UnitName.SPIN:
        train_run(folder / "spins", Source(data, UnitName.SPIN, threshold), recipe)
        spins = load_training(folder / "spins")
    for path in write_figures(folder, _all_figures(jax.random.key(seed), dataset, training, spins)):
        typer.echo(f"wrote {path}")


def _all_figures(key, dataset: Dataset, training: Trajectory, spins: Trajectory) -> Iterator[tuple[str, Figure]]:
    yield from spectrum_figures(spectrum_report(training, dataset), n_modes=10)
    yield "growth-rates", _growth_rates(key, dataset)
    yield "step-convergence", _step_convergence(key)
    yield "training-path", path_figure(spins)
    yield from replica_figures(key)
    yield "lossy-data", lossy_figure(key, dataset)
    yield "symmetry", symmetry_figure(key, dataset)


def _growth_rates(key, dataset: Dataset) -> Figure:
    """Early growth of every mode of the data, against the linear theory; prints the table."""
    samples = dataset.samples
    units = {"visible_units": dataset.units, "hidden_units": dataset.units}
    growth = growth_modes(samples, visible_units=dataset.units, hidden_units=dataset.units)
    leading = float(growth.rates[0])
    # Seven growth times of the leading mode, in steps small enough that log(1 + rate step) is rate step to 0.2 %.
    learning_rate, n_updates = 0.004 / leading, 1800
    rbm = init_rbm(key, samples.shape[1], 64, scale=1e-3, visible_mean=samples.mean(0), **units)
    optimizer = optax.sgd(learning_rate)
    state = init_train_state(jax.random.fold_in(key, 1), rbm, optimizer, n_chains=2000)
    with progress_bar(n_updates, "early PCD") as progress:
        _, training = fit(
            jax.random.fold_in(key, 2),
            state,
            samples,
            estimator=functools.partial(pcd, centered=True),
            optimizer=optimizer,
            n_updates=n_updates,
            batch_size=dataset.batch_size(None),
            save_at=np.arange(0, n_updates + 1, n_updates // 50),
            time_step=learning_rate,
            progress=progress,
        )
    measured = growth_rates_along(training, growth, linear_window(training, growth))
    early = float(training.ts[5])
    windows = [growth_windows(training, growth, tolerance=each, from_time=early) for each in (0.02, 0.1)]
    _print_growth(growth.rates, measured, windows, float(training.ts[-1]))
    figure = require("matplotlib.figure").Figure(figsize=(5, 4.2), layout="constrained")
    plot_growth_rates(growth.rates, measured, ax=figure.add_subplot())
    return figure


def _print_growth(rates, measured, windows, end: float) -> None:
    typer.echo("\nEarly growth rates of the modes of the data, and until when growth is within 2 % and 10 % of theory")
    typer.echo("  mode  measured    theory    diff.   within 2 %   within 10 %")
    n_modes = len(rates)
    for mode in [*range(min(10, n_modes)), *range(10, n_modes, max(1, n_modes // 8))]:
        times = [f"{float(each[mode]):.3g}" if each[mode] < end else f"> {end:.3g}" for each in windows]
        typer.echo(
            f"{mode + 1:6d} {float(measured[mode]):9.5f} {float(rates[mode]):9.5f} "
            f"{float(measured[mode] / rates[mode] - 1):+8.1%} {times[0]:>12} {times[1]:>13}"
        )
    agree = np.sign(measured) == np.sign(rates)
    typer.echo(f"{int(agree.sum())} of {n_modes} modes grow or decay as the theory says.\n")


def _step_convergence(key) -> Figure:
    figure = require("matplotlib.figure").Figure(figsize=(5.5, 4), layout="constrained")
    draw_convergence(step_convergence(key), figure.add_subplot())
    return figure
