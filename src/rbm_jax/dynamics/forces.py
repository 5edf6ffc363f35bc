"""The learning equations dW/dt, da/dt, db/dt = ⟨.⟩_data - ⟨.⟩_model, as forces on an RBM.

A force is any function `force(t, rbm, args) -> RBM` that returns a time derivative; t = Σ learning rate × updates. The
ones here differ in where their two averages come from, and nothing else.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.tree_util import Partial

from rbm_jax._checks import as_configurations, check_sample_weights
from rbm_jax._math import normalized_weights
from rbm_jax._typing import Array, Float, Sample, Weighting
from rbm_jax.energies import hidden_field, visible_field
from rbm_jax.exact import exact_moments
from rbm_jax.gaussian import gaussian_moments
from rbm_jax.mean_field import solve_mean_field
from rbm_jax.moments import Moments, conditional_moments, likelihood_gradient
from rbm_jax.rbm import RBM

__all__ = [
    "DataStatistics",
    "LearningForce",
    "as_statistics",
    "data_statistics",
    "exact_force",
    "gaussian_force",
    "mean_field_force",
    "mean_field_moments",
]


class LearningForce(eqx.Module):
    """The learning equations with given averages: a force that holds its data and is a pytree.

    Attributes:
        data_moments: rbm -> `Moments` of the data.
        model_moments: rbm -> `Moments` of the model.
        centered: whether it is the centered gradient; see `likelihood_gradient`.
    """

    data_moments: Callable[[RBM], Moments]
    model_moments: Callable[[RBM], Moments]
    centered: bool = eqx.field(static=True, default=False)

    def __call__(self, t: Any, rbm: RBM, args: Any = None) -> RBM:
        """The time derivative of the RBM; t and args are passed over."""
        return likelihood_gradient(rbm, self.data_moments(rbm), self.model_moments(rbm), centered=self.centered)


class DataStatistics(eqx.Module):
    """First and second moments of visible data.

    Attributes:
        mean: ⟨v⟩, shape (n_visible,).
        covariance: C = ⟨vvᵀ⟩ - ⟨v⟩⟨v⟩ᵀ, shape (n_visible, n_visible).
    """

    mean: Float[Array, " n_visible"]
    covariance: Float[Array, "n_visible n_visible"]


def data_statistics(data: Sample, weights: Weighting = None, *, dtype=None) -> DataStatistics:
    """Mean and covariance of data (divided by the number of samples, not by one less).

    Args:
        data: shape (n_samples, n_visible).
        weights: non-negative sample weights, shape (n_samples,).
        dtype: floating dtype to compute in; None for JAX's default.

    Raises:
        ValueError: not a matrix, no samples, or bad weights.
    """
    dtype = jnp.zeros((), dtype).dtype
    data = as_configurations("data", data, jnp.shape(data)[-1], dtype, ndim=2)
    if len(data) == 0:
        raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
    check_sample_weights(weights, len(data))
    share = normalized_weights(weights, len(data), dtype)
    mean = share @ data
    deviation = data - mean
    return DataStatistics(mean, (share[:, None] * deviation).T @ deviation)


def as_statistics(data: Sample | DataStatistics, weights: Weighting = None) -> DataStatistics:
    """The statistics of data, or statistics as they are.

    Raises:
        ValueError: weights beside statistics, or data that is not a matrix.
    """
    if not isinstance(data, DataStatistics):
        return data_statistics(data, weights)
    if weights is not None:
        raise ValueError("weights must be None when data is DataStatistics: pass them to data_statistics instead")
    return data


def exact_force(data: Sample, *, weights: Weighting = None, centered: bool = False) -> LearningForce:
    """The learning equations without approximation: gradient ascent on the log-likelihood, by enumeration.

    Args:
        data: shape (n_samples, n_visible). Values are not checked.
        weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).

    Returns:
        A force for any pair of unit types that `exact_moments` can enumerate.
    """
    return LearningForce(_data_response(data, weights), Partial(exact_moments), centered)


def mean_field_force(
    data: Sample,
    *,
    weights: Weighting = None,
    centered: bool = False,
    linear_response: bool = True,
    max_steps: int = 1000,
) -> LearningForce:
    """The learning equations with the model around its naive mean-field fixed point; the data term is exact.

    Args:
        data: shape (n_samples, n_visible). Values are not checked.
        weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        linear_response: add the Gaussian fluctuations around the fixed point to ⟨vhᵀ⟩; without them it is
            m_v m_hᵀ, the gradient of the naive free energy, which has no threshold at c = σ_v².
        max_steps: sweeps at most for each fixed point, started at the means of the data.

    Returns:
        A force for any pair of unit types. Where the iteration does not converge it is NaN, and `integrate` stops.
    """
    data_moments = _data_response(data, weights)
    data = jnp.asarray(data)
    start = normalized_weights(weights, len(data), jnp.zeros(()).dtype) @ data
    return LearningForce(data_moments, _FixedPointMoments(start, linear_response, max_steps), centered)


def gaussian_force(
    data: Sample | DataStatistics, *, weights: Weighting = None, centered: bool = False
) -> LearningForce:
    """The learning equations in the Gaussian (linear) closure, with one variance per unit.

    Each unit is replaced by the Gaussian unit with the same mean and variance at a reference field: the data's mean for
    visible units, zero field for hidden ones. Then dW/dt = [C_d - (Σ_v^{-1} - W Σ_h Wᵀ)^{-1}] W Σ_h on centered
    variables. For Gaussian-Gaussian RBMs nothing is approximated, and this is the matrix form of equation (17);
    for binary ones it is the theory of early learning.

    Args:
        data: shape (n_samples, n_visible), or its `DataStatistics`. Means are moved 1e-3 in probability from the edge
            of the support before their variance is taken, so that constant pixels do not divide by zero.
        weights: non-negative sample weights, shape (n_samples,); for data only.
        centered: the centered gradient (`likelihood_gradient`).

    Returns:
        A force for any pair of unit types; NaN beyond σ_v σ_h σ_α = 1, where the Gaussian model does not exist.

    Raises:
        ValueError: weights beside DataStatistics, or data that is not a matrix.
    """
    statistics = as_statistics(data, weights)
    response, model = (
        Partial(_gaussian_data_moments, statistics),
        Partial(_gaussian_model_moments, statistics),
    )
    return LearningForce(response, model, centered)


def mean_field_moments(
    rbm: RBM,
    init: Float[Array, " n_visible"] | None = None,
    *,
    linear_response: bool = True,
    max_steps: int = 1000,
) -> Moments:
    """⟨v⟩, ⟨h⟩ and ⟨vhᵀ⟩ of the model at its naive mean-field fixed point.

    Args:
        rbm: any pair of unit types.
        init: visible magnetizations to start from; None for those of the uncoupled layer.
        linear_response: add the covariance (Σ_v^{-1} - W Σ_h Wᵀ)^{-1} W Σ_h, with the units' variances at the fixed
            point.
        max_steps: sweeps at most.

    Returns:
        The moments; NaN if the iteration does not converge.
    """
    solution = solve_mean_field(rbm, init=init, max_steps=max_steps)
    visible, hidden = (jnp.where(solution.converged, m, jnp.nan) for m in (solution.visible, solution.hidden))
    product = visible[:, None] * hidden
    if linear_response:
        visible_variance = rbm.visible_units.variance(visible_field(rbm, hidden))
        hidden_variance = rbm.hidden_units.variance(hidden_field(rbm, visible))
        unbiased = _with_biases(rbm, jnp.zeros_like(visible), jnp.zeros_like(hidden))
        product = product + gaussian_moments(unbiased, visible_variance, hidden_variance).product
    return Moments(visible, hidden, product)


def _data_response(data: Sample, weights: Weighting) -> Callable[[RBM], Moments]:
    check_sample_weights(weights, jnp.shape(data)[0])
    weights = None if weights is None else jnp.asarray(weights)
    return Partial(_conditional_moments, jnp.asarray(data), weights)


def _conditional_moments(data, weights, rbm: RBM) -> Moments:
    return conditional_moments(rbm, data, weights)


class _FixedPointMoments(eqx.Module):
    """`mean_field_moments` from a given start, with its options static."""

    start: Float[Array, " n_visible"]
    linear_response: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __call__(self, rbm: RBM) -> Moments:
        start = self.start.astype(rbm.dtype)
        return mean_field_moments(rbm, start, linear_response=self.linear_response, max_steps=self.max_steps)


def _reference(statistics: DataStatistics, rbm: RBM):
    """Field, mean and variance of each layer's units at the point that the Gaussian closure expands around."""
    mean = rbm.visible_units.interior_mean(_visible_mean(statistics, rbm), 1e-3)
    visible_field_0 = rbm.visible_units.field_at_mean(mean)
    hidden_field_0 = jnp.zeros_like(rbm.hidden_bias)
    visible = (visible_field_0, mean, rbm.visible_units.variance(visible_field_0))
    hidden = (
        hidden_field_0,
        rbm.hidden_units.mean(hidden_field_0),
        rbm.hidden_units.variance(hidden_field_0),
    )
    return visible, hidden


