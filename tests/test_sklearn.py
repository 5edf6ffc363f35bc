"""The scikit-learn estimator: scikit-learn's own checks, and the numbers behind it."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from rbm_jax import Bernoulli, Gaussian, Spin, exact_log_likelihood
from rbm_jax.model import enumerate_states, exact_visible_probabilities
from rbm_jax.sklearn import RBMTransformer
from tests.helpers import compiles, reference_rbm

STATES = np.asarray(enumerate_states(Bernoulli(), 4))
QUICK = {"n_updates": 10, "n_chains": 10}


def clusters(n_samples=40):
    """Noisy copies of 1100 and 0011, and which."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2, n_samples)
    data = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])[which]
    return np.where(rng.random(data.shape) < 0.05, 1 - data, data).astype(np.float32), which


def quick(**params):
    return RBMTransformer(**({"n_components": 3, "random_state": 0} | QUICK | params))


@parametrize_with_checks([RBMTransformer(2, **QUICK)])
def test_scikit_learn_finds_an_estimator_as_it_should_be(estimator, check):
    check(estimator)


@parametrize_with_checks([RBMTransformer(2, visible_units=Gaussian(), **QUICK)], legacy=False)
def test_scikit_learn_finds_an_estimator_of_real_data_as_it_should_be(estimator, check):
    check(estimator)


def test_training_raises_the_likelihood_and_finds_the_clusters():
    data, which = clusters()
    scores = []
    for n_updates in (0, 1000):
        transformer = quick(n_updates=n_updates, n_chains=100, learning_rate=0.2).fit(data)
        scores.append((float(exact_log_likelihood(transformer.rbm_, data)), transformer.score(data)))
    likelihood, pseudo_likelihood = np.transpose(scores)
    independent = -4 * np.log(2)
    assert likelihood[0] == pytest.approx(independent, abs=0.1)
    # one bit for the cluster in place of four, and some for the noise
    assert likelihood[1] > independent + 1
    assert pseudo_likelihood[1] > pseudo_likelihood[0] + 1
    model = make_pipeline(transformer, LogisticRegression()).fit(data, which)
    assert model.score(data, which) > 0.9


def test_features_are_the_hidden_means_of_the_states():
    rbm = reference_rbm(4, 3, 0.8)
    transformer = RBMTransformer.from_rbm(rbm)
    field = np.asarray(rbm.hidden_bias) + STATES @ np.asarray(rbm.weights)
    np.testing.assert_allclose(transformer.transform(STATES), 1 / (1 + np.exp(-field)), rtol=1e-5)
    np.testing.assert_array_equal(transformer.transform(0.2 + 0.6 * STATES), transformer.transform(STATES))
    np.testing.assert_array_equal(transformer.components_, rbm.weights.T)
    np.testing.assert_array_equal(transformer.intercept_visible_, rbm.visible_bias)
    np.testing.assert_array_equal(transformer.intercept_hidden_, rbm.hidden_bias)
    assert list(transformer.get_feature_names_out()) == ["rbmtransformer0", "rbmtransformer1", "rbmtransformer2"]


@pytest.mark.parametrize("units", [Bernoulli(), Spin()])
def test_score_is_the_sum_of_conditional_log_probabilities(units):
    rbm = reference_rbm(4, 3, 0.8, units)
    log_probability = np.log(exact_visible_probabilities(rbm)).reshape(2, 2, 2, 2)
    expected = np.zeros(16)
    for site in range(4):
        expected += (log_probability - np.logaddexp.reduce(log_probability, axis=site, keepdims=True)).ravel()
    states = np.asarray(enumerate_states(units, 4))
    first = np.lexsort(states.T[::-1])  # as the axes of the reshaped table run, the last unit fastest
    transformer = RBMTransformer.from_rbm(rbm, threshold=None)
    found = transformer.score_samples(states[first])
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert transformer.score(states) == pytest.approx(expected.mean(), rel=1e-5)


def test_a_row_gets_the_same_bits_among_any_others():
    transformer = RBMTransformer.from_rbm(reference_rbm(4, 3, 0.8))
    rows = np.tile(STATES, (100, 1))
    for method in (transformer.transform, transformer.score_samples):
        few = method(STATES)
        np.testing.assert_array_equal(method(rows), np.concatenate(100 * [few]))


def test_the_random_state_sets_the_run():
    data, _ = clusters()
    first, again = quick().fit(data), quick().fit(data)
    np.testing.assert_array_equal(first.components_, again.components_)
    np.testing.assert_array_equal(first.fit(data).components_, again.components_)
    stream = quick(random_state=np.random.RandomState(0))
    assert (stream.fit(data).components_ != clone(stream).fit(data).components_).any()
    assert (stream.components_ != stream.fit(data).components_).any()
    np.testing.assert_array_equal(first.sample(5, random_state=1), again.sample(5, random_state=1))


