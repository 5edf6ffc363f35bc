"""Sums over all states of both layers in NumPy and float64, with quadrature rules for Gaussian and ReLU units."""

import itertools
from typing import NamedTuple

import numpy as np

from rbm_jax import Bernoulli, Gaussian, Potts, ReLU, Spin


class Joint(NamedTuple):
    """The joint distribution of a small RBM as a table."""

    v: np.ndarray
    h: np.ndarray
    log_v: np.ndarray
    log_h: np.ndarray
    energy: np.ndarray
    log_z: float
    probabilities: np.ndarray


def unit_nodes(units):
    """States of a unit, vectors for Potts ones, and the logarithm of their base measure.

    The trapezoidal rule with 0.6 standard deviations between nodes integrates a Gaussian times an exponential to better
    than 1e-15: its error falls like exp(-2 π² σ² / step²). On the half line it is the rule of Gauss and Legendre up to
    10 standard deviations.
    """
    if isinstance(units, Potts):
        return np.eye(units.n_states), np.zeros(units.n_states)
    if isinstance(units, ReLU):
        nodes, weights = np.polynomial.legendre.leggauss(36)
        nodes, weights = 5 * np.sqrt(units.base_variance) * np.stack([nodes + 1, weights])
        return nodes, np.log(weights) - nodes**2 / (2 * units.base_variance)
    if isinstance(units, Bernoulli):
        return np.array([0.0, 1.0]), np.zeros(2)
    if isinstance(units, Spin):
        return np.array([-1.0, 1.0]), np.zeros(2)
    assert isinstance(units, Gaussian)
    scale = np.sqrt(units.base_variance)
    nodes = scale * 0.6 * np.arange(-22, 23)
    return nodes, np.log(0.6 * scale) - nodes**2 / (2 * units.base_variance)


def layer_nodes(units, size):
    """All configurations of a layer, the last unit fastest, and the logarithm of their base measure."""
    nodes, log_measure = unit_nodes(units)
    n_units = size // units.group_size
    states = np.array(list(itertools.product(nodes, repeat=n_units))).reshape(len(nodes) ** n_units, size)
    return states, np.array([sum(logs) for logs in itertools.product(log_measure, repeat=n_units)])


def log_sum_exp(values, axis=None):
    top = values.max(axis=axis, keepdims=True)
    total = top + np.log(np.exp(values - top).sum(axis=axis, keepdims=True))
    return np.squeeze(total, axis=axis)


def parameters(rbm):
    """Weights and biases as float64 arrays."""
    return tuple(np.asarray(leaf, np.float64) for leaf in (rbm.weights, rbm.visible_bias, rbm.hidden_bias))


def joint_table(rbm) -> Joint:
    """The whole distribution of an RBM of a few units."""
    w, a, b = parameters(rbm)
    v, log_v = layer_nodes(rbm.visible_units, len(a))
    h, log_h = layer_nodes(rbm.hidden_units, len(b))
    energy = -(v @ a)[:, None] - (h @ b)[None, :] - np.einsum("vi,ij,hj->vh", v, w, h, optimize=True)
    log_weights = log_v[:, None] + log_h[None, :] - energy
    log_z = float(log_sum_exp(log_weights))
    return Joint(v, h, log_v, log_h, energy, log_z, np.exp(log_weights - log_z))


def moments(joint: Joint):
    """Averages of v, h and their product."""
    p = joint.probabilities
    return p.sum(1) @ joint.v, p.sum(0) @ joint.h, joint.v.T @ p @ joint.h


def table_sizes(rbm_units, large=(4, 3), small=(2, 2)):
    """Layer sizes for which the table of a pair of unit types stays small: quadrature takes 45 nodes a unit."""
    visible, hidden = rbm_units
    return (
        small[0] if isinstance(visible, Gaussian) else large[0],
        small[1] if isinstance(hidden, Gaussian) else large[1],
    )
