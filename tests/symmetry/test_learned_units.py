"""Tied RBMs whose visible units learn one variance for each orbit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import PCD, Gaussian, Spin
from rbm_jax.model import exact_gradient
from rbm_jax.symmetry import Translations, expand, init_tied_rbm, tie
from rbm_jax.training import FourierPCD, Tied
from tests.helpers import assert_same

TYING = Translations((4,))
DATA = np.random.default_rng(0).normal(size=(5, 4))


def tied_rbm():
    units = Gaussian(np.array([0.5, 0.5, 2.0, 2.0]))
    return init_tied_rbm(
        jax.random.key(0), TYING, 2, visible_units=units, hidden_units=Spin(), scale=0.3, visible_mean=np.full(4, 0.2)
    )


def test_learned_variances_are_averaged_over_orbits_and_come_back(x64):
    tied = tied_rbm()
    np.testing.assert_allclose(tied.visible_units.log_variance, [0.0], atol=1e-15)
    expanded = jax.jit(expand)(tied)
    assert expanded.visible_units.log_variance.shape == (4,)
    assert_same(jax.jit(tie, static_argnums=1)(expanded, TYING).visible_units, tied.visible_units)
    gradient = jax.jit(exact_gradient)(expanded, DATA)
    tied_gradient = jax.jit(tie, static_argnums=1)(gradient, TYING)
    found = tied_gradient.visible_units.log_variance
    np.testing.assert_allclose(found, np.asarray(gradient.visible_units.log_variance).mean(keepdims=True), rtol=1e-12)


def test_gradient_by_fourier_transform_has_the_variances(x64):
    tied, chains = tied_rbm(), jnp.asarray(DATA[:3])
    found, _ = jax.jit(FourierPCD())(jax.random.key(1), tied, DATA, chains)
    expected, _ = jax.jit(Tied(PCD()))(jax.random.key(1), tied, DATA, chains)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=1e-9, atol=1e-12)
    assert abs(np.asarray(found.visible_units.log_variance)).min() > 1e-3


def test_learned_parameters_of_another_number_of_orbits_are_refused():
    tied = tied_rbm()
    units = Gaussian(jnp.ones(4))
    wrong = type(tied)(tied.filters, tied.visible_bias, tied.hidden_bias, TYING, units, tied.hidden_units)
    with pytest.raises(ValueError, match="learned parameters of visible units that of visible_bias"):
        expand(wrong)
