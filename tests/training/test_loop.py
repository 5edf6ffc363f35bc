"""Training: updates, the loop, estimators in the loop, and what a user may get wrong."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import (
    CD,
    PCD,
    PTT,
    Batches,
    Bernoulli,
    Centered,
    Exact,
    Gaussian,
    Spin,
    Status,
    Trainer,
    fit,
    init_rbm,
    stack_rbms,
    train_step,
)
from rbm_jax.data import bars_and_stripes
from rbm_jax.model import exact_gradient, exact_visible_probabilities
from rbm_jax.training import AbstractEstimator, Optimizer, log_spaced_updates, project_updates
from rbm_jax.training.minibatches import batch_rows
from tests.helpers import close_leaves, compiles, optimized, reference_rbm, same_bits, slow_but, tolerance

DATA = bars_and_stripes(3)
EULER = Trainer.euler(PCD(), 0.1)
EXACT = Trainer.euler(Exact(), 0.1)
KEY = 7


def small_state(seed=0, trainer=EULER, n_chains=40, units=None, **options):
    units = Bernoulli() if units is None else units
    rbm = init_rbm(jax.random.key(seed), 9, 4, visible_units=units, hidden_units=units, scale=0.1, **options)
    return trainer.init(jax.random.key(seed + 100), rbm, n_chains)


def run(state, n_updates, trainer=EULER, batch_size=None, data=DATA, sample_weights=None, **options):
    batches = Batches(data, batch_size, sample_weights)
    return fit(jax.random.key(KEY), trainer, state, batches, n_updates=n_updates, **options)


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(trees))


def at(trees, index):
    return jax.device_put(jax.tree.map(lambda leaf: leaf[index], jax.device_get(trees)))


step = eqx.filter_jit(train_step)


def test_step_of_sgd_moves_along_the_negative_gradient(dtype):
    state = small_state(trainer=EXACT)
    new, info = step(jax.random.key(0), EXACT, state, DATA)
    close_leaves(info.gradient, jax.jit(exact_gradient)(state.rbm, DATA), tolerance(dtype))
    rbm, gradient = jax.device_get((state.rbm, info.gradient))
    expected = jax.tree.map(lambda parameter, slope: parameter - 0.1 * slope, rbm, gradient)
    close_leaves(new.rbm, expected, tolerance(dtype))
    assert new.rbm.dtype == dtype
    assert new.step == 1
    assert new.carry is None


def test_projected_updates_move_the_leading_modes_alone(dtype):
    """The step of SGD is the gradient between the modes of the start, which fit keeps for each RBM under vmap."""
    trainer = Trainer(Exact(), optax.chain(project_updates(2), optax.sgd(0.1)))
    states = [small_state(seed, trainer) for seed in (0, 1)]
    new, info = step(jax.random.key(0), trainer, states[0], DATA)
    before, after, gradient = (np.asarray(rbm.weights) for rbm in (states[0].rbm, new.rbm, info.gradient))
    left, _, right = np.linalg.svd(before, full_matrices=False)
    inside = left[:, :2] @ (left[:, :2].T @ gradient @ right[:2].T) @ right[:2]
    moved = after - before
    np.testing.assert_allclose(moved, -0.1 * inside, atol=tolerance(dtype))
    assert abs(moved).max() > 10 * tolerance(dtype)
    np.testing.assert_array_equal(new.rbm.visible_bias, states[0].rbm.visible_bias)
    np.testing.assert_array_equal(new.rbm.hidden_bias, states[0].rbm.hidden_bias)

    def train(state):
        return run(state, 20, trainer)[0].rbm.weights

    together = jax.jit(jax.vmap(train))(stacked(states))
    for weights, state in zip(together, states, strict=True):
        np.testing.assert_allclose(weights, train(state), atol=tolerance(dtype))
        others = np.linalg.svd(state.rbm.weights, full_matrices=False)[0][:, 2:]
        np.testing.assert_allclose(others.T @ np.subtract(weights, state.rbm.weights), 0, atol=tolerance(dtype))
    with pytest.raises(ValueError, match="n_modes"):
        project_updates(0)


ADAM = Trainer(PCD(), Optimizer(optax.adam, 1e-2))


@pytest.mark.parametrize(
    ("trainer", "batch_size"),
    slow_but([(EULER, None), (ADAM, 4)], [(EULER, None), (EULER, 4), (ADAM, None), (ADAM, 4)]),
    ids=["sgd-all", "sgd-4", "adam-all", "adam-4"],
)
def test_fit_gives_the_same_bits_however_it_is_cut_into_calls(batch_size, trainer):
    start = small_state(trainer=trainer)
    whole, _ = run(start, 30, trainer, batch_size)
    saved, _ = run(start, 30, trainer, batch_size, save_at=[1, 17, 29])
    halfway, _ = run(start, 13, trainer, batch_size)
    resumed, _ = run(halfway, 17, trainer, batch_size, progress=lambda n: None)
    same_bits(whole, saved)
    same_bits(whole, resumed)


def test_fit_is_a_loop_of_train_steps():
    looped = small_state()
    for _ in range(5):
        looped, _ = step(jax.random.key(KEY), EULER, looped, DATA)
    # float32 sums of 40 chains in two programs, over five updates of 0.1 each
    close_leaves(looped, run(small_state(), 5)[0], 1e-5)


def test_fit_under_jit_and_vmap_equals_a_loop_over_64_rbms(x64):
    keys = jax.random.split(jax.random.key(1), 64)
    trainer, batches = Trainer.euler(PCD(), 0.1), Batches(DATA, batch_size=5)
    states = jax.jit(jax.vmap(lambda seed: small_state(seed, trainer)))(np.arange(64))

    def train(key, state):
        return fit(key, trainer, state, batches, n_updates=12, save_at=[0, 3, 10])

    together = jax.jit(jax.vmap(train))(keys, states)
    expected = stacked([train(keys[index], at(states, index)) for index in range(64)])
    close_leaves(together, expected, 1e-12)
    assert together[1].rbms.weights.shape == (64, 3, 9, 4)


@pytest.mark.parametrize("units", slow_but([(Gaussian(1.0),)], [(Bernoulli(),), (Gaussian(1.0),)]), ids=str)
def test_known_data_are_checked_under_a_transformation_too(units):
    def train(key, data):
        state = EULER.init(key, init_rbm(key, 3, 2, visible_units=units), n_chains=4)
        return fit(key, EULER, state, data, n_updates=2)[0].rbm.weights

    keys = jax.random.split(jax.random.key(0), 2)
    assert jax.jit(jax.vmap(lambda key: train(key, np.ones((4, 3)))))(keys).shape == (2, 3, 2)
    with pytest.raises(ValueError, match="NaN"):
        jax.jit(jax.vmap(lambda key: train(key, np.full((4, 3), np.nan))))(keys)


def test_stacked_rbms_can_be_trained_at_once():
    rbms = stack_rbms([small_state(seed).rbm for seed in range(3)])

    @jax.jit
    @jax.vmap
    def train(key, rbm):
        return run(EULER.init(key, rbm, 10), 4)

    final, _ = train(jax.random.split(jax.random.key(0), 3), rbms)
    assert final.rbm.weights.shape == (3, 9, 4)


def test_a_learning_rate_can_be_mapped_over():
    """Trainers are pytrees: one made inside of vmap has a traced rate and clock."""
    state = small_state(trainer=EXACT)

    def train(rate):
        return run(state, 3, Trainer.euler(Exact(), rate))

    ends, paths = jax.jit(jax.vmap(train))(np.float32([0.1, 0.2]))
    np.testing.assert_allclose(paths.ts, [[0, 0.3], [0, 0.6]], rtol=1e-6)
    for index, rate in enumerate((0.1, 0.2)):
        close_leaves(at(ends.rbm, index), train(rate)[0].rbm, 1e-5)


def test_trajectory_has_the_rbms_times_and_observations_at_save_points():
    state, trajectory = run(small_state(), 20, save_at=[0, 5, 20], observe=lambda state: {"step": state.step})
    np.testing.assert_allclose(trajectory.ts, [0, 0.5, 2])
    np.testing.assert_array_equal(trajectory.observations["step"], [0, 5, 20])
    same_bits(at(trajectory.rbms, 0), small_state().rbm)
    same_bits(at(trajectory.rbms, -1), state.rbm)
    assert trajectory.status == Status.SUCCESS
    _, later = run(state, 10)
    np.testing.assert_allclose(later.ts, [2, 3], rtol=1e-6)


def test_an_equal_trainer_another_rate_and_another_number_of_updates_compile_nothing():
    start, batches = small_state(), Batches(DATA, 4)

    def train(rate, n_updates, **options):
        trainer = Trainer(PCD(n_sweeps=2, metric=Centered()), Optimizer(optax.adam, rate, b1=0.8))
        state = dataclasses.replace(start, opt_state=trainer.init(jax.random.key(0), start.rbm, 40).opt_state)
        return fit(jax.random.key(0), trainer, state, batches, n_updates=n_updates, **options)

    train(0.1, 6, save_at=[2, 6])
    with compiles(at_most=0):
        train(0.1, 6, save_at=[2, 6])
        train(0.01, 9, save_at=[1, 3, 9])
        train(0.3, 0)


def test_arrays_of_a_users_estimator_are_traced():
    class Scaled(AbstractEstimator):
        scale: jax.Array
        takes_missing = False
        updates_between = None

        def __call__(self, key, rbm, batch, carry, sample_weights=None):
            gradient, carry = Exact()(key, rbm, batch, carry, sample_weights)
            return jax.tree.map(lambda slope: self.scale * slope, gradient), carry

        def init(self, key, rbm, n_chains):
            return None

    state = small_state(trainer=EXACT)
    half = run(state, 1, Trainer.euler(Scaled(jnp.float32(0.5)), 0.1))[0].rbm
    with compiles(at_most=0):
        double = run(state, 1, Trainer.euler(Scaled(jnp.float32(2.0)), 0.1))[0].rbm
    whole = np.subtract(run(state, 1, EXACT)[0].rbm.weights, state.rbm.weights)
    np.testing.assert_allclose(np.subtract(half.weights, state.rbm.weights), whole / 2, atol=1e-7)
    np.testing.assert_allclose(np.subtract(double.weights, state.rbm.weights), 2 * whole, atol=1e-7)


def test_progress_adds_up_to_the_number_of_updates():
    done = []
    run(small_state(), 333, progress=done.append, save_at=[0, 100, 200])
    assert sum(done) == 333
    assert len(done) > 20


@pytest.mark.parametrize("rate", [0.1, optax.linear_schedule(0.1, 0.0, 40)], ids=["constant", "schedule"])
def test_reports_hold_the_numbers_of_the_state(rate):
    found, done, trainer = [], [], Trainer.euler(PCD(), rate)
    half, _ = run(small_state(trainer=trainer), 15, trainer)
    options = {"save_at": range(21), "observe": lambda state: state.rbm.weights.sum()}
    options["progress"] = lambda n: done.append(len(found))
    end, trajectory = run(half, 20, trainer, report=found.append, **options)
    assert [each["update"] for each in found] == list(range(16, 36))
    assert done == list(range(20))
    np.testing.assert_allclose([each["time"] for each in found], trajectory.ts[1:], rtol=1e-5)
    assert {each["n_rejected"] for each in found} == {0}
    np.testing.assert_array_equal([each["observed"] for each in found], trajectory.observations[1:])
    same_bits(end, run(half, 20, trainer)[0])


class Widening(AbstractEstimator):
    """Exact gradients; every third update the host adds 100 to the carry, or a line to a list of steps."""

    takes_missing = False
    updates_between = 3

    def __call__(self, key, rbm, batch, carry, sample_weights=None):
        gradient, _ = Exact()(key, rbm, batch, None, sample_weights)
        return gradient, carry + 1

    def init(self, key, rbm, n_chains):
        return jnp.zeros((1,))

    def between(self, key, state):
        assert int(state.step) % 3 == 0
        return dataclasses.replace(state, carry=jnp.append(state.carry, 100.0 * int(state.step)))


def test_the_host_is_called_between_updates_whatever_the_save_points_and_calls():
    trainer = Trainer.euler(Widening(), 0.1)
    start = small_state(trainer=trainer)
    whole, _ = run(start, 10, trainer)
    np.testing.assert_array_equal(whole.carry, [10, 307, 604, 901])
    parts = start
    for n_updates in (2, 1, 5, 2):
        parts, _ = run(parts, n_updates, trainer, save_at=[0, n_updates], progress=lambda n: None)
    same_bits(parts, whole)
    with pytest.raises(ValueError, match="Widening works on the host"):
        jax.jit(lambda state: run(state, 4, trainer))(start)


@pytest.mark.parametrize("units", slow_but([(Bernoulli(),)], [(Bernoulli(),), (Spin(),)]), ids=str)
def test_pcd_with_many_chains_follows_the_exact_gradient_within_its_monte_carlo_error(x64, units):
    data = DATA if isinstance(units, Bernoulli) else 2.0 * DATA - 1
    options = {"n_updates": 30, "save_at": [10, 20, 30]}
    state = small_state(units=units, n_chains=2000)
    exact_state = dataclasses.replace(state, carry=None)
    _, reference = fit(jax.random.key(0), EXACT, exact_state, data, **options)
    trainer, n_seeds = Trainer.euler(PCD(n_sweeps=3), 0.1), 24

    def train(key):
        return fit(key, trainer, trainer.init(key, state.rbm, n_chains=2000), data, **options)[1].rbms

    rbms = optimized(jax.vmap(train))(jax.random.split(jax.random.key(5), n_seeds))
    rbms, reference = jax.device_get((rbms, reference.rbms))
    for sampled, expected in zip(jax.tree.leaves(rbms), jax.tree.leaves(reference), strict=True):
        error = sampled.std(0, ddof=1) / np.sqrt(n_seeds)
        assert (abs(sampled.mean(0) - expected) < 5 * error).all()
        assert error.max() < 0.02 * abs(reference.weights).max()  # ... which is small enough to tell


def test_centered_and_plain_training_have_the_same_fixed_point(x64):
    rbm = reference_rbm(4, 3, 0.8)
    states = np.indices((2,) * 4).reshape(4, -1).T
    weights = exact_visible_probabilities(rbm)
    for estimator in (Exact(), Exact(metric=Centered())):
        gradient, _ = eqx.filter_jit(estimator)(None, rbm, states, None, weights)
        assert max(abs(leaf).max() for leaf in jax.tree.leaves(jax.device_get(gradient))) < 1e-14


@pytest.mark.parametrize("kind", [CD, PCD, Exact])
@pytest.mark.parametrize("metric", [None, Centered()], ids=["plain", "centered"])
def test_weights_of_samples_count_like_repetitions_in_every_parameter(x64, kind, metric):
    rbm, repeats = reference_rbm(9, 4, 0.5), np.array([3, 0, 1, 2])
    estimator = kind() if metric is None else kind(metric=metric)
    # The chains of CD start at the data, so only its data term can be compared.
    batch, key = DATA[:4], jax.random.key(0)
    chains = DATA[:6].astype(float) if kind is PCD else None
    weighted, _ = estimator(key, rbm, batch, chains, repeats)
    repeated, _ = estimator(key, rbm, np.repeat(batch, repeats, axis=0), chains)
    if kind is CD:
        close_leaves(weighted, estimator(key, rbm, batch, chains, 10.0 * repeats)[0], 1e-12)
        single, _ = estimator(key, rbm, batch, chains, np.array([0, 1.0, 0, 0]))
        assert all(
            float(jnp.abs(a - b).max()) > 1e-3 for a, b in zip(*map(jax.tree.leaves, (weighted, single)), strict=True)
        )
    else:
        close_leaves(weighted, repeated, 1e-12)


def test_minibatches_are_drawn_in_proportion_to_the_weights():
    weights = np.array([0.0, 1.0, 3.0, 0.0])

    @jax.jit
    @jax.vmap
    def rows_at(step):
        return batch_rows(jnp.array([1, 2], jnp.uint32), step, 4, 10, jnp.cumsum(jnp.asarray(weights)))

    rows = rows_at(np.arange(1000))
    fraction = np.bincount(np.asarray(rows).ravel(), minlength=4) / rows.size
    np.testing.assert_allclose(fraction, weights / 4, atol=5 * np.sqrt(0.25 * 0.75 / rows.size))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e38])
def test_weights_are_normalized_in_double_precision_whatever_their_scale(scale):
    batches = Batches(DATA, 4, scale * np.arange(len(DATA), dtype=np.float64))
    total = np.arange(len(DATA)).sum()
    np.testing.assert_allclose(batches.sample_weights, np.arange(len(DATA)) / total, rtol=1e-6)
    np.testing.assert_allclose(batches.cumulative, np.cumsum(np.arange(len(DATA))) / total, rtol=1e-6)


def test_weighted_fit_forgets_samples_of_zero_weight(x64):
    weights, state = np.arange(len(DATA)) % 2, small_state(trainer=EXACT)
    weighted, _ = run(state, 5, EXACT, sample_weights=weights)
    selected, _ = run(state, 5, EXACT, data=DATA[weights == 1])
    close_leaves(weighted.rbm, selected.rbm, 1e-12)


def test_constant_pixels_train_to_finite_parameters():
    data = DATA.copy()
    data[:, 0], data[:, 8] = 1, 0
    rbm = init_rbm(jax.random.key(0), 9, 4, visible_mean=data.mean(0))
    assert run(EULER.init(jax.random.key(1), rbm, n_chains=40), 200, data=data)[1].status == Status.SUCCESS


def test_divergence_is_reported_in_the_status():
    units, trainer = Gaussian(), Trainer.euler(PCD(), 100.0)
    data = 3 * np.random.default_rng(0).normal(size=(50, 9))
    _, trajectory = run(small_state(units=units), 50, trainer, data=data)
    assert trajectory.status == Status.NON_FINITE


def test_log_spaced_updates_start_at_zero_end_at_the_last_and_increase():
    for n_updates in (1, 2, 10, 12345):
        updates = log_spaced_updates(n_updates, 20)
        assert updates[0] == 0
        assert updates[-1] == n_updates
        assert (np.diff(updates) > 0).all()


def test_time_along_a_schedule_is_its_sum_and_runs_on():
    schedule = optax.linear_schedule(0.5, 0.1, 8)
    trainer = Trainer.euler(PCD(), schedule)
    state = small_state(trainer=trainer)
    _, whole = run(state, 10, trainer, save_at=(0, 3, 5, 10))
    rates = 0.5 - 0.05 * np.minimum(np.arange(10), 8)
    np.testing.assert_allclose(whole.ts, [0, sum(rates[:3]), sum(rates[:5]), sum(rates)], rtol=1e-5)
    middle, _ = run(state, 5, trainer)
    _, rest = run(middle, 5, trainer)
    np.testing.assert_allclose(rest.ts, whole.ts[2:], rtol=1e-5)
    traced = jax.jit(lambda state: run(state, 5, trainer)[1].ts)(middle)
    np.testing.assert_allclose(traced, rest.ts, rtol=1e-5)


def test_a_schedule_is_the_learning_rate_at_the_step_of_the_state():
    schedule = optax.linear_schedule(0.5, 0.1, 8)
    state = dataclasses.replace(small_state(trainer=EXACT), step=jnp.int32(4))
    scheduled, _ = run(state, 1, Trainer.euler(Exact(), schedule))
    close_leaves(scheduled.rbm, run(state, 1, Trainer.euler(Exact(), 0.3))[0].rbm, 1e-6)


def test_optimizers_of_optax_by_value_and_by_identity_make_the_same_updates():
    by_value, by_identity = ADAM, Trainer(PCD(), optax.adam(1e-2))
    state = small_state(trainer=by_value)
    close_leaves(run(state, 10, by_value)[0], run(state, 10, by_identity)[0], 1e-6)


def test_a_function_of_the_signature_is_an_estimator():
    def plain(key, rbm, batch, carry):
        return Exact()(key, rbm, batch, carry)

    state = EXACT.init(jax.random.key(0), small_state().rbm)
    found, _ = run(state, 3, Trainer.euler(plain, 0.1))
    same_bits(found, run(state, 3, EXACT)[0])
    with pytest.raises(ValueError, match="must take sample_weights"):
        run(state, 3, Trainer.euler(plain, 0.1), sample_weights=np.ones(len(DATA)))
    plain.init = lambda key, rbm, n_chains: jnp.full((n_chains, rbm.n_visible), 0.25)
    assert (Trainer.euler(plain, 0.1).init(jax.random.key(0), state.rbm, 3).carry == 0.25).all()
    lossy = Batches(np.where(DATA == 1, np.nan, DATA), allow_missing=True)
    with pytest.raises(ValueError, match=r"takes_missing = True"):
        fit(jax.random.key(0), Trainer.euler(plain, 0.1), state, lossy, n_updates=1)


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
    "negative weight": ({"sample_weights": -np.ones(len(DATA))}, "sample_weights"),
    "weights all zero": ({"sample_weights": np.zeros(len(DATA))}, "sample_weights"),
    "weights of another length": ({"sample_weights": np.ones(3)}, "sample_weights"),
    "no trainer": ({"trainer": PCD()}, "trainer must be a Trainer"),
    "no state": ({"state": small_state().rbm}, "state must be a TrainState"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(changes, message):
    options = {"n_updates": 5, "state": small_state(), **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        run(options.pop("state"), options.pop("n_updates"), **options)


BAD_TRAINERS = {
    "time that stands still": (lambda: Trainer(PCD(), optax.sgd(0.1), time_step=0.0), "time_step must be positive"),
    "a name for an estimator": (lambda: Trainer("pcd", optax.sgd(0.1)), "estimator must be one such as PCD()"),
    "a class for an estimator": (lambda: Trainer(PCD, optax.sgd(0.1)), "estimator must be one such as PCD()"),
    "a function of two": (lambda: Trainer(lambda key, rbm: None, optax.sgd(0.1)), r"must take \(key, rbm, batch"),
    "a number for an optimizer": (lambda: Trainer(PCD(), 0.1), "optimizer must be an Optimizer"),
    "an optimizer that was called": (lambda: Optimizer(optax.sgd(0.1), 0.1), "pass it uncalled"),
    "a negative rate": (lambda: Optimizer(optax.sgd, -0.1), "learning_rate must be at least 0"),
    "a rate that is NaN": (lambda: Trainer.euler(PCD(), np.nan), "learning_rate must be at least 0 and finite"),
    "options of arrays": (lambda: Optimizer(optax.adam, 0.1, b1=np.zeros(2)), "hashable"),
    "no review": (lambda: Trainer(PCD(), optax.sgd(0.1), review=True), "review must be a function"),
    "half a sweep": (lambda: PCD(n_sweeps=1.5), "n_sweeps"),
    "no sweep": (lambda: PCD(n_sweeps=0), "n_sweeps"),
    "a floor above 1": (lambda: PTT(floor=1.5), "floor"),
    "no chains": (lambda: EULER.init(jax.random.key(0), small_state().rbm, 0), "n_chains"),
    "neither chains nor their number": (lambda: EULER.init(jax.random.key(0), small_state().rbm), "n_chains must be"),
    "chains and their number": (lambda: EULER.init(jax.random.key(0), small_state().rbm, 3, carry=DATA), "got both"),
    "chains of another width": (lambda: EULER.init(jax.random.key(0), small_state().rbm, carry=DATA[:, :5]), "9 units"),
    "chains of NaN": (lambda: EULER.init(jax.random.key(0), small_state().rbm, carry=np.full((2, 9), np.nan)), "NaN"),
    "no RBM": (lambda: EULER.init(jax.random.key(0), DATA, 3), "rbm must be an RBM"),
}


@pytest.mark.parametrize(("make", "message"), BAD_TRAINERS.values(), ids=BAD_TRAINERS.keys())
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_train_is_named_when_it_is_made(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.usefixtures("unchecked")
def test_data_may_be_a_list():
    same_bits(run(small_state(), 2, data=DATA.tolist())[0], run(small_state(), 2)[0])


@pytest.mark.usefixtures("unchecked")
def test_bad_batches_of_an_estimator_are_named():
    rbm = reference_rbm(9, 4, 0.5)
    with pytest.raises(ValueError, match="9 units"):
        CD()(jax.random.key(0), rbm, DATA[:, :5], None)
    with pytest.raises(TypeError, match="v must be an array"):
        PCD()(jax.random.key(0), rbm, DATA, None)
    with pytest.raises(TypeError, match="carry must be TrajectoryChains"):
        PTT()(jax.random.key(0), rbm, DATA, DATA)


def test_progress_inside_a_transformation_is_refused():
    with pytest.raises(ValueError, match="progress"):
        jax.jit(lambda state: run(state, 3, progress=print))(small_state())
    with pytest.raises(ValueError, match="report is called on the host"):
        jax.jit(lambda state: run(state, 3, report=print))(small_state())


def test_strategies_are_equal_by_value():
    assert PCD(2) == PCD(np.int64(2))
    assert hash(PCD(2)) == hash(PCD(np.int64(2)))
    assert PCD(2) != PCD(3)
    assert PCD(metric=Centered()) != PCD()
    assert PCD(compute_dtype="bfloat16") == PCD(compute_dtype=jnp.bfloat16)


def test_data_are_an_argument_of_the_program_and_are_looked_at_once():
    """Another data set of the same shape compiles nothing; the second look at one array finds it known."""
    state, first = small_state(), Batches(jnp.asarray(DATA), 4)
    run_on = lambda batches: fit(jax.random.key(0), EULER, state, batches, n_updates=3)[0]  # noqa: E731
    run_on(first)
    with compiles(at_most=0):
        other = run_on(Batches(jnp.asarray(1 - DATA), 4))
    assert (other.rbm.weights != run_on(first).rbm.weights).any()
