"""The linear theory against published values, autodiff and the exact equations."""

import dataclasses
import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    PCD,
    RBM,
    Batches,
    Bernoulli,
    Centered,
    Gaussian,
    Spin,
    Trainer,
    Trajectory,
    fit,
    init_rbm,
    svd_modes,
)
from rbm_jax.data import binarize, load_digits
from rbm_jax.dynamics import (
    DataStatistics,
    GrowthModes,
    compare_trajectories,
    data_statistics,
    departures,
    gaussian_force,
    growth_deviation,
    growth_modes,
    growth_rates_along,
    growth_windows,
    integrate,
    linear_bound,
    linear_fixed_points,
    linear_likelihood_gain,
    linear_rate,
    linear_rotations,
    linear_solution,
    linear_time,
    linear_velocity,
    linear_weights,
    linear_window,
    mode_velocity,
)
from rbm_jax.model import Plain
from tests.helpers import slow_but, tolerance

VARIANCES = {"visible_variance": 0.8, "hidden_variance": 1.5}
DATA_VARIANCES = np.array([4.0, 2.0, 1.0, 0.5])
integrate_jit, growth_modes_jit, growth_windows_jit = map(eqx.filter_jit, (integrate, growth_modes, growth_windows))
BITS = {"visible_units": Bernoulli(), "hidden_units": Bernoulli()}


@functools.cache
def digits():
    return binarize(load_digits())


def test_published_singular_values_at_time_one(dtype):
    found = linear_solution(np.array([1.0], dtype), np.full(4, 0.1, dtype), DATA_VARIANCES.astype(dtype))[0]
    expected = [0.8655173180, 0.2632054907, 0.0990050490, 0.0602706847]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 if dtype == jnp.float64 else 2e-5)
    assert found.dtype == dtype


def test_published_times_to_reach_half_of_the_fixed_point(x64):
    variances = np.array([8.0, 4.0, 2.0, 1.5])
    times = jax.jit(lambda c: linear_time(linear_fixed_points(c) / 2, 0.01, c))(variances)
    np.testing.assert_allclose(times, [0.551890, 1.268042, 3.637320, 6.917022], atol=1e-6)


def test_published_gains_of_learning_a_mode(x64):
    variances = np.array([8.0, 4.0, 2.0, 1.5])
    gain = jax.jit(lambda c: linear_likelihood_gain(linear_fixed_points(c), c))(variances)
    np.testing.assert_allclose(gain, [2.460279, 0.806853, 0.153426, 0.047267], atol=1e-6)
    ratio = DATA_VARIANCES[:2] / 0.8
    found = linear_likelihood_gain(
        linear_fixed_points(DATA_VARIANCES[:2], **VARIANCES), DATA_VARIANCES[:2], **VARIANCES
    )
    np.testing.assert_allclose(found, (ratio - 1 - np.log(ratio)) / 2, atol=1e-12)


def test_velocity_is_the_slope_of_the_likelihood(x64):
    values = jnp.array([0.1, 0.4, 0.7, 0.3])
    slope = jax.jit(jax.grad(lambda w: linear_likelihood_gain(w, DATA_VARIANCES, **VARIANCES).sum()))(values)
    np.testing.assert_allclose(linear_velocity(values, DATA_VARIANCES, **VARIANCES), slope, atol=1e-12)


def test_rate_is_the_derivative_of_the_velocity(x64):
    values = jnp.array([0.0, 0.4, 0.7, 0.3])
    slope = jax.jit(jax.grad(lambda w: linear_velocity(w, DATA_VARIANCES, **VARIANCES).sum()))(values)
    np.testing.assert_allclose(linear_rate(values, DATA_VARIANCES, **VARIANCES), slope, atol=1e-12)


def test_fixed_points_are_stable_and_at_rest(x64):
    fixed = linear_fixed_points(DATA_VARIANCES, **VARIANCES)
    np.testing.assert_allclose(linear_velocity(fixed, DATA_VARIANCES, **VARIANCES), 0, atol=1e-12)
    assert (linear_rate(fixed, DATA_VARIANCES, **VARIANCES) < 0).all()
    above = DATA_VARIANCES > 0.8
    np.testing.assert_array_equal(fixed > 0, above)
    np.testing.assert_array_equal(linear_rate(0.0, DATA_VARIANCES, **VARIANCES) > 0, above)
    np.testing.assert_allclose(linear_rate(linear_fixed_points(4.0), 4.0), -24)
    assert (fixed < linear_bound(**VARIANCES)).all()


