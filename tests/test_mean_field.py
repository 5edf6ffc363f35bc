"""Naive mean field: published fixed points, stationarity, the variational bound, and derivatives of the solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Gaussian, Spin, bernoulli_to_spin, exact_log_z, exact_moments, solve_mean_field
from rbm_jax.mean_field import mean_field_free_energy
from tests.helpers import PAIRS, reference_rbm

solve = jax.jit(solve_mean_field, static_argnames=("tol", "max_steps"))
free_energy_of = jax.jit(mean_field_free_energy)
per_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)


@pytest.mark.parametrize(
    ("units", "free_energy", "visible", "hidden"),
    [
        (Spin(), -7.7327604896, 0.2863234666, 0.3444952082),
        (Bernoulli(), -7.7940298267, 0.5932292318, 0.5422453909),
    ],
    ids=str,
)
def test_the_fixed_point_is_the_published_one(units, free_energy, visible, hidden, x64):
    # started, as the published one, at the means of the uncoupled visible layer
    solution = solve(reference_rbm(6, 5, 0.3, units), tol=1e-13)
    assert solution.converged
    found = solution.free_energy, solution.visible[0], solution.hidden[0]
    np.testing.assert_allclose(found, (free_energy, visible, hidden), rtol=0, atol=6e-11)


@per_pair
def test_the_free_energy_is_stationary_at_the_solution(pair, dtype):
    solution = solve(reference_rbm(4, 3, 0.3, *pair, dtype))
    assert solution.converged
    by_visible, by_hidden = jax.jit(jax.grad(mean_field_free_energy, argnums=(1, 2)))(
        reference_rbm(4, 3, 0.3, *pair, dtype), solution.visible, solution.hidden
    )
    # the solver stops when a step is below its tolerance, and a unit of variance c turns that into a slope of step / c
    error = 1e-8 if dtype == jnp.float64 else 1e-4
    np.testing.assert_allclose(by_visible, 0, atol=error)
    np.testing.assert_allclose(by_hidden, 0, atol=error)
    np.testing.assert_allclose(
        solution.free_energy,
        mean_field_free_energy(reference_rbm(4, 3, 0.3, *pair, dtype), solution.visible, solution.hidden),
        rtol=1e-6,
    )


@per_pair
def test_the_free_energy_bounds_minus_log_z_from_above(pair, x64):
    rng = np.random.default_rng(0)
    for strength in (0.1, 0.4):
        rbm = reference_rbm(4, 3, strength, *pair)
        visible, hidden = (
            units.mean(jnp.asarray(rng.normal(scale=2, size=(200, n)))) for units, n in zip(pair, (4, 3), strict=True)
        )
        bound = free_energy_of(rbm, visible, hidden)
        assert bound.shape == (200,)
        assert (bound >= -exact_log_z(rbm)).all()


def test_the_bound_is_met_without_couplings(dtype):
    rbm = reference_rbm(4, 3, 0.0, Spin(), Bernoulli(), dtype)
    np.testing.assert_allclose(solve(rbm).free_energy, -exact_log_z(rbm), rtol=1e-6)


@pytest.mark.parametrize("visible_units", [Bernoulli(), Spin()], ids=str)
def test_on_the_edge_of_the_support_the_free_energy_is_the_energy(visible_units, dtype):
    rbm = reference_rbm(4, 3, 0.5, visible_units, Bernoulli(), dtype)
    v, h = jnp.ones(4, dtype), jnp.zeros(3, dtype)
    expected = -float(rbm.visible_bias.sum())
    np.testing.assert_allclose(mean_field_free_energy(rbm, v, h), expected, rtol=1e-6)


def test_the_solution_does_not_depend_on_the_variables_it_is_written_in(x64):
    rbm = reference_rbm(6, 5, 1.2)
    spin, constant = bernoulli_to_spin(rbm)
    found, mapped = solve(rbm), solve(spin)
    np.testing.assert_allclose(mapped.visible, 2 * found.visible - 1, atol=1e-9)
    np.testing.assert_allclose(mapped.free_energy, found.free_energy - constant, atol=1e-12)


def test_gaussian_layers_are_solved_exactly(dtype):
    rbm = reference_rbm(5, 4, 0.2, Gaussian(0.8), Gaussian(1.2), dtype)
    solution, exact = solve(rbm), exact_moments(rbm)
    error = 1e-9 if dtype == jnp.float64 else 1e-4
    np.testing.assert_allclose(solution.visible, exact.visible, atol=error)
    np.testing.assert_allclose(solution.hidden, exact.hidden, atol=error)


def test_a_batch_of_starts_is_solved_together(dtype):
    rbm = jax.tree.map(lambda leaf: 4 * leaf, reference_rbm(6, 5, 0.5, Spin(), dtype=dtype))
    starts = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 4, 6)), dtype)
    solution = solve(rbm, init=starts)
    assert solution.visible.shape == (2, 4, 6)
    assert solution.hidden.shape == (2, 4, 5)
    assert solution.free_energy.shape == solution.residual.shape == (2, 4)
    assert solution.converged
    error = 1e-8 if dtype == jnp.float64 else 1e-3
    for index in np.ndindex(2, 4):
        alone = solve(rbm, init=starts[index])
        np.testing.assert_allclose(solution.visible[index], alone.visible, atol=error)
    # strong couplings have several fixed points, so the start matters
    assert np.ptp(np.asarray(solution.free_energy)) > 0.1


@pytest.mark.parametrize("damping", [0.3, 0.8])
def test_damping_leads_to_the_same_fixed_point_by_smaller_steps(damping, x64):
    rbm = reference_rbm(6, 5, 0.3, Spin())
    plain, damped = solve(rbm, tol=1e-12), solve(rbm, damping=damping, tol=1e-12)
    assert damped.converged
    assert damped.n_steps != plain.n_steps
    np.testing.assert_allclose(damped.visible, plain.visible, atol=1e-10)


@pytest.mark.parametrize("max_steps", [1, 3])
def test_too_few_steps_are_reported(max_steps, dtype):
    solution = solve(reference_rbm(6, 5, 0.3, Spin(), dtype=dtype), max_steps=max_steps)
    assert not solution.converged
    assert solution.n_steps == max_steps
    assert solution.residual > 1e-3


def test_a_diverging_iteration_is_reported(dtype):
    # the fixed point equations of Gaussian layers beyond their bound have no stable solution
    solution = solve(reference_rbm(4, 3, 1.0, Gaussian(), dtype=dtype), max_steps=50)
    assert not solution.converged


@pytest.mark.parametrize("units", [Spin(), Bernoulli()], ids=str)
def test_derivatives_of_the_solution_are_those_of_the_fixed_point(units, x64):
    rbm = reference_rbm(4, 3, 0.4, units)
    solve_for = jax.jit(lambda model: solve_mean_field(model, tol=1e-14).visible)
    jacobian = jax.jit(jax.jacrev(solve_for))(rbm)
    step = 1e-5
    for name, index in [("weights", (1, 2)), ("visible_bias", (3,)), ("hidden_bias", (0,))]:
        ends = [solve_for(with_leaf(rbm, name, getattr(rbm, name).at[index].add(sign * step))) for sign in (1, -1)]
        difference = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(getattr(jacobian, name)[(slice(None), *index)], difference, atol=1e-8)
        assert abs(difference).max() > 1e-2


def with_leaf(rbm, name, value):
    leaves = {field: getattr(rbm, field) for field in ("weights", "visible_bias", "hidden_bias")} | {name: value}
    return type(rbm)(**leaves, visible_units=rbm.visible_units, hidden_units=rbm.hidden_units)


def test_the_derivative_of_the_free_energy_at_the_solution_is_minus_the_magnetization(x64):
    # the magnetizations may move, but the free energy is stationary in them
    rbm = reference_rbm(4, 3, 0.4, Spin())
    slope = jax.jit(jax.grad(lambda model: solve_mean_field(model, tol=1e-14).free_energy))(rbm)
    solution = solve(rbm, tol=1e-14)
    np.testing.assert_allclose(slope.visible_bias, -solution.visible, atol=1e-10)
    np.testing.assert_allclose(slope.hidden_bias, -solution.hidden, atol=1e-10)
    np.testing.assert_allclose(slope.weights, -jnp.outer(solution.visible, solution.hidden), atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": jnp.zeros(3)}, "init must have 4 units"),
        ({"tol": -1.0}, "tol must be positive"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve_mean_field(reference_rbm(4, 3, 0.3), **options)


@pytest.mark.parametrize(("n_visible", "n_hidden", "name"), [(3, 3, "visible"), (4, 4, "hidden")])
def test_magnetizations_that_do_not_fit_are_refused(n_visible, n_hidden, name):
    with pytest.raises(ValueError, match=f"{name} must have"):
        mean_field_free_energy(reference_rbm(4, 3, 0.3), jnp.zeros(n_visible), jnp.zeros(n_hidden))
