"""Moments of data, and the plain and the centered gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Bernoulli, Gaussian, exact_log_likelihood
from rbm_jax.model import Centered, Moments, Plain, Standardized, conditional_moments, exact_moments
from tests.brute_force import parameters
from tests.helpers import COVERING_PAIRS, DISCRETE_PAIRS, PAIRS, reference_rbm, tolerance

per_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
covering_pairs = pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=() if pair in COVERING_PAIRS else pytest.mark.slow) for pair in PAIRS], ids=str
)
moments_of = jax.jit(conditional_moments)


def data_of(pair, n_samples, n_visible, dtype):
    rng = np.random.default_rng(3)
    states = pair[0].states
    shape = (n_samples, n_visible)
    v = rng.normal(size=shape) if states is None else states[rng.integers(0, 2, shape), 0]
    return jnp.asarray(v, dtype)


def assert_same(found, expected, error):
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=error, atol=error)


@per_pair
def test_conditional_moments_are_averages_with_hidden_units_at_their_mean(pair, dtype):
    rbm = reference_rbm(4, 3, 0.5, *pair, dtype)
    v = data_of(pair, 7, 4, dtype)
    w, _, b = parameters(rbm)
    x = np.asarray(v, np.float64)
    field = b + x @ w
    mean = {"Bernoulli": lambda t: 1 / (1 + np.exp(-t)), "Spin": np.tanh, "Gaussian": lambda t: 0.7 * t}
    h = mean[type(pair[1]).__name__](field)
    product = np.mean([np.outer(row, column) for row, column in zip(x, h, strict=True)], axis=0)
    assert_same(moments_of(rbm, v), (x.mean(0), h.mean(0), product), tolerance(dtype))


@pytest.mark.parametrize("weights", [None, np.arange(300.0)], ids=["equal", "weighted"])
def test_bfloat16_moments_are_those_of_the_rbm_with_rounded_weights(weights):
    rbm = reference_rbm(20, 12, 0.7)
    rounded = RBM(rbm.weights.astype(jnp.bfloat16).astype(rbm.dtype), *jax.tree.leaves(rbm)[1:], *(Bernoulli(),) * 2)
    v = data_of((Bernoulli(),), 300, 20, rbm.dtype)
    narrow = jax.jit(lambda rbm: conditional_moments(rbm, v, weights, compute_dtype=jnp.bfloat16))(rbm)
    assert_same(narrow, moments_of(rounded, v, weights), 2**-16)
    assert narrow.product.dtype == rbm.dtype
    assert abs(narrow.product - moments_of(rbm, v, weights).product).max() > 1e-4


def test_bfloat16_moments_are_refused_for_continuous_units():
    rbm = reference_rbm(4, 3, 0.5, Bernoulli(), Gaussian())
    with pytest.raises(TypeError, match="would round the states of continuous units"):
        conditional_moments(rbm, jnp.ones((2, 4)), compute_dtype=jnp.bfloat16)


@covering_pairs
def test_integer_weights_repeat_samples(pair, dtype):
    rbm = reference_rbm(4, 3, 0.5, *pair, dtype)
    v, counts = data_of(pair, 5, 4, dtype), np.array([3, 0, 1, 2, 5])
    found = moments_of(rbm, v, counts)
    assert_same(found, moments_of(rbm, np.repeat(v, counts, axis=0)), tolerance(dtype))
    assert_same(moments_of(rbm, v, 10 * counts), found, tolerance(dtype))


def test_every_weight_counts_in_every_moment(x64):
    rbm = reference_rbm(4, 3, 0.5)
    v = data_of((rbm.visible_units,), 5, 4, jnp.float64)
    derivative = jax.jit(jax.jacobian(lambda weights: conditional_moments(rbm, v, weights)))(jnp.ones(5))
    for moment in jax.tree.leaves(derivative):
        assert (abs(np.reshape(moment, (-1, 5))).max(0) > 1e-3).all()


@covering_pairs
def test_the_plain_gradient_is_that_of_the_negative_log_likelihood(pair, dtype):
    rbm = reference_rbm(4, 3, 0.4, *pair, dtype)
    v = data_of(pair, 7, 4, dtype)
    weights = jnp.asarray(np.random.default_rng(1).uniform(0.2, 2, 7), dtype)

    @jax.jit
    def both(model):
        gradient = Plain()(model, conditional_moments(model, v, weights), exact_moments(model))
        return gradient, jax.grad(lambda model: -exact_log_likelihood(model, v, weights))(model)

    found, expected = both(rbm)
    assert jax.tree.structure(found) == jax.tree.structure(rbm)
    assert_same(found, expected, tolerance(dtype))


@covering_pairs
def test_the_centered_gradient_is_that_of_the_centered_parameters(pair, dtype):
    rbm = reference_rbm(4, 3, 0.4, *pair, dtype)
    v = data_of(pair, 7, 4, dtype)

    @jax.jit
    def both(rbm):
        data, model = conditional_moments(rbm, v), exact_moments(rbm)
        mu, lam = data.visible, data.hidden

        def plain_parameters(centered):
            """The RBM with energy -(v-μ)ᵀW(h-λ) - a'·v - b'·h, up to a constant."""
            w, a, b = centered.weights, centered.visible_bias, centered.hidden_bias
            return RBM(w, a - w @ lam, b - mu @ w, *pair)

        w = rbm.weights
        centered = RBM(w, rbm.visible_bias + w @ lam, rbm.hidden_bias + mu @ w, *pair)

        def loss(parameters):
            return -exact_log_likelihood(plain_parameters(parameters), v)

        # the offsets stand still while the parameters move along the gradient
        _, velocity = jax.jvp(plain_parameters, (centered,), (jax.grad(loss)(centered),))
        return Centered()(rbm, data, model), velocity

    found, expected = both(rbm)
    assert_same(found, expected, tolerance(dtype))


def random_moments(seed):
    rng = np.random.default_rng(seed)
    return Moments(*(jnp.asarray(rng.normal(size=shape)) for shape in ((4,), (3,), (4, 3))))


def test_centering_is_a_positive_matrix_so_it_moves_no_fixed_point(x64):
    rbm, data = reference_rbm(4, 3, 0.4), random_moments(0)
    gradients = jax.jit(lambda model: [metric(rbm, data, model) for metric in (Plain(), Centered())])
    for seed in range(1, 20):
        plain, centered = map(jax.tree.leaves, gradients(random_moments(seed)))
        assert sum(map(np.vdot, plain, centered)) > 0
    for leaf in jax.tree.leaves(gradients(data)):
        np.testing.assert_array_equal(leaf, 0)

    # linear in the difference, and of full rank: only a zero plain gradient gives a zero centered one
    matrix = jax.jit(jax.jacobian(lambda model: Centered()(rbm, data, model)))(data)
    rows = [
        np.concatenate([np.reshape(block, (leaf.size, -1)) for block in jax.tree.leaves(blocks)], 1)
        for leaf, blocks in zip(
            jax.tree.leaves(rbm), (matrix.weights, matrix.visible_bias, matrix.hidden_bias), strict=True
        )
    ]
    assert np.linalg.matrix_rank(np.concatenate(rows)) == 4 + 3 + 12


@pytest.mark.parametrize(
    ("v", "weights", "message"),
    [
        (np.ones((0, 4)), None, "at least one sample"),
        (np.ones((2, 5)), None, "v must have 4 units"),
        (np.ones((2, 4)), np.array([-1.0, 2.0]), "non-negative"),
        (np.ones((2, 4)), np.zeros(2), "positive sum"),
        (np.ones((2, 4)), np.array([np.nan, 1.0]), "weights holds 1 values that are NaN"),
    ],
)
def test_data_and_weights_that_do_not_fit_are_refused(v, weights, message):
    with pytest.raises(ValueError, match=message):
        conditional_moments(reference_rbm(4, 3, 0.5), v, weights)


def standardized_rbm(parameters, data, rbm):
    """The RBM with energy -xᵀW̃y - ã·x - b̃·y in standardized x and y, up to a constant."""
    weights, visible_bias, hidden_bias = parameters
    v_scale, h_scale = (
        jnp.sqrt(jnp.maximum(variance, 0.1 * variance.mean()))
        for variance in (
            rbm.visible_units.variance_at_mean(data.visible),
            rbm.hidden_units.variance_at_mean(data.hidden),
        )
    )
    w = weights / v_scale[:, None] / h_scale
    a = visible_bias / v_scale - w @ data.hidden
    b = hidden_bias / h_scale - data.visible @ w
    return RBM(w, a, b, rbm.visible_units, rbm.hidden_units), v_scale, h_scale


@pytest.mark.parametrize("units", DISCRETE_PAIRS, ids=str)
def test_standardized_gradient_is_a_step_in_standardized_parameters(units, x64):
    """What plain descent in (W̃, ã, b̃) does to (W, a, b)."""
    rbm = reference_rbm(5, 3, 0.6, *units)
    v = np.random.default_rng(0).choice(units[0].states.ravel(), size=(50, 5), p=[0.7, 0.3])

    @jax.jit
    def both(rbm):
        data, model = conditional_moments(rbm, v), exact_moments(rbm)
        found = Standardized()(rbm, data, model)
        _, v_scale, h_scale = standardized_rbm((rbm.weights, rbm.visible_bias, rbm.hidden_bias), data, rbm)
        w = rbm.weights * v_scale[:, None] * h_scale
        a = (rbm.visible_bias + rbm.weights @ data.hidden) * v_scale
        b = (rbm.hidden_bias + data.visible @ rbm.weights) * h_scale

        def moved(parameters):
            return standardized_rbm(parameters, data, rbm)[0]

        plain = Plain()(rbm, data, model)
        _, pullback = jax.vjp(moved, (w, a, b))
        (descent,) = pullback(plain)
        _, expected = jax.jvp(moved, ((w, a, b),), (descent,))
        return found, expected

    found, expected = both(rbm)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=1e-10, atol=1e-12)


def test_standardized_gradient_of_constant_pixels_is_finite():
    rbm = reference_rbm(5, 3, 0.6)
    v = np.ones((4, 5)) * np.array([0, 1, 1, 0, 1.0])
    v[0, 4] = 0
    gradient = jax.jit(lambda rbm: Standardized()(rbm, conditional_moments(rbm, v), exact_moments(rbm)))(rbm)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
