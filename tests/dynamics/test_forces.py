"""The learning equations against exact gradients, closed forms and each other."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    RBM,
    Batches,
    Bernoulli,
    Exact,
    Gaussian,
    Spin,
    Status,
    Trainer,
    exact_log_likelihood,
    fit,
    init_rbm,
    stack_rbms,
    visible_free_energy,
)
from rbm_jax.data import bars_and_stripes
from rbm_jax.dynamics import (
    data_statistics,
    exact_force,
    gaussian_force,
    growth_modes,
    integrate,
    linear_fixed_points,
    mean_field_force,
)
from rbm_jax.likelihood import mean_field_log_z
from rbm_jax.model import Centered, Plain, Standardized, exact_gradient, gaussian_moments
from tests.helpers import COVERING_PAIRS, PAIRS, UNITS, reference_rbm, slow_but, tolerance

BARS = bars_and_stripes(3)
SIGNS = np.array([[1.0] * 4, [-1.0] * 4, [-1.0] * 4])
naive_force = functools.partial(mean_field_force, order=1, linear_response=True)
derivative = jax.jit(lambda force, rbm: force(0.0, rbm))
integrate_jit = eqx.filter_jit(integrate)  # without one program for each operation around the solver
PRECISE = {"rtol": 1e-9}


def data_for(units, n_visible=4, n_samples=30):
    """Random data in the support of the units."""
    normal = np.random.default_rng(0).normal(size=(n_samples, n_visible))
    if units == Bernoulli():
        return (normal > 0.3).astype(float)
    return np.sign(normal) if units == Spin() else normal


def gaussian_rbm(n_visible=4, n_hidden=3, scale=0.1, visible_variance=0.8, hidden_variance=1.5):
    units = Gaussian(visible_variance), Gaussian(hidden_variance)
    return reference_rbm(n_visible, n_hidden, scale, *units)


def data_with_covariance(covariance):
    """Centered samples whose covariance is exactly the given one."""
    root = np.linalg.cholesky(covariance)
    n = len(covariance)
    return np.concatenate([root.T, -root.T]) * np.sqrt(n)


def assert_rbms_close(first, second, tolerance):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "visible", "hidden"),
    slow_but(
        [(name, *pair) for name in ("float64", "float32") for pair in COVERING_PAIRS],
        [(name, *pair) for name in ("float64", "float32") for pair in PAIRS],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_exact_force_is_the_gradient_of_the_log_likelihood(dtype, visible, hidden):
    rbm, data = reference_rbm(4, 3, 0.3, visible, hidden), data_for(visible)
    force, slope = jax.jit(lambda rbm: (exact_force(data)(0.0, rbm), jax.grad(exact_log_likelihood)(rbm, data)))(rbm)
    assert_rbms_close(force, slope, 10 * tolerance(dtype))
    assert force.dtype == dtype


METRICS = {"plain": Plain(), "centered": Centered(), "standardized": Standardized()}
SIZES = [(4, 3, "plain"), (3, 4, "plain"), (3, 3, "plain"), (4, 3, "centered"), (3, 4, "centered"), (3, 3, "centered")]
SIZES += [(4, 3, "standardized")]


@pytest.mark.parametrize(
    ("dtype", "n_visible", "n_hidden", "metric"),
    slow_but(
        [("float64", *SIZES[i]) for i in (1, 2, 6)] + [("float32", 4, 3, "centered")],
        [(name, *size) for name in ("float64", "float32") for size in SIZES],
    ),
    indirect=["dtype"],
)
def test_all_forces_agree_where_nothing_is_approximated(dtype, n_visible, n_hidden, metric):
    rbm, data = gaussian_rbm(n_visible, n_hidden), data_for(Gaussian(), n_visible)
    makers = exact_force, gaussian_force, naive_force
    expected, *others = jax.jit(lambda rbm: [make(data, metric=METRICS[metric])(0.0, rbm) for make in makers])(rbm)
    for force in others:
        assert_rbms_close(force, expected, 20 * tolerance(dtype))


@pytest.mark.parametrize("force", [exact_force, gaussian_force, mean_field_force])
def test_weights_of_samples_count_like_repetitions(x64, force):
    rbm, data, repeats = reference_rbm(4, 3, 0.3), data_for(Bernoulli())[:4], np.array([2, 0, 1, 4])
    weighted = derivative(force(data, sample_weights=repeats), rbm)
    assert_rbms_close(weighted, derivative(force(np.repeat(data, repeats, axis=0)), rbm), 1e-9)


@pytest.mark.parametrize(
    ("visible", "hidden"), slow_but(PAIRS[1:3] + PAIRS[3:4], [pair for pair in PAIRS if pair[0] != UNITS[2]]), ids=str
)
def test_small_weights_grow_as_the_linear_theory_says(x64, visible, hidden):
    data = data_for(visible, n_samples=200)
    rbm = init_rbm(
        jax.random.key(0), 4, 3, visible_units=visible, hidden_units=hidden, scale=1e-5, visible_mean=data.mean(0)
    )
    forces = [make(data, metric=Centered()) for make in (exact_force, gaussian_force, naive_force, mean_field_force)]

    @jax.jit
    def slopes(rbm):
        growth = growth_modes(data, visible_units=visible, hidden_units=hidden)
        expected = growth.vectors @ (growth.rates[:, None] * (growth.vectors.T @ rbm.weights))
        return expected, [force(0.0, rbm).weights for force in forces]

    expected, found = slopes(rbm)
    for weights in found:
        np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-9)


def test_gaussian_model_has_the_published_covariances(x64):
    # PHYSICS values D1: W = det(5, 4, .25), sigma_v = .9, sigma_h = 1.2, without biases.
    rbm = reference_rbm(5, 4, 0.25, Gaussian(0.81), Gaussian(1.44))
    rbm = RBM(rbm.weights, jnp.zeros(5), jnp.zeros(4), rbm.visible_units, rbm.hidden_units)
    data = data_with_covariance(np.diag([4, 2, 1, 0.5, 0.25]) + 0.1)
    forces = exact_force(data), gaussian_force(data), gaussian_force(data_statistics(data))

    @jax.jit
    def results(rbm):
        covariance = gaussian_moments(rbm, jnp.full(5, 0.81), jnp.full(4, 1.44)).product
        slopes = [force(0.0, rbm).weights[0, 1] for force in forces]
        return covariance[0, 1], exact_log_likelihood(rbm, data), jnp.stack(slopes)

    covariance, log_likelihood, slopes = results(rbm)
    np.testing.assert_allclose(covariance, 0.1376000359, atol=1e-10)
    np.testing.assert_allclose(log_likelihood, -8.8635710095, atol=1e-9)
    np.testing.assert_allclose(slopes, 0.038659957, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_mean_field_force_is_the_gradient_of_the_mean_field_likelihood(x64, order):
    rbm, data = reference_rbm(4, 3, 0.3), data_for(Bernoulli())
    init = jnp.asarray(data[:5])

    def log_likelihood(rbm):
        log_z = mean_field_log_z(rbm, init=init, order=order).value
        return -visible_free_energy(rbm, data).mean() - log_z

    force = mean_field_force(data, order=order, init=init)
    assert_rbms_close(*jax.jit(lambda rbm: (force(0.0, rbm), jax.grad(log_likelihood)(rbm)))(rbm), 1e-8)


def test_naive_growth_has_no_threshold_without_linear_response(x64):
    # data of independent units: nothing to learn, and the exact force on W vanishes with W
    data = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    rbm = init_rbm(jax.random.key(0), 4, 3, scale=1e-4)
    naive = functools.partial(mean_field_force, order=1)
    forces = [make(data, metric=Centered()) for make in (naive, naive_force, mean_field_force)]
    slopes = jax.jit(lambda rbm: [force(0.0, rbm).weights for force in forces])(rbm)
    growth = [np.vdot(slope, rbm.weights) / np.vdot(rbm.weights, rbm.weights) for slope in slopes]
    np.testing.assert_allclose(growth[0], 1 / 16, rtol=1e-3)
    np.testing.assert_allclose(growth[1:], 0, atol=1e-6)  # with response, and TAP


def test_mean_field_force_averages_over_the_states_that_it_finds(x64):
    rbm = RBM(jnp.full((4, 3), 0.7), jnp.zeros(4), jnp.zeros(3), Spin(), Spin())
    data = data_for(Spin())
    one, both = (derivative(mean_field_force(data, init=init), rbm) for init in (SIGNS[:1], SIGNS))
    # states of opposite sign cancel in the mean, and agree in the correlation
    np.testing.assert_allclose(both.visible_bias, data.mean(0), atol=1e-9)
    assert (one.visible_bias < data.mean(0) - 0.5).all()
    np.testing.assert_allclose(both.weights, one.weights, atol=1e-8)


def test_equal_steps_lead_where_adaptive_ones_do(x64):
    rbm, force, ts = reference_rbm(9, 3, 0.1), exact_force(BARS), np.linspace(0, 2, 4)
    adaptive = integrate_jit(force, rbm, ts, **PRECISE)
    errors = []
    for step in (0.2, 0.1):
        equal = integrate_jit(force, rbm, ts, step=step)
        assert equal.status == Status.SUCCESS
        errors.append(abs(np.subtract(equal.rbms.weights[-1], adaptive.rbms.weights[-1])).max())
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1  # Heun's method is of second order


@pytest.mark.parametrize("force", [exact_force, gaussian_force, mean_field_force])
def test_forces_work_under_jit_and_vmap_over_rbms(x64, force):
    rbms = [reference_rbm(4, 3, strength) for strength in (0.1, 0.2)]
    data = data_for(Bernoulli())
    together = jax.jit(jax.vmap(lambda rbm: force(data)(0.0, rbm)))(stack_rbms(rbms))
    assert_rbms_close(together, stack_rbms([derivative(force(data), rbm) for rbm in rbms]), 1e-10)


def test_sgd_with_the_exact_gradient_tends_to_the_ode_linearly_in_the_learning_rate(x64):
    rbm = init_rbm(jax.random.key(0), 9, 3, scale=0.3)
    time = 4.0
    reference = integrate_jit(exact_force(BARS), rbm, np.linspace(0, time, 4), **PRECISE)
    assert reference.status == Status.SUCCESS
    batches, errors, rates = Batches(BARS), [], [0.2, 0.1, 0.05]
    for rate in rates:
        trainer = Trainer.euler(Exact(), rate)
        state = trainer.init(jax.random.key(1), rbm)
        final, _ = fit(jax.random.key(2), trainer, state, batches, n_updates=round(time / rate))
        errors.append(abs(np.subtract(final.rbm.weights, reference.rbms.weights[-1])).max())
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert abs(slope - 1) < 0.05
    assert errors[-1] < 0.02


@pytest.mark.parametrize("metric", slow_but([("plain",)], [(name,) for name in METRICS]))
def test_log_likelihood_never_falls_along_the_exact_flow(x64, metric):
    @jax.jit
    def likelihoods(rbm):
        path = integrate(exact_force(BARS, metric=METRICS[metric]), rbm, np.linspace(0, 30, 20))
        return jax.vmap(lambda rbm: exact_log_likelihood(rbm, BARS))(path.rbms)

    assert (np.diff(likelihoods(init_rbm(jax.random.key(0), 9, 3, scale=0.1))) > 0).all()


def test_integration_reaches_the_fixed_points_of_the_linear_theory(x64):
    visible_variance, hidden_variance = 0.8, 1.5
    eigenvalues = np.array([4.0, 2.0, 1.2, 0.5, 0.2])
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    data = data_with_covariance(basis @ np.diag(eigenvalues) @ basis.T)
    rbm = init_rbm(
        jax.random.key(0),
        5,
        6,
        visible_units=Gaussian(visible_variance),
        hidden_units=Gaussian(hidden_variance),
        scale=0.05,
    )
    path = integrate_jit(gaussian_force(data), rbm, np.array([0.0, 200.0]), rtol=1e-9, max_steps=100_000)
    assert path.status == Status.SUCCESS
    values = np.linalg.svd(path.rbms.weights[-1], compute_uv=False)
    variances = {"visible_variance": visible_variance, "hidden_variance": hidden_variance}
    expected = linear_fixed_points(eigenvalues, **variances)
    np.testing.assert_allclose(values[:3], expected[:3], rtol=1e-6)
    np.testing.assert_array_equal(expected[3:], 0)
    assert (values[3:] < 1e-6 * values[0]).all()


@pytest.mark.parametrize(
    "force", slow_but([(exact_force,), (mean_field_force,)], [(exact_force,), (gaussian_force,), (mean_field_force,)])
)
def test_integration_of_every_force_in_float32_succeeds(force):
    rbm = init_rbm(jax.random.key(0), 9, 4, scale=0.1, visible_mean=BARS.mean(0))
    path = integrate_jit(force(BARS, metric=Centered()), rbm, np.linspace(0, 3, 4))
    assert path.status == Status.SUCCESS
    assert path.rbms.weights.dtype == jnp.float32
    assert path.rbms.weights.shape == (4, 9, 4)


def test_integration_of_many_rbms_at_once_equals_a_loop(x64):
    rbms = [init_rbm(jax.random.key(seed), 9, 3, scale=0.1) for seed in range(4)]
    ts, force = np.linspace(0, 3, 4), exact_force(BARS)
    together = jax.jit(jax.vmap(lambda rbm: integrate(force, rbm, ts, **PRECISE)))(stack_rbms(rbms))
    for index, rbm in enumerate(rbms):
        alone = integrate_jit(force, rbm, ts, **PRECISE)
        np.testing.assert_allclose(together.rbms.weights[index], alone.rbms.weights, rtol=1e-6)


def test_integration_is_differentiable_in_the_initial_rbm(x64):
    rbm, force = reference_rbm(4, 2, 0.2), exact_force(data_for(Bernoulli()))

    @jax.jit
    @jax.value_and_grad
    def final_norm_and_slope(strength):
        start = jax.tree.map(lambda leaf: strength * leaf, rbm)
        return (integrate(force, start, [0.0, 1.0], rtol=1e-9).rbms.weights[-1] ** 2).sum()

    (before, _), (_, slope), (after, _) = (final_norm_and_slope(strength) for strength in (0.999, 1.0, 1.001))
    np.testing.assert_allclose(slope, (after - before) / 0.002, rtol=1e-4)


def test_second_integration_with_new_data_compiles_nothing():
    rbm, ts = reference_rbm(9, 3, 0.1), jnp.linspace(0, 1, 3)
    traces = []

    class CountingForce(type(exact_force(BARS))):
        def __call__(self, t, rbm, args=None):
            traces.append(1)
            return super().__call__(t, rbm, args)

    def counting(data):
        force = exact_force(data)
        return CountingForce(force.data_moments, force.model_moments, force.metric)

    integrate(counting(BARS), rbm, ts)
    first = len(traces)
    integrate(counting(1 - BARS), rbm, ts)
    assert len(traces) == first


def test_running_out_of_steps_is_in_the_status_and_leaves_nan():
    path = integrate_jit(exact_force(BARS), reference_rbm(9, 3, 0.1), np.array([0.0, 1.0, 1000.0]), max_steps=5)
    assert path.status == Status.MAX_STEPS_REACHED
    assert np.isnan(path.rbms.weights[-1]).all()
    assert np.isfinite(path.rbms.weights[0]).all()


def test_a_model_that_does_not_exist_never_passes_as_success():
    rbm = gaussian_rbm(scale=10.0)
    path = integrate_jit(gaussian_force(data_for(Gaussian())), rbm, np.array([0.0, 1.0]), max_steps=50)
    assert path.status != Status.SUCCESS


def test_mean_field_force_is_nan_where_the_iteration_does_not_converge():
    force = derivative(mean_field_force(BARS, max_steps=1), reference_rbm(9, 3, 2.0))
    assert np.isnan(force.weights).all()


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named():
    rbm, force = reference_rbm(9, 3, 0.1), exact_force(BARS)
    for ts in ([0.0], [0.0, 0.0], [1.0, 0.0], [[0.0, 1.0]], [0.0, np.nan]):
        with pytest.raises(ValueError, match="ts"):
            integrate(force, rbm, ts)
    with pytest.raises(ValueError, match="max_steps"):
        integrate(force, rbm, [0.0, 1.0], max_steps=0)
    for make in (exact_force, gaussian_force, mean_field_force):
        with pytest.raises(ValueError, match="sample_weights"):
            make(BARS, sample_weights=-np.ones(len(BARS)))
        with pytest.raises(ValueError, match=r"units|axes|sample"):
            make(BARS[:, :4])(0.0, rbm)
    with pytest.raises(ValueError, match="weights"):
        gaussian_force(data_statistics(BARS), sample_weights=np.ones(len(BARS)))
    with pytest.raises(ValueError, match="at least one sample"):
        data_statistics(BARS[:0])


@pytest.mark.parametrize("metric", METRICS)
def test_force_is_the_negative_gradient_in_its_metric(metric, x64):
    rbm = reference_rbm(9, 3, 0.1)
    force = derivative(exact_force(BARS, metric=METRICS[metric]), rbm)
    gradient = jax.jit(lambda rbm: exact_gradient(rbm, BARS, metric=METRICS[metric]))(rbm)
    assert_rbms_close(force, jax.tree.map(np.negative, gradient), 1e-12)
    if metric != "plain":
        assert abs(np.add(force.weights, jax.jit(exact_gradient)(rbm, BARS).weights)).max() > 1e-3
