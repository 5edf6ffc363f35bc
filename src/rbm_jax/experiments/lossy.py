"""What an RBM learns from data with missing entries, and what filling them in first would make of it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_count, check_fraction, check_positive
from rbm_jax.missing import AbstractDataTerm, ClampedGibbs, Complete, Imputation, impute
from rbm_jax.model import RBM, Centered, exact_log_likelihood, init_rbm
from rbm_jax.plotting import figure_style, new_figure, plot_against_fraction, plot_imputation
from rbm_jax.runs import Dataset
from rbm_jax.training import PCD, Batches, Trainer, TrainState, fit

__all__ = ["LossyData", "LossyRecipe", "learn_from_lossy", "lossy_data_figure", "lossy_table"]

Figure = Any

FILLED = "filled in by means"
OBSERVED = "what was observed"
TERMS: dict[str, AbstractDataTerm] = {OBSERVED: ClampedGibbs(n_sweeps=10), FILLED: Complete()}


@dataclasses.dataclass(frozen=True)
class LossyRecipe:
    """How to train at each fraction. With 16 hidden units the likelihoods are exact.

    Modes grow more slowly by the fraction (1 - f)² of pairs of entries that are seen together, so training takes longer
    by its inverse: first the learning rate is raised, up to a greatest one, then the number of updates.

    Attributes:
        fractions: fractions of the pixels of the training data that are missing.
        hidden_fraction: fraction of the pixels of the test data that are to be reconstructed.
        n_hidden: hidden units; few enough to enumerate, as likelihoods are exact.
        time: length of the training of complete data, as learning rate x updates.
        learning_rate: of plain SGD for complete data.
        greatest_rate: largest learning rate.
        n_updates: largest number of updates.
        batch_size: rows of a minibatch.
        n_chains: persistent Markov chains.
        n_sweeps: Gibbs sweeps in each update.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    fractions: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 0.9)
    hidden_fraction: float = 0.5
    n_hidden: int = 16
    time: float = 200.0
    learning_rate: float = 0.05
    greatest_rate: float = 0.4
    n_updates: int = 20_000
    batch_size: int = 300
    n_chains: int = 500
    n_sweeps: int = 5
    seed: int = 0

    def __post_init__(self):
        if not self.fractions:
            raise ValueError("fractions must hold at least one")
        for fraction in self.fractions:
            check_fraction("fractions", fraction, below_one=True)
        check_fraction("hidden_fraction", check_positive("hidden_fraction", self.hidden_fraction))
        for name in ("n_hidden", "n_updates", "batch_size", "n_chains", "n_sweeps"):
            check_count(name, getattr(self, name))
        for name in ("time", "learning_rate", "greatest_rate"):
            check_positive(name, getattr(self, name))

    def schedule(self, fraction: float) -> tuple[float, int]:
        """Learning rate and number of updates, at most n_updates."""
        seen = (1 - fraction) ** 2
        rate = min(self.learning_rate / seen, self.greatest_rate)
        return rate, min(self.n_updates, max(1, round(self.time / (seen * rate))))


@dataclasses.dataclass(frozen=True)
class LossyData:
    """What was learned from lossy data, in two ways: dictionaries are by their names.

    Attributes:
        fractions: of the pixels of the training data that were missing, shape (n_fractions,).
        likelihood: exact test log-likelihood, in nats per sample, shape (n_fractions,).
        error: root mean square error of reconstructed pixels of the test data, in the units of the data, shape
            (n_fractions,).
        by_means: the same error if each pixel is reconstructed by its mean over complete training data.
        hidden_fraction: of the pixels of the test data that were reconstructed.
        shown: test data as the RBMs see them, NaN where a pixel is hidden, shape (n_test, n_visible).
        completed: the reconstruction by the RBM that learned from what was observed at the fraction nearest to 1/2.
        completed_at: that fraction.
        image_shape: rows and columns, if samples can be drawn as images.
    """

    fractions: np.ndarray
    likelihood: dict[str, np.ndarray]
    error: dict[str, np.ndarray]
    by_means: float
    hidden_fraction: float
    shown: np.ndarray
    completed: Imputation
    completed_at: float
    image_shape: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class _Split:
    """Training data, and test data whole and with pixels hidden."""

    training: np.ndarray
    test: np.ndarray
    shown: np.ndarray

    def error(self, mean) -> float:
        """Root mean square of what the means miss, over hidden pixels."""
        return float(np.sqrt(((np.asarray(mean) - self.test)[np.isnan(self.shown)] ** 2).mean()))


