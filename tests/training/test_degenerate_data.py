"""Constant pixels, dead hidden units, a single sample, no weights: finite and right, never NaN."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax
from rbm_jax import RBM, Batches, Bernoulli, Centered, Spin, Standardized, Status, Trainer, dynamics
from rbm_jax.model import Plain
from rbm_jax.training import CD, EMF, PCD, Exact
from tests.brute_force import joint_table, moments
from tests.helpers import reference_rbm

KEY = jax.random.key(0)
VARYING = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]])
DATA = {
    "constant pixels": np.concatenate([np.ones((4, 1), int), VARYING, np.zeros((4, 1), int)], axis=1),
    "a single sample": np.array([[1, 0, 1, 1, 0, 1]]),
    "equal samples": np.array([[1, 0, 1, 1, 0, 1]] * 4),
    "all off": np.zeros((4, 6), int),
}


def is_finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


ESTIMATORS = {"exact": Exact, "cd": CD, "pcd": PCD, "emf": EMF}
METRICS = {"plain": Plain(), "centered": Centered(), "standardized": Standardized()}


@jax.jit
def gradients_of(rbm, batch, sample_weights):
    """All estimators in all metrics, and the averages over the data, in one program."""
    gradients = {}
    for name, metric in itertools.product(ESTIMATORS, METRICS):
        estimator = ESTIMATORS[name](metric=METRICS[metric])
        carry = estimator.init(KEY, rbm, 6)
        gradients[name, metric], _ = estimator(KEY, rbm, batch, carry, sample_weights)
    return gradients, rbm_jax.model.conditional_moments(rbm, batch, sample_weights)


def test_gradients_are_finite_and_the_exact_ones_right():
    rbm = reference_rbm(6, 3, 0.5)
    model = moments(joint_table(rbm))
    for name, bits in DATA.items():
        samples = np.resize(bits, (4, 6))  # one shape: one compilation
        sample_weights = np.array([1.0, 0, 0, 0]) if name == "a single sample" else np.ones(4)
        found, data = jax.device_get(gradients_of(rbm, samples, sample_weights))
        assert is_finite(found), name
        np.testing.assert_allclose(found["exact", "plain"].visible_bias, model[0] - data.visible, atol=1e-5)
        np.testing.assert_allclose(found["exact", "plain"].weights, model[2] - data.product, atol=1e-5)
        # A change of parametrization: its product with the gradient is never negative.
        for metric in ("centered", "standardized"):
            leaves = (jax.tree.leaves(found["exact", key]) for key in ("plain", metric))
            assert sum((a * b).sum() for a, b in zip(*leaves, strict=True)) > 0, (name, metric)


@pytest.mark.parametrize(
    ("estimator", "rate"),
    [(PCD(metric=Standardized()), 0.05), (Exact(Centered()), 0.5), (EMF(metric=Standardized()), 0.05)],
    ids=["PCD", "exact", "EMF"],
)
def test_training_learns_pixels_that_never_change(estimator, rate):
    samples = DATA["constant pixels"]
    trainer = Trainer.euler(estimator, rate)
    rbm = rbm_jax.init_rbm(KEY, 6, 3, visible_mean=samples.mean(0))
    state = trainer.init(KEY, rbm, n_chains=100)
    state, path = rbm_jax.fit(KEY, trainer, state, Batches(samples), n_updates=200)
    assert path.status == Status.SUCCESS
    found = rbm_jax.model.exact_moments(state.rbm).visible
    np.testing.assert_allclose(found[np.array([0, 5])], [1, 0], atol=0.02)
    assert rbm_jax.exact_log_likelihood(state.rbm, samples) > rbm_jax.exact_log_likelihood(rbm, samples) - 0.1


def with_dead_units(rbm, bias):
    """The RBM with two more hidden units, without weights and stuck at one state."""
    return RBM(
        jnp.pad(rbm.weights, ((0, 0), (0, 2))),
        rbm.visible_bias,
        jnp.append(rbm.hidden_bias, jnp.full(2, bias, rbm.dtype)),
        rbm.visible_units,
        rbm.hidden_units,
    )


@pytest.mark.parametrize("bias", [-50.0, 1e4])
def test_dead_hidden_units_change_nothing(bias, x64):
    units = Spin()
    rbm = reference_rbm(4, 3, 0.5, units)
    dead = with_dead_units(rbm, bias)
    samples = 2 * VARYING - 1
    shift = 2 * float(units.log_partition(jnp.full(1, bias))[0])
    np.testing.assert_allclose(rbm_jax.exact_log_z(dead), rbm_jax.exact_log_z(rbm) + shift, rtol=1e-10)
    np.testing.assert_allclose(
        rbm_jax.exact_log_likelihood(dead, samples), rbm_jax.exact_log_likelihood(rbm, samples), rtol=1e-8
    )
    expected, found = rbm_jax.model.exact_gradient(rbm, samples), rbm_jax.model.exact_gradient(dead, samples)
    np.testing.assert_allclose(found.weights[:, :3], expected.weights, atol=1e-10)
    np.testing.assert_allclose(found.hidden_bias[3:], 0, atol=1e-10)
    alone, both = (rbm_jax.solve_mean_field(each, order=3) for each in (rbm, dead))
    assert both.converged
    np.testing.assert_allclose(both.free_energy, alone.free_energy - shift, rtol=1e-8)
    np.testing.assert_allclose(both.visible, alone.visible, atol=1e-8)
    np.testing.assert_allclose(
        rbm_jax.svd_modes(dead.weights).values[:3], rbm_jax.svd_modes(rbm.weights).values[:3], atol=1e-12
    )
    assert is_finite(rbm_jax.spectral.split_bulk(dead.weights))
    assert is_finite(rbm_jax.spectral.effective_temperature(dead.weights))
    assert is_finite(rbm_jax.sample_gibbs(KEY, dead, samples, n_sweeps=5))


def test_rbm_without_weights_has_its_closed_forms():
    units, samples = Bernoulli(), VARYING
    rbm = reference_rbm(4, 3, 0.0, units)
    log_z = float(units.log_partition(rbm.visible_bias).sum() + units.log_partition(rbm.hidden_bias).sum())
    solution = rbm_jax.solve_mean_field(rbm)
    assert solution.converged
    np.testing.assert_allclose(-solution.free_energy, log_z, rtol=1e-5)
    np.testing.assert_allclose(rbm_jax.likelihood.mean_field_log_z(rbm).value, log_z, rtol=1e-5)
    estimate = rbm_jax.ais_log_z(KEY, rbm, data=samples, n_chains=10, n_temperatures=20)
    assert is_finite(estimate)
    np.testing.assert_allclose(estimate.value, log_z, atol=5 * float(estimate.std_error) + 1e-4)
    assert rbm_jax.spectral.effective_temperature(rbm.weights) == jnp.inf
    bulk = rbm_jax.spectral.split_bulk(rbm.weights)
    assert float(bulk.noise) == float(bulk.ensemble_noise) == 0
    assert not bulk.is_outlier.any()
    modes = rbm_jax.svd_modes(rbm.weights)
    np.testing.assert_array_equal(modes.values, 0)
    assert is_finite(rbm_jax.spectral.mode_statistics(modes.left).kurtosis)
    field = units.log_partition(rbm.visible_bias).sum()
    expected = float((samples @ np.asarray(rbm.visible_bias)).mean() - field)
    np.testing.assert_allclose(rbm_jax.exact_log_likelihood(rbm, samples), expected, rtol=1e-5)
    np.testing.assert_allclose(rbm_jax.pseudo_log_likelihood(rbm, samples), expected, rtol=1e-5)


@pytest.mark.parametrize("name", DATA)
def test_linear_theory_of_constant_pixels_is_finite(name):
    samples = DATA[name]
    statistics = dynamics.data_statistics(samples)
    np.testing.assert_allclose(jnp.diagonal(statistics.covariance), samples.var(0), atol=1e-6)
    growth = dynamics.growth_modes(samples, visible_units=Bernoulli(), hidden_units=Bernoulli())
    assert is_finite(growth)
    if len(np.unique(samples, axis=0)) == 1:  # nothing to learn: every mode decays, slowly
        np.testing.assert_allclose(growth.rates, -0.25 * 1e-3 * (1 - 1e-3), rtol=1e-3)
    assert is_finite(dynamics.gaussian_force(samples)(0.0, reference_rbm(6, 3, 0.1)))
    assert is_finite(dynamics.exact_force(samples)(0.0, reference_rbm(6, 3, 0.1)))


def test_chains_that_never_move_are_one_sample_each():
    stuck = np.ones((50, 3))
    assert float(rbm_jax.sampling.autocorrelation_time(stuck)) == pytest.approx(50)
    assert float(rbm_jax.sampling.effective_sample_size(stuck)) == pytest.approx(3)
    assert float(rbm_jax.sampling.r_hat(stuck)) == 1
    assert float(rbm_jax.sampling.r_hat(stuck * [1, 2, 3])) == jnp.inf


def test_samples_of_no_weight_count_nothing():
    rbm = reference_rbm(4, 3, 0.5)
    sample_weights = np.array([1.0, 0, 2, 0])
    kept = VARYING[[0, 2, 2]]
    for function in (rbm_jax.exact_log_likelihood, rbm_jax.pseudo_log_likelihood):
        # sums of some ten terms of order one, in float32
        np.testing.assert_allclose(function(rbm, VARYING, sample_weights), function(rbm, kept), atol=1e-5)
