"""One key given to any two public samplers makes independent numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from rbm_jax import (
    RBM,
    Gaussian,
    Spin,
    gibbs_step,
    init_chains,
    init_rbm,
    sample_gibbs,
    sample_hidden,
    sample_visible,
    stack_rbms,
)
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax.data import binarize, gaussian_data, ising_chain, planted_clusters
from rbm_jax.missing import complete_samples, impute
from rbm_jax.replica import SpikedEnsemble
from rbm_jax.sampling import (
    init_tempering,
    init_trajectory_chains,
    sample_tempering,
    tempering_step,
    trace_gibbs,
    trajectory_step,
)

KEY = jax.random.key(2024)
N, SIZE = 64, 64
# Without weights, all samplers draw from the same distribution: fair spins, which show a common number at once.
FAIR = RBM(jnp.zeros((SIZE, SIZE)), jnp.zeros(SIZE), jnp.zeros(SIZE), Spin(), Spin())
LADDER = stack_rbms([FAIR, FAIR])
ONES, MISSING = jnp.ones((N, SIZE)), jnp.full((N, SIZE), jnp.nan)


def draws_of(key):
    """What each public sampler that compiles makes of a key: numbers of mean 0, by their position in the array."""
    tempering = init_tempering(KEY, LADDER, N)
    trajectory = init_trajectory_chains(KEY, FAIR, N, n_rungs=3)
    return {
        "units.sample": Spin().sample(key, jnp.zeros((N, SIZE))),
        "init_rbm": init_rbm(key, N, SIZE).weights,
        "sample_hidden": sample_hidden(key, FAIR, ONES),
        "sample_visible": sample_visible(key, FAIR, ONES),
        "gibbs_step": gibbs_step(key, FAIR, ONES),
        "sample_gibbs": sample_gibbs(key, FAIR, ONES, n_sweeps=2),
        "init_chains": init_chains(key, FAIR, N),
        "init_tempering": init_tempering(key, LADDER, N).chains[0],
        "init_tempering, rung 1": init_tempering(key, LADDER, N).chains[1],
        "tempering_step": tempering_step(key, LADDER, tempering)[0].chains[0],
        "tempering_step, rung 1": tempering_step(key, LADDER, tempering)[0].chains[1],
        "init_trajectory_chains": init_trajectory_chains(key, FAIR, N, n_rungs=3).tempering.chains[0],
        "trajectory_step": trajectory_step(key, FAIR, trajectory).tempering.chains[0],
        "complete_samples": complete_samples(key, FAIR, MISSING, n_sweeps=1),
        "impute": impute(key, FAIR, MISSING, n_sweeps=1, n_burn_in=1, n_chains=2).sample,
        "gaussian_data": gaussian_data(key, N, jnp.eye(SIZE - 1)),
        "ising_chain": ising_chain(key, N, SIZE, coupling=0.0),
        "planted_clusters": planted_clusters(key, N, SIZE, strength=1e-3)[0],
        "spiked_ensemble": SpikedEnsemble(jnp.zeros(1), noise=1.0).sample(key, N, SIZE)[0].weights,
        "data term": Spin().sample(stream_key(key, Stream.DATA_TERM), jnp.zeros((N, SIZE))),
    }


@pytest.fixture(scope="module")
def draws():
    on_host = {"binarize": 2.0 * binarize(np.full((N, SIZE), 0.5), key=KEY) - 1}
    return {name: np.asarray(values, float) for name, values in (jax.jit(draws_of)(KEY) | on_host).items()}


def test_no_two_samplers_draw_the_same_numbers_from_one_key(draws):
    pairs = list(itertools.combinations(draws, 2))
    worst = {}
    for first, second in pairs:
        n = min(draws[first].shape[1], draws[second].shape[1])
        one, other = draws[first][:, :n].ravel(), draws[second][:, :n].ravel()
        worst[first, second] = abs(stats.pearsonr(one, other).statistic) * len(one) ** 0.5
    # normal numbers, one for each pair: a bound that all pass with a probability of 1 - 1e-4
    bound = special.ndtri(1 - 1e-4 / 2 / len(pairs))
    assert {pair: size for pair, size in worst.items() if size > bound} == {}


def test_the_test_would_see_a_common_stream():
    """A key used twice, in layers of one size, makes correlations of order 1."""
    first = Spin().sample(KEY, jnp.zeros((N, SIZE)))
    second = Gaussian().sample(KEY, jnp.zeros((N, SIZE)))
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) > 0.5


def test_one_sweep_is_a_gibbs_step_and_a_trace_of_one():
    one = gibbs_step(KEY, FAIR, ONES)
    np.testing.assert_array_equal(one, sample_gibbs(KEY, FAIR, ONES, n_sweeps=1))
    np.testing.assert_array_equal(one, trace_gibbs(KEY, FAIR, ONES, n_sweeps=1, observe=jnp.mean).states)


def test_steps_of_tempering_are_those_of_one_run():
    state = jax.jit(init_tempering, static_argnums=2)(jax.random.key(0), LADDER, 3)
    run, _ = sample_tempering(KEY, LADDER, state, n_steps=2)
    step = jax.jit(tempering_step)
    for _ in range(2):
        state, _ = step(KEY, LADDER, state)
    np.testing.assert_array_equal(run.chains, state.chains)


def test_streams_are_distinct_and_no_number_of_a_step():
    assert len(set(Stream)) == len(Stream)
    assert all(2**31 <= stream < 2**32 for stream in Stream)
    words = {tuple(map(int, jax.random.key_data(stream_key(KEY, stream)))) for stream in Stream}
    assert len(words) == len(Stream)
