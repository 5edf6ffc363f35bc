"""Mean-field free energies of all orders and their fixed points: published values, error orders, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbm_jax import RBM, Bernoulli, Gaussian, Spin, exact_log_z, solve_mean_field, visible_free_energy
from rbm_jax.mean_field import (
    mean_field_covariance,
    mean_field_free_energy,
    mean_field_hessian,
    mean_field_moments,
    mean_field_stability,
    quadratic_free_energy,
)
from rbm_jax.model import bernoulli_to_spin, exact_moments
from tests.helpers import COVERING_PAIRS, DISCRETE_PAIRS, PAIRS, reference_rbm, slow_but

ORDERS = (1, 2, 3)
solve = jax.jit(solve_mean_field, static_argnames=("order", "max_steps"))
free_energy_of = jax.jit(mean_field_free_energy, static_argnames="order")
moments_of = jax.jit(mean_field_moments, static_argnames="order")
hessian_of = jax.jit(mean_field_hessian, static_argnames="order")
second_derivatives_of = jax.jit(jax.hessian(mean_field_free_energy, argnums=(1, 2)), static_argnames="order")
covariance_of = jax.jit(mean_field_covariance, static_argnames="order")
stability_of = jax.jit(mean_field_stability, static_argnames="order")
quadratic_of = jax.jit(quadratic_free_energy)
slopes_of = jax.jit(jax.grad(mean_field_free_energy, argnums=(1, 2)), static_argnames="order")
per_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
per_order = pytest.mark.parametrize("order", ORDERS)
# all pairs at the order where they differ most, and all orders for two pairs; quick, what covers units and orders
per_pair_or_order = pytest.mark.parametrize(
    ("pair", "order"),
    slow_but(
        [(pair, 2) for pair in COVERING_PAIRS] + [(PAIRS[1], 1), (PAIRS[1], 3)],
        [(pair, 2) for pair in PAIRS] + [(pair, order) for pair in (PAIRS[1], PAIRS[5]) for order in (1, 3)],
    ),
    ids=str,
)

# G, m_v[0], m_h[0] and entry [1, 2] of -dG/dW at the fixed point of det(6, 5, 0.3)
PUBLISHED = [
    (Spin(), 1, -7.7327604896, 0.2863234666, 0.3444952082, 0.00738525),
    (Spin(), 2, -8.4917808852, 0.2065935456, 0.1949984346, 0.29296924),
    (Spin(), 3, -8.4935031171, 0.2110819162, 0.2044071085, 0.29262842),
    (Bernoulli(), 1, -7.7940298267, 0.5932292318, 0.5422453909, 0.29211543),
    (Bernoulli(), 2, -7.8411699888, 0.5920383850, 0.5410856283, 0.30896825),
    (Bernoulli(), 3, -7.8411955430, 0.5920478667, 0.5411601447, 0.30901052),
]


def spins(weights, visible_bias=0.0, hidden_bias=0.0, units=None):
    weights = jnp.asarray(weights)
    n_visible, n_hidden = weights.shape
    biases = jnp.broadcast_to(visible_bias, n_visible), jnp.broadcast_to(hidden_bias, n_hidden)
    return RBM(weights, *(jnp.asarray(b, weights.dtype) for b in biases), units or Spin(), units or Spin())


@pytest.mark.parametrize(("units", "order", "free_energy", "visible", "hidden", "product"), PUBLISHED, ids=str)
def test_the_fixed_point_is_the_published_one(units, order, free_energy, visible, hidden, product, x64):
    rbm = reference_rbm(6, 5, 0.3, units)
    solution = solve(rbm, order=order, tol=1e-13)
    assert solution.converged
    found = solution.free_energy, solution.visible[0], solution.hidden[0]
    np.testing.assert_allclose(found, (free_energy, visible, hidden), rtol=0, atol=6e-11)
    moments = moments_of(rbm, solution.visible, solution.hidden, order=order)
    np.testing.assert_allclose(moments.product[1, 2], product, rtol=0, atol=6e-9)


def test_the_second_order_enters_with_a_minus_sign(x64):
    rbm = spins(reference_rbm(6, 5, 0.3).weights)
    zero = jnp.zeros(6), jnp.zeros(5)
    np.testing.assert_allclose(-exact_log_z(rbm), -8.38386972, atol=6e-9)
    np.testing.assert_allclose(free_energy_of(rbm, *zero, order=1), -7.62461899, atol=6e-9)
    np.testing.assert_allclose(free_energy_of(rbm, *zero, order=2), -8.42119674, atol=6e-9)


def error_of_free_energy(rbm, order):
    return float(solve(rbm, order=order, tol=1e-14).free_energy + exact_log_z(rbm))


@pytest.mark.parametrize(
    ("order", "published"),
    [
        (1, (3.111e-4, 1.273e-3, 5.307e-3)),
        (2, (-7.878e-7, -6.079e-6, -4.463e-5)),
        (3, (1.304e-8, 2.177e-7, 3.780e-6)),
    ],
)
def test_the_error_is_of_the_next_order_in_the_couplings(order, published, x64):
    i, j = np.arange(6)[:, None], np.arange(5)
    shape, a, b = 1 + np.sin(1 + i + 2 * j), 0.6 + 0.2 * np.cos(i[:, 0]), -0.5 + 0.1 * np.sin(1 + j)
    strengths = np.array([0.005, 0.01, 0.02])
    errors = np.array([error_of_free_energy(spins(g * shape, a, b), order) for g in strengths])
    np.testing.assert_allclose(errors, published, rtol=5e-4)
    # the slope at smaller couplings, where it has settled
    pair = np.array([abs(error_of_free_energy(spins(g * shape, a, b), order)) for g in (0.0025, 0.005)])
    assert abs(np.log2(pair[1] / pair[0]) - (order + 1)) < 0.06


@pytest.mark.parametrize("order", [2, 3])
def test_without_fields_the_error_of_spins_is_of_fourth_order(order, x64):
    strengths = np.array([0.05, 0.1, 0.2])
    shape = reference_rbm(6, 5, 1.0).weights
    errors = np.array([error_of_free_energy(spins(g * shape), order) for g in strengths])
    np.testing.assert_allclose(errors, (-3.086e-5, -4.910e-4, -7.676e-3), rtol=2e-4)
    slope = np.polyfit(np.log(strengths), np.log(-errors), 1)[0]
    assert abs(slope - 4) < 0.03


@pytest.mark.parametrize(
    ("pair", "order", "dtype"),
    slow_but(
        [(pair, order, jnp.float64) for pair in COVERING_PAIRS for order in ORDERS]
        + [(pair, 3, jnp.float32) for pair in COVERING_PAIRS[:2]],
        [(pair, order, jnp.float64) for pair in PAIRS for order in ORDERS]
        + [(pair, 3, jnp.float32) for pair in PAIRS[:6]],
    ),
    ids=str,
)
def test_the_free_energy_is_stationary_at_the_solution(pair, order, dtype):
    jax.config.update("jax_enable_x64", dtype == jnp.float64)
    rbm = reference_rbm(4, 3, 0.3, *pair, dtype)
    solution = solve(rbm, order=order)
    assert solution.converged
    # the solver stops when a step is below its tolerance, and a unit of variance c turns that into a slope of step / c
    error = 1e-8 if dtype == jnp.float64 else 1e-4
    for slope in slopes_of(rbm, solution.visible, solution.hidden, order=order):
        np.testing.assert_allclose(slope, 0, atol=error)
    expected = free_energy_of(rbm, solution.visible, solution.hidden, order=order)
    np.testing.assert_allclose(solution.free_energy, expected, rtol=1e-6)


@per_pair
def test_the_second_order_improves_the_estimate_of_log_z(pair, x64):
    rbm = reference_rbm(4, 3, 0.15, *pair)
    errors = [abs(solve(rbm, order=order).free_energy + exact_log_z(rbm)) for order in (1, 2)]
    assert errors[1] < 0.1 * errors[0]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(strength=st.floats(0.0, 1.5), spread=st.floats(0.1, 5.0), seed=st.integers(0, 2**31))
@per_pair
def test_the_naive_free_energy_bounds_minus_log_z_from_above(pair, strength, spread, seed):
    gaussian = [isinstance(units, Gaussian) for units in pair]
    strength = 0.25 * strength if all(gaussian) else strength  # beyond, two Gaussian layers have no finite log Z
    rng = np.random.default_rng(seed)
    rbm = reference_rbm(4, 3, strength, *pair)
    magnetizations = (
        units.mean(jnp.asarray(rng.normal(scale=spread, size=(50, n)), rbm.dtype))
        for units, n in zip(pair, (4, 3), strict=True)
    )
    bound = free_energy_of(rbm, *magnetizations, order=1)
    assert (bound >= -exact_log_z(rbm) - 1e-4).all()


@per_order
def test_the_free_energy_does_not_depend_on_the_variables_it_is_written_in(order, x64):
    rbm = reference_rbm(6, 5, 1.2)
    spin, constant = bernoulli_to_spin(rbm)
    m_v, m_h = (jax.nn.sigmoid(jnp.sin(1.0 + jnp.arange(n))) for n in (6, 5))
    as_bits = free_energy_of(rbm, m_v, m_h, order=order)
    as_spins = free_energy_of(spin, 2 * m_v - 1, 2 * m_h - 1, order=order)
    np.testing.assert_allclose(as_spins, as_bits - constant, rtol=0, atol=1e-12)
    found, mapped = solve(rbm, order=order, tol=1e-13), solve(spin, order=order, tol=1e-13)
    np.testing.assert_allclose(mapped.visible, 2 * found.visible - 1, atol=1e-12)


@pytest.mark.parametrize(
    ("pair", "dtype"),
    slow_but(
        [(PAIRS[1], "float32"), (PAIRS[1], "float64"), (PAIRS[3], "float64")],
        [(pair, dtype) for pair in DISCRETE_PAIRS for dtype in ("float32", "float64")],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_without_couplings_every_order_is_exact(pair, dtype):
    rbm = reference_rbm(4, 3, 0.0, *pair, dtype)
    for order in ORDERS:
        np.testing.assert_allclose(solve(rbm, order=order).free_energy, -exact_log_z(rbm), rtol=1e-6)


@pytest.mark.parametrize("visible_units", [Bernoulli(), Spin()], ids=str)
def test_on_the_edge_of_the_support_the_free_energy_is_the_energy(visible_units, dtype):
    rbm = reference_rbm(4, 3, 0.5, visible_units, Bernoulli(), dtype)
    v, h = jnp.ones(4, dtype), jnp.zeros(3, dtype)
    expected = -float(rbm.visible_bias.sum())
    for order in ORDERS:
        np.testing.assert_allclose(free_energy_of(rbm, v, h, order=order), expected, rtol=1e-6)


def test_quadratic_free_energy_is_the_naive_one_of_small_magnetizations(x64):
    rbm = reference_rbm(4, 3, 0.5, Spin(), Bernoulli())
    direction = jnp.cos(jnp.arange(4.0)), jnp.sin(jnp.arange(3.0))
    sizes = np.array([0.01, 0.02, 0.04])
    difference = [
        free_energy_of(rbm, size * direction[0], 0.5 + size * direction[1] / 2, order=1)
        - quadratic_of(rbm, size * direction[0], 0.5 + size * direction[1] / 2)
        for size in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(np.asarray(difference)), 1)[0]
    assert abs(slope - 4) < 0.01
    gaussian = reference_rbm(4, 3, 0.2, Gaussian(0.7), Gaussian(1.3))
    naive = free_energy_of(gaussian, *direction, order=1)
    np.testing.assert_allclose(quadratic_of(gaussian, *direction), naive, rtol=1e-14)


@pytest.mark.parametrize(("units", "critical"), [(Spin(), 1.0), (Bernoulli(), 4.0)], ids=str)
def test_naive_magnetization_appears_at_the_instability(units, critical, x64):
    published = 0.22963 if units == Spin() else 0.11482
    for ratio, expected in ((1.02, published), (0.98, 0.0)):
        weights = jnp.full((6, 5), ratio * critical / np.sqrt(30))
        centered = (0.0, 0.0) if units == Spin() else (-weights.sum(1) / 2, -weights.sum(0) / 2)
        start = units.mean(jnp.full(6, 2.0))
        solution = solve(spins(weights, *centered, units), order=1, init=start, tol=1e-12, max_steps=5000)
        rest = 0.0 if units == Spin() else 0.5
        np.testing.assert_allclose(solution.visible - rest, expected, atol=6e-6)


def test_gaussian_hidden_units_have_the_published_free_energy(x64):
    rbm = reference_rbm(6, 3, 0.1, Spin(), Gaussian(1.0))
    free_energy = solve(rbm, order=2, tol=1e-13).free_energy
    # published without the factor √2π of each Gaussian unit
    np.testing.assert_allclose(free_energy + 1.5 * np.log(2 * np.pi), -4.2882081281, atol=6e-11)
    np.testing.assert_allclose(free_energy + exact_log_z(rbm), -6.16e-4, rtol=1e-3)


@per_order
def test_means_of_gaussian_layers_are_exact(order, dtype):
    rbm = reference_rbm(5, 4, 0.2, Gaussian(0.8), Gaussian(1.2), dtype)
    solution, exact = solve(rbm, order=order), exact_moments(rbm)
    error = 1e-9 if dtype == jnp.float64 else 1e-4
    np.testing.assert_allclose(solution.visible, exact.visible, atol=error)
    np.testing.assert_allclose(solution.hidden, exact.hidden, atol=error)


@pytest.mark.parametrize(
    ("units", "exact", "tap"),
    [(Spin(), 6.20381962, 6.21869681), (Bernoulli(), 5.37371237, 5.37370970)],
    ids=str,
)
def test_clamped_units_give_the_published_sum_over_the_others(units, exact, tap, x64):
    rbm = reference_rbm(6, 5, 0.4, units)
    low = units.states.min()
    observed, v = np.array([1, 1, 0, 1, 0, 1], bool), np.array([1, low, 1, 1, low, 1])
    solution = solve(rbm, init=v, clamp_mask=observed, tol=1e-13)
    np.testing.assert_allclose(-solution.free_energy, tap, atol=6e-9)
    np.testing.assert_array_equal(np.asarray(solution.visible)[observed], v[observed])
    free = np.where(observed, v, [[0, 0, x, 0, y, 0] for x in (low, 1.0) for y in (low, 1.0)])
    total = np.log(np.exp(-np.asarray(jax.jit(visible_free_energy)(rbm, free))).sum())
    np.testing.assert_allclose(total, exact, atol=6e-9)


@per_pair_or_order
def test_with_all_visible_units_clamped_the_free_energy_is_exact(pair, order, x64):
    rbm = reference_rbm(4, 3, 0.4, *pair)
    v = jnp.array([[1.0, 1, 1, 1], [1, -1, 1, -1]]) if pair[0] != Bernoulli() else jnp.eye(4)[:2]
    solution = solve(rbm, init=v, order=order, clamp_mask=jnp.ones(4, bool))
    np.testing.assert_array_equal(solution.visible, v)
    np.testing.assert_allclose(solution.free_energy, visible_free_energy(rbm, v), rtol=1e-12)


@per_pair_or_order
def test_the_hessian_is_that_of_the_free_energy_and_its_inverse_the_response(pair, order, x64):
    rbm = reference_rbm(3, 2, 0.3, *pair)
    solution = solve(rbm, order=order, tol=1e-13)
    points = solution.visible, solution.hidden
    hessian = hessian_of(rbm, *points, order=order)
    blocks = second_derivatives_of(rbm, *points, order=order)
    np.testing.assert_allclose(hessian, np.block([list(row) for row in jax.device_get(blocks)]), atol=1e-9)
    covariance = np.asarray(covariance_of(rbm, *points, order=order))
    np.testing.assert_allclose(covariance @ np.asarray(hessian), np.eye(5), atol=1e-9)
    if pair in (PAIRS[1], PAIRS[5]):  # compiles slowly
        response = jax.jit(jax.jacobian(lambda rbm: solve_mean_field(rbm, order=order, tol=1e-14).visible))(rbm)
        np.testing.assert_allclose(covariance[:3, :3], response.visible_bias, atol=1e-9)
        np.testing.assert_allclose(covariance[:3, 3:], response.hidden_bias, atol=1e-9)


def test_stability_changes_sign_with_the_hessian_at_the_transition(x64):
    zero = jnp.zeros(6), jnp.zeros(5)
    assert stability_of(spins(jnp.zeros((6, 5))), *zero, order=2) == 1
    for order in (1, 2):
        signs = set()
        for ratio in (0.9, 0.99, 1.01, 1.5):
            rbm = spins(jnp.full((6, 5), ratio / np.sqrt(30)))
            lowest = stability_of(rbm, *zero, order=order)
            assert jnp.sign(lowest) == jnp.sign(jnp.linalg.eigvalsh(hessian_of(rbm, *zero, order=order))[0])
            signs.add(float(jnp.sign(lowest)))
            assert order > 1 or (lowest > 0) == (ratio < 1)
        assert signs == {-1, 1}


def test_saturated_units_are_stable_and_have_finite_derivatives():
    rbm = spins(jnp.full((4, 3), 5.0), 50.0)
    solution = solve(rbm)
    assert (solution.visible == 1).all()
    np.testing.assert_allclose(stability_of(rbm, solution.visible, solution.hidden), 1, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda rbm: solve_mean_field(rbm).free_energy))(rbm)
    np.testing.assert_allclose(slope.visible_bias, -1, rtol=1e-6)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 4}, "order must be 1"),
        ({"order": 0}, "order must be at least 1"),
    ],
)
def test_orders_beyond_the_third_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mean_field_free_energy(reference_rbm(4, 3, 0.3), jnp.zeros(4), jnp.zeros(3), **options)


@pytest.mark.parametrize(("n_visible", "n_hidden", "name"), [(3, 3, "visible"), (4, 4, "hidden")])
def test_magnetizations_that_do_not_fit_are_refused(n_visible, n_hidden, name):
    for function in (mean_field_free_energy, quadratic_free_energy, mean_field_moments, mean_field_hessian):
        with pytest.raises(ValueError, match=f"{name}_magnetization must have"):
            function(reference_rbm(4, 3, 0.3), jnp.zeros(n_visible), jnp.zeros(n_hidden))