def test_velocity_beyond_the_bound_is_nan(x64):
    assert jnp.isnan(linear_velocity(1.01 * linear_bound(**VARIANCES), 2.0, **VARIANCES))


@jax.jit
def integrated_modes(ts, initial, variances):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, w, args: linear_velocity(w, variances, **VARIANCES)),
        diffrax.Dopri8(),
        t0=0.0,
        t1=4.0,
        dt0=None,
        y0=initial,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.PIDController(rtol=1e-12, atol=1e-14),
        max_steps=100_000,
    )
    return solution.ys


@pytest.mark.parametrize("initial", [0.01, 0.3, 0.9])
def test_closed_solution_solves_the_equation_for_modes_above_at_and_below_threshold(x64, initial):
    ts, start, variances = np.linspace(0, 4, 30), np.full(4, initial), np.array([4.0, 1.5, 0.8, 0.3])
    values = linear_solution(ts, start, variances, **VARIANCES)
    np.testing.assert_allclose(values[0], initial)
    np.testing.assert_allclose(values, integrated_modes(ts, start, variances), rtol=1e-7)


@pytest.mark.parametrize("excess", [1e-3, -1e-3, 2e-4, -2e-4, 1e-6, 0.0])
def test_closed_solution_in_float32_holds_around_the_threshold(excess):
    ts, variance = np.array([100.0, 1000.0, 10000.0], np.float32), np.array([1 + excess], np.float32)
    single = linear_solution(ts, np.array([1e-3], np.float32), variance)
    jax.config.update("jax_enable_x64", True)
    double = linear_solution(ts.astype(float), np.array([1e-3]), variance.astype(float))
    np.testing.assert_allclose(single, double, rtol=3e-5)
    np.testing.assert_allclose(jax.jit(linear_time)(double[:, 0], 1e-3, variance.astype(float)), ts, rtol=1e-5)


def test_fixed_points_are_differentiable_on_both_sides_of_the_threshold(x64):
    slope = jax.jit(jax.grad(lambda c: linear_fixed_points(c).sum()))(np.array([4.0, 0.5]))
    np.testing.assert_allclose(slope, [0.5 / 16 / np.sqrt(0.75), 0], atol=1e-12)


def test_statistics_take_no_further_weights():
    statistics = DataStatistics(jnp.zeros(64), jnp.eye(64))
    with pytest.raises(ValueError, match="weights"):
        growth_modes(statistics, visible_units=Spin(), hidden_units=Spin(), sample_weights=np.ones(1797))


def test_closed_solution_stays_at_its_fixed_point(x64):
    fixed = linear_fixed_points(jnp.array([4.0]))
    for value in linear_solution(jnp.array([0.0, 1.0, 50.0]), fixed, jnp.array([4.0])):
        np.testing.assert_allclose(value, fixed, rtol=1e-9)
    long = linear_solution(jnp.array([500.0]), jnp.array([0.01, 0.01]), jnp.array([4.0, 0.5]))[0]
    np.testing.assert_allclose(long[0], fixed[0], rtol=1e-9)
    assert long[1] < 1e-50


