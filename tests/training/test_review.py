"""Reviews of updates: what they let pass, shorten and reject, and that they count it."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import PCD, RBM, Bernoulli, Gaussian, ReLU, Status, Trainer, exact_log_z, fit, init_rbm, train_step
from rbm_jax.data import bars_and_stripes
from rbm_jax.training import KeepsEquilibrium, KeepsFiniteZ
from tests.helpers import reference_rbm, same_bits

DATA = bars_and_stripes(3)


def step(state, rbm):
    """A state one update later, with this RBM."""
    return dataclasses.replace(state, rbm=rbm, carry=1 - np.asarray(state.carry), step=state.step + 1)


@eqx.filter_jit
def reviewed(review, before, after):
    return review(before, after)


@functools.partial(jax.jit, static_argnames="n_chains")
def start(rbm, n_chains=50):
    return Trainer.euler(PCD(), 0.1).init(jax.random.key(0), rbm, n_chains)


def test_equilibrium_asks_for_the_effective_fraction_of_the_states(x64):
    before = start(reference_rbm(6, 3, 0.5))
    moved = jax.tree.map(lambda leaf: 2.0 * leaf, jax.device_get(before.rbm))
    after = step(before, moved)
    log_weights = _log_weights(moved, after.carry) - _log_weights(before.rbm, after.carry)
    fraction = np.exp(log_weights).sum() ** 2 / (np.exp(2 * log_weights).sum() * len(log_weights))
    assert 0.05 < fraction < 0.95
    passed = reviewed(KeepsEquilibrium(fraction - 1e-6), before, after)
    same_bits(passed, after)
    rejected = reviewed(KeepsEquilibrium(fraction + 1e-6), before, after)
    same_bits(rejected.rbm, before.rbm)
    same_bits(rejected.carry, after.carry)
    assert (int(rejected.step), int(rejected.n_rejected)) == (1, 1)


def _log_weights(rbm, v):
    """Minus the free energies of 0/1 units, written out."""
    rbm = jax.device_get(rbm)
    return v @ rbm.visible_bias + np.log1p(np.exp(rbm.hidden_bias + v @ rbm.weights)).sum(1)


def test_an_update_that_is_not_finite_is_rejected():
    before = start(reference_rbm(6, 3, 0.5))
    broken = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), jax.device_get(before.rbm))
    assert reviewed(KeepsEquilibrium(), before, step(before, broken)).n_rejected == 1


def gaussian_rbm(strength, units=None):
    units = Gaussian(0.7) if units is None else units
    return RBM(jnp.asarray(strength * np.eye(5, 3)), jnp.zeros(5), jnp.zeros(3), units, units)


@pytest.mark.parametrize(("target", "fraction"), [(1.4, 1.0), (1.5, 0.5), (3.0, 0.0625), (1e9, None)])
def test_an_update_across_the_border_of_finite_z_is_halved_until_it_is_inside(x64, target, fraction):
    """With variances 0.7 the border is at singular values of 1/0.7 = 1.4286."""
    before, after_rbm = start(gaussian_rbm(1.3)), gaussian_rbm(target)
    shortened = reviewed(KeepsFiniteZ(), before, step(before, after_rbm))
    part = 0.0 if fraction is None else fraction
    expected = (1 - part) * np.asarray(before.rbm.weights) + part * np.asarray(after_rbm.weights)
    np.testing.assert_allclose(shortened.rbm.weights, expected, rtol=1e-14)
    assert np.isfinite(jax.jit(exact_log_z)(shortened.rbm))
    assert int(shortened.n_rejected) == (fraction != 1.0)


@pytest.mark.parametrize("pair", [(ReLU(0.7), ReLU(0.7)), (Gaussian(0.7), ReLU(0.7))], ids=str)
def test_relu_units_have_the_gaussian_border(pair):
    def rbm(strength):
        return dataclasses.replace(gaussian_rbm(strength), visible_units=pair[0], hidden_units=pair[1])

    before = start(rbm(1.0))
    assert reviewed(KeepsFiniteZ(), before, step(before, rbm(1.42))).n_rejected == 0
    assert reviewed(KeepsFiniteZ(), before, step(before, rbm(1.44))).n_rejected == 1


def test_rbms_with_a_discrete_layer_are_left_alone():
    rbm = init_rbm(jax.random.key(0), 9, 4, visible_units=Gaussian(), hidden_units=Bernoulli())
    before = start(rbm)
    after = step(before, jax.tree.map(lambda leaf: 100 * leaf, jax.device_get(rbm)))
    same_bits(reviewed(KeepsFiniteZ(), before, after), after)


def test_training_of_gaussian_units_stays_where_z_is_finite():
    """The rate is far too high for the data: without a review the run diverges."""
    data = 2.0 * np.random.default_rng(0).normal(size=(50, 5)) @ np.diag([2, 1, 1, 1, 1])
    careful = Trainer.euler(PCD(), 1.0, review=KeepsFiniteZ())
    state = start(gaussian_rbm(0.1, Gaussian()))
    end, _ = fit(jax.random.key(2), careful, state, data, n_updates=50)
    assert np.isfinite(jax.jit(exact_log_z)(end.rbm))
    assert end.n_rejected > 0
    _, path = fit(jax.random.key(2), Trainer.euler(PCD(), 1.0), state, data, n_updates=50)
    assert path.status == Status.NON_FINITE


def test_a_review_of_ones_own_is_called_with_the_states_around_the_update():
    def halve(before, after):
        rbm = jax.tree.map(lambda old, new: (old + new) / 2, before.rbm, after.rbm)
        return dataclasses.replace(after, rbm=rbm, n_rejected=after.n_rejected + 1)

    state = start(reference_rbm(9, 3, 0.5))
    update = eqx.filter_jit(train_step)
    half, _ = update(jax.random.key(0), Trainer.euler(PCD(), 0.1, review=halve), state, DATA)
    whole, _ = update(jax.random.key(0), Trainer.euler(PCD(), 0.05), state, DATA)
    np.testing.assert_allclose(half.rbm.weights, whole.rbm.weights, atol=1e-6)
    assert half.n_rejected == 1
