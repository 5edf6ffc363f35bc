"""Closed forms of a Gaussian-Gaussian RBM, with a variance for each unit.

With base variances S_v, S_h (diagonal) the joint distribution is Gaussian with precision [[S_v^{-1}, -W], [-Wᵀ,
S_h^{-1}]]. Everything follows from the Cholesky factor of one Schur complement, of the size of the smaller layer. The
model exists if every singular value of S_v^{1/2} W S_h^{1/2} is below 1; beyond, log Z is +inf and the moments are
NaN.
"""

import jax
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments, swap_layers
from rbm_jax.model.transforms import transpose
from rbm_jax.units import AbstractUnits

__all__ = ["gaussian_log_z", "gaussian_moments"]

VisibleVariance = Float[Array, " n_visible"]
HiddenVariance = Float[Array, " n_hidden"]


def gaussian_moments(rbm: RBM, visible_variance: VisibleVariance, hidden_variance: HiddenVariance) -> Moments:
    """⟨v⟩, ⟨h⟩ and ⟨vhᵀ⟩ of the Gaussian RBM with these weights, biases and base variances.

    The covariance of v and h is (S_v^{-1} - W S_h Wᵀ)^{-1} W S_h. Source: Decelle, Fissore & Furtlehner
    (2017), there with one variance per layer.

    Args:
        rbm: weights and biases; the biases are fields, so that the uncoupled mean of v_i is S_v,i a_i. Of its units,
            only what ⟨s²⟩ makes of their learned parameters is used.
        visible_variance: shape (n_visible,), positive.
        hidden_variance: shape (n_hidden,), positive.

    Returns:
        The moments; NaN where the model does not exist.
    """
    if rbm.n_hidden > rbm.n_visible:
        return swap_layers(gaussian_moments(transpose(rbm), hidden_variance, visible_variance))
    factor = _schur_factor(rbm, visible_variance, hidden_variance)
    scaled = visible_variance[:, None] * rbm.weights
    hidden_covariance = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(rbm.n_hidden, dtype=rbm.dtype))
    hidden = hidden_covariance @ (rbm.hidden_bias + rbm.visible_bias @ scaled)
    visible = visible_variance * rbm.visible_bias + scaled @ hidden
    covariance = scaled @ hidden_covariance
    return Moments(
        visible,
        hidden,
        covariance + visible[:, None] * hidden,
        _units(rbm.visible_units, visible, visible_variance + (covariance * scaled).sum(1)),
        _units(rbm.hidden_units, hidden, jnp.diagonal(hidden_covariance)),
    )


def gaussian_log_z(rbm: RBM, visible_variance: VisibleVariance, hidden_variance: HiddenVariance) -> Float[Array, ""]:
    """Log Z of the Gaussian RBM with base measures exp(-s²/2σ²); +inf where the model does not exist.

    Args:
        rbm: weights and biases (the unit types are not used).
        visible_variance: shape (n_visible,), positive.
        hidden_variance: shape (n_hidden,), positive.
    """
    if rbm.n_hidden > rbm.n_visible:
        return gaussian_log_z(transpose(rbm), hidden_variance, visible_variance)
    a = rbm.visible_bias
    factor = _schur_factor(rbm, visible_variance, hidden_variance)
    source = rbm.hidden_bias + (visible_variance * a) @ rbm.weights
    whitened = jax.scipy.linalg.solve_triangular(factor, source, lower=True)
    log_z = (
        (rbm.n_visible + rbm.n_hidden) * jnp.log(2 * jnp.pi) / 2
        + jnp.log(visible_variance).sum() / 2
        + (visible_variance * a**2).sum() / 2
        - jnp.log(jnp.diagonal(factor)).sum()
        + (whitened**2).sum() / 2
    )
    return jnp.where(jnp.isnan(log_z), jnp.inf, log_z)


def _units(units: AbstractUnits, mean: Array, variance: Array) -> AbstractUnits:
    """⟨∂log ρ/∂λ⟩ of units with these means and variances."""
    return units.second_moment_derivative(variance + mean**2)


def _schur_factor(rbm: RBM, visible_variance: VisibleVariance, hidden_variance: HiddenVariance) -> Array:
    """Lower Cholesky factor of the hidden layer's precision, S_h^{-1} - Wᵀ S_v W; NaN if it is not positive."""
    precision = jnp.diag(1 / hidden_variance) - rbm.weights.T @ (visible_variance[:, None] * rbm.weights)
    return jnp.linalg.cholesky(precision)