def test_closed_solution_is_differentiable_in_all_arguments(x64):
    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def value_and_slopes(t, initial, variance):
        return linear_solution(t[None], initial[None], variance[None], **VARIANCES)[0, 0]

    point = np.array([0.7, 0.2, 2.5])
    for shift, slope in zip(1e-5 * np.eye(3), value_and_slopes(*point)[1], strict=True):
        difference = (value_and_slopes(*(point + shift))[0] - value_and_slopes(*(point - shift))[0]) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_matrix_integration_follows_the_closed_solution_of_aligned_modes(x64):
    # Four modes, two above and two below threshold, with W(0) on the eigenvectors of the data's covariance.
    units = Gaussian(0.8), Gaussian(1.5)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    root = np.sqrt(4 * DATA_VARIANCES)[:, None] * basis.T
    data = np.concatenate([root, -root])
    right = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    rbm = RBM(jnp.asarray(0.1 * basis @ right.T), jnp.zeros(4), jnp.zeros(4), *units)
    ts = np.linspace(0, 3, 7)
    path = integrate_jit(gaussian_force(data), rbm, ts, rtol=1e-10)
    aligned = np.einsum("ia,tij,ja->ta", basis, path.rbms.weights, right)
    expected = linear_solution(ts, np.full(4, 0.1), DATA_VARIANCES, **VARIANCES)
    np.testing.assert_allclose(aligned, expected, rtol=1e-7)


def test_growth_rates_of_digits_are_the_published_ones(dtype):
    growth = growth_modes_jit(digits(), **BITS)
    expected = np.array([0.73926, 0.69176, 0.56863, 0.34942, 0.20648]) / 4
    # The published values are rounded by 1.3e-6. In float32, entries of C are sums of 1797 products of up to 1/4, right
    # to 1797^(1/2) 2^-24 / 4 = 6e-7; eigenvalues of a matrix of 64 such errors are to 2 · 64^(1/2) of that, over 4.
    np.testing.assert_allclose(growth.rates[:5], expected, atol=1.3e-6 if dtype == jnp.float64 else 4e-6)
    gram = np.asarray(growth.vectors).T @ growth.vectors
    np.testing.assert_allclose(gram, np.eye(64), atol=100 * tolerance(dtype))


def test_growth_modes_of_spins_are_those_of_the_same_bits(x64):
    bernoulli = growth_modes_jit(digits(), **BITS)
    spin = growth_modes_jit(2.0 * digits() - 1, visible_units=Spin(), hidden_units=Spin())
    np.testing.assert_allclose(spin.rates, np.multiply(16, bernoulli.rates), atol=1e-10)


def test_linear_weights_are_the_matrix_exponential(x64):
    statistics = data_statistics(digits()[:, 20:30])
    weights = np.random.default_rng(0).normal(size=(10, 3))

    @jax.jit
    def both(weights):
        growth = growth_modes(statistics, **BITS)
        generator = growth.vectors @ jnp.diag(growth.rates) @ growth.vectors.T
        found = linear_weights(jnp.array([0.0, 3.0]), weights, growth)[1]
        return found, jax.scipy.linalg.expm(3.0 * generator) @ weights

    np.testing.assert_allclose(*both(weights), atol=1e-12)


def trained_on_digits(metric):
    data, trainer = digits(), Trainer.euler(PCD(metric=metric), 0.05)
    rbm = init_rbm(jax.random.key(0), 64, 64, scale=1e-3, visible_mean=data.mean(0))
    state = trainer.init(jax.random.key(1), rbm, n_chains=4000)
    train = functools.partial(fit, trainer=trainer, batches=Batches(data), n_updates=300, save_at=range(0, 301, 10))
    # optimized, the simulation takes a fifth of the time
    train = jax.jit(train, compiler_options={"xla_backend_optimization_level": 3})
    _, path = train(jax.random.key(2), state=state)
    return path, growth_modes_jit(data, **BITS)


def test_pcd_on_digits_grows_at_the_rates_of_the_linear_theory():
    path, growth = trained_on_digits(Centered())
    measured = growth_rates_along(path, growth, linear_window(path, growth))
    np.testing.assert_allclose(measured[:5], growth.rates[:5], rtol=0.01)


@pytest.mark.slow
def test_plain_pcd_grows_at_the_same_rates_but_for_weights_equal_in_all_hidden_units():
    """These act as visible biases, since ⟨h⟩ = 1/2, and carry the noise of the chains: they are taken out."""
    path, growth = trained_on_digits(Plain())
    weights = path.rbms.weights
    others = dataclasses.replace(path.rbms, weights=weights - weights.mean(-1, keepdims=True))
    path = dataclasses.replace(path, rbms=others)
    measured = growth_rates_along(path, growth, linear_window(path, growth))
    # Euler steps alone make it less by rate · step / 2, up to 0.0046
    np.testing.assert_allclose(measured[:5], growth.rates[:5], rtol=0.01)


