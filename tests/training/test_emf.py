"""Extended mean-field training: gradients of the solved free energy, error orders, and training on digits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    RBM,
    Batches,
    Bernoulli,
    Centered,
    Gaussian,
    Spin,
    Trainer,
    fit,
    init_rbm,
    solve_mean_field,
    stack_rbms,
    visible_free_energy,
)
from rbm_jax.data import binarize, load_digits
from rbm_jax.mean_field import log_state_weights, mean_field_moments
from rbm_jax.model import exact_moments
from rbm_jax.training import EMF, PCD
from tests.helpers import reference_rbm, slow_but, tolerance

per_order = pytest.mark.parametrize("order", [1, 2, 3])


@eqx.filter_jit
def gradient_of(estimator, rbm, data, carry):
    """One program for all estimators of equal options."""
    return estimator(None, rbm, data, carry)


solve = jax.jit(solve_mean_field, static_argnames="order")
LEAVES = ("weights", "visible_bias", "hidden_bias")


def data_for(units, n_visible):
    bits = np.random.default_rng(0).random((7, n_visible)) < 0.4
    return bits * 1.0 if units == Bernoulli() else 2.0 * bits - 1


PAIRS = {"0/1": (Bernoulli(), Bernoulli()), "spins": (Spin(), Spin()), "spins, real": (Spin(), Gaussian(0.7))}


@pytest.mark.parametrize(
    ("order", "pair"),
    slow_but(
        [(1, "spins"), (2, "spins"), (3, "0/1"), (3, "spins, real")],
        [(order, pair) for order in (1, 2, 3) for pair in PAIRS],
    ),
)
def test_gradient_is_that_of_the_solved_free_energy(order, pair, x64):
    rbm, data = reference_rbm(4, 3, 0.4, *PAIRS[pair]), data_for(PAIRS[pair][0], 4)
    chains = solve(rbm, order=order, tol=1e-14).visible[None]
    gradient, _ = gradient_of(EMF(order, 100), rbm, data, chains)

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


@pytest.mark.parametrize(
    ("order", "units"),
    slow_but(
        [(1, Bernoulli()), (2, Spin()), (3, Bernoulli())],
        [(order, units) for order in (1, 2, 3) for units in (Bernoulli(), Spin())],
    ),
    ids=str,
)
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
    _, once = gradient_of(EMF(order, 1), rbm, data, chains)
    np.testing.assert_allclose(once[0], solved, atol=1e-9)
    _, later = gradient_of(EMF(order, 60), rbm, data, chains)
    np.testing.assert_allclose(later[1], solved, atol=1e-6)


def test_without_persistence_it_starts_at_the_data():
    rbm, data = reference_rbm(4, 3, 0.4), data_for(Bernoulli(), 4)
    chains = jnp.zeros((5, 4))
    gradient, kept = gradient_of(EMF(n_sweeps=2, persistent=False), rbm, data, chains)
    np.testing.assert_array_equal(kept, chains)
    persistent, _ = gradient_of(EMF(n_sweeps=2), rbm, data, jnp.asarray(data))
    np.testing.assert_allclose(gradient.weights, persistent.weights, atol=tolerance("float32"))


def test_distinct_states_are_averaged_by_their_free_energy(x64):
    rbm = RBM(jnp.full((6, 5), 0.3), jnp.full(6, 0.02), jnp.zeros(5), Spin(), Spin())
    states = solve(rbm, init=jnp.stack([jnp.ones(6), -jnp.ones(6)]), tol=1e-14)
    assert states.visible[0, 0] > 0.3 > -0.3 > states.visible[1, 0]
    chains = states.visible[jnp.array([0, 1, 1, 1])]
    data = data_for(Spin(), 6)
    weighted, _ = gradient_of(EMF(n_sweeps=50, distinct_states=True), rbm, data, chains)
    plain, _ = gradient_of(EMF(n_sweeps=50), rbm, data, chains)
    share = jax.nn.softmax(-states.free_energy)
    np.testing.assert_allclose(weighted.visible_bias + data.mean(0), share @ states.visible, atol=1e-9)
    np.testing.assert_allclose(plain.visible_bias + data.mean(0), jnp.array([0.25, 0.75]) @ states.visible, atol=1e-9)
    np.testing.assert_allclose(jax.nn.softmax(log_state_weights(states.free_energy, states.visible)), share)


@pytest.mark.parametrize("wide_default", [False, True], ids=["x64 off", "x64 on"])
def test_single_precision_is_kept_and_many_rbms_are_trained_at_once(wide_default):
    jax.config.update("jax_enable_x64", wide_default)
    rbms = [reference_rbm(4, 3, strength, dtype=jnp.float32) for strength in (0.2, 0.4)]
    data, chains = data_for(Bernoulli(), 4), jnp.ones((5, 4), jnp.float32)
    together, moved = jax.jit(jax.vmap(lambda rbm: EMF()(None, rbm, data, chains)))(stack_rbms(rbms))
    assert moved.dtype == together.weights.dtype == jnp.float32
    for index, rbm in enumerate(rbms):
        alone, _ = gradient_of(EMF(), rbm, data, chains)
        np.testing.assert_allclose(together.weights[index], alone.weights, atol=tolerance(jnp.float32))


def test_pcd_and_emf_learn_the_same_leading_modes_early():
    data = binarize(load_digits())
    rbm = init_rbm(jax.random.key(0), 64, 12, visible_mean=data.mean(0))
    batches, values = Batches(data, batch_size=500), {}
    for name, estimator in {
        "pcd": PCD(n_sweeps=3, metric=Centered()),
        "emf-1": EMF(order=1, metric=Centered()),
        "emf-2": EMF(order=2, metric=Centered()),
        "emf-3": EMF(order=3, metric=Centered()),
    }.items():
        trainer = Trainer.euler(estimator, 0.1)
        state = trainer.init(jax.random.key(1), rbm, n_chains=500)
        _, path = fit(jax.random.key(2), trainer, state, batches, n_updates=200, save_at=(100, 200))
        values[name] = np.linalg.svd(path.rbms.weights, compute_uv=False)[:, :5]
    # the leading value has grown from 0.1 to 1.5 at t = 20, where the quickest mode is about to saturate
    assert values["pcd"][1, 0] > 10 * values["pcd"][0, 4]
    for name in ("emf-2", "emf-3"):
        np.testing.assert_allclose(values[name][0], values["pcd"][0], rtol=0.02)
        np.testing.assert_allclose(values[name][1], values["pcd"][1], rtol=0.04)
    # naive mean field has no threshold
    assert (values["emf-1"][1, :3] > 2 * values["pcd"][1, :3]).all()


@pytest.mark.parametrize(
    ("options", "message"), [({"order": 4}, "order must be"), ({"n_sweeps": 0}, "n_sweeps must be at least 1")]
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EMF(**options)(None, reference_rbm(4, 3, 0.3), np.zeros((2, 4)), np.zeros((2, 4)))


def test_chains_that_do_not_fit_are_refused(unchecked):
    with pytest.raises(ValueError, match="carry must have 4 units"):
        EMF()(None, reference_rbm(4, 3, 0.3), np.zeros((2, 4)), np.zeros((2, 3)))
