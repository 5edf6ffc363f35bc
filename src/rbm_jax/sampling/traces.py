"""What Gibbs chains show on their way: observables of every sweep, or of every few, and nothing else stored."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax._internal.checks import as_samples, check_count, check_function, remember_samples
from rbm_jax._internal.random import Words
from rbm_jax._internal.typing import Array, Float, Int, PRNGKey
from rbm_jax.model.energies import VisibleStates, check_rbm
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling.gibbs import gibbs_words, sweep_states

__all__ = ["Trace", "trace_gibbs"]


class Trace(eqx.Module):
    """What was observed of chains.

    Attributes:
        states: the final states, shape (*batch, n_visible).
        n_sweeps: number of sweeps before each observation, shape (n_times,).
        observations: what `observe` returned, with a leading axis of n_times.
    """

    states: Float[Array, "*batch n_visible"]
    n_sweeps: Int[Array | np.ndarray, " n_times"]
    observations: Any


def trace_gibbs(
    key: PRNGKey,
    rbm: RBM,
    v: VisibleStates,
    *,
    n_sweeps: int,
    observe: Callable[[Float[Array, "*batch n_visible"]], Any],
    every: int = 1,
) -> Trace:
    """Run chains for n_sweeps sweeps, and keep what `observe` returns of the states after each `every` of them.

    The states are those of `sample_gibbs` with the same key, whatever is observed. It is one compiled loop, compiled
    anew for another function: define `observe` once, not within a loop.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: configurations at which the chains start, shape (*batch, n_visible).
        n_sweeps: sweeps, at least 1.
        observe: a function of the states, shape (*batch, n_visible), that returns an array or a pytree of arrays. What
            it should see of the RBM it must hold: `lambda v: visible_free_energy(rbm, v)`.
        every: sweeps from one observation to the next. Sweeps after the last one are done, but not observed.

    Returns:
        The final states, and the observations after `every`, 2 `every`, ... sweeps.

    Raises:
        TypeError: `observe` is not a function.
        ValueError: shapes that do not fit, values outside the support of the units, an RBM with NaN, or counts below 1.

    Example:
        >>> import jax
        >>> from rbm_jax import init_chains, init_rbm
        >>> from rbm_jax.sampling import r_hat, trace_gibbs
        >>> rbm = init_rbm(jax.random.key(0), 20, 10)
        >>> chains = init_chains(jax.random.key(1), rbm, 8)
        >>> trace = trace_gibbs(jax.random.key(2), rbm, chains, n_sweeps=100, observe=lambda v: v.mean(-1))
        >>> trace.observations.shape, bool(r_hat(trace.observations) < 1.1)
        ((100, 8), True)
    """
    check_rbm(rbm)
    n_sweeps, every = check_count("n_sweeps", n_sweeps), check_count("every", every)
    if observe is None:
        raise TypeError("observe must be a function of the states, got None; sample_gibbs keeps nothing on the way")
    check_function("observe", observe)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype)
    states, observations = _trace(gibbs_words(key), rbm, v, n_sweeps=n_sweeps, observe=observe, every=every)
    times = every * np.arange(1, n_sweeps // every + 1)
    return Trace(remember_samples(states, rbm.visible_units), times, observations)


@functools.partial(jax.jit, static_argnames=("n_sweeps", "observe", "every"))
def _trace(words: Words, rbm: RBM, v, *, n_sweeps: int, observe: Callable, every: int):
    matrices = (rbm.weights, rbm.weights.T)

    def sweep(step, states):
        return sweep_states(words, jnp.asarray(step, jnp.uint32), rbm, matrices, states)

    def observed(states, number):
        states = lax.fori_loop(every * number, every * (number + 1), sweep, states)
        return states, observe(states)

    n_times = n_sweeps // every
    states, observations = lax.scan(observed, v, jnp.arange(n_times))
    return lax.fori_loop(every * n_times, n_sweeps, sweep, states), observations
