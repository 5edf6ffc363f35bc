"""Many RBMs at once: each is trained as it would be alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import Gaussian, Status, ensemble, fit, init_rbm
from rbm_jax.data import bars_and_stripes
from rbm_jax.training import fit_ensemble, fit_sweep, init_train_state, keeps_equilibrium, pcd, set_hyperparameters

DATA = bars_and_stripes(3)
SGD = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
OPTIONS = {"estimator": pcd, "n_updates": 12, "batch_size": 5}
N_RBMS = 5
KEYS = jax.random.split(jax.random.key(1), N_RBMS)
RATES = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
BATCH_KEY = jax.random.key(9)


def one_state(key, n_hidden=4, optimizer=SGD, n_chains=10, **options):
    return init_train_state(key, init_rbm(key, 9, n_hidden, scale=0.1, **options), optimizer, n_chains=n_chains)


def many_states(optimizer=SGD):
    states = jax.vmap(functools.partial(one_state, optimizer=optimizer))(KEYS)
    return set_hyperparameters(states, learning_rate=RATES)


def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_trees(first, second, tolerance=0.0):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def alone(states, index, optimizer=SGD, **options):
    return fit(KEYS[index], at(states, index), DATA, optimizer=optimizer, **OPTIONS | options)


@pytest.mark.parametrize(
    ("optimizer", "batch_key", "n_at_once"),
    [(SGD, None, None), (SGD, BATCH_KEY, None), (ADAM, BATCH_KEY, 2)],
    ids=["own minibatches", "common minibatches", "adam, two at a time"],
)
def test_each_rbm_is_trained_as_alone_up_to_rounding(optimizer, batch_key, n_at_once, x64):
    """Two at a time, one is left over, and runs without an axis."""
    states, options = many_states(optimizer), {"save_at": [0, 3, 10], "batch_key": batch_key}
    options |= {"observe": lambda state: {"step": state.step, "norm": jnp.sum(state.rbm.weights**2)}}
    extra = {"time_step": RATES, "n_at_once": n_at_once}
    together = fit_ensemble(KEYS, states, DATA, optimizer=optimizer, **OPTIONS, **options, **extra)
    for index in range(N_RBMS):
        expected = alone(states, index, optimizer, time_step=RATES[index], **options)
        assert jax.tree.structure(expected) == jax.tree.structure(together)
        assert_trees(at(together, index), expected, 1e-12)


@pytest.mark.parametrize("batch_key", [None, BATCH_KEY], ids=["own minibatches", "common minibatches"])
def test_rbms_one_after_the_other_have_the_bits_of_fit(batch_key):
    states = many_states()
    runs = fit_ensemble(KEYS, states, DATA, optimizer=SGD, batch_key=batch_key, n_at_once=1, **OPTIONS)
    for index in range(N_RBMS):
        assert_trees(at(runs, index), alone(states, index, batch_key=batch_key))


@pytest.mark.parametrize("weights", [None, np.arange(1.0, len(DATA) + 1)], ids=["equal", "weighted"])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_a_run_can_be_continued(weights, batch_size, x64):
    options = {"estimator": pcd, "optimizer": SGD, "batch_size": batch_size, "weights": weights}
    whole, _ = fit_ensemble(KEYS, many_states(), DATA, n_updates=12, **options)
    halfway, _ = fit_ensemble(KEYS, many_states(), DATA, n_updates=5, **options)
    assert_trees(fit_ensemble(KEYS, halfway, DATA, n_updates=7, **options)[0], whole, 1e-12)
    assert_trees(at(whole, 2), alone(many_states(), 2, weights=weights, batch_size=batch_size)[0], 1e-12)


def test_common_minibatches_are_common_and_own_ones_are_not():
    """The data term alone tells: the estimator keeps the mean of the minibatch in the visible bias."""

    def data_mean(key, rbm, batch, chains):
        gradient = jax.tree.map(jnp.zeros_like, rbm)
        return type(rbm)(gradient.weights, -batch.mean(0), gradient.hidden_bias, rbm.visible_units, rbm.hidden_units), (
            chains
        )

    options = {"estimator": data_mean, "optimizer": SGD, "n_updates": 1, "batch_size": 5}
    states = jax.vmap(one_state)(KEYS)
    common, _ = fit_ensemble(KEYS, states, DATA, batch_key=BATCH_KEY, **options)
    own, _ = fit_ensemble(KEYS, states, DATA, **options)
    assert float(np.ptp(common.rbm.visible_bias, axis=0).max()) < 1e-7
    assert float(np.ptp(own.rbm.visible_bias, axis=0).max()) > 1e-3


def test_a_sweep_over_seeds_sizes_and_rates_gives_each_run_in_its_place(x64):
    sizes = [4, 2, 4, 2, 2]
    states = [
        set_hyperparameters(one_state(key, size), learning_rate=rate)
        for key, size, rate in zip(KEYS, sizes, RATES, strict=True)
    ]
    states[2] = fit(KEYS[2], states[2], DATA, optimizer=SGD, **OPTIONS)[0]  # at another step
    done = []
    options = {"optimizer": SGD, "batch_key": BATCH_KEY, "save_at": [0, 7]}
    runs = fit_sweep(KEYS, states, DATA, time_step=RATES, progress=done.append, **options, **OPTIONS)
    assert sum(done) == N_RBMS * OPTIONS["n_updates"]
    for key, state, rate, run in zip(KEYS, states, RATES, runs, strict=True):
        assert_trees(run, fit(key, state, DATA, time_step=rate, **options, **OPTIONS), 1e-12)


def test_divergence_is_told_for_each_rbm():
    start = functools.partial(one_state, visible_units=Gaussian(), hidden_units=Gaussian())
    states = set_hyperparameters(jax.vmap(start)(KEYS), learning_rate=[1e-3, 1e-3, 1e3, 1e-3, 1e3])
    _, trajectory = fit_ensemble(KEYS, states, 3.0 * DATA, optimizer=SGD, estimator=pcd, n_updates=30)
    diverged = trajectory.status == Status.NON_FINITE
    np.testing.assert_array_equal(diverged, [False, False, True, False, True])


def test_second_call_compiles_nothing():
    def observe(state):
        return state.rbm.weights.sum()

    def run(n_updates, **options):
        options |= {"observe": observe, "n_at_once": 5}
        return fit_ensemble(KEYS, many_states(), DATA, optimizer=SGD, **OPTIONS | options | {"n_updates": n_updates})

    run(3)
    functions = (ensemble._advance_together, ensemble._observe_together)
    compiled = [function._cache_size() for function in functions]
    run(7, save_at=[2, 5])
    assert [function._cache_size() for function in functions] == compiled


def test_progress_adds_up_over_rbms():
    done = []
    fit_ensemble(KEYS, many_states(), DATA, optimizer=SGD, progress=done.append, n_at_once=2, **OPTIONS)
    assert sum(done) == N_RBMS * OPTIONS["n_updates"]


@pytest.mark.parametrize(("n_visible", "n_hidden", "n_rbms", "expected"), [(64, 32, 100, 54), (784, 100, 8, 1)])
def test_groups_fit_the_cache_and_large_rbms_run_one_by_one(n_visible, n_hidden, n_rbms, expected):
    def start(key):
        return init_train_state(key, init_rbm(key, n_visible, n_hidden), SGD, n_chains=100)

    states = jax.eval_shape(jax.vmap(start), jax.random.split(jax.random.key(0), n_rbms))
    states = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), states)
    states = jax.tree.map(jnp.asarray, states)
    assert ensemble._choose_group(states, 100) == expected


def test_hyperparameters_are_set_for_one_and_for_many():
    state = set_hyperparameters(one_state(KEYS[0], optimizer=ADAM), learning_rate=0.5, b1=0.25)
    assert (float(state.opt_state.hyperparams["learning_rate"]), float(state.opt_state.hyperparams["b1"])) == (
        0.5,
        0.25,
    )
    np.testing.assert_allclose(many_states().opt_state.hyperparams["learning_rate"], RATES, rtol=1e-6)
    with pytest.raises(ValueError, match=r"learning_rate must be a number or have shape \(5,\)"):
        set_hyperparameters(many_states(), learning_rate=np.ones(3))
    with pytest.raises(ValueError, match="must hold one hyperparameter 'momentum'"):
        set_hyperparameters(many_states(), momentum=0.1)
    plain = init_train_state(KEYS[0], one_state(KEYS[0]).rbm, optax.sgd(0.1), n_chains=3)
    with pytest.raises(ValueError, match="inject_hyperparams"):
        set_hyperparameters(plain, learning_rate=0.1)


BAD_ARGUMENTS = {
    "a single RBM": ({"states": one_state(KEYS[0])}, "leading axis of RBMs"),
    "keys of others": ({"keys": KEYS[:2]}, "one for each of the 5 RBMs, got 2"),
    "data of another width": ({"data": np.zeros((3, 8))}, "9 units"),
    "a 2": ({"data": np.full((9, 9), 2)}, "0 or 1"),
    "batch larger than data": ({"batch_size": 1000}, "batch_size"),
    "times of others": ({"time_step": np.ones(2)}, r"time_step .* shape \(5,\)"),
    "time that stands still": ({"time_step": np.zeros(5)}, "time_step must be positive"),
    "nothing at once": ({"n_at_once": 0}, "n_at_once"),
    "negative updates": ({"n_updates": -1}, "n_updates"),
    "save beyond the end": ({"save_at": [99]}, "save_at"),
    "no estimator": ({"estimator": "pcd"}, "estimator"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(changes, message):
    options = {"keys": KEYS, "states": many_states(), "data": DATA, "optimizer": SGD, **OPTIONS, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        fit_ensemble(options.pop("keys"), options.pop("states"), options.pop("data"), **options)


@pytest.mark.usefixtures("unchecked")
def test_ensembles_that_do_not_fit_together_are_named():
    options = {"optimizer": SGD, **OPTIONS}
    states = many_states()
    mixed = type(states)(states.rbm, states.chains, states.opt_state, jnp.arange(5))
    with pytest.raises(ValueError, match="got steps 0 to 4; see fit_sweep"):
        fit_ensemble(KEYS, mixed, DATA, **options)
    with pytest.raises(TypeError, match="states must be a sequence"):
        fit_sweep(KEYS, [], DATA, **options)
    with pytest.raises(TypeError, match="states must be a sequence"):
        fit_sweep(KEYS[:1], [one_state(KEYS[0]).rbm], DATA, **options)
    with pytest.raises(ValueError, match="one for each of the 1 states"):
        fit_sweep(KEYS, [one_state(KEYS[0])], DATA, **options)
    with pytest.raises(ValueError, match=r"jax\.vmap of fit"):
        jax.jit(lambda states: fit_ensemble(KEYS, states, DATA, **options))(states)
    with pytest.raises(ValueError, match=r"jax\.vmap of fit"):
        jax.jit(lambda state: fit_sweep(KEYS[:1], [state], DATA, **options))(one_state(KEYS[0]))


def test_updates_are_rejected_for_each_rbm_on_its_own(x64):
    """Learning rates from one that chains follow to one that they do not."""
    rates, options = np.geomspace(0.01, 10, N_RBMS), {"accept": keeps_equilibrium}
    states = set_hyperparameters(many_states(), learning_rate=rates)
    together, _ = fit_ensemble(KEYS, states, DATA, optimizer=SGD, **OPTIONS, **options)
    for index in range(N_RBMS):
        assert_trees(at(together.rbm, index), alone(states, index, **options)[0].rbm, 1e-12)
    free, _ = fit_ensemble(KEYS, states, DATA, optimizer=SGD, **OPTIONS)
    np.testing.assert_array_equal(free.rbm.weights[0], together.rbm.weights[0])
    assert (free.rbm.weights[-1] != together.rbm.weights[-1]).any()
