"""A training by PCD and the learning equations, integrated from the same weights: both on one clock."""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
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
from rbm_jax.model import RBM, Centered, Plain, Status, Trajectory, init_rbm, visible_free_energy
from rbm_jax.model.trajectory import finite_status
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset
from rbm_jax.training import PCD, Batches, Trainer, TrainState, fit

__all__ = ["ComparisonRecipe", "ComparisonResult", "compare"]

N_SAVES = 80
MAX_DEFAULT_UPDATES = 20_000
ENUMERABLE = 12
"""Largest smaller layer for which the exact equations are integrated."""
N_OBSERVED = 2000
"""Samples whose free energy is observed: enough for a mean, and quick beside the updates between two save points."""
N_TAP_STARTS = 30
TAP_STEP = 0.02
"""Step of its integration, in growth times of the leading mode."""
MAX_TAP_SIZE = 20_000_000
"""Largest n_samples·n_visible·n_hidden for which the TAP closure is integrated unasked."""


@dataclasses.dataclass(frozen=True)
class ComparisonRecipe:
    """How to train, which theories to integrate, which modes to look at.

    Attributes:
        n_hidden: hidden units.
        n_updates: updates; by default 2.5 times what takes the leading mode out of the linear regime.
        learning_rate: of plain SGD; time is learning rate x updates.
        n_chains: persistent Markov chains.
        n_sweeps: Gibbs sweeps in each update.
        batch_size: rows of a minibatch; by default all data, at most 2000.
        n_modes: leading modes to compare.
        centered: centered or plain gradient, for training and theory.
        tap: integrate the TAP closure; by default where it takes less than a few minutes.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_hidden: int = 64
    n_updates: int | None = None
    learning_rate: float = 0.02
    n_chains: int = 4000
    n_sweeps: int = 1
    batch_size: int | None = None
    n_modes: int = 10
    centered: bool = True
    tap: bool | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("n_hidden", "n_chains", "n_sweeps", "n_modes"):
            check_count(name, getattr(self, name))
        for name in ("n_updates", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)

    @property
    def metric(self) -> Centered | Plain:
        """Of the training and of the theories."""
        return Centered() if self.centered else Plain()


@dataclasses.dataclass(frozen=True)
class ComparisonResult:
    """A training by PCD, and the theories of it, by name, each also as it compares with the training.

    Attributes:
        dataset: the data.
        learning_rate: of the training.
        growth: the linear theory of each mode of the data.
        training: RBMs along time; observations are ⟨F⟩ of the chains minus ⟨F⟩ of the data, in nats.
        theories: RBMs along the same time, of each theory.
        comparisons: singular values, overlaps and departures, of each theory.
        measured_rates: early growth rate of each mode of the data in training, per unit of time, shape (n_visible,).
        measured_until: the time until which they are measured.
    """

    dataset: Dataset
    learning_rate: float
    growth: GrowthModes
    training: Trajectory
    theories: dict[str, Trajectory]
    comparisons: dict[str, Comparison]
    measured_rates: np.ndarray
    measured_until: float


def compare(dataset: Dataset, recipe: ComparisonRecipe = ComparisonRecipe()) -> ComparisonResult:
    """Train by PCD, integrate the theories from the same start, and put their modes side by side.

    The theories are the linear one, the Gaussian closure, the TAP closure and, for up to 12 units in the smaller layer,
    the exact equations.

    Raises:
        ValueError: training that diverged.

    Warns:
        UserWarning: an integration that ended early, a theory that is left out, a training that is cut short.

    Example:
        >>> from rbm_jax.experiments import ComparisonRecipe, compare
        >>> from rbm_jax.runs import Source
        >>> recipe = ComparisonRecipe(n_hidden=16, n_updates=30, n_chains=50, tap=False)
        >>> result = compare(Source("digits").load_images(), recipe)
        >>> list(result.comparisons), result.comparisons["linear theory"].departure.shape
        (['linear theory', 'Gaussian closure'], (10,))
    """
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(recipe.seed), 3)
    rbm = init_rbm(
        key_rbm,
        dataset.samples.shape[1],
        recipe.n_hidden,
        visible_units=dataset.units,
        hidden_units=dataset.units,
        scale=1e-3,
        visible_mean=dataset.samples.mean(0),
    )
    statistics = data_statistics(dataset.samples)
    growth = growth_modes(statistics, visible_units=dataset.units, hidden_units=dataset.units)
    n_updates = recipe.n_updates or _default_updates(rbm, growth, recipe.learning_rate)
    training = _train(key_chains, key_run, rbm, dataset, n_updates, recipe)
    if training.status != Status.SUCCESS:
        raise ValueError("training diverged (the weights are no longer finite): try a smaller learning_rate")
    theories = _integrate_theories(rbm, dataset, statistics, growth, training.ts, recipe)
    window = linear_window(training, growth)
    return ComparisonResult(
        dataset=dataset,
        learning_rate=recipe.learning_rate,
        growth=growth,
        training=training,
        theories=theories,
        comparisons={
            name: compare_trajectories(training, theory, n_modes=recipe.n_modes) for name, theory in theories.items()
        },
        measured_rates=np.asarray(growth_rates_along(training, growth, window)),
        measured_until=float(training.ts[window][-1]),
    )


def _train(key_chains, key_run, rbm: RBM, dataset: Dataset, n_updates: int, recipe: ComparisonRecipe) -> Trajectory:
    """A training by PCD, with the gap of free energies between chains and data."""
    trainer = Trainer.euler(PCD(n_sweeps=recipe.n_sweeps, metric=recipe.metric), recipe.learning_rate)
    state = trainer.init(key_chains, rbm, n_chains=recipe.n_chains)
    batches = Batches(dataset.samples, dataset.batch_size(recipe.batch_size))
    saves = np.unique(np.linspace(0, n_updates, N_SAVES + 1).astype(int))
    observed = jnp.asarray(dataset.samples[:N_OBSERVED])
    with progress_bar(n_updates, "PCD") as progress:
        options = {"observe": lambda state: _free_energy_gap(observed, state), "progress": progress}
        return fit(key_run, trainer, state, batches, n_updates=n_updates, save_at=saves, **options)[1]


def _default_updates(rbm: RBM, growth: GrowthModes, learning_rate: float) -> int:
    """Long enough to see the leading mode leave the linear regime, whatever the data's variance."""
    rate = float(growth.rates[0])
    if rate <= 0:
        return 1000
    start = float(jnp.linalg.norm(growth.vectors[:, 0] @ rbm.weights))
    updates = math.ceil(2.5 * math.log(_bound(rbm) / start) / rate / learning_rate)
    if updates > MAX_DEFAULT_UPDATES:
        updates = MAX_DEFAULT_UPDATES
        warnings.warn(
            f"modes grow slowly: training stops at {MAX_DEFAULT_UPDATES} updates; set n_updates for more", stacklevel=3
        )
    return updates


