"""Extended mean-field training: gradients of the solved free energy, error orders, and training on digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import (
    RBM,
    Bernoulli,
    Gaussian,
    Spin,
    fit,
    init_rbm,
    solve_mean_field,
    stack_rbms,
    svd_modes,
    visible_free_energy,
)
from rbm_jax.data import binarize, load_digits
from rbm_jax.mean_field import log_state_weights, mean_field_moments
from rbm_jax.model import exact_moments
from rbm_jax.training import init_train_state, pcd
from rbm_jax.training.estimators import emf
from tests.helpers import reference_rbm

per_order = pytest.mark.parametrize("order", [1, 2, 3])
gradient_of = jax.jit(emf, static_argnames=("order", "n_steps", "persistent", "distinct_states", "centered"))
solve = jax.jit(solve_mean_field, static_argnames="order")
LEAVES = ("weights", "visible_bias", "hidden_bias")


def data_for(units, n_visible):
    bits = np.random.default_rng(0).random((7, n_visible)) < 0.4
    return bits * 1.0 if units == Bernoulli() else 2.0 * bits - 1


@per_order
@pytest.mark.parametrize("pair", [(Bernoulli(), Bernoulli()), (Spin(), Spin()), (Spin(), Gaussian(0.7))], ids=str)
def test_gradient_is_that_of_the_solved_free_energy(order, pair, x64):
    rbm, data = reference_rbm(4, 3, 0.4, *pair), data_for(pair[0], 4)
    chains = solve(rbm, order=order, tol=1e-14).visible[None]
    gradient, _ = gradient_of(None, rbm, data, chains, order=order, n_steps=100)

    @jax.jit
    def negative_log_likelihood(rbm):
        return visible_free_energy(rbm, data).mean() - solve_mean_field(rbm, order=order, tol=1e-14).free_energy

    for name in LEAVES:
        shape = getattr(rbm, name).shape
        direction = jnp.cos(jnp.arange(np.prod(shape), dtype=float)).reshape(shape)
        moved = [with_leaf(rbm, name, getattr(rbm, name) + sign * 1e-5 * direction) for sign in (1, -1)]
        difference = (negative_log_likelihood(moved[0]) - negative_log_likelihood(moved[1])) / 2e-5
        np.testing.assert_allclose((getattr(gradient, name) * direction).sum(), difference, atol=1e-8)


def with_leaf(rbm, name, value):
    leaves = {field: getattr(rbm, field) for field in LEAVES} | {name: value}
    return RBM(**leaves, visible_units=rbm.visible_units, hidden_units=rbm.hidden_units)


@per_order
@pytest.mark.parametrize("units", [Bernoulli(), Spin()], ids=str)
def test_error_of_the_gradient_is_of_the_order_of_the_expansion(order, units, x64):
    def error(strength):
        rbm = reference_rbm(4, 3, strength, units)
        rbm = with_leaf(with_leaf(rbm, "visible_bias", rbm.visible_bias + 0.6), "hidden_bias", rbm.hidden_bias - 0.5)
        solution = solve(rbm, order=order, tol=1e-14)
        moments = mean_field_moments(rbm, solution.visible, solution.hidden, order=order)
        return float(jnp.abs(moments.product - exact_moments(rbm).product).max())

    assert abs(np.log2(error(0.02) / error(0.01)) - order) < 0.1


@per_order
def test_solved_magnetizations_stay_and_others_approach_them(order, x64):
    rbm, data = reference_rbm(6, 5, 0.4, Spin()), data_for(Spin(), 6)
    solved = solve(rbm, order=order, tol=1e-14).visible
    chains = jnp.stack([solved, jnp.ones(6)])
    _, once = gradient_of(None, rbm, data, chains, order=order, n_steps=1)
    np.testing.assert_allclose(once[0], solved, atol=1e-9)
    _, later = gradient_of(None, rbm, data, chains, order=order, n_steps=60)
    np.testing.assert_allclose(later[1], solved, atol=1e-6)


def test_without_persistence_it_starts_at_the_data():
    rbm, data = reference_rbm(4, 3, 0.4), data_for(Bernoulli(), 4)
    chains = jnp.zeros((5, 4))
    gradient, kept = gradient_of(None, rbm, data, chains, persistent=False, n_steps=2)
    np.testing.assert_array_equal(kept, chains)
    persistent, _ = gradient_of(None, rbm, data, jnp.asarray(data), n_steps=2)
    np.testing.assert_array_equal(gradient.weights, persistent.weights)


def test_distinct_states_are_averaged_by_their_free_energy(x64):
    rbm = RBM(jnp.full((6, 5), 0.3), jnp.full(6, 0.02), jnp.zeros(5), Spin(), Spin())
    states = solve(rbm, init=jnp.stack([jnp.ones(6), -jnp.ones(6)]), tol=1e-14)
    assert states.visible[0, 0] > 0.3 > -0.3 > states.visible[1, 0]
    chains = states.visible[jnp.array([0, 1, 1, 1])]
    data = data_for(Spin(), 6)
    weighted, _ = gradient_of(None, rbm, data, chains, distinct_states=True, n_steps=50)
    plain, _ = gradient_of(None, rbm, data, chains, n_steps=50)
    share = jax.nn.softmax(-states.free_energy)
    np.testing.assert_allclose(weighted.visible_bias + data.mean(0), share @ states.visible, atol=1e-9)
    np.testing.assert_allclose(plain.visible_bias + data.mean(0), jnp.array([0.25, 0.75]) @ states.visible, atol=1e-9)
    np.testing.assert_allclose(jax.nn.softmax(log_state_weights(states.free_energy, states.visible)), share)


@pytest.mark.parametrize("wide_default", [False, True], ids=["x64 off", "x64 on"])
def test_single_precision_is_kept_and_many_rbms_are_trained_at_once(wide_default):
    jax.config.update("jax_enable_x64", wide_default)
    rbms = [reference_rbm(4, 3, strength, dtype=jnp.float32) for strength in (0.2, 0.4)]
    data, chains = data_for(Bernoulli(), 4), jnp.ones((5, 4), jnp.float32)
    together, moved = jax.jit(jax.vmap(lambda rbm: emf(None, rbm, data, chains)))(stack_rbms(rbms))
    assert moved.dtype == together.weights.dtype == jnp.float32
    for index, rbm in enumerate(rbms):
        alone, _ = gradient_of(None, rbm, data, chains)
        np.testing.assert_allclose(together.weights[index], alone.weights, atol=1e-6)


def test_pcd_and_emf_learn_the_same_leading_modes_early():
    data = binarize(load_digits())
    rbm = init_rbm(jax.random.key(0), 64, 12, visible_mean=data.mean(0))
    optimizer = optax.sgd(0.1)
    values = {}
    for name, estimator in {
        "pcd": functools.partial(pcd, n_sweeps=3, centered=True),
        "emf-1": functools.partial(emf, order=1, centered=True),
        "emf-2": functools.partial(emf, order=2, centered=True),
        "emf-3": functools.partial(emf, order=3, centered=True),
    }.items():
        state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=500)
        options = {"estimator": estimator, "optimizer": optimizer, "n_updates": 200, "batch_size": 500}
        _, path = fit(jax.random.key(2), state, data, save_at=(100, 200), time_step=0.1, **options)
        values[name] = np.asarray(jax.vmap(svd_modes)(path.rbms.weights).values)[:, :5]
    # the leading value has grown from 0.1 to 1.5 at t = 20, where the quickest mode is about to saturate
    assert values["pcd"][1, 0] > 10 * values["pcd"][0, 4]
    for name in ("emf-2", "emf-3"):
        np.testing.assert_allclose(values[name][0], values["pcd"][0], rtol=0.02)
        np.testing.assert_allclose(values[name][1], values["pcd"][1], rtol=0.04)
    # naive mean field has no threshold
    assert (values["emf-1"][1, :3] > 2 * values["pcd"][1, :3]).all()


@pytest.mark.parametrize(
    ("options", "message"), [({"order": 4}, "order must be"), ({"n_steps": 0}, "n_steps must be at least 1")]
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        emf(None, reference_rbm(4, 3, 0.3), np.zeros((2, 4)), np.zeros((2, 4)), **options)


def test_chains_that_do_not_fit_are_refused(unchecked):
    with pytest.raises(ValueError, match="chains must have 4 units"):
        emf(None, reference_rbm(4, 3, 0.3), np.zeros((2, 4)), np.zeros((2, 3)))
