"""Response of the mean-field magnetizations: Hessian, stability, covariance."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float
from rbm_jax.mean_field.fluctuations import (
    Fluctuations,
    check_expansion,
    fluctuations,
)
from rbm_jax.mean_field.free_energy import Hidden, Visible, as_magnetizations, broadcast_batch, interaction_energy
from rbm_jax.model.rbm import RBM

__all__ = ["mean_field_covariance", "mean_field_hessian", "mean_field_stability"]


def mean_field_hessian(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch n_units n_units"]:
    """Second derivatives of `mean_field_free_energy` in all magnetizations, visible before hidden.

    At a solution its inverse is the susceptibility ∂m/∂(field), the mean-field covariance of the units. Magnetizations
    of Potts units are taken as independent numbers; only directions that keep their sum of 1 have a meaning.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v, shape (*batch, n_visible); on the edge of the support the Hessian is infinite.
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3; with Potts units 1 or 2.

    Returns:
        Shape (*batch, n_visible + n_hidden, n_visible + n_hidden).

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, an RBM with NaN, or another order.
    """
    return _hessian(rbm, *_checked(rbm, visible_magnetization, hidden_magnetization, order))


@functools.partial(jax.jit, static_argnames="order")
def _hessian(rbm: RBM, visible, hidden, order: int):
    curvature, layers = _hessian_parts(rbm, visible, hidden, order)
    diagonal = jnp.concatenate([layer.diagonal for layer in layers], axis=-1)
    return curvature + jnp.eye(curvature.shape[-1], dtype=rbm.dtype) / diagonal[..., None]


def mean_field_stability(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch"]:
    """Lowest eigenvalue of √c H √c, with H of `mean_field_hessian` and c the units' variances: is the phase stable?

    For Potts units it is that of RᵀHR, with R Rᵀ their covariances.

    It is 1 without couplings and negative if and only if H has a negative eigenvalue, so that the point is no minimum
    of G. The scaling by c makes it finite and accurate for saturated units too. Derivatives exist while the eigenvalue
    is simple.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v at a solution, shape (*batch, n_visible).
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3; with Potts units 1 or 2.

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, an RBM with NaN, or another order.
    """
    return _lowest(rbm, *_checked(rbm, visible_magnetization, hidden_magnetization, order))


@functools.partial(jax.jit, static_argnames="order")
def _lowest(rbm: RBM, visible, hidden, order: int):
    scaled, _ = _scaled_hessian(rbm, visible, hidden, order)
    return jnp.linalg.eigvalsh(scaled)[..., 0]


def mean_field_covariance(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch n_units n_units"]:
    """Linear-response covariance of all units, the inverse of `mean_field_hessian`, visible before hidden.

    It is the susceptibility ∂m/∂(field) at a solution. Computed as √c (√c H √c)^{-1} √c, which is finite for saturated
    units (for Potts ones R (RᵀHR)^{-1} Rᵀ, with R Rᵀ their covariances). At order 1 its block between the layers is
    (Σ_v^{-1} - W Σ_h Wᵀ)^{-1} W Σ_h, exact for Gaussian units.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v at a solution, shape (*batch, n_visible).
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3; with Potts units 1 or 2.

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, an RBM with NaN, or another order.
    """
    return _covariance(rbm, *_checked(rbm, visible_magnetization, hidden_magnetization, order))


@functools.partial(jax.jit, static_argnames="order")
def _covariance(rbm: RBM, visible, hidden, order: int):
    scaled, layers = _scaled_hessian(rbm, visible, hidden, order)
    return _on_both_sides(_root_times, layers, jnp.linalg.inv(scaled))


def _checked(rbm: RBM, visible, hidden, order: int) -> tuple[Array, Array, int]:
    order = check_expansion(order, rbm)
    return *as_magnetizations(rbm, visible, hidden), order


def _hessian_parts(rbm: RBM, visible, hidden, order: int) -> tuple[Array, tuple[Fluctuations, Fluctuations]]:
    """The Hessian of the interaction, and the fluctuations whose inverses are that of the entropies."""
    n_visible = rbm.n_visible

    def interaction(magnetization):
        return interaction_energy(rbm, magnetization[:n_visible], magnetization[n_visible:], order, None)

    magnetization = jnp.concatenate(broadcast_batch(visible, hidden), axis=-1)
    layers = (
        fluctuations(rbm.visible_units, magnetization[..., :n_visible]),
        fluctuations(rbm.hidden_units, magnetization[..., n_visible:]),
    )
    return jnp.vectorize(jax.hessian(interaction), signature="(n)->(n,n)")(magnetization), layers


def _scaled_hessian(rbm: RBM, visible, hidden, order: int) -> tuple[Array, tuple[Fluctuations, Fluctuations]]:
    """RᵀHR, with R Rᵀ the covariances that the entropies alone give (√c H √c for scalar units), and these."""
    curvature, layers = _hessian_parts(rbm, visible, hidden, order)
    scaled = _on_both_sides(_transposed_root_times, layers, curvature)
    return jnp.eye(scaled.shape[-1], dtype=rbm.dtype) + scaled, layers


def _on_both_sides(apply: Callable, layers: tuple[Fluctuations, Fluctuations], symmetric: Array) -> Array:
    """A M Aᵀ of a symmetric matrix M, with A block by block on the two layers."""
    n_visible = layers[0].diagonal.shape[-1]

    def on_rows(matrix):
        parts = matrix[..., :n_visible, :], matrix[..., n_visible:, :]
        return jnp.concatenate([apply(layer, part) for layer, part in zip(layers, parts, strict=True)], axis=-2)

    return on_rows(on_rows(symmetric).mT)


def _root_times(layer: Fluctuations, matrix: Array) -> Array:
    """R M with R = diag(√d), or diag(√p) - p √pᵀ for a one-hot unit, so that R Rᵀ is its covariance."""
    root = jnp.sqrt(layer.diagonal)
    scaled = root[..., None] * matrix
    return scaled if layer.outer is None else scaled - layer.diagonal[..., None] * _summed(layer.outer, scaled)


def _transposed_root_times(layer: Fluctuations, matrix: Array) -> Array:
    """Rᵀ M."""
    root = jnp.sqrt(layer.diagonal)
    if layer.outer is not None:
        matrix = matrix - _summed(layer.outer, layer.diagonal[..., None] * matrix)
    return root[..., None] * matrix


def _summed(outer: Array, rows: Array) -> Array:
    """The sum of the rows of each unit, in place of each of them."""
    groups = rows.reshape(*rows.shape[:-2], *outer.shape[-2:], rows.shape[-1])
    return jnp.broadcast_to(groups.sum(-2, keepdims=True), groups.shape).reshape(rows.shape)
