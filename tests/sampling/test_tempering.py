"""Replica exchange against enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Gaussian, Spin, gibbs_step, sample_gibbs, stack_rbms, temper
from rbm_jax.model import enumerate_states, exact_moments, exact_visible_probabilities, independent_rbm
from rbm_jax.sampling import equalize_acceptance, init_tempering, sample_tempering, temper_ladder, tempering_step
from rbm_jax.sampling.tempering import share_evenly
from tests.helpers import PAIRS, reference_rbm

ENUMERABLE = [pair for pair in PAIRS if pair[0].states is not None]


def ladder_of(rbm, n_rungs=4):
    return temper_ladder(independent_rbm(rbm, exact_moments(rbm).visible), rbm, jnp.linspace(0, 1, n_rungs))


def rung(ladder, index):
    return jax.tree.map(lambda leaf: leaf[index], ladder)


def total_variation_band(probabilities, n_samples):
    """Largest total variation of 200 samples of that size."""
    drawn = np.random.default_rng(0).multinomial(n_samples, probabilities, size=200) / n_samples
    return 1.1 * abs(drawn - probabilities).sum(1).max() / 2


def frequencies(units, states):
    digits = (np.asarray(states) == units.states.max()).astype(int)
    codes = digits @ (1 << np.arange(digits.shape[1])[::-1])
    return np.bincount(codes, minlength=2 ** digits.shape[1]) / len(digits)


@pytest.mark.parametrize("units", ENUMERABLE, ids=str)
def test_every_rung_samples_its_own_rbm(units, dtype):
    rbm = reference_rbm(5, 3, 0.9, *units, dtype=dtype)
    ladder = ladder_of(rbm)
    state = init_tempering(jax.random.key(0), ladder, 20_000)
    state, info = sample_tempering(jax.random.key(1), ladder, state, n_steps=40)
    assert state.chains.dtype == dtype
    for index in range(4):
        exact = np.asarray(exact_visible_probabilities(rung(ladder, index)), float)
        distance = abs(frequencies(units[0], state.chains[index]) - exact / exact.sum()).sum() / 2
        assert distance < total_variation_band(exact / exact.sum(), 20_000), index
    assert ((info.acceptance > 0.1) & (info.acceptance <= 1)).all()


def test_a_swap_that_took_every_state_would_be_noticed():
    """The same check, of chains whose neighbors trade places without asking."""
    rbm = reference_rbm(5, 3, 0.9, Spin())
    ladder = ladder_of(rbm)
    state = init_tempering(jax.random.key(0), ladder, 20_000)
    sample = jax.vmap(functools.partial(sample_gibbs, n_sweeps=40))
    chains = sample(jax.random.split(jax.random.key(1), 4), ladder, state.chains)
    swapped = chains[jnp.array([1, 0, 3, 2])]
    exact = np.asarray(exact_visible_probabilities(rung(ladder, 3)), float)
    distance = abs(frequencies(Spin(), swapped[3]) - exact / exact.sum()).sum() / 2
    assert distance > total_variation_band(exact / exact.sum(), 20_000)


def test_gaussian_units_keep_their_moments_on_every_rung():
    rbm = reference_rbm(5, 3, 0.3, Gaussian(0.7), Spin())
    ladder = ladder_of(rbm)
    state = init_tempering(jax.random.key(0), ladder, 20_000)
    state, _ = sample_tempering(jax.random.key(1), ladder, state, n_steps=40)
    for index in range(4):
        exact, found = exact_moments(rung(ladder, index)).visible, state.chains[index]
        assert (abs(found.mean(0) - exact) < 4.5 * found.std(0) / 20_000**0.5).all(), index


def frozen_rbm():
    """Two states that a Gibbs chain practically never leaves."""
    weights = jnp.full((6, 6), 1.5)
    return RBM(weights, jnp.full(6, 0.05), jnp.zeros(6), Spin(), Spin())


def test_exchange_carries_chains_between_states_that_gibbs_sampling_never_leaves():
    rbm = frozen_rbm()
    probability = float((exact_moments(rbm).visible[0] + 1) / 2)
    start = -jnp.ones((12, 2000, 6))
    alone = sample_gibbs(jax.random.key(0), rbm, start[0], n_sweeps=300)
    assert (alone[:, 0] > 0).mean() < 0.02
    ladder = temper_ladder(independent_rbm(rbm, jnp.zeros(6)), rbm, jnp.linspace(0, 1, 12))
    state = init_tempering(jax.random.key(1), ladder, 2000)
    state = type(state)(start, state.origin, state.step)
    state, _ = sample_tempering(jax.random.key(2), ladder, state, n_steps=300)
    found = float((state.chains[-1, :, 0] > 0).mean())
    assert abs(found - probability) < 4 * (probability * (1 - probability) / 2000) ** 0.5


def test_a_reservoir_feeds_a_first_rung_that_does_not_mix():
    rbm = frozen_rbm()
    ladder = stack_rbms([temper(rbm, 0.9), rbm])
    states = enumerate_states(Spin(), 6)
    probabilities = exact_visible_probabilities(temper(rbm, 0.9))
    reservoir = jnp.asarray(states)[jax.random.choice(jax.random.key(0), 64, (4000,), p=probabilities)]
    state = init_tempering(jax.random.key(1), ladder, 2000)
    state = type(state)(-jnp.ones((2, 2000, 6)), state.origin, state.step)
    state, _ = sample_tempering(jax.random.key(2), ladder, state, n_steps=60, reservoir=reservoir)
    expected = np.asarray([(exact_moments(each).visible[0] + 1) / 2 for each in (temper(rbm, 0.9), rbm)])
    found = np.asarray((state.chains[..., 0] > 0).mean(1))
    error = np.sqrt(expected * (1 - expected) * (1 / 2000 + 1 / 4000))
    assert (abs(found - expected) < 4 * error).all()


def test_origins_follow_the_states():
    ladder = ladder_of(reference_rbm(5, 3, 0.9, Spin()), 5)
    state = init_tempering(jax.random.key(0), ladder, 50)
    state, _ = sample_tempering(jax.random.key(1), ladder, state, n_steps=31)
    np.testing.assert_array_equal(np.sort(state.origin, axis=0), np.broadcast_to(np.arange(5)[:, None], (5, 50)))
    assert (np.asarray(state.origin) != np.arange(5)[:, None]).any()
    assert state.step == 31


def test_neighbors_take_turns_and_steps_continue_a_run():
    ladder = ladder_of(reference_rbm(5, 3, 0.9, Spin()), 5)
    start = init_tempering(jax.random.key(0), ladder, 10)
    once, info = tempering_step(jax.random.key(1), ladder, start)
    np.testing.assert_array_equal(np.isnan(info.acceptance), [False, True, False, True])
    twice, info = tempering_step(jax.random.key(1), ladder, once)
    np.testing.assert_array_equal(np.isnan(info.acceptance), [True, False, True, False])
    whole, _ = sample_tempering(jax.random.key(1), ladder, start, n_steps=2)
    np.testing.assert_array_equal(whole.chains, twice.chains)


def test_equalized_ladder_has_even_acceptance():
    rbm = reference_rbm(20, 12, 1.0, Spin())
    start, positions = independent_rbm(rbm, jnp.zeros(20)), jnp.linspace(0, 1, 6) ** 3

    def acceptance(positions):
        ladder = temper_ladder(start, rbm, positions)
        state = init_tempering(jax.random.key(0), ladder, 200)
        state, _ = sample_tempering(jax.random.key(1), ladder, state, n_steps=50)
        return sample_tempering(jax.random.key(2), ladder, state, n_steps=100)[1].acceptance

    first = found = acceptance(positions)
    for _ in range(3):
        positions = equalize_acceptance(positions, found)
        found = acceptance(positions)
    assert positions[0] == 0
    assert positions[-1] == 1
    assert np.ptp(np.asarray(first)) > 0.3
    assert np.ptp(np.asarray(found)) < 0.08


def test_positions_pass_equal_shares_of_rejections():
    np.testing.assert_allclose(
        equalize_acceptance(jnp.array([0.0, 0.5, 1.0]), jnp.array([0.4, 0.8])), [0, 1 / 3, 1], rtol=1e-6
    )


def test_many_ladders_at_once(x64):
    ladders = [ladder_of(reference_rbm(5, 3, strength, Spin())) for strength in (0.5, 0.9)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ladders)
    keys = jax.random.split(jax.random.key(0), 2)

    def run(key, ladder):
        return sample_tempering(key, ladder, init_tempering(key, ladder, 8), n_steps=5)[0].chains

    together = jax.vmap(run)(keys, stacked)
    for index in range(2):
        np.testing.assert_array_equal(together[index], run(keys[index], ladders[index]))


def test_mistakes_are_named(unchecked):
    rbm = reference_rbm(5, 3, 0.9, Spin())
    with pytest.raises(ValueError, match="ladder must be a stack of at least two RBMs"):
        init_tempering(jax.random.key(0), rbm, 4)
    ladder = ladder_of(rbm)
    state = init_tempering(jax.random.key(0), ladder, 4)
    with pytest.raises(ValueError, match="n_sweeps must be at least 1"):
        tempering_step(jax.random.key(0), ladder, state, n_sweeps=0)
    with pytest.raises(ValueError, match="reservoir must have 5 units"):
        tempering_step(jax.random.key(0), ladder, state, reservoir=jnp.ones((3, 4)))
    with pytest.raises(ValueError, match="one entry for each pair of neighbors"):
        equalize_acceptance(jnp.linspace(0, 1, 4), jnp.ones(4))
    with pytest.raises(ValueError, match="had no turn"):
        equalize_acceptance(jnp.linspace(0, 1, 3), jnp.array([0.5, jnp.nan]))


def test_a_rung_without_weights_is_independent_after_one_sweep():
    rbm = independent_rbm(reference_rbm(5, 3, 0.9, Spin()), jnp.full(5, 0.2))
    moved = gibbs_step(jax.random.key(0), rbm, jnp.ones((20_000, 5)))
    assert (abs(moved.mean(0) - 0.2) < 4.5 / 20_000**0.5).all()


def test_equalized_ladders_end_where_they_did():
    """Costs that fall so fast that rounding of their sum would be magnified at the end."""
    for seed in range(20):
        cost = jnp.exp(-0.1 * jnp.arange(100) + jax.random.normal(jax.random.key(seed), (100,)))
        placed = share_evenly(jnp.linspace(0, 1, 101), cost, 100)
        assert placed[0] == 0
        assert placed[-1] == 1
        assert (jnp.diff(placed) >= 0).all()
