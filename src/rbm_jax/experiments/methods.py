"""Trainings by several estimators: does what an RBM learns depend on how the model's averages are estimated?"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.dynamics import Comparison, compare_trajectories
from rbm_jax.experiments.quality import log_likelihood_along, one_by_one
from rbm_jax.likelihood.pseudo import pseudo_log_likelihood
from rbm_jax.model import Status, Trajectory, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_comparison, plot_quantity
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset, Method
from rbm_jax.runs.recipe import make_estimator
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.training import Batches, Trainer, fit

__all__ = [
    "MethodsRecipe",
    "MethodsResult",
    "Quality",
    "compare_training",
    "methods_table",
    "training_methods_figure",
]

Figure = Any

N_SAVES = 40
REFERENCE, AGAIN, TAP = "PCD", "PCD again", "EMF-2"


@dataclasses.dataclass(frozen=True)
class MethodsRecipe:
    """How to train by each of the methods, and which modes to compare.

    Attributes:
        n_hidden: hidden units.
        n_updates: updates.
        learning_rate: of plain SGD; time is learning rate x updates.
        n_chains: persistent Markov chains.
        n_sweeps: sweeps, Gibbs or mean-field, in each update.
        batch_size: rows of a minibatch; at most all data.
        n_modes: leading modes to compare.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_hidden: int = 12
    n_updates: int = 6000
    learning_rate: float = 0.05
    n_chains: int = 500
    n_sweeps: int = 5
    batch_size: int = 500
    n_modes: int = 5
    seed: int = 0

    def __post_init__(self):
        for name in ("n_hidden", "n_chains", "n_sweeps", "batch_size", "n_modes"):
            check_count(name, getattr(self, name))
        check_count("n_updates", self.n_updates, minimum=10)
        check_positive("learning_rate", self.learning_rate)


@dataclasses.dataclass(frozen=True)
class Quality:
    """Measures of the RBMs along a training, of shape (n_times,).

    Attributes:
        pseudo_log_likelihood: in nats per sample.
        log_likelihood: in nats per sample.
        log_likelihood_by: how it was found.
        effective_temperature: 1/Var(W).
    """

    pseudo_log_likelihood: np.ndarray
    log_likelihood: np.ndarray
    log_likelihood_by: str
    effective_temperature: np.ndarray


@dataclasses.dataclass(frozen=True)
class MethodsResult:
    """Trainings by name, as they compare with the reference, and measures of them.

    Attributes:
        trajectories: RBMs along time; PCD twice, and extended mean field of three orders.
        comparisons: of each with PCD, but of PCD itself.
        trainings: measures of each.
        n_modes: leading modes that are compared.
    """

    trajectories: dict[str, Trajectory]
    comparisons: dict[str, Comparison]
    trainings: dict[str, Quality]
    n_modes: int

    @property
    def ts(self) -> np.ndarray:
        """Times of all trainings."""
        return np.asarray(self.trajectories[REFERENCE].ts)


def compare_training(dataset: Dataset, recipe: MethodsRecipe = MethodsRecipe()) -> MethodsResult:
    """Train by PCD, twice, and by extended mean field of each order, from the same start on the same minibatches.

    PCD runs a second time with other random numbers, to show what difference chance makes.

    Raises:
        ValueError: training that diverged.
    """
    n_samples, n_visible = dataset.samples.shape
    key_rbm, key_chains, key_run, key_again = jax.random.split(jax.random.key(recipe.seed), 4)
    options = {"visible_units": dataset.units, "hidden_units": dataset.units, "visible_mean": dataset.samples.mean(0)}
    rbm = init_rbm(key_rbm, n_visible, recipe.n_hidden, **options)
    n_updates, batches = recipe.n_updates, Batches(dataset.samples, min(recipe.batch_size, n_samples))
    saves = np.unique(np.append(0, np.geomspace(max(1, n_updates / 500), n_updates, N_SAVES).astype(int)))
    runs = {
        REFERENCE: (make_estimator(Method.PCD, recipe.n_sweeps, 2), key_run),
        AGAIN: (make_estimator(Method.PCD, recipe.n_sweeps, 2), key_again),
        **{f"EMF-{order}": (make_estimator(Method.EMF, recipe.n_sweeps, order), key_run) for order in (1, 2, 3)},
    }
    trajectories = {}
    for name, (estimator, key) in runs.items():
        trainer = Trainer.euler(estimator, recipe.learning_rate)
        state = trainer.init(key_chains, rbm, n_chains=recipe.n_chains)
        with progress_bar(n_updates, name) as progress:
            options = {"n_updates": n_updates, "save_at": saves, "progress": progress}
            _, trajectories[name] = fit(key, trainer, state, batches, **options)
        if trajectories[name].status != Status.SUCCESS:
            raise ValueError(f"training by {name} diverged: try a smaller learning_rate")
    comparisons = {
        name: compare_trajectories(path, trajectories[REFERENCE], n_modes=recipe.n_modes)
        for name, path in trajectories.items()
        if name != REFERENCE
    }
    trainings = {name: _quality(path, dataset) for name, path in trajectories.items()}
    return MethodsResult(trajectories, comparisons, trainings, recipe.n_modes)


