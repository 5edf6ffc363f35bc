"""Gaussian and ReLU units whose variance is learned, against those of a fixed one and against derivatives."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Gaussian, Potts, ReLU, Spin
from rbm_jax.units import UNIT_TYPES, same_units
from tests.brute_force import log_sum_exp, unit_nodes
from tests.helpers import assert_same, slow_but, tolerance

VARIANCES = np.array([0.3, 1.0, 2.5])
FIELDS = np.array([[-2.1, 0.0, 1.4], [0.7, -0.4, 3.0]])
MEANS = np.array([[0.1, 0.8, 1.3], [2.0, 0.4, 0.6]])
KINDS = (Gaussian, ReLU)

per_kind = pytest.mark.parametrize("kind", KINDS)

FUNCTIONS = {
    "log_partition": lambda units, at: units.log_partition(at(FIELDS)),
    "mean": lambda units, at: units.mean(at(FIELDS)),
    "variance": lambda units, at: units.variance(at(FIELDS)),
    "third_cumulant": lambda units, at: units.third_cumulant(at(FIELDS)),
    "field_at_mean": lambda units, at: units.field_at_mean(at(MEANS)),
    "entropy": lambda units, at: units.entropy(at(MEANS)),
    "variance_at_mean": lambda units, at: units.variance_at_mean(at(MEANS), 0.2),
    "third_cumulant_at_mean": lambda units, at: units.third_cumulant_at_mean(at(MEANS)),
    "fluctuation_entropy": lambda units, at: units.fluctuation_entropy(at(MEANS), at(0 * MEANS + 0.2)),
    "curved_log_partition": lambda units, at: units.curved_log_partition(at(FIELDS), 0.2),
    "curved_moments": lambda units, at: jnp.stack(units.curved_moments(at(FIELDS), 0.2)),
    "log_base_measure": lambda units, at: units.log_base_measure(at(MEANS)),
    "interior_mean": lambda units, at: units.interior_mean(at(0 * MEANS), 0.01),
    "sample_from_uniform": lambda units, at: units.sample_from_uniform(at(FIELDS), at(MEANS / 3)),
}


def learned(kind, dtype=None):
    return kind(jnp.asarray(VARIANCES, dtype))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    slow_but(
        [("float64", Gaussian), ("float64", ReLU), ("float32", Gaussian)],
        [(name, kind) for name in ("float64", "float32") for kind in KINDS],
    ),
    indirect=["dtype"],
)
def test_each_unit_of_a_learned_variance_is_one_of_that_fixed_variance(kind, dtype):
    for name, function in FUNCTIONS.items():
        found = function(learned(kind, dtype), lambda values: jnp.asarray(values, dtype))
        assert found.dtype == dtype, name
        for column, variance in enumerate(VARIANCES):
            one = kind(float(variance))
            expected = function(one, lambda values, column=column: jnp.asarray(values[:, column : column + 1], dtype))
            error = 10 * tolerance(dtype)
            np.testing.assert_allclose(
                found[..., column], expected[..., 0], rtol=error, atol=error, err_msg=f"{name} {variance}"
            )


@per_kind
def test_derivatives_in_the_log_variance_are_those_of_the_functions(kind, dtype):
    units = learned(kind, dtype)
    states, fields = jnp.asarray(MEANS, dtype), jnp.asarray([[-30.0, 0.3, 20.0], [2.0, -8.0, -1.0]], dtype)
    for derivative, function, at in (
        (units.base_measure_derivative, "log_base_measure", states),
        (units.log_partition_derivative, "log_partition", fields),
    ):
        found = derivative(at)
        assert type(found) is kind

        @jax.jit
        @jax.grad
        def slope(units, weights, function=function, at=at):
            return (weights * getattr(units, function)(at)).sum()

        # one row of the batch at a time
        for row, weights in enumerate(np.eye(2, dtype=dtype)):
            expected = slope(units, weights[:, None])
            # in the tail ∂/∂log σ² is a difference of two terms of order 1: log σ and the log of Mills' ratio
            np.testing.assert_allclose(
                found.log_variance[row], expected.log_variance, rtol=10 * tolerance(dtype), atol=10 * tolerance(dtype)
            )


@per_kind
def test_derivative_of_log_partition_is_the_mean_of_that_of_the_base_measure(kind, x64):
    fields = FIELDS / 3  # at larger ones the quadrature of ReLU units, up to 10 σ, leaves too much out
    found = learned(kind).log_partition_derivative(jnp.asarray(fields)).log_variance
    for column, variance in enumerate(VARIANCES):
        states, log_measure = unit_nodes(kind(float(variance)))
        log_weights = log_measure + fields[:, column, None] * states
        p = np.exp(log_weights - log_sum_exp(log_weights, axis=1)[:, None])
        np.testing.assert_allclose(found[:, column], p @ states**2 / (2 * variance), rtol=1e-10)


def test_derivative_of_log_partition_keeps_its_relative_accuracy_far_below_zero():
    # ⟨s²⟩ = 2/x² for an exponential distribution, up to relative order 1/x²
    found = ReLU(jnp.ones(2)).log_partition_derivative(jnp.array([-1e3, -1e4]))
    np.testing.assert_allclose(found.log_variance, [1e-6, 1e-8], rtol=1e-5)


@per_kind
def test_a_number_is_fixed_and_an_array_is_one_leaf(kind):
    for number in (2, 2.0, np.float64(2), np.array(2.0), jnp.array(2.0)):
        assert kind(number) == kind(2.0)
        assert hash(kind(number)) == hash(kind(2.0))
        assert jax.tree.leaves(kind(number)) == []
    (leaf,) = jax.tree.leaves(kind(VARIANCES))
    np.testing.assert_allclose(leaf, np.log(VARIANCES), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(kind(VARIANCES).base_variance, VARIANCES, rtol=1e-6)
    assert kind(np.array([1, 4])).log_variance.dtype == jnp.float32


BAD_VARIANCES = {
    "a traced number": (lambda: jax.jit(lambda x: Gaussian(x).log_variance)(1.0), TypeError, "traced number"),
    "zero": (lambda: ReLU(0.0), ValueError, "variance must be positive"),
    "NaN": (lambda: Gaussian(float("nan")), ValueError, "positive and finite"),
    "a word": (lambda: Gaussian("wide"), TypeError, "positive number"),
    "words": (lambda: Gaussian(["a", "b"]), TypeError, "array of real numbers"),
    "a negative one of many": (lambda: Gaussian(np.array([1.0, -0.5])), ValueError, "for every unit, got -0.5"),
    "one NaN of many": (lambda: ReLU(np.array([1.0, np.nan])), ValueError, "variance holds 1 values"),
    "a single logarithm": (lambda: ReLU(log_variance=jnp.array(0.0)), ValueError, "use variance for a fixed scale"),
    "both": (lambda: Gaussian(2.0, log_variance=jnp.zeros(3)), ValueError, "pass one of the two"),
}


@pytest.mark.parametrize(("make", "error", "message"), BAD_VARIANCES.values(), ids=BAD_VARIANCES.keys())
@pytest.mark.usefixtures("unchecked")
def test_variances_that_are_none_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_units_are_the_same_by_type_and_structure_whatever_is_learned():
    first, second = Gaussian(VARIANCES), Gaussian(2 * VARIANCES)
    assert same_units(first, second)
    assert jax.jit(lambda first, second: jnp.array(same_units(first, second)))(first, second)
    for other in (Gaussian(), ReLU(VARIANCES), Spin()):
        assert not same_units(first, other)
    assert same_units(Gaussian(0.7), Gaussian(0.7))
    assert not same_units(Gaussian(0.7), Gaussian(0.8))
    assert not same_units(Potts(3), Potts(4))


@pytest.mark.parametrize(
    "units", [Bernoulli(), Spin(), Potts(4), *(kind(v) for kind in KINDS for v in (0.7, VARIANCES))], ids=str
)
def test_config_makes_the_same_units_bit_for_bit(units):
    assert_same(UNIT_TYPES[type(units).__name__](**units.config()), units)


@per_kind
def test_units_on_the_way_have_a_base_measure_on_the_straight_line(kind, dtype):
    start, end = learned(kind, dtype), kind(jnp.asarray(VARIANCES[::-1].copy(), dtype))
    states = jnp.asarray(MEANS, dtype)
    for t in (0.0, 0.3, 1.0):
        expected = (1 - t) * start.log_base_measure(states) + t * end.log_base_measure(states)
        found = jax.jit(lambda t: start.interpolate(end, t))(t).log_base_measure(states)
        np.testing.assert_allclose(found, expected, rtol=tolerance(dtype))
    assert_same(start.interpolate(start, 0.7), start)


@per_kind
def test_eager_jit_and_vmap_over_units_agree(kind, x64):
    first, second = learned(kind), kind(3 * VARIANCES)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)

    def results(units):
        return {name: function(units, jnp.asarray) for name, function in FUNCTIONS.items()}

    found = jax.jit(jax.vmap(results))(stacked)
    for index, units in enumerate((first, second)):
        for name, expected in results(units).items():
            np.testing.assert_allclose(found[name][index], expected, rtol=1e-12, err_msg=name)


class Shifted(Spin):
    """Units with a parameter whose derivatives their author forgot."""

    shift: jax.Array
    support: ClassVar[str] = "shifted"


def test_units_with_parameters_must_define_their_derivatives():
    with pytest.raises(NotImplementedError, match="Shifted must define base_measure_derivative"):
        Shifted(jnp.zeros(2)).base_measure_derivative(jnp.ones(2))
    assert same_units(Spin().base_measure_derivative(jnp.ones(2)), Spin())
