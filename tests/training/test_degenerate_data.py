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
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(tree)))


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
    before, after = (jax.jit(rbm_jax.exact_log_likelihood)(each, samples) for each in (rbm, state.rbm))
    assert after > before - 0.1


def with_dead_units(rbm, bias):
    """The RBM with two more hidden units, without weights and stuck at one state."""
    return RBM(
        jnp.asarray(np.pad(rbm.weights, ((0, 0), (0, 2)))),
        rbm.visible_bias,
        jnp.asarray(np.append(rbm.hidden_bias, [bias, bias]), rbm.dtype),
        rbm.visible_units,
        rbm.hidden_units,
    )


def spectrum(weights):
    modes = rbm_jax.svd_modes(weights)
    kurtosis = rbm_jax.spectral.mode_statistics(modes.left).kurtosis
    return modes, rbm_jax.spectral.split_bulk(weights), rbm_jax.spectral.effective_temperature(weights), kurtosis


@jax.jit
def quantities(rbm, samples):
    return {
        "log_z": rbm_jax.exact_log_z(rbm),
        "log_likelihood": rbm_jax.exact_log_likelihood(rbm, samples),
        "gradient": rbm_jax.model.exact_gradient(rbm, samples),
        "mean field": rbm_jax.solve_mean_field(rbm, order=3),
        "spectrum": spectrum(rbm.weights),
        "chains": rbm_jax.sample_gibbs(KEY, rbm, samples, n_sweeps=5),
    }


@pytest.mark.parametrize("bias", [-50.0, 1e4])
def test_dead_hidden_units_change_nothing(bias, x64):
    units = Spin()
    rbm = reference_rbm(4, 3, 0.5, units)
    dead = with_dead_units(rbm, bias)
    samples = 2 * VARYING - 1
    shift = 2 * np.logaddexp(bias, -bias)  # log 2 cosh
    alone, both = jax.device_get([quantities(each, samples) for each in (rbm, dead)])
    np.testing.assert_allclose(both["log_z"], alone["log_z"] + shift, rtol=1e-10)
    np.testing.assert_allclose(both["log_likelihood"], alone["log_likelihood"], rtol=1e-8)
    np.testing.assert_allclose(both["gradient"].weights[:, :3], alone["gradient"].weights, atol=1e-10)
    np.testing.assert_allclose(both["gradient"].hidden_bias[3:], 0, atol=1e-10)
    assert both["mean field"].converged
    np.testing.assert_allclose(both["mean field"].free_energy, alone["mean field"].free_energy - shift, rtol=1e-8)
    np.testing.assert_allclose(both["mean field"].visible, alone["mean field"].visible, atol=1e-8)
    np.testing.assert_allclose(both["spectrum"][0].values[:3], alone["spectrum"][0].values, atol=1e-12)
    assert is_finite(both)


def test_rbm_without_weights_has_its_closed_forms():
    rbm, samples = reference_rbm(4, 3, 0.0), VARYING
    partition = [np.logaddexp(0, bias).sum() for bias in (rbm.visible_bias, rbm.hidden_bias)]
    log_z = sum(partition)
    solution = jax.jit(rbm_jax.solve_mean_field)(rbm)
    assert solution.converged
    np.testing.assert_allclose(-solution.free_energy, log_z, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(rbm_jax.likelihood.mean_field_log_z)(rbm).value, log_z, rtol=1e-5)
    estimate = rbm_jax.ais_log_z(KEY, rbm, data=samples, n_chains=10, n_temperatures=20)
    assert is_finite(estimate)
    np.testing.assert_allclose(estimate.value, log_z, atol=5 * float(estimate.std_error) + 1e-4)
    modes, bulk, temperature, kurtosis = jax.device_get(jax.jit(spectrum)(rbm.weights))
    assert temperature == np.inf
    assert bulk.noise == bulk.ensemble_noise == 0
    assert not bulk.is_outlier.any()
    np.testing.assert_array_equal(modes.values, 0)
    assert is_finite(kurtosis)
    expected = (samples @ np.asarray(rbm.visible_bias)).mean() - partition[0]
    for likelihood in (rbm_jax.exact_log_likelihood, rbm_jax.pseudo_log_likelihood):
        np.testing.assert_allclose(jax.jit(likelihood)(rbm, samples), expected, rtol=1e-5)


@pytest.mark.parametrize("name", DATA)
def test_linear_theory_of_constant_pixels_is_finite(name):
    samples = DATA[name]
    statistics = dynamics.data_statistics(samples)
    np.testing.assert_allclose(np.diagonal(statistics.covariance), samples.var(0), atol=1e-6)
    growth = dynamics.growth_modes(samples, visible_units=Bernoulli(), hidden_units=Bernoulli())
    assert is_finite(growth)
    if len(np.unique(samples, axis=0)) == 1:  # nothing to learn: every mode decays, slowly
        np.testing.assert_allclose(growth.rates, -0.25 * 1e-3 * (1 - 1e-3), rtol=1e-3)
    for force in (dynamics.gaussian_force(samples), dynamics.exact_force(samples)):
        assert is_finite(jax.jit(force)(0.0, reference_rbm(6, 3, 0.1)))


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
