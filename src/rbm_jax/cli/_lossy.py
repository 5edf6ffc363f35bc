"""What an RBM learns from data with missing entries, and what filling them in first would make of it."""

import dataclasses
from typing import Any

import jax
import numpy as np
import typer

from rbm_jax.cli._datasets import Dataset
from rbm_jax.cli._impute import draw_imputation
from rbm_jax.missing import AbstractDataTerm, ClampedGibbs, Complete, Imputation, impute
from rbm_jax.model import RBM, Centered, exact_log_likelihood, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_against_fraction
from rbm_jax.training import PCD, Batches, Trainer, fit

__all__ = ["LossyRecipe", "lossy_data_figure"]

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Of the pixels of the training data that are missing."""
HIDDEN_FRACTION = 0.5
"""Of the pixels of the test data, that are to be reconstructed."""
FILLED = "filled in by means"
OBSERVED = "what was observed"
TERMS: dict[str, AbstractDataTerm] = {OBSERVED: ClampedGibbs(n_sweeps=10), FILLED: Complete()}


@dataclasses.dataclass(frozen=True)
class LossyRecipe:
    """How to train at each fraction. With 16 hidden units the likelihoods are exact.

    Modes grow more slowly by the share (1 - f)² of pairs of entries that are seen together, so training takes longer
    by its inverse: first the learning rate is raised, up to a greatest one, then the number of updates.
    """

    n_hidden: int = 16
    time: float = 200.0
    learning_rate: float = 0.05
    greatest_rate: float = 0.4
    n_updates: int = 20_000
    batch_size: int = 300
    n_chains: int = 500
    n_sweeps: int = 5

    def schedule(self, fraction: float) -> tuple[float, int]:
        """Learning rate and number of updates, at most n_updates."""
        seen = (1 - fraction) ** 2
        rate = min(self.learning_rate / seen, self.greatest_rate)
        return rate, min(self.n_updates, round(self.time / (seen * rate)))


@dataclasses.dataclass(frozen=True)
class _Split:
    """Training data, and test data whole and with pixels hidden."""

    training: np.ndarray
    test: np.ndarray
    shown: np.ndarray


@figure_style()
def lossy_data_figure(key, dataset: Dataset, recipe: LossyRecipe | None = None) -> Any:
    """Test likelihood and reconstruction error against the fraction of missing pixels, and completed test images.

    What to see: training on what was observed loses little where half of the pixels are missing. Filling in their means
    first makes pixels look less correlated than they are: a mode with r times the variance of independent pixels is
    learned only if (1 - f)² (r - 1) > f, at a fraction f of missing entries.

    Source: ours; the talks name lossy data as a perspective.
    """
    recipe = LossyRecipe() if recipe is None else recipe
    key_split, key_train, key_test = jax.random.split(key, 3)
    split = _split(key_split, dataset)
    likelihood = {name: [] for name in TERMS}
    error = {name: [] for name in TERMS}
    completed = {}
    for fraction in FRACTIONS:
        lossy = _hide(jax.random.fold_in(key_split, 1), split.training, fraction)
        for name, term in TERMS.items():
            rbm = _train(key_train, dataset, lossy, term, recipe, *recipe.schedule(fraction))
            imputation = impute(key_test, rbm, split.shown)
            likelihood[name].append(float(exact_log_likelihood(rbm, split.test)))
            error[name].append(_error(imputation, split))
            completed[name, fraction] = imputation
    by_means = float(np.sqrt(((split.training.mean(0) - split.test)[np.isnan(split.shown)] ** 2).mean()))
    _print_table(likelihood, error, by_means)
    return _draw(dataset, split, likelihood, error, by_means, completed[OBSERVED, 0.5])


def _split(key, dataset: Dataset) -> _Split:
    rows = np.asarray(jax.random.permutation(key, len(dataset.samples)))
    n_test = max(1, min(len(rows) // 6, 1000))
    test = dataset.samples[rows[:n_test]].astype(np.float32)
    shown = _hide(jax.random.fold_in(key, 2), test, HIDDEN_FRACTION)
    return _Split(dataset.samples[rows[n_test:]].astype(np.float32), test, shown)


def _hide(key, samples: np.ndarray, fraction: float) -> np.ndarray:
    """NaN in place of this fraction of the entries, at random; a larger fraction hides the same ones and more."""
    return np.where(np.asarray(jax.random.uniform(key, samples.shape)) < fraction, np.nan, samples).astype(np.float32)


def _train(
    key, dataset: Dataset, lossy: np.ndarray, term: AbstractDataTerm, recipe: LossyRecipe, learning_rate, n_updates
) -> RBM:
    mean = np.nanmean(lossy, axis=0)
    units: dict[str, Any] = {"visible_units": dataset.units, "hidden_units": dataset.units}
    rbm = init_rbm(key, lossy.shape[1], recipe.n_hidden, visible_mean=mean, **units)
    trainer = Trainer.euler(PCD(n_sweeps=recipe.n_sweeps, metric=Centered(), data_term=term), learning_rate)
    state = trainer.init(jax.random.fold_in(key, 1), rbm, n_chains=recipe.n_chains)
    batch_size = min(recipe.batch_size, len(lossy))

    def train(data, *, allow_missing=False):
        batches = Batches(data, batch_size, allow_missing=allow_missing)
        return fit(jax.random.fold_in(key, 2), trainer, state, batches, n_updates=n_updates)[0].rbm

    if term.takes_missing:
        return train(lossy, allow_missing=True)
    # Traced, since means are no states of the units, which `fit` would refuse.
    return jax.jit(train)(np.where(np.isnan(lossy), mean, lossy))


def _error(imputation: Imputation, split: _Split) -> float:
    """Root mean square of what the means miss, over hidden pixels."""
    return float(np.sqrt(((np.asarray(imputation.mean) - split.test)[np.isnan(split.shown)] ** 2).mean()))


def _print_table(likelihood, error, by_means: float) -> None:
    typer.echo(
        "\nLearning from incomplete data: exact test log-likelihood (nats per sample), and root mean square error"
    )
    typer.echo(
        f"of reconstructed pixels with {HIDDEN_FRACTION:.0%} of a test image hidden (by pixel means {by_means:.4f})"
    )
    typer.echo("  missing" + "".join(f"{name:>30}" for name in TERMS))
    for row, fraction in enumerate(FRACTIONS):
        cells = "".join(f"{likelihood[name][row]:20.2f}{error[name][row]:10.4f}" for name in TERMS)
        typer.echo(f"{fraction:9.0%}{cells}")
    typer.echo("")


def _draw(dataset: Dataset, split: _Split, likelihood, error, by_means: float, completed: Imputation) -> Any:
    figure = new_figure(7, 4.8)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.2, 1))
    fractions, (left, right) = np.array(FRACTIONS), (figure.add_subplot(grid[0, column]) for column in (0, 1))
    plot_against_fraction(fractions, likelihood, label="test log-likelihood (nats per sample)", ax=left)
    reference = ("pixel means", by_means)
    plot_against_fraction(fractions, error, label="reconstruction error (r.m.s.)", reference=reference, ax=right)
    if dataset.image_shape is not None:
        draw_imputation(split.shown, completed, dataset.image_shape, figure.add_subplot(grid[1, :]))
    return figure