def test_partial_fit_goes_on_where_training_stopped():
    data, _ = clusters()
    whole = quick(n_updates=4, batch_size=40).fit(data)
    parts = quick(n_updates=2, batch_size=40)
    for _ in range(2):
        parts.partial_fit(data)
    np.testing.assert_array_equal(parts.components_, quick(n_updates=2, batch_size=40).fit(data).components_)
    parts = pickle.loads(pickle.dumps(parts))
    for _ in range(2):
        parts.partial_fit(data)
    np.testing.assert_array_equal(parts.components_, whole.components_)
    rbm = reference_rbm(4, 3, 0.5)
    moved = RBMTransformer.from_rbm(rbm, random_state=0, n_chains=10, learning_rate=0.01).partial_fit(data)
    change = abs(moved.components_ - np.asarray(rbm.weights).T).max()
    assert 0 < change < 0.01


def test_grid_search_over_learning_rates_compiles_once():
    data, _ = clusters(60)
    search = GridSearchCV(
        quick(batch_size=20, n_chains=20), {"learning_rate": [1e-3, 0.5], "n_updates": [1, 200]}, cv=3
    )
    search.fit(data[:30])
    search.set_params(param_grid={"learning_rate": [1e-3, 2e-3, 0.5], "n_updates": [1, 100, 400]})
    with compiles(at_most=0):
        search.fit(data[30:])
    assert search.best_params_["learning_rate"] == 0.5
    assert search.best_params_["n_updates"] > 1


def test_samples_have_the_probabilities_of_the_rbm():
    rbm = reference_rbm(4, 3, 0.8)
    samples = RBMTransformer.from_rbm(rbm).sample(4000, n_sweeps=30, random_state=0)
    numbers = (samples[:, None] == STATES).all(-1).argmax(1)
    p = np.asarray(exact_visible_probabilities(rbm))
    deviation = np.bincount(numbers, minlength=16) / 4000 - p
    assert (abs(deviation) < 5 * np.sqrt(p * (1 - p) / 4000)).all()


def test_sparse_and_other_dtypes_are_the_same_data():
    data, _ = clusters()
    dense = quick().fit(data)
    for same in (scipy.sparse.csr_array(data), scipy.sparse.csc_matrix(data), data.astype(bool), data.astype(np.uint8)):
        other = quick().fit(same)
        np.testing.assert_array_equal(other.components_, dense.components_)
        np.testing.assert_array_equal(other.transform(same), dense.transform(data))


def test_precision_is_that_of_the_data(x64):
    data, _ = clusters()
    for dtype in (np.float32, np.float64):
        transformer = quick().fit(data.astype(dtype))
        assert transformer.transform(data).dtype == transformer.components_.dtype == dtype
    assert set(quick().__sklearn_tags__().transformer_tags.preserves_dtype) == {"float32", "float64"}


def test_states_of_spins_and_real_units_are_what_the_model_sees():
    data, _ = clusters()
    spins = quick(visible_units=Spin(), hidden_units=Spin(), threshold=None).fit(2 * data - 1)
    by_threshold = quick(visible_units=Spin(), hidden_units=Spin()).fit(data)
    np.testing.assert_array_equal(spins.components_, by_threshold.components_)
    real = quick(visible_units=Gaussian(0.5)).fit(data)
    np.testing.assert_allclose(real.intercept_visible_, data.mean(0) / 0.5, atol=0.5)
    field = real.intercept_hidden_ + 0.3 * data @ real.components_.T
    np.testing.assert_allclose(real.transform(0.3 * data), 1 / (1 + np.exp(-field)), rtol=1e-5)


def test_bad_data_and_parameters_are_refused():
    data, _ = clusters()
    with pytest.raises(NotFittedError):
        quick().sample()
    with pytest.raises(ValueError, match="X must be 0 or 1"):
        quick(threshold=None).fit(0.3 * data)
    with pytest.raises(ValueError, match="X must be 0 or 1"):
        quick(threshold=None).fit(data).transform(0.3 * data)
    with pytest.raises(AttributeError, match="score"):
        quick(visible_units=Gaussian()).score(data)
    with pytest.raises(ValueError, match="must be one RBM"):
        RBMTransformer.from_rbm(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), reference_rbm(4, 3, 0.3)))
    bad = {"n_components": 0, "n_updates": -1, "learning_rate": 0, "batch_size": 0, "n_chains": 0, "n_sweeps": 0}
    for name, value in bad.items():
        with pytest.raises(ValueError, match=name):
            quick(**{name: value}).fit(data)
    for name in ("threshold", "visible_units"):
        with pytest.raises(TypeError, match=name):
            quick(**{name: "half"}).fit(data)


def test_divergence_is_an_error_that_says_what_to_do():
    data, _ = clusters()
    transformer = quick(visible_units=Gaussian()).fit(data)
    before = transformer.components_
    with pytest.raises(FloatingPointError, match="lower it"):
        transformer.set_params(learning_rate=1e4, n_updates=100).fit(data)
    np.testing.assert_array_equal(transformer.components_, before)
