"""Likelihoods along a training, by the best means that its size allows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax.cli._common import Dataset
from rbm_jax.energies import visible_free_energy
from rbm_jax.exact import exact_log_likelihood
from rbm_jax.mean_field import log_z_mean_field
from rbm_jax.rbm import RBM
from rbm_jax.trajectory import Trajectory

__all__ = ["log_likelihood_along", "one_by_one", "some_rows"]

ENUMERABLE = 16
"""Largest smaller layer for which the log-likelihood is exact."""
MAX_SAMPLES = 2000
"""Data at which likelihoods are evaluated."""
N_STARTS = 100
"""Data from which the fixed points of the TAP estimate are found."""


def log_likelihood_along(path: Trajectory, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Log-likelihood per sample in nats at each time, and how it was found."""
    if min(path.rbms.weights.shape[1:]) <= ENUMERABLE:
        return one_by_one(exact_log_likelihood, path, dataset), "exact"
    return one_by_one(_tap_log_likelihood, path, dataset), "TAP estimate"


def one_by_one(function: Callable, path: Trajectory, dataset: Dataset) -> np.ndarray:
    """A function of RBM and data at each time."""
    data = jnp.asarray(some_rows(dataset.samples, MAX_SAMPLES))
    return np.asarray(jax.lax.map(lambda rbm: function(rbm, data), path.rbms))


def some_rows(samples: np.ndarray, most: int) -> np.ndarray:
    """At most so many samples, evenly spaced in the data set."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)]


def _tap_log_likelihood(rbm: RBM, data) -> jax.Array:
    """Log-likelihood with log Z from the TAP fixed points that are found from the data."""
    starts = data[:: max(1, len(data) // N_STARTS)]
    return -visible_free_energy(rbm, data).mean() - log_z_mean_field(rbm, init=starts)
