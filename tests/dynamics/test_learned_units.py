"""Forces and flows of visible units that learn their variance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax import Gaussian, Spin, integrate
from rbm_jax.dynamics import (
    exact_force,
    gaussian_force,
    integrate_modes,
    mean_field_force,
    missing_gaussian_force,
)
from rbm_jax.missing import observed_free_energy
from rbm_jax.model import Centered, exact_log_z
from tests.helpers import reference_rbm

DATA = np.random.default_rng(0).normal(size=(6, 4)) * [0.8, 1.0, 1.2, 0.6]


def learned_rbm(hidden_units=None, strength=0.2):
    variance = jnp.array([0.6, 0.8, 1.1, 0.9])
    return reference_rbm(4, 3, strength, Gaussian(variance), Gaussian() if hidden_units is None else hidden_units)


@jax.jit
def slopes(rbm, *forces):
    return [force(0.0, rbm) for force in forces]


def assert_close(found, expected, **tolerances):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, **tolerances)


def test_gaussian_closure_is_exact_for_gaussian_units(x64):
    rbm = learned_rbm()
    expected, *others = slopes(rbm, exact_force(DATA), gaussian_force(DATA), missing_gaussian_force(DATA))
    assert abs(expected.visible_units.log_variance).min() > 1e-3
    for found in others:
        assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_force_of_missing_data_is_that_of_the_observed_likelihood(x64):
    rbm = learned_rbm()
    lossy = np.where(np.arange(24).reshape(6, 4) % 5 == 0, np.nan, DATA)

    def log_likelihood(rbm):
        return -observed_free_energy(rbm, lossy).mean() - exact_log_z(rbm)

    (found,) = slopes(rbm, missing_gaussian_force(lossy))
    assert_close(found, jax.jit(jax.grad(log_likelihood))(rbm), rtol=1e-8, atol=1e-10)


def test_mean_field_force_moves_the_variances_almost_as_the_exact_one(x64):
    rbm = learned_rbm(Spin(), strength=0.1)
    found, expected = (slope.visible_units for slope in slopes(rbm, mean_field_force(DATA), exact_force(DATA)))
    np.testing.assert_allclose(found.log_variance, expected.log_variance, atol=1e-3)


def test_flow_of_modes_takes_the_variances_along(x64):
    rbm, ts = learned_rbm(Spin()), np.linspace(0.0, 0.5, 3)
    force = exact_force(DATA, metric=Centered())
    expected = eqx.filter_jit(integrate)(force, rbm, ts, rtol=1e-9, atol=1e-11)
    found = integrate_modes(force, rbm, ts, rtol=1e-9, atol=1e-11)
    moved = expected.rbms.visible_units.log_variance
    assert moved.shape == (3, 4)
    assert abs(moved[-1] - moved[0]).max() > 0.05
    assert_close(found.rbms, expected.rbms, rtol=1e-6, atol=1e-8)
