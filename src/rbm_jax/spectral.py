"""The singular value decomposition of the weights: W = Σ_α u_α σ_α v_αᵀ."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from rbm_jax._checks import as_configurations
from rbm_jax._typing import Array, ArrayLike, Float, Shaped

__all__ = ["Modes", "align_modes", "effective_temperature", "project", "svd_modes"]


class Modes(eqx.Module):
    """Singular modes of a weight matrix, W = left · diag(values) · rightᵀ.

    Attributes:
        left: u_α in the columns, shape (n_visible, n_modes).
        values: σ_α ≥ 0, decreasing unless aligned to a reference, shape (n_modes,).
        right: v_α in the columns, shape (n_hidden, n_modes).
    """

    left: Float[Array, "*times n_visible n_modes"]
    values: Float[Array, "*times n_modes"]
    right: Float[Array, "*times n_hidden n_modes"]


def svd_modes(weights: Float[Array, "n_visible n_hidden"]) -> Modes:
    """Thin singular value decomposition with a deterministic sign.

    The component of u_α that is largest in absolute value is made positive (the first of equals), and v_α follows.

    Args:
        weights: shape (n_visible, n_hidden). For a trajectory: `jax.vmap(svd_modes)(trajectory.rbms.weights)`.

    Returns:
        min(n_visible, n_hidden) modes, by decreasing singular value. Derivatives are singular where values coincide.

    Raises:
        ValueError: not a matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax import svd_modes
        >>> svd_modes(jnp.array([[0.0, -2.0], [1.0, 0.0]])).values
        Array([2., 1.], dtype=float32)
    """
    weights = jnp.asarray(weights)
    if weights.ndim != 2:
        raise ValueError(f"weights must be a matrix, got shape {weights.shape}; use jax.vmap for several")
    left, values, right_t = jnp.linalg.svd(weights, full_matrices=False)
    largest = jnp.take_along_axis(left, jnp.abs(left).argmax(0)[None], axis=0)[0]
    sign = jnp.where(largest < 0, -1, 1).astype(weights.dtype)
    return Modes(left * sign, values, right_t.T * sign)


def align_modes(modes: Modes, reference: Modes) -> Modes:
    """Reorder modes, and flip u_α and v_α together, so that mode α is the one that continues mode α of the reference.

    The modes of the reference choose in turn, each the mode left with the largest |u·u' + v·v'|: first those with a
    clear successor. Differentiable in the vectors; the order is piecewise constant.

    Args:
        modes: at least as many modes as the reference has.
        reference: modes of a nearby weight matrix of the same shape.

    Returns:
        As many modes as the reference has, in its order; `values` need not decrease.

    Raises:
        ValueError: shapes that do not fit.
    """
    n_modes = reference.values.shape[0]
    same_layers = modes.left.shape[0] == reference.left.shape[0] and modes.right.shape[0] == reference.right.shape[0]
    if not same_layers or modes.values.shape[0] < n_modes:
        raise ValueError(
            "modes must have the layers of the reference and at least as many modes, got left "
            f"{modes.left.shape} and right {modes.right.shape} for a reference of left {reference.left.shape} "
            f"and right {reference.right.shape}"
        )
    overlap = reference.left.T @ modes.left + reference.right.T @ modes.right

    def match_best(state, _):
        free, order = state
        row, column = jnp.unravel_index(jnp.argmax(jnp.where(free, jnp.abs(overlap), -1)), overlap.shape)
        return (free.at[row].set(False).at[:, column].set(False), order.at[row].set(column)), None

    start = (jnp.ones(overlap.shape, bool), jnp.zeros(n_modes, int))
    (_, order), _ = lax.scan(match_best, start, length=n_modes)
    sign = jnp.where(overlap[jnp.arange(n_modes), order] < 0, -1, 1).astype(modes.left.dtype)
    return Modes(modes.left[:, order] * sign, modes.values[order], modes.right[:, order] * sign)


def project(data: Shaped[ArrayLike, "*batch n_visible"], modes: Modes) -> Float[Array, "*batch n_modes"]:
    """Projections s_α = u_α·v of visible configurations on the left singular vectors.

    Args:
        data: visible configurations, shape (*batch, n_visible); not centered here.
        modes: from `svd_modes`.

    Raises:
        ValueError: the last axis of `data` is not n_visible.
    """
    data = as_configurations("data", data, modes.left.shape[0], modes.left.dtype)
    return data @ modes.left


def effective_temperature(weights: Float[Array, "n_visible n_hidden"], *, size_free: bool = False) -> Float[Array, ""]:
    """T_eff = 1 / Var(W) over all entries, as in a talk of Decelle, Fissore & Furtlehner.

    It depends on the size of the layers: entries of variance σ²/L, with L = √(n_visible n_hidden), have T_eff = L/σ².

    Args:
        weights: shape (n_visible, n_hidden).
        size_free: return 1/σ = 1 / √(L Var(W)) instead, the temperature axis of the phase diagram.
    """
    variance = jnp.var(weights)
    return 1 / jnp.sqrt(math.sqrt(weights.size) * variance) if size_free else 1 / variance
