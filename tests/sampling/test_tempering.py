"""Replica exchange against enumeration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Gaussian, Spin, gibbs_step, sample_gibbs, stack_rbms, temper
from rbm_jax.model import enumerate_states, exact_moments, exact_visible_probabilities, independent_rbm
from rbm_jax.sampling import equalize_acceptance, init_tempering, sample_tempering, temper_ladder, tempering_step
from rbm_jax.sampling.tempering import share_evenly
from tests.helpers import PAIRS, reference_rbm, slow_but

ENUMERABLE = [pair for pair in PAIRS if pair[0].states is not None]
# many chains take a sixth of the time that they do at level 0, at which tests are compiled
OPTIMIZED = {"xla_backend_optimization_level": 1}
init = jax.jit(init_tempering, static_argnums=2)
sample = jax.jit(sample_tempering, static_argnames="n_steps", compiler_options=OPTIMIZED)
run_chains = jax.jit(sample_gibbs, static_argnames="n_sweeps", compiler_options=OPTIMIZED)
probabilities_of, moments_of = jax.jit(exact_visible_probabilities), jax.jit(exact_moments)


@functools.partial(jax.jit, static_argnames="n_rungs")
def ladder_of(rbm, n_rungs=4):
    return temper_ladder(independent_rbm(rbm, exact_moments(rbm).visible), rbm, jnp.linspace(0, 1, n_rungs))


def rung(ladder, index):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[index]), ladder)


def total_variation_band(probabilities, n_samples):
    """Largest total variation of 200 samples of that size."""
    drawn = np.random.default_rng(0).multinomial(n_samples, probabilities, size=200) / n_samples
    return 1.1 * abs(drawn - probabilities).sum(1).max() / 2


def frequencies(units, states):
    digits = (np.asarray(states) == units.states.max()).astype(int)
    codes = digits @ (1 << np.arange(digits.shape[1])[::-1])
    return np.bincount(codes, minlength=2 ** digits.shape[1]) / len(digits)


@pytest.mark.parametrize(
    ("dtype", "units"),
    slow_but(
        [("float32", PAIRS[1]), ("float32", PAIRS[5]), ("float64", PAIRS[2]), ("float64", PAIRS[3])],
        [(name, units) for name in ("float32", "float64") for units in ENUMERABLE],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_every_rung_samples_its_own_rbm(units, dtype):
    rbm = reference_rbm(5, 3, 0.9, *units, dtype=dtype)
    ladder = ladder_of(rbm)
    state, info = sample(jax.random.key(1), ladder, init(jax.random.key(0), ladder, 20_000), n_steps=40)
    assert state.chains.dtype == dtype
    for index in range(4):
        exact = np.asarray(probabilities_of(rung(ladder, index)), float)
        distance = abs(frequencies(units[0], state.chains[index]) - exact / exact.sum()).sum() / 2
        assert distance < total_variation_band(exact / exact.sum(), 20_000), index
    acceptance = np.asarray(info.acceptance)
    assert ((acceptance > 0.1) & (acceptance <= 1)).all()


def test_a_swap_that_took_every_state_would_be_noticed():
    """The same check, of chains whose neighbors trade places without asking."""
    ladder = ladder_of(reference_rbm(5, 3, 0.9, Spin()))
    start = init(jax.random.key(0), ladder, 20_000).chains
    # chains of the third rung, which always end on the last one
    swapped = run_chains(jax.random.key(1), rung(ladder, 2), start[2], n_sweeps=40)
    exact = np.asarray(probabilities_of(rung(ladder, 3)), float)
    distance = abs(frequencies(Spin(), swapped) - exact / exact.sum()).sum() / 2
    assert distance > total_variation_band(exact / exact.sum(), 20_000)


def test_gaussian_units_keep_their_moments_on_every_rung():
    rbm = reference_rbm(5, 3, 0.3, Gaussian(0.7), Spin())
    ladder = ladder_of(rbm)
    state, _ = sample(jax.random.key(1), ladder, init(jax.random.key(0), ladder, 20_000), n_steps=40)
    for index in range(4):
        exact, found = moments_of(rung(ladder, index)).visible, np.asarray(state.chains)[index]
        assert (abs(found.mean(0) - exact) < 4.5 * found.std(0) / 20_000**0.5).all(), index


def frozen_rbm():
    """Two states that a Gibbs chain practically never leaves."""
    weights = jnp.full((6, 6), 1.5)
    return RBM(weights, jnp.full(6, 0.05), jnp.zeros(6), Spin(), Spin())


def test_exchange_carries_chains_between_states_that_gibbs_sampling_never_leaves():
    rbm = frozen_rbm()
    probability = float((moments_of(rbm).visible[0] + 1) / 2)
    start = -jnp.ones((12, 2000, 6))
    alone = np.asarray(run_chains(jax.random.key(0), rbm, start[0], n_sweeps=300))
    assert (alone[:, 0] > 0).mean() < 0.02
    ladder = jax.jit(lambda rbm: temper_ladder(independent_rbm(rbm, np.zeros(6)), rbm, np.linspace(0, 1, 12)))(rbm)
    state = dataclasses.replace(init(jax.random.key(1), ladder, 2000), chains=start)
    state, _ = sample(jax.random.key(2), ladder, state, n_steps=300)
    found = float((np.asarray(state.chains)[-1, :, 0] > 0).mean())
    assert abs(found - probability) < 4 * (probability * (1 - probability) / 2000) ** 0.5


def test_a_reservoir_feeds_a_first_rung_that_does_not_mix():
    rbm = frozen_rbm()
    ladder = stack_rbms([temper(rbm, 0.9), rbm])
    probabilities = np.asarray(probabilities_of(rung(ladder, 0)), float)
    rows = np.random.default_rng(0).choice(64, 4000, p=probabilities / probabilities.sum())
    reservoir = np.asarray(enumerate_states(Spin(), 6), np.float32)[rows]
    state = dataclasses.replace(init(jax.random.key(1), ladder, 2000), chains=-jnp.ones((2, 2000, 6)))
    state, _ = sample(jax.random.key(2), ladder, state, n_steps=60, reservoir=reservoir)
    expected = np.array([(moments_of(rung(ladder, index)).visible[0] + 1) / 2 for index in range(2)])
    found = (np.asarray(state.chains)[..., 0] > 0).mean(1)
    error = np.sqrt(expected * (1 - expected) * (1 / 2000 + 1 / 4000))
    assert (abs(found - expected) < 4 * error).all()


def test_origins_follow_the_states():
    ladder = ladder_of(reference_rbm(5, 3, 0.9, Spin()), 5)
    state, _ = sample(jax.random.key(1), ladder, init(jax.random.key(0), ladder, 50), n_steps=31)
    np.testing.assert_array_equal(np.sort(state.origin, axis=0), np.broadcast_to(np.arange(5)[:, None], (5, 50)))
    assert (np.asarray(state.origin) != np.arange(5)[:, None]).any()
    assert state.step == 31


def test_neighbors_take_turns_and_steps_continue_a_run():
    ladder = ladder_of(reference_rbm(5, 3, 0.9, Spin()), 5)
    start, step = init(jax.random.key(0), ladder, 10), jax.jit(tempering_step)
    once, info = step(jax.random.key(1), ladder, start)
    np.testing.assert_array_equal(np.isnan(info.acceptance), [False, True, False, True])
    twice, info = step(jax.random.key(1), ladder, once)
    np.testing.assert_array_equal(np.isnan(info.acceptance), [True, False, True, False])
    whole, _ = sample(jax.random.key(1), ladder, start, n_steps=2)
    np.testing.assert_array_equal(whole.chains, twice.chains)


def test_equalized_ladder_has_even_acceptance():
    rbm = reference_rbm(20, 12, 1.0, Spin())
    positions = np.linspace(0, 1, 6, dtype=np.float32) ** 3

    @functools.partial(jax.jit, compiler_options=OPTIMIZED)
    def acceptance(positions):
        ladder = temper_ladder(independent_rbm(rbm, np.zeros(20)), rbm, positions)
        state = init_tempering(jax.random.key(0), ladder, 200)
        state, _ = sample_tempering(jax.random.key(1), ladder, state, n_steps=50)
        return sample_tempering(jax.random.key(2), ladder, state, n_steps=100)[1].acceptance

    first = found = acceptance(positions)
    for _ in range(3):
        positions = jax.jit(equalize_acceptance)(positions, found)
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
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *ladders)
    keys = jax.random.split(jax.random.key(0), 2)

    def run(key, ladder):
        return sample_tempering(key, ladder, init_tempering(key, ladder, 8), n_steps=5)[0].chains

    together, alone = jax.jit(jax.vmap(run))(keys, stacked), jax.jit(run)
    for index in range(2):
        np.testing.assert_array_equal(together[index], alone(keys[index], ladders[index]))


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
    moved = np.asarray(jax.jit(gibbs_step)(jax.random.key(0), rbm, jnp.ones((20_000, 5))))
    assert (abs(moved.mean(0) - 0.2) < 4.5 / 20_000**0.5).all()


def test_equalized_ladders_end_where_they_did():
    """Costs that fall so fast that rounding of their sum would be magnified at the end."""
    place = jax.jit(share_evenly, static_argnums=2)
    for seed in range(20):
        cost = np.exp(-0.1 * np.arange(100) + np.random.default_rng(seed).normal(size=100))
        placed = np.asarray(place(jnp.linspace(0, 1, 101), jnp.asarray(cost, jnp.float32), 100))
        assert placed[0] == 0
        assert placed[-1] == 1
        assert (np.diff(placed) >= 0).all()
