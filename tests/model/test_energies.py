"""Energies and free energies against explicit sums, and against sums over the states of the other layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    Bernoulli,
    hidden_field,
    hidden_free_energy,
    joint_energy,
    stack_rbms,
    visible_field,
    visible_free_energy,
)
from rbm_jax._internal.checks import as_configurations
from rbm_jax.model import transpose
from tests.brute_force import joint_table, log_sum_exp, parameters, table_sizes
from tests.helpers import COVERING_PAIRS, PAIRS, reference_rbm, tolerance

per_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")

SINGLE = {
    "visible_field": (visible_field, "h", 3),
    "hidden_field": (hidden_field, "v", 4),
    "visible_free_energy": (visible_free_energy, "v", 4),
    "hidden_free_energy": (hidden_free_energy, "h", 3),
}
covering_pairs = pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=() if pair in COVERING_PAIRS else pytest.mark.slow) for pair in PAIRS], ids=str
)
per_function = pytest.mark.parametrize("name", SINGLE)


def small_rbm(pair, dtype):
    return reference_rbm(*table_sizes(pair), 0.5, *pair, dtype)


@per_pair
def test_joint_energy_is_the_sum_over_units_and_bonds(pair, dtype):
    rbm = small_rbm(pair, dtype)
    joint = joint_table(rbm)
    w, a, b = parameters(rbm)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(len(joint.v), size=20), rng.integers(len(joint.h), size=20)
    v, h = joint.v[rows], joint.h[columns]
    expected = [
        -sum(a[i] * v[n, i] for i in range(len(a)))
        - sum(b[j] * h[n, j] for j in range(len(b)))
        - sum(w[i, j] * v[n, i] * h[n, j] for i in range(len(a)) for j in range(len(b)))
        for n in range(20)
    ]
    found = jax.jit(joint_energy)(rbm, jnp.asarray(v, dtype), jnp.asarray(h, dtype))
    # energies of far nodes are sums of cancelling terms, so the error is relative to the largest
    scale = abs(np.array(expected)).max()
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype) * scale)
    np.testing.assert_allclose(joint.energy[rows, columns], expected, rtol=1e-12)


@per_pair
def test_visible_free_energy_is_minus_the_log_of_the_sum_over_hidden_states(pair, dtype):
    rbm = small_rbm(pair, dtype)
    joint = joint_table(rbm)
    near = abs(joint.v).max(1) < 2.5
    v = joint.v[near]
    base = 0.0 if pair[0].states is not None else -(v**2).sum(1) / (2 * pair[0].base_variance)
    expected = -base - log_sum_exp(joint.log_h - joint.energy[near], axis=1)
    found = jax.jit(visible_free_energy)(rbm, jnp.asarray(v, dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_pair
def test_hidden_free_energy_is_minus_the_log_of_the_sum_over_visible_states(pair, dtype):
    rbm = small_rbm(pair, dtype)
    joint = joint_table(rbm)
    near = abs(joint.h).max(1) < 2.5
    h = joint.h[near]
    base = 0.0 if pair[1].states is not None else -(h**2).sum(1) / (2 * pair[1].base_variance)
    expected = -base - log_sum_exp(joint.log_v[:, None] - joint.energy[:, near], axis=0)
    found = jax.jit(hidden_free_energy)(rbm, jnp.asarray(h, dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@covering_pairs
def test_hidden_free_energy_is_the_visible_one_of_the_transposed_rbm(pair, dtype):
    rbm = reference_rbm(5, 3, 0.5, *pair, dtype)
    states = [-1.2, 0.3, 0.7] if pair[1].states is None else pair[1].states[:, 0]
    h = jnp.asarray(np.random.default_rng(0).choice(states, size=(4, 3)), dtype)
    both = jax.jit(lambda rbm: (hidden_free_energy(rbm, h), visible_free_energy(transpose(rbm), h)))
    np.testing.assert_allclose(*both(rbm), rtol=tolerance(dtype))


@per_pair
def test_gradient_of_the_free_energy_is_minus_the_field_of_the_mean_hidden_units(pair, dtype):
    rbm = small_rbm(pair, dtype)
    w, a, _ = parameters(rbm)
    v = jnp.asarray(np.random.default_rng(1).uniform(0, 1, len(a)), dtype)
    mean = np.asarray(jax.jit(lambda rbm: rbm.hidden_units.mean(hidden_field(rbm, v)))(rbm), np.float64)
    restoring = 0.0 if pair[0].states is not None else np.asarray(v) / pair[0].base_variance
    gradient = jax.jit(jax.grad(visible_free_energy, argnums=1))(rbm, v)
    np.testing.assert_allclose(gradient, restoring - a - w @ mean, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.mark.parametrize(("n_visible", "units", "expected"), [(6, 0, -3.5223717059), (6, 1, -3.4261638102)])
def test_free_energy_of_all_ones_has_the_published_value(n_visible, units, expected, x64):
    rbm = reference_rbm(n_visible, 5, 0.3, *PAIRS[4 * units])
    assert abs(visible_free_energy(rbm, jnp.ones(n_visible)) - expected) < 6e-11


def test_fields_are_the_derivatives_of_minus_the_energy(dtype):
    rbm = reference_rbm(4, 3, 0.5, dtype=dtype)
    v, h = jnp.asarray([0.2, 1, 0, 0.7], dtype), jnp.asarray([1, 0.4, 0], dtype)
    by_v, by_h = jax.jit(jax.grad(joint_energy, argnums=(1, 2)))(rbm, v, h)
    # fields are sums of terms of about 0.5, which may cancel
    np.testing.assert_allclose(visible_field(rbm, h), -by_v, rtol=tolerance(dtype), atol=tolerance(dtype))
    np.testing.assert_allclose(hidden_field(rbm, v), -by_h, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_function
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,)])
def test_leading_axes_are_batches(name, batch):
    function, _, size = SINGLE[name]
    function, rbm = jax.jit(function), reference_rbm(4, 3, 0.5)
    states = np.random.default_rng(0).integers(0, 2, (*batch, size)).astype(np.float32)
    found = function(rbm, states)
    assert found.shape == batch + (() if "energy" in name else (7 - size,))
    for index in np.ndindex(batch):
        # up to a dozen terms of about 0.5, summed in another order: the sum may be much smaller than they are
        np.testing.assert_allclose(found[index], function(rbm, states[index]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("batch_v", "batch_h", "batch"),
    [((), (5,), (5,)), ((5,), (), (5,)), ((2, 1), (5,), (2, 5)), ((2, 1), (3, 2, 5), (3, 2, 5))],
)
def test_leading_axes_of_the_joint_energy_broadcast(batch_v, batch_h, batch):
    rbm = reference_rbm(4, 3, 0.5)
    rng = np.random.default_rng(0)
    v, h = (rng.integers(0, 2, (*axes, n)).astype(np.float32) for axes, n in ((batch_v, 4), (batch_h, 3)))
    found = joint_energy(rbm, v, h)
    assert found.shape == batch
    full_v, full_h = np.broadcast_to(v, (*batch, 4)), np.broadcast_to(h, (*batch, 3))
    np.testing.assert_allclose(found, joint_energy(rbm, full_v, full_h), rtol=1e-6, atol=1e-6)


@per_function
@pytest.mark.parametrize("resting", [np.uint8, np.int8, np.int64, bool, np.float64])
def test_states_of_any_real_dtype_are_cast_to_that_of_the_rbm(name, resting, dtype):
    function, _, size = SINGLE[name]
    rbm = reference_rbm(4, 3, 0.5, dtype=dtype)
    states = np.random.default_rng(0).integers(0, 2, (6, size))
    found = function(rbm, states.astype(resting))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, function(rbm, jnp.asarray(states, dtype)))


def test_free_energies_of_strong_couplings_are_finite(dtype):
    for pair in PAIRS[:3]:
        rbm = jax.tree.map(lambda leaf: 1e4 * leaf, reference_rbm(4, 3, 1.0, *pair, dtype))
        value, gradient = jax.jit(jax.value_and_grad(visible_free_energy))(rbm, jnp.ones(4, dtype))
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@per_function
@pytest.mark.parametrize("shape", [(5,), (3, 7), (4, 3, 1)])
def test_a_wrong_last_axis_is_refused(name, shape):
    function, argument, _ = SINGLE[name]
    with pytest.raises(ValueError, match=f"{argument} must have . units on its last axis"):
        function(reference_rbm(4, 3, 0.5), jnp.ones(shape))


@per_function
@pytest.mark.parametrize("bad", [np.array(["a", "b", "c", "d"]), np.ones(4, complex), None, "abcd"])
def test_what_is_not_an_array_of_real_numbers_is_refused(name, bad):
    function, argument, _ = SINGLE[name]
    with pytest.raises(TypeError, match=f"\\b{argument}\\b"):
        function(reference_rbm(4, 3, 0.5), bad)


@pytest.mark.parametrize("bad", [None, "abcd", ["abcd"], [None], {"v": 1}, np.array([None, 1])])
def test_the_check_of_configurations_names_the_argument_whatever_comes(bad):
    with pytest.raises(TypeError, match=r"^v must"):
        as_configurations("v", bad, 4, jnp.float32)


def test_a_scalar_is_no_configuration():
    with pytest.raises(ValueError, match=r"^v must have 4 units"):
        as_configurations("v", 1.0, 4, jnp.float32)


@pytest.mark.parametrize(("n_visible", "n_hidden", "argument"), [(5, 3, "v"), (4, 2, "h")])
def test_the_joint_energy_names_the_layer_that_does_not_fit(n_visible, n_hidden, argument):
    with pytest.raises(ValueError, match=f"^{argument} must have"):
        joint_energy(reference_rbm(4, 3, 0.5, Bernoulli()), jnp.ones(n_visible), jnp.ones(n_hidden))


def test_batches_that_do_not_broadcast_are_refused():
    with pytest.raises((TypeError, ValueError)):
        joint_energy(reference_rbm(4, 3, 0.5), jnp.ones((2, 4)), jnp.ones((3, 3)))


def test_a_stack_of_rbms_is_sent_to_vmap():
    stack = stack_rbms([reference_rbm(3, 2, strength) for strength in (0.1, 0.2)])
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        visible_free_energy(stack, jnp.ones((2, 3)))
