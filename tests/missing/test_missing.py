"""Missing entries: against enumeration over them, closed forms, and the invariants of the likelihood."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    CD,
    EMF,
    PCD,
    Batches,
    Bernoulli,
    Centered,
    Exact,
    Gaussian,
    Spin,
    Trainer,
    exact_log_z,
    fit,
    init_rbm,
    visible_free_energy,
)
from rbm_jax.data import bars_and_stripes, ising_chain
from rbm_jax.dynamics import gaussian_force, growth_modes, missing_gaussian_force
from rbm_jax.missing import (
    ClampedEnumeration,
    ClampedGibbs,
    ClampedMeanField,
    append_labels,
    class_probabilities,
    complete_samples,
    impute,
    observed_free_energy,
)
from rbm_jax.model import (
    Plain,
    clamp,
    conditional_moments,
    enumerate_states,
    exact_moments,
    exact_visible_probabilities,
)
from rbm_jax.symmetry import Translations, expand, init_tied_rbm
from rbm_jax.training import Tied
from tests.helpers import COVERING_PAIRS, PAIRS, PRECISE_PAIRS, reference_rbm, slow_but, tolerance

KEY = jax.random.key(0)
free_energies_of = jax.jit(visible_free_energy)
DATA_TERMS = {
    "gibbs": ClampedGibbs(),
    "mean field": ClampedMeanField(),
    "enumeration": ClampedEnumeration(),
}


@jax.jit
def observed_log_likelihood(rbm, v):
    return -observed_free_energy(rbm, v).mean() - exact_log_z(rbm)


@jax.jit
def exact_gradient_of(rbm, v):
    return Exact(data_term=ClampedEnumeration())(None, rbm, v)


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
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    return max(float(abs(a - b).max()) for a, b in pairs)


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
    np.testing.assert_allclose(observed_log_likelihood(rbm, v), log_p, atol=1e-9)
    gradient, _ = exact_gradient_of(rbm, v)
    np.testing.assert_allclose([-gradient.weights[2, 1], -gradient.visible_bias[4]], [dw, da], atol=1e-8)
    free_energy = jax.jit(lambda rbm: observed_free_energy(rbm, v, order=2))(rbm)
    np.testing.assert_allclose(-free_energy[0], tap, atol=1e-8)


@pytest.mark.parametrize(("dtype", "visible", "hidden"), PRECISE_PAIRS, ids=str, indirect=["dtype"])
def test_enumeration_sums_over_what_is_missing(dtype, visible, hidden):
    rbm = reference_rbm(4, 3, 0.3, visible, hidden)
    v = np.array([[1.0, np.nan, 1.0, np.nan], [np.nan] * 4, [1.0, 1.0, 1.0, 1.0]])
    found = jax.jit(lambda rbm: ClampedEnumeration()(None, rbm, v))(rbm)
    if visible.states is None:  # then the likelihood is differentiated instead
        slope = jax.jit(jax.grad(lambda rbm: -observed_free_energy(rbm, v).mean()))(rbm)
        expected = slope.visible_bias, slope.hidden_bias, slope.weights
        assert_close((found.visible, found.hidden, found.product), expected, atol=20 * tolerance(dtype))
        return
    filled = [all_completions(row, visible) for row in v]

    @jax.jit
    def sums_over_completions(rbm):
        log_weights = [-visible_free_energy(rbm, rows) for rows in filled]
        moments = [
            conditional_moments(rbm, rows, jax.nn.softmax(each)) for rows, each in zip(filled, log_weights, strict=True)
        ]
        return [jax.nn.logsumexp(each) for each in log_weights], jax.tree.map(lambda *leaves: sum(leaves) / 3, *moments)

    log_sums, mean = sums_over_completions(rbm)
    assert_close(found, mean, rtol=tolerance(dtype), atol=tolerance(dtype))
    repeated = [len(rows) // len(np.unique(rows, axis=0)) for rows in filled]
    free_energies = jax.jit(observed_free_energy)(rbm, v)
    np.testing.assert_allclose(free_energies, np.log(repeated) - np.array(log_sums), rtol=tolerance(dtype))


@pytest.mark.parametrize("term", DATA_TERMS)
@pytest.mark.parametrize("sample_weights", [None, np.array([1.0, 3.0])], ids=["equal", "weighted"])
def test_nothing_missing_is_the_standard_gradient_bit_for_bit(term, sample_weights):
    rbm, v, chains = reference_rbm(6, 5, 0.4), np.eye(6)[:2], np.eye(6)[2:]
    for estimator, options in ((PCD, {}), (EMF, {"n_sweeps": 2})):
        standard, _ = estimator(**options)(KEY, rbm, v, chains, sample_weights)
        with_term, _ = estimator(**options, data_term=DATA_TERMS[term])(KEY, rbm, v, chains, sample_weights)
        assert_close(with_term, standard, rtol=0, atol=0)


@pytest.mark.parametrize("pair", slow_but([(pair,) for pair in COVERING_PAIRS], [(pair,) for pair in PAIRS]), ids=str)
def test_everything_missing_is_no_gradient(pair, x64):
    gradient, _ = exact_gradient_of(reference_rbm(4, 3, 0.3, *pair), np.full((2, 4), np.nan))
    assert_close(gradient, jax.tree.map(np.zeros_like, gradient), atol=1e-12)


def test_the_model_is_stationary_on_its_own_data(x64):
    """Averaged over samples of the model and masks, the conditional averages are the model's."""
    rbm = reference_rbm(5, 3, 0.6)
    states = enumerate_states(Bernoulli(), 5)
    masks = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0]], bool)
    v = np.concatenate([np.where(mask, states, np.nan) for mask in masks])
    probabilities = np.tile(jax.jit(exact_visible_probabilities)(rbm), len(masks))
    found, expected = jax.jit(lambda rbm: (ClampedEnumeration()(None, rbm, v, probabilities), exact_moments(rbm)))(rbm)
    assert_close(found, expected, atol=1e-12)


