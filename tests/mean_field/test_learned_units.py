"""Mean-field moments of visible units that learn their variance."""

import jax
import numpy as np
import pytest

from rbm_jax import Gaussian, ReLU, Spin
from rbm_jax.mean_field import mean_field_free_energy, mean_field_moments, solve_mean_field
from rbm_jax.model import exact_moments
from tests.helpers import reference_rbm

VARIANCES = np.array([0.6, 0.8, 1.1, 0.9])
solve = jax.jit(solve_mean_field, static_argnames="order")
moments_of = jax.jit(mean_field_moments, static_argnames="order")


def learned_rbm(kind, hidden_units, strength=0.3):
    return reference_rbm(4, 3, strength, kind(VARIANCES), hidden_units)


def test_derivative_at_a_solution_is_that_of_its_free_energy(x64):
    """Total derivatives: those of the magnetizations drop out where G is stationary."""
    rbm = learned_rbm(Gaussian, Spin())
    solution = solve(rbm, order=2, tol=1e-13)
    found = moments_of(rbm, solution.visible, solution.hidden, order=2)

    @jax.jit
    @jax.grad
    def slope_of_log_z(rbm):
        return -solve_mean_field(rbm, order=2, tol=1e-13).free_energy

    expected = slope_of_log_z(rbm)
    np.testing.assert_allclose(found.visible_units.log_variance, expected.visible_units.log_variance, rtol=1e-8)
    np.testing.assert_allclose(found.product, expected.weights, rtol=1e-8)


@pytest.mark.parametrize(("hidden_units", "order"), [(Spin(), 3), (ReLU(0.5), 2)], ids=str)
def test_derivative_is_that_of_the_free_energy_at_fixed_magnetizations(hidden_units, order, x64):
    rbm = learned_rbm(ReLU, hidden_units, strength=0.1)
    visible, hidden = np.full((1, 4), 0.7), np.full((1, 3), 0.5)
    found = moments_of(rbm, visible, hidden, order=order).visible_units.log_variance

    @jax.jit
    @jax.vmap
    def free_energy(log_variance):
        moved = reference_rbm(4, 3, 0.1, ReLU(log_variance=log_variance), hidden_units)
        return mean_field_free_energy(moved, visible, hidden, order=order)[0]

    steps = 1e-4 * np.eye(4)
    ahead, behind = (np.asarray(free_energy(np.log(VARIANCES) + sign * steps)) for sign in (1, -1))
    np.testing.assert_allclose(found, (behind - ahead) / 2e-4, rtol=1e-6)


@pytest.mark.parametrize("hidden_units", [Spin(), Gaussian(0.7)], ids=str)
def test_second_order_derivative_is_that_of_the_fluctuating_unit(hidden_units, x64):
    """⟨s²⟩/2σ² with ⟨s²⟩ = m² + 1/(1/σ² - Σ_j W_ij² c_j), c_j the variances of the hidden units."""
    rbm = learned_rbm(Gaussian, hidden_units)
    solution = solve(rbm, order=2, tol=1e-13)
    found = moments_of(rbm, solution.visible, solution.hidden, order=2).visible_units.log_variance
    variance = VARIANCES
    for _ in range(100):
        curvature = rbm.weights.T**2 @ variance if isinstance(hidden_units, Gaussian) else 0.0
        hidden = hidden_units.variance_at_mean(solution.hidden, curvature)
        variance = 1 / (1 / VARIANCES - rbm.weights**2 @ hidden)
    np.testing.assert_allclose(found, (solution.visible**2 + variance) / (2 * VARIANCES), rtol=1e-8)


def test_second_order_is_close_to_the_exact_average_at_weak_coupling(x64):
    errors = []
    for strength in (0.1, 0.2):
        rbm = learned_rbm(Gaussian, Spin(), strength)
        solution = solve(rbm, order=2)
        found = moments_of(rbm, solution.visible, solution.hidden, order=2)
        exact = jax.jit(exact_moments)(rbm)
        errors.append(abs(found.visible_units.log_variance - exact.visible_units.log_variance).max())
    # of the order of W³ or W⁴
    assert errors[0] < errors[1] / 6 < 1e-3


def test_clamped_units_have_the_derivative_of_their_base_measure(x64):
    rbm = learned_rbm(ReLU, Spin())
    points = np.array([[0.2, 1.0, 0.5, 2.0], [1.5, 0.3, 0.1, 0.4]])
    hidden = np.tanh(np.asarray(rbm.hidden_bias) + points @ np.asarray(rbm.weights))
    weights = np.array([0.3, 0.7])
    found = moments_of(rbm, points, hidden, sample_weights=weights, clamp_mask=np.ones(4, bool))
    np.testing.assert_allclose(found.visible_units.log_variance, weights @ points**2 / (2 * VARIANCES), rtol=1e-10)
