"""Fluctuations of a layer's units at given means, and what couples them in the order W²."""

from typing import NamedTuple

import jax.numpy as jnp

from rbm_jax._internal.checks import check_order, unsupported_units
from rbm_jax._internal.typing import Array, Float
from rbm_jax.model.rbm import RBM
from rbm_jax.units import AbstractUnits

__all__ = ["Fluctuations", "check_expansion", "coupling", "fluctuations", "received_curvature"]


class Fluctuations(NamedTuple):
    """Covariances C = diag(d) - r rᵀ of the components of each unit of a layer.

    Attributes:
        diagonal: d, shape (*batch, n_units): the variances of scalar units, the probabilities of one-hot ones.
        outer: r, the probabilities of one-hot units, shape (*batch, n_sites, group_size); None for scalar ones.
    """

    diagonal: Float[Array, "*batch n_units"]
    outer: Float[Array, "*batch n_sites group_size"] | None


def check_expansion(order: int, rbm: RBM) -> int:
    """Return the order of an expansion in the couplings, or raise: 1, 2 or 3, and with Potts units 1 or 2."""
    order = check_order(order)
    for units in (rbm.visible_units, rbm.hidden_units):
        if order == 3 and units.group_size > 1:
            raise unsupported_units("mean-field theory of order 3", f"{units} units", "order 1 or 2 for them")
    return order


def fluctuations(
    units: AbstractUnits, mean: Array, curvature: Array | float = 0.0, mask: Array | None = None
) -> Fluctuations:
    """Covariances of units of these means and curvatures; those that are clamped do not fluctuate."""
    if units.group_size == 1:
        variance = units.variance_at_mean(mean, curvature)
        return Fluctuations(variance if mask is None else jnp.where(mask, 0, variance), None)
    p = mean if mask is None else jnp.where(mask, 0, mean)
    return Fluctuations(p, p.reshape(*p.shape[:-1], -1, units.group_size))


def received_curvature(layer: Fluctuations, weights: Array, squares: Array) -> Array:
    """The diagonal of Σ WᵀCW over the units of a layer: the curvature of each component of the other one.

    Args:
        layer: the units that fluctuate.
        weights: W, from this layer to the other.
        squares: W².
    """
    curvature = layer.diagonal @ squares
    return curvature if layer.outer is None else curvature - (_projected(layer.outer, weights) ** 2).sum(-2)


def coupling(weights: Array, squares: Array, visible: Fluctuations, hidden: Fluctuations) -> Float[Array, "*batch"]:
    """Σ tr(W_nmᵀ C_n W_nm C_m) over all pairs of units n and m, with W_nm the block of weights between them."""
    total = (received_curvature(visible, weights, squares) * hidden.diagonal).sum(-1)
    if hidden.outer is None:
        return total
    total = total - (visible.diagonal[..., None, :] * _projected(hidden.outer, weights.T) ** 2).sum((-2, -1))
    if visible.outer is None:
        return total
    projected = _projected(visible.outer, weights)
    blocks = projected.reshape(*projected.shape[:-1], *hidden.outer.shape[-2:])
    return total + (jnp.einsum("...nmk,...mk->...nm", blocks, hidden.outer) ** 2).sum((-2, -1))


def _projected(outer: Array, weights: Array) -> Float[Array, "*batch n_sites n_other"]:
    """The rows r W of each unit by itself."""
    return jnp.einsum("...nk,nkj->...nj", outer, weights.reshape(*outer.shape[-2:], -1))
