"""ReLU units against sums in many digits, far into both tails."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import stats

from rbm_jax import ReLU
from tests.helpers import tolerance

FIELDS = np.array([-1e6, -1e3, -80, -12, -4, -2.1, -1.9, -1.1, -0.9, -0.3, 0.0, 0.4, 1.7, 4.0, 11.0, 40.0, 1e3, 1e6])
UNITS = ReLU(0.8)
SCALE = 0.8**0.5
CURVES = ("log_partition", "mean", "variance", "third_cumulant")


def exact_curves(fields):
    """log Z, mean, variance and third cumulant at the fields, from λ = φ/Φ in hundreds of digits."""
    rows = []
    for field in fields:
        # the second moment cancels to 1/t² of its terms, and Φ underflows
        with mpmath.workdps(500):
            sigma = mpmath.sqrt(mpmath.mpf(0.8))
            t = sigma * mpmath.mpf(float(field))
            below = mpmath.erfc(-t / mpmath.sqrt(2)) / 2
            ratio = mpmath.exp(-(t**2) / 2) / mpmath.sqrt(2 * mpmath.pi) / below
            mean, log_z = t + ratio, t**2 / 2 + mpmath.log(below * sigma * mpmath.sqrt(2 * mpmath.pi))
            variance = 1 - ratio * mean
            third = ratio * (mean**2 - variance)
            rows.append([float(x) for x in (log_z, sigma * mean, sigma**2 * variance, sigma**3 * third)])
    return np.array(rows).T


@pytest.fixture(scope="module")
def exact():
    return {np.dtype(kind).name: exact_curves(FIELDS.astype(kind)) for kind in (np.float32, np.float64)}


@jax.jit
def curves_and_slopes(field):
    return {
        name: jax.jvp(lambda x, name=name: getattr(UNITS, name)(x), (field,), (jnp.ones_like(field),))
        for name in CURVES
    }


def test_curves_and_their_derivatives_keep_their_relative_accuracy_in_both_tails(exact, dtype):
    found = curves_and_slopes(jnp.asarray(FIELDS, dtype))
    least = float(jnp.finfo(dtype).tiny)  # denormal numbers count as zero
    for number, name in enumerate(CURVES):
        value, slope = found[name]
        expected = exact[dtype.name][number : number + 2]
        np.testing.assert_allclose(value, expected[0], rtol=tolerance(dtype), atol=least, err_msg=name)
        assert np.isfinite(slope).all()
        if len(expected) > 1:
            np.testing.assert_allclose(slope, expected[1], rtol=tolerance(dtype), atol=least, err_msg=name)


def test_tails_are_those_of_an_exponential_and_a_gaussian_law(exact):
    log_z, mean, variance, third = exact["float64"]
    np.testing.assert_allclose([mean[1], mean[-2]], [1e-3, 0.8e3], rtol=1e-5)
    np.testing.assert_allclose([variance[1], variance[-2]], [1e-6, 0.8], rtol=1e-5)
    np.testing.assert_allclose([log_z[1], third[1]], [-np.log(1e3), 2e-9], rtol=2e-5)


def test_field_at_mean_inverts_the_mean_with_the_right_derivative(exact, dtype):
    _, mean, variance, _ = exact[dtype.name]
    mean = jnp.asarray(mean, dtype)
    field, slope = jax.jit(lambda m: jax.jvp(UNITS.field_at_mean, (m,), (jnp.ones_like(m),)))(mean)
    # a rounded mean stands for fields that differ by rounding × mean / variance
    error = tolerance(dtype) * (abs(FIELDS) + mean / variance)
    assert (abs(field - FIELDS) < error).all()
    np.testing.assert_allclose(slope, 1 / variance, rtol=10 * tolerance(dtype))
    np.testing.assert_array_equal(UNITS.field_at_mean(jnp.asarray([0.0, -1.0], dtype)), [-np.inf, np.nan])


def test_entropy_is_the_legendre_transform_with_the_field_as_derivative(exact, dtype):
    log_z, mean, variance, _ = exact[dtype.name]
    keep = (FIELDS < 12) & (FIELDS > -1e4)
    mean, field = jnp.asarray(mean[keep], dtype), FIELDS[keep]
    expected = log_z[keep] - field * np.asarray(mean, np.float64)
    entropy, slope = jax.jit(lambda m: jax.jvp(UNITS.entropy, (m,), (jnp.ones_like(m),)))(mean)
    np.testing.assert_allclose(entropy, expected, rtol=tolerance(dtype), atol=tolerance(dtype))
    np.testing.assert_array_less(abs(slope + field), tolerance(dtype) * (abs(field) + mean / variance[keep]))
    assert UNITS.entropy(jnp.zeros_like(mean))[0] == -np.inf


def test_curvature_makes_the_base_measure_wider(x64):
    curvature, field = 0.5, jnp.asarray([-30.0, -1.0, 0.0, 2.0])
    wide = ReLU(1 / (1 / 0.8 - 0.5))
    np.testing.assert_allclose(UNITS.curved_log_partition(field, curvature), wide.log_partition(field), rtol=1e-12)
    mean, second, variance = UNITS.curved_moments(field, curvature)
    np.testing.assert_allclose(mean, wide.mean(field), rtol=1e-12)
    np.testing.assert_allclose(second, wide.variance(field) + wide.mean(field) ** 2, rtol=1e-12)
    np.testing.assert_allclose(UNITS.variance_at_mean(mean, curvature), wide.variance(field), rtol=1e-11)
    np.testing.assert_allclose(variance, wide.variance(field), rtol=1e-12)
    assert np.isnan(UNITS.variance_at_mean(mean, 1 / 0.8)).all()
    assert np.isnan(UNITS.curved_log_partition(field, 1.3)).all()


def test_entropy_of_fluctuations_is_half_the_integral_of_the_variance(x64):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    mean, curvature = jnp.array([1e-3, 0.3, 2.0]), jnp.full(3, 0.5)
    below = jnp.asarray(0.25 * (nodes + 1))[:, None] * jnp.ones(3)
    found, slope = jax.jit(lambda k: jax.jvp(lambda k: UNITS.fluctuation_entropy(mean, k), (k,), (jnp.ones_like(k),)))(
        curvature
    )
    variance = jax.jit(UNITS.variance_at_mean)(jnp.broadcast_to(mean, (20, 3)), below)
    np.testing.assert_allclose(found, 0.25 * weights @ variance / 2, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(slope, UNITS.variance_at_mean(mean, curvature) / 2, rtol=1e-8)


def test_samples_follow_the_law_deep_in_both_tails(dtype):
    field = np.array([-1e3, -60.0, -4.0, -3.0, 0.0, 2.0, 30.0])
    n, n_bins = 20_000, 32
    samples = jax.jit(UNITS.sample)(jax.random.key(2), jnp.broadcast_to(jnp.asarray(field, dtype), (n, len(field))))
    assert UNITS.contains(samples).all()
    z = np.asarray(samples, np.float64) / SCALE
    t = SCALE * field
    # share of the law above each sample
    rank = np.exp(stats.norm.logcdf(t - z) - stats.norm.logcdf(t))
    far = t < -30
    u = -t[far]
    # logcdf of large numbers loses its digits in the difference; there the law is exponential up to 1/u²
    rank[:, far] = np.exp(-z[:, far] * (u + z[:, far] / 2)) * u / (u + z[:, far])
    for column in rank.T:
        assert stats.chisquare(np.histogram(column, n_bins, (0, 1))[0]).pvalue > 1e-5


def test_samples_fall_with_the_uniform_number():
    uniform = jnp.linspace(1e-6, 1 - 1e-6, 1001)
    fields = jnp.array([-500.0, -4.0, 0.4])[:, None] * jnp.ones(1001)
    steps = np.diff(np.asarray(jax.jit(UNITS.sample_from_uniform)(fields, jnp.broadcast_to(uniform, fields.shape))))
    assert (steps < 0).all()


@pytest.mark.parametrize("narrow", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_every_function_keeps_the_dtype_of_the_field(narrow):
    def everything(x):
        values = {name: getattr(UNITS, name)(x) for name in (*CURVES, "field_at_mean", "entropy", "log_base_measure")}
        sample = UNITS.sample(jax.random.key(0), x)
        return values | {
            "interior": UNITS.interior_mean(x, 0.1),
            "sample": sample,
            "slope": UNITS.curved_moments(x, 0.1),
        }

    shapes = jax.eval_shape(everything, jnp.asarray([0.25, 0.5], narrow))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(narrow)}


@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_support_is_the_finite_numbers_of_at_least_zero(asarray):
    values = asarray(np.array([-1.0, 0.0, 2.5, np.nan, np.inf], np.float32))
    np.testing.assert_array_equal(UNITS.contains(values), [False, True, True, False, False])


def test_units_compare_by_value_and_refuse_a_variance_that_is_none():
    assert ReLU() == ReLU(1.0) != ReLU(2.0)
    assert hash(ReLU(2)) == hash(ReLU(2.0))
    with pytest.raises(ValueError, match="variance must be positive"):
        ReLU(0.0)