def _quality(path: Trajectory, dataset: Dataset) -> Quality:
    pseudo = one_by_one(pseudo_log_likelihood, path, dataset, "pseudo-log-likelihood")
    likelihood, how = log_likelihood_along(path, dataset)
    return Quality(pseudo, likelihood, how, np.asarray(jax.vmap(effective_temperature)(path.rbms.weights)))


def methods_table(result: MethodsResult) -> str:
    """Differences to PCD along time, likelihoods, and departures."""
    comparisons, trainings, ts = result.comparisons, result.trainings, result.ts
    n_modes = next(iter(comparisons.values())).departure.shape[0]
    head = "".join(f"{name:>12}" for name in comparisons)
    rows = [
        f"\nLargest relative difference to PCD of the {n_modes} leading singular values, and likelihoods.\n",
        f"       t{head}   log-likelihood ({trainings[REFERENCE].log_likelihood_by}): {', '.join(trainings)}",
    ]
    for time in np.unique(np.linspace(0, len(ts) - 1, 13).astype(int)):
        values = "".join(f"{np.abs(each.deviation[time]).max():12.1%}" for each in comparisons.values())
        likelihoods = "".join(f"{each.log_likelihood[time]:10.2f}" for each in trainings.values())
        rows.append(f"{float(ts[time]):8.3g}{values}   {likelihoods}")
    rows.append("\nWhen a singular value departs from PCD's by more than 10 %, and the largest difference.\n")
    rows.append("    mode" + "".join(f"{name:>16}" for name in comparisons))
    for mode in range(n_modes):
        rows.append(f"{mode + 1:8d}" + "".join(f"{_departure(each, mode):>16}" for each in comparisons.values()))
    return "\n".join([*rows, ""])


def _departure(comparison: Comparison, mode: int) -> str:
    when, largest = float(comparison.departure[mode]), float(comparison.largest_deviation[mode])
    return f"{f'{when:.3g}' if math.isfinite(when) else 'never'} ({largest:+.0%})"


@figure_style()
def training_methods_figure(result: MethodsResult) -> Figure:
    """Training by PCD and by extended mean field of orders 1, 2 and 3, from one start on the same minibatches.

    What to see: with the Onsager term (orders 2 and 3) the singular values grow as those of PCD, until clusters appear;
    naive mean field (order 1) runs ahead from the start. Which of the others estimates the gradient matters late only:
    rings are where modes depart from PCD by more than 10 %.

    Source: the comparison of Decelle, Fissore and Furtlehner (2018); extended mean field is from Gabrié, Tramel and
    Krzakala (2015).
    """
    trajectories, trainings = result.trajectories, result.trainings
    figure = new_figure(7, 5)
    axes = figure.subplots(2, 2)
    later = slice(1, None)  # the start has no place on a logarithmic axis
    values = {
        name: (path.ts[later], np.asarray(jax.vmap(svd_modes)(path.rbms.weights).values)[later])
        for name, path in trajectories.items()
        if name != AGAIN
    }
    ts, reference = values.pop(REFERENCE)
    departures = (f"{TAP} departs", result.comparisons[TAP].departure)
    options = {"training": REFERENCE, "departures": departures, "n_modes": result.n_modes}
    plot_comparison(ts, reference, values, ax=axes[0, 0], **options)
    panels = {
        "pseudo-log-likelihood (nats)": ("pseudo_log_likelihood", axes[0, 1]),
        f"log-likelihood (nats, {trainings[REFERENCE].log_likelihood_by})": ("log_likelihood", axes[1, 0]),
        r"effective temperature $1/\mathrm{Var}(W)$": ("effective_temperature", axes[1, 1]),
    }
    for label, (attribute, ax) in panels.items():
        curves = {name: (ts, getattr(each, attribute)[later]) for name, each in trainings.items()}
        points = {name: curves.pop(name) for name in (REFERENCE, AGAIN)}
        plot_quantity(points, curves, label=label, ax=ax)
    axes[1, 1].set_yscale("log")
    for ax in axes.flat:
        ax.set_xscale("log")
    return figure
