"""Numerically safe functions that the rest is written in."""

from typing import Any

import jax
import jax.numpy as jnp

from rbm_jax._typing import Array, Float, Weighting

__all__ = ["log2cosh", "max_norm", "normalized_weights"]


def log2cosh(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log(2 cosh x), without overflow."""
    return jnp.logaddexp(x, -x)


def max_norm(tree: Any) -> Float[Array, ""]:
    """Largest absolute component, in JAX's default dtype: optimistix keeps its norms in that one."""
    return jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(tree)]).max().astype(jnp.zeros(()).dtype)


def normalized_weights(weights: Weighting, n_samples: int, dtype: jnp.dtype) -> Float[Array, " n_samples"]:
    """Sample weights that sum to one; uniform for None."""
    if weights is None:
        return jnp.full((n_samples,), 1 / n_samples, dtype)
    values = jnp.asarray(weights).astype(dtype)
    return values / values.sum()
