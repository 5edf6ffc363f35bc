"""Replica exchange along a training, and training by it."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import (
    PCD,
    PTT,
    RBM,
    Batches,
    Centered,
    Exact,
    Spin,
    Trainer,
    TrainState,
    exact_log_likelihood,
    fit,
    init_rbm,
    stack_rbms,
    temper,
    train_step,
)
from rbm_jax.likelihood import ladder_health
from rbm_jax.model import (
    conditional_moments,
    enumerate_states,
    exact_moments,
    exact_visible_probabilities,
    independent_rbm,
)
from rbm_jax.sampling import (
    init_tempering,
    init_trajectory_chains,
    live_rungs,
    live_states,
    sample_tempering,
    temper_ladder,
    trajectory_step,
)
from rbm_jax.training import KeepsEquilibrium, Optimizer
from tests.helpers import reference_rbm


def frozen_rbm():
    """Two states that Gibbs chains practically never leave."""
    return RBM(jnp.full((6, 6), 1.5), jnp.full(6, 0.05), jnp.zeros(6), Spin(), Spin())


RBM_END = reference_rbm(8, 6, 0.9, Spin())
# many chains take a sixth of the time that they do at level 0, at which tests are compiled
optimized = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})


@functools.cache
def warmed_up(floor, n_rungs, n_updates=60, n_chains=400):
    """Chains that have followed RBMs from no weights to `RBM_END`, as in a training."""
    chains = init_trajectory_chains(jax.random.key(0), temper(RBM_END, 0.0), n_chains, n_rungs=n_rungs)

    def step(chains, position):
        return trajectory_step(jax.random.key(1), temper(RBM_END, position), chains, floor=floor), None

    positions = jnp.concatenate([jnp.linspace(0, 1, n_updates, dtype=RBM_END.dtype), jnp.ones(40, RBM_END.dtype)])
    return optimized(lambda chains: jax.lax.scan(step, chains, positions)[0])(chains)


def rung_errors(chains):
    """Distance of every rung's states from its own RBM's means, in standard errors."""
    exact = np.asarray(jax.jit(jax.vmap(exact_moments))(chains.ladder).visible)
    states = np.asarray(chains.tempering.chains)
    return abs(states.mean(1) - exact) / np.sqrt((1 - exact**2) / states.shape[1])


def test_ladder_grows_where_states_are_no_longer_exchanged_and_every_rung_samples_its_rbm():
    chains = warmed_up(floor=0.85, n_rungs=8)
    assert 3 <= chains.n_frozen < 8
    assert (chains.acceptance[: chains.n_frozen - 1] > 0.5).all()
    assert rung_errors(chains).max() < 4.5
    strengths = np.linalg.norm(chains.ladder.weights, axis=(1, 2))
    assert (np.diff(strengths[: chains.n_frozen + 1]) > -1e-6).all()


def test_a_full_ladder_gives_up_a_rung_and_stays_in_equilibrium():
    chains = warmed_up(floor=0.95, n_rungs=4)
    assert chains.n_frozen == 3
    assert rung_errors(chains).max() < 4.5
    strengths = np.linalg.norm(chains.ladder.weights, axis=(1, 2))
    np.testing.assert_allclose(strengths[np.array([0, -1])], [0, np.linalg.norm(RBM_END.weights)], rtol=1e-6)
    assert (np.diff(strengths) > -1e-6).all()


def test_rungs_that_are_not_frozen_sample_the_current_rbm():
    chains = warmed_up(floor=0.85, n_rungs=8)
    states = np.asarray(live_states(chains))
    assert len(states) == (8 - int(chains.n_frozen)) * 400
    np.testing.assert_array_equal(live_rungs(chains), np.arange(8) >= int(chains.n_frozen))
    exact = np.asarray(jax.jit(exact_moments)(RBM_END).visible)
    assert (abs(states.mean(0) - exact) < 4.5 * np.sqrt((1 - exact**2) / len(states))).all()


def test_a_reservoir_feeds_the_first_rung():
    """An RBM of two states that Gibbs chains never leave: the reservoir has the weights of both."""
    rbm = frozen_rbm()
    probabilities = np.asarray(jax.jit(exact_visible_probabilities)(rbm), float)
    rows = np.random.default_rng(0).choice(64, 4000, p=probabilities / probabilities.sum())
    states = np.asarray(enumerate_states(Spin(), 6), np.float32)[rows]
    chains = init_trajectory_chains(jax.random.key(1), rbm, 1000, n_rungs=3, reservoir=states)
    stuck = dataclasses.replace(chains.tempering, chains=-jnp.ones_like(chains.tempering.chains))
    chains = dataclasses.replace(chains, tempering=stuck)
    step = jax.jit(functools.partial(trajectory_step, jax.random.key(2), rbm))
    for _ in range(20):
        chains = step(chains)
    assert abs((live_states(chains)[:, 0] > 0).mean() - (states[:, 0] > 0).mean()) < 4 * 0.5 / 2000**0.5


def two_clusters(share=0.75):
    """Data of two opposite patterns with 5 % of flipped units, in unequal numbers."""
    rng = np.random.default_rng(0)
    pattern, sign = np.sign(np.sin(1 + np.arange(10.0) ** 2)), np.where(np.arange(400) < share * 400, 1, -1)
    return sign[:, None] * pattern * np.where(rng.random((400, 10)) < 0.05, -1, 1), pattern


def test_training_learns_the_share_of_clusters_that_chains_do_not_move_between():
    data, pattern = two_clusters()
    rbm = init_rbm(jax.random.key(0), 10, 4, visible_units=Spin(), hidden_units=Spin(), visible_mean=data.mean(0))
    rate, batches = optax.linear_schedule(0.1, 0.0, 1000), Batches(data)
    in_cluster = np.asarray(enumerate_states(Spin(), 10)) @ pattern > 0

    def train(estimator, review=None):
        trainer = Trainer.euler(estimator, rate, review=review)

        @optimized
        def run(rbm):
            state = trainer.init(jax.random.key(1), rbm, n_chains=500)
            return fit(jax.random.key(2), trainer, state, batches, n_updates=1000)[0]

        state = run(rbm)
        return state, np.asarray(exact_visible_probabilities(state.rbm))[in_cluster].sum()

    state, found = train(PTT(metric=Centered(), n_rungs=4), KeepsEquilibrium())
    exact_state, expected = train(Exact(Centered()))
    assert state.carry.n_frozen > 1
    # With 500 chains five seeds ended within 0.016 of it.
    assert abs(found - expected) < 0.03
    assert exact_log_likelihood(state.rbm, data) > exact_log_likelihood(exact_state.rbm, data) - 0.02


def test_gradient_is_that_of_the_live_chains():
    chains = warmed_up(floor=0.85, n_rungs=8)
    batch = np.asarray(enumerate_states(Spin(), 8))[::9]
    estimate = jax.jit(PTT(metric=Centered(), floor=0.0))
    gradient, advanced = estimate(jax.random.key(5), RBM_END, batch, chains)

    @jax.jit
    def gradient_from(states):
        return Centered()(RBM_END, conditional_moments(RBM_END, batch), conditional_moments(RBM_END, states))

    expected = gradient_from(live_states(advanced))
    for found, leaf in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, leaf, atol=1e-5)


def test_updates_that_outrun_the_chains_are_rejected():
    data, _ = two_clusters()
    rbm, estimator, optimizer = reference_rbm(10, 4, 0.3, Spin()), PCD(), Optimizer(optax.adam, 1.0)
    state = Trainer(estimator, optimizer).init(jax.random.key(0), rbm, n_chains=200)
    update = eqx.filter_jit(train_step)
    after, info = update(jax.random.key(1), Trainer(estimator, optimizer, review=KeepsEquilibrium()), state, data)
    assert (after.step, after.n_rejected) == (1, 1)
    assert jnp.abs(info.gradient.weights).max() > 0
    assert (after.carry != state.carry).any()
    for kept, before in zip(
        jax.tree.leaves((after.rbm, after.opt_state)), jax.tree.leaves((rbm, state.opt_state)), strict=True
    ):
        np.testing.assert_array_equal(kept, before)
    after, _ = update(jax.random.key(1), Trainer(estimator, optimizer), state, data)
    assert after.n_rejected == 0
    assert (after.rbm.weights != rbm.weights).all()


def test_fraction_of_reweighted_states_is_that_of_the_weights():
    states = jnp.asarray(enumerate_states(Spin(), 8))
    before, after = temper(RBM_END, 0.3), temper(RBM_END, 0.5)
    ratio = np.asarray(exact_visible_probabilities(after) / exact_visible_probabilities(before), float)
    fraction = ratio.sum() ** 2 / (ratio**2).sum() / len(states)

    @functools.partial(jax.jit, static_argnames="min_fraction")
    def reviewed(new, min_fraction):
        before_update, after_update = (TrainState(rbm, states, (), jnp.int32(0), jnp.int32(0)) for rbm in (before, new))
        return KeepsEquilibrium(min_fraction)(before_update, after_update)

    kept, rejected = reviewed(after, float(fraction) - 0.01), reviewed(after, float(fraction) + 0.01)
    assert (kept.n_rejected, rejected.n_rejected) == (0, 1)
    np.testing.assert_array_equal(kept.rbm.weights, after.weights)
    np.testing.assert_array_equal(rejected.rbm.weights, before.weights)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, after)
    assert reviewed(broken, 0.01).n_rejected == 1


def test_many_trainings_at_once(x64):
    batches, trainer = Batches(two_clusters()[0]), Trainer.euler(PTT(n_rungs=4), 0.05, review=KeepsEquilibrium())

    def train(key):
        key_rbm, key_chains, key_run = jax.random.split(key, 3)
        rbm = init_rbm(key_rbm, 10, 3, visible_units=Spin(), hidden_units=Spin())
        state = trainer.init(key_chains, rbm, n_chains=20)
        return fit(key_run, trainer, state, batches, n_updates=30)[0].rbm.weights

    keys = jax.random.split(jax.random.key(0), 2)
    together, alone = np.asarray(jax.jit(jax.vmap(train))(keys)), jax.jit(train)
    for index, key in enumerate(keys):
        np.testing.assert_allclose(together[index], alone(key), rtol=1e-10)


def test_mistakes_are_named(unchecked):
    rbm, trainer = reference_rbm(10, 4, 0.3, Spin()), Trainer.euler(PTT(), 0.1)
    with pytest.raises(ValueError, match="n_rungs must be at least 3"):
        init_trajectory_chains(jax.random.key(0), rbm, 10, n_rungs=2)
    with pytest.raises(ValueError, match="reservoir must have 10 units"):
        init_trajectory_chains(jax.random.key(0), rbm, 10, reservoir=jnp.ones((4, 3)))
    chains = init_trajectory_chains(jax.random.key(0), rbm, 10)
    with pytest.raises(ValueError, match="either n_chains or carry, got both"):
        trainer.init(jax.random.key(0), rbm, n_chains=10, carry=chains)
    with pytest.raises(ValueError, match="n_chains must be given"):
        trainer.init(jax.random.key(0), rbm)
    with pytest.raises(TypeError, match=r"carry must be TrajectoryChains, got .*; give init_trajectory_chains"):
        PTT()(jax.random.key(0), rbm, jnp.ones((4, 10)), jnp.ones((4, 10)))
    with pytest.raises(TypeError, match="outside jit and vmap"):
        jax.jit(live_states)(chains)


@functools.cache
@jax.jit
def healthy_ladder():
    rbm = frozen_rbm()
    ladder = temper_ladder(independent_rbm(rbm, jnp.zeros(6)), rbm, jnp.linspace(0, 1, 12))
    states = jnp.asarray(enumerate_states(Spin(), 6))
    keys = jax.random.split(jax.random.key(0), 12)

    def draw(key, rbm):
        return states[jax.random.choice(key, 64, (1000,), p=exact_visible_probabilities(rbm))]

    state = init_tempering(jax.random.key(1), ladder, 1000)
    return ladder, dataclasses.replace(state, chains=jax.vmap(draw)(keys, ladder))


def test_a_ladder_in_equilibrium_shows_no_sign_and_its_deviations_are_normal_numbers():
    ladder, state = healthy_ladder()
    _, health = ladder_health(jax.random.key(2), ladder, state, n_steps=20)
    for deviations in (health.drift[1:], health.mass):
        assert abs(deviations).max() < 4
        assert 0.4 < np.sqrt(np.mean(np.square(deviations))) < 1.7


def test_wrong_masses_of_clusters_are_noticed_where_energies_show_nothing():
    ladder, state = healthy_ladder()
    # All states of the last rungs on one side; their energies are nearly right, since the sides are alike.
    upper = state.chains[8:]
    one_sided = state.chains.at[8:].set(upper * jnp.where(upper.sum(-1, keepdims=True) < 0, -1, 1))
    with pytest.warns(UserWarning, match="masses that neighbors do not agree on"):
        _, health = ladder_health(jax.random.key(2), ladder, dataclasses.replace(state, chains=one_sided), n_steps=1)
    assert abs(health.mass[7]) > 5


def test_states_that_still_relax_and_gaps_in_the_ladder_are_noticed():
    ladder, state = healthy_ladder()
    # all units of a chain alike, on the side where it is: energies relax, and the masses of the sides are right
    side = jnp.sign(state.chains.sum(-1, keepdims=True) + state.chains[..., :1] / 2)
    fresh = dataclasses.replace(state, chains=jnp.broadcast_to(side, state.chains.shape))
    with pytest.warns(UserWarning, match="states still relax"):
        ladder_health(jax.random.key(2), ladder, fresh, n_steps=20)
    rbm = temper(reference_rbm(12, 8, 1.0, Spin()), 20.0)
    ends = stack_rbms([temper(rbm, 1e-3), rbm])
    state = init_tempering(jax.random.key(0), ends, 100)
    state, _ = sample_tempering(jax.random.key(1), ends, state, n_steps=100)
    with pytest.warns(UserWarning, match="exchange too rarely"):
        ladder_health(jax.random.key(2), ends, state, n_steps=20)
