"""Training: updates, loops, estimators in the loop, and what a user may get wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import (
    Bernoulli,
    Gaussian,
    Spin,
    Status,
    fit,
    init_rbm,
    stack_rbms,
    svd_modes,
    train_step,
)
from rbm_jax.data import bars_and_stripes
from rbm_jax.model import exact_gradient, exact_visible_probabilities
from rbm_jax.training import cd, fitting, init_train_state, log_spaced_updates, pcd, project_updates
from rbm_jax.training import loop as training
from rbm_jax.training.estimators import exact
from tests.helpers import reference_rbm, tolerance

DATA = bars_and_stripes(3)
SGD = optax.sgd(0.1)
MOMENTUM = optax.adam(1e-2)


def small_state(seed=0, optimizer=SGD, n_chains=40, units=None, **options):
    units = Bernoulli() if units is None else units
    rbm = init_rbm(jax.random.key(seed), 9, 4, visible_units=units, hidden_units=units, scale=0.1, **options)
    return init_train_state(jax.random.key(seed + 100), rbm, optimizer, n_chains=n_chains)


def run(state, n_updates, **options):
    options = {"estimator": pcd, "optimizer": SGD, **options}
    return fit(jax.random.key(7), state, DATA, n_updates=n_updates, **options)


def assert_trees_equal(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_trees_close(first, second, tolerance):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def test_step_of_sgd_moves_along_the_negative_gradient(dtype):
    state = small_state()
    new, info = train_step(jax.random.key(0), state, DATA, estimator=exact, optimizer=SGD)
    assert_trees_close(info.gradient, exact_gradient(state.rbm, DATA), tolerance(dtype))
    expected = jax.tree.map(lambda parameter, slope: parameter - 0.1 * slope, state.rbm, info.gradient)
    assert_trees_close(new.rbm, expected, tolerance(dtype))
    assert new.rbm.dtype == dtype
    assert new.step == 1


def test_projected_updates_move_the_leading_modes_alone(dtype):
    """The step of SGD is the gradient between the modes of the start, which fit keeps for each RBM under vmap."""
    optimizer = optax.chain(project_updates(2), SGD)
    states = [small_state(seed, optimizer) for seed in (0, 1)]
    new, info = train_step(jax.random.key(0), states[0], DATA, estimator=exact, optimizer=optimizer)
    modes = svd_modes(states[0].rbm.weights)
    left, right = modes.left[:, :2], modes.right[:, :2]
    inside = left @ (left.T @ info.gradient.weights @ right) @ right.T
    moved = new.rbm.weights - states[0].rbm.weights
    np.testing.assert_allclose(moved, -0.1 * inside, atol=tolerance(dtype))
    assert abs(moved).max() > 1e-3
    np.testing.assert_array_equal(new.rbm.visible_bias, states[0].rbm.visible_bias)
    np.testing.assert_array_equal(new.rbm.hidden_bias, states[0].rbm.hidden_bias)

    def train(state):
        return run(state, 20, optimizer=optimizer)[0].rbm.weights

    together = jax.vmap(train)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    for weights, state in zip(together, states, strict=True):
        np.testing.assert_allclose(weights, train(state), atol=tolerance(dtype))
        others = svd_modes(state.rbm.weights).left[:, 2:]
        np.testing.assert_allclose(others.T @ (weights - state.rbm.weights), 0, atol=tolerance(dtype))
    with pytest.raises(ValueError, match="n_modes"):
        project_updates(0)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM], ids=["sgd", "adam"])
def test_fit_gives_the_same_bits_however_it_is_cut_into_calls(batch_size, optimizer):
    options = {"batch_size": batch_size, "optimizer": optimizer}
    start = small_state(optimizer=optimizer)
    whole, _ = run(start, 30, **options)
    saved, _ = run(start, 30, save_at=[1, 17, 29], **options)
    halfway, _ = run(start, 13, **options)
    resumed, _ = run(halfway, 17, progress=lambda n: None, **options)
    assert_trees_equal(whole, saved)
    assert_trees_equal(whole, resumed)


def test_fit_is_a_loop_of_train_steps():
    looped, step = small_state(), jax.jit(functools.partial(train_step, estimator=pcd, optimizer=SGD))
    for _ in range(5):
        looped, _ = step(jax.random.key(7), looped, jnp.asarray(DATA))
    fitted, _ = run(small_state(), 5)
    assert_trees_close(looped, fitted, 1e-6)


def test_fit_under_jit_and_vmap_equals_a_loop_over_64_rbms(x64):
    keys = jax.random.split(jax.random.key(1), 64)
    states = [small_state(seed) for seed in range(64)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def train(key, state):
        options = {"estimator": pcd, "optimizer": SGD, "batch_size": 5, "save_at": [0, 3, 10]}
        return fit(key, state, DATA, n_updates=12, **options)

    together = jax.jit(jax.vmap(train))(keys, stacked)
    one_by_one = [train(key, state) for key, state in zip(keys, states, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    assert_trees_close(together, expected, 1e-12)
    assert together[1].rbms.weights.shape == (64, 3, 9, 4)


@pytest.mark.parametrize("units", [Bernoulli(), Gaussian(1.0)], ids=str)
def test_known_data_are_checked_under_a_transformation_too(units):
    def train(key, data):
        rbm = init_rbm(key, 3, 2, visible_units=units)
        state = init_train_state(key, rbm, SGD, n_chains=4)
        return fit(key, state, data, estimator=pcd, optimizer=SGD, n_updates=2)[0].rbm.weights

    keys = jax.random.split(jax.random.key(0), 2)
    assert jax.vmap(lambda key: train(key, jnp.ones((4, 3))))(keys).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="NaN"):
        jax.vmap(lambda key: train(key, jnp.full((4, 3), jnp.nan)))(keys)


def test_stacked_rbms_can_be_trained_at_once():
    rbms = stack_rbms([small_state(seed).rbm for seed in range(3)])
    state = jax.vmap(lambda key, rbm: init_train_state(key, rbm, SGD, n_chains=10))(
        jax.random.split(jax.random.key(0), 3), rbms
    )
    final, _ = jax.vmap(lambda state: run(state, 4))(state)
    assert final.rbm.weights.shape == (3, 9, 4)


def test_trajectory_has_the_rbms_times_and_observations_at_save_points():
    state, trajectory = run(
        small_state(), 20, save_at=[0, 5, 20], time_step=0.1, observe=lambda state: {"step": state.step}
    )
    np.testing.assert_allclose(trajectory.ts, [0, 0.5, 2])
    np.testing.assert_array_equal(trajectory.observations["step"], [0, 5, 20])
    assert_trees_equal(jax.tree.map(lambda leaf: leaf[0], trajectory.rbms), small_state().rbm)
    assert_trees_equal(jax.tree.map(lambda leaf: leaf[-1], trajectory.rbms), state.rbm)
    assert trajectory.status == Status.SUCCESS
    _, later = run(state, 10, time_step=0.1)
    np.testing.assert_allclose(later.ts, [2, 3], rtol=1e-6)


def test_second_call_compiles_nothing():
    start = small_state()
    run(start, 6, estimator=functools.partial(pcd, n_sweeps=2), save_at=[2, 6])
    compiled = training.advance_on_data._cache_size()
    run(start, 9, estimator=functools.partial(pcd, n_sweeps=2), save_at=[1, 3, 9])
    assert training.advance_on_data._cache_size() == compiled


def test_progress_adds_up_to_the_number_of_updates():
    done = []
    run(small_state(), 333, progress=done.append, save_at=[0, 100, 200])
    assert sum(done) == 333
    assert len(done) > 20


@pytest.mark.parametrize("units", [Bernoulli(), Spin()], ids=str)
def test_pcd_with_many_chains_follows_the_exact_gradient_within_its_monte_carlo_error(x64, units):
    data = DATA if units == Bernoulli() else 2.0 * DATA - 1
    options = {"optimizer": SGD, "n_updates": 60, "save_at": [20, 40, 60]}
    state = small_state(units=units, n_chains=2000)
    _, reference = fit(jax.random.key(0), state, data, estimator=exact, **options)
    estimator = functools.partial(pcd, n_sweeps=5)
    n_seeds = 24

    def train(key):
        fresh = init_train_state(key, state.rbm, SGD, n_chains=2000)
        return fit(key, fresh, data, estimator=estimator, **options)[1].rbms

    rbms = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(5), n_seeds))
    for sampled, expected in zip(jax.tree.leaves(rbms), jax.tree.leaves(reference.rbms), strict=True):
        error = sampled.std(0, ddof=1) / np.sqrt(n_seeds)
        assert (jnp.abs(sampled.mean(0) - expected) < 5 * error).all()
        assert error.max() < 0.02 * jnp.abs(reference.rbms.weights).max()  # ... which is small enough to tell


def test_centered_and_plain_training_have_the_same_fixed_point(x64):
    rbm = reference_rbm(4, 3, 0.8)
    states = np.indices((2,) * 4).reshape(4, -1).T
    probabilities = exact_visible_probabilities(rbm)
    for centered in (False, True):
        gradient, _ = exact(None, rbm, states, None, sample_weights=probabilities, centered=centered)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) < 1e-14


@pytest.mark.parametrize("estimator", [cd, pcd, exact])
@pytest.mark.parametrize("centered", [False, True])
def test_weights_of_samples_count_like_repetitions_in_every_parameter(x64, estimator, centered):
    rbm, repeats = reference_rbm(9, 4, 0.5), np.array([3, 0, 1, 2])
    batch = DATA[:4]
    # The chains of CD start at the data, so only its data term can be compared.
    chains = DATA[:6].astype(float)
    options = {"centered": centered}
    key = jax.random.key(0)
    weighted, _ = estimator(key, rbm, batch, chains, weights=repeats, **options)
    repeated, _ = estimator(key, rbm, np.repeat(batch, repeats, axis=0), chains, **options)
    if estimator is cd:
        weighted_again, _ = estimator(key, rbm, batch, chains, weights=10.0 * repeats, **options)
        assert_trees_close(weighted, weighted_again, 1e-12)
        single, _ = estimator(key, rbm, batch, chains, weights=np.array([0, 1.0, 0, 0]), **options)
        assert all(
            float(jnp.abs(a - b).max()) > 1e-3 for a, b in zip(*map(jax.tree.leaves, (weighted, single)), strict=True)
        )
    else:
        assert_trees_close(weighted, repeated, 1e-12)


def test_minibatches_are_drawn_in_proportion_to_the_weights():
    weights = np.array([0.0, 1.0, 3.0, 0.0])
    words = jnp.array([1, 2], jnp.uint32)
    rows = jax.vmap(lambda step: fitting.batch_rows(words, step, 4, 10, jnp.cumsum(jnp.asarray(weights))))(
        jnp.arange(1000)
    )
    share = np.bincount(np.asarray(rows).ravel(), minlength=4) / rows.size
    np.testing.assert_allclose(share, weights / 4, atol=5 * np.sqrt(0.25 * 0.75 / rows.size))


def test_weighted_fit_forgets_samples_of_zero_weight(x64):
    weights = np.arange(len(DATA)) % 2
    kept = DATA[weights == 1]
    options = {"estimator": exact, "optimizer": SGD, "n_updates": 5}
    weighted, _ = fit(jax.random.key(0), small_state(), DATA, sample_weights=weights, **options)
    selected, _ = fit(jax.random.key(0), small_state(), kept, **options)
    assert_trees_close(weighted.rbm, selected.rbm, 1e-12)


def test_constant_pixels_train_to_finite_parameters():
    data = np.concatenate([DATA, np.ones((len(DATA), 1)), np.zeros((len(DATA), 1))], axis=1)
    rbm = init_rbm(jax.random.key(0), 11, 4, visible_mean=data.mean(0))
    state = init_train_state(jax.random.key(1), rbm, SGD, n_chains=20)
    _, trajectory = fit(jax.random.key(2), state, data, estimator=pcd, optimizer=SGD, n_updates=200)
    assert trajectory.status == Status.SUCCESS


def test_divergence_is_reported_in_the_status():
    units = Gaussian()
    rbm = init_rbm(jax.random.key(0), 5, 3, visible_units=units, hidden_units=units)
    optimizer = optax.sgd(100.0)
    state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=20)
    data = 3 * np.random.default_rng(0).normal(size=(50, 5))
    _, trajectory = fit(jax.random.key(2), state, data, estimator=pcd, optimizer=optimizer, n_updates=50)
    assert trajectory.status == Status.NON_FINITE


def test_log_spaced_updates_start_at_zero_end_at_the_last_and_increase():
    for n_updates in (1, 2, 10, 12345):
        updates = log_spaced_updates(n_updates, 20)
        assert updates[0] == 0
        assert updates[-1] == n_updates
        assert (np.diff(updates) > 0).all()


BAD_ARGUMENTS = {
    "data with NaN": ({"data": np.full((3, 9), np.nan)}, "data"),
    "a 2 among Bernoulli data": ({"data": np.full((3, 9), 2)}, "0 or 1.*row 0, column 0"),
    "spins for Bernoulli units": ({"data": np.full((3, 9), -1)}, "0 or 1"),
    "too few pixels": ({"data": np.zeros((3, 8))}, "9 units"),
    "one image without its axis": ({"data": np.zeros(9)}, "2 axes"),
    "no sample": ({"data": np.zeros((0, 9))}, "at least one sample"),
    "negative updates": ({"n_updates": -1}, "n_updates"),
    "half an update": ({"n_updates": 1.5}, "n_updates"),
    "batch larger than data": ({"batch_size": 1000}, "batch_size"),
    "empty batch": ({"batch_size": 0}, "batch_size"),
    "save beyond the end": ({"save_at": [0, 99]}, "save_at"),
    "save out of order": ({"save_at": [3, 1]}, "save_at"),
    "no save": ({"save_at": []}, "save_at"),
    "negative weight": ({"weights": -np.ones(len(DATA))}, "weights"),
    "weights all zero": ({"weights": np.zeros(len(DATA))}, "weights"),
    "weights of another length": ({"weights": np.ones(3)}, "weights"),
    "time that stands still": ({"time_step": 0.0}, "time_step"),
    "no estimator": ({"estimator": "pcd"}, "estimator"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(changes, message):
    options = {"data": DATA, "estimator": pcd, "optimizer": SGD, "n_updates": 5, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        fit(jax.random.key(0), small_state(), options.pop("data"), **options)


@pytest.mark.usefixtures("unchecked")
def test_data_may_be_a_list():
    options = {"estimator": pcd, "optimizer": SGD, "n_updates": 2}
    from_list, _ = fit(jax.random.key(7), small_state(), DATA.tolist(), **options)
    assert_trees_equal(from_list, run(small_state(), 2)[0])


@pytest.mark.usefixtures("unchecked")
def test_bad_estimator_arguments_are_named():
    rbm = reference_rbm(9, 4, 0.5)
    with pytest.raises(ValueError, match="n_steps"):
        pcd(jax.random.key(0), rbm, DATA, DATA, n_sweeps=0)
    with pytest.raises(ValueError, match="9 units"):
        cd(jax.random.key(0), rbm, DATA[:, :5], None)
    with pytest.raises(TypeError, match="v must be an array"):
        pcd(jax.random.key(0), rbm, DATA, None)
    with pytest.raises(ValueError, match="n_chains"):
        init_train_state(jax.random.key(0), rbm, SGD, n_chains=0)


def test_progress_inside_a_transformation_is_refused():
    with pytest.raises(ValueError, match="progress"):
        jax.jit(lambda state: run(state, 3, progress=print))(small_state())


def test_time_along_a_schedule_is_its_sum_and_runs_on():
    data, schedule = bars_and_stripes(3), optax.linear_schedule(0.5, 0.1, 8)
    optimizer = optax.sgd(schedule)
    state = init_train_state(jax.random.key(1), init_rbm(jax.random.key(0), 9, 4), optimizer, n_chains=5)
    options = {"estimator": pcd, "optimizer": optimizer, "time_step": schedule}
    _, whole = fit(jax.random.key(2), state, data, n_updates=12, save_at=(0, 3, 5, 12), **options)
    rates = [float(schedule(step)) for step in range(12)]
    np.testing.assert_allclose(whole.ts, [0, sum(rates[:3]), sum(rates[:5]), sum(rates)], rtol=1e-5)
    middle, _ = fit(jax.random.key(2), state, data, n_updates=5, **options)
    _, rest = fit(jax.random.key(2), middle, data, n_updates=7, **options)
    np.testing.assert_allclose(rest.ts, whole.ts[2:], rtol=1e-5)
    traced = jax.jit(lambda state: fit(jax.random.key(2), state, data, n_updates=7, **options)[1].ts)(middle)
    np.testing.assert_allclose(traced, rest.ts, rtol=1e-5)