def _bound(rbm: RBM) -> float:
    """Where the Gaussian theory of the units at zero field ends."""
    zero = jnp.zeros(1)
    variances = rbm.visible_units.variance(zero)[0], rbm.hidden_units.variance(zero)[0]
    return float(linear_bound(visible_variance=variances[0], hidden_variance=variances[1]))


def _free_energy_gap(data, state: TrainState):
    """⟨F⟩ of the chains minus ⟨F⟩ of the data: positive where the data are likelier than the chains' states."""
    return visible_free_energy(state.rbm, state.carry).mean() - visible_free_energy(state.rbm, data).mean()


def _integrate_theories(
    rbm, dataset: Dataset, statistics, growth, ts, recipe: ComparisonRecipe
) -> dict[str, Trajectory]:
    samples, metric, tap = dataset.samples, recipe.metric, recipe.tap
    theories = {"linear theory": _linear_theory(rbm, growth, ts)}
    forces: dict[str, tuple[LearningForce, dict]] = {
        "Gaussian closure": (gaussian_force(statistics, metric=metric), {})
    }
    if tap or (tap is None and len(samples) * rbm.weights.size <= MAX_TAP_SIZE):
        starts = samples[np.linspace(0, len(samples) - 1, min(N_TAP_STARTS, len(samples))).astype(int)]
        force = mean_field_force(samples, init=starts, metric=metric, tol=1e-4, max_steps=200)
        step = TAP_STEP / float(growth.rates[0]) if growth.rates[0] > 0 else 1.0
        forces["TAP closure"] = (force, {"step": step, "max_steps": math.ceil(float(ts[-1]) / step) + 1})
    elif tap is None:
        warnings.warn("the TAP closure is left out for data of this size; tap=True integrates it", stacklevel=3)
    if min(rbm.weights.shape) <= ENUMERABLE:
        forces["exact equations"] = (exact_force(samples, metric=metric), {})
    for name, (force, options) in forces.items():
        with progress_bar(100, f"integrating the {name}", unit="%") as progress:
            trajectory = integrate(_Watched(force, _report_time(float(ts[-1]), progress)), rbm, ts, **options)
            jax.effects_barrier()
        if trajectory.status != Status.SUCCESS:
            status = Status(int(trajectory.status)).name.lower().replace("_", " ")
            warnings.warn(f"integration of the {name} ended early ({status}); its curves stop there", stacklevel=3)
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
