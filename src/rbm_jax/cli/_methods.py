"""`rbm-jax compare-training`: does what an RBM learns depend on how the model's averages are estimated?"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from rbm_jax._internal.checks import check_positive
from rbm_jax.cli._common import (
    LearningRate,
    Method,
    Modes,
    NChains,
    NHidden,
    NSweeps,
    Out,
    Seed,
    make_estimator,
    prepare_folder,
    write_figure,
)
from rbm_jax.cli._datasets import Data, Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.cli._likelihood import log_likelihood_along, one_by_one
from rbm_jax.dynamics import Comparison, compare_trajectories
from rbm_jax.io import save_trajectories
from rbm_jax.likelihood.pseudo import pseudo_log_likelihood
from rbm_jax.model import Status, Trajectory, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_comparison, plot_quantity
from rbm_jax.progress import progress_bar
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.training import Batches, Trainer, fit

__all__ = ["MethodsRecipe", "TrainingMethods", "compare_training", "train_by_all", "training_methods_figure"]

Figure = Any

N_SAVES = 40
REFERENCE, AGAIN = "PCD", "PCD again"


@dataclasses.dataclass(frozen=True)
class MethodsRecipe:
    """How to train by each of the methods, and which modes to compare."""

    n_hidden: int = 12
    n_updates: int = 6000
    learning_rate: float = 0.05
    n_chains: int = 500
    n_sweeps: int = 5
    batch_size: int = 500
    n_modes: int = 5
    seed: int = 0


@with_json
def compare_training(
    data: Data = "digits",
    n_hidden: NHidden = MethodsRecipe.n_hidden,
    n_updates: Annotated[int, typer.Option(min=10, help="Updates.")] = MethodsRecipe.n_updates,
    learning_rate: LearningRate = MethodsRecipe.learning_rate,
    n_chains: NChains = MethodsRecipe.n_chains,
    n_sweeps: NSweeps = MethodsRecipe.n_sweeps,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a minibatch.")] = MethodsRecipe.batch_size,
    modes: Modes = MethodsRecipe.n_modes,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    seed: Seed = 0,
    out: Out = Path("compare-training"),
) -> dict[str, Any]:
    """Training by PCD and by extended mean field of orders 1, 2 and 3, from the same start on the same minibatches.

    PCD runs a second time with other random numbers, to show what difference chance makes. Writes compare-training.png
    and compare-training.h5.

    Example: rbm-jax compare-training --data digits --n-hidden 12
    """
    check_positive("--learning-rate", learning_rate)
    dataset = Source(data, units, threshold).load_images()
    folder = prepare_folder(out)
    recipe = MethodsRecipe(n_hidden, n_updates, learning_rate, n_chains, n_sweeps, batch_size, modes, seed)
    result = train_by_all(dataset, recipe)
    save_trajectories(folder / "compare-training.h5", result.trajectories)
    _print_tables(result)
    files = [folder / "compare-training.png", folder / "compare-training.h5"]
    write_figure(files[0], training_methods_figure(result))
    typer.echo(f"wrote {files[0]} and {files[1]}")
    return {
        "ts": result.trajectories[REFERENCE].ts,
        "trainings": {name: each.numbers() for name, each in result.quality.items()},
        "comparisons": {
            name: {"ts": each.ts, "deviation": each.deviation, "departure": each.departure}
            for name, each in result.comparisons.items()
        },
        "files": files,
    }


class _Quality:
    """Measures of the RBMs along a training, in nats per sample but for the temperature."""

    def __init__(self, path: Trajectory, dataset: Dataset):
        self.pseudo = one_by_one(pseudo_log_likelihood, path, dataset, "pseudo-log-likelihood")
        self.likelihood, self.how = log_likelihood_along(path, dataset)
        self.temperature = np.asarray(jax.vmap(effective_temperature)(path.rbms.weights))

    def numbers(self) -> dict[str, Any]:
        """At each time."""
        return {
            "pseudo_log_likelihood": self.pseudo,
            "log_likelihood": self.likelihood,
            "log_likelihood_by": self.how,
            "effective_temperature": self.temperature,
        }


@dataclasses.dataclass(frozen=True)
class TrainingMethods:
    """Trainings by name, as they compare with the reference, and measures of them."""

    trajectories: dict[str, Trajectory]
    comparisons: dict[str, Comparison]
    quality: dict[str, _Quality]
    n_modes: int


def train_by_all(dataset: Dataset, recipe: MethodsRecipe) -> TrainingMethods:
    """Train by PCD, twice, and by extended mean field of each order, from the same start on the same minibatches.

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
            raise ValueError(f"training by {name} diverged: try a smaller --learning-rate")
    comparisons = {
        name: compare_trajectories(path, trajectories[REFERENCE], n_modes=recipe.n_modes)
        for name, path in trajectories.items()
        if name != REFERENCE
    }
    quality = {name: _Quality(path, dataset) for name, path in trajectories.items()}
    return TrainingMethods(trajectories, comparisons, quality, recipe.n_modes)


