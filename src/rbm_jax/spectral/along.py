"""Singular modes along a trajectory."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.typing import Array, Float
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.spectral.modes import Modes, align_modes, leading_modes, svd_modes

__all__ = ["follow_modes", "modes_along", "singular_values_along"]


def modes_along(trajectory: Trajectory, *, n_modes: int | None = None) -> Modes:
    """Singular modes of W at each time, numbered by decreasing singular value.

    Args:
        trajectory: from `fit` or `dynamics.integrate`.
        n_modes: leading modes to find, each time from those of the time before (`leading_modes`); None for all.

    Returns:
        Modes with a leading time axis.

    Raises:
        ValueError: n_modes below 1.
    """
    return _modes_along(trajectory.rbms.weights, None if n_modes is None else check_count("n_modes", n_modes))


def singular_values_along(trajectory: Trajectory, *, n_modes: int | None = None) -> Float[Array, "n_times n_modes"]:
    """Singular values of W at each time, decreasing.

    Args:
        trajectory: from `fit` or `dynamics.integrate`.
        n_modes: leading values to find; None for all.

    Raises:
        ValueError: n_modes below 1.
    """
    if n_modes is not None:
        return modes_along(trajectory, n_modes=n_modes).values
    return _values_along(trajectory.rbms.weights)


@functools.partial(jax.jit, static_argnames="backward")
def follow_modes(modes: Modes, *, backward: bool = False) -> Modes:
    """Number modes by continuity: mode α stays mode α when its singular value crosses another one's.

    Each time is aligned to the one before by overlap (`align_modes`), signs included. Through an avoided crossing the
    vectors trade places gradually, and the mode with more than half of the old direction is the one that continues.

    Args:
        modes: with a leading time axis, as from `modes_along`. With leading modes only, a mode that leaves them is
            replaced by what is left.
        backward: keep the numbers of the last time, by decreasing singular value, instead of those of the first. After
            training these are the modes that were learned; before it, modes are noise.

    Returns:
        The same modes at each time, reordered; `values` need not decrease.
    """
    init = jax.tree.map(lambda leaf: leaf[-1 if backward else 0], modes)

    def follow(reference, present):
        aligned = align_modes(present, reference)
        return aligned, aligned

    return lax.scan(follow, init, modes, reverse=backward)[1]


@functools.partial(jax.jit, static_argnames="n_modes")
def _modes_along(weights, n_modes: int | None) -> Modes:
    if n_modes is None:
        return lax.map(svd_modes, weights)

    def advance(before, present):
        found = leading_modes(present, n_modes, init=before)
        return found, found

    first = leading_modes(weights[0], n_modes)
    _, later = lax.scan(advance, first, weights[1:])
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), first, later)


@jax.jit
def _values_along(weights):
    return lax.map(lambda matrix: jnp.linalg.svd(matrix, compute_uv=False), weights)
