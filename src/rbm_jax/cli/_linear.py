"""The linear theory on trial: Gaussian-Gaussian RBMs trained by PCD, against the learning equations."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax.data import gaussian_data
from rbm_jax.dynamics import DataStatistics, gaussian_force, integrate, linear_fixed_points, linear_solution
from rbm_jax.model import RBM, exact_log_likelihood
from rbm_jax.plotting import figure_style, new_figure, plot_convergence, plot_linear_theory, plot_quantity
from rbm_jax.training import PCD, AbstractEstimator, Batches, Exact, Trainer, TrainState, fit_many
from rbm_jax.units import Gaussian

__all__ = [
    "Emergence",
    "StepConvergence",
    "emergence",
    "likelihood_gain",
    "linear_theory_figure",
    "step_convergence",
    "step_convergence_figure",
]

Figure = Any

_UNITS = Gaussian(1.0)


@dataclasses.dataclass(frozen=True)
class Emergence:
    """Modes of repeated PCD trainings, and what the linear theory says.

    Attributes:
        variances: of the data along each mode; the threshold is 1.
        ts: times.
        runs: u_α·W(t) v_α of each training, along the modes of data and start, shape (n_runs, n_times, n_modes).
        theory: times and values of the closed solution, shapes (n,) and (n, n_modes).
        plateaus: its fixed points.
        gains: log-likelihood per sample of each training beyond that of W = 0, in nats, shape (n_runs, n_times).
    """

    variances: np.ndarray
    ts: np.ndarray
    runs: np.ndarray
    theory: tuple[np.ndarray, np.ndarray]
    plateaus: np.ndarray
    gains: np.ndarray

    @property
    def theory_at_ts(self) -> np.ndarray:
        """Values of the closed solution at the times of the trainings, shape (n_times, n_modes)."""
        return np.stack([np.interp(self.ts, self.theory[0], each) for each in self.theory[1].T], axis=1)


def likelihood_gain(values, variances):
    """Log-likelihood per sample that modes of data of these variances have gained at singular values w, in nats.

    Each gains (ln(1 - w²) + c w²) / 2, which is (c - 1 - ln c) / 2 at its fixed point. Shapes (..., n_modes) to (...).
    """
    return (np.log1p(-(values**2)) + variances * values**2).sum(-1) / 2


def emergence(
    key,
    *,
    variances: tuple[float, ...] = (4.0, 2.0, 1.5, 0.5),
    n_visible: int = 8,
    n_samples: int = 1000,
    n_chains: int = 200,
    learning_rate: float = 0.001,
    n_updates: int = 8000,
    n_runs: int = 16,
    start: float = 0.03,
) -> Emergence:
    """Train n_runs Gaussian-Gaussian RBMs from the same start by PCD with different random numbers, side by side."""
    key_start, key_runs = jax.random.split(key)
    rbm, data, basis = _aligned_start(key_start, variances, n_visible, n_samples, start)
    trainer = Trainer.euler(PCD(), learning_rate)
    keys, states = _starts(key_runs, trainer, rbm, n_runs, n_chains)
    saves = np.unique(np.linspace(0, n_updates, 46).astype(int))
    _, paths = fit_many(keys, trainer, states, Batches(data), n_updates=n_updates, save_at=saves)
    along = jax.vmap(exact_log_likelihood, in_axes=(0, None))
    likelihoods = jax.jit(jax.vmap(along, in_axes=(0, None)))(paths.rbms, data)
    left, right = basis
    runs = jnp.einsum("ia,rtij,ja->rta", left, paths.rbms.weights, right)
    ts, variance = paths.ts[0], jnp.asarray(variances)
    fine = jnp.linspace(0, ts[-1], 10 * (len(ts) - 1) + 1)
    theory = linear_solution(fine, jnp.full(len(variances), start), variance)
    plateaus = linear_fixed_points(variance)
    gains = likelihoods - exact_log_likelihood(dataclasses.replace(rbm, weights=jnp.zeros_like(rbm.weights)), data)
    arrays = (variance, ts, runs, (fine, theory), plateaus, gains)
    return Emergence(*jax.tree.map(np.asarray, arrays))


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
    plot_linear_theory(result.ts, result.runs, result.theory, result.plateaus, names=names, ax=left)
    ts, values = result.theory
    _print_distance(result)
    steps = likelihood_gain(np.maximum(result.plateaus, 0)[:, None], result.variances[:, None])
    learned = np.cumsum(np.sort(steps[result.plateaus > 0])[::-1])
    for level in learned:
        right.axhline(level, linestyle=":", color="0.6", linewidth=0.8)
    points = {"PCD, mean": (result.ts, result.gains.mean(0))}
    theory = {"linear theory": (ts, likelihood_gain(values, result.variances))}
    plot_quantity(points, theory, label="gain of log-likelihood (nats)", ax=right)
    return figure


def _print_distance(result: Emergence) -> None:
    values = result.theory_at_ts
    apart = abs(result.runs.mean(0) - values)[1:]
    gain = abs(result.gains.mean(0) - likelihood_gain(values, result.variances)).max()
    typer.echo(
        f"\nGaussian RBMs: the mean of {len(result.runs)} trainings by PCD is within {apart.max():.4f} of the linear "
        f"theory in all singular values\n(at most {(apart / result.runs.std(0, ddof=1)[1:]).max():.1f} standard "
        f"deviations of the trainings), and within {gain:.4f} nats in the likelihood.\n"
    )


@dataclasses.dataclass(frozen=True)
class StepConvergence:
    """How far training is from the differential equation, for each learning rate.

    Attributes:
        learning_rates: from large to small.
        errors: for each way to estimate the gradient, the root mean square over runs of |W - W_ODE| / |W_ODE| at the
            end, one for each learning rate.
        slopes: exponents of the power laws that fit them.
        duration: time at the end.
    """

    learning_rates: np.ndarray
    errors: dict[str, np.ndarray]
    slopes: dict[str, float]
    duration: float


def step_convergence(
    key,
    *,
    learning_rates: tuple[float, ...] = (0.04, 0.02, 0.01, 0.005, 0.0025),
    n_chains: tuple[int, ...] = (100, 1000),
    duration: float = 2.0,
    n_runs: int = 8,
) -> StepConvergence:
    """Train to one time with ever smaller steps, and compare with the ODE's weights there."""
    key_start, *keys = jax.random.split(key, 2 + len(n_chains))
    rbm, data, _ = _aligned_start(key_start, (4.0, 2.0, 0.6, 0.3), 8, 500, 0.1)
    force = gaussian_force(DataStatistics(jnp.zeros(8), data.T @ data / len(data)))
    truth = integrate(force, rbm, jnp.array([0.0, duration]), rtol=1e-6, atol=1e-8).rbms.weights[-1]
    errors = {"exact gradient": _final_errors(keys[0], rbm, data, truth, Exact(), None, 1, learning_rates, duration)}
    for key_runs, count in zip(keys[1:], n_chains, strict=True):
        found = _final_errors(key_runs, rbm, data, truth, PCD(), count, n_runs, learning_rates, duration)
        errors[f"PCD, {count} chains"] = found
    rates = np.asarray(learning_rates)
    slopes = {name: float(np.polyfit(np.log(rates), np.log(error), 1)[0]) for name, error in errors.items()}
    return StepConvergence(rates, errors, slopes, duration)


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


