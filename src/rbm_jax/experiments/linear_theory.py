"""The linear theory on trial: Gaussian-Gaussian RBMs trained by PCD, against the learning equations."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.data import gaussian_data
from rbm_jax.dynamics import (
    DataStatistics,
    gaussian_force,
    integrate,
    linear_fixed_points,
    linear_likelihood_gain,
    linear_solution,
)
from rbm_jax.model import RBM, exact_log_likelihood
from rbm_jax.plotting import figure_style, new_figure, plot_convergence, plot_linear_theory, plot_quantity
from rbm_jax.training import PCD, AbstractEstimator, Batches, Exact, Trainer, TrainState, fit_many
from rbm_jax.units import Gaussian

__all__ = [
    "Emergence",
    "EmergenceRecipe",
    "StepConvergence",
    "StepConvergenceRecipe",
    "emergence",
    "emergence_table",
    "linear_theory_figure",
    "step_convergence",
    "step_convergence_figure",
]

Figure = Any

_UNITS = Gaussian(1.0)


def _check_modes(variances: tuple[float, ...], n_visible: int, start: float) -> None:
    for variance in variances:
        check_positive("variances", variance)
    check_count("n_visible", n_visible)
    if not 1 <= len(variances) <= n_visible:
        raise ValueError(f"variances must be of 1 to n_visible = {n_visible} modes, got {len(variances)}")
    if check_positive("start", start) >= 1:
        raise ValueError(f"start must be below 1, where a Gaussian-Gaussian RBM ceases to exist, got {start:g}")


@dataclasses.dataclass(frozen=True)
class EmergenceRecipe:
    """Which modes the data have, and how to train.

    Attributes:
        variances: variance of the data along each mode; the threshold is 1.
        n_visible: visible units, at least as many as modes.
        n_samples: samples to learn from.
        n_chains: persistent Markov chains of each training.
        learning_rate: of plain SGD; time is learning rate x updates.
        n_updates: updates.
        n_runs: trainings with different random numbers.
        start: initial singular value of every mode, below 1.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    variances: tuple[float, ...] = (4.0, 2.0, 1.5, 0.5)
    n_visible: int = 8
    n_samples: int = 1000
    n_chains: int = 200
    learning_rate: float = 0.001
    n_updates: int = 8000
    n_runs: int = 16
    start: float = 0.03
    seed: int = 0

    def __post_init__(self):
        _check_modes(self.variances, self.n_visible, self.start)
        for name in ("n_samples", "n_chains", "n_updates"):
            check_count(name, getattr(self, name))
        check_count("n_runs", self.n_runs, minimum=2)  # whose spread is measured
        check_positive("learning_rate", self.learning_rate)


@dataclasses.dataclass(frozen=True)
class Emergence:
    """Modes of repeated PCD trainings, and what the linear theory says.

    Attributes:
        variances: of the data along each mode; the threshold is 1.
        ts: times, shape (n_times,).
        runs: u_α·W(t) v_α of each training, along the modes of data and start, shape (n_runs, n_times, n_modes).
        theory_ts: times of the closed solution, shape (n,).
        theory: singular values of the closed solution, shape (n, n_modes).
        plateaus: its fixed points, shape (n_modes,).
        gains: log-likelihood per sample of each training beyond that of W = 0, in nats, shape (n_runs, n_times).
    """

    variances: np.ndarray
    ts: np.ndarray
    runs: np.ndarray
    theory_ts: np.ndarray
    theory: np.ndarray
    plateaus: np.ndarray
    gains: np.ndarray

    @property
    def theory_at_ts(self) -> np.ndarray:
        """Values of the closed solution at the times of the trainings, shape (n_times, n_modes)."""
        return np.stack([np.interp(self.ts, self.theory_ts, each) for each in self.theory.T], axis=1)

    @property
    def theory_gains(self) -> np.ndarray:
        """Log-likelihood per sample gained along the closed solution, in nats, shape (n,)."""
        return np.asarray(linear_likelihood_gain(self.theory, self.variances).sum(-1))

    @property
    def plateau_gains(self) -> np.ndarray:
        """Log-likelihood per sample gained with each further mode above threshold, the largest first, in nats."""
        steps = np.asarray(linear_likelihood_gain(np.maximum(self.plateaus, 0), self.variances))
        return np.cumsum(np.sort(steps[self.plateaus > 0])[::-1])

    @property
    def distance(self) -> float:
        """Largest distance of the mean singular values of the trainings from the linear theory."""
        return float(self._distances.max())

    @property
    def distance_in_deviations(self) -> float:
        """The largest such distance in standard deviations of the trainings."""
        return float((self._distances / self.runs.std(0, ddof=1)[1:]).max())

    @property
    def gain_distance(self) -> float:
        """Largest distance of the mean gain of the trainings from the linear theory, in nats."""
        return float(abs(self.gains.mean(0) - linear_likelihood_gain(self.theory_at_ts, self.variances).sum(-1)).max())

    @property
    def _distances(self) -> np.ndarray:
        """At all times but the first, where all are the same, shape (n_times - 1, n_modes)."""
        return abs(self.runs.mean(0) - self.theory_at_ts)[1:]


