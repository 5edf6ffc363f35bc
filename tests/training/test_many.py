"""Many RBMs at once: each is trained as it would be alone."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import PCD, Batches, Gaussian, Status, Trainer, fit, fit_many, init_rbm
from rbm_jax.data import bars_and_stripes
from rbm_jax.training import KeepsEquilibrium, Optimizer, many
from tests.helpers import close_leaves, compiles, same_bits

DATA = bars_and_stripes(3)
N_RBMS = 5
KEYS = jax.random.split(jax.random.key(1), N_RBMS)
RATES = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
BATCH_KEY = jax.random.key(9)
OWN, COMMON = Batches(DATA, 5), Batches(DATA, 5, key=BATCH_KEY)
WEIGHTS = np.arange(1.0, len(DATA) + 1)
EULER = Trainer.euler(PCD(), RATES)


def adam(rates):
    return Trainer(PCD(), Optimizer(optax.adam, rates), time_step=rates)


def alone(trainer, rate):
    """The trainer with one of its rates."""
    optimizer = Optimizer(trainer.optimizer.factory, rate)
    return Trainer(trainer.estimator, optimizer, review=trainer.review, time_step=rate)


@eqx.filter_jit
def one_state(key, n_hidden=4, trainer=EULER, n_chains=10, **options):
    return trainer.init(key, init_rbm(key, 9, n_hidden, scale=0.1, **options), n_chains)


@eqx.filter_jit
def many_states(keys=KEYS, trainer=EULER, **units):
    return jax.vmap(lambda key: one_state(key, trainer=trainer, **units))(keys)


def at(tree, index):
    return jax.device_put(jax.tree.map(lambda leaf: leaf[index], jax.device_get(tree)))


@pytest.mark.parametrize(
    ("trainer", "batches", "n_at_once"),
    [
        pytest.param(EULER, OWN, None, marks=pytest.mark.slow),  # fast in test_a_run_can_be_continued
        pytest.param(EULER, COMMON, None, marks=pytest.mark.slow),
        (adam(RATES), COMMON, 2),
    ],
    ids=["own minibatches", "common minibatches", "adam, two at a time"],
)
def test_each_rbm_is_trained_as_alone_up_to_rounding(trainer, batches, n_at_once, x64):
    """Two at a time, one is left over, and runs without an axis."""
    states = many_states(trainer=trainer)
    options = {"n_updates": 12, "save_at": [0, 3, 10]}
    options |= {"observe": lambda state: {"step": state.step, "norm": jnp.sum(state.rbm.weights**2)}}
    together = fit_many(KEYS, trainer, states, batches, n_at_once=n_at_once, **options)
    for index, rate in enumerate(RATES):
        expected = fit(KEYS[index], alone(trainer, rate), at(states, index), batches, **options)
        assert jax.tree.structure(expected) == jax.tree.structure(together)
        close_leaves(at(together, index), expected, 1e-12)


@pytest.mark.parametrize(
    "batches",
    [OWN, pytest.param(COMMON, marks=pytest.mark.slow)],
    ids=["own minibatches", "common minibatches"],
)
def test_rbms_one_after_the_other_have_the_bits_of_fit(batches):
    states = many_states()
    runs = fit_many(KEYS, EULER, states, batches, n_updates=12, n_at_once=1)
    for index, rate in enumerate(RATES):
        same_bits(at(runs, index), fit(KEYS[index], alone(EULER, rate), at(states, index), batches, n_updates=12))


@pytest.mark.parametrize(
    ("batch_size", "weights"),
    [(None, None), (5, None), pytest.param(None, WEIGHTS, marks=pytest.mark.slow), (5, WEIGHTS)],
    ids=["all-equal", "5-equal", "all-weighted", "5-weighted"],
)
def test_a_run_can_be_continued(batch_size, weights, x64):
    batches = Batches(DATA, batch_size, weights)
    whole, _ = fit_many(KEYS, EULER, many_states(), batches, n_updates=12)
    halfway, _ = fit_many(KEYS, EULER, many_states(), batches, n_updates=5)
    close_leaves(fit_many(KEYS, EULER, halfway, batches, n_updates=7)[0], whole, 1e-12)
    expected, _ = fit(KEYS[2], alone(EULER, RATES[2]), at(many_states(), 2), batches, n_updates=12)
    close_leaves(at(whole, 2), expected, 1e-12)


def test_common_minibatches_are_common_and_own_ones_are_not():
    """The data term alone tells: the estimator keeps the mean of the minibatch in the visible bias."""

    def data_mean(key, rbm, batch, chains):
        gradient = jax.tree.map(jnp.zeros_like, rbm)
        return dataclasses.replace(gradient, visible_bias=-batch.mean(0)), chains

    trainer = Trainer.euler(data_mean, 0.1)
    states = many_states(trainer=trainer)
    common, _ = fit_many(KEYS, trainer, states, COMMON, n_updates=1)
    own, _ = fit_many(KEYS, trainer, states, OWN, n_updates=1)
    assert float(np.ptp(common.rbm.visible_bias, axis=0).max()) < 1e-7
    assert float(np.ptp(own.rbm.visible_bias, axis=0).max()) > 1e-3


def test_a_list_over_seeds_sizes_and_steps_gives_each_run_in_its_place(x64):
    states = [one_state(key, size) for key, size in zip(KEYS, [4, 2, 4, 2, 2], strict=True)]
    states[2] = fit(KEYS[2], alone(EULER, RATES[2]), states[2], COMMON, n_updates=3)[0]  # at another step
    done, options = [], {"n_updates": 12, "save_at": [0, 7]}
    ends, paths = fit_many(KEYS, EULER, states, COMMON, progress=done.append, **options)
    assert sum(done) == N_RBMS * 12
    for key, state, rate, run in zip(KEYS, states, RATES, zip(ends, paths, strict=True), strict=True):
        close_leaves(run, fit(key, alone(EULER, rate), state, COMMON, **options), 1e-12)


def test_divergence_is_told_for_each_rbm():
    trainer = Trainer.euler(PCD(), np.array([1e-3, 1e-3, 1e3, 1e-3, 1e3]))
    units = {"visible_units": Gaussian(), "hidden_units": Gaussian()}
    states = many_states(trainer=trainer, **units)
    _, trajectory = fit_many(KEYS, trainer, states, 3.0 * DATA, n_updates=30)
    np.testing.assert_array_equal(trajectory.status == Status.NON_FINITE, [False, False, True, False, True])


def test_other_rates_and_numbers_of_updates_compile_nothing(x64):
    def observe(state):
        return state.rbm.weights.sum()

    def run(rates, n_updates, **options):
        trainer = Trainer.euler(PCD(), rates)
        return fit_many(KEYS, trainer, many_states(), OWN, n_updates=n_updates, observe=observe, n_at_once=5, **options)

    run(RATES, 3)
    with compiles(at_most=0):
        run(2 * RATES, 7, save_at=[2, 5])


def test_progress_adds_up_over_rbms():
    done = []
    fit_many(KEYS, EULER, many_states(), OWN, n_updates=12, progress=done.append, n_at_once=1)
    assert sum(done) == N_RBMS * 12


@pytest.mark.parametrize(("n_visible", "n_hidden", "n_rbms", "expected"), [(64, 32, 100, 54), (784, 100, 8, 1)])
def test_groups_fit_the_cache_and_large_rbms_run_one_by_one(n_visible, n_hidden, n_rbms, expected):
    def start(key):
        return EULER.init(key, init_rbm(key, n_visible, n_hidden), n_chains=100)

    states = jax.eval_shape(jax.vmap(start), jax.random.split(jax.random.key(0), n_rbms))
    states = jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), states)
    assert many._choose_group(states, 100) == expected


BAD_ARGUMENTS = {
    "a single RBM": ({"states": one_state(KEYS[0])}, "leading axis of RBMs"),
    "keys of others": ({"keys": KEYS[:2]}, "one for each of the 5 RBMs, got 2"),
    "data of another width": ({"batches": np.zeros((3, 8))}, "9 units"),
    "a 2": ({"batches": np.full((9, 9), 2)}, "0 or 1"),
    "rates of others": ({"trainer": Trainer.euler(PCD(), np.ones(2))}, r"learning_rate .* shape \(5,\)"),
    "nothing at once": ({"n_at_once": 0}, "n_at_once"),
    "negative updates": ({"n_updates": -1}, "n_updates"),
    "save beyond the end": ({"save_at": [99]}, "save_at"),
    "no trainer": ({"trainer": PCD()}, "trainer must be a Trainer"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(changes, message):
    options = {"keys": KEYS, "trainer": EULER, "states": many_states(), "batches": OWN, "n_updates": 12, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        fit_many(**options)


@pytest.mark.usefixtures("unchecked")
def test_rbms_that_do_not_fit_together_are_named():
    states = many_states()
    mixed = dataclasses.replace(states, step=jnp.arange(5))
    with pytest.raises(ValueError, match="got steps 0 to 4; give a list"):
        fit_many(KEYS, EULER, mixed, OWN, n_updates=1)
    with pytest.raises(TypeError, match="a sequence of at least one state"):
        fit_many(KEYS, EULER, [], OWN, n_updates=1)
    with pytest.raises(TypeError, match="a sequence of at least one state"):
        fit_many(KEYS[:1], EULER, [one_state(KEYS[0]).rbm], OWN, n_updates=1)
    with pytest.raises(ValueError, match="one for each of the 1 RBMs"):
        fit_many(KEYS, EULER, [one_state(KEYS[0])], OWN, n_updates=1)
    with pytest.raises(ValueError, match=r"jax\.vmap of fit"):
        jax.jit(lambda states: fit_many(KEYS, EULER, states, OWN, n_updates=1))(states)


def test_updates_are_rejected_and_counted_for_each_rbm_on_its_own(x64):
    """Learning rates from one that chains follow to one that they do not."""
    trainer = Trainer.euler(PCD(), np.geomspace(0.01, 10, N_RBMS), review=KeepsEquilibrium())
    states = many_states(trainer=trainer)
    together, _ = fit_many(KEYS, trainer, states, OWN, n_updates=12)
    for index, rate in enumerate(trainer.time_step):
        expected, _ = fit(KEYS[index], alone(trainer, rate), at(states, index), OWN, n_updates=12)
        close_leaves(at(together, index), expected, 1e-12)
    free, _ = fit_many(KEYS, Trainer.euler(PCD(), trainer.time_step), states, OWN, n_updates=12)
    free, together = jax.device_get((free, together))
    np.testing.assert_array_equal(free.rbm.weights[0], together.rbm.weights[0])
    assert (free.rbm.weights[-1] != together.rbm.weights[-1]).any()
    assert together.n_rejected[0] == 0
    assert together.n_rejected[-1] > 0


def test_times_along_a_schedule_are_those_of_each_run_alone():
    trainer = Trainer.euler(PCD(), optax.linear_schedule(0.5, 0.1, 8))
    states, ts = many_states(trainer=trainer), []
    for _ in range(2):
        states, together = fit_many(KEYS, trainer, states, COMMON, n_updates=3, save_at=[1, 3])
        ts.append(together.ts)
    # rates 0.5, 0.45, ... of the first six updates
    expected = np.cumsum(0.5 - 0.05 * np.arange(6))[[0, 2, 3, 5]]
    np.testing.assert_allclose(np.concatenate(ts, axis=1), np.broadcast_to(expected, (N_RBMS, 4)), rtol=1e-6)
