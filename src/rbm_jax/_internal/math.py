"""Numerically safe functions that the rest is written in."""

from typing import Any

import jax
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float, Weighting

__all__ = ["log2cosh", "max_norm", "normalized_weights", "softplus"]


# jnp.logaddexp guards against infinities with selects that double its cost on CPU. The two functions below need no
# guard, but derivatives of |x| are wrong at 0, so they are given their own.
@jax.custom_jvp
def softplus(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log(1 + e^x), without overflow."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


@jax.custom_jvp
def log2cosh(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """log(2 cosh x), without overflow."""
    size = jnp.abs(x)
    return size + jnp.log1p(jnp.exp(-2 * size))


log2cosh.defjvps(lambda tangent, _, x: tangent * jnp.tanh(x))


def max_norm(tree: Any) -> Float[Array, ""]:
    """Largest absolute component, in JAX's default dtype: optimistix keeps its norms in that one."""
    return jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(tree)]).max().astype(jnp.zeros(()).dtype)


def normalized_weights(sample_weights: Weighting, n_samples: int, dtype: jnp.dtype) -> Float[Array, " n_samples"]:
    """Sample weights that sum to one; uniform for None."""
    if sample_weights is None:
        return jnp.full((n_samples,), 1 / n_samples, dtype)
    values = jnp.asarray(sample_weights).astype(dtype)
    return values / values.sum()
