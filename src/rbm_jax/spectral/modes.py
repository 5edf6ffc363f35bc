"""The singular value decomposition of the weights: W = Σ_α u_α σ_α v_αᵀ."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_array, as_configurations, check_count, check_finite
from rbm_jax._internal.typing import Array, ArrayLike, Float, Shaped

__all__ = ["Modes", "align_modes", "as_matrix", "leading_modes", "project", "svd_modes"]

_OVERSAMPLING = 10
"""Directions iterated beyond those asked for: they speed up convergence and let a rising mode in. Ten are the usual
choice for randomized decompositions."""
_MAX_SWEEPS = 40
"""About what a full decomposition of a large matrix costs."""


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
        TypeError: not real numbers.
        ValueError: not a matrix, or one with NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax import svd_modes
        >>> svd_modes(jnp.array([[0.0, -2.0], [1.0, 0.0]])).values
        Array([2., 1.], dtype=float32)
    """
    weights = as_matrix("weights", weights)
    left, values, right_t = jnp.linalg.svd(weights, full_matrices=False)
    return _fix_signs(left, values, right_t.T)


def leading_modes(
    weights: Float[Array, "n_visible n_hidden"], n_modes: int, *, init: Modes | None = None, tol: float | None = None
) -> Modes:
    """The modes with the largest singular values, by subspace iteration: much faster than `svd_modes` for a few.

    A block of directions, those of `init` and random ones (always the same), is multiplied by WᵀW until the residuals
    |W v_α - σ_α u_α| are small. Singular values are then right to about the square of `tol`; vectors to `tol` over the
    gap to the next mode. `svd_modes` takes over where the block would fill half of the smaller layer, and where 40
    sweeps are not enough, as in a random matrix, whose singular values are dense.

    Args:
        weights: shape (n_visible, n_hidden).
        n_modes: how many; at most min(n_visible, n_hidden) are returned.
        init: leading modes of nearby weights, from which few sweeps are enough.
        tol: largest residual over the largest singular value; None for the square root of the rounding error of the
            dtype.

    Returns:
        Modes by decreasing singular value, signs as in `svd_modes`. Forward-mode derivatives only, and approximate.

    Raises:
        ValueError: not a matrix or one with NaN, n_modes below 1, or initial modes of other layers.
    """
    weights = as_matrix("weights", weights)
    n_modes = min(check_count("n_modes", n_modes), *weights.shape)
    if init is not None and (init.left.shape[0], init.right.shape[0]) != weights.shape:
        raise ValueError(
            f"init must have modes of weights of shape {weights.shape}, got left {init.left.shape} and "
            f"right {init.right.shape}"
        )
    if 2 * (n_modes + _OVERSAMPLING) >= min(weights.shape):
        return _first(svd_modes(weights), n_modes)
    if weights.shape[0] < weights.shape[1]:  # the block is as tall as the smaller layer
        init = None if init is None else Modes(init.right, init.values, init.left)
        flipped = _subspace_iteration(weights.T, n_modes, init, tol)
        return _fix_signs(flipped.right, flipped.values, flipped.left)
    found = _subspace_iteration(weights, n_modes, init, tol)
    return _fix_signs(found.left, found.values, found.right)


@jax.jit
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
        free, chosen = state
        row, column = jnp.unravel_index(jnp.argmax(jnp.where(free, jnp.abs(overlap), -1)), overlap.shape)
        return (free.at[row].set(False).at[:, column].set(False), chosen.at[row].set(column)), None

    init = (jnp.ones(overlap.shape, bool), jnp.zeros(n_modes, int))
    (_, chosen), _ = lax.scan(match_best, init, length=n_modes)
    sign = jnp.where(overlap[jnp.arange(n_modes), chosen] < 0, -1, 1).astype(modes.left.dtype)
    return Modes(modes.left[:, chosen] * sign, modes.values[chosen], modes.right[:, chosen] * sign)


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


def as_matrix(name: str, values) -> Array:
    """A matrix of finite floating numbers, or an error."""
    matrix = jnp.asarray(as_array(name, values))
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} must be a matrix, got shape {matrix.shape}; use jax.vmap for several")
    check_finite(name, matrix)
    return matrix if jnp.issubdtype(matrix.dtype, jnp.floating) else matrix.astype(jnp.zeros(()).dtype)


def _fix_signs(left, values, right) -> Modes:
    """Make the component of u_α that is largest in absolute value positive."""
    largest = jnp.take_along_axis(left, jnp.abs(left).argmax(0)[None], axis=0)[0]
    sign = jnp.where(largest < 0, -1, 1).astype(values.dtype)
    return Modes(left * sign, values, right * sign)


def _first(modes: Modes, n_modes: int) -> Modes:
    return Modes(modes.left[:, :n_modes], modes.values[:n_modes], modes.right[:, :n_modes])


def _subspace_iteration(weights, n_modes: int, init: Modes | None, tol: float | None) -> Modes:
    """Rayleigh-Ritz on a block of right vectors, until the residuals of the first n_modes are small."""
    tolerance = float(jnp.finfo(weights.dtype).eps) ** 0.5 if tol is None else tol
    block = jax.random.normal(jax.random.key(0), (weights.shape[1], n_modes + _OVERSAMPLING), weights.dtype)
    if init is not None:
        n_known = min(init.values.shape[0], n_modes)
        # Random directions that are small beside the known ones do not disturb them, and grow if they matter.
        block = block.at[:, :n_known].set(init.right[:, :n_known].astype(weights.dtype))

    def sweep(state):
        n_sweeps, _, product, _ = state
        left, _ = jnp.linalg.qr(product)
        right, triangle = jnp.linalg.qr((left.T @ weights).T)
        # In the block's coordinates, Wᵀ is right · triangle · leftᵀ.
        inner_right, values, inner_left = jnp.linalg.svd(triangle)
        left, right = left @ inner_left.T, right @ inner_right
        product = weights @ right
        residual = jnp.linalg.norm((product - left * values)[:, :n_modes], axis=0).max()
        return n_sweeps + 1, Modes(left, values, right), product, residual

    def unfinished(state):
        n_sweeps, modes, _, residual = state
        # Initial modes that are exact but not leading have no residual: give the random directions time to show.
        return (n_sweeps < 2) | ((n_sweeps < _MAX_SWEEPS) & (residual > tolerance * modes.values[0]))

    product = weights @ block
    nothing = Modes(jnp.zeros_like(product), jnp.zeros_like(product[0]), block)
    init_state = (0, nothing, product, jnp.full_like(product[0, 0], jnp.inf))
    _, modes, _, residual = lax.while_loop(unfinished, sweep, init_state)
    return lax.cond(
        residual <= tolerance * modes.values[0],
        lambda: _first(modes, n_modes),
        lambda: _first(svd_modes(weights), n_modes),
    )