def emergence(recipe: EmergenceRecipe = EmergenceRecipe()) -> Emergence:
    """Train n_runs Gaussian-Gaussian RBMs from the same start by PCD with different random numbers, side by side."""
    key_start, key_chains, key_runs = jax.random.split(jax.random.key(recipe.seed), 3)
    rbm, data, (left, right) = _aligned_start(key_start, recipe)
    trainer = Trainer.euler(PCD(), recipe.learning_rate)
    states = _starts(key_chains, trainer, rbm, recipe.n_runs, recipe.n_chains)
    n_updates = recipe.n_updates
    saves = np.unique(np.linspace(0, n_updates, 46).astype(int))
    keys = jax.random.split(key_runs, recipe.n_runs)
    _, paths = fit_many(keys, trainer, states, Batches(data), n_updates=n_updates, save_at=saves)
    along = jax.vmap(exact_log_likelihood, in_axes=(0, None))
    likelihoods = jax.jit(jax.vmap(along, in_axes=(0, None)))(paths.rbms, data)
    runs = jnp.einsum("ia,rtij,ja->rta", left, paths.rbms.weights, right)
    ts, variance = paths.ts[0], jnp.asarray(recipe.variances)
    fine = jnp.linspace(0, ts[-1], 10 * (len(ts) - 1) + 1)
    theory = linear_solution(fine, jnp.full(len(variance), recipe.start), variance)
    plateaus = linear_fixed_points(variance)
    gains = likelihoods - exact_log_likelihood(dataclasses.replace(rbm, weights=jnp.zeros_like(rbm.weights)), data)
    return Emergence(*map(np.asarray, (variance, ts, runs, fine, theory, plateaus, gains)))


@figure_style()
def linear_theory_figure(result: Emergence) -> Figure:
    """Modes of a Gaussian-Gaussian RBM in time, and the likelihood that it gains with each.

    What to see: modes of the data rise to their plateaus √(1 - 1/c), one after the other by their variance c, and the
    likelihood climbs a step of (c - 1 - ln c) / 2 with each of them. The mode of a variance below 1 decays. Points are
    means and standard deviations of PCD trainings with different random numbers, lines the closed solution.

    Source: the linear theory of Decelle, Fissore and Furtlehner (2017), and the talks' figure of it.
    """
    figure = new_figure(7, 2.6)
    left, right = figure.subplots(1, 2)
    names = [f"variance {variance:g}" for variance in result.variances]
    theory = (result.theory_ts, result.theory)
    plot_linear_theory(result.ts, result.runs, theory, result.plateaus, names=names, ax=left)
    for level in result.plateau_gains:
        right.axhline(level, linestyle=":", color="0.6", linewidth=0.8)
    points = {"PCD, mean": (result.ts, result.gains.mean(0))}
    lines = {"linear theory": (result.theory_ts, result.theory_gains)}
    plot_quantity(points, lines, label="gain of log-likelihood (nats)", ax=right)
    return figure


@dataclasses.dataclass(frozen=True)
class StepConvergenceRecipe:
    """Which learning rates to compare, and how to train.

    Attributes:
        learning_rates: learning rates, from large to small.
        n_chains: numbers of persistent Markov chains, each of which is tried.
        duration: time at the end of every training.
        n_runs: trainings by PCD at each learning rate.
        variances: variance of the data along each mode.
        n_visible: visible units, at least as many as modes.
        n_samples: samples to learn from.
        start: initial singular value of every mode, below 1.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    learning_rates: tuple[float, ...] = (0.04, 0.02, 0.01, 0.005, 0.0025)
    n_chains: tuple[int, ...] = (100, 1000)
    duration: float = 2.0
    n_runs: int = 8
    variances: tuple[float, ...] = (4.0, 2.0, 0.6, 0.3)
    n_visible: int = 8
    n_samples: int = 500
    start: float = 0.1
    seed: int = 0

    def __post_init__(self):
        _check_modes(self.variances, self.n_visible, self.start)
        for name in ("n_samples", "n_runs"):
            check_count(name, getattr(self, name))
        for count in self.n_chains:
            check_count("n_chains", count)
        check_positive("duration", self.duration)
        if len(self.learning_rates) < 2:
            raise ValueError(f"learning_rates must be at least two, to fit a power law, got {self.learning_rates}")
        for rate in self.learning_rates:
            if check_positive("learning_rates", rate) > self.duration:
                raise ValueError(f"learning_rates must be at most the duration {self.duration:g}, got {rate:g}")


@dataclasses.dataclass(frozen=True)
class StepConvergence:
    """How far training is from the differential equation, for each learning rate.

    Attributes:
        learning_rates: from large to small, shape (n_rates,).
        errors: for each way to estimate the gradient, the root mean square over runs of |W - W_ODE| / |W_ODE| at the
            end, one for each learning rate.
        slopes: exponents of the power laws that fit them.
        duration: time at the end.
    """

    learning_rates: np.ndarray
    errors: dict[str, np.ndarray]
    slopes: dict[str, float]
    duration: float


def step_convergence(recipe: StepConvergenceRecipe = StepConvergenceRecipe()) -> StepConvergence:
    """Train to one time with ever smaller steps, and compare with the ODE's weights there."""
    key_start, key_exact, *keys = jax.random.split(jax.random.key(recipe.seed), 2 + len(recipe.n_chains))
    rbm, data, _ = _aligned_start(key_start, recipe)
    force = gaussian_force(DataStatistics(jnp.zeros(rbm.n_visible), data.T @ data / len(data)))
    truth = integrate(force, rbm, jnp.array([0.0, recipe.duration]), rtol=1e-6, atol=1e-8).rbms.weights[-1]
    alone = dataclasses.replace(recipe, n_runs=1)  # exact gradients have no spread
    errors = {"exact gradient": _final_errors(key_exact, rbm, data, truth, Exact(), None, alone)}
    for key_runs, count in zip(keys, recipe.n_chains, strict=True):
        errors[f"PCD, {count} chains"] = _final_errors(key_runs, rbm, data, truth, PCD(), count, recipe)
    rates = np.asarray(recipe.learning_rates)
    slopes = {name: float(np.polyfit(np.log(rates), np.log(error), 1)[0]) for name, error in errors.items()}
    return StepConvergence(rates, errors, slopes, recipe.duration)