def test_gibbs_and_mean_field_agree_with_enumeration(x64):
    rbm = reference_rbm(6, 5, 0.1)
    _, v = published(Bernoulli())
    n_chains = 20000
    many = np.tile(v, (n_chains, 1))

    @jax.jit
    def averages(rbm):
        solved = [ClampedMeanField(order, 50)(None, rbm, v) for order in (1, 2, 3)]
        return ClampedEnumeration()(None, rbm, v), solved, ClampedGibbs(n_sweeps=20)(KEY, rbm, many)

    expected, solved, sampled = jax.device_get(averages(rbm))
    errors = [largest_difference(each, expected) for each in solved]
    assert errors[0] > 20 * errors[1] > 20 * errors[2]
    assert_close(sampled, expected, atol=5 * 0.5 / n_chains**0.5)


def test_clamped_mean_field_has_the_order_of_its_error(x64):
    """The first order neglected is W⁴, as for the free energy without clamping."""
    _, v = published(Bernoulli())

    @jax.jit
    def error(rbm):
        return (observed_free_energy(rbm, v, order=3) - observed_free_energy(rbm, v))[0]

    biases = {"visible_bias": jnp.asarray(np.full(6, 0.7))}
    errors = [float(error(dataclasses.replace(reference_rbm(6, 5, strength), **biases))) for strength in (0.05, 0.1)]
    assert 12 < errors[1] / errors[0] < 20


@pytest.mark.parametrize("units", [Bernoulli(), Spin(), Gaussian(0.5)], ids=str)
def test_clamp_gives_the_conditional_distribution(units, x64):
    rbm = reference_rbm(4, 3, 0.3, units, Spin())
    mask = np.array([True, False, False, True])
    held = jax.jit(clamp)(rbm, np.array([1.0, np.nan, np.nan, 1.0]), mask)
    assert not np.asarray(held.weights)[mask].any()
    v = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0 if units != Bernoulli() else 0.0, 1.0]])
    difference = free_energies_of(rbm, v) - free_energies_of(held, v)
    np.testing.assert_allclose(difference[0], difference[1], atol=1e-12)


def test_completed_samples_keep_what_was_observed():
    rbm, v = published(Bernoulli())
    completed = np.asarray(jax.jit(complete_samples)(KEY, rbm, v))
    np.testing.assert_array_equal(completed[~np.isnan(v)], v[~np.isnan(v)])
    assert np.isin(completed, [0, 1]).all()


def test_imputation(x64):
    rbm, v = published(Spin())
    rows = all_completions(v[0], Spin())
    weights = np.exp(-free_energies_of(rbm, rows))
    mean = weights @ rows / weights.sum()
    result = jax.device_get(jax.jit(functools.partial(impute, n_sweeps=200))(KEY, rbm, np.tile(v, (100, 1))))
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
        joint = np.exp(-free_energies_of(rbm, rows)).reshape(3, -1).sum(1)
        exact_posterior.append(joint / joint.sum())
    classify = jax.jit(functools.partial(class_probabilities, n_classes=3, n_sweeps=20))
    found = np.asarray(classify(KEY, rbm, np.repeat(pixels, 500, 0))).reshape(2, 500, 3)
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
    rbm = dataclasses.replace(rbm, visible_bias=0 * rbm.visible_bias, hidden_bias=0 * rbm.hidden_bias)
    v = np.array([[0.5, -1, np.nan, 2, np.nan]])
    np.testing.assert_allclose(observed_log_likelihood(rbm, v), -5.6054073595, atol=1e-9)
    gradient, _ = exact_gradient_of(rbm, v)
    np.testing.assert_allclose(-gradient.weights[2, 1], -0.017688756, atol=1e-9)
    shown = np.concatenate([v, np.array([[np.nan, np.nan, 0.3, np.nan, -0.7]])])
    force = jax.jit(missing_gaussian_force(shown))(0.0, rbm)
    slope = jax.jit(jax.grad(observed_log_likelihood))(rbm, shown)
    assert_close(force, slope, atol=1e-10)


