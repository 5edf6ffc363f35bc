"""Missing entries: against enumeration over them, closed forms, and the invariants of the likelihood."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import Bernoulli, Gaussian, Spin, exact_log_z, fit, init_rbm, visible_free_energy
from rbm_jax.data import bars_and_stripes, ising_chain
from rbm_jax.dynamics import gaussian_force, growth_modes, missing_gaussian_force
from rbm_jax.missing.data_terms import (
    clamped_enumeration,
    clamped_gibbs,
    clamped_mean_field,
    complete_samples,
    observed_free_energy,
)
from rbm_jax.missing.imputation import append_labels, class_probabilities, impute
from rbm_jax.model import (
    Centered,
    Plain,
    clamp,
    conditional_moments,
    enumerate_states,
    exact_moments,
    exact_visible_probabilities,
)
from rbm_jax.symmetry import Translations, expand, init_tied_rbm
from rbm_jax.training import cd, emf, init_train_state, pcd
from rbm_jax.training.estimators import exact
from rbm_jax.training.tied import tied_estimator
from tests.helpers import PAIRS, PRECISE_PAIRS, reference_rbm, tolerance

KEY = jax.random.key(0)
DATA_TERMS = {
    "gibbs": clamped_gibbs,
    "mean field": clamped_mean_field,
    "enumeration": clamped_enumeration,
}


def published(units):
    """The sample whose values PHYSICS.md gives."""
    low = float(units.states[0, 0])
    v = np.array([[1, low, 1, 1, low, 1]])
    return reference_rbm(6, 5, 0.4, units), np.where([True, True, False, True, False, True], v, np.nan)


def all_completions(v, units):
    """Every way to fill in the missing entries of one sample."""
    missing = np.isnan(v)
    return np.stack([np.where(missing, state, v) for state in enumerate_states(units, len(v))])


def assert_close(actual, expected, **options):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **options), actual, expected)


def largest_difference(actual, expected):
    return max(float(jnp.abs(a - b).max()) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize(
    ("units", "log_p", "dw", "da", "tap"),
    [
        (Spin(), -2.7997620220, -0.00688902, -0.20379011, 6.21869681),
        (Bernoulli(), -2.5976295977, 0.05613114, -0.00610009, 5.37370970),
    ],
    ids=str,
)
def test_published_values(units, log_p, dw, da, tap, x64):
    rbm, v = published(units)
    np.testing.assert_allclose(-observed_free_energy(rbm, v)[0] - exact_log_z(rbm), log_p, atol=1e-9)
    gradient, _ = exact(None, rbm, v, None, data_term=clamped_enumeration)
    np.testing.assert_allclose([-gradient.weights[2, 1], -gradient.visible_bias[4]], [dw, da], atol=1e-8)
    np.testing.assert_allclose(-observed_free_energy(rbm, v, order=2)[0], tap, atol=1e-8)


@pytest.mark.parametrize(("dtype", "visible", "hidden"), PRECISE_PAIRS, ids=str, indirect=["dtype"])
def test_enumeration_sums_over_what_is_missing(dtype, visible, hidden):
    rbm = reference_rbm(4, 3, 0.3, visible, hidden)
    v = np.array([[1.0, np.nan, 1.0, np.nan], [np.nan] * 4, [1.0, 1.0, 1.0, 1.0]])
    if visible.states is None:  # then the likelihood is differentiated instead
        slope = jax.grad(lambda rbm: -observed_free_energy(rbm, v).mean())(rbm)
        moments = clamped_enumeration(None, rbm, v)
        assert_close(tuple(moments), (slope.visible_bias, slope.hidden_bias, slope.weights), atol=20 * tolerance(dtype))
        return
    filled = [all_completions(row, visible) for row in v]
    weights = [jax.nn.softmax(-visible_free_energy(rbm, rows)) for rows in filled]
    expected = [conditional_moments(rbm, rows, share) for rows, share in zip(filled, weights, strict=True)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *expected)
    assert_close(clamped_enumeration(None, rbm, v), mean, rtol=tolerance(dtype), atol=tolerance(dtype))
    repeated = [len(rows) // len(np.unique(rows, axis=0)) for rows in filled]
    sums = [-jax.nn.logsumexp(-visible_free_energy(rbm, rows)) for rows in filled] + np.log(repeated)
    np.testing.assert_allclose(observed_free_energy(rbm, v), sums, rtol=tolerance(dtype))


@pytest.mark.parametrize("term", DATA_TERMS)
@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0])], ids=["equal", "weighted"])
def test_nothing_missing_is_the_standard_gradient_bit_for_bit(term, weights):
    rbm, v, chains = reference_rbm(6, 5, 0.4), np.eye(6)[:2], np.eye(6)[2:]
    for estimator in (pcd, functools.partial(emf, n_sweeps=2)):
        standard, _ = estimator(KEY, rbm, v, chains, weights=weights)
        with_term, _ = estimator(KEY, rbm, v, chains, weights=weights, data_term=DATA_TERMS[term])
        assert_close(with_term, standard, rtol=0, atol=0)


def test_everything_missing_is_no_gradient(x64):
    for pair in PAIRS:
        rbm = reference_rbm(4, 3, 0.3, *pair)
        gradient, _ = exact(None, rbm, np.full((2, 4), np.nan), None, data_term=clamped_enumeration)
        assert_close(gradient, jax.tree.map(jnp.zeros_like, gradient), atol=1e-12)


def test_the_model_is_stationary_on_its_own_data(x64):
    """Averaged over samples of the model and masks, the conditional averages are the model's."""
    rbm = reference_rbm(5, 3, 0.6)
    states = enumerate_states(Bernoulli(), 5)
    masks = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0]], bool)
    v = np.concatenate([np.where(mask, states, np.nan) for mask in masks])
    weights = np.tile(exact_visible_probabilities(rbm), len(masks))
    assert_close(clamped_enumeration(None, rbm, v, weights), exact_moments(rbm), atol=1e-12)


