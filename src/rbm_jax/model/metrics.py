"""Metrics: the geometry in which a gradient is taken."""

import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments
from rbm_jax.units import AbstractUnits

__all__ = ["likelihood_gradient"]


_LEAST_VARIANCE = 0.1
"""Share of its layer's mean variance below which a unit is not scaled further up."""


def likelihood_gradient(
    rbm: RBM, data: Moments, model: Moments, *, centered: bool = False, standardized: bool = False
) -> RBM:
    """The learning equations: gradient of the log-likelihood per sample, ⟨.⟩_data - ⟨.⟩_model.

    dW/dt = ⟨vhᵀ⟩_data - ⟨vhᵀ⟩_model, da/dt = ⟨v⟩_data - ⟨v⟩_model, db/dt = ⟨h⟩_data - ⟨h⟩_model. Source: Decelle,
    Fissore & Furtlehner (2017).

    Args:
        rbm: gives the unit types of the result.
        data: averages over the data.
        model: averages over the model, by whatever method.
        centered: use the gradient in the parameters of E = -(v-μ)ᵀW(h-λ) - ..., with the offsets at the data's means
            μ = ⟨v⟩_data, λ = ⟨h⟩_data, expressed in W, a, b. It is the plain gradient times a positive matrix, so the
            fixed points are the same, and growth of W is freed from drifts of the means (Montavon & Müller 2012;
            Melchior, Fischer & Wiskott 2016).
        standardized: centered, and in units of the standard deviations that units have at the data's means: each
            component is divided by the variances of its units, so that rare pixels learn as fast as common ones.
            Variances below a tenth of their layer's mean count as that much. Steps are larger than those of the other
            gradients (for 0/1 units by up to 16 and more): learning rates are not comparable.

    Returns:
        An RBM-shaped time derivative; its negative is the gradient of the negative log-likelihood.
    """
    da = data.visible - model.visible
    db = data.hidden - model.hidden
    dw = data.product - model.product
    if centered or standardized:
        dw = dw - data.visible[:, None] * db - da[:, None] * data.hidden
        if standardized:
            visible_variance = _variance(rbm.visible_units, data.visible)
            hidden_variance = _variance(rbm.hidden_units, data.hidden)
            dw, da, db = dw / visible_variance[:, None] / hidden_variance, da / visible_variance, db / hidden_variance
        da, db = da - dw @ data.hidden, db - data.visible @ dw
    return RBM(dw, da, db, rbm.visible_units, rbm.hidden_units)


def _variance(units: AbstractUnits, mean: Float[Array, " n_units"]) -> Float[Array, " n_units"]:
    variance = units.variance_at_mean(mean)
    # The constant is for data without any variation.
    return jnp.maximum(variance, jnp.maximum(_LEAST_VARIANCE * variance.mean(), 1e-6))
