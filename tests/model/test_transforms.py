"""Exact maps between RBMs: what they preserve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Gaussian, Spin, exact_log_z, temper, visible_free_energy
from rbm_jax.model import bernoulli_to_spin, exact_moments, interpolate, spin_to_bernoulli, transpose
from tests.brute_force import joint_table
from tests.helpers import PAIRS, reference_rbm, tolerance

MAPS = [(bernoulli_to_spin, Bernoulli(), Spin()), (spin_to_bernoulli, Spin(), Bernoulli())]
log_z_of = jax.jit(exact_log_z)
per_map = pytest.mark.parametrize(("to_other", "units", "other"), MAPS, ids=["to_spin", "to_bernoulli"])


def assert_same_rbm(found, expected, error):
    assert (found.visible_units, found.hidden_units) == (expected.visible_units, expected.hidden_units)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=error, atol=error)


def test_the_map_has_the_published_values(x64):
    rbm = reference_rbm(5, 4, 1.2)
    spin, constant = bernoulli_to_spin(rbm)
    np.testing.assert_allclose(exact_log_z(rbm), 6.8700219206, atol=6e-11)
    np.testing.assert_allclose(exact_log_z(spin), 7.4357956109, atol=6e-11)
    # the published constant is that of the map from ±1 to 0/1
    np.testing.assert_allclose(constant, 0.5657736903, atol=6e-11)
    np.testing.assert_allclose(spin_to_bernoulli(spin)[1], -0.5657736903, atol=6e-11)


@per_map
def test_log_z_moves_by_the_constant(to_other, units, other, dtype):
    rbm = reference_rbm(4, 3, 0.8, units, dtype=dtype)
    mapped, constant = to_other(rbm)
    assert (mapped.visible_units, mapped.hidden_units) == (other, other)
    expected = joint_table(mapped).log_z - joint_table(rbm).log_z
    np.testing.assert_allclose(constant, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


@per_map
def test_the_map_keeps_the_probability_of_every_state(to_other, units, other, x64):
    rbm = reference_rbm(4, 3, 0.8, units)
    mapped, _ = to_other(rbm)
    # both tables list the states in the order of 0 and 1
    np.testing.assert_allclose(joint_table(mapped).probabilities, joint_table(rbm).probabilities, rtol=1e-12)


@per_map
def test_free_energies_move_by_minus_the_constant(to_other, units, other, dtype):
    rbm = reference_rbm(4, 3, 0.8, units, dtype=dtype)
    mapped, constant = to_other(rbm)
    states = np.random.default_rng(0).integers(0, 2, (10, 4))
    v, mapped_v = states_of(units, states), states_of(other, states)
    moved = visible_free_energy(mapped, mapped_v) - visible_free_energy(rbm, v)
    np.testing.assert_allclose(moved, np.full(10, -constant), rtol=tolerance(dtype), atol=tolerance(dtype))


def states_of(units, digits):
    return units.states[digits, 0]


def test_means_follow_the_change_of_variables(dtype):
    rbm = reference_rbm(4, 3, 0.8, dtype=dtype)
    both = jax.jit(lambda model: (exact_moments(model), exact_moments(bernoulli_to_spin(model)[0])))
    found, mapped = both(rbm)
    np.testing.assert_allclose(mapped.visible, 2 * found.visible - 1, atol=tolerance(dtype))
    np.testing.assert_allclose(mapped.hidden, 2 * found.hidden - 1, atol=tolerance(dtype))
    product = 4 * found.product - 2 * found.visible[:, None] - 2 * found.hidden + 1
    np.testing.assert_allclose(mapped.product, product, atol=tolerance(dtype))


@per_map
def test_there_and_back_is_the_same_rbm(to_other, units, other, dtype):
    rbm = reference_rbm(5, 4, 1.2, units, dtype=dtype)
    to_units = next(back for back, start, _ in MAPS if start == other)
    mapped, constant = to_other(rbm)
    found, minus_constant = to_units(mapped)
    assert_same_rbm(found, rbm, tolerance(dtype))
    np.testing.assert_allclose(minus_constant, -constant, rtol=tolerance(dtype))


@per_map
@pytest.mark.parametrize("layer", ["visible", "hidden"])
def test_the_map_refuses_other_units(to_other, units, other, layer):
    pair = (other, units) if layer == "visible" else (units, Gaussian())
    with pytest.raises(TypeError, match=f"rbm must have {type(units).__name__}"):
        to_other(reference_rbm(3, 2, 0.5, *pair))


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_tempered_rbm_has_beta_times_the_energy_and_the_same_base_measure(pair, x64):
    rbm, beta = reference_rbm(2, 2, 0.4, *pair), 0.6
    joint, cold = joint_table(rbm), joint_table(temper(rbm, beta))
    expected = joint.log_v[:, None] + joint.log_h - beta * joint.energy
    np.testing.assert_allclose(np.exp(expected - cold.log_z), cold.probabilities, rtol=1e-10, atol=1e-300)


def test_derivative_of_log_z_in_beta_is_minus_the_mean_energy(dtype):
    rbm = reference_rbm(4, 3, 0.8, dtype=dtype)
    slope = jax.jit(jax.grad(lambda beta: exact_log_z(temper(rbm, beta))))(jnp.asarray(1.0, dtype))
    joint = joint_table(rbm)
    np.testing.assert_allclose(slope, -(joint.probabilities * joint.energy).sum(), rtol=tolerance(dtype))


def test_at_beta_zero_units_are_free(dtype):
    log_z = exact_log_z(temper(reference_rbm(4, 3, 0.8, dtype=dtype), 0.0))
    np.testing.assert_allclose(log_z, 7 * np.log(2), rtol=tolerance(dtype))


def test_interpolation_is_linear_and_meets_both_ends(dtype):
    start, end = reference_rbm(4, 3, 0.8, dtype=dtype), reference_rbm(4, 3, -0.3, dtype=dtype)
    assert_same_rbm(interpolate(start, end, 0.0), start, 0)
    assert_same_rbm(interpolate(start, end, 1.0), end, 0)
    middle = jax.tree.map(lambda first, second: 0.75 * first + 0.25 * second, start, end)
    assert_same_rbm(interpolate(start, end, 0.25), middle, tolerance(dtype))


@pytest.mark.parametrize(
    "end",
    [reference_rbm(3, 4, 0.5), reference_rbm(4, 3, 0.5, Spin()), reference_rbm(4, 3, 0.5, Bernoulli(), Gaussian())],
    ids=["shape", "both units", "hidden units"],
)
def test_interpolation_refuses_rbms_that_differ(end):
    with pytest.raises(ValueError, match="start and end must agree"):
        interpolate(reference_rbm(4, 3, 0.5), end, 0.5)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_transposition_swaps_the_layers_and_keeps_log_z(pair, dtype):
    rbm = reference_rbm(4, 3, 0.3, *pair, dtype)
    swapped = transpose(rbm)
    assert (swapped.n_visible, swapped.n_hidden) == (3, 4)
    assert (swapped.visible_units, swapped.hidden_units) == pair[::-1]
    assert_same_rbm(transpose(swapped), rbm, 0)
    np.testing.assert_allclose(log_z_of(swapped), log_z_of(rbm), rtol=tolerance(dtype))


def test_transposition_of_a_stack_keeps_its_leading_axes():
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), reference_rbm(4, 3, 0.3))
    swapped = transpose(stack)
    np.testing.assert_array_equal(swapped.weights[1], stack.weights[1].T)
    np.testing.assert_array_equal(swapped.visible_bias, stack.hidden_bias)
