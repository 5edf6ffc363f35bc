"""Exact maps from RBMs to RBMs."""

import jax
import jax.numpy as jnp

from rbm_jax._internal.checks import as_configurations, check_mask
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Shaped
from rbm_jax.model.rbm import RBM, rebuild
from rbm_jax.units import AbstractUnits, Bernoulli, Gaussian, ReLU, Spin, same_units

__all__ = [
    "absorb_hidden_scale",
    "bernoulli_to_spin",
    "clamp",
    "independent_rbm",
    "interpolate",
    "spin_to_bernoulli",
    "temper",
    "transpose",
    "zero_sum_gauge",
]


def bernoulli_to_spin(rbm: RBM) -> tuple[RBM, Float[Array, "*rbms"]]:
    """The same model in ±1 variables, s = 2v - 1 and σ = 2h - 1: W/4, a/2 + W1/4, b/2 + Wᵀ1/4.

    Args:
        rbm: Bernoulli units in both layers.

    Returns:
        The Spin-Spin RBM, and the constant by which log Z moves: log Z(new) = log Z(old) + constant,
        constant = -Σa/2 - Σb/2 - ΣW/4.

    Raises:
        TypeError: other unit types.
    """
    _require_units(rbm, Bernoulli())
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    spin = RBM(w / 4, a / 2 + w.sum(-1) / 4, b / 2 + w.sum(-2) / 4, Spin(), Spin())
    return spin, -(a.sum(-1) / 2 + b.sum(-1) / 2 + w.sum((-2, -1)) / 4)


def spin_to_bernoulli(rbm: RBM) -> tuple[RBM, Float[Array, "*rbms"]]:
    """The same model in 0/1 variables, v = (s + 1)/2 and h = (σ + 1)/2: 4W, 2(a - W1), 2(b - Wᵀ1).

    Args:
        rbm: Spin units in both layers.

    Returns:
        The Bernoulli-Bernoulli RBM, and the constant by which log Z moves: log Z(new) = log Z(old) + constant,
        constant = Σa + Σb - ΣW.

    Raises:
        TypeError: other unit types.
    """
    _require_units(rbm, Spin())
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    bernoulli = RBM(4 * w, 2 * (a - w.sum(-1)), 2 * (b - w.sum(-2)), Bernoulli(), Bernoulli())
    return bernoulli, a.sum(-1) + b.sum(-1) - w.sum((-2, -1))


def zero_sum_gauge(rbm: RBM) -> tuple[RBM, Float[Array, "*rbms"]]:
    """The same model with weights and biases that sum to zero over the states of each Potts unit.

    A constant added to W_kj for all states k of a unit adds that constant to b_j, and one added to its fields a_k adds
    to the energy, as one state is always taken: P(v, h) does not change. Parameters of Potts units can only be compared
    in one such gauge; this is the one with the least Σ W². Scalar units have no such freedom, and stay as they are.

    Args:
        rbm: any pair of unit types.

    Returns:
        The RBM, and the constant by which log Z moves: log Z(new) = log Z(old) + constant.
    """
    rbm, visible_constant = _visible_gauge(rbm)
    rbm, hidden_constant = _visible_gauge(transpose(rbm))
    return transpose(rbm), visible_constant + hidden_constant


def absorb_hidden_scale(
    weights: Float[Array, "*rbms n_visible n_hidden"],
    visible_bias: Float[Array, "*rbms n_visible"],
    hidden_bias: Float[Array, "*rbms n_hidden"],
    visible_units: AbstractUnits,
    hidden_units: AbstractUnits,
) -> tuple[RBM, Float[Array, "*rbms"]]:
    """The RBM with the same P(v) whose Gaussian or ReLU hidden units have variance 1: W_ij σ_j and b_j σ_j.

    h_j = σ_j u_j turns exp(-h_j²/2σ_j² + h_j (b_j + Σ_i v_i W_ij)) into a unit of variance 1 with rescaled weights: the
    scale of a hidden unit is a gauge. With z_j = log σ_j² any gradient obeys Σ_i W_ij ∂/∂W_ij + b_j ∂/∂b_j = 2 ∂/∂z_j.

    Args:
        weights: W_ij, as of `RBM`.
        visible_bias: a_i, as of `RBM`.
        hidden_bias: b_j, as of `RBM`.
        visible_units: any unit type.
        hidden_units: `Gaussian` or `ReLU`, with a scale for each unit, shape (n_hidden,), or one fixed number.

    Returns:
        The RBM, and the constant by which log Z moves: log Z(new) = log Z(old) + constant, constant = -Σ_j log σ_j.

    Raises:
        TypeError: other hidden units.
        ValueError: shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax import Gaussian, Spin
        >>> from rbm_jax.model import absorb_hidden_scale
        >>> hidden_units = Gaussian(variance=jnp.array([4.0, 9.0]))
        >>> rbm, _ = absorb_hidden_scale(jnp.ones((1, 2)), jnp.zeros(1), jnp.ones(2), Spin(), hidden_units)
        >>> rbm.weights, rbm.hidden_bias, rbm.hidden_units
        (Array([[2., 3.]], dtype=float32), Array([2., 3.], dtype=float32), Gaussian(variance=1.0))
    """
    if not isinstance(hidden_units, Gaussian | ReLU):
        raise TypeError(f"hidden_units must be Gaussian or ReLU, which have a scale, got {hidden_units}")
    variance = jnp.broadcast_to(jnp.asarray(hidden_units.base_variance, weights.dtype), hidden_bias.shape)
    scale = jnp.sqrt(variance)
    rescaled = RBM(
        weights * scale[..., None, :], visible_bias, hidden_bias * scale, visible_units, type(hidden_units)()
    )
    return rescaled, -jnp.log(scale).sum(-1)


