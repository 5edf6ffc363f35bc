"""The pseudo-likelihood against conditionals from enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax.likelihood.pseudo
from rbm_jax import Gaussian, exact_log_likelihood, pseudo_log_likelihood
from rbm_jax.model import enumerate_states, exact_visible_probabilities
from tests.helpers import PAIRS, reference_rbm, slow_but, tolerance

DISCRETE_VISIBLE = [pair for pair in PAIRS if pair[0].states is not None]
likelihood_of, probabilities_of = jax.jit(pseudo_log_likelihood), jax.jit(exact_visible_probabilities)
# all pairs in float64, and in float32 two that cover the units
per_pair = pytest.mark.parametrize(
    ("dtype", "pair"),
    slow_but(
        [("float64", pair) for pair in DISCRETE_VISIBLE] + [("float32", pair) for pair in (PAIRS[1], PAIRS[5])],
        [(name, pair) for name in ("float64", "float32") for pair in DISCRETE_VISIBLE],
    ),
    ids=str,
    indirect=["dtype"],
)


def by_enumeration(rbm, data):
    """Σ_i log P(v_i | rest) from the table of P(v)."""
    states, probabilities = enumerate_states(rbm.visible_units, rbm.n_visible), np.asarray(probabilities_of(rbm))
    table = {tuple(state): float(p) for state, p in zip(states, probabilities, strict=True)}
    low, high = rbm.visible_units.states[:, 0]
    totals = []
    for v in data:
        total = 0.0
        for site, value in enumerate(v):
            other = v.copy()
            other[site] = low + high - value
            total += np.log(table[tuple(v)] / (table[tuple(v)] + table[tuple(other)]))
        totals.append(total)
    return np.array(totals)


@per_pair
def test_it_is_the_mean_over_data_of_all_conditionals(pair, dtype):
    rbm = reference_rbm(4, 3, 0.6, *pair, dtype)
    data = enumerate_states(pair[0], 4)[[0, 3, 5, 6, 11]]
    expected = by_enumeration(rbm, data)
    np.testing.assert_allclose(likelihood_of(rbm, data), expected.mean(), rtol=tolerance(dtype))
    weights = np.array([1.0, 0.0, 2.0, 0.5, 3.0])
    weighted = likelihood_of(rbm, data, weights)
    np.testing.assert_allclose(weighted, weights @ expected / weights.sum(), rtol=tolerance(dtype))


@per_pair
def test_it_is_the_likelihood_of_independent_units(pair, dtype):
    rbm = reference_rbm(4, 3, 0.0, *pair, dtype)
    data = enumerate_states(pair[0], 4)[[0, 3, 5]]
    found, expected = likelihood_of(rbm, data), jax.jit(exact_log_likelihood)(rbm, data)
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype))


def test_chunks_of_data_give_the_same(monkeypatch, x64):
    rbm = reference_rbm(4, 3, 0.6)
    data = enumerate_states(rbm.visible_units, 4)
    whole = pseudo_log_likelihood(rbm, data)
    monkeypatch.setattr(rbm_jax.likelihood.pseudo, "_CHUNK_ELEMENTS", 5 * rbm.weights.size)
    np.testing.assert_allclose(pseudo_log_likelihood(rbm, data), whole, rtol=1e-12)


@pytest.mark.parametrize("data", [np.zeros((0, 4)), np.zeros((2, 3)), np.zeros(4)])
def test_data_that_do_not_fit_are_refused(unchecked, data):
    with pytest.raises(ValueError, match="data must"):
        pseudo_log_likelihood(reference_rbm(4, 3, 0.3), data)


def test_continuous_visible_units_are_refused():
    with pytest.raises(ValueError, match="needs discrete visible units"):
        pseudo_log_likelihood(reference_rbm(4, 3, 0.3, Gaussian()), jnp.zeros((2, 4)))
