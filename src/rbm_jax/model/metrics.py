"""Metrics: the geometry in which the gradient of the negative log-likelihood is taken.

A metric turns averages over data and model into a gradient. It is a positive matrix times the plain gradient, so the
fixed points of learning are the same in all of them.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from rbm_jax._internal.typing import Float
from rbm_jax.model.rbm import RBM, rebuild
from rbm_jax.model.statistics import Moments
from rbm_jax.units import AbstractUnits

__all__ = ["AbstractMetric", "Centered", "Plain", "Standardized"]

_LEAST_VARIANCE = 0.1
"""Fraction of its layer's mean variance below which a unit is not scaled further up: rare pixels would step too far."""


class AbstractMetric(eqx.Module):
    """The geometry of a gradient: a frozen module, hashable by value, called as `metric(rbm, data, model)`."""

    @abc.abstractmethod
    def __call__(self, rbm: RBM, data: Moments, model: Moments) -> RBM:
        """Gradient of the **negative** log-likelihood per sample, as an RBM.

        Args:
            rbm: gives the units, and their variances where the metric needs them.
            data: averages over the data.
            model: averages over the model, by whatever method.
        """


class Plain(AbstractMetric):
    """The gradient in W, a, b: ⟨vhᵀ⟩_model - ⟨vhᵀ⟩_data, ⟨v⟩_model - ⟨v⟩_data, ⟨h⟩_model - ⟨h⟩_data.

    That in learned parameters of units is the same difference of ⟨∂log ρ/∂λ⟩, in all metrics: offsets and scales of v
    and h do not enter it.

    Source: Decelle, Fissore & Furtlehner (2017), whose learning equations are its negative.
    """

    def __call__(self, rbm: RBM, data: Moments, model: Moments) -> RBM:
        """Difference of the moments."""
        return _gradient(rbm, data, model, *_differences(data, model))


class Centered(AbstractMetric):
    """The gradient in the parameters of E = -(v-μ)ᵀW(h-λ) - ..., with offsets at the data's means, in W, a, b.

    The offsets are μ = ⟨v⟩_data and λ = ⟨h⟩_data. Growth of W is freed from drifts of the means. Source: Montavon &
    Müller (2012); Melchior, Fischer & Wiskott (2016).
    """

    def __call__(self, rbm: RBM, data: Moments, model: Moments) -> RBM:
        """Difference of the covariances, and the shift of the biases that it asks for."""
        dw, da, db = _covariance_differences(data, model)
        return _gradient(rbm, data, model, dw, da - dw @ data.hidden, db - data.visible @ dw)


class Standardized(AbstractMetric):
    """Centered, and in units of the standard deviations that units have at the data's means.

    Each component is divided by the variances of its units, so that rare pixels learn as fast as common ones.
    Variances below a tenth of their layer's mean count as that much. Steps are larger than those of the other metrics
    (for 0/1 units by 16 and more): learning rates are not comparable.
    """

    def __call__(self, rbm: RBM, data: Moments, model: Moments) -> RBM:
        """The centered gradient over the variances."""
        dw, da, db = _covariance_differences(data, model)
        visible_variance = _variance(rbm.visible_units, data.visible)
        hidden_variance = _variance(rbm.hidden_units, data.hidden)
        dw, da, db = dw / visible_variance[:, None] / hidden_variance, da / visible_variance, db / hidden_variance
        return _gradient(rbm, data, model, dw, da - dw @ data.hidden, db - data.visible @ dw)


def _gradient(rbm: RBM, data: Moments, model: Moments, dw, da, db) -> RBM:
    """The gradient with these parts, and those of the units."""
    return rebuild(
        rbm,
        weights=dw,
        visible_bias=da,
        hidden_bias=db,
        visible_units=_units_difference(rbm.visible_units, data.visible_units, model.visible_units),
        hidden_units=_units_difference(rbm.hidden_units, data.hidden_units, model.hidden_units),
    )


def _units_difference(units: AbstractUnits, data: AbstractUnits | None, model: AbstractUnits | None) -> AbstractUnits:
    if not jax.tree.leaves(units):
        return units
    if data is None or model is None:
        raise ValueError(
            f"moments must hold derivatives in the parameters of {units}, got None; see visible_units of Moments"
        )
    return jax.tree.map(jnp.subtract, model, data)


def _differences(data: Moments, model: Moments):
    """Model less data: of the products, the visible and the hidden means."""
    return model.product - data.product, model.visible - data.visible, model.hidden - data.hidden


def _covariance_differences(data: Moments, model: Moments):
    """The same with products of deviations from the data's means."""
    dw, da, db = _differences(data, model)
    return dw - data.visible[:, None] * db - da[:, None] * data.hidden, da, db


def _variance(units: AbstractUnits, mean: Float[jax.Array, " n_units"]) -> Float[jax.Array, " n_units"]:
    variance = units.variance_at_mean(mean)
    # The constant is for data without any variation.
    return jnp.maximum(variance, jnp.maximum(_LEAST_VARIANCE * variance.mean(), 1e-6))
