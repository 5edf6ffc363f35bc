"""Unit types against sums over their states, derivatives of their cumulant generating function, and exact errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from rbm_jax import Bernoulli, Gaussian, Spin
from tests.brute_force import log_sum_exp, unit_nodes
from tests.helpers import UNITS, tolerance

DISCRETE = [units for units in UNITS if units.states is not None]
FIELDS = np.linspace(-5.3, 6.1, 39)
CURVES = ("log_partition", "mean", "variance", "third_cumulant")

per_unit = pytest.mark.parametrize("units", UNITS, ids=str)
per_discrete = pytest.mark.parametrize("units", DISCRETE, ids=str)


draw = jax.jit(lambda units, key, field: units.sample(key, field), static_argnums=0)


def interior_means(units, dtype):
    """Means at moderate fields, with one fixed dtype."""
    return units.mean(jnp.asarray(np.linspace(-3.1, 2.7, 21), dtype))


def derivative_of(curve):
    """Derivative of a function that acts on each unit by itself."""
    return jax.jit(jax.grad(lambda x: curve(x).sum()))


@per_unit
def test_log_partition_is_the_log_sum_over_states(units, dtype):
    states, log_measure = unit_nodes(units)
    expected = log_sum_exp(log_measure + FIELDS[:, None] * states, axis=1)
    found = units.log_partition(jnp.asarray(FIELDS, dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_unit
def test_cumulants_are_those_of_the_states(units, dtype):
    states, log_measure = unit_nodes(units)
    log_weights = log_measure + FIELDS[:, None] * states
    p = np.exp(log_weights - log_sum_exp(log_weights, axis=1)[:, None])
    mean = p @ states
    centered = states - mean[:, None]
    field = jnp.asarray(FIELDS, dtype)
    for name, expected in [
        ("mean", mean),
        ("variance", (p * centered**2).sum(1)),
        ("third_cumulant", (p * centered**3).sum(1)),
    ]:
        found = getattr(units, name)(field)
        np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype), err_msg=name)


@per_unit
@pytest.mark.parametrize(("curve", "derivative"), list(itertools.pairwise(CURVES)))
def test_each_cumulant_is_the_derivative_of_the_one_below(units, curve, derivative, dtype):
    slope = derivative_of(getattr(units, curve))(jnp.asarray(FIELDS, dtype))
    expected = getattr(units, derivative)(jnp.asarray(FIELDS, dtype))
    np.testing.assert_allclose(slope, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_unit
def test_derivatives_of_log_partition_at_no_field_are_the_cumulants(units, dtype):
    slope, field = units.log_partition, jnp.zeros(1, dtype)
    for name in CURVES[1:]:
        slope = derivative_of(slope)
        np.testing.assert_allclose(slope(field), getattr(units, name)(field), atol=tolerance(dtype), err_msg=name)


@per_discrete
@pytest.mark.parametrize("curve", ["variance", "third_cumulant"])
def test_cumulants_keep_their_relative_accuracy_in_the_tails(units, curve, dtype):
    field = np.array([-30.0, -12.0, 12.0, 30.0])
    scale = 1 if units == Bernoulli() else 2
    # 1 - tanh² and p (1 - p) for large |x|, without cancellation
    variance = scale**2 * np.exp(-scale * abs(field)) / (1 + np.exp(-scale * abs(field))) ** 2
    expected = variance if curve == "variance" else -variance * scale * np.tanh(scale * field / 2)
    found = getattr(units, curve)(jnp.asarray(field, dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype))


@per_unit
def test_field_at_mean_inverts_the_mean(units, dtype):
    field = jnp.asarray(np.linspace(-3.1, 2.7, 21), dtype)
    # the inverse magnifies the rounding of a mean near the edge by 1 / variance
    error = tolerance(dtype) * (1 + 1 / units.variance(field))
    assert (abs(units.field_at_mean(units.mean(field)) - field) < error).all()


@per_discrete
def test_field_at_the_edge_is_infinite(units, dtype):
    low, high = units.states.min(), units.states.max()
    field = units.field_at_mean(jnp.asarray([low, high], dtype))
    np.testing.assert_array_equal(field, [-np.inf, np.inf])


@per_unit
def test_entropy_is_the_legendre_transform_of_log_partition(units, dtype):
    field = jnp.asarray(np.linspace(-3.1, 2.7, 21), dtype)
    mean = units.mean(field)
    expected = units.log_partition(field) - field * mean
    np.testing.assert_allclose(units.entropy(mean), expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_discrete
def test_entropy_is_that_of_the_probabilities_of_the_states(units, x64):
    mean = interior_means(units, jnp.float64)
    low, high = units.states.min(), units.states.max()
    p = (np.asarray(mean) - low) / (high - low)
    np.testing.assert_allclose(units.entropy(mean), stats.entropy([p, 1 - p]), rtol=1e-12)


@per_unit
def test_entropy_decreases_with_the_mean_at_the_rate_of_the_field(units, dtype):
    mean = interior_means(units, dtype)
    slope = derivative_of(units.entropy)(mean)
    error = tolerance(dtype) * (1 + 1 / units.variance(units.field_at_mean(mean)))
    assert (abs(slope + units.field_at_mean(mean)) < error).all()


@per_discrete
def test_entropy_is_zero_on_the_edge_and_falls_there_infinitely_fast(units, dtype):
    edge = jnp.asarray(units.states[:, 0], dtype)
    np.testing.assert_array_equal(units.entropy(edge), [0, 0])
    slope = derivative_of(units.entropy)(edge)
    np.testing.assert_array_equal(slope, [np.inf, -np.inf])


@per_discrete
@pytest.mark.parametrize("margin", [1e-3, 0.2])
def test_interior_mean_keeps_every_probability_above_the_margin(units, margin, dtype):
    low, high = units.states.min(), units.states.max()
    mean = jnp.asarray(np.linspace(low, high, 101), dtype)
    moved = units.interior_mean(mean, margin)
    p = (np.asarray(moved, np.float64) - low) / (high - low)
    np.testing.assert_allclose([p.min(), p.max()], [margin, 1 - margin], rtol=1e-3)
    inside = (p > 1.01 * margin) & (p < 1 - 1.01 * margin)
    assert inside.sum() > 50
    np.testing.assert_array_equal(moved[inside], mean[inside])
    assert np.isfinite(units.field_at_mean(moved)).all()


def test_interior_mean_of_gaussian_units_is_the_mean():
    mean = jnp.array([-1e6, 0.0, 3.0])
    np.testing.assert_array_equal(Gaussian().interior_mean(mean, 0.1), mean)


@per_unit
@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_contains_is_true_on_the_support_alone(units, asarray):
    values = asarray(np.array([-1.0, 0.0, 1.0, 0.5, -2.0, np.nan, np.inf, -np.inf], np.float32))
    expected = {
        Bernoulli: [False, True, True, False, False, False, False, False],
        Spin: [True, False, True, False, False, False, False, False],
        Gaussian: [True, True, True, True, True, False, False, False],
    }[type(units)]
    found = units.contains(values)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)


@per_unit
@pytest.mark.parametrize(("values", "binary", "spin"), [([0, 1], True, False), ([1, 1], True, True)])
@pytest.mark.parametrize("integer", [np.uint8, np.int32, bool])
def test_contains_takes_integers_and_booleans(units, values, binary, spin, integer):
    expected = {Bernoulli: binary, Spin: spin, Gaussian: True}[type(units)]
    assert units.contains(np.array(values, integer)).all() == expected
    assert units.contains(jnp.array(values, integer)).all() == expected


@per_unit
def test_log_base_measure_is_that_of_the_states(units, dtype):
    states, log_measure = unit_nodes(units)
    # the quadrature nodes carry the width of their cell too
    expected = log_measure - log_measure[np.abs(states).argmin()]
    np.testing.assert_allclose(units.log_base_measure(jnp.asarray(states, dtype)), expected, rtol=tolerance(dtype))


@per_discrete
def test_samples_have_the_frequencies_of_the_states(units, dtype):
    field = jnp.asarray([-2.0, -0.5, 0.0, 0.3, 1.7], dtype)
    n = 20_000
    samples = draw(units, jax.random.key(1), jnp.broadcast_to(field, (n, 5)))
    assert units.contains(samples).all()
    low, high = units.states[:, 0]
    p = np.exp(high * np.asarray(field, np.float64)) / np.exp(np.outer([low, high], field)).sum(0)
    frequency = np.asarray(samples == high).mean(0)
    assert (abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


def test_gaussian_samples_have_the_mean_variance_and_quantiles_of_the_field(dtype):
    units = Gaussian(0.7)
    field = np.array([-2.0, 0.0, 1.7])
    n, n_bins = 20_000, 32
    samples = draw(units, jax.random.key(2), jnp.broadcast_to(jnp.asarray(field, dtype), (n, 3)))
    samples = np.asarray(samples, np.float64)
    assert (abs(samples.mean(0) - 0.7 * field) < 5 * np.sqrt(0.7 / n)).all()
    assert (abs(samples.var(0) - 0.7) < 5 * 0.7 * np.sqrt(2 / n)).all()
    rank = stats.norm.cdf(samples, 0.7 * field, np.sqrt(0.7))
    for column in rank.T:
        counts = np.histogram(column, n_bins, (0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-5


@per_unit
def test_samples_are_independent_between_units(units):
    n = 20_000
    samples = np.asarray(draw(units, jax.random.key(3), jnp.full((n, 4), 0.2)), np.float64)
    correlation = np.corrcoef(samples.T)[np.triu_indices(4, 1)]
    assert (abs(correlation) < 5 / np.sqrt(n)).all()


@per_unit
def test_samples_grow_with_the_uniform_number(units):
    uniform = jnp.linspace(1e-6, 1 - 1e-6, 1001)
    states = units.sample_from_uniform(jnp.full(1001, 0.4), uniform)
    steps = np.diff(np.asarray(states))
    # both ways are monotone; a discrete unit changes once
    assert (steps >= 0).all() or (steps <= 0).all()
    assert len(np.unique(states)) == (1001 if units.states is None else 2)


@per_unit
@pytest.mark.parametrize("curve", CURVES)
def test_extreme_fields_give_finite_values_and_derivatives(units, curve, dtype):
    field = jnp.asarray([-1e4, -90.0, 0.0, 90.0, 1e4], dtype)

    def value_and_derivatives(x):
        value = getattr(units, curve)
        return value(x), derivative_of(value)(x), derivative_of(derivative_of(value))(x)

    for values in jax.jit(value_and_derivatives)(field):
        assert np.isfinite(values).all()


@per_discrete
def test_extreme_fields_decide_the_state(units, dtype):
    field = jnp.broadcast_to(jnp.asarray([-1e4, 1e4], dtype), (1000, 2))
    samples = draw(units, jax.random.key(0), field)
    np.testing.assert_array_equal(samples, np.broadcast_to(units.states[:, 0], (1000, 2)))
    np.testing.assert_array_equal(units.mean(field[0]), units.states[:, 0])
    np.testing.assert_array_equal(units.entropy(units.mean(field[0])), [0, 0])


@per_unit
@pytest.mark.parametrize("narrow", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("wide_default", [False, True], ids=["x64 off", "x64 on"])
def test_every_function_keeps_the_dtype_of_the_field(units, narrow, wide_default):
    jax.config.update("jax_enable_x64", wide_default)
    field = jnp.asarray([-0.5, 0.25, 0.5], narrow)

    def everything(x):
        names = (*CURVES, "field_at_mean", "entropy", "log_base_measure")
        values = {name: getattr(units, name)(x) for name in names}
        sample = units.sample(jax.random.key(0), x)
        return values | {"interior_mean": units.interior_mean(x, 0.1), "sample": sample}

    for name, value in jax.eval_shape(everything, field).items():
        assert value.dtype == narrow, name


@per_unit
@pytest.mark.parametrize(
    "key",
    [lambda: jax.random.key(5), lambda: jax.random.PRNGKey(5), lambda: jax.random.key(5, impl="rbg")],
    ids=["typed", "legacy", "rbg"],
)
def test_samples_with_keys_of_any_kind(units, key):
    field = jnp.full(10_000, 0.4)
    samples = np.asarray(draw(units, key(), field), np.float64)
    error = np.sqrt(float(units.variance(field[:1])[0]) / 10_000)
    assert abs(samples.mean() - float(units.mean(field[:1])[0])) < 5 * error


@per_unit
def test_a_typed_key_and_its_data_give_the_same_samples(units):
    field = jnp.linspace(-1, 1, 50)
    typed = draw(units, jax.random.key(5), field)
    np.testing.assert_array_equal(typed, draw(units, jax.random.PRNGKey(5), field))
    assert (typed != draw(units, jax.random.key(6), field)).any()


def test_equal_units_hash_alike_and_different_units_differ():
    for make in (Bernoulli, Spin, Gaussian, lambda: Gaussian(2.0)):
        assert make() == make()
        assert hash(make()) == hash(make())
    assert len({Bernoulli(), Spin(), Gaussian(), Gaussian(2.0)}) == 4


@pytest.mark.parametrize("variance", [-1.0, 0.0, float("nan"), float("inf")])
def test_gaussian_units_refuse_a_variance_that_is_not_positive_and_finite(variance):
    with pytest.raises(ValueError, match="variance must be positive"):
        Gaussian(variance)


@pytest.mark.parametrize("variance", ["x", None])
def test_gaussian_units_refuse_a_variance_that_is_no_number(variance):
    with pytest.raises(TypeError, match="variance"):
        Gaussian(variance)


def tilted(units, mean, curvature):
    """Mean and variance of one unit with weight ρ(s) e^{xs + Ks²/2}, with x tuned by bisection, from its nodes."""
    nodes, log_measure = unit_nodes(units)

    def moments(field):
        log_weights = log_measure + field * nodes + curvature * nodes**2 / 2
        p = np.exp(log_weights - log_sum_exp(log_weights[None], axis=1))
        return p @ nodes, p @ (nodes - p @ nodes) ** 2

    field = brentq(lambda field: moments(field)[0] - mean, -30, 30, xtol=1e-13)
    return moments(field)[1]


@per_unit
def test_variance_at_a_mean_is_that_of_the_tilted_unit(units, x64):
    for curvature in (0.0, 0.4, 0.9):
        means = interior_means(units, jnp.float64)[::5]
        expected = [tilted(units, float(mean), curvature) for mean in means]
        found = units.variance_at_mean(means, jnp.full_like(means, curvature))
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        depends = not np.allclose(found, units.variance_at_mean(means), rtol=1e-12)
        assert depends == (units.variance_is_free and curvature > 0)


@per_unit
def test_cumulants_at_a_mean_are_those_at_its_field(units, dtype):
    field = jnp.asarray(np.linspace(-3.1, 2.7, 21), dtype)
    mean = units.mean(field)
    for found, expected in [
        (units.variance_at_mean(mean), units.variance(field)),
        (units.third_cumulant_at_mean(mean), units.third_cumulant(field)),
    ]:
        np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_unit
def test_entropy_of_fluctuations_grows_with_the_curvature_by_half_the_variance(units, x64):
    mean, curvature = jnp.full(5, 0.3), jnp.linspace(0, 1.2, 5)
    slope = derivative_of(lambda curvature: units.fluctuation_entropy(mean, curvature))(curvature)
    np.testing.assert_allclose(slope, units.variance_at_mean(mean, curvature) / 2, rtol=1e-12)
    np.testing.assert_allclose(units.fluctuation_entropy(mean, jnp.zeros(5)), 0, atol=1e-15)


def test_a_gaussian_unit_of_too_much_curvature_has_no_variance(dtype):
    mean, curvature = jnp.zeros(3, dtype), jnp.asarray([1.0, 1 / 0.7, 2.0], dtype)
    for values in (Gaussian(0.7).variance_at_mean(mean, curvature), Gaussian(0.7).fluctuation_entropy(mean, curvature)):
        np.testing.assert_array_equal(jnp.isnan(values[jnp.array([0, 2])]), [False, True])


@per_unit
def test_curved_functions_are_sums_over_the_tilted_states(units, x64):
    states, log_measure = unit_nodes(units)
    fields = np.linspace(-3.1, 2.7, 11)
    for curvature in (0.0, 0.2, 0.4):  # at more, the nodes would not reach out far enough
        log_weights = log_measure + fields[:, None] * states + curvature * states**2 / 2
        log_sum = log_sum_exp(log_weights, axis=1)
        p = np.exp(log_weights - log_sum[:, None])
        expected = (p @ states, p @ states**2, p @ states**2 - (p @ states) ** 2)
        np.testing.assert_allclose(units.curved_log_partition(jnp.asarray(fields), curvature), log_sum, rtol=1e-10)
        for found, moment in zip(units.curved_moments(jnp.asarray(fields), curvature), expected, strict=True):
            np.testing.assert_allclose(found, moment, rtol=1e-8, atol=1e-10)


@per_unit
def test_curved_moments_keep_the_dtype_of_the_field(units, dtype):
    field = jnp.linspace(-2, 2, 5, dtype=dtype)
    moments = units.curved_moments(field, jnp.asarray(0.4, dtype))
    assert [moment.dtype for moment in moments] == [dtype] * 3
    assert units.curved_log_partition(field, 0.4).dtype == dtype
    assert units.curved_log_partition(field, 0.4).shape == (5,)
