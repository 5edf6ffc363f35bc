"""One sweep of the mean-field equations, which is all that their solution and mean-field training do."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.typing import Array, ArrayLike
from rbm_jax.mean_field.fluctuations import coupling, fluctuations, received_curvature
from rbm_jax.model.rbm import RBM
from rbm_jax.units import AbstractUnits

__all__ = ["Equations", "Magnetizations", "mean_field_equations", "init_magnetizations", "sweep"]

_NEWTON_STEPS = 6
"""Quadratic convergence from x = 0 reaches the precision of float64 in about six steps."""


class Magnetizations(NamedTuple):
    """What a sweep changes.

    Attributes:
        visible: m_v, shape (*batch, n_visible).
        hidden: m_h, shape (*batch, n_hidden).
        curvature: K of the visible units, shape (*batch, n_visible), where their variance depends on it; else None.
    """

    visible: Array
    hidden: Array
    curvature: Array | None


class Equations(NamedTuple):
    """What a sweep needs: the RBM, and the elementwise powers of W up to the order of the expansion."""

    rbm: RBM
    powers: tuple[Array, ...]


def mean_field_equations(rbm: RBM, order: int) -> Equations:
    """The mean-field equations of an order, with the powers of W computed once."""
    return Equations(rbm, tuple(rbm.weights**power for power in range(1, order + 1)))


def init_magnetizations(equations: Equations, visible: Array, mask: Array | None) -> Magnetizations:
    """Complete visible magnetizations: each hidden one solves its own equation, x = field + O(μ(x)), at these.

    For units of several components, whose equations are coupled, O is left out.
    """
    rbm, powers = equations
    units = rbm.hidden_units
    inputs = _inputs(rbm.visible_units, visible, None, powers, mask)
    field = rbm.hidden_bias + inputs.field

    def improve(_, x):
        """A Newton step; from x = 0 they approach the solution from one side, since -O grows with x and saturates."""
        reaction, slope = jax.jvp(lambda x: _reaction(units, units.mean(x), inputs, powers), (x,), (jnp.ones_like(x),))
        return x - (x - field - reaction) / (1 - slope)

    if len(powers) > 1 and units.group_size == 1:
        field = lax.fori_loop(0, _NEWTON_STEPS, improve, jnp.zeros_like(field))
    curvature = jnp.zeros_like(visible) if rbm.visible_units.variance_is_free and len(powers) > 1 else None
    return Magnetizations(visible, units.mean(field), curvature)


def sweep(
    old: Magnetizations, equations: Equations, mask: Array | None, damping: ArrayLike | float = 0.0
) -> Magnetizations:
    """Renew the hidden, then the visible magnetizations, but for the visible units where `mask` is True.

    The damping is one number, or one for each row in a column.
    """
    rbm, powers = equations
    inputs = _inputs(rbm.visible_units, old.visible, old.curvature, powers, mask)
    hidden = _renew(rbm.hidden_units, rbm.hidden_bias, old.hidden, inputs, powers, damping)
    back = tuple(power.T for power in powers)
    inputs = _inputs(rbm.hidden_units, hidden, inputs.curvature, back, None)
    visible = _renew(rbm.visible_units, rbm.visible_bias, old.visible, inputs, back, damping)
    visible = visible if mask is None else jnp.where(mask, old.visible, visible)
    return Magnetizations(visible, hidden, None if old.curvature is None else inputs.curvature)


class _Inputs(NamedTuple):
    """What a layer receives from the other: the field Σ W m, the curvature K = Σ W² c and T = Σ W³ c₃.

    And the fluctuations of the other layer, with which units of several components make their own curvature.
    """

    field: Array
    curvature: Any = None
    third: Any = None
    sender: Any = None


def _inputs(units: AbstractUnits, mean, curvature, powers, mask) -> _Inputs:
    """What a layer of these units sends along the powers of W, as many as the order has; clamped ones send but m."""
    field = mean @ powers[0]
    if len(powers) == 1:
        return _Inputs(field)
    layer = fluctuations(units, mean, 0.0 if curvature is None else curvature, mask)
    received = received_curvature(layer, *powers[:2])
    if len(powers) == 2:
        return _Inputs(field, received, None, layer)
    third = units.third_cumulant_at_mean(mean)
    third = third if mask is None else jnp.where(mask, 0, third)
    return _Inputs(field, received, third @ powers[2], layer)


def _reaction(units: AbstractUnits, mean: Array, inputs: _Inputs, powers: tuple[Array, ...]) -> Array | float:
    """The Onsager field: what a unit must not feel of its own effect on the other layer.

    It is the derivative of the coupling terms of order 2 and 3 of -G in the unit's own magnetization.
    """
    if inputs.sender is None:
        return 0.0

    def terms(mean):
        if units.group_size > 1:
            return coupling(powers[0], powers[1], inputs.sender, fluctuations(units, mean)).sum() / 2
        total = units.fluctuation_entropy(mean, inputs.curvature).sum()
        if inputs.third is None:
            return total
        return total + (inputs.third * units.third_cumulant_at_mean(mean)).sum() / 6

    return jax.grad(terms)(mean)


def _renew(units: AbstractUnits, bias, old, inputs: _Inputs, powers, damping: ArrayLike | float) -> Array:
    new = units.mean(bias + inputs.field + _reaction(units, old, inputs, powers))
    return (1 - damping) * new + damping * old
