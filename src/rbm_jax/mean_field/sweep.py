"""One sweep of the mean-field equations, which is all that their solution and mean-field training do."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._typing import Array, ArrayLike
from rbm_jax.rbm import RBM
from rbm_jax.units import AbstractUnits

__all__ = ["Equations", "Magnetizations", "mean_field_equations", "start_magnetizations", "sweep"]

_NEWTON_STEPS = 6


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


def start_magnetizations(equations: Equations, visible: Array, mask: Array | None) -> Magnetizations:
    """Complete visible magnetizations: each hidden one solves its own equation, x = field + O(μ(x)), at these."""
    rbm, powers = equations
    units = rbm.hidden_units
    inputs = _inputs(_cumulants(rbm.visible_units, visible, None, powers, mask), powers)
    field = rbm.hidden_bias + inputs[0]

    def improve(_, x):
        """A Newton step; from x = 0 they approach the solution from one side, since -O grows with x and saturates."""
        reaction, slope = jax.jvp(lambda x: _reaction(units, units.mean(x), inputs), (x,), (jnp.ones_like(x),))
        return x - (x - field - reaction) / (1 - slope)

    if len(powers) > 1:
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
    inputs = _inputs(_cumulants(rbm.visible_units, old.visible, old.curvature, powers, mask), powers)
    hidden = _renew(rbm.hidden_units, rbm.hidden_bias, old.hidden, inputs, damping)
    curvature = inputs[1] if len(powers) > 1 else None
    back = tuple(power.T for power in powers)
    inputs = _inputs(_cumulants(rbm.hidden_units, hidden, curvature, powers, None), back)
    visible = _renew(rbm.visible_units, rbm.visible_bias, old.visible, inputs, damping)
    visible = visible if mask is None else jnp.where(mask, old.visible, visible)
    return Magnetizations(visible, hidden, None if old.curvature is None else inputs[1])


def _cumulants(units: AbstractUnits, mean, curvature, powers, mask) -> tuple[Array, ...]:
    """Mean, variance and third cumulant of a layer, as many as the order asks for; clamped units do not fluctuate."""
    cumulants = (mean,)
    if len(powers) > 1:
        cumulants += (units.variance_at_mean(mean, 0.0 if curvature is None else curvature),)
    if len(powers) > 2:
        cumulants += (units.third_cumulant_at_mean(mean),)
    if mask is None:
        return cumulants
    return (mean, *(jnp.where(mask, 0, cumulant) for cumulant in cumulants[1:]))


def _inputs(cumulants: tuple[Array, ...], powers: tuple[Array, ...]) -> tuple[Array, ...]:
    """What a layer receives: the field Σ W m, the curvature K = Σ W² c and T = Σ W³ c₃."""
    return tuple(cumulant @ power for cumulant, power in zip(cumulants, powers, strict=True))


def _reaction(units: AbstractUnits, mean: Array, inputs: tuple[Array, ...]) -> Array | float:
    """The Onsager field: what a unit must not feel of its own effect on the other layer.

    It is the derivative of the coupling terms of order 2 and 3 of -G in the unit's own magnetization.
    """
    if len(inputs) == 1:
        return 0.0

    def terms(mean):
        total = units.fluctuation_entropy(mean, inputs[1]).sum()
        return total + (inputs[2] * units.third_cumulant_at_mean(mean)).sum() / 6 if len(inputs) > 2 else total

    return jax.grad(terms)(mean)


def _renew(units: AbstractUnits, bias, old, inputs: tuple[Array, ...], damping: ArrayLike | float) -> Array:
    new = units.mean(bias + inputs[0] + _reaction(units, old, inputs))
    return (1 - damping) * new + damping * old
