"""Making RBMs, and what a user may get wrong about them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import RBM, Bernoulli, Gaussian, Spin, init_rbm, stack_rbms, visible_free_energy
from tests.helpers import PAIRS, UNITS, reference_rbm, tolerance

KEY = jax.random.key(0)


@pytest.mark.parametrize(("visible", "hidden"), PAIRS, ids=str)
def test_initial_weights_have_their_scale_and_biases_are_zero(dtype, visible, hidden):
    rbm = init_rbm(KEY, 200, 300, visible_units=visible, hidden_units=hidden, scale=0.02)
    n = rbm.weights.size
    assert abs(rbm.weights.mean()) < 5 * 0.02 / np.sqrt(n)
    np.testing.assert_allclose(rbm.weights.std(), 0.02, rtol=5 / np.sqrt(2 * n))
    assert not rbm.visible_bias.any()
    assert not rbm.hidden_bias.any()
    assert {leaf.dtype for leaf in jax.tree.leaves(rbm)} == {dtype}
    assert (rbm.n_visible, rbm.n_hidden) == (200, 300)


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_visible_bias_gives_the_uncoupled_layer_the_means_of_the_data(dtype, units):
    mean = jnp.asarray([-0.5, 0.2, 0.9] if units != Bernoulli() else [0.1, 0.5, 0.9], dtype)
    rbm = init_rbm(KEY, 3, 2, visible_units=units, visible_mean=mean)
    np.testing.assert_allclose(units.mean(rbm.visible_bias), mean, rtol=tolerance(dtype))


def test_a_known_mean_is_checked_while_an_rbm_is_traced():
    make = jax.jit(lambda key, mean: init_rbm(key, 2, 2, visible_mean=np.array(mean)), static_argnums=1)
    np.testing.assert_allclose(make(KEY, (0.5, 0.5)).visible_bias, 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        make(KEY, (0.5, 1.5))


@pytest.mark.parametrize(("units", "edges"), [(Bernoulli(), [0.0, 1.0]), (Spin(), [-1.0, 1.0])], ids=str)
def test_constant_pixels_get_a_finite_bias(dtype, units, edges):
    rbm = init_rbm(KEY, 2, 2, visible_units=units, visible_mean=np.array(edges))
    expected = np.log(999) / (2 if units == Spin() else 1)
    np.testing.assert_allclose(rbm.visible_bias, [-expected, expected], rtol=1e-4)


def test_zero_scale_gives_independent_units():
    assert not init_rbm(KEY, 3, 2, scale=0).weights.any()


def test_dtype_can_be_chosen(x64):
    assert init_rbm(KEY, 3, 2).dtype == jnp.float64
    assert init_rbm(KEY, 3, 2, dtype=jnp.float32).dtype == jnp.float32


def test_rbm_is_a_pytree_of_three_arrays_for_jax_and_optax():
    rbm = reference_rbm(3, 2, 0.5)
    assert len(jax.tree.leaves(rbm)) == 3
    gradient = jax.grad(lambda rbm: visible_free_energy(rbm, jnp.ones(3)))(rbm)
    assert isinstance(gradient, RBM)
    optimizer = optax.adam(0.1)
    updates, _ = optimizer.update(gradient, optimizer.init(rbm), rbm)
    assert isinstance(optax.apply_updates(rbm, updates), RBM)


@pytest.mark.usefixtures("unchecked")
def test_rbm_can_be_a_specification_for_vmap():
    rbms = stack_rbms([reference_rbm(3, 2, strength) for strength in (0.1, 0.2)])
    axes = RBM(0, 0, 0, rbms.visible_units, rbms.hidden_units)
    energies = jax.vmap(visible_free_energy, in_axes=(axes, None))(rbms, jnp.ones(3))
    np.testing.assert_allclose(energies[1], visible_free_energy(reference_rbm(3, 2, 0.2), jnp.ones(3)), rtol=1e-6)


def test_stacked_rbms_have_a_leading_axis():
    rbms = [reference_rbm(3, 2, strength, Spin()) for strength in (0.1, 0.2, 0.3)]
    stacked = stack_rbms(rbms)
    assert stacked.weights.shape == (3, 3, 2)
    assert (stacked.n_visible, stacked.n_hidden) == (3, 2)
    np.testing.assert_array_equal(stacked.weights[1], rbms[1].weights)


BAD_STACKS = {
    "none": ([], "at least one"),
    "shapes": ([reference_rbm(3, 2, 0.1), reference_rbm(3, 3, 0.1)], "number 1"),
    "units": ([reference_rbm(3, 2, 0.1), reference_rbm(3, 2, 0.1, Spin())], "Spin"),
    "variances": ([reference_rbm(3, 2, 0.1, Gaussian(s)) for s in (1.0, 2.0)], "variance=2"),
}


@pytest.mark.parametrize(("rbms", "message"), BAD_STACKS.values(), ids=BAD_STACKS.keys())
def test_rbms_that_do_not_stack_are_described(rbms, message):
    with pytest.raises(ValueError, match=message):
        stack_rbms(rbms)


W, A, B = jnp.ones((3, 2)), jnp.ones(3), jnp.ones(2)
BAD_PARTS = {
    "swapped biases": ((W, B, A, Spin(), Spin()), ValueError, r"\(3, 2\), \(2,\) and \(3,\)"),
    "a vector of weights": ((A, A, B, Spin(), Spin()), ValueError, "n_visible, n_hidden"),
    "lists": (([[1.0]], [1.0], [1.0], Spin(), Spin()), TypeError, "list"),
    "integers": ((W.astype(int), A.astype(int), B.astype(int), Spin(), Spin()), TypeError, "int32"),
    "mixed dtypes": ((W.astype(jnp.bfloat16), A, B, Spin(), Spin()), TypeError, "bfloat16, float32"),
    "a class for units": ((W, A, B, Spin, Spin()), TypeError, "visible_units"),
    "a word for units": ((W, A, B, Spin(), "spin"), TypeError, "hidden_units"),
}


@pytest.mark.parametrize(("parts", "error", "message"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_parts_that_make_no_rbm_are_named(parts, error, message):
    with pytest.raises(error, match=message):
        RBM(*parts)


BAD_OPTIONS = {
    "no visible unit": ({"n_visible": 0}, ValueError, "n_visible"),
    "half a hidden unit": ({"n_hidden": 2.5}, TypeError, "n_hidden"),
    "true hidden units": ({"n_hidden": True}, TypeError, "n_hidden"),
    "negative scale": ({"scale": -1.0}, ValueError, "scale"),
    "infinite scale": ({"scale": float("inf")}, ValueError, "scale"),
    "means of another length": ({"visible_mean": np.zeros(4)}, ValueError, "3 units"),
    "means beyond the support": ({"visible_mean": np.array([0, 0.5, 1.5])}, ValueError, r"\[0, 1\]"),
    "means with NaN": ({"visible_mean": np.array([0, 0.5, np.nan])}, ValueError, "NaN"),
    "an integer dtype": ({"dtype": jnp.int32}, TypeError, "floating"),
}


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS.values(), ids=BAD_OPTIONS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_options_of_init_are_named(options, error, message):
    options = {"n_visible": 3, "n_hidden": 2, **options}
    with pytest.raises(error, match=message):
        init_rbm(KEY, options.pop("n_visible"), options.pop("n_hidden"), **options)
