"""First moments of an RBM's layers and their product: what the learning equations are made of."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_samples, check_sample_weights
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Float, Sample, Weighting
from rbm_jax.model.energies import check_rbm, field_on_hidden
from rbm_jax.model.rbm import RBM, check_compute_dtype
from rbm_jax.units import AbstractUnits

__all__ = ["Moments", "average_product", "conditional_moments", "swap_layers"]


class Moments(eqx.Module):
    """Averages over some distribution of (v, h), whose differences between data and model make a gradient.

    Attributes:
        visible: ⟨v⟩, shape (n_visible,).
        hidden: ⟨h⟩, shape (n_hidden,).
        product: ⟨v hᵀ⟩, not centered, shape (n_visible, n_hidden).
        visible_units: ⟨∂log ρ_v(v)/∂λ⟩ for each learned parameter λ of the visible units, as units whose leaves these
            are. None will do for units without parameters.
        hidden_units: ⟨∂K_h(x)/∂λ⟩ for those of the hidden units, K_h being their `log_partition`, x = b + Wᵀv.
    """

    visible: Float[Array, " n_visible"]
    hidden: Float[Array, " n_hidden"]
    product: Float[Array, "n_visible n_hidden"]
    visible_units: AbstractUnits | None = None
    hidden_units: AbstractUnits | None = None


def conditional_moments(rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None) -> Moments:
    """Averages over visible configurations, with each hidden unit at its conditional mean.

    Of data they are the data term of the learning equations; of a chain's states, an estimate of the model term
    whose variance is below that of sampled hidden states.

    Args:
        rbm: any pair of unit types.
        v: configurations, shape (n_samples, n_visible).
        sample_weights: non-negative sample weights, shape (n_samples,), normalized here; None for equal ones.
        compute_dtype: dtype of the matrix products, the RBM's by default. With `jnp.bfloat16` the averages are those of
            the RBM with rounded weights, in products whose relative error is below 2^-16.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: wrong shapes, no sample, values outside the support of the units, an RBM with NaN, or weights that
            are negative or sum to zero.
    """
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)
    check_sample_weights(sample_weights, len(v))
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    field = _hidden_field(rbm, v, compute_dtype)
    return average_product(
        v,
        rbm.hidden_units.mean(field),
        sample_weights,
        compute_dtype,
        visible_units=rbm.visible_units.base_measure_derivative(v),
        hidden_units=rbm.hidden_units.log_partition_derivative(field),
    )


def average_product(
    v: Float[Array, "n_samples n_visible"],
    h: Float[Array, "n_samples n_hidden"],
    sample_weights: Weighting = None,
    compute_dtype=None,
    *,
    visible_units: Any = None,
    hidden_units: Any = None,
) -> Moments:
    """Weighted averages over pairs of configurations or means: of v, h, vhᵀ and the derivatives in unit parameters."""
    compute_dtype = h.dtype if compute_dtype is None else compute_dtype
    averaged = v, h, visible_units, hidden_units
    if sample_weights is None:
        product = _product(v, h, compute_dtype) / len(v)
        visible, hidden, visible_units, hidden_units = jax.tree.map(lambda values: values.mean(0), averaged)
    else:
        share = normalized_weights(sample_weights, len(v), h.dtype)
        product = _product(v, share[:, None] * h, compute_dtype)
        visible, hidden, visible_units, hidden_units = jax.tree.map(lambda values: share @ values, averaged)
    return Moments(visible, hidden, product, visible_units, hidden_units)


def swap_layers(moments: Moments) -> Moments:
    """The moments of the transposed RBM.

    ⟨∂K/∂λ⟩ of a layer is also its ⟨∂log ρ/∂λ⟩, if both are averages over the joint distribution of an RBM.
    """
    return Moments(moments.hidden, moments.visible, moments.product.mT, moments.hidden_units, moments.visible_units)


def _hidden_field(rbm: RBM, v, dtype):
    if dtype == rbm.dtype:
        return field_on_hidden(rbm, v)
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
