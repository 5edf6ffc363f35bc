"""Training, files and theories with Potts and ReLU units."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax
from rbm_jax import PCD, Batches, Bernoulli, Centered, Gaussian, Potts, ReLU, Spin, Standardized, Trainer
from rbm_jax.io import load_rbm, save_rbm
from rbm_jax.model import Plain
from rbm_jax.replica import Control, replica_free_energy, solve_saddle
from rbm_jax.training import EMF
from tests.helpers import reference_rbm

PAIR = (Potts(3), ReLU(0.8))
# three sites in step with each other, but for one in seven
SITES = (np.arange(42)[:, None] + np.array([0, 1, 2]) * (np.arange(42)[:, None] % 7 != 0)) % 3
DATA = np.eye(3, dtype=np.uint8)[SITES].reshape(42, 9)


def test_training_by_pcd_raises_the_likelihood_of_one_hot_data():
    rbm = rbm_jax.init_rbm(
        jax.random.key(0), 9, 6, visible_units=PAIR[0], hidden_units=PAIR[1], scale=0.1, visible_mean=DATA.mean(0)
    )
    trainer = Trainer.euler(PCD(metric=Centered()), 0.05)
    state = trainer.init(jax.random.key(1), rbm, n_chains=100)
    state, _ = rbm_jax.fit(jax.random.key(2), trainer, state, Batches(DATA), n_updates=300)
    before, after = (jax.jit(rbm_jax.exact_log_likelihood)(model, DATA) for model in (rbm, state.rbm))
    assert after > before + 0.5
    assert PAIR[0].contains(state.carry).all()


@pytest.mark.parametrize(("column", "value"), [(4, 1), (4, 2)])
def test_data_that_are_not_one_hot_are_refused(column, value):
    bad = DATA.copy()
    bad[5, 3:6] = 0, 0, 1
    bad[5, column] = value
    trainer = Trainer.euler(PCD(), 0.1)
    state = trainer.init(jax.random.key(1), reference_rbm(9, 2, 0.1, *PAIR), n_chains=4)
    with pytest.raises(
        ValueError, match=r"one-hot in each group of 3 columns .* at row 5, column 3; see rbm_jax.data.one_hot"
    ):
        rbm_jax.fit(jax.random.key(2), trainer, state, Batches(bad), n_updates=1)


def test_standardized_and_plain_gradient_descend_together():
    rbm = reference_rbm(9, 4, 0.3, *PAIR)
    moments = jax.jit(rbm_jax.model.conditional_moments)
    data, model = moments(rbm, DATA), moments(rbm, np.eye(3, dtype=np.uint8)[(SITES + np.arange(3)) % 3].reshape(42, 9))
    plain, scaled = jax.device_get([jax.jit(metric)(rbm, data, model) for metric in (Plain(), Standardized())])
    pairs = zip(jax.tree.leaves(plain), jax.tree.leaves(scaled), strict=True)
    assert sum((first * second).sum() for first, second in pairs) > 0


@pytest.mark.slow
def test_replica_exchange_and_its_log_z():
    rbm = reference_rbm(9, 4, 0.4, *PAIR)
    estimate = rbm_jax.likelihood.tempering_log_z(jax.random.key(0), rbm, data=DATA, n_rungs=4, n_chains=20, n_steps=60)
    assert abs(estimate.value - rbm_jax.exact_log_z(rbm)) < 5 * estimate.std_error
    assert estimate.std_error < 0.1


def test_bfloat16_products_take_one_hot_states_and_no_continuous_ones():
    rbm = reference_rbm(9, 6, 0.3, PAIR[0], PAIR[0])
    rounded = dataclasses.replace(rbm, weights=rbm.weights.astype(jnp.bfloat16).astype(jnp.float32))
    found = rbm_jax.model.conditional_moments(rbm, DATA, compute_dtype=jnp.bfloat16)
    np.testing.assert_allclose(found.product, rbm_jax.model.conditional_moments(rounded, DATA).product, atol=1e-5)
    samples = rbm_jax.sample_gibbs(jax.random.key(0), rbm, DATA, n_sweeps=2, compute_dtype=jnp.bfloat16)
    np.testing.assert_array_equal(samples, rbm_jax.sample_gibbs(jax.random.key(0), rounded, DATA, n_sweeps=2))
    with pytest.raises(TypeError, match="continuous units"):
        rbm_jax.sample_gibbs(
            jax.random.key(0), reference_rbm(9, 4, 0.3, *PAIR), DATA, n_sweeps=2, compute_dtype="bfloat16"
        )


def test_files_keep_the_units_and_their_arguments(tmp_path):
    rbm = reference_rbm(8, 2, 0.3, Potts(4), ReLU(0.3))
    save_rbm(tmp_path / "rbm.h5", rbm)
    loaded, _ = load_rbm(tmp_path / "rbm.h5")
    assert (loaded.visible_units, loaded.hidden_units) == (Potts(4), ReLU(0.3))
    np.testing.assert_array_equal(loaded.weights, rbm.weights)


def test_mean_field_training_and_its_orders():
    rbm = reference_rbm(9, 3, 0.1, PAIR[0], Spin())  # the error is of the order of the cube of the couplings
    gradient, _ = jax.jit(lambda rbm: EMF(n_sweeps=20)(None, rbm, DATA, DATA.astype(np.float32)))(rbm)
    expected = jax.jit(rbm_jax.model.exact_gradient)(rbm, DATA)
    np.testing.assert_allclose(gradient.weights, expected.weights, atol=1e-3)
    for function in (
        lambda: EMF(order=3)(None, rbm, DATA, DATA),
        lambda: rbm_jax.solve_mean_field(rbm, order=3),
        lambda: rbm_jax.mean_field.mean_field_hessian(rbm, np.ones(9) / 3, np.zeros(3), order=3),
    ):
        with pytest.raises(ValueError, match="order 3 does not support Potts"):
            function()


def test_a_continuous_layer_that_the_couplings_make_too_wide_has_no_free_energy():
    rbm = reference_rbm(3, 2, 0.1, Gaussian(), ReLU())
    wide = dataclasses.replace(rbm, weights=jnp.full((3, 2), 2.0))
    point = jnp.ones(3), jnp.ones(2)
    free_energy = jax.jit(rbm_jax.mean_field.mean_field_free_energy)
    assert np.isfinite(free_energy(rbm, *point))
    assert np.isnan(free_energy(wide, *point))


@pytest.mark.slow
def test_replica_free_energy_is_stationary_for_relu_units(x64):
    control, units = Control(jnp.array([0.8]), noise=0.4), {"visible_units": Bernoulli(), "hidden_units": ReLU(0.8)}
    order = solve_saddle(control, **units)
    assert order.converged
    slope = jax.grad(lambda order: replica_free_energy(order, control, **units))(
        dataclasses.replace(order, converged=jnp.ones(()))
    )
    for name in ("m_visible", "m_hidden", "q_visible", "q_hidden"):
        np.testing.assert_allclose(getattr(slope, name), 0, atol=1e-9)


def test_two_states_are_learned_as_a_bernoulli_unit(x64):
    """The exact gradient in a Potts(2) unit's state 1 is that of the 0/1 unit."""
    rbm = reference_rbm(3, 2, 0.7, Bernoulli(), ReLU(0.8))
    zero_and = lambda leaf: np.stack([0 * np.asarray(leaf), leaf], axis=1)  # noqa: E731
    weights, bias = zero_and(rbm.weights).reshape(6, 2), zero_and(rbm.visible_bias).ravel()
    potts = rbm_jax.RBM(jnp.asarray(weights), jnp.asarray(bias), rbm.hidden_bias, Potts(2), rbm.hidden_units)
    v = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1]])
    one_hot = np.stack([1 - v, v], axis=-1).reshape(3, 6)
    gradient = jax.jit(rbm_jax.model.exact_gradient)
    found, expected = jax.device_get((gradient(potts, one_hot), gradient(rbm, v)))
    np.testing.assert_allclose(found.weights[1::2], expected.weights, atol=1e-12)
    np.testing.assert_allclose(found.hidden_bias, expected.hidden_bias, atol=1e-12)
    pseudo = jax.jit(rbm_jax.pseudo_log_likelihood)
    np.testing.assert_allclose(pseudo(potts, one_hot), pseudo(rbm, v), rtol=1e-12)
