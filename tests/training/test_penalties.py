"""Penalties against autodiff, and what they do to a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Batches, Centered, Spin, Trainer, fit, init_rbm
from rbm_jax.data import bars_and_stripes
from rbm_jax.training import Exact, Optimizer, penalize_weights, penalized_sgd, weight_penalty
from tests.helpers import reference_rbm, tolerance

STRENGTHS = {"l1": 0.3, "l2": 0.2, "group": 0.5}


def zeros_like(rbm):
    return jax.tree.map(np.zeros_like, jax.device_get(rbm))


@pytest.mark.parametrize("name", STRENGTHS)
def test_penalty_adds_its_derivative_to_the_gradient_of_the_weights_alone(name, dtype):
    rbm = reference_rbm(6, 4, 0.7, Spin(), dtype=dtype)
    strength = {name: STRENGTHS[name]}
    transform = penalize_weights(**strength)
    updates, _ = jax.jit(transform.update)(zeros_like(rbm), transform.init(rbm), rbm)
    expected = jax.jit(jax.grad(lambda weights: weight_penalty(weights, **strength)))(rbm.weights)
    assert updates.weights.dtype == dtype
    np.testing.assert_allclose(updates.weights, expected, rtol=tolerance(dtype))
    assert not np.any(updates.visible_bias)
    assert not np.any(updates.hidden_bias)


def test_value_of_the_penalty():
    weights = jnp.array([[3.0, 0.0], [-4.0, 0.0]])
    assert weight_penalty(weights, l1=1.0, l2=2.0, group=10.0) == 7 + 25 + 50


def test_without_weights_derivatives_are_zero_and_finite():
    rbm = reference_rbm(6, 4, 0.0, Spin())
    transform = penalize_weights(**STRENGTHS)
    updates, _ = jax.jit(transform.update)(zeros_like(rbm), transform.init(rbm), rbm)
    assert not np.any(updates.weights)
    assert not jax.jit(jax.grad(lambda weights: weight_penalty(weights, **STRENGTHS)))(rbm.weights).any()


def trained(**strengths):
    trainer = Trainer(Exact(Centered()), Optimizer(penalized_sgd, 0.2, **strengths))
    state = trainer.init(jax.random.key(1), init_rbm(jax.random.key(0), 9, 6, scale=0.1))
    state, _ = fit(jax.random.key(2), trainer, state, Batches(bars_and_stripes(3)), n_updates=1500)
    return np.asarray(state.rbm.weights)


def test_each_penalty_shrinks_what_it_is_for():
    plain = trained()
    assert np.square(trained(l2=0.03)).sum() < 0.8 * np.square(plain).sum()
    sparse = trained(l1=0.03)
    assert (abs(sparse) < 0.05).mean() > (abs(plain) < 0.05).mean() + 0.2
    norms = np.linalg.norm(trained(group=0.1), axis=0)
    assert norms.min() < 0.2 * np.linalg.norm(plain, axis=0).min()


def test_mistakes_are_named(unchecked):
    with pytest.raises(ValueError, match="l1 must be at least 0"):
        penalize_weights(l1=-1.0)
    with pytest.raises(TypeError, match="group must be a positive number"):
        penalize_weights(group="strong")
    transform, rbm = penalize_weights(l2=0.1), reference_rbm(6, 4, 0.7)
    with pytest.raises(ValueError, match="needs the parameters"):
        transform.update(rbm, transform.init(rbm))
