"""What one would write first in JAX: `jax.random.bernoulli` of a sigmoid, a key split at every step, autodiff.

For mean field: a `while_loop` over the whole batch.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax import RBM

__all__ = ["naive_ais", "naive_pcd", "naive_sweeps", "naive_tap"]


def _sweep(rbm: RBM, v, key):
    hidden_key, visible_key = jax.random.split(key)
    h = jax.random.bernoulli(hidden_key, jax.nn.sigmoid(v @ rbm.weights + rbm.hidden_bias)).astype(v.dtype)
    return jax.random.bernoulli(visible_key, jax.nn.sigmoid(h @ rbm.weights.T + rbm.visible_bias)).astype(v.dtype)


@functools.partial(jax.jit, static_argnames="n_sweeps")
def naive_sweeps(key, rbm: RBM, v, *, n_sweeps: int):
    """Run `n_sweeps` sweeps of binary chains in one scan."""
    return lax.scan(lambda v, key: (_sweep(rbm, v, key), None), v, jax.random.split(key, n_sweeps))[0]


@functools.partial(jax.jit, static_argnames=("n_updates", "n_sweeps", "batch_size"))
def naive_pcd(key, rbm: RBM, v, data, *, n_updates: int, n_sweeps: int, batch_size: int, learning_rate: float = 0.01):
    """Do `n_updates` of PCD with plain SGD in one scan, the gradient by autodiff of free energies.

    Minibatch rows are drawn with replacement.
    """

    def free_energy(rbm, v):
        return (-v @ rbm.visible_bias - jax.nn.softplus(v @ rbm.weights + rbm.hidden_bias).sum(-1)).mean()

    def update(carry, key):
        rbm, v = carry
        batch_key, chain_key = jax.random.split(key)
        batch = data[jax.random.randint(batch_key, (batch_size,), 0, len(data))]
        v = naive_sweeps(chain_key, rbm, v, n_sweeps=n_sweeps)
        gradient = jax.grad(lambda rbm: free_energy(rbm, batch) - free_energy(rbm, v))(rbm)
        return (jax.tree.map(lambda leaf, slope: leaf - learning_rate * slope, rbm, gradient), v), None

    return lax.scan(update, (rbm, v), jax.random.split(key, n_updates))[0]


@functools.partial(jax.jit, static_argnames="n_chains")
def naive_ais(key, rbm: RBM, positions, *, n_chains: int):
    """Log Z by annealing from units without fields; two free energies and a sweep at each temperature."""

    def free_energy(rbm, v):
        return -v @ rbm.visible_bias - jax.nn.softplus(v @ rbm.weights + rbm.hidden_bias).sum(-1)

    def scaled(position):
        return jax.tree.map(lambda leaf: position * leaf, rbm)

    def step(carry, inputs):
        v, log_weights = carry
        key, before, after = inputs
        log_weights += free_energy(scaled(before), v) - free_energy(scaled(after), v)
        return (_sweep(scaled(after), v, key), log_weights), None

    key_start, key_run = jax.random.split(key)
    v = jax.random.bernoulli(key_start, 0.5, (n_chains, rbm.n_visible)).astype(rbm.dtype)
    inputs = jax.random.split(key_run, len(positions) - 1), positions[:-1], positions[1:]
    log_weights = lax.scan(step, (v, jnp.zeros(n_chains)), inputs)[0][1]
    n_units = rbm.n_visible + rbm.n_hidden
    return jax.nn.logsumexp(log_weights) - jnp.log(n_chains) + n_units * jnp.log(2)


@functools.partial(jax.jit, static_argnames="max_steps")
def naive_tap(rbm: RBM, v, *, tol: float, max_steps: int):
    """Iterate the TAP equations of ±1 units until the largest change over the batch is below `tol`."""
    w, squares = rbm.weights, rbm.weights**2

    def sweep(carry):
        step, v, h, _ = carry
        new_h = jnp.tanh(v @ w + rbm.hidden_bias - h * ((1 - v**2) @ squares))
        new_v = jnp.tanh(new_h @ w.T + rbm.visible_bias - v * ((1 - new_h**2) @ squares.T))
        change = jnp.maximum(jnp.abs(new_v - v).max(), jnp.abs(new_h - h).max())
        return step + 1, new_v, new_h, change

    start = (0, v, jnp.tanh(v @ w + rbm.hidden_bias), jnp.inf)
    return lax.while_loop(lambda carry: (carry[3] > tol) & (carry[0] < max_steps), sweep, start)[1:3]
