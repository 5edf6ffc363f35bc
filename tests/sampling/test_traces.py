"""Traces against the chains that they observe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Gaussian, Spin, sample_gibbs, visible_free_energy
from rbm_jax.sampling import trace_gibbs
from tests.helpers import reference_rbm, slow_but

KEY = jax.random.key(3)
RBM = reference_rbm(5, 4, 0.6, Spin(), Gaussian(0.7))
START = jnp.ones((3, 5))
free_energies_of = jax.jit(visible_free_energy)


def energy_and_mean(v):
    return {"energy": visible_free_energy(RBM, v), "mean": v.mean(-1)}


@pytest.mark.parametrize("every", slow_but([(1,), (3,)], [(1,), (2,), (3,)]))
def test_a_trace_observes_the_chains_of_sample_gibbs(every):
    trace = trace_gibbs(KEY, RBM, START, n_sweeps=7, observe=energy_and_mean, every=every)
    np.testing.assert_array_equal(trace.states, sample_gibbs(KEY, RBM, START, n_sweeps=7))
    np.testing.assert_array_equal(trace.n_sweeps, np.arange(every, 8, every))
    observed = jax.device_get(trace.observations)
    for time, n_sweeps in enumerate(np.asarray(trace.n_sweeps)):
        states = np.asarray(sample_gibbs(KEY, RBM, START, n_sweeps=int(n_sweeps)))
        # sums of some ten terms of order 1
        np.testing.assert_allclose(observed["mean"][time], states.mean(-1), atol=1e-6)
        np.testing.assert_allclose(observed["energy"][time], free_energies_of(RBM, states), rtol=1e-5, atol=1e-5)


def test_a_trace_is_the_same_under_jit_and_vmap():
    keys = jax.random.split(KEY, 2)
    traced = jax.jit(jax.vmap(lambda key: trace_gibbs(key, RBM, START, n_sweeps=4, observe=lambda v: v.sum(-1))))(keys)
    for index, key in enumerate(keys):
        alone = trace_gibbs(key, RBM, START, n_sweeps=4, observe=lambda v: v.sum(-1))
        np.testing.assert_array_equal(traced.states[index], alone.states)
        np.testing.assert_array_equal(traced.observations[index], alone.observations)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_sweeps": 0}, ValueError, "n_sweeps must be at least 1"),
        ({"every": 0}, ValueError, "every must be at least 1"),
        ({"observe": None}, TypeError, "observe must be a function"),
        ({"observe": 3}, TypeError, "observe must be a function"),
        ({"v": np.zeros((2, 5))}, ValueError, r"v must be -1 or \+1"),
    ],
)
def test_mistakes_are_named(options, error, message):
    options = {"v": START, "n_sweeps": 2, "observe": jnp.sum} | options
    with pytest.raises(error, match=message):
        trace_gibbs(KEY, RBM, options.pop("v"), **options)
