"""Growth rates of modes in the first times of a training, against the linear theory."""

from typing import Any

import jax
import numpy as np
import typer

from rbm_jax.cli._datasets import Dataset
from rbm_jax.dynamics import growth_modes, growth_rates_along, growth_windows, linear_window
from rbm_jax.model import Centered, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_growth_rates
from rbm_jax.progress import progress_bar
from rbm_jax.training import PCD, Batches, Trainer, fit

__all__ = ["growth_rates_figure"]

Figure = Any


@figure_style()
def growth_rates_figure(key, dataset: Dataset, n_updates: int = 1800, n_chains: int = 2000) -> Figure:
    """Early growth rate of every mode of the data, measured in PCD, against the linear theory.

    What to see: each mode of the data grows, or decays, at the rate that its variance sets.

    Source: ours; the rates are those of Decelle, Fissore and Furtlehner (2017).
    """
    samples = dataset.samples
    units = {"visible_units": dataset.units, "hidden_units": dataset.units}
    growth = growth_modes(samples, visible_units=dataset.units, hidden_units=dataset.units)
    leading = float(growth.rates[0])
    # Seven growth times of the leading mode, in steps small enough that log(1 + rate step) is rate step to 0.2 %.
    learning_rate = 7.2 / n_updates / leading
    rbm = init_rbm(key, samples.shape[1], 64, scale=1e-3, visible_mean=samples.mean(0), **units)
    trainer = Trainer.euler(PCD(metric=Centered()), learning_rate)
    state = trainer.init(jax.random.fold_in(key, 1), rbm, n_chains=n_chains)
    batches, saves = Batches(samples, dataset.batch_size(None)), np.arange(0, n_updates + 1, n_updates // 50)
    with progress_bar(n_updates, "early PCD") as progress:
        options = {"n_updates": n_updates, "save_at": saves, "progress": progress}
        _, training = fit(jax.random.fold_in(key, 2), trainer, state, batches, **options)
    measured = growth_rates_along(training, growth, linear_window(training, growth))
    early = float(training.ts[5])
    windows = [growth_windows(training, growth, tolerance=each, from_time=early) for each in (0.02, 0.1)]
    _print_growth(growth.rates, measured, windows, float(training.ts[-1]))
    figure = new_figure(3.4, 3)
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
