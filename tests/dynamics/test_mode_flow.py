"""The flow on (U, σ, V) against the flow of W, through crossings."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Gaussian, Spin, Status, init_rbm
from rbm_jax.data import bars_and_stripes
from rbm_jax.dynamics import DataStatistics, exact_force, gaussian_force, integrate, integrate_modes
from tests.helpers import close_leaves, slow_but

TIMES = np.linspace(0, 8, 9)
integrate_jit = eqx.filter_jit(integrate)


@functools.cache
def bases(n_visible, n_hidden):
    rng = np.random.default_rng(0)
    return np.linalg.qr(rng.normal(size=(n_visible, n_visible)))[0], np.linalg.qr(
        rng.normal(size=(n_hidden, n_hidden))
    )[0]


def crossing(n_visible, n_hidden, tilt):
    """A linear RBM whose strongest mode at the start is that of the weakest direction of the data, and so on."""
    left, right = bases(n_visible, n_hidden)
    n_modes = min(n_visible, n_hidden)
    spectrum = np.concatenate([[3, 2, 1.5, 1.2], np.full(n_visible, 0.8)])[:n_visible]
    start = np.array([0.05, 0.1, 0.2, 0.4])[:n_modes]
    weights = (left[:, :n_modes] * start) @ right[:, :n_modes].T
    weights = weights + tilt * np.random.default_rng(1).normal(size=weights.shape)
    biases = jnp.zeros(n_visible), jnp.zeros(n_hidden)
    rbm = RBM(jnp.asarray(weights), *biases, Gaussian(1.0), Gaussian(1.0))
    statistics = DataStatistics(jnp.zeros(n_visible), jnp.asarray((left * spectrum) @ left.T))
    return rbm, gaussian_force(statistics)


@pytest.mark.parametrize("shape", slow_but([((6, 4),)], [((6, 4),), ((4, 6),), ((4, 4),)]), ids=str)
@pytest.mark.parametrize("tilt", [0.0, 1e-3], ids=["crossings", "avoided crossings"])
def test_flow_on_modes_is_the_flow_of_the_weights_through_crossings(shape, tilt, x64):
    rbm, force = crossing(*shape, tilt)
    reference = integrate_jit(force, rbm, TIMES, rtol=1e-11)
    flow = integrate_modes(force, rbm, TIMES, rtol=1e-10)
    assert flow.status == Status.SUCCESS
    np.testing.assert_allclose(flow.rbms.weights, reference.rbms.weights, atol=1e-8)
    record = flow.observations
    assert record.drift < 1e-8
    assert 0 < record.n_weight_steps < record.n_steps
    rebuilt = np.einsum("tia,ta,tja->tij", record.modes.left, record.modes.values, record.modes.right)
    np.testing.assert_allclose(rebuilt, reference.rbms.weights, atol=1e-8)


def test_modes_keep_their_identity_through_a_crossing(x64):
    rbm, force = crossing(6, 4, 0.0)
    modes = integrate_modes(force, rbm, TIMES, rtol=1e-10).observations.modes
    # Aligned modes do not turn, so each keeps its direction, and the order of the values is reversed by the end.
    for vectors in (modes.left, modes.right):
        np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], vectors.shape), atol=1e-6)
    assert (np.diff(modes.values[0]) < 0).all()
    assert (np.diff(modes.values[-1]) > 0).all()


def test_modes_trade_places_at_an_avoided_crossing(x64):
    rbm, force = crossing(6, 4, 1e-3)
    modes = integrate_modes(force, rbm, TIMES, rtol=1e-10, gap=0.0).observations.modes
    assert (np.diff(modes.values, axis=1) < 0).all()
    assert abs(modes.left[-1, :, 0] @ bases(6, 4)[0][:, 0]) > 0.99  # now the strongest direction of the data


def test_drift_stays_small_at_loose_tolerances_too(dtype):
    rbm, force = crossing(6, 4, 1e-3)
    rbm = jax.tree.map(lambda leaf: leaf.astype(dtype), rbm)
    flow = integrate_modes(force, rbm, TIMES, rtol=1e-3)
    assert flow.status == Status.SUCCESS
    # In float32, products of 6 components each, of vectors that a decomposition has made orthonormal to some roundings.
    assert flow.observations.drift < (1e-8 if dtype == jnp.float64 else 10 * 6 * 2**-24)
    assert flow.rbms.weights.dtype == dtype


@pytest.mark.slow  # as learned variances do, with biases, in test_learned_units
def test_biases_flow_too(x64):
    data = bars_and_stripes(3)
    rbm = init_rbm(jax.random.key(0), 9, 4, visible_units=Spin(), scale=0.5)
    force = exact_force(2.0 * data - 1)
    reference = integrate_jit(force, rbm, TIMES[:3], rtol=1e-10)
    close_leaves(integrate_modes(force, rbm, TIMES[:3], rtol=1e-9).rbms, reference.rbms, 1e-7)


def test_steps_on_weights_can_be_ruled_out_and_forced(x64):
    rbm, force = crossing(6, 4, 1e-3)
    without, only = (integrate_modes(force, rbm, TIMES, gap=gap) for gap in (0.0, 10.0))
    assert without.observations.n_weight_steps == 0
    assert only.observations.n_weight_steps == only.observations.n_steps
    np.testing.assert_allclose(without.rbms.weights, only.rbms.weights, atol=1e-5)


def test_flow_on_modes_works_under_jit_and_vmap(x64):
    rbm, force = crossing(6, 4, 1e-3)
    run = functools.partial(integrate_modes, force, ts=TIMES, rtol=1e-10)
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, np.multiply(0.5, leaf)]), rbm)
    together = jax.jit(jax.vmap(lambda rbm: run(rbm).rbms.weights))(stacked)
    np.testing.assert_allclose(together[0], run(rbm).rbms.weights, atol=1e-6)
    assert abs(together[0] - together[1]).max() > 1e-4


def test_running_out_of_steps_or_of_the_model_is_in_the_status(x64):
    rbm, force = crossing(6, 4, 1e-3)
    short = integrate_modes(force, rbm, TIMES, max_steps=20)
    assert short.status == Status.MAX_STEPS_REACHED
    assert jnp.isfinite(short.rbms.weights[0]).all()
    assert jnp.isnan(short.rbms.weights[-1]).all()
    beyond = jax.tree.map(lambda leaf: 10 * leaf, rbm)  # there the Gaussian model does not exist, and the force is NaN
    lost = integrate_modes(force, beyond, TIMES, rtol=1e-10)
    assert lost.status == Status.SOLVER_FAILED


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named():
    rbm, force = crossing(6, 4, 0.0)
    for options, named in (({"max_steps": 0}, "max_steps"), ({"gap": -1.0}, "gap"), ({"rtol": 0.0}, "rtol")):
        with pytest.raises(ValueError, match=named):
            integrate_modes(force, rbm, TIMES, **options)
    with pytest.raises(ValueError, match="ts must increase"):
        integrate_modes(force, rbm, TIMES[::-1])
