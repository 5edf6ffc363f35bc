"""Fixed points as clusters of data, their tree, and the sum over them that estimates log Z."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from rbm_jax import (
    PCD,
    RBM,
    Batches,
    Centered,
    Gaussian,
    Spin,
    Trainer,
    exact_log_z,
    find_fixed_points,
    fit,
    init_rbm,
    solve_mean_field,
)
from rbm_jax.data import binarize, load_digits
from rbm_jax.likelihood import mean_field_log_z
from rbm_jax.mean_field import fixed_point_tree, log_state_weights, mean_field_stability
from tests.helpers import COVERING_PAIRS, PAIRS, reference_rbm, slow_but

estimate_of = jax.jit(mean_field_log_z, static_argnames=("order", "max_steps"))
stability_of = jax.jit(mean_field_stability, static_argnames="order")


def with_patterns(patterns, strengths):
    """±1 layers of equal size with W = Σ w_α ξ_α ξ_αᵀ / N for the rows ξ_α."""
    weights = (patterns.T * np.asarray(strengths)) @ patterns / patterns.shape[1]
    zero = jnp.zeros(patterns.shape[1])
    return RBM(jnp.asarray(weights, zero.dtype), zero, zero, Spin(), Spin())


def curie_weiss(n_visible, n_hidden, strength):
    weights = jnp.full((n_visible, n_hidden), strength / np.sqrt(n_visible * n_hidden))
    return RBM(weights, jnp.zeros(n_visible), jnp.zeros(n_hidden), Spin(), Spin())


@pytest.fixture(scope="module")
def digits():
    return binarize(load_digits())


@pytest.fixture(scope="module")
def along_training(digits):
    """RBMs along a training on digits."""
    rbm = init_rbm(jax.random.key(0), 64, 48, visible_mean=digits.mean(0))
    trainer = Trainer.euler(PCD(n_sweeps=3, metric=Centered()), 0.1)
    batches, saves = Batches(digits, batch_size=300), (0, 200, 800, 1200)

    # the level 0 at which tests are compiled takes several times as long
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    def train(rbm):
        state = trainer.init(jax.random.key(1), rbm, n_chains=300)
        return fit(jax.random.key(2), trainer, state, batches, n_updates=1200, save_at=saves)[1].rbms

    path = jax.device_get(train(rbm))
    return [jax.tree.map(lambda leaf, time=time: jnp.asarray(leaf[time]), path) for time in range(4)]


def test_noisy_patterns_flow_to_the_published_states(x64):
    patterns = hadamard(256)[[1, 2, 4]].astype(float)
    rng = np.random.default_rng(0)
    which, sign = np.arange(120) % 3, 1 - 2 * (np.arange(120) // 3 % 2)
    starts = sign[:, None] * patterns[which] * np.where(rng.random((120, 256)) < 0.1, -1, 1)
    rbm = with_patterns(patterns, (1.8, 1.7, 1.6))
    points = find_fixed_points(rbm, starts, order=1)
    assert points.converged.all()
    assert (stability_of(rbm, points.visible, points.hidden, order=1) > 0).all()
    np.testing.assert_array_equal(points.sizes, 20)
    overlaps = np.abs(np.asarray(points.visible) @ patterns.T / 256)
    # solutions of m = tanh(w m), each for both signs
    np.testing.assert_allclose(np.sort(overlaps.max(1)), np.repeat([0.89064, 0.91457, 0.93272], 2), atol=6e-6)
    # data of one start pattern share a label, and only they
    assert len({(int(a), int(s), int(label)) for a, s, label in zip(which, sign, points.labels, strict=True)}) == 6


def test_heavy_tailed_patterns_of_equal_strength_combine(x64):
    # with Laplace components, modes condense together: 2³ states with equal overlaps, not 2·3 pure ones
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.laplace(size=(8000, 3)))[0]
    weights = jnp.asarray(np.sqrt(1.5) * left)
    rbm = RBM(weights, jnp.zeros(8000), jnp.zeros(3), Spin(), Gaussian(1.0))
    starts = np.sign(np.abs(rng.standard_normal((32, 3))) * np.tile(all_signs(3), (4, 1)) @ left.T)
    points = find_fixed_points(rbm, starts, order=1, tol=1e-8, max_steps=5000)
    assert points.converged.all()
    overlaps = np.asarray(points.visible) @ left / np.sqrt(8000)
    assert {tuple(row) for row in np.sign(overlaps)} == {tuple(row) for row in all_signs(3)}
    assert len(points.sizes) == 8
    assert np.ptp(np.abs(overlaps)) < 0.2 * np.abs(overlaps).mean()


def all_signs(n):
    return np.array(np.meshgrid(*[[-1.0, 1.0]] * n)).reshape(n, -1).T


def test_results_fit_together(digits, along_training):
    points = find_fixed_points(along_training[-1], digits[:200])
    labels, sizes = np.asarray(points.labels), np.asarray(points.sizes)
    assert points.converged.sum() == sizes.sum() == (labels >= 0).sum()
    np.testing.assert_array_equal(np.bincount(labels[labels >= 0]), sizes)
    assert (np.diff(sizes) <= 0).all()
    visible = np.asarray(points.visible)
    distance = np.sqrt(((visible[:, None] - visible) ** 2).mean(-1)) + np.eye(len(sizes))
    assert distance.min() > points.merge_distance == 1e-2
    again = solve_mean_field(along_training[-1], init=points.visible)
    np.testing.assert_allclose(again.visible, points.visible, atol=1e-3)
    np.testing.assert_allclose(again.free_energy, points.free_energy, rtol=1e-5)
    order = np.random.default_rng(0).permutation(200)
    shuffled = find_fixed_points(along_training[-1], digits[:200][order])
    same = labels[order][:, None] == labels[order]
    np.testing.assert_array_equal(np.asarray(shuffled.labels)[:, None] == np.asarray(shuffled.labels), same)


def test_fixed_points_of_digits_multiply_with_training(digits, along_training):
    numbers = [len(find_fixed_points(rbm, digits[:200], max_steps=3000).sizes) for rbm in along_training]
    assert numbers[:2] == [1, 1]
    assert all(2 <= number <= 20 for number in numbers[2:])


def test_tree_is_nested_from_one_root(digits, along_training):
    tree = fixed_point_tree(along_training, digits[:200], max_steps=3000)
    assert len(tree) == 4
    assert len(tree[0].sizes) == 1
    for parents, children in itertools.pairwise(tree):
        assert len(parents.sizes) <= len(children.sizes)
        pairs = {(int(p), int(c)) for p, c in zip(parents.labels, children.labels, strict=True) if p >= 0}
        assert len(pairs) == len({child for _, child in pairs})
    for points in tree:
        labels = np.asarray(points.labels)
        np.testing.assert_array_equal(np.bincount(labels[labels >= 0]), points.sizes)
        assert (np.diff(points.sizes) <= 0).all()


def test_starts_that_do_not_converge_have_no_cluster():
    starts = np.concatenate([np.ones((3, 6)), -np.ones((2, 6))])
    points = find_fixed_points(curie_weiss(6, 5, 1.6), starts, max_steps=2)
    assert not points.converged.any()
    assert (points.labels == -1).all()
    assert points.visible.shape == (0, 6)
    assert points.sizes.shape == points.free_energy.shape == (0,)


def test_unstable_points_can_be_left_out():
    starts = np.concatenate([np.ones((3, 6)), np.zeros((2, 6))])
    every = find_fixed_points(curie_weiss(6, 5, 1.6), starts, order=1)
    stable = find_fixed_points(curie_weiss(6, 5, 1.6), starts, order=1, stable_only=True)
    assert every.sizes.tolist() == [3, 2]
    assert stable.sizes.tolist() == [3]
    assert stable.labels.tolist() == [0, 0, 0, -1, -1]
    assert stable.converged.all()


def test_close_points_are_merged_within_the_tolerance():
    starts = np.concatenate([np.ones((3, 6)), -np.ones((2, 6))])
    assert len(find_fixed_points(curie_weiss(6, 5, 1.6), starts).sizes) == 2
    assert len(find_fixed_points(curie_weiss(6, 5, 1.6), starts, merge_distance=3.0).sizes) == 1


def test_state_weights_count_each_state_once(dtype):
    visible = jnp.asarray(np.array([[1, 1], [1, 1], [1, 1.001], [0, 1], [5, 5]]), dtype)
    free_energy = jnp.asarray(np.array([1.0, 1, 1, 2, -9]), dtype)
    converged = jnp.asarray(np.array([True, True, True, True, False]))
    log_weights = np.asarray(jax.jit(log_state_weights)(free_energy, visible, converged))
    np.testing.assert_allclose(log_weights[:4], [-1 - np.log(3)] * 3 + [-2], rtol=1e-6)
    assert log_weights[4] == -np.inf
    batch = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[None]), (free_energy, visible, converged))
    np.testing.assert_array_equal(np.asarray(jax.jit(jax.vmap(log_state_weights))(*batch))[0], log_weights)


@pytest.mark.parametrize("pair", slow_but([(pair,) for pair in COVERING_PAIRS], [(pair,) for pair in PAIRS]), ids=str)
def test_log_z_is_right_at_weak_coupling(pair, x64):
    rbm = reference_rbm(4, 3, 0.1, *pair)
    np.testing.assert_allclose(estimate_of(rbm).value, exact_log_z(rbm), atol=3e-4)


@pytest.mark.parametrize(("strength", "exact"), [(0.5, 2079.58534110), (1.5, 2385.97496702)])
def test_log_z_counts_both_states_of_a_ferromagnet(strength, exact, x64):
    rbm = curie_weiss(2000, 1000, strength)
    start = np.stack([np.ones(2000), -np.ones(2000)])
    solution = solve_mean_field(rbm, init=start)
    estimate = estimate_of(rbm, init=start).value
    # the remainder of TAP is that of the loops, log √(1 - w²(1-m²)(1-m̄²)) and less
    np.testing.assert_allclose(estimate, exact, atol=0.02)
    states = 2 if strength > 1 else 1
    np.testing.assert_allclose(estimate, np.log(states) - solution.free_energy[0], atol=1e-9)


def test_default_starts_find_both_states():
    rbm = curie_weiss(40, 30, 1.5)
    both = estimate_of(rbm, init=np.stack([np.ones(40), -np.ones(40)])).value
    np.testing.assert_allclose(estimate_of(rbm).value, both, rtol=1e-5)


def test_log_z_has_the_derivative_of_the_mixture(x64):
    rbm = curie_weiss(6, 5, 1.6)
    slope = jax.jit(jax.grad(lambda rbm: mean_field_log_z(rbm, tol=1e-13).value))(rbm)
    solution = solve_mean_field(rbm, init=jnp.ones(6), tol=1e-13)
    np.testing.assert_allclose(slope.visible_bias, 0, atol=1e-9)  # two states of opposite sign
    visible, hidden = np.asarray(solution.visible), np.asarray(solution.hidden)
    expected = np.outer(visible, hidden) + np.asarray(rbm.weights) * np.outer(1 - visible**2, 1 - hidden**2)
    np.testing.assert_allclose(slope.weights, expected, atol=1e-9)


def test_log_z_without_a_converged_start_is_nan():
    estimate = estimate_of(curie_weiss(6, 5, 1.6), max_steps=1)
    assert jnp.isnan(estimate.value)
    assert not estimate.converged


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.zeros((0, 4)), {}, "at least one sample"),
        (np.full((2, 4), np.nan), {}, "NaN"),
        (np.zeros((2, 3)), {}, "must have 4 units"),
        (np.zeros(4), {}, "must have 2 axes"),
        (np.zeros((2, 4)), {"merge_distance": 0.0}, "merge_distance must be positive"),
    ],
)
def test_bad_data_are_refused(unchecked, data, options, message):
    with pytest.raises(ValueError, match=message):
        find_fixed_points(reference_rbm(4, 3, 0.3), data, **options)


def test_a_tree_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rbms must hold at least one"):
        fixed_point_tree([], np.zeros((2, 4)))
