"""Energies, local fields and free energies, for any pair of unit types."""

import jax.numpy as jnp

from rbm_jax._internal.checks import as_means, as_samples, check_parameters
from rbm_jax._internal.typing import Array, ArrayLike, Float, Shaped
from rbm_jax.model.rbm import RBM

__all__ = [
    "check_leading_axes",
    "check_rbm",
    "check_single",
    "energy_of_both",
    "field_on_hidden",
    "field_on_visible",
    "free_energy_of_visible",
    "hidden_field",
    "hidden_free_energy",
    "joint_energy",
    "visible_field",
    "visible_free_energy",
]

VisibleStates = Shaped[ArrayLike, "*batch n_visible"]
HiddenStates = Shaped[ArrayLike, "*batch n_hidden"]


def visible_field(rbm: RBM, h: HiddenStates) -> Float[Array, "*batch n_visible"]:
    """Local field on the visible units given the hidden ones, a + W h.

    Args:
        rbm: any pair of unit types.
        h: hidden configurations or magnetizations, shape (*batch, n_hidden): values that can be means of the units.

    Raises:
        ValueError: the last axis of `h` is not n_hidden, a value cannot be a mean of the units, or the RBM has NaN.
    """
    check_rbm(rbm)
    return field_on_visible(rbm, as_means("h", h, rbm.hidden_units, rbm.n_hidden, rbm.dtype))


def hidden_field(rbm: RBM, v: VisibleStates) -> Float[Array, "*batch n_hidden"]:
    """Local field on the hidden units given the visible ones, b + Wᵀ v.

    Args:
        rbm: any pair of unit types.
        v: visible configurations or magnetizations, shape (*batch, n_visible): values that can be means of the units.

    Raises:
        ValueError: the last axis of `v` is not n_visible, a value cannot be a mean of the units, or the RBM has NaN.
    """
    check_rbm(rbm)
    return field_on_hidden(rbm, as_means("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype))


def joint_energy(
    rbm: RBM, v: Shaped[ArrayLike, "*#batch n_visible"], h: Shaped[ArrayLike, "*#batch n_hidden"]
) -> Float[Array, "..."]:
    """Energy E(v, h) = -a·v - b·h - vᵀWh, in units of k_B T.

    The base measures ρ of the units are not part of it: P(v, h) = ρ_v(v) ρ_h(h) exp(-E) / Z.

    Args:
        rbm: any pair of unit types.
        v: configurations or magnetizations, shape (*batch, n_visible).
        h: the same for the hidden layer, shape (*batch, n_hidden), with leading axes that broadcast against those of
            `v`.

    Raises:
        ValueError: axes that do not fit, a value that cannot be a mean of its units, or an RBM with NaN.
    """
    check_rbm(rbm)
    v = as_means("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype)
    h = as_means("h", h, rbm.hidden_units, rbm.n_hidden, rbm.dtype)
    check_leading_axes(v=v, h=h)
    return energy_of_both(rbm, v, h)


def visible_free_energy(rbm: RBM, v: VisibleStates) -> Float[Array, "*batch"]:
    """Free energy of a visible configuration, F(v) = -log ρ_v(v) - a·v - Σ_j ψ(b_j + (Wᵀv)_j).

    ψ is `log_partition` of the hidden units, so that P(v) = e^{-F(v)} / Z. Differentiable in all arguments.

    Args:
        rbm: any pair of unit types.
        v: configurations, shape (*batch, n_visible).

    Raises:
        ValueError: the last axis of `v` is not n_visible, a value outside the support of the units, or an RBM with NaN.
    """
    check_rbm(rbm)
    return free_energy_of_visible(rbm, as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype))


def hidden_free_energy(rbm: RBM, h: HiddenStates) -> Float[Array, "*batch"]:
    """Free energy of a hidden configuration, so P(h) = e^{-F(h)} / Z: `visible_free_energy` with the layers swapped.

    Args:
        rbm: any pair of unit types.
        h: configurations, shape (*batch, n_hidden).

    Raises:
        ValueError: the last axis of `h` is not n_hidden, a value outside the support of the units, or an RBM with NaN.
    """
    check_rbm(rbm)
    h = as_samples("h", h, rbm.hidden_units, rbm.n_hidden, rbm.dtype)
    marginal = rbm.visible_units.log_partition(field_on_visible(rbm, h)).sum(-1)
    return -rbm.hidden_units.log_base_measure(h).sum(-1) - h @ rbm.hidden_bias - marginal


def energy_of_both(
    rbm: RBM, v: Float[Array, "*#batch n_visible"], h: Float[Array, "*#batch n_hidden"]
) -> Float[Array, "..."]:
    """`joint_energy` of any numbers, without a look at them: a kernel."""
    return -(field_on_hidden(rbm, v) * h).sum(-1) - v @ rbm.visible_bias


def field_on_visible(rbm: RBM, h: Float[Array, "*batch n_hidden"]) -> Float[Array, "*batch n_visible"]:
    """`visible_field` of any numbers, without a look at them: a kernel."""
    return rbm.visible_bias + h @ rbm.weights.T


def field_on_hidden(rbm: RBM, v: Float[Array, "*batch n_visible"]) -> Float[Array, "*batch n_hidden"]:
    """`hidden_field` of any numbers, without a look at them: a kernel."""
    return rbm.hidden_bias + v @ rbm.weights


def free_energy_of_visible(rbm: RBM, v: Float[Array, "*batch n_visible"]) -> Float[Array, "*batch"]:
    """`visible_free_energy` without a look at the values: a kernel, for what is discarded or known to fit."""
    marginal = rbm.hidden_units.log_partition(field_on_hidden(rbm, v)).sum(-1)
    return -rbm.visible_units.log_base_measure(v).sum(-1) - v @ rbm.visible_bias - marginal


def check_rbm(rbm: RBM) -> None:
    """Raise unless this is one RBM whose known parameters are not NaN."""
    check_single(rbm)
    check_parameters(rbm)


def check_leading_axes(**layers: Array) -> None:
    """Raise unless the leading axes of two named layers broadcast against each other."""
    (name, first), (other_name, second) = layers.items()
    try:
        jnp.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    except ValueError as error:
        raise ValueError(
            f"leading axes of {name} and {other_name} must broadcast, got shapes {first.shape} and {second.shape}"
        ) from error


def check_single(rbm: RBM) -> None:
    """Raise if this is a stack of RBMs, or something else."""
    if not isinstance(rbm, RBM):
        raise TypeError(
            f"rbm must be an RBM, got {type(rbm).__name__}; expand a TiedRBM by "
            "rbm_jax.symmetry.expand, or train it by rbm_jax.training.Tied"
        )
    if rbm.weights.ndim != 2:
        raise ValueError(f"rbm must be one RBM, got a stack with weights of shape {rbm.weights.shape}: use jax.vmap")
