"""Averages over the units of one layer of the ensemble, each in a random field."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rbm_jax._math import log2cosh
from rbm_jax._typing import Array
from rbm_jax.replica.ensemble import AbstractLaw, GaussianLaw
from rbm_jax.units import AbstractUnits

__all__ = ["Averages", "Layer", "free_log_partition", "free_magnetization", "respond"]

_REACH = 8.5
"""Of normal averages, in standard deviations: what is left out weighs 1e-17."""


class Layer(NamedTuple):
    """Order parameters of one layer."""

    m: Array
    q: Array
    second: Array


class Averages(NamedTuple):
    """Averages over one layer's units."""

    layer: Layer
    log_partition: Array
    variance: Array
    squared_variance: Array


def respond(law: AbstractLaw, units: AbstractUnits, along, strength, other: Layer) -> Averages:
    """Averages over units whose field has a part `along` the components and noise from the other layer."""
    curvature = strength * (other.second - other.q)
    normal, normal_weights = _normal_nodes(isinstance(law, GaussianLaw), along.dtype)
    if isinstance(law, GaussianLaw):
        spread = _root((along**2).sum() + strength * jnp.maximum(other.q, 0))
        field, weights = spread * normal, normal_weights
    else:
        points, point_weights = (jnp.asarray(nodes, along.dtype) for nodes in law.product_nodes(along.shape[0]))
        spread = _root(strength * jnp.maximum(other.q, 0))
        field = (points @ along)[:, None] + spread * normal
        weights = point_weights[:, None] * normal_weights
    mean, second, variance = units.curved_moments(field, curvature)

    def average(values):
        return (weights * values).sum()

    if isinstance(law, GaussianLaw):
        m = along * average(variance)  # integration by parts
    else:
        m = ((weights * mean).sum(1)) @ points
    return Averages(
        Layer(m, average(mean**2), average(second)),
        average(units.curved_log_partition(field, curvature)),
        average(variance),
        average(variance**2),
    )


def _root(variance):
    """Square root with a derivative at 0, where averages over the spread have one: a tiny variance does as well."""
    return jnp.sqrt(variance + float(jnp.finfo(variance.dtype).tiny) ** 0.5)


def _normal_nodes(dense_at_zero: bool, dtype):
    """Trapezoid rule for normal averages of functions of x s that change within |x s| of order 1, where s is a spread.

    Its error is exponentially small. Equal steps serve spreads below about 6. Where the change is at x = 0, equal steps
    in asinh(200 x) serve spreads up to about 1000.
    """
    if dense_at_zero:
        end = np.arcsinh(200 * _REACH)
        t = np.linspace(-end, end, 201)
        points, measure = np.sinh(t) / 200, np.cosh(t)
    else:
        points, measure = np.linspace(-_REACH, _REACH, 281), 1.0
    weights = measure * np.exp(-(points**2) / 2)
    return jnp.asarray(points, dtype), jnp.asarray(weights / weights.sum(), dtype)


def free_magnetization(law: AbstractLaw, along):
    """E[û tanh(along·û)]: magnetizations of ±1 units in a field along the modes alone."""
    points, weights = _component_nodes(law, along)
    if isinstance(law, GaussianLaw):
        field = _root((along**2).sum()) * points
        return along * (weights * (1 - jnp.tanh(field) ** 2)).sum()  # integration by parts
    return (weights * jnp.tanh(points @ along)) @ points


def free_log_partition(law: AbstractLaw, along):
    """E[log 2cosh(along·û)] for ±1 units in a field along the modes alone."""
    points, weights = _component_nodes(law, along)
    field = _root((along**2).sum()) * points if isinstance(law, GaussianLaw) else points @ along
    return (weights * log2cosh(field)).sum()


def _component_nodes(law: AbstractLaw, along):
    """Points and weights for averages over the components, or over one normal number in place of Gaussian ones."""
    if isinstance(law, GaussianLaw):
        return _normal_nodes(True, along.dtype)
    return tuple(jnp.asarray(nodes, along.dtype) for nodes in law.product_nodes(along.shape[0]))
