"""How good the RBMs along a training are, by the best means that their size allows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax.likelihood import ais_log_z
from rbm_jax.model.energies import visible_free_energy
from rbm_jax.model.exact import exact_log_likelihood
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset
from rbm_jax.runs.records import some_rows

__all__ = ["ENUMERABLE", "log_likelihood_along", "one_by_one"]

ENUMERABLE = 16
"""Largest smaller layer for which the log-likelihood is exact."""
MAX_SAMPLES = 2000
"""Data at which likelihoods along a training are evaluated."""
N_CHAINS, N_TEMPERATURES = 100, 300
"""Of the annealing at each time of a training."""


def log_likelihood_along(path: Trajectory, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Log-likelihood per sample in nats at each time, and how it was found."""
    if min(path.rbms.weights.shape[1:]) <= ENUMERABLE:
        return one_by_one(exact_log_likelihood, path, dataset, "log-likelihood"), "exact"
    return one_by_one(_annealed_log_likelihood, path, dataset, "log-likelihood"), "by annealing"


def one_by_one(function: Callable, path: Trajectory, dataset: Dataset, description: str) -> np.ndarray:
    """A function of RBM, data and their weights at each time, with a progress bar."""
    data = jnp.asarray(some_rows(dataset.samples, MAX_SAMPLES))
    weights = None if dataset.weights is None else jnp.asarray(some_rows(dataset.weights, MAX_SAMPLES))
    compiled, values = jax.jit(function), []
    with progress_bar(len(path.ts), description, unit="time") as progress:
        for time in range(len(path.ts)):
            rbm = jax.tree.map(lambda leaf, time=time: leaf[time], path.rbms)
            values.append(np.asarray(compiled(rbm, data, weights)))
            progress(1)
    return np.stack(values)


def _annealed_log_likelihood(rbm: RBM, data, weights) -> jax.Array:
    options = {"data": data, "n_chains": N_CHAINS, "n_temperatures": N_TEMPERATURES}
    log_z = ais_log_z(jax.random.key(0), rbm, **options).value
    return -jnp.average(visible_free_energy(rbm, data), weights=weights) - log_z