def stacked_rbm(weights):
    """RBMs along time with these weights and no biases."""
    biases = (jnp.asarray(np.zeros((*weights.shape[:1], n))) for n in weights.shape[1:])
    return RBM(jnp.asarray(weights), *biases, Bernoulli(), Bernoulli())


def paths(deviation):
    """A reference path of three modes, and one that differs in a known way."""
    ts = np.linspace(0.0, 4.0, 9)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 3)))[0]
    values = np.array([3.0, 2.0, 1.0]) * np.exp(np.outer(ts, [1.0, 0.5, 0.1]))

    def path(values):
        weights = np.einsum("ia,ta,ja->tij", basis, values, np.eye(3))
        rbms = stacked_rbm(weights)
        return Trajectory(jnp.asarray(ts, rbms.weights.dtype), rbms, jnp.array(0))

    return path(values * (1 + deviation)), path(values)


def test_comparison_finds_known_deviations_and_departures(x64):
    deviation = np.zeros((9, 3))
    deviation[5:, 0], deviation[3, 1], deviation[:, 2] = 0.2, 0.3, 0.05
    discrete, continuous = paths(deviation)
    found = compare_trajectories(discrete, continuous, n_modes=3)
    np.testing.assert_allclose(found.deviation, deviation, atol=1e-12)
    np.testing.assert_allclose(found.left_overlap, 1, atol=1e-12)
    np.testing.assert_allclose(found.right_overlap, 1, atol=1e-12)
    np.testing.assert_array_equal(found.departure, [found.ts[5], found.ts[3], np.inf])
    np.testing.assert_allclose(found.largest_deviation, [0.2, 0.3, 0.05], atol=1e-12)
    np.testing.assert_array_equal(found.largest_at[:2], found.ts[jnp.array([5, 3])])


@pytest.mark.parametrize(
    ("deviation", "departure"),
    [
        ([0, 0.2, 0, 0.7, 0.6, 0], 2.0),  # the first crossing is over at once; a training that catches up has departed
        ([0, -0.2, 0, 0.05, 0, 0], np.inf),
        ([0, 0, 0, 0, 0, 0.2], 8.0),
        ([0, 0, 0, np.nan, np.nan, np.nan], 2.0),
        ([np.nan] * 6, 0.0),
        ([0, 0, 0, 0, 0, 0], np.inf),
    ],
)
def test_a_departure_is_the_first_that_lasts(deviation, departure, x64):
    ts = jnp.array([0, 1, 1.05, 2, 4, 8.0])
    np.testing.assert_array_equal(departures(ts, jnp.array(deviation, float)[:, None]), [departure])


def test_comparison_follows_modes_that_cross(x64):
    discrete, continuous = paths(np.zeros((9, 3)))
    # In the discrete path the last mode overtakes the others at the end.
    weights = np.array(discrete.rbms.weights)
    weights[-1, :, 2] *= 100
    rbms = dataclasses.replace(discrete.rbms, weights=jnp.asarray(weights))
    found = compare_trajectories(Trajectory(discrete.ts, rbms, discrete.status), continuous, n_modes=3)
    np.testing.assert_allclose(found.deviation[-1], [0, 0, 99], atol=1e-9)