def test_linear_theory_with_nothing_missing_is_the_gaussian_force(x64):
    data = bars_and_stripes(3)
    rbm = init_rbm(KEY, 9, 4, scale=0.1, visible_mean=data.mean(0))
    for metric in (Plain(), Centered()):
        expected = jax.jit(gaussian_force(data, metric=metric))(0.0, rbm)
        assert_close(jax.jit(missing_gaussian_force(data, metric=metric))(0.0, rbm), expected, atol=1e-12)
    with pytest.raises(ValueError, match="has none of unit 2"):
        missing_gaussian_force(np.array([[1.0, 1.0, np.nan]]))


def test_modes_grow_by_the_share_of_pairs_seen_and_not_at_all_on_filled_in_means(x64):
    """Rates of ±1 units: (1 - f)² r, with r of the complete data, or (1 - f)² r - f if means are filled in."""
    fraction, n = 0.5, 20_000
    data = np.asarray(ising_chain(KEY, n, 6, coupling=0.5))
    lossy = np.where(np.random.default_rng(0).random(data.shape) < fraction, np.nan, data)
    growth_of = jax.jit(functools.partial(growth_modes, visible_units=Spin(), hidden_units=Spin()))
    growth = jax.device_get(growth_of(data))
    rate, mode = growth.rates[0], growth.vectors[:, 0]
    rbm = reference_rbm(6, 1, 1e-4, Spin())
    leaves = {"weights": 1e-4 * mode[:, None], "visible_bias": np.zeros(6), "hidden_bias": np.zeros(1)}
    rbm = dataclasses.replace(rbm, **jax.tree.map(jnp.asarray, leaves))
    velocity = np.asarray(jax.jit(missing_gaussian_force(lossy, metric=Centered()))(0.0, rbm).weights)[:, 0]
    error = 5 * 3 / n**0.5  # of a sum of some dozen correlations, each off by n^(-1/2)
    np.testing.assert_allclose(mode @ velocity / 1e-4, (1 - fraction) ** 2 * rate, atol=error)
    filled = np.where(np.isnan(lossy), np.nanmean(lossy, axis=0), lossy)
    rates = growth_of(filled).rates
    np.testing.assert_allclose(rates[0], (1 - fraction) ** 2 * rate - fraction, atol=error)
    assert rates[0] < 0 < (1 - fraction) ** 2 * rate


def lossy_stripes(fraction=0.4):
    """Nine neighbors that are nearly always equal, with entries missing at random."""
    rng = np.random.default_rng(1)
    data = np.where(rng.random((200, 9)) < 0.1, 1, 0) ^ rng.integers(0, 2, (200, 1))
    return np.where(rng.random(data.shape) < fraction, np.nan, data).astype(np.float32)


@pytest.mark.parametrize(("estimator", "options"), [(PCD, {}), (CD, {}), (EMF, {"persistent": False})])
def test_training_on_incomplete_data_gains_likelihood(estimator, options):
    data = lossy_stripes()
    trainer = Trainer.euler(estimator(metric=Centered(), data_term=ClampedGibbs(n_sweeps=5), **options), 0.5)
    rbm = init_rbm(KEY, 9, 4, scale=0.1, visible_mean=np.nanmean(data, axis=0))
    state = trainer.init(KEY, rbm, n_chains=100)
    state, _ = fit(KEY, trainer, state, Batches(data, batch_size=50, allow_missing=True), n_updates=300)
    assert observed_log_likelihood(state.rbm, data) > observed_log_likelihood(rbm, data) + 0.3


def test_symmetric_rbms_learn_from_incomplete_data(unchecked):
    tied = init_tied_rbm(KEY, Translations((3, 3)), 1, scale=0.3)
    data = lossy_stripes()[:8]
    trainer = Trainer.euler(Tied(Exact(data_term=ClampedEnumeration())), 0.1)
    gradient, _ = jax.jit(lambda tied: trainer.estimator(None, tied, data, None))(tied)

    def likelihood(tied):
        return observed_log_likelihood(expand(tied), data)

    slope = jax.jit(jax.grad(likelihood))(tied)
    np.testing.assert_allclose(gradient.filters, -slope.filters / 9, atol=1e-5)
    state, _ = fit(KEY, trainer, trainer.init(KEY, tied), Batches(data, allow_missing=True), n_updates=5)
    assert likelihood(state.rbm) > likelihood(tied)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rbm: ClampedGibbs()(KEY, rbm, np.full((2, 5), np.nan)), "v must have 6 units"),
        (lambda rbm: ClampedGibbs(n_sweeps=0), "n_sweeps must be at least 1"),
        (lambda rbm: ClampedMeanField(order=4), "order must be"),
        (lambda rbm: complete_samples(KEY, rbm, np.zeros((2, 6)), n_sweeps=0), "n_sweeps must be at least 1"),
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
    trainer = Trainer.euler(PCD(data_term=ClampedGibbs()), 0.1)
    fit(KEY, trainer, trainer.init(KEY, rbm, n_chains=2), Batches(data, allow_missing=allow_missing), n_updates=1)