def _print_tables(result: TrainingMethods) -> None:
    comparisons, quality = result.comparisons, result.quality
    ts = result.trajectories[REFERENCE].ts
    n_modes = next(iter(comparisons.values())).departure.shape[0]
    head = "".join(f"{name:>12}" for name in comparisons)
    typer.echo(f"\nLargest relative difference to PCD of the {n_modes} leading singular values, and likelihoods.\n")
    typer.echo(f"       t{head}   log-likelihood ({quality[REFERENCE].how}): {', '.join(quality)}")
    for time in np.unique(np.linspace(0, len(ts) - 1, 13).astype(int)):
        values = "".join(f"{np.abs(each.deviation[time]).max():12.1%}" for each in comparisons.values())
        likelihoods = "".join(f"{each.likelihood[time]:10.2f}" for each in quality.values())
        typer.echo(f"{float(ts[time]):8.3g}{values}   {likelihoods}")
    typer.echo("\nFirst time at which a singular value is more than 10 % away from PCD's.\n")
    typer.echo(f"    mode{head}")
    for mode in range(n_modes):
        typer.echo(f"{mode + 1:8d}" + "".join(f"{_first_time(each, mode):>12}" for each in comparisons.values()))
    typer.echo("")


def _first_time(comparison: Comparison, mode: int) -> str:
    apart = np.abs(comparison.deviation[:, mode]) > 0.1
    return f"{float(comparison.ts[apart.argmax()]):.3g}" if apart.any() else "never"


@figure_style()
def training_methods_figure(result: TrainingMethods) -> Figure:
    """Training by PCD and by extended mean field of orders 1, 2 and 3, from one start on the same minibatches.

    What to see: with the Onsager term (orders 2 and 3) the singular values grow as those of PCD, until clusters appear;
    naive mean field (order 1) runs ahead from the start. Which of the others estimates the gradient matters late only.

    Source: the comparison of Decelle, Fissore and Furtlehner (2018); extended mean field is from Gabrié, Tramel and
    Krzakala (2015).
    """
    trajectories, quality = result.trajectories, result.quality
    figure = new_figure(7, 5)
    axes = figure.subplots(2, 2)
    later = slice(1, None)  # the start has no place on a logarithmic axis
    values = {
        name: (path.ts[later], np.asarray(jax.vmap(svd_modes)(path.rbms.weights).values)[later])
        for name, path in trajectories.items()
        if name != AGAIN
    }
    ts, reference = values.pop(REFERENCE)
    plot_comparison(ts, reference, values, training=REFERENCE, n_modes=result.n_modes, ax=axes[0, 0])
    panels = {
        "pseudo-log-likelihood (nats)": ("pseudo", axes[0, 1]),
        f"log-likelihood (nats, {quality[REFERENCE].how})": ("likelihood", axes[1, 0]),
        r"effective temperature $1/\mathrm{Var}(W)$": ("temperature", axes[1, 1]),
    }
    for label, (attribute, ax) in panels.items():
        curves = {name: (ts, getattr(each, attribute)[later]) for name, each in quality.items()}
        points = {name: curves.pop(name) for name in (REFERENCE, AGAIN)}
        plot_quantity(points, curves, label=label, ax=ax)
    axes[1, 1].set_yscale("log")
    for ax in axes.flat:
        ax.set_xscale("log")
    return figure
