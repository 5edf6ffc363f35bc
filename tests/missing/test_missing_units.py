"""Missing entries of Potts and ReLU units, against sums and integrals over them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import Bernoulli, Potts, ReLU, fit, visible_free_energy
from rbm_jax.missing.data_terms import (
    clamped_enumeration,
    clamped_gibbs,
    clamped_mean_field,
    complete_samples,
    observed_free_energy,
)
from rbm_jax.missing.imputation import impute
from rbm_jax.model import conditional_moments, enumerate_states
from rbm_jax.training import emf, fit_ensemble, fit_streamed, init_train_state, pcd
from rbm_jax.training.tied import tied_estimator
from tests.helpers import reference_rbm

KEY = jax.random.key(0)
NAN = np.nan
SEQUENCES = np.array([[1, 0, 0, NAN, NAN, NAN], [NAN] * 6, [0, 0, 1, 0, 1, 0]])


def assert_close(actual, expected, **options):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **options), actual, expected)


def of_completions(rbm, row):
    """Free energy of what was observed, and averages over all ways to fill in the rest."""
    states = enumerate_states(rbm.visible_units, rbm.n_visible)
    states = states[((states == row) | np.isnan(row)).all(1)]
    log_weights = -visible_free_energy(rbm, states)
    return -jax.nn.logsumexp(log_weights), conditional_moments(rbm, states, jax.nn.softmax(log_weights))


def test_sites_of_potts_units_are_summed_over(x64):
    rbm = reference_rbm(6, 4, 0.3, Potts(3), Potts(2))
    free_energies, moments = zip(*(of_completions(rbm, row) for row in SEQUENCES), strict=True)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *moments)
    np.testing.assert_allclose(observed_free_energy(rbm, SEQUENCES), free_energies, atol=1e-12)
    assert_close(clamped_enumeration(None, rbm, SEQUENCES), mean, atol=1e-12)
    naive, tap = (clamped_mean_field(None, rbm, SEQUENCES, order=n, n_sweeps=50) for n in (1, 2))
    errors = [max(float(jnp.abs(a - b).max()) for a, b in zip(each, mean, strict=True)) for each in (naive, tap)]
    assert errors[1] < min(0.01, errors[0] / 3)


def test_sites_are_imputed_whole():
    rbm = reference_rbm(6, 4, 0.5, Potts(3), Bernoulli())
    _, moments = of_completions(rbm, SEQUENCES[0])
    found = impute(KEY, rbm, np.tile(SEQUENCES[:1], (200, 1)))
    np.testing.assert_allclose(found.mean.mean(0), moments.visible, atol=0.01)
    np.testing.assert_allclose(found.std[:, 3:], np.sqrt(found.mean * (1 - found.mean))[:, 3:], atol=1e-3)
    np.testing.assert_array_equal(found.sample.reshape(200, 2, 3).sum(-1), 1)


def test_relu_units_are_integrated_over(x64):
    rbm = reference_rbm(3, 4, 0.3, ReLU(), Bernoulli())
    rows, grid = np.array([[0.7, NAN, 1.2], [0.0, NAN, 0.4]]), np.linspace(0, 14, 20001)
    filled = np.stack([np.where(np.isnan(row), grid[:, None], row) for row in rows])
    density = np.exp(-np.asarray(visible_free_energy(rbm, filled)))
    sums = np.trapezoid(density, grid)
    np.testing.assert_allclose(observed_free_energy(rbm, rows), -np.log(sums), atol=1e-7)
    mean = np.trapezoid(density * grid, grid) / sums
    variance = np.trapezoid(density * grid**2, grid) / sums - mean**2
    np.testing.assert_allclose(clamped_enumeration(None, rbm, rows).visible[1], mean.mean(), atol=1e-6)
    found = impute(KEY, rbm, np.tile(rows, (100, 1)), n_sweeps=200)
    for row in range(2):
        np.testing.assert_allclose(found.mean[row::2, 1].mean(), mean[row], atol=0.01)
        np.testing.assert_allclose(found.std[row::2, 1].mean(), variance[row] ** 0.5, atol=0.01)


def start(rbm):
    return init_train_state(KEY, rbm, optax.sgd(0.1), n_chains=2)


@pytest.mark.parametrize(
    "use",
    [
        lambda rbm, v: clamped_enumeration(None, rbm, v),
        lambda rbm, v: clamped_mean_field(None, rbm, v),
        lambda rbm, v: complete_samples(KEY, rbm, v),
        lambda rbm, v: observed_free_energy(rbm, v),
        lambda rbm, v: train(fit, KEY, start(rbm), v),
        lambda rbm, v: train(fit_streamed, KEY, start(rbm), v.astype(np.float32), batch_size=2),
    ],
)
def test_half_a_site_cannot_be_missing(use, unchecked):
    rbm = reference_rbm(6, 4, 0.3, Potts(3), Bernoulli())
    for row in ([NAN, 1, 0, 0, 0, 1], [0, 0, 1, 0, NAN, NAN]):
        with pytest.raises(ValueError, match="must miss all 3 components of a unit of Potts"):
            use(rbm, np.array([SEQUENCES[0], row]))


LOSSY_PCD = functools.partial(pcd, data_term=clamped_gibbs)


def train(function, key, state, data, estimator=LOSSY_PCD, **options):
    options |= {"optimizer": optax.sgd(0.1), "n_updates": 1, "allow_missing": True}
    return function(key, state, data, estimator=estimator, **options)


@pytest.mark.parametrize("estimator", [pcd, functools.partial(emf, n_sweeps=2), tied_estimator(pcd)])
def test_estimators_for_complete_data_are_refused(estimator, unchecked):
    rbm = reference_rbm(6, 4, 0.3)
    states = jax.vmap(lambda key: start(rbm))(jax.random.split(KEY))
    for function, key, state, options in (
        (fit, KEY, start(rbm), {}),
        (fit_streamed, KEY, start(rbm), {"batch_size": 1}),
        (fit_ensemble, jax.random.split(KEY), states, {}),
    ):
        with pytest.raises(ValueError, match="estimator must have a data_term"):
            train(function, key, state, np.full((2, 6), NAN, np.float32), estimator, **options)
