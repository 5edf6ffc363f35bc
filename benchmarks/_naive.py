"""What one would write first in JAX: `jax.random.bernoulli` of a sigmoid, a key split at every step, autodiff."""

import functools

import jax
from jax import lax

from rbm_jax import RBM

__all__ = ["naive_pcd", "naive_sweeps"]


def _sweep(rbm: RBM, v, key):
    hidden_key, visible_key = jax.random.split(key)
    h = jax.random.bernoulli(hidden_key, jax.nn.sigmoid(v @ rbm.weights + rbm.hidden_bias)).astype(v.dtype)
    return jax.random.bernoulli(visible_key, jax.nn.sigmoid(h @ rbm.weights.T + rbm.visible_bias)).astype(v.dtype)


@functools.partial(jax.jit, static_argnames="n_steps")
def naive_sweeps(key, rbm: RBM, v, *, n_steps: int):
    """Run `n_steps` sweeps of binary chains in one scan."""
    return lax.scan(lambda v, key: (_sweep(rbm, v, key), None), v, jax.random.split(key, n_steps))[0]


@functools.partial(jax.jit, static_argnames=("n_updates", "n_steps", "batch_size"))
def naive_pcd(key, rbm: RBM, v, data, *, n_updates: int, n_steps: int, batch_size: int, learning_rate: float = 0.01):
    """Do `n_updates` of PCD with plain SGD in one scan, the gradient by autodiff of free energies.

    Minibatch rows are drawn with replacement.
    """

    def free_energy(rbm, v):
        return (-v @ rbm.visible_bias - jax.nn.softplus(v @ rbm.weights + rbm.hidden_bias).sum(-1)).mean()

    def update(carry, key):
        rbm, v = carry
        batch_key, chain_key = jax.random.split(key)
        batch = data[jax.random.randint(batch_key, (batch_size,), 0, len(data))]
        v = naive_sweeps(chain_key, rbm, v, n_steps=n_steps)
        gradient = jax.grad(lambda rbm: free_energy(rbm, batch) - free_energy(rbm, v))(rbm)
        return (jax.tree.map(lambda leaf, slope: leaf - learning_rate * slope, rbm, gradient), v), None

    return lax.scan(update, (rbm, v), jax.random.split(key, n_updates))[0]
