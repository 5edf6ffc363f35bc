"""The linear theory on trial: Gaussian-Gaussian RBMs trained by PCD, against the learning equations."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax.data import gaussian_data
from rbm_jax.dynamics import DataStatistics, gaussian_force, integrate, linear_fixed_points, linear_solution
from rbm_jax.estimators import exact, pcd
from rbm_jax.plotting import plot_convergence, plot_linear_theory
from rbm_jax.rbm import RBM
from rbm_jax.training import fit, init_train_state
from rbm_jax.units import Gaussian

__all__ = ["Emergence", "StepConvergence", "draw_convergence", "draw_emergence", "emergence", "step_convergence"]

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
    """

    variances: np.ndarray
    ts: np.ndarray
    runs: np.ndarray
    theory: tuple[np.ndarray, np.ndarray]
    plateaus: np.ndarray


def emergence(
    key,
    *,
    variances: tuple[float, ...] = (4.0, 2.0, 0.6, 0.3),
    n_visible: int = 8,
    n_samples: int = 1000,
    n_chains: int = 200,
    learning_rate: float = 0.001,
    n_updates: int = 9000,
    n_runs: int = 16,
    start: float = 0.1,
) -> Emergence:
    """Train n_runs Gaussian-Gaussian RBMs from the same start by PCD with different random numbers, side by side."""
    rbm, data, basis = _aligned_start(key, variances, n_visible, n_samples, start)
    optimizer = optax.sgd(learning_rate)
    saves = np.unique(np.linspace(0, n_updates, 46).astype(int))

    @jax.jit
    @jax.vmap
    def train(key):
        key_chains, key_run = jax.random.split(key)
        state = init_train_state(key_chains, rbm, optimizer, n_chains=n_chains)
        options = {"n_updates": n_updates, "save_at": saves, "time_step": learning_rate}
        _, path = fit(key_run, state, data, estimator=pcd, optimizer=optimizer, **options)
        return path

    paths = train(jax.random.split(jax.random.fold_in(key, 1), n_runs))
    left, right = basis
    runs = jnp.einsum("ia,rtij,ja->rta", left, paths.rbms.weights, right)
    ts, variance = paths.ts[0], jnp.asarray(variances)
    fine = jnp.linspace(0, ts[-1], 10 * (len(ts) - 1) + 1)
    theory = linear_solution(fine, jnp.full(len(variances), start), variance)
    plateaus = linear_fixed_points(variance)
    arrays = (variance, ts, runs, (fine, theory), plateaus)
    return Emergence(*jax.tree.map(np.asarray, arrays))


def draw_emergence(result: Emergence, ax) -> None:
    """Means and standard deviations of the runs on the closed solution; modes below variance 1 are not learned."""
    plot_linear_theory(
        result.ts,
        result.runs,
        result.theory,
        result.plateaus,
        names=[f"variance {variance:g}" for variance in result.variances],
        ax=ax,
    )


@dataclasses.dataclass(frozen=True)
class StepConvergence:
    """How far training is from the differential equation, for each learning rate.

    Attributes:
        learning_rates: from large to small.
        errors: for each way to estimate the gradient, the root mean square over runs of |W - W_ODE| / |W_ODE| at the
            end, one for each learning rate.
        slopes: exponents of the power laws that fit them.
    """

    learning_rates: np.ndarray
    errors: dict[str, np.ndarray]
    slopes: dict[str, float]


def step_convergence(
    key,
    *,
    learning_rates: tuple[float, ...] = (0.04, 0.02, 0.01, 0.005, 0.0025),
    n_chains: tuple[int, ...] = (100, 1000, 10000),
    duration: float = 2.0,
    n_runs: int = 8,
) -> StepConvergence:
    """Train to one time with ever smaller steps, and compare with the ODE's weights there."""
    rbm, data, _ = _aligned_start(key, (4.0, 2.0, 0.6, 0.3), 8, 500, 0.1)
    force = gaussian_force(DataStatistics(jnp.zeros(8), data.T @ data / len(data)))
    truth = integrate(force, rbm, jnp.array([0.0, duration]), rtol=1e-6, atol=1e-8).rbms.weights[-1]
    errors = {"exact gradient": _final_errors(key, rbm, data, truth, exact, 1, 1, learning_rates, duration)}
    for count in n_chains:
        found = _final_errors(key, rbm, data, truth, pcd, count, n_runs, learning_rates, duration)
        errors[f"PCD, {count} chains"] = found
    rates = np.asarray(learning_rates)
    slopes = {name: float(np.polyfit(np.log(rates), np.log(error), 1)[0]) for name, error in errors.items()}
    return StepConvergence(rates, errors, slopes)


def draw_convergence(result: StepConvergence, ax) -> None:
    """One power law for each way to estimate the gradient."""
    errors = {name: (error, result.slopes[name]) for name, error in result.errors.items()}
    plot_convergence(result.learning_rates, errors, label=r"$|W-W_\mathrm{ODE}|\,/\,|W_\mathrm{ODE}|$ at $t=2$", ax=ax)


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


def _final_errors(key, rbm, data, truth, estimator, n_chains, n_runs, learning_rates, duration) -> np.ndarray:
    def error(key, optimizer, n_updates):
        key_chains, key_run = jax.random.split(key)
        state = init_train_state(key_chains, rbm, optimizer, n_chains=n_chains)
        state, _ = fit(key_run, state, data, estimator=estimator, optimizer=optimizer, n_updates=n_updates)
        return ((state.rbm.weights - truth) ** 2).sum() / (truth**2).sum()

    found = []
    for rate in learning_rates:
        run = functools.partial(error, optimizer=optax.sgd(rate), n_updates=round(duration / rate))
        found.append(float(jax.jit(jax.vmap(run))(jax.random.split(key, n_runs)).mean()) ** 0.5)
    return np.asarray(found)