def _visible_mean(statistics: DataStatistics, rbm: RBM) -> Float[Array, " n_visible"]:
    return as_configurations("data", statistics.mean, rbm.n_visible, rbm.dtype)


def _gaussian_data_moments(statistics: DataStatistics, rbm: RBM) -> Moments:
    """The data term, with hidden units that respond linearly: equation (16)."""
    _, (_, hidden_mean, hidden_variance) = _reference(statistics, rbm)
    visible = _visible_mean(statistics, rbm)
    hidden = hidden_mean + hidden_variance * (rbm.hidden_bias + visible @ rbm.weights)
    covariance = statistics.covariance.astype(rbm.dtype) @ rbm.weights * hidden_variance
    return Moments(visible, hidden, visible[:, None] * hidden + covariance)


def _gaussian_model_moments(statistics: DataStatistics, rbm: RBM) -> Moments:
    """The model term: each unit's field is shifted so that the Gaussian unit has the right mean at the reference."""
    (field_v, mean_v, variance_v), (field_h, mean_h, variance_h) = _reference(statistics, rbm)
    visible_bias = rbm.visible_bias - field_v + mean_v / variance_v
    hidden_bias = rbm.hidden_bias - field_h + mean_h / variance_h
    return gaussian_moments(_with_biases(rbm, visible_bias, hidden_bias), variance_v, variance_h)


def _with_biases(rbm: RBM, visible_bias, hidden_bias) -> RBM:
    return dataclasses.replace(rbm, visible_bias=visible_bias, hidden_bias=hidden_bias)
