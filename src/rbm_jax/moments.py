"""First moments of an RBM's layers and their product: what the learning equations are made of."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from rbm_jax._checks import as_configurations, check_sample_weights
from rbm_jax._math import normalized_weights
from rbm_jax._typing import Array, Float, Sample, Weighting
from rbm_jax.energies import hidden_field
from rbm_jax.rbm import RBM, check_compute_dtype
from rbm_jax.units import AbstractUnits

__all__ = ["Moments", "average_product", "conditional_moments", "likelihood_gradient"]


class Moments(NamedTuple):
    """Averages over some distribution of (v, h); a tuple, so that they can be unpacked.

    Attributes:
        visible: ⟨v⟩, shape (n_visible,).
        hidden: ⟨h⟩, shape (n_hidden,).
        product: ⟨v hᵀ⟩, not centered, shape (n_visible, n_hidden).
    """

    visible: Float[Array, " n_visible"]
    hidden: Float[Array, " n_hidden"]
    product: Float[Array, "n_visible n_hidden"]


def conditional_moments(rbm: RBM, v: Sample, weights: Weighting = None, *, compute_dtype=None) -> Moments:
    """Averages over visible configurations, with each hidden unit at its conditional mean.

    Of data they are the data term of the learning equations; of a chain's states, an estimate of the model term
    whose variance is below that of sampled hidden states.

    Args:
        rbm: any pair of unit types.
        v: shape (n_samples, n_visible). Values are not checked.
        weights: non-negative sample weights, shape (n_samples,), normalized here; None for equal ones.
        compute_dtype: dtype of the matrix products, the RBM's by default. With `jnp.bfloat16` the averages are those of
            the RBM with rounded weights, in products whose relative error is below 2^-16.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: wrong shapes, no sample, or weights that are negative or sum to zero.
    """
    v = as_configurations("v", v, rbm.n_visible, rbm.dtype, ndim=2)
    n_samples = v.shape[0]
    if n_samples == 0:
        raise ValueError(f"v must hold at least one sample, got shape {v.shape}")
    check_sample_weights(weights, n_samples)
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    return average_product(v, rbm.hidden_units.mean(_hidden_field(rbm, v, compute_dtype)), weights, compute_dtype)


def average_product(
    v: Float[Array, "n_samples n_visible"],
    h: Float[Array, "n_samples n_hidden"],
    weights: Weighting = None,
    compute_dtype=None,
) -> Moments:
    """Weighted averages of v, h and vhᵀ over pairs of configurations or means."""
    compute_dtype = h.dtype if compute_dtype is None else compute_dtype
    if weights is None:
        return Moments(v.mean(0), h.mean(0), _product(v, h, compute_dtype) / len(v))
    share = normalized_weights(weights, len(v), h.dtype)
    return Moments(share @ v, share @ h, _product(v, share[:, None] * h, compute_dtype))


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


def _hidden_field(rbm: RBM, v, dtype):
    if dtype == rbm.dtype:
        return hidden_field(rbm, v)
    return rbm.hidden_bias + jnp.matmul(v.astype(dtype), rbm.weights.astype(dtype), preferred_element_type=rbm.dtype)


def _product(v, h, dtype):
    """Σ v hᵀ over samples. In a narrower dtype discrete v are exact, and h is the sum of two parts."""
    if dtype == h.dtype:
        return v.T @ h
    # Not a conversion there and back, which XLA may leave out. The parts stand one after the other in a single product:
    # with vᵀ alone on the left, XLA on CPU would do it in float32.
    high = lax.reduce_precision(h, exponent_bits=jnp.finfo(dtype).nexp, mantissa_bits=jnp.finfo(dtype).nmant)
    parts, left = jnp.concatenate([high, h - high]).astype(dtype), v.astype(dtype).T
    return jnp.matmul(jnp.concatenate([left, left], axis=1), parts, preferred_element_type=h.dtype)
