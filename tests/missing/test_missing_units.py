"""Missing entries of Potts and ReLU units, against sums and integrals over them."""

import functools

import jax
import numpy as np
import pytest

from rbm_jax import EMF, PCD, Batches, Bernoulli, Potts, ReLU, Trainer, fit, fit_many, visible_free_energy
from rbm_jax.missing import (
    ClampedEnumeration,
    ClampedGibbs,
    ClampedMeanField,
    complete_samples,
    impute,
    observed_free_energy,
)
from rbm_jax.model import conditional_moments, enumerate_states
from rbm_jax.symmetry import Translations, init_tied_rbm
from rbm_jax.training import Tied
from tests.helpers import reference_rbm

KEY = jax.random.key(0)
NAN = np.nan
SEQUENCES = np.array([[1, 0, 0, NAN, NAN, NAN], [NAN] * 6, [0, 0, 1, 0, 1, 0]])


def assert_close(actual, expected, **options):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **options), actual, expected)


def of_completions(rbm, row):
    """Free energy of what was observed, and averages over all ways to fill in the rest."""
    states = enumerate_states(rbm.visible_units, rbm.n_visible)
    return averages(rbm, states[((states == row) | np.isnan(row)).all(1)])


@jax.jit
def averages(rbm, states):
    log_weights = -visible_free_energy(rbm, states)
    return -jax.nn.logsumexp(log_weights), conditional_moments(rbm, states, jax.nn.softmax(log_weights))


def test_sites_of_potts_units_are_summed_over(x64):
    rbm = reference_rbm(6, 4, 0.3, Potts(3), Potts(2))
    free_energies, moments = zip(*(of_completions(rbm, row) for row in SEQUENCES), strict=True)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *moments)
    terms = ClampedEnumeration(), ClampedMeanField(order=1, n_sweeps=50), ClampedMeanField(order=2, n_sweeps=50)

    @jax.jit
    def found(rbm):
        return observed_free_energy(rbm, SEQUENCES), [term(None, rbm, SEQUENCES) for term in terms]

    found_free_energies, (exact, naive, tap) = found(rbm)
    np.testing.assert_allclose(found_free_energies, free_energies, atol=1e-12)
    assert_close(exact, mean, atol=1e-12)
    differences = [jax.tree.map(lambda a, b: float(abs(a - b).max()), each, mean) for each in (naive, tap)]
    errors = [max(jax.tree.leaves(each)) for each in differences]
    assert errors[1] < min(0.01, errors[0] / 3)


def test_sites_are_imputed_whole():
    rbm = reference_rbm(6, 4, 0.5, Potts(3), Bernoulli())
    _, moments = of_completions(rbm, SEQUENCES[0])
    found = jax.device_get(jax.jit(impute)(KEY, rbm, np.tile(SEQUENCES[:1], (200, 1))))
    np.testing.assert_allclose(found.mean.mean(0), moments.visible, atol=0.01)
    np.testing.assert_allclose(found.std[:, 3:], np.sqrt(found.mean * (1 - found.mean))[:, 3:], atol=1e-3)
    np.testing.assert_array_equal(found.sample.reshape(200, 2, 3).sum(-1), 1)


def test_relu_units_are_integrated_over(x64):
    rbm = reference_rbm(3, 4, 0.3, ReLU(), Bernoulli())
    rows, grid = np.array([[0.7, NAN, 1.2], [0.0, NAN, 0.4]]), np.linspace(0, 14, 20001)
    filled = np.stack([np.where(np.isnan(row), grid[:, None], row) for row in rows])
    density = np.exp(-np.asarray(jax.jit(visible_free_energy)(rbm, filled)))
    sums = np.trapezoid(density, grid)
    np.testing.assert_allclose(jax.jit(observed_free_energy)(rbm, rows), -np.log(sums), atol=1e-7)
    mean = np.trapezoid(density * grid, grid) / sums
    variance = np.trapezoid(density * grid**2, grid) / sums - mean**2
    exact = jax.jit(lambda rbm: ClampedEnumeration()(None, rbm, rows))(rbm)
    np.testing.assert_allclose(exact.visible[1], mean.mean(), atol=1e-6)
    found = jax.device_get(jax.jit(functools.partial(impute, n_sweeps=200))(KEY, rbm, np.tile(rows, (100, 1))))
    for row in range(2):
        np.testing.assert_allclose(found.mean[row::2, 1].mean(), mean[row], atol=0.01)
        np.testing.assert_allclose(found.std[row::2, 1].mean(), variance[row] ** 0.5, atol=0.01)


def update(rbm, batches, estimator=None):
    """One update on incomplete data."""
    trainer = Trainer.euler(PCD(data_term=ClampedGibbs()) if estimator is None else estimator, 0.1)
    fit(KEY, trainer, trainer.init(KEY, rbm, n_chains=2), batches, n_updates=1)


@pytest.mark.parametrize(
    "use",
    [
        lambda rbm, v: ClampedEnumeration()(None, rbm, v),
        lambda rbm, v: ClampedMeanField()(None, rbm, v),
        lambda rbm, v: complete_samples(KEY, rbm, v),
        lambda rbm, v: observed_free_energy(rbm, v),
        lambda rbm, v: update(rbm, Batches(v, allow_missing=True)),
        lambda rbm, v: update(rbm, Batches.stream(v.astype(np.float32), batch_size=2, allow_missing=True)),
    ],
)
def test_half_a_site_cannot_be_missing(use, unchecked):
    rbm = reference_rbm(6, 4, 0.3, Potts(3), Bernoulli())
    for row in ([NAN, 1, 0, 0, 0, 1], [0, 0, 1, 0, NAN, NAN]):
        with pytest.raises(ValueError, match="must miss all 3 components of a unit of Potts"):
            use(rbm, np.array([SEQUENCES[0], row]))


@pytest.mark.parametrize(
    ("estimator", "rbm"),
    [
        (PCD(), reference_rbm(6, 4, 0.3)),
        (EMF(n_sweeps=2), reference_rbm(6, 4, 0.3)),
        (Tied(PCD()), init_tied_rbm(KEY, Translations((6,)), 1)),
        (lambda key, rbm, batch, carry: PCD()(key, rbm, batch, carry), reference_rbm(6, 4, 0.3)),
    ],
    ids=["PCD", "EMF", "Tied", "function"],
)
def test_estimators_for_complete_data_are_refused(estimator, rbm, unchecked):
    trainer, data = Trainer.euler(estimator, 0.1), np.full((2, 6), NAN, np.float32)
    keys, in_memory = jax.random.split(KEY), Batches(data, allow_missing=True)
    states = [trainer.init(key, rbm, n_chains=2) for key in keys]
    for train in (
        lambda: fit(KEY, trainer, states[0], in_memory, n_updates=1),
        lambda: fit(KEY, trainer, states[0], Batches.stream(data, batch_size=1, allow_missing=True), n_updates=1),
        lambda: fit_many(keys, trainer, states, in_memory, n_updates=1),
    ):
        with pytest.raises(ValueError, match=r"PCD\(data_term=ClampedGibbs\(\)\)"):
            train()