@figure_style()
def step_convergence_figure(result: StepConvergence) -> Figure:
    """Distance of trained weights from the learning equation's, against the learning rate.

    What to see: with exact gradients, steps are those of Euler's method, and the distance is of first order in the
    learning rate. The noise of PCD's chains goes like the square root of the learning rate over the number of chains,
    and wins where steps are short or chains few.

    Source: ours.
    """
    figure = new_figure()
    errors = {name: (error, result.slopes[name]) for name, error in result.errors.items()}
    label = rf"$|W-W_\mathrm{{ODE}}|\,/\,|W_\mathrm{{ODE}}|$ at $t={result.duration:g}$"
    plot_convergence(result.learning_rates, errors, label=label, ax=figure.add_subplot())
    return figure


def _aligned_start(key, recipe: EmergenceRecipe | StepConvergenceRecipe):
    """An RBM with as many hidden units as modes, whose modes are the data's, all as strong as `start`."""
    key_left, key_right, key_data = jax.random.split(key, 3)
    n_visible, n_modes = recipe.n_visible, len(recipe.variances)
    left = jnp.linalg.qr(jax.random.normal(key_left, (n_visible, n_visible)))[0]
    right = jnp.linalg.qr(jax.random.normal(key_right, (n_modes, n_modes)))[0]
    spectrum = jnp.ones(n_visible).at[:n_modes].set(jnp.asarray(recipe.variances))
    data = gaussian_data(key_data, recipe.n_samples, (left * spectrum) @ left.T)
    left = left[:, :n_modes]
    rbm = RBM(recipe.start * left @ right.T, jnp.zeros(n_visible), jnp.zeros(n_modes), _UNITS, _UNITS)
    return rbm, data, (left, right)


def _starts(key, trainer: Trainer, rbm: RBM, n_runs: int, n_chains: int | None) -> TrainState:
    """States of runs from one RBM with chains of their own."""
    return jax.vmap(lambda key: trainer.init(key, rbm, n_chains))(jax.random.split(key, n_runs))


def _final_errors(
    key, rbm: RBM, data, truth, estimator: AbstractEstimator, n_chains: int | None, recipe: StepConvergenceRecipe
) -> np.ndarray:
    batches, found = Batches(data), []
    for rate, key_rate in zip(recipe.learning_rates, jax.random.split(key, len(recipe.learning_rates)), strict=True):
        key_chains, key_runs = jax.random.split(key_rate)
        trainer = Trainer.euler(estimator, rate)
        states = _starts(key_chains, trainer, rbm, recipe.n_runs, n_chains)
        keys = jax.random.split(key_runs, recipe.n_runs)
        states, _ = fit_many(keys, trainer, states, batches, n_updates=round(recipe.duration / rate))
        errors = ((states.rbm.weights - truth) ** 2).sum((1, 2)) / (truth**2).sum()
        found.append(float(errors.mean()) ** 0.5)
    return np.asarray(found)


def emergence_table(result: Emergence) -> str:
    """How far the trainings are from the linear theory, in words."""
    return (
        f"Gaussian RBMs: the mean of {len(result.runs)} trainings by PCD is within {result.distance:.4f} of the linear "
        f"theory in all singular values\n(at most {result.distance_in_deviations:.1f} standard deviations of the "
        f"trainings), and within {result.gain_distance:.4f} nats in the likelihood."
    )
