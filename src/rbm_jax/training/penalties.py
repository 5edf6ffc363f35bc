"""Penalties on the weights and restrictions of their updates, as optax transformations."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, Float, FloatLike
from rbm_jax.spectral import svd_modes

__all__ = ["penalize_weights", "penalized_sgd", "project_updates", "weight_penalty"]


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
        >>> optimizer = optax.chain(penalize_weights(l2=1e-4), optax.adam(1e-3))
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


def penalized_sgd(
    learning_rate: FloatLike, *, l1: FloatLike = 0.0, l2: FloatLike = 0.0, group: FloatLike = 0.0
) -> optax.GradientTransformation:
    """Plain SGD on the penalized likelihood, `penalize_weights` and `optax.sgd`: a factory for `Optimizer`.

    Args:
        learning_rate: of SGD.
        l1: as in `weight_penalty`.
        l2: as in `weight_penalty`.
        group: as in `weight_penalty`.

    Example:
        >>> from rbm_jax.training import Optimizer, penalized_sgd
        >>> Optimizer(penalized_sgd, 0.1, l2=1e-4) == Optimizer(penalized_sgd, 0.1, l2=1e-4)
        True
    """
    rate: Any = learning_rate  # optax's annotations leave NumPy's numbers out
    return optax.chain(penalize_weights(l1=l1, l2=l2, group=group), optax.sgd(rate))


def project_updates(n_modes: int) -> optax.GradientTransformation:
    """Keep the weights in the span of their leading modes at the start, and the biases where they are.

    Training then moves the n_modes × n_modes matrix Uᵀ W V alone, which is what `rbm_jax.dynamics.thermodynamic_force`
    describes. Chain it before an optimizer that acts on each entry alike: `optax.chain(project_updates(2),
    optax.sgd(0.1))`.

    Args:
        n_modes: how many; the rank of the initial weights, if that is what should not grow.

    Returns:
        An optax transformation. Its state holds the modes, so that one object serves many RBMs under `vmap`.
    """
    n_modes = check_count("n_modes", n_modes)

    def init(params: Any):
        modes = svd_modes(params.weights)
        return modes.left[:, :n_modes], modes.right[:, :n_modes]

    def update(updates: Any, state: Any, params=None):
        del params
        left, right = state
        weights = left @ (left.T @ updates.weights @ right) @ right.T
        still = jax.tree.map(jnp.zeros_like, updates)
        return dataclasses.replace(still, weights=weights), state

    return optax.GradientTransformation(init, update)