def learn_from_lossy(dataset: Dataset, recipe: LossyRecipe = LossyRecipe()) -> LossyData:
    """Hide pixels, learn from what is left, and see how likely test data are and how well they are reconstructed.

    Both ways to learn have the same initial RBM and random numbers, so that with nothing missing they are one.

    Raises:
        ValueError: data that have missing entries already, or a pixel that is in no sample.
    """
    if dataset.is_lossy:
        raise ValueError("dataset has missing entries already; give complete data, of which entries will be hidden")
    key_split, key_places, key_fractions = jax.random.split(jax.random.key(recipe.seed), 3)
    split = _split(key_split, dataset, recipe.hidden_fraction)
    # A larger fraction hides the same pixels and more.
    places = np.asarray(jax.random.uniform(key_places, split.training.shape))
    likelihood = {name: [] for name in TERMS}
    error = {name: [] for name in TERMS}
    observed = []
    keys = jax.random.split(key_fractions, len(recipe.fractions))
    for key, fraction in zip(keys, recipe.fractions, strict=True):
        key_train, key_test = jax.random.split(key)
        for name, rbm in _train(key_train, dataset, _hide(places, split.training, fraction), recipe, fraction).items():
            imputation = jax.tree.map(np.asarray, impute(key_test, rbm, split.shown))
            likelihood[name].append(float(exact_log_likelihood(rbm, split.test)))
            error[name].append(split.error(imputation.mean))
            if name == OBSERVED:
                observed.append(imputation)
    chosen = int(abs(np.array(recipe.fractions) - 0.5).argmin())
    return LossyData(
        fractions=np.array(recipe.fractions),
        likelihood={name: np.array(values) for name, values in likelihood.items()},
        error={name: np.array(values) for name, values in error.items()},
        by_means=split.error(split.training.mean(0)),
        hidden_fraction=recipe.hidden_fraction,
        shown=split.shown,
        completed=observed[chosen],
        completed_at=recipe.fractions[chosen],
        image_shape=dataset.image_shape,
    )


@figure_style()
def lossy_data_figure(result: LossyData) -> Figure:
    """Test likelihood and reconstruction error against the fraction of missing pixels, and completed test images.

    What to see: training on what was observed loses little where half of the pixels are missing. Filling in their means
    first makes pixels look less correlated than they are: a mode with r times the variance of independent pixels is
    learned only if (1 - f)² (r - 1) > f, at a fraction f of missing entries.

    Source: ours; the talks name lossy data as a perspective.
    """
    figure = new_figure(7, 4.8)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.2, 1))
    left, right = (figure.add_subplot(grid[0, column]) for column in (0, 1))
    likelihood, error = ({name: each.tolist() for name, each in of.items()} for of in (result.likelihood, result.error))
    plot_against_fraction(result.fractions, likelihood, label="test log-likelihood (nats per sample)", ax=left)
    reference = ("pixel means", result.by_means)
    plot_against_fraction(result.fractions, error, label="reconstruction error (r.m.s.)", reference=reference, ax=right)
    if result.image_shape is not None:
        plot_imputation(result.shown, result.completed, result.image_shape, ax=figure.add_subplot(grid[1, :]))
    return figure


def _split(key, dataset: Dataset, hidden_fraction: float) -> _Split:
    key_rows, key_places = jax.random.split(key)
    rows = np.asarray(jax.random.permutation(key_rows, len(dataset.samples)))
    n_test = max(1, min(len(rows) // 6, 1000))
    test = dataset.samples[rows[:n_test]].astype(np.float32)
    shown = _hide(np.asarray(jax.random.uniform(key_places, test.shape)), test, hidden_fraction)
    return _Split(dataset.samples[rows[n_test:]].astype(np.float32), test, shown)


def _hide(places: np.ndarray, samples: np.ndarray, fraction: float) -> np.ndarray:
    """NaN in place of this fraction of the entries, those where a uniform number is below it."""
    return np.where(places < fraction, np.nan, samples).astype(np.float32)


def _train(key, dataset: Dataset, lossy: np.ndarray, recipe: LossyRecipe, fraction: float) -> dict[str, RBM]:
    """RBMs that learned from lossy data in each of the ways, from one start with one and the same random numbers."""
    if np.isnan(lossy).all(0).any():
        raise ValueError(f"fractions must leave each pixel in some sample, got {fraction:g} for {len(lossy)} samples")
    key_rbm, key_chains, key_run = jax.random.split(key, 3)
    mean = np.nanmean(lossy, axis=0)
    units: dict[str, Any] = {"visible_units": dataset.units, "hidden_units": dataset.units}
    rbm = init_rbm(key_rbm, lossy.shape[1], recipe.n_hidden, visible_mean=mean, **units)
    learning_rate, n_updates = recipe.schedule(fraction)
    batch_size = min(recipe.batch_size, len(lossy))
    trainers = {
        name: Trainer.euler(PCD(n_sweeps=recipe.n_sweeps, metric=Centered(), data_term=term), learning_rate)
        for name, term in TERMS.items()
    }
    state = trainers[OBSERVED].init(key_chains, rbm, n_chains=recipe.n_chains)

    def train(trainer: Trainer, state: TrainState, data, *, allow_missing: bool = False) -> RBM:
        batches = Batches(data, batch_size, allow_missing=allow_missing)
        return fit(key_run, trainer, state, batches, n_updates=n_updates)[0].rbm

    # Traced, since means are no states of the units, which `fit` would refuse.
    filled = jax.jit(train)(trainers[FILLED], state, np.where(np.isnan(lossy), mean, lossy))
    return {OBSERVED: train(trainers[OBSERVED], state, lossy, allow_missing=True), FILLED: filled}


def lossy_table(result: LossyData) -> str:
    """Likelihood and reconstruction error at each fraction, both ways."""
    rows = [
        "Learning from incomplete data: exact test log-likelihood (nats per sample), and root mean square error",
        f"of reconstructed pixels with {result.hidden_fraction:.0%} of a test image hidden (by pixel means "
        f"{result.by_means:.4f})",
        "  missing" + "".join(f"{name:>30}" for name in result.likelihood),
    ]
    for row, fraction in enumerate(result.fractions):
        cells = (f"{result.likelihood[name][row]:20.2f}{result.error[name][row]:10.4f}" for name in result.likelihood)
        rows.append(f"{fraction:9.0%}" + "".join(cells))
    return "\n".join(rows)