def test_gibbs_and_mean_field_agree_with_enumeration(x64):
    rbm = reference_rbm(6, 5, 0.1)
    _, v = published(Bernoulli())
    expected = clamped_enumeration(None, rbm, v)
    errors = [largest_difference(clamped_mean_field(None, rbm, v, order=n, n_sweeps=50), expected) for n in (1, 2, 3)]
    assert errors[0] > 20 * errors[1] > 20 * errors[2]
    n_chains = 20000
    sampled = clamped_gibbs(KEY, rbm, np.tile(v, (n_chains, 1)), n_sweeps=20)
    assert_close(sampled, expected, atol=5 * 0.5 / n_chains**0.5)


def test_clamped_mean_field_has_the_order_of_its_error(x64):
    """The first order neglected is W⁴, as for the free energy without clamping."""
    errors = []
    for strength in (0.05, 0.1):
        rbm = dataclasses.replace(reference_rbm(6, 5, strength), visible_bias=0.7 * jnp.ones(6))
        _, v = published(Bernoulli())
        errors.append(float(observed_free_energy(rbm, v, order=3)[0] - observed_free_energy(rbm, v)[0]))
    assert 12 < errors[1] / errors[0] < 20


@pytest.mark.parametrize("units", [Bernoulli(), Spin(), Gaussian(0.5)], ids=str)
def test_clamp_gives_the_conditional_distribution(units, x64):
    rbm = reference_rbm(4, 3, 0.3, units, Spin())
    mask = np.array([True, False, False, True])
    held = clamp(rbm, np.array([1.0, np.nan, np.nan, 1.0]), mask)
    assert not held.weights[mask].any()
    v = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0 if units != Bernoulli() else 0.0, 1.0]])
    difference = visible_free_energy(rbm, v) - visible_free_energy(held, v)
    np.testing.assert_allclose(difference[0], difference[1], atol=1e-12)


def test_completed_samples_keep_what_was_observed():
    rbm, v = published(Bernoulli())
    completed = np.asarray(complete_samples(KEY, rbm, v))
    np.testing.assert_array_equal(completed[~np.isnan(v)], v[~np.isnan(v)])
    assert np.isin(completed, [0, 1]).all()


def test_imputation(x64):
    rbm, v = published(Spin())
    rows = all_completions(v[0], Spin())
    share = jax.nn.softmax(-visible_free_energy(rbm, rows))
    mean = share @ rows
    result = impute(KEY, rbm, np.tile(v, (100, 1)), n_sweeps=200)
    missing = np.isnan(v[0])
    np.testing.assert_allclose(result.mean.mean(0), mean, atol=0.01)
    np.testing.assert_allclose(result.std.mean(0)[missing], np.sqrt(1 - mean[missing] ** 2), atol=0.01)
    assert not result.std[:, ~missing].any()
    # The error it gives is the one it makes.
    made = np.sqrt(((result.mean - mean) ** 2).mean(0))[missing]
    np.testing.assert_allclose(np.sqrt((result.std_error**2).mean(0))[missing], made, rtol=0.4)
    np.testing.assert_array_equal(result.sample[:, ~missing], np.tile(v[:, ~missing], (100, 1)))


