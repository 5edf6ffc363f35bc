"""Averages over the units of one layer of the ensemble, each in a random field."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.math import log2cosh
from rbm_jax._internal.typing import Array
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.units import AbstractUnits

__all__ = ["Averages", "Layer", "free_log_partition", "free_magnetization", "respond"]

_REACH = 8.5
"""Of normal averages, in standard deviations: what is left out weighs 1e-17."""
_N_NODES = 121
"""Points of the rule: at a spread of 60 it is then still right to 1e-10."""


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


def respond(distribution: AbstractDistribution, units: AbstractUnits, along, strength, other: Layer) -> Averages:
    """Averages over units whose field has a part `along` the components and noise from the other layer."""
    curvature = strength * (other.second - other.q)
    noise = strength * jnp.maximum(other.q, 0)
    if isinstance(distribution, GaussianDistribution):
        field, weights = _normal_fields(jnp.zeros_like(noise), (along**2).sum() + noise)
    else:
        points, point_weights = (
            jnp.asarray(nodes, along.dtype) for nodes in distribution.product_nodes(along.shape[0])
        )
        field, weights = _normal_fields(points @ along, noise)
        weights = point_weights[:, None] * weights
    mean, second, variance = units.curved_moments(field, curvature)

    def average(values):
        return (weights * values).sum()

    if isinstance(distribution, GaussianDistribution):
        m = along * average(variance)  # integration by parts
    else:
        m = ((weights * mean).sum(1)) @ points
    return Averages(
        Layer(m, average(mean**2), average(second)),
        average(units.curved_log_partition(field, curvature)),
        average(variance),
        average(variance**2),
    )


def free_magnetization(distribution: AbstractDistribution, along):
    """E[û tanh(along·û)]: magnetizations of ±1 units in a field along the modes alone."""
    if isinstance(distribution, GaussianDistribution):
        field, weights = _normal_fields(jnp.zeros_like(along[0]), (along**2).sum())
        return along * (weights * (1 - jnp.tanh(field) ** 2)).sum()  # integration by parts
    points, weights = (jnp.asarray(nodes, along.dtype) for nodes in distribution.product_nodes(along.shape[0]))
    return (weights * jnp.tanh(points @ along)) @ points


def free_log_partition(distribution: AbstractDistribution, along):
    """E[log 2cosh(along·û)] for ±1 units in a field along the modes alone."""
    if isinstance(distribution, GaussianDistribution):
        field, weights = _normal_fields(jnp.zeros_like(along[0]), (along**2).sum())
    else:
        points, weights = (jnp.asarray(nodes, along.dtype) for nodes in distribution.product_nodes(along.shape[0]))
        field = points @ along
    return (weights * log2cosh(field)).sum()


def _normal_fields(center, variance):
    """Points and weights, on a last axis, for averages over normal fields of functions that change within 1 of 0.

    A trapezoid rule with equal steps in asinh(field), fine near 0 and as coarse as the spread allows elsewhere: its
    error is exponentially small for spreads up to some thousands.
    """
    # √variance has no derivative at 0, where averages have one; a tiny variance has the same averages.
    spread = jnp.sqrt(variance + float(jnp.finfo(variance.dtype).tiny) ** 0.5)
    # Constants in derivatives: averages of f(center + spread x) do not depend on where the nodes are.
    x, weights = _normal_nodes(*lax.stop_gradient((center, jnp.maximum(spread, 0.05))))
    return center[..., None] + spread * x, weights


def _normal_nodes(center, width):
    """Where the rule has its points, as (field - center) / width, and their weights."""
    ends = jnp.arcsinh(center - _REACH * width), jnp.arcsinh(center + _REACH * width)
    t = jnp.linspace(*ends, _N_NODES, axis=-1)
    x = (jnp.sinh(t) - center[..., None]) / width
    weights = jnp.exp(-(x**2) / 2) * jnp.cosh(t)
    return x, weights / weights.sum(-1, keepdims=True)