def _aligned_start(key, variances, n_visible: int, n_samples: int, start: float):
    """An RBM with as many hidden units as modes, whose modes are the data's, all as strong as `start`."""
    key_left, key_right, key_data = jax.random.split(key, 3)
    n_modes = len(variances)
    left = jnp.linalg.qr(jax.random.normal(key_left, (n_visible, n_visible)))[0]
    right = jnp.linalg.qr(jax.random.normal(key_right, (n_modes, n_modes)))[0]
    spectrum = jnp.ones(n_visible).at[:n_modes].set(jnp.asarray(variances))
    data = gaussian_data(key_data, n_samples, (left * spectrum) @ left.T)
    left = left[:, :n_modes]
    rbm = RBM(start * left @ right.T, jnp.zeros(n_visible), jnp.zeros(n_modes), _UNITS, _UNITS)
    return rbm, data, (left, right)


def _starts(key, trainer: Trainer, rbm: RBM, n_runs: int, n_chains: int | None) -> tuple[jax.Array, TrainState]:
    """Keys and states of runs from one RBM with chains of their own."""
    keys = jax.random.split(key, n_runs)
    return keys, jax.vmap(lambda key: trainer.init(key, rbm, n_chains))(keys)


def _final_errors(
    key, rbm: RBM, data, truth, estimator: AbstractEstimator, n_chains, n_runs, learning_rates, duration
) -> np.ndarray:
    batches, found = Batches(data), []
    for rate in learning_rates:
        trainer = Trainer.euler(estimator, rate)
        keys, states = _starts(key, trainer, rbm, n_runs, n_chains)
        states, _ = fit_many(keys, trainer, states, batches, n_updates=round(duration / rate))
        errors = ((states.rbm.weights - truth) ** 2).sum((1, 2)) / (truth**2).sum()
        found.append(float(errors.mean()) ** 0.5)
    return np.asarray(found)
