"""Penalties on the weights, as an optax transformation."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax

from rbm_jax._internal.checks import check_positive
from rbm_jax._internal.typing import Array, Float, FloatLike

__all__ = ["penalize_weights", "weight_penalty"]


def weight_penalty(
    weights: Float[Array, "n_visible n_hidden"],
    *,
    l1: FloatLike = 0.0,
    l2: FloatLike = 0.0,
    group: FloatLike = 0.0,
) -> Float[Array, ""]:
    """l1 Σ|W_ij| + ½ l2 ΣW_ij² + group Σ_j √(Σ_i W_ij²).

    Args:
        weights: shape (n_visible, n_hidden).
        l1: strength per weight; favors few non-zero weights.
        l2: strength per squared weight; a Gaussian prior, weight decay.
        group: strength per hidden unit; favors few hidden units with any weights.
    """
    squares = (weights**2).sum(-2)
    norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return jnp.asarray(l1 * (weights * jnp.sign(weights)).sum() + l2 * (weights**2).sum() / 2 + group * norms.sum())


def penalize_weights(
    *, l1: FloatLike = 0.0, l2: FloatLike = 0.0, group: FloatLike = 0.0
) -> optax.GradientTransformation:
    """Add the gradient of `weight_penalty` to that of the negative log-likelihood per sample; biases stay free.

    Chain it before an optimizer. At a weight of zero, and for a hidden unit without weights, the derivative is taken as
    zero.

    Args:
        l1: as in `weight_penalty`.
        l2: as in `weight_penalty`.
        group: as in `weight_penalty`.

    Raises:
        TypeError, ValueError: a strength that is not a number of at least 0.

    Example:
        >>> import optax
        >>> from rbm_jax.training import penalize_weights
        >>> optimizer = optax.chain(penalize_weights(l2=1e-4), optax.sgd(optax.linear_schedule(0.1, 0.0, 10_000)))
    """
    strengths = {"l1": l1, "l2": l2, "group": group}
    l1, l2, group = (check_positive(name, strength, or_zero=True) for name, strength in strengths.items())

    def update(updates: Any, state: optax.OptState, params: Any = None):
        if params is None:
            raise ValueError("penalize_weights needs the parameters: call update(gradient, state, rbm)")
        weights = params.weights
        norms = jnp.sqrt((weights**2).sum(-2, keepdims=True))
        directions = weights / jnp.where(norms > 0, norms, 1)
        penalty = l1 * jnp.sign(weights) + l2 * weights + group * directions
        return dataclasses.replace(updates, weights=updates.weights + penalty.astype(weights.dtype)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