def test_comparison_interpolates_to_the_discrete_clock_and_leaves_out_what_is_beyond(x64):
    discrete, continuous = paths(np.zeros((9, 3)))
    shifted = Trajectory(discrete.ts[1:] + 0.25, jax.tree.map(lambda x: x[1:], discrete.rbms), discrete.status)
    found = compare_trajectories(shifted, continuous, n_modes=1)
    assert len(found.ts) == 7
    middle = np.asarray(continuous.rbms.weights)[1:3].mean(0)
    np.testing.assert_allclose(found.continuous_values[0, 0], np.linalg.norm(middle, 2), rtol=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_comparison_refuses_what_cannot_be_compared():
    discrete, continuous = paths(np.zeros((9, 3)))
    other = Trajectory(discrete.ts + 100, discrete.rbms, discrete.status)
    with pytest.raises(ValueError, match="no common time"):
        compare_trajectories(other, continuous)
    smaller = jax.tree.map(lambda leaf: leaf[..., :2], discrete.rbms)
    with pytest.raises(ValueError, match="one shape"):
        compare_trajectories(Trajectory(discrete.ts, smaller, discrete.status), continuous)
    with pytest.raises(ValueError, match="n_modes"):
        compare_trajectories(discrete, continuous, n_modes=0)
    spins = dataclasses.replace(discrete.rbms, visible_units=Spin(), hidden_units=Spin())
    with pytest.raises(ValueError, match="unit types"):
        compare_trajectories(Trajectory(discrete.ts, spins, discrete.status), continuous)
    start = Trajectory(continuous.ts[:1], jax.tree.map(lambda leaf: leaf[:1], continuous.rbms), continuous.status)
    with pytest.raises(ValueError, match="two times"):
        compare_trajectories(discrete, start)


def test_where_the_theory_is_nan_it_has_been_left(x64):
    discrete, continuous = paths(np.zeros((9, 3)))
    weights = np.array(continuous.rbms.weights)
    weights[6:] = np.nan
    rbms = dataclasses.replace(continuous.rbms, weights=jnp.asarray(weights))
    found = compare_trajectories(discrete, Trajectory(continuous.ts, rbms, continuous.status), n_modes=2)
    np.testing.assert_array_equal(found.departure, found.ts[6])


def test_window_ends_for_good_when_the_first_mode_is_large(x64):
    data = digits()
    growth = growth_modes_jit(data, **BITS)
    ts = np.linspace(0, 40, 21)
    start = 1e-3 * np.random.default_rng(0).normal(size=(64, 8))
    weights = np.array(jax.jit(linear_weights)(ts, start, growth))
    window_and_rates = jax.jit(lambda path: (w := linear_window(path, growth), growth_rates_along(path, growth, w)))
    window, rates = window_and_rates(Trajectory(jnp.asarray(ts), stacked_rbm(weights), jnp.array(0)))
    assert window[0]
    assert not window[-1]
    assert (np.diff(np.asarray(window, int)) <= 0).all()
    np.testing.assert_allclose(rates, growth.rates, atol=1e-10)
    weights[-1] = np.nan
    broken = window_and_rates(Trajectory(jnp.asarray(ts), stacked_rbm(weights), jnp.array(0)))
    np.testing.assert_array_equal(broken[0], window)
    np.testing.assert_allclose(broken[1], growth.rates, atol=1e-10)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6)], ids=str)
def test_linear_rotations_are_those_of_the_force_of_the_linear_rbm(shape, x64):
    n_visible, n_hidden = shape
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(n_visible, n_visible))
    covariance = factor @ factor.T / n_visible
    weights = 0.1 * rng.normal(size=shape)

    @jax.jit
    def found_and_expected(weights, covariance):
        rbm = RBM(weights, jnp.zeros(n_visible), jnp.zeros(n_hidden), Gaussian(0.8), Gaussian(1.5))
        slope = gaussian_force(DataStatistics(jnp.zeros(n_visible), covariance))(0.0, rbm).weights
        modes = svd_modes(weights)
        return linear_rotations(modes, covariance, **VARIANCES), mode_velocity(modes, slope)

    found, expected = found_and_expected(weights, covariance)
    for name in ("values", "left_rotation", "right_rotation", "left_outside", "right_outside"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-9, err_msg=name)


def test_aligned_modes_do_not_rotate(x64):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    modes = jax.jit(svd_modes)((basis[:, :3] * [0.3, 0.2, 0.1]) @ np.eye(3))
    found = jax.jit(linear_rotations)(modes, (basis * [4, 3, 2, 1, 0.5]) @ basis.T)
    for rotation in (found.left_rotation, found.right_rotation, found.left_outside):
        np.testing.assert_allclose(rotation, 0, atol=1e-12)
    np.testing.assert_allclose(found.values, linear_velocity(modes.values, np.array([4.0, 3.0, 2.0])), rtol=1e-12)