def temper(rbm: RBM, beta: FloatLike) -> RBM:
    """The RBM at inverse temperature beta: weights and biases times beta, P(v, h) ∝ ρ_v ρ_h exp(-beta E).

    The base measures stay, and with them what units have learned, so that beta = 0 is the product of the units at zero
    field. Differentiable in beta.
    """
    names = ("weights", "visible_bias", "hidden_bias")
    return rebuild(rbm, **{name: (beta * getattr(rbm, name)).astype(rbm.dtype) for name in names})


def interpolate(start: RBM, end: RBM, t: FloatLike) -> RBM:
    """The RBM whose log weight log ρ - E is (1 - t) that of start plus t that of end: the geometric path.

    Weights and biases are (1 - t) start + t end, and so are the coefficients of log ρ where units have learned them:
    1/σ² of Gaussian and ReLU ones. It is `start` at t = 0 and `end` at t = 1.

    Raises:
        ValueError: the two RBMs differ in shape or unit types.
    """
    if jax.tree.structure(start) != jax.tree.structure(end) or start.weights.shape != end.weights.shape:
        raise ValueError(
            "start and end must agree in unit types and shape, got "
            f"{start.visible_units}-{start.hidden_units} {start.weights.shape} and "
            f"{end.visible_units}-{end.hidden_units} {end.weights.shape}"
        )
    return _between(start, end, t)


@jax.jit
def _between(start: RBM, end: RBM, t) -> RBM:
    line = jax.tree.map(lambda first, second: ((1 - t) * first + t * second).astype(first.dtype), start, end)
    return rebuild(
        line,
        visible_units=start.visible_units.interpolate(end.visible_units, t),
        hidden_units=start.hidden_units.interpolate(end.hidden_units, t),
    )


def independent_rbm(rbm: RBM, visible_mean: Float[ArrayLike, " n_visible"]) -> RBM:
    """The RBM without weights, of the same units and size, with these means of visible units and no hidden bias.

    Args:
        rbm: gives units, sizes and dtype.
        visible_mean: such as the means of the data, shape (n_visible,). They are moved 1e-3 (in probability) away from
            the edge, so that all states are possible.
    """
    return _independent(rbm, as_configurations("visible_mean", visible_mean, rbm.n_visible, rbm.dtype, ndim=1))


@jax.jit
def _independent(rbm: RBM, mean) -> RBM:
    bias = rbm.visible_units.field_at_mean(rbm.visible_units.interior_mean(mean, 1e-3))
    weights, hidden_bias = jnp.zeros_like(rbm.weights), jnp.zeros_like(rbm.hidden_bias)
    return rebuild(rbm, weights=weights, visible_bias=bias, hidden_bias=hidden_bias)


def clamp(rbm: RBM, v: Shaped[ArrayLike, " n_visible"], clamp_mask: Shaped[ArrayLike, " n_visible"]) -> RBM:
    """The RBM of the units that are left when some visible ones are held at their values in v.

    The held units stay in it, uncoupled: their weights are zero, and what they do to the hidden units is in the hidden
    bias. So it has the conditional distribution of all others, and its weights have the same shape.

    Args:
        rbm: any pair of unit types.
        v: values of the held units, shape (n_visible,); the others are not looked at and may be NaN.
        clamp_mask: True where a unit is held, shape (n_visible,).
    """
    v = as_configurations("v", v, rbm.n_visible, rbm.dtype, ndim=1)
    mask = jnp.asarray(check_mask("clamp_mask", clamp_mask, v.shape))
    hidden_bias = rbm.hidden_bias + jnp.where(mask, v, 0) @ rbm.weights
    return rebuild(rbm, weights=jnp.where(mask[:, None], 0, rbm.weights), hidden_bias=hidden_bias)


def transpose(rbm: RBM) -> RBM:
    """The same model with its two layers swapped; leading axes of a stack stay, and learned scales go along."""
    return rebuild(
        rbm,
        weights=rbm.weights.mT,
        visible_bias=rbm.hidden_bias,
        hidden_bias=rbm.visible_bias,
        visible_units=rbm.hidden_units,
        hidden_units=rbm.visible_units,
    )


def _visible_gauge(rbm: RBM) -> tuple[RBM, Float[Array, "*rbms"]]:
    size = rbm.visible_units.group_size
    w, a, b = rbm.weights, rbm.visible_bias, rbm.hidden_bias
    if size == 1:
        return rbm, jnp.zeros(a.shape[:-1], a.dtype)
    grouped_w, grouped_a = w.reshape(*w.shape[:-2], -1, size, w.shape[-1]), a.reshape(*a.shape[:-1], -1, size)
    mean_w, mean_a = grouped_w.mean(-2, keepdims=True), grouped_a.mean(-1, keepdims=True)
    weights, bias = (grouped_w - mean_w).reshape(w.shape), (grouped_a - mean_a).reshape(a.shape)
    moved = rebuild(rbm, weights=weights, visible_bias=bias, hidden_bias=b + mean_w.sum((-3, -2)))
    return moved, -mean_a.sum((-2, -1))


def _require_units(rbm: RBM, units: AbstractUnits) -> None:
    if not (same_units(rbm.visible_units, units) and same_units(rbm.hidden_units, units)):
        raise TypeError(
            f"rbm must have {units} units in both layers, got {rbm.visible_units} visible and {rbm.hidden_units} hidden"
        )
