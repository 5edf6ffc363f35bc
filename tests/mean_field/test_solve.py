"""The solver of the mean-field equations: batches, damping, failure, and derivatives of what it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Bernoulli, Gaussian, Spin, solve_mean_field
from rbm_jax.mean_field import mean_field_covariance
from tests.helpers import reference_rbm, slow_but

solve = jax.jit(solve_mean_field, static_argnames=("order", "max_steps"))
MIXED = Bernoulli(), Gaussian(0.7)


def ferromagnet(strength=1.6, n_visible=6, n_hidden=5, dtype=None):
    """A ±1 RBM with two stable states, of which the positive one has the lower free energy."""
    weights = jnp.full((n_visible, n_hidden), strength / np.sqrt(n_visible * n_hidden), dtype)
    return RBM(weights, jnp.full(n_visible, 0.02, dtype), jnp.zeros(n_hidden, dtype), Spin(), Spin())


def glass(strength=0.6):
    """±1 units with random couplings so strong that the undamped iteration cycles."""
    keys = jax.random.split(jax.random.key(0), 3)
    biases = 0.3 * jax.random.normal(keys[1], (6,)), 0.3 * jax.random.normal(keys[2], (5,))
    return RBM(strength * jax.random.normal(keys[0], (6, 5)), *biases, Spin(), Spin())


@pytest.mark.parametrize(
    ("n_starts", "order"),  # fewer and more starts than the solver takes at once
    slow_but([(12, 1), (12, 3), (150, 2)], [(n_starts, order) for n_starts in (12, 150) for order in (1, 2, 3)]),
)
def test_a_start_ends_where_it_would_alone(order, n_starts, x64):
    rbm = ferromagnet()
    starts = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, n_starts // 3, 6)))
    solution = solve(rbm, init=starts, order=order)
    assert solution.visible.shape == (3, n_starts // 3, 6)
    assert solution.hidden.shape == (3, n_starts // 3, 5)
    assert solution.free_energy.shape == solution.residual.shape == solution.n_steps.shape == (3, n_starts // 3)
    assert solution.converged.all()
    assert np.ptp(np.asarray(solution.n_steps)) > 3
    for index in [(0, 0), (1, 2), (2, n_starts // 3 - 1)]:
        alone = solve(rbm, init=starts[index], order=order)
        np.testing.assert_allclose(solution.visible[index], alone.visible, atol=1e-12)
        np.testing.assert_allclose(solution.free_energy[index], alone.free_energy, atol=1e-12)
        assert solution.n_steps[index] == alone.n_steps
    # the two states of the ferromagnet
    assert {-1, 1} == set(np.sign(np.asarray(solution.visible[..., 0])).ravel())


def test_a_start_that_overflows_does_not_spoil_the_others():
    starts = np.where(np.arange(100)[:, None] == 7, np.nan, np.ones((100, 6)))
    solution = jax.device_get(solve(ferromagnet(), init=starts))
    assert not solution.converged[7]
    assert jnp.isnan(solution.free_energy[7])
    others = np.delete(np.arange(100), 7)
    assert solution.converged[others].all()
    assert jnp.isfinite(solution.visible[others]).all()
    assert solution.n_steps[7] < 5


@pytest.mark.parametrize("damping", [0.3, 0.8])
def test_damping_leads_to_the_same_fixed_point_by_smaller_steps(damping, x64):
    rbm = reference_rbm(6, 5, 0.3, Spin())
    plain, damped = solve(rbm, tol=1e-12), solve(rbm, damping=damping, tol=1e-12)
    assert damped.converged
    assert damped.n_steps != plain.n_steps
    np.testing.assert_allclose(damped.visible, plain.visible, atol=1e-10)


def test_a_start_that_cycles_is_damped(x64):
    starts = jax.random.uniform(jax.random.key(1), (20, 6), minval=-1.0)
    solution = solve(glass(), init=starts)
    assert solution.converged.all()
    reference = solve(glass(), init=starts, damping=0.5)
    np.testing.assert_allclose(np.sort(solution.free_energy), np.sort(reference.free_energy), atol=1e-9)


@pytest.mark.parametrize("max_steps", [1, 3])
def test_too_few_steps_are_reported(max_steps, dtype):
    solution = solve(reference_rbm(6, 5, 0.3, Spin(), dtype=dtype), max_steps=max_steps)
    assert not solution.converged
    assert solution.n_steps == max_steps
    assert solution.residual > 1e-3


def test_gaussian_layers_beyond_their_bound_are_reported(dtype):
    solution = solve(reference_rbm(4, 3, 1.0, Gaussian(), dtype=dtype), max_steps=50)
    assert not solution.converged


@pytest.mark.parametrize(
    ("pair", "order"),
    slow_but(
        [(MIXED, 1), (MIXED, 2), ((Spin(), Spin()), 3)],
        [(pair, order) for pair in ((Spin(), Spin()), MIXED) for order in (1, 2, 3)],
    ),
    ids=str,
)
def test_derivatives_of_the_solution_are_those_of_the_fixed_point(order, pair, x64):
    rbm = reference_rbm(4, 3, 0.4, *pair)
    solve_for = jax.jit(lambda model: solve_mean_field(model, order=order, tol=1e-14).visible)
    jacobian = jax.jit(jax.jacrev(solve_for))(rbm)
    step = 1e-5
    for name, index in [("weights", (1, 2)), ("visible_bias", (3,)), ("hidden_bias", (0,))]:
        change = np.zeros_like(getattr(rbm, name))
        change[index] = step
        ends = [np.asarray(solve_for(with_leaf(rbm, name, getattr(rbm, name) + sign * change))) for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.asarray(getattr(jacobian, name))[(slice(None), *index)], difference, atol=1e-8)
        assert abs(difference).max() > 1e-2


def with_leaf(rbm, name, value):
    leaves = {field: getattr(rbm, field) for field in ("weights", "visible_bias", "hidden_bias")} | {name: value}
    return type(rbm)(**leaves, visible_units=rbm.visible_units, hidden_units=rbm.hidden_units)


def test_second_derivatives_of_the_free_energy_are_minus_the_covariance(x64):
    rbm = reference_rbm(4, 3, 0.4, Spin())

    def free_energy(bias):
        return solve_mean_field(with_leaf(rbm, "visible_bias", bias), tol=1e-14).free_energy

    solution = solve(rbm, tol=1e-14)
    covariance = np.asarray(jax.jit(mean_field_covariance)(rbm, solution.visible, solution.hidden))[:4, :4]
    np.testing.assert_allclose(jax.jit(jax.grad(free_energy))(rbm.visible_bias), -solution.visible, atol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.hessian(free_energy))(rbm.visible_bias), -covariance, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": jnp.zeros(3)}, ValueError, "init must have 4 units"),
        ({"tol": -1.0}, ValueError, "tol must be positive"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
        ({"order": 4}, ValueError, "order must be 1"),
        ({"damping": 1.0}, ValueError, "damping must be at least 0 and below 1"),
        ({"clamp_mask": jnp.ones(4, bool)}, ValueError, "init must be given with clamp_mask"),
        ({"init": jnp.zeros(4), "clamp_mask": jnp.ones(4)}, TypeError, "clamp_mask must be boolean"),
        ({"init": jnp.zeros(4), "clamp_mask": jnp.ones(3, bool)}, ValueError, "clamp_mask must broadcast"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        solve_mean_field(reference_rbm(4, 3, 0.3), **options)