def test_early_exponential_has_the_published_error(x64):
    # |W(0)| of 1e-6, t = 1: the error of the linear theory is of the order of W^2 in relative terms.
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(6, 6))
    statistics = DataStatistics(jnp.zeros(6), jnp.asarray(factor @ factor.T / 6))
    unit = Gaussian(1.0)
    rbm = RBM(jnp.asarray(1e-6 * rng.normal(size=(6, 4))), jnp.zeros(6), jnp.zeros(4), unit, unit)

    @jax.jit
    def exact_and_early(rbm):
        growth = growth_modes(statistics, visible_units=unit, hidden_units=unit)
        path = integrate(gaussian_force(statistics), rbm, [0.0, 1.0], rtol=1e-12, atol=1e-18)
        return path.rbms.weights[-1], linear_weights(jnp.array([1.0]), rbm.weights, growth)[0]

    exact, early = map(np.asarray, exact_and_early(rbm))
    assert np.linalg.norm(early - exact) < 1e-8 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("n_hidden", "likelihood"), slow_but([(2, -10.11765630)], [(2, -10.11765630), (4, -9.91696244)])
)
def test_generic_start_ends_in_probabilistic_pca(n_hidden, likelihood, x64):
    spectrum = np.array([5, 3, 2, 1.5, 0.7, 0.3])
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    statistics = DataStatistics(jnp.zeros(6), jnp.asarray((basis * spectrum) @ basis.T))
    unit = Gaussian(1.0)
    rbm = RBM(jnp.asarray(0.1 * rng.normal(size=(6, n_hidden))), jnp.zeros(6), jnp.zeros(n_hidden), unit, unit)
    weights = np.asarray(integrate_jit(gaussian_force(statistics), rbm, np.linspace(0, 60, 61), rtol=1e-9).rbms.weights)
    values = np.linalg.svd(weights[-1], compute_uv=False)
    np.testing.assert_allclose(values, np.sqrt(1 - 1 / spectrum[:n_hidden]), rtol=1e-6)
    precision = np.eye(6) - weights @ weights.swapaxes(1, 2)
    _, log_det = np.linalg.slogdet(precision)
    trace = np.trace(statistics.covariance @ precision, axis1=1, axis2=2)
    log_likelihood = (log_det - trace - 6 * np.log(2 * np.pi)) / 2
    np.testing.assert_allclose(log_likelihood[-1], likelihood, atol=5e-8)
    assert (np.diff(log_likelihood) >= -1e-9).all()


def exponential_path(rates, factors=None):
    """Weights whose rows grow with the given rates, times a factor for each time."""
    ts = np.arange(6.0)
    rows = 1e-3 * np.exp(np.outer(ts, rates)) * (np.ones(6)[:, None] if factors is None else factors)
    return Trajectory(jnp.asarray(ts), stacked_rbm(rows[:, :, None] * np.ones(4)), jnp.array(0))


def test_growth_deviation_and_windows_find_known_departures(x64):
    deviation = jax.jit(growth_deviation)
    rates = np.array([0.5, 0.2, -0.1])
    growth = GrowthModes(jnp.asarray(rates), jnp.eye(3))
    np.testing.assert_allclose(deviation(exponential_path(rates), growth), 0, atol=1e-12)
    np.testing.assert_array_equal(growth_windows_jit(exponential_path(rates), growth), 5)
    # mode 0 grows 5 % too fast from t = 3 on, mode 1 is off from the first step
    factors = np.ones((6, 3))
    factors[3:, 0] = np.exp(0.05 * 0.5 * np.arange(3, 6))
    factors[1:, 1] = np.exp(0.3)
    path = exponential_path(rates, factors)
    np.testing.assert_allclose(deviation(path, growth)[3:, 0], 0.05, rtol=1e-9)
    np.testing.assert_array_equal(growth_windows_jit(path, growth, tolerance=0.02), [2, 0, 5])
    np.testing.assert_array_equal(growth_windows_jit(path, growth, tolerance=0.1), [5, 0, 5])
    # by t = 5 the offset of mode 1 is 0.3 / (0.2 * 5) = 30 % of its growth
    np.testing.assert_array_equal(growth_windows_jit(path, growth, tolerance=0.35, from_time=5.0), [5, 5, 5])
