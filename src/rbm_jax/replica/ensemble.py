"""The statistical ensemble of weights: W = Σ_α w_α u_α v_αᵀ + r.

Modes are u_iα = û_iα / √n_visible and v_jα = v̂_jα / √n_hidden, with independent components û, v̂ of mean 0 and
variance 1; r_ij are independent normal numbers of variance σ²/L, L = √(n_visible n_hidden).

Source: Decelle, Fissore & Furtlehner (2018).
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from rbm_jax._internal.checks import as_array, check_count, check_finite, check_positive
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, PRNGKey
from rbm_jax.model.rbm import RBM
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.spectral import Modes
from rbm_jax.units import AbstractUnits, Spin

__all__ = ["SpikedEnsemble", "as_mode_fields", "as_strengths"]

_GAUSSIAN, _SPIN = GaussianDistribution(), Spin()


class SpikedEnsemble(eqx.Module):
    """RBMs whose weights are planted modes in noise.

    `SpikedEnsemble(singular_values, noise=0.0, component_distribution=GaussianDistribution(), visible_field=None,
    hidden_field=None)`; fields are zero by default. Its RBMs have the dtype of the singular values.

    Attributes:
        singular_values: strengths w_α, shape (n_modes,).
        noise: σ ≥ 0; entries of r have the variance σ²/L.
        visible_field: â_α, for visible biases Σ_α â_α û_iα, shape (n_modes,).
        hidden_field: b̂_α, for hidden biases Σ_α b̂_α v̂_jα, shape (n_modes,).
        component_distribution: distribution of û and v̂.

    Raises:
        TypeError: values that are not numbers.
        ValueError: strengths or fields that are not finite vectors of one length, or negative noise.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax.replica import SpikedEnsemble
        >>> rbm, modes = SpikedEnsemble(jnp.array([2.0]), noise=0.5).sample(jax.random.key(0), 40, 30)
        >>> rbm.weights.shape, modes.left.shape
        ((40, 30), (40, 1))
    """

    singular_values: Float[Array, "*points n_modes"]
    noise: Float[Array, "*points"]
    visible_field: Float[Array, "*points n_modes"]
    hidden_field: Float[Array, "*points n_modes"]
    component_distribution: AbstractDistribution = eqx.field(static=True)

    def __init__(
        self,
        singular_values: Float[ArrayLike, " n_modes"],
        *,
        noise: FloatLike = 0.0,
        component_distribution: AbstractDistribution = _GAUSSIAN,
        visible_field: Float[ArrayLike, " n_modes"] | None = None,
        hidden_field: Float[ArrayLike, " n_modes"] | None = None,
    ):
        self.singular_values = w = as_strengths(singular_values)
        check_positive("noise", noise, or_zero=True)
        self.noise = jnp.asarray(noise).astype(w.dtype)
        self.visible_field = as_mode_fields("visible_field", visible_field, w)
        self.hidden_field = as_mode_fields("hidden_field", hidden_field, w)
        self.component_distribution = component_distribution

    def sample(
        self,
        key: PRNGKey,
        n_visible: int,
        n_hidden: int,
        *,
        visible_units: AbstractUnits = _SPIN,
        hidden_units: AbstractUnits = _SPIN,
    ) -> tuple[RBM, Modes]:
        """One RBM of the ensemble, and the modes planted in it.

        Args:
            key: a JAX key.
            n_visible: number of visible units.
            n_hidden: number of hidden units.
            visible_units: unit type of the visible layer.
            hidden_units: unit type of the hidden layer.

        Returns:
            The RBM, and modes with left u_iα, values w_α and right v_jα. They are orthonormal up to terms of order
            1/√n.

        Raises:
            ValueError: counts below 1.
        """
        n_visible, n_hidden = check_count("n_visible", n_visible), check_count("n_hidden", n_hidden)
        w = self.singular_values
        key_left, key_right, key_noise = jax.random.split(stream_key(key, Stream.ENSEMBLE), 3)
        left = self.component_distribution.sample(key_left, (n_visible, len(w)), w.dtype)
        right = self.component_distribution.sample(key_right, (n_hidden, len(w)), w.dtype)
        modes = Modes(left / math.sqrt(n_visible), w, right / math.sqrt(n_hidden))
        random = jax.random.normal(key_noise, (n_visible, n_hidden), w.dtype) / (n_visible * n_hidden) ** 0.25
        weights = (modes.left * w) @ modes.right.T + self.noise * random
        biases = left @ self.visible_field, right @ self.hidden_field
        return RBM(weights, *biases, visible_units, hidden_units), modes


def as_strengths(singular_values: Float[ArrayLike, " n_modes"]) -> Float[Array, " n_modes"]:
    """Planted strengths as a vector of finite floating numbers, or an error."""
    w = jnp.asarray(as_array("singular_values", singular_values))
    w = w if jnp.issubdtype(w.dtype, jnp.floating) else w.astype(jnp.zeros(()).dtype)
    if w.ndim != 1 or w.size == 0:
        raise ValueError(f"singular_values must be a vector, one a mode, got shape {w.shape}; use vmap for several")
    check_finite("singular_values", w)
    return w


def as_mode_fields(name: str, field: Float[ArrayLike, " n_modes"] | None, strengths: Array) -> Array:
    """A field along each mode, zero by default, or an error."""
    values = jnp.zeros_like(strengths) if field is None else jnp.asarray(as_array(name, field)).astype(strengths.dtype)
    check_finite(name, values)
    if values.shape != strengths.shape:
        raise ValueError(f"{name} must have the shape {strengths.shape} of singular_values, got {values.shape}")
    return values