def test_classes(x64):
    rbm = reference_rbm(6, 4, 0.8)
    pixels = np.array([[1.0, 0.0, 1.0], [1.0, np.nan, 0.0]])
    exact_posterior = []
    for row in pixels:
        states = enumerate_states(Bernoulli(), 3)
        states = states[((states == row) | np.isnan(row)).all(1)]
        rows = np.stack([np.concatenate([state, label]) for label in np.eye(3) for state in states])
        joint = np.exp(-visible_free_energy(rbm, rows)).reshape(3, -1).sum(1)
        exact_posterior.append(joint / joint.sum())
    found = class_probabilities(KEY, rbm, np.repeat(pixels, 500, 0), 3, n_sweeps=20).reshape(2, 500, 3)
    np.testing.assert_allclose(found[0], np.broadcast_to(exact_posterior[0], (500, 3)), atol=1e-12)
    errors = found[1].std(0) / 500**0.5
    assert (np.abs(found[1].mean(0) - exact_posterior[1]) < 5 * errors).all()


@pytest.mark.parametrize("units", [Bernoulli(), Spin()], ids=str)
def test_labels_are_units(units):
    data = append_labels(np.zeros((3, 2)), np.array([1, -1, 0]), 2, units=units)
    off = float(units.states[0, 0])
    np.testing.assert_array_equal(data, [[0, 0, off, 1], [0, 0, np.nan, np.nan], [0, 0, 1, off]])


def test_linear_theory_of_missing_entries(x64):
    rbm = reference_rbm(5, 3, 0.25, Gaussian(0.81), Gaussian(1.44))
    rbm = dataclasses.replace(rbm, visible_bias=jnp.zeros(5), hidden_bias=jnp.zeros(3))
    v = np.array([[0.5, -1, np.nan, 2, np.nan]])
    np.testing.assert_allclose(-observed_free_energy(rbm, v)[0] - exact_log_z(rbm), -5.6054073595, atol=1e-9)
    gradient, _ = exact(None, rbm, v, None, data_term=clamped_enumeration)
    np.testing.assert_allclose(-gradient.weights[2, 1], -0.017688756, atol=1e-9)
    shown = np.concatenate([v, np.array([[np.nan, np.nan, 0.3, np.nan, -0.7]])])
    force = missing_gaussian_force(shown)(0.0, rbm)
    slope = jax.grad(lambda rbm: -observed_free_energy(rbm, shown).mean() - exact_log_z(rbm))(rbm)
    assert_close(force, slope, atol=1e-10)


def test_linear_theory_with_nothing_missing_is_the_gaussian_force(x64):
    data = bars_and_stripes(3)
    rbm = init_rbm(KEY, 9, 4, scale=0.1, visible_mean=data.mean(0))
    for metric in (Plain(), Centered()):
        expected = gaussian_force(data, metric=metric)(0.0, rbm)
        assert_close(missing_gaussian_force(data, metric=metric)(0.0, rbm), expected, atol=1e-12)
    with pytest.raises(ValueError, match="has none of unit 2"):
        missing_gaussian_force(np.array([[1.0, 1.0, np.nan]]))


def test_modes_grow_by_the_share_of_pairs_seen_and_not_at_all_on_filled_in_means(x64):
    """Rates of ±1 units: (1 - f)² r, with r of the complete data, or (1 - f)² r - f if means are filled in."""
    fraction, n = 0.5, 20_000
    data = np.asarray(ising_chain(KEY, n, 6, coupling=0.5))
    lossy = np.where(np.random.default_rng(0).random(data.shape) < fraction, np.nan, data)
    growth = growth_modes(data, visible_units=Spin(), hidden_units=Spin())
    rate, mode = growth.rates[0], growth.vectors[:, 0]
    rbm = reference_rbm(6, 1, 1e-4, Spin())
    rbm = dataclasses.replace(rbm, weights=1e-4 * mode[:, None], visible_bias=jnp.zeros(6), hidden_bias=jnp.zeros(1))
    velocity = missing_gaussian_force(lossy, metric=Centered())(0.0, rbm).weights[:, 0]
    error = 5 * 3 / n**0.5  # of a sum of some dozen correlations, each off by n^(-1/2)
    np.testing.assert_allclose(mode @ velocity / 1e-4, (1 - fraction) ** 2 * rate, atol=error)
    filled = np.where(np.isnan(lossy), np.nanmean(lossy, axis=0), lossy)
    rates = growth_modes(filled, visible_units=Spin(), hidden_units=Spin()).rates
    np.testing.assert_allclose(rates[0], (1 - fraction) ** 2 * rate - fraction, atol=error)
    assert rates[0] < 0 < (1 - fraction) ** 2 * rate


