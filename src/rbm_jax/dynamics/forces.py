"""The learning equations dW/dt, da/dt, db/dt = ⟨.⟩_data - ⟨.⟩_model, as forces on an RBM.

A force is any function `force(t, rbm, args) -> RBM` that returns a time derivative; t = Σ learning rate × updates. The
ones here differ in where their two averages come from, and nothing else.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial

from rbm_jax._internal.checks import (
    as_array,
    as_configurations,
    check_count,
    check_finite,
    check_order,
    check_sample_weights,
    is_concrete,
)
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, ArrayLike, Float, Sample, Shaped, Weighting
from rbm_jax.mean_field import log_state_weights, mean_field_covariance, mean_field_moments, solve_mean_field
from rbm_jax.model.exact import exact_moments
from rbm_jax.model.gaussian import gaussian_moments
from rbm_jax.model.metrics import AbstractMetric, Plain
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments, conditional_moments
from rbm_jax.model.transforms import clamp
from rbm_jax.units import check_scalar_units

__all__ = [
    "INTERIOR_MARGIN",
    "DataStatistics",
    "LearningForce",
    "as_statistics",
    "data_statistics",
    "exact_force",
    "gaussian_force",
    "mean_field_force",
    "missing_gaussian_force",
]

INTERIOR_MARGIN = 1e-3
"""Probability by which means are moved from the edge of the support: constant pixels have no variance to divide by.
It is that of `init_rbm`, so that theory and training start from the same biases."""
_BATCH = 16
"""Samples side by side, each with a Cholesky factor of its own: 40 MB for 784 units in float32."""
_PLAIN = Plain()


class LearningForce(eqx.Module):
    """The learning equations with given averages: a force that holds its data and is a pytree.

    Attributes:
        data_moments: rbm -> `Moments` of the data.
        model_moments: rbm -> `Moments` of the model.
        metric: the geometry of the gradient whose negative this is.
    """

    data_moments: Callable[[RBM], Moments]
    model_moments: Callable[[RBM], Moments]
    metric: AbstractMetric = Plain()

    def __call__(self, t: Any, rbm: RBM, args: Any = None) -> RBM:
        """The time derivative of the RBM; t and args are ignored."""
        gradient = self.metric(rbm, self.data_moments(rbm), self.model_moments(rbm))
        return jax.tree.map(jnp.negative, gradient)


class DataStatistics(eqx.Module):
    """First and second moments of visible data.

    Attributes:
        mean: ⟨v⟩, shape (n_visible,).
        covariance: C = ⟨vvᵀ⟩ - ⟨v⟩⟨v⟩ᵀ, shape (n_visible, n_visible).
    """

    mean: Float[Array, " n_visible"]
    covariance: Float[Array, "n_visible n_visible"]


def data_statistics(data: Sample, sample_weights: Weighting = None, *, dtype=None) -> DataStatistics:
    """Mean and covariance of data (divided by the number of samples, not by one less).

    Args:
        data: shape (n_samples, n_visible).
        sample_weights: non-negative sample weights, shape (n_samples,).
        dtype: floating dtype to compute in; None for JAX's default.

    Raises:
        ValueError: not a matrix, no samples, NaN, or bad weights.
    """
    dtype = jnp.zeros((), dtype).dtype
    data = jnp.asarray(_check_data(data, sample_weights)).astype(dtype)
    weights = normalized_weights(sample_weights, len(data), dtype)
    mean = weights @ data
    deviation = data - mean
    return DataStatistics(mean, (weights[:, None] * deviation).T @ deviation)


def as_statistics(data: Sample | DataStatistics, sample_weights: Weighting = None) -> DataStatistics:
    """The statistics of data, or statistics as they are.

    Raises:
        ValueError: weights beside statistics, or data that is not a matrix.
    """
    if not isinstance(data, DataStatistics):
        return data_statistics(data, sample_weights)
    if sample_weights is not None:
        raise ValueError(
            "sample_weights must be None when data is DataStatistics: pass them to data_statistics instead"
        )
    return data


def exact_force(data: Sample, *, sample_weights: Weighting = None, metric: AbstractMetric = _PLAIN) -> LearningForce:
    """The learning equations without approximation: gradient ascent on the log-likelihood, by enumeration.

    Args:
        data: shape (n_samples, n_visible). Checked for NaN alone.
        sample_weights: non-negative sample weights, shape (n_samples,).
        metric: geometry of the gradient, such as `Centered()`.

    Returns:
        A force for any pair of unit types that `exact_moments` can enumerate.
    """
    return LearningForce(_data_response(data, sample_weights), Partial(exact_moments), metric)


def mean_field_force(
    data: Sample,
    *,
    order: int = 2,
    init: Shaped[ArrayLike, "n_starts n_visible"] | None = None,
    linear_response: bool = False,
    sample_weights: Weighting = None,
    metric: AbstractMetric = _PLAIN,
    tol: float | None = None,
    max_steps: int = 1000,
) -> LearningForce:
    """The learning equations with the model as a mixture of its mean-field fixed points; the data term is exact.

    Order 2 is the TAP closure. The moments of each fixed point are the derivatives of its free energy, and distinct
    ones are weighed by e^{-G}, so that the force is the gradient of the mean-field log-likelihood while the set of
    fixed points stays. It changes by jumps where one appears: integrate it with equal steps.

    Args:
        data: shape (n_samples, n_visible). Checked for NaN alone.
        order: 1 (naive), 2 (TAP) or 3; with Potts units 1 or 2.
        init: visible magnetizations to find fixed points from, shape (n_starts, n_visible), a few dozen data, say.
            None for the mean of the data alone, which is enough until clusters appear.
        linear_response: take ⟨vhᵀ⟩ of a fixed point from `mean_field_covariance` instead: more accurate before clusters
            appear, and what gives order 1 its threshold c = σ_v² for growth; but it repels from phase transitions.
        sample_weights: non-negative sample weights, shape (n_samples,).
        metric: geometry of the gradient, such as `Centered()`.
        tol: largest change in the last sweep of each solution; None as in `solve_mean_field`.
        max_steps: sweeps at most for each solution. Those that have not converged by then are left out.

    Returns:
        A force for any pair of unit types. Where no solution converges it is NaN, and `integrate` stops.

    Raises:
        ValueError: shapes that do not fit, or another order.
    """
    data_moments = _data_response(data, sample_weights)
    if init is None:
        fraction = normalized_weights(sample_weights, jnp.shape(data)[0], jnp.zeros(()).dtype)
        # Rounding must not move the mean of a constant unit out of the support.
        init = jnp.clip(fraction @ jnp.asarray(data), data.min(0), data.max(0))[None]
    init = as_configurations("init", init, jnp.shape(data)[1], jnp.zeros(()).dtype, ndim=2)
    options = check_order(order), linear_response, tol, check_count("max_steps", max_steps)
    return LearningForce(data_moments, _FixedPointMoments(init, *options), metric)


def gaussian_force(
    data: Sample | DataStatistics, *, sample_weights: Weighting = None, metric: AbstractMetric = _PLAIN
) -> LearningForce:
    """The learning equations in the Gaussian (linear) closure, with one variance per unit.

    Each unit is replaced by the Gaussian unit with the same mean and variance at a reference field: the data's mean for
    visible units, zero field for hidden ones. Then dW/dt = [C_d - (Σ_v^{-1} - W Σ_h Wᵀ)^{-1}] W Σ_h on centered
    variables. For Gaussian-Gaussian RBMs nothing is approximated, and this is the matrix form of equation (17);
    for binary ones it is the theory of early learning.

    Args:
        data: shape (n_samples, n_visible), or its `DataStatistics`. Means are moved 1e-3 in probability from the edge
            of the support before their variance is taken, so that constant pixels do not divide by zero.
        sample_weights: non-negative sample weights, shape (n_samples,); for data only.
        metric: geometry of the gradient, such as `Centered()`.

    Returns:
        A force for any pair of unit types but Potts; NaN beyond σ_v σ_h σ_α = 1, where the Gaussian model does not
        exist.

    Raises:
        ValueError: weights beside DataStatistics, or data that is not a matrix.
    """
    statistics = as_statistics(data, sample_weights)
    response, model = (
        Partial(_gaussian_data_moments, statistics),
        Partial(_gaussian_model_moments, statistics.mean),
    )
    return LearningForce(response, model, metric)


def missing_gaussian_force(
    data: Sample, *, sample_weights: Weighting = None, metric: AbstractMetric = _PLAIN
) -> LearningForce:
    """`gaussian_force` for data with missing entries: the linear theory of learning from what was observed.

    In the data term, each sample's missing units and hidden units follow the Gaussian model given the observed ones:
    dW/dt = [⟨S⟩ - (Σ_v^{-1} - W Σ_h Wᵀ)^{-1}] W Σ_h on centered variables, with S = xxᵀ + the model's conditional
    covariance of the missing block, and x the sample completed by conditional means. The reference of each visible unit
    is the mean of what was observed of it. Nothing missing makes it `gaussian_force`.

    Args:
        data: shape (n_samples, n_visible), NaN where an entry is missing.
        sample_weights: non-negative sample weights, shape (n_samples,).
        metric: geometry of the gradient, such as `Centered()`, at the means of the completed data.

    Returns:
        A force for any pair of unit types; NaN beyond σ_v σ_h σ_α = 1. Its work is that of n_samples Cholesky
        factorizations of the smaller layer's size.

    Raises:
        ValueError: data that is not a matrix, bad weights, or a unit that no sample shows.
    """
    data = as_configurations("data", data, jnp.shape(data)[-1], jnp.zeros(()).dtype, ndim=2)
    check_sample_weights(sample_weights, len(data))
    weights, observed = normalized_weights(sample_weights, len(data), data.dtype), ~jnp.isnan(data)
    seen = weights @ observed.astype(data.dtype)
    if is_concrete(seen) and not (seen > 0).all():
        raise ValueError(f"data must show every unit in some sample, but has none of unit {int(seen.argmin())}")
    mean = weights @ jnp.where(observed, data, 0) / seen
    response = Partial(_missing_data_moments, mean, data, weights)
    return LearningForce(response, Partial(_gaussian_model_moments, mean), metric)


def _data_response(data: Sample, sample_weights: Weighting) -> Callable[[RBM], Moments]:
    data = _check_data(data, sample_weights)
    sample_weights = None if sample_weights is None else jnp.asarray(sample_weights)
    return Partial(_conditional_moments, jnp.asarray(data), sample_weights)


def _check_data(data: Sample, sample_weights: Weighting) -> Array | np.ndarray:
    """Data as an array, or an error: shape, NaN, sample weights."""
    data = as_array("data", data)
    if data.ndim != 2 or data.size == 0:
        raise ValueError(f"data must have shape (n_samples, n_visible), with at least one sample, got {data.shape}")
    check_finite("data", data)
    check_sample_weights(sample_weights, data.shape[0])
    return data


def _conditional_moments(data, weights, rbm: RBM) -> Moments:
    return conditional_moments(rbm, data, weights)


class _FixedPointMoments(eqx.Module):
    """Moments of the mixture of fixed points that are found from given magnetizations."""

    init: Float[Array, "n_starts n_visible"]
    order: int = eqx.field(static=True)
    linear_response: bool = eqx.field(static=True)
    tol: float | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __call__(self, rbm: RBM) -> Moments:
        init = self.init.astype(rbm.dtype)
        solution = solve_mean_field(rbm, init=init, order=self.order, tol=self.tol, max_steps=self.max_steps)
        visible, hidden = solution.visible, solution.hidden
        log_weights = log_state_weights(solution.free_energy, visible, solution.converged)
        found = solution.converged.any()
        weights = jnp.where(found, jax.nn.softmax(log_weights), 1)
        moments = mean_field_moments(rbm, visible, hidden, order=self.order, sample_weights=weights)
        if self.linear_response:
            covariance = mean_field_covariance(rbm, visible, hidden, order=self.order)
            cross = jnp.tensordot(weights, covariance, 1)[: rbm.n_visible, rbm.n_visible :]
            moments = dataclasses.replace(moments, product=(weights[:, None] * visible).T @ hidden + cross)
        return jax.tree.map(lambda moment: jnp.where(found, moment, jnp.nan), moments)


def _reference(visible_mean, rbm: RBM):
    """Field, mean and variance of each layer's units at the point that the Gaussian closure expands around."""
    check_scalar_units("gaussian_force", rbm.visible_units, rbm.hidden_units)
    visible_mean = as_configurations("data", visible_mean, rbm.n_visible, rbm.dtype)
    mean = rbm.visible_units.interior_mean(visible_mean, INTERIOR_MARGIN)
    visible_field_0 = rbm.visible_units.field_at_mean(mean)
    hidden_field_0 = jnp.zeros_like(rbm.hidden_bias)
    visible = (visible_field_0, mean, rbm.visible_units.variance(visible_field_0))
    hidden = (
        hidden_field_0,
        rbm.hidden_units.mean(hidden_field_0),
        rbm.hidden_units.variance(hidden_field_0),
    )
    return visible, hidden


