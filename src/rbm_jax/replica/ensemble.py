"""The statistical ensemble of weights: W = Σ_α w_α u_α v_αᵀ + r.

Modes are u_iα = û_iα / √n_visible and v_jα = v̂_jα / √n_hidden, with independent components û, v̂ of mean 0 and
variance 1 from a component law; r_ij are independent normal numbers of variance σ²/L, L = √(n_visible n_hidden).

Source: Decelle, Fissore & Furtlehner (2018).
"""

import math

import jax
import jax.numpy as jnp

from rbm_jax._internal.checks import check_count, check_finite, check_positive
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import ArrayLike, Float, FloatLike, PRNGKey
from rbm_jax.model.rbm import RBM
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.spectral import Modes
from rbm_jax.units import AbstractUnits, Spin

__all__ = ["sample_ensemble"]


def sample_ensemble(
    key: PRNGKey,
    n_visible: int,
    n_hidden: int,
    singular_values: Float[ArrayLike, " n_modes"],
    noise: FloatLike,
    *,
    component_distribution: AbstractDistribution | None = None,
    visible_field: Float[ArrayLike, " n_modes"] | None = None,
    hidden_field: Float[ArrayLike, " n_modes"] | None = None,
    visible_units: AbstractUnits | None = None,
    hidden_units: AbstractUnits | None = None,
    dtype=None,
) -> tuple[RBM, Modes]:
    """One RBM of the ensemble, and the modes planted in it.

    Args:
        key: a JAX key.
        n_visible: number of visible units.
        n_hidden: number of hidden units.
        singular_values: strengths w_α, shape (n_modes,).
        noise: σ ≥ 0; entries of r have the variance σ²/L.
        component_distribution: law of û and v̂; `GaussianDistribution()` by default.
        visible_field: â_α, for visible biases Σ_α â_α û_iα; none by default, shape (n_modes,).
        hidden_field: b̂_α, for hidden biases Σ_α b̂_α v̂_jα; none by default, shape (n_modes,).
        visible_units: `Spin()` by default.
        hidden_units: `Spin()` by default.
        dtype: floating dtype; None for JAX's default.

    Returns:
        The RBM, and modes with left u_iα, values w_α and right v_jα. They are orthonormal up to terms of order 1/√n.

    Raises:
        ValueError: counts below 1, or fields of another number of modes.
    """
    n_visible, n_hidden = check_count("n_visible", n_visible), check_count("n_hidden", n_hidden)
    check_positive("noise", noise, or_zero=True)
    law = GaussianDistribution() if component_distribution is None else component_distribution
    dtype = jnp.zeros((), dtype).dtype
    strengths = jnp.asarray(singular_values, dtype)
    if strengths.ndim != 1:
        raise ValueError(f"singular_values must be a vector, one a mode, got shape {strengths.shape}")
    check_finite("singular_values", strengths)
    key_left, key_right, key_noise = jax.random.split(stream_key(key, Stream.ENSEMBLE), 3)
    left = law.sample(key_left, (n_visible, len(strengths)), dtype)
    right = law.sample(key_right, (n_hidden, len(strengths)), dtype)
    modes = Modes(left / math.sqrt(n_visible), strengths, right / math.sqrt(n_hidden))
    random = jax.random.normal(key_noise, (n_visible, n_hidden), dtype) / (n_visible * n_hidden) ** 0.25
    weights = (modes.left * strengths) @ modes.right.T + jnp.asarray(noise, dtype) * random
    rbm = RBM(
        weights,
        _bias("visible_field", left, visible_field, dtype),
        _bias("hidden_field", right, hidden_field, dtype),
        Spin() if visible_units is None else visible_units,
        Spin() if hidden_units is None else hidden_units,
    )
    return rbm, modes


def _bias(name: str, components, field, dtype):
    if field is None:
        return jnp.zeros(components.shape[0], dtype)
    field = jnp.asarray(field, dtype)
    if field.shape != components.shape[1:]:
        raise ValueError(f"{name} must have shape {components.shape[1:]}, one a mode, got {field.shape}")
    return components @ field
