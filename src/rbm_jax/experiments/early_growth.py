"""Growth rates of modes in the first times of a training, against the linear theory."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.dynamics import growth_modes, growth_rates_along, growth_windows, linear_window
from rbm_jax.model import Centered, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_growth_rates
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset
from rbm_jax.training import PCD, Batches, Trainer, fit

__all__ = ["EarlyGrowth", "EarlyGrowthRecipe", "growth_rates_figure", "growth_table", "measure_growth"]

Figure = Any

_N_INTERVALS = 50
"""Between save points."""
_FIRST_LOOKED_AT = 5
"""Of the save points: a growth over a few steps is all noise."""


@dataclasses.dataclass(frozen=True)
class EarlyGrowthRecipe:
    """How to train.

    Attributes:
        n_hidden: hidden units.
        n_updates: updates, at least 10.
        n_chains: persistent Markov chains.
        growth_times: length of the training, in growth times 1/rate of the leading mode.
        tolerances: relative deviations of the growth from theory; the time of each mode's first departure is noted.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_hidden: int = 64
    n_updates: int = 1800
    n_chains: int = 2000
    # Seven growth times of the leading mode, in steps small enough that log(1 + rate step) is rate step to 0.2 %.
    growth_times: float = 7.2
    tolerances: tuple[float, ...] = (0.02, 0.1)
    seed: int = 0

    def __post_init__(self):
        check_count("n_hidden", self.n_hidden)
        check_count("n_updates", self.n_updates, minimum=10)
        check_count("n_chains", self.n_chains)
        check_positive("growth_times", self.growth_times)
        for tolerance in self.tolerances:
            check_positive("tolerances", tolerance)


@dataclasses.dataclass(frozen=True)
class EarlyGrowth:
    """Growth rates per unit of time, mode by mode of the data, from the fastest to the slowest.

    Attributes:
        theory: rates by the linear theory, shape (n_visible,); negative for modes that decay.
        measured: rates in PCD, shape (n_visible,).
        tolerances: relative deviations from theory, shape (n_tolerances,).
        until: time until which each mode's growth is within each tolerance, shape (n_tolerances, n_visible);
            infinite where it is at the end.
        t_end: time at the end of the training.
    """

    theory: np.ndarray
    measured: np.ndarray
    tolerances: tuple[float, ...]
    until: np.ndarray
    t_end: float

    @property
    def deviation(self) -> np.ndarray:
        """Relative difference of the measured rates to theory, shape (n_visible,)."""
        return self.measured / self.theory - 1

    @property
    def n_agree(self) -> int:
        """Modes that grow or decay as the theory says."""
        return int((np.sign(self.measured) == np.sign(self.theory)).sum())


def measure_growth(dataset: Dataset, recipe: EarlyGrowthRecipe = EarlyGrowthRecipe()) -> EarlyGrowth:
    """Train by PCD for some growth times of the leading mode, and measure the growth rate of every mode of the data.

    Raises:
        ValueError: data without a mode that grows in the linear theory.
    """
    samples = dataset.samples
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(recipe.seed), 3)
    units: dict[str, Any] = {"visible_units": dataset.units, "hidden_units": dataset.units}
    growth = growth_modes(samples, **units)
    leading = float(growth.rates[0])
    if not leading > 0:
        raise ValueError(f"dataset: no mode grows in the linear theory, the largest rate is {leading:.3g}")
    rbm = init_rbm(key_rbm, samples.shape[1], recipe.n_hidden, scale=1e-3, visible_mean=samples.mean(0), **units)
    trainer = Trainer.euler(PCD(metric=Centered()), recipe.growth_times / recipe.n_updates / leading)
    state = trainer.init(key_chains, rbm, n_chains=recipe.n_chains)
    batches = Batches(samples, dataset.batch_size(None))
    saves = np.unique(np.linspace(0, recipe.n_updates, _N_INTERVALS + 1).astype(int))
    with progress_bar(recipe.n_updates, "early PCD") as progress:
        options = {"n_updates": recipe.n_updates, "save_at": saves, "progress": progress}
        _, training = fit(key_run, trainer, state, batches, **options)
    measured = growth_rates_along(training, growth, linear_window(training, growth))
    early, end = float(training.ts[_FIRST_LOOKED_AT]), float(training.ts[-1])
    windows = [growth_windows(training, growth, tolerance=each, from_time=early) for each in recipe.tolerances]
    until = np.asarray(windows).reshape(len(windows), -1)
    return EarlyGrowth(
        theory=np.asarray(growth.rates),
        measured=np.asarray(measured),
        tolerances=recipe.tolerances,
        until=np.where(until < end, until, np.inf),
        t_end=end,
    )


@figure_style()
def growth_rates_figure(result: EarlyGrowth) -> Figure:
    """Early growth rate of every mode of the data, measured in PCD, against the linear theory.

    What to see: each mode of the data grows, or decays, at the rate that its variance sets.

    Source: ours; the rates are those of Decelle, Fissore and Furtlehner (2017).
    """
    figure = new_figure(3.4, 3)
    plot_growth_rates(result.theory, result.measured, ax=figure.add_subplot())
    return figure


def growth_table(result: EarlyGrowth) -> str:
    """Rates of the ten leading modes and of some others, and until when growth is as the theory says."""
    names = [f"{each:.3g} %" for each in 100 * np.asarray(result.tolerances)]
    n_modes = len(result.theory)
    rows = [
        f"Early growth rates of the modes of the data, and until when growth is within {' and '.join(names)} of theory",
        "  mode  measured    theory    diff." + "".join(f"{f'within {each}':>14}" for each in names),
    ]
    for mode in [*range(min(10, n_modes)), *range(10, n_modes, max(1, n_modes // 8))]:
        until = result.until[:, mode]
        times = [f"{each:.3g}" if np.isfinite(each) else f"> {result.t_end:.3g}" for each in until]
        rows.append(
            f"{mode + 1:6d} {result.measured[mode]:9.5f} {result.theory[mode]:9.5f} "
            f"{result.deviation[mode]:+8.1%}" + "".join(f"{each:>14}" for each in times)
        )
    rows.append(f"{result.n_agree} of {n_modes} modes grow or decay as the theory says.")
    return "\n".join(rows)
