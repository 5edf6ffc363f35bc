"""Exact results against sums over both layers, quadrature, linear algebra and published values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

import rbm_jax.model.exact
from rbm_jax import RBM, Bernoulli, Gaussian, Spin, exact_log_likelihood, exact_log_z, stack_rbms
from rbm_jax.model import (
    bernoulli_to_spin,
    enumerate_states,
    exact_gradient,
    exact_moments,
    exact_visible_probabilities,
    gaussian_log_z,
    gaussian_moments,
)
from tests.brute_force import joint_table, layer_nodes, log_sum_exp, moments, parameters, table_sizes
from tests.helpers import COVERING_PAIRS, DISCRETE_PAIRS, PAIRS, reference_rbm, slow_but, tolerance

precise_pairs = pytest.mark.parametrize(
    ("dtype", "pair"),
    slow_but(
        [("float64", pair) for pair in PAIRS] + [("float32", pair) for pair in COVERING_PAIRS],
        [(name, pair) for name in ("float64", "float32") for pair in PAIRS],
    ),
    ids=str,
    indirect=["dtype"],
)

log_z_of, moments_of = jax.jit(exact_log_z), jax.jit(exact_moments)
PRINTED = 6e-11  # published values have ten decimals


def assert_moments(found, expected, error):
    for name, target in zip(("visible", "hidden", "product"), expected, strict=True):
        np.testing.assert_allclose(getattr(found, name), target, rtol=error, atol=error, err_msg=name)


def data_of(pair, n_visible, dtype):
    """Nine samples and their weights."""
    rng = np.random.default_rng(3)
    states = pair[0].states
    v = rng.normal(size=(9, n_visible)) if states is None else states[rng.integers(0, 2, (9, n_visible)), 0]
    return jnp.asarray(v, dtype), jnp.asarray(rng.uniform(0.5, 2, 9), dtype)


@pytest.mark.parametrize(
    ("shape", "strength", "units", "log_z"),
    [
        ((6, 5), 0.3, (Bernoulli(), Bernoulli()), 7.8410515422),
        ((6, 5), 0.3, (Spin(), Spin()), 8.4570875252),
        ((8, 6), 0.5, (Spin(), Spin()), 12.7388230846),
        ((8, 6), 0.5, (Bernoulli(), Bernoulli()), 10.3741666683),
        ((6, 1), 0.7, (Spin(), Spin()), 5.6973716213),
        ((6, 3), 0.4, (Spin(), Gaussian(1.69)), 9.9573942869),
        ((5, 4), 0.25, (Gaussian(0.81), Gaussian(1.44)), None),
    ],
    ids=str,
)
def test_log_z_has_the_published_value(shape, strength, units, log_z, x64):
    rbm = reference_rbm(*shape, strength, *units)
    if log_z is None:  # published for zero biases
        rbm, log_z = RBM(rbm.weights, jnp.zeros(5), jnp.zeros(4), *units), 9.0565440488
    np.testing.assert_allclose(log_z_of(rbm), log_z, rtol=0, atol=PRINTED)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (Bernoulli(), (0.5920481047, 0.5411632727, 0.3355336087)),
        (Spin(), (0.2125930696, 0.2085160367, 0.2728064950)),
    ],
    ids=str,
)
def test_moments_have_the_published_values(units, expected, x64):
    found = moments_of(reference_rbm(6, 5, 0.3, units))
    np.testing.assert_allclose((found.visible[0], found.hidden[0], found.product[0, 0]), expected, rtol=0, atol=PRINTED)


@pytest.mark.parametrize(("units", "total"), [(Spin(), 0.0010579665), (Bernoulli(), 13.1524714470)], ids=str)
def test_the_sum_of_products_has_the_published_value(units, total, x64):
    np.testing.assert_allclose(moments_of(reference_rbm(8, 6, 0.5, units)).product.sum(), total, atol=PRINTED)


def test_gaussian_covariances_have_the_published_values(x64):
    units = Gaussian(0.81), Gaussian(1.44)
    weights = reference_rbm(5, 4, 0.25).weights

    def log_z(fields):
        return log_z_of(RBM(weights, fields[:5], fields[5:], *units))

    # the covariance is the second derivative of log Z in the fields
    covariance = jax.jit(jax.hessian(log_z))(jnp.zeros(9))
    found = covariance[0, 0], covariance[0, 6], covariance[5, 5]
    np.testing.assert_allclose(found, (1.0069106063, 0.1376000359, 1.8543457971), rtol=0, atol=PRINTED)
    product = moments_of(RBM(weights, jnp.zeros(5), jnp.zeros(4), *units)).product
    np.testing.assert_allclose(product, covariance[:5, 5:], atol=1e-12)


def test_log_z_of_the_bipartite_curie_weiss_model_is_the_sum_over_magnetizations(x64):
    w, a, b, n, m = 1.2, 0.1, -0.2, 6, 4
    rbm = RBM(jnp.full((n, m), w / np.sqrt(n * m)), jnp.full(n, a), jnp.full(m, b), Spin(), Spin())
    k, q = np.arange(n + 1)[:, None], np.arange(m + 1)
    log_count = (
        gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + gammaln(m + 1) - gammaln(q + 1) - gammaln(m - q + 1)
    )
    total_v, total_h = 2 * k - n, 2 * q - m
    expected = log_sum_exp(log_count + w * total_v * total_h / np.sqrt(n * m) + a * total_v + b * total_h)
    np.testing.assert_allclose(log_z_of(rbm), expected, rtol=1e-13)
    np.testing.assert_allclose(log_z_of(rbm), 8.0545098872, rtol=0, atol=PRINTED)


def test_log_z_of_spins_is_even_in_the_biases(dtype):
    rbm = reference_rbm(6, 5, 0.7, Spin(), dtype=dtype)
    mirrored = RBM(rbm.weights, -rbm.visible_bias, -rbm.hidden_bias, Spin(), Spin())
    np.testing.assert_allclose(log_z_of(mirrored), log_z_of(rbm), rtol=tolerance(dtype))
    found, expected = moments_of(mirrored), moments_of(rbm)
    np.testing.assert_allclose(found.visible, -expected.visible, atol=tolerance(dtype))
    np.testing.assert_allclose(found.product, expected.product, atol=tolerance(dtype))


@jax.jit
def everything(rbm, v, weights):
    """All exact results of one RBM, and the same by automatic differentiation."""
    log_likelihood, ascent = jax.value_and_grad(exact_log_likelihood)(rbm, v, weights)
    return {
        "log_z": exact_log_z(rbm),
        "moments": exact_moments(rbm),
        "log_z_gradient": jax.grad(exact_log_z)(rbm),
        "log_likelihood": log_likelihood,
        "gradient": exact_gradient(rbm, v, weights),
        "ascent": ascent,
    }


@precise_pairs
def test_exact_results_are_sums_over_both_layers_and_each_others_derivatives(pair, dtype):
    rbm = reference_rbm(*table_sizes(pair), 0.5, *pair, dtype)
    v, weights = data_of(pair, rbm.n_visible, dtype)
    found, joint, error = everything(rbm, v, weights), joint_table(rbm), tolerance(dtype)
    np.testing.assert_allclose(found["log_z"], joint.log_z, rtol=error)
    assert_moments(found["moments"], moments(joint), error)
    slope = found["log_z_gradient"]
    assert_moments(found["moments"], (slope.visible_bias, slope.hidden_bias, slope.weights), error)

    w, a, b = parameters(rbm)
    h, log_h = layer_nodes(pair[1], rbm.n_hidden)
    x = np.asarray(v, np.float64)
    base = 0.0 if pair[0].states is not None else -(x**2).sum(1) / (2 * pair[0].base_variance)
    log_p = base + x @ a + log_sum_exp(log_h + h @ b + x @ w @ h.T, axis=1) - joint.log_z
    expected = np.average(log_p, weights=np.asarray(weights))
    np.testing.assert_allclose(found["log_likelihood"], expected, rtol=error)

    assert jax.tree.structure(found["gradient"]) == jax.tree.structure(rbm)
    for leaf, target in zip(jax.tree.leaves(found["gradient"]), jax.tree.leaves(found["ascent"]), strict=True):
        np.testing.assert_allclose(leaf, -target, rtol=error, atol=error)


def test_without_weights_all_samples_count_alike(dtype):
    rbm = reference_rbm(4, 3, 0.5, dtype=dtype)
    v, _ = data_of((Bernoulli(), Bernoulli()), 4, dtype)
    plain, weighted = (
        jax.jit(lambda rbm: (exact_log_likelihood(rbm, v), exact_gradient(rbm, v)))(rbm),
        everything(rbm, v, jnp.full(9, 2.0, dtype)),
    )
    np.testing.assert_allclose(plain[0], weighted["log_likelihood"], rtol=tolerance(dtype))
    for leaf, target in zip(jax.tree.leaves(plain[1]), jax.tree.leaves(weighted["gradient"]), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.mark.parametrize("shape", [(2, 6), (6, 2)])
@pytest.mark.parametrize("pair", DISCRETE_PAIRS[1:3], ids=str)
def test_either_layer_may_be_the_one_that_is_enumerated(pair, shape, dtype):
    rbm = reference_rbm(*shape, 0.8, *pair, dtype)
    joint = joint_table(rbm)
    np.testing.assert_allclose(log_z_of(rbm), joint.log_z, rtol=tolerance(dtype))
    assert_moments(moments_of(rbm), moments(joint), tolerance(dtype))


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0].states is not None], ids=str)
def test_visible_probabilities_are_the_marginals(pair, dtype):
    rbm = reference_rbm(*table_sizes(pair), 0.8, *pair, dtype)
    joint = joint_table(rbm)
    np.testing.assert_array_equal(enumerate_states(pair[0], rbm.n_visible), joint.v)
    expected = joint.probabilities.sum(1)
    np.testing.assert_allclose(jax.jit(exact_visible_probabilities)(rbm), expected, rtol=tolerance(dtype))


def test_the_gradient_of_independent_data_is_zero_at_the_atanh_of_their_means(x64):
    means = np.array([0.5, -0.2, 0.8])
    v = enumerate_states(Spin(), 3)
    share = ((1 + v * means) / 2).prod(1)
    rbm = RBM(jnp.zeros((3, 2)), jnp.asarray(np.arctanh(means)), jnp.zeros(2), Spin(), Spin())
    found = everything(rbm, v, share)
    np.testing.assert_allclose(found["log_likelihood"], -1.5604297850, rtol=0, atol=PRINTED)
    for leaf in jax.tree.leaves(found["gradient"]):
        np.testing.assert_allclose(leaf, 0, atol=1e-14)


@pytest.mark.parametrize("shape", [(2, 5), (4, 4), (6, 3)])
def test_gaussian_layers_follow_from_their_joint_precision(shape, dtype):
    rbm = reference_rbm(*shape, 0.2, Gaussian(), dtype=dtype)
    rng = np.random.default_rng(0)
    variances = [rng.uniform(0.5, 1.5, n) for n in shape]
    w, a, b = parameters(rbm)
    precision = np.block([[np.diag(1 / variances[0]), -w], [-w.T, np.diag(1 / variances[1])]])
    covariance, field = np.linalg.inv(precision), np.concatenate([a, b])
    mean = covariance @ field
    n = shape[0]
    product = covariance[:n, n:] + np.outer(mean[:n], mean[n:])
    log_z = (sum(shape) * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1] + field @ mean) / 2
    arguments = [jnp.asarray(variance, dtype) for variance in variances]
    np.testing.assert_allclose(jax.jit(gaussian_log_z)(rbm, *arguments), log_z, rtol=tolerance(dtype))
    assert_moments(jax.jit(gaussian_moments)(rbm, *arguments), (mean[:n], mean[n:], product), tolerance(dtype))


@pytest.mark.parametrize("shape", [(2, 5), (4, 4), (6, 3)])
def test_beyond_the_bound_a_gaussian_rbm_has_infinite_z_and_no_moments(shape, dtype):
    rbm = reference_rbm(*shape, 1.0, Gaussian(0.5), Gaussian(2.0), dtype=dtype)
    weights = np.asarray(rbm.weights)
    top = np.linalg.norm(weights, 2)  # the bound is 1, since the variances multiply to 1
    inside, beyond = (
        RBM(jnp.asarray(weights * (edge / top), dtype), rbm.visible_bias, rbm.hidden_bias, Gaussian(0.5), Gaussian(2.0))
        for edge in (0.99, 1.01)
    )
    assert np.isfinite(log_z_of(inside))
    assert log_z_of(beyond) == np.inf
    assert all(np.isnan(moment).all() for moment in jax.tree.leaves(moments_of(beyond)))
    assert jax.jit(exact_log_likelihood)(beyond, jnp.zeros((1, shape[0]), dtype)) == -np.inf


@pytest.mark.parametrize(
    ("shape", "budget", "n_chunks"),
    slow_but(
        [((5, 6), 1, 16), ((6, 5), 60, 8), ((5, 6), 10**9, 1)],
        [(shape, *chunks) for shape in ((5, 6), (6, 5)) for chunks in ((1, 16), (60, 8), (10**9, 1))],
    ),
    ids=str,
)
def test_results_do_not_depend_on_the_size_of_the_chunks(shape, budget, n_chunks, monkeypatch, x64):
    rbm = reference_rbm(*shape, 0.8, Bernoulli(), Spin())
    expected = joint_table(rbm)
    monkeypatch.setattr(rbm_jax.model.exact, "_CHUNK_ELEMENTS", budget)
    for function in (rbm_jax.model.exact._log_z, rbm_jax.model.exact._moments):
        function.clear_cache()  # the size of the chunks is not part of what is traced
    assert rbm_jax.model.exact._n_chunks(rbm_jax.model.exact._orient(rbm)[0]) == n_chunks
    both = jax.jit(lambda model: (jax.value_and_grad(exact_log_z)(model), exact_moments(model)))
    (log_z, slope), found = both(rbm)
    np.testing.assert_allclose(log_z, expected.log_z, rtol=1e-12)
    assert_moments(found, moments(expected), 1e-12)
    assert_moments(found, (slope.visible_bias, slope.hidden_bias, slope.weights), 1e-12)


def test_a_wide_visible_layer_over_fourteen_hidden_units_is_enumerated(x64):
    rng = np.random.default_rng(0)
    w, a, b = rng.normal(size=(300, 14)) * 0.1, rng.normal(size=300) * 0.1, rng.normal(size=14) * 0.1
    assert rbm_jax.model.exact._CHUNK_ELEMENTS < 2**14 * (300 + 14)  # more than one chunk
    rbm = RBM(jnp.asarray(w), jnp.asarray(a), jnp.asarray(b), Bernoulli(), Bernoulli())
    h, _ = layer_nodes(Bernoulli(), 14)
    fields = a + h @ w.T
    log_weights = h @ b + np.logaddexp(0, fields).sum(1)
    p = np.exp(log_weights - log_sum_exp(log_weights))
    np.testing.assert_allclose(log_z_of(rbm), log_sum_exp(log_weights), rtol=1e-12)
    found = moments_of(rbm)
    np.testing.assert_allclose(found.hidden, p @ h, rtol=1e-10)
    np.testing.assert_allclose(found.visible, p @ (1 / (1 + np.exp(-fields))), rtol=1e-10)


@pytest.mark.parametrize("strength", [1e3, 1e5])
def test_strong_couplings_give_the_ground_state_without_overflow(strength, dtype):
    rbm = jax.tree.map(lambda leaf: strength * leaf, reference_rbm(5, 4, 1.0, Spin(), dtype=dtype))
    joint = joint_table(rbm)
    row, column = np.unravel_index(joint.energy.argmin(), joint.energy.shape)
    np.testing.assert_allclose(log_z_of(rbm), joint.log_z, rtol=tolerance(dtype))
    expected = joint.v[row], joint.h[column], np.outer(joint.v[row], joint.h[column])
    assert_moments(moments_of(rbm), expected, tolerance(dtype))


@pytest.mark.parametrize(("units", "size"), [(Bernoulli(), 25), (Spin(), 40)], ids=str)
@pytest.mark.parametrize("function", [exact_log_z, exact_moments])
def test_too_many_states_are_refused(function, units, size):
    with pytest.raises(ValueError, match="too many to enumerate"):
        function(reference_rbm(size, size, 0.1, units))


def test_a_continuous_layer_cannot_be_enumerated():
    with pytest.raises(ValueError, match="continuum of states"):
        enumerate_states(Gaussian(), 2)
    with pytest.raises(ValueError, match="continuum of states"):
        exact_visible_probabilities(reference_rbm(3, 2, 0.1, Gaussian(), Spin()))
    with pytest.raises(ValueError, match="too many to enumerate"):
        enumerate_states(Spin(), 25)
    with pytest.raises(ValueError, match="size must be at least 1"):
        enumerate_states(Spin(), 0)
    with pytest.raises(ValueError, match="too many to enumerate"):
        exact_log_z(reference_rbm(3, 30, 0.1, Gaussian(), Spin()))


@pytest.mark.parametrize("function", [exact_log_likelihood, exact_gradient])
@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.ones(()), "weights"), (np.ones(4), "weights"), (-np.ones(3), "non-negative"), (np.zeros(3), "positive sum")],
)
def test_sample_weights_that_do_not_fit_are_refused(function, weights, message):
    # a wrong shape is already seen by the run-time check of annotations
    with pytest.raises((ValueError, TypeError), match=message):
        function(reference_rbm(4, 3, 0.5), jnp.ones((3, 4)), weights)


STACKED = [(Bernoulli(), Spin()), (Spin(), Gaussian()), (Gaussian(), Gaussian())]


@pytest.mark.parametrize(
    ("dtype", "pair"),
    slow_but(
        [("float64", pair) for pair in STACKED] + [("float32", STACKED[0])],
        [(name, pair) for name in ("float64", "float32") for pair in STACKED],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_exact_results_of_a_stack_are_those_of_each_rbm(pair, dtype):
    rbms = [reference_rbm(4, 3, strength, *pair, dtype) for strength in (0.1, 0.3)]

    def both(rbm):
        return exact_log_z(rbm), exact_moments(rbm)

    found = jax.jit(jax.vmap(both))(stack_rbms(rbms))
    for index, rbm in enumerate(rbms):
        for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves((log_z_of(rbm), moments_of(rbm))), strict=True):
            assert leaf.dtype == dtype
            np.testing.assert_allclose(leaf[index], target, rtol=tolerance(dtype), atol=tolerance(dtype))


def test_the_probability_of_a_state_does_not_depend_on_the_units_it_is_written_in(x64):
    rbm = reference_rbm(4, 3, 0.8)
    spin, _ = bernoulli_to_spin(rbm)
    np.testing.assert_allclose(exact_visible_probabilities(spin), exact_visible_probabilities(rbm), rtol=1e-12)