def _gaussian_data_moments(statistics: DataStatistics, rbm: RBM) -> Moments:
    """The data term, with hidden units that respond linearly: equation (16)."""
    _, (_, hidden_mean, hidden_variance) = _reference(statistics.mean, rbm)
    visible = statistics.mean.astype(rbm.dtype)
    hidden = hidden_mean + hidden_variance * (rbm.hidden_bias + visible @ rbm.weights)
    visible_covariance = statistics.covariance.astype(rbm.dtype)
    covariance = visible_covariance @ rbm.weights * hidden_variance
    spread = hidden_variance * (1 + (covariance * rbm.weights).sum(0))
    return Moments(
        visible,
        hidden,
        visible[:, None] * hidden + covariance,
        rbm.visible_units.second_moment_derivative(jnp.diagonal(visible_covariance) + visible**2),
        rbm.hidden_units.second_moment_derivative(spread + hidden**2),
    )


def _missing_data_moments(visible_mean, data, sample_weights, rbm: RBM) -> Moments:
    """The data term of samples with missing entries, each the moments of the Gaussian model with the others clamped."""
    gaussian, *variances = _gaussian_model(visible_mean, rbm)

    def of_sample(sample):
        v, weight = sample
        observed = ~jnp.isnan(v)
        v = jnp.where(observed, v, 0)
        rest = gaussian_moments(clamp(gaussian, v, observed), *variances)
        visible = jnp.where(observed, v, rest.visible)
        product = jnp.where(observed[:, None], v[:, None] * rest.hidden, rest.product)
        units = jax.tree.map(
            lambda seen, free: jnp.where(observed, seen, free),
            rbm.visible_units.base_measure_derivative(v),
            rest.visible_units,
        )
        moments = Moments(visible, rest.hidden, product, units, rest.hidden_units)
        return jax.tree.map(lambda moment: weight * moment, moments)

    moments = lax.map(
        of_sample, (data.astype(rbm.dtype), sample_weights.astype(rbm.dtype)), batch_size=min(len(data), _BATCH)
    )
    return jax.tree.map(lambda moment: moment.sum(0), moments)


def _gaussian_model_moments(visible_mean, rbm: RBM) -> Moments:
    return gaussian_moments(*_gaussian_model(visible_mean, rbm))


def _gaussian_model(visible_mean, rbm: RBM) -> tuple[RBM, Array, Array]:
    """The Gaussian RBM and its variances: fields are shifted so that units have the right mean at the reference."""
    (field_v, mean_v, variance_v), (field_h, mean_h, variance_h) = _reference(visible_mean, rbm)
    visible_bias = rbm.visible_bias - field_v + mean_v / variance_v
    hidden_bias = rbm.hidden_bias - field_h + mean_h / variance_h
    shifted = dataclasses.replace(rbm, visible_bias=visible_bias, hidden_bias=hidden_bias)
    return shifted, variance_v, variance_h
