"""Training of visible units that learn their variance."""

import equinox as eqx
import jax
import numpy as np
import optax
import pytest

from rbm_jax import EMF, PCD, PTT, Exact, Gaussian, ReLU, Spin, Trainer, fit, init_rbm, visible_free_energy
from rbm_jax.model import exact_gradient
from rbm_jax.sampling import live_states
from rbm_jax.training import Batches, Optimizer
from tests.helpers import reference_rbm

DATA = abs(np.random.default_rng(0).normal(size=(8, 4)))


@jax.jit
def surrogate_gradient(rbm, chains):
    def surrogate(rbm):
        return visible_free_energy(rbm, DATA).mean() - visible_free_energy(rbm, chains).mean()

    return jax.grad(surrogate)(rbm)


@pytest.mark.parametrize(
    ("estimator", "states", "kind"),
    [
        (PCD(), lambda chains: chains, Gaussian),
        (PCD(), lambda chains: chains, ReLU),
        (PTT(), live_states, Gaussian),
        pytest.param(PTT(), live_states, ReLU, marks=pytest.mark.slow),
    ],
    ids=["PCD-Gaussian", "PCD-ReLU", "PTT-Gaussian", "PTT-ReLU"],
)
def test_gradient_is_that_of_the_free_energies_of_data_and_chains(estimator, states, kind, x64):
    rbm = reference_rbm(4, 3, 0.3, kind(0.6 + 0.2 * np.arange(4)), Spin())
    carry = jax.jit(lambda rbm: estimator.init(jax.random.key(1), rbm, 6))(rbm)
    found, carry = eqx.filter_jit(estimator)(jax.random.key(2), rbm, DATA, carry)
    expected = surrogate_gradient(rbm, states(carry))
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=1e-10, atol=1e-12)


def test_mean_field_gradient_is_close_to_the_exact_one_at_weak_coupling(x64):
    rbm = reference_rbm(4, 3, 0.05, Gaussian(0.6 + 0.2 * np.arange(4)), Spin())
    found, _ = eqx.filter_jit(EMF(n_sweeps=50))(None, rbm, DATA, DATA)
    expected = jax.jit(exact_gradient)(rbm, DATA)
    np.testing.assert_allclose(
        found.visible_units.log_variance, expected.visible_units.log_variance, rtol=1e-3, atol=1e-4
    )


def test_training_without_weights_finds_the_variances_of_the_data(x64):
    scales = np.array([0.5, 1.0, 1.7])
    data = np.random.default_rng(1).normal(size=(50, 3)) * scales
    units = {"visible_units": Gaussian(np.ones(3)), "hidden_units": Spin()}
    rbm = init_rbm(jax.random.key(0), 3, 2, scale=0.0, visible_mean=data.mean(0), **units)
    trainer = Trainer(Exact(), Optimizer(optax.sgd, learning_rate=0.2))
    state = trainer.init(jax.random.key(1), rbm, n_chains=1)
    state, trajectory = fit(jax.random.key(2), trainer, state, Batches(data), n_updates=600, save_at=[0, 600])
    np.testing.assert_allclose(state.rbm.visible_units.base_variance, data.var(0), rtol=1e-5)
    assert trajectory.rbms.visible_units.log_variance.shape == (2, 3)