def lossy_stripes(fraction=0.4):
    """Nine neighbors that are nearly always equal, with entries missing at random."""
    rng = np.random.default_rng(1)
    data = np.where(rng.random((200, 9)) < 0.1, 1, 0) ^ rng.integers(0, 2, (200, 1))
    return np.where(rng.random(data.shape) < fraction, np.nan, data).astype(np.float32)


@pytest.mark.parametrize("estimator", [pcd, cd, functools.partial(emf, persistent=False)], ids=["pcd", "cd", "emf"])
def test_training_on_incomplete_data_gains_likelihood(estimator):
    data, optimizer = lossy_stripes(), optax.sgd(0.5)
    rbm = init_rbm(KEY, 9, 4, scale=0.1, visible_mean=np.nanmean(data, axis=0))
    state = init_train_state(KEY, rbm, optimizer, n_chains=100)
    estimator = functools.partial(estimator, centered=True, data_term=functools.partial(clamped_gibbs, n_sweeps=5))
    options = {"estimator": estimator, "optimizer": optimizer, "n_updates": 300, "batch_size": 50}
    state, _ = fit(KEY, state, data, allow_missing=True, **options)

    def likelihood(rbm):
        return -observed_free_energy(rbm, data).mean() - exact_log_z(rbm)

    assert likelihood(state.rbm) > likelihood(rbm) + 0.3


def test_symmetric_rbms_learn_from_incomplete_data(unchecked):
    tied = init_tied_rbm(KEY, Translations((3, 3)), 1, scale=0.3)
    data = lossy_stripes()[:8]
    gradient, _ = tied_estimator(exact, centered=True)(None, tied, np.nan_to_num(data), None)
    estimator = functools.partial(exact, data_term=clamped_enumeration)
    gradient, _ = tied_estimator(estimator)(None, tied, data, None)

    def likelihood(tied):
        return -observed_free_energy(expand(tied), data).mean() - exact_log_z(expand(tied))

    slope = jax.grad(likelihood)(tied)
    np.testing.assert_allclose(gradient.filters, -slope.filters / 9, atol=1e-5)
    optimizer = optax.sgd(0.1)
    state = init_train_state(KEY, tied, optimizer, n_chains=1)
    state, _ = fit(
        KEY, state, data, estimator=tied_estimator(estimator), optimizer=optimizer, n_updates=5, allow_missing=True
    )
    assert likelihood(state.rbm) > likelihood(tied)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rbm: clamped_gibbs(KEY, rbm, np.full((2, 5), np.nan)), "v must have 6 units"),
        (lambda rbm: clamped_gibbs(KEY, rbm, np.zeros((2, 6)), n_sweeps=0), "n_sweeps must be at least 1"),
        (lambda rbm: observed_free_energy(rbm, np.zeros(6)), "v must hold samples in rows"),
        (lambda rbm: observed_free_energy(rbm, np.zeros((1, 6)), order=4), "order must be"),
        (lambda rbm: impute(KEY, rbm, np.zeros((2, 6)), n_chains=1), "n_chains must be at least 2"),
        (lambda rbm: class_probabilities(KEY, rbm, np.zeros((2, 6)), 2), "v must have 4 units"),
        (lambda rbm: append_labels(np.zeros((2, 3)), np.array([0, 2]), 2, units=Spin()), "labels must lie from 0 to 1"),
        (lambda rbm: append_labels(np.zeros((2, 3)), np.array([0]), 2, units=Spin()), "labels must be integers"),
        (lambda rbm: append_labels(np.zeros((2, 3)), np.array([0, 1]), 2, units=Gaussian()), "two states"),
        (lambda rbm: fit_with(rbm, lossy_stripes()[:, :6], False), "NaN"),
        (lambda rbm: fit_with(rbm, np.full((2, 6), np.inf), True), "data holds inf"),
        (lambda rbm: fit_with(rbm, np.full((2, 6), 2.0), True), "data must be 0 or 1"),
    ],
)
def test_errors_say_what_is_wrong(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make(reference_rbm(6, 5, 0.4))


def fit_with(rbm, data, allow_missing):
    optimizer = optax.sgd(0.1)
    state = init_train_state(KEY, rbm, optimizer, n_chains=2)
    estimator = functools.partial(pcd, data_term=clamped_gibbs)
    fit(KEY, state, data, estimator=estimator, optimizer=optimizer, n_updates=1, allow_missing=allow_missing)
