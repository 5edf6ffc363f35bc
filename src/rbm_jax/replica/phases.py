"""Phases of the ensemble and the lines between them, in the plane of 1/σ and w/σ: temperature and ferromagnetic bias.

Without fields, ±1 units are a paramagnet at weak couplings, a ferromagnet if the strongest mode condenses, and a spin
glass if noise alone freezes them. Source: Decelle, Fissore & Furtlehner (2018), Fig. 4.
"""

import enum
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax._internal.checks import check_finite
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Int
from rbm_jax.model.rbm import RBM
from rbm_jax.model.transforms import bernoulli_to_spin
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.replica.saddle import Control, OrderParameters, solve_saddle
from rbm_jax.spectral import split_bulk
from rbm_jax.units import AbstractUnits, Bernoulli, Spin, same_units

__all__ = [
    "Location",
    "Phase",
    "PhaseDiagram",
    "almeida_thouless_strength",
    "classify_phase",
    "compositional_threshold",
    "critical_strength",
    "locate",
    "phase_diagram",
    "spin_glass_noise",
]

_GAUSSIAN, _SPIN = GaussianDistribution(), Spin()
_THRESHOLD = 0.03
"""Magnetizations below count as zero; within 1e-3 of w = 1 they are smaller even in the ferromagnet."""
_N_BISECTIONS = 56
"""Halvings of an interval, after up to six doublings: 2^-50 of it is below the rounding error of its ends in either
precision."""
_HIGHEST_NOISE = 100.0
"""Where the search for the freezing transition gives up: spins freeze at 1, and 0/1 units, of a quarter, below 20."""
_LARGEST_FACTOR = 2**6
"""Of w_c, where the search for the line of de Almeida and Thouless gives up."""


class Phase(enum.IntEnum):
    """What orders."""

    PARAMAGNET = 0
    """Nothing: m = 0, q = 0."""
    FERROMAGNET = 1
    """A mode is condensed, m ≠ 0, and replica symmetry holds."""
    SPIN_GLASS = 2
    """Units are frozen, q > 0, along no mode."""
    MIXED = 3
    """A mode is condensed, but replica symmetry is broken."""


class PhaseDiagram(eqx.Module):
    """Solutions on a grid.

    Attributes:
        order_parameters: the solution that a magnetization of 0.9 leads to, with leaves of the grid's shape first.
        phase: a `Phase` at each point, as integers.
    """

    order_parameters: OrderParameters
    phase: Int[Array, "*points"]


class Location(eqx.Module):
    """Where an RBM stands.

    Attributes:
        control: its σ, κ and planted strengths; fields are left at zero.
        order_parameters: the replica-symmetric solution there, for the strongest mode alone.
        phase: the phase.
    """

    control: Control
    order_parameters: OrderParameters
    phase: Phase = eqx.field(static=True)


def classify_phase(order_parameters: OrderParameters, *, threshold: float = _THRESHOLD) -> Int[Array, "*points"]:
    """The `Phase` of solutions without fields, as integers.

    Args:
        order_parameters: solutions, with any leading axes.
        threshold: magnetizations up to here and overlaps up to its square count as zero.
    """
    magnetized = jnp.abs(order_parameters.m_visible).max(-1) > threshold
    frozen = jnp.where(order_parameters.q_visible > threshold**2, Phase.SPIN_GLASS, Phase.PARAMAGNET)
    condensed = jnp.where(order_parameters.stability > 1, Phase.MIXED, Phase.FERROMAGNET)
    return jnp.where(magnetized, condensed, frozen).astype(jnp.int32)


@functools.partial(jax.jit, static_argnames=("component_distribution", "batch_size"), inline=True)
def phase_diagram(
    noise: Float[ArrayLike, "*#points"] | float,
    strength: Float[ArrayLike, "*#points"] | float,
    *,
    ratio: FloatLike = 1.0,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
    batch_size: int = 32,
) -> PhaseDiagram:
    """Solutions and phases for one mode on a grid of controls.

    Args:
        noise: σ, of any shape.
        strength: w, of a shape that broadcasts with it.
        ratio: κ = n_hidden / n_visible, the same everywhere.
        component_distribution: as in `solve_saddle`. Gaussian and Bernoulli components are quick, others need up to 80
            times the quadrature points.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
        batch_size: points solved side by side, each batch until its last point has converged; more on an accelerator.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax.replica import Phase, phase_diagram
        >>> diagram = phase_diagram(jnp.asarray([0.5, 2.0]), jnp.asarray([[0.5], [3.0]]))
        >>> [[Phase(value).name for value in row] for row in diagram.phase.tolist()]
        [['PARAMAGNET', 'SPIN_GLASS'], ['FERROMAGNET', 'FERROMAGNET']]
    """
    noise, strength = jnp.broadcast_arrays(jnp.asarray(noise, float), jnp.asarray(strength, float))

    def solve(point):
        control = Control(point[1][None], noise=point[0], ratio=ratio)
        return solve_saddle(
            control,
            component_distribution=component_distribution,
            visible_units=visible_units,
            hidden_units=hidden_units,
        )

    solutions = lax.map(solve, (noise.ravel(), strength.ravel()), batch_size=batch_size)
    solutions = jax.tree.map(lambda leaf: leaf.reshape(noise.shape + leaf.shape[1:]), solutions)
    return PhaseDiagram(solutions, classify_phase(solutions))


def critical_strength(
    noise: FloatLike,
    *,
    ratio: FloatLike = 1.0,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
) -> Float[Array, ""]:
    """The strength w_c(σ) above which a mode condenses out of the state without magnetization.

    w_c² = 1 / ((Q - q)(Q̄ - q̄)) with that state's order parameters, for every distribution of components: 1 for ±1
    units in the paramagnet, σ < 1, and the line between spin glass and ferromagnet beyond, where it is
    replica-symmetric theory only (symmetry breaking is believed to make that line vertical, w = σ).

    Args:
        noise: σ; use `vmap` for several.
        ratio: κ = n_hidden / n_visible.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
    """
    return 1 / jnp.sqrt(_response(_unmagnetized(noise, ratio, visible_units, hidden_units)))


def spin_glass_noise(
    *,
    ratio: FloatLike = 1.0,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
) -> Float[Array, ""]:
    """The noise σ at which replica symmetry breaks in the state without magnetization.

    1 for ±1 units, whatever κ; there the paramagnet freezes into a spin glass. Found by bisection below 100; NaN where
    there is no such transition.

    Args:
        ratio: κ = n_hidden / n_visible.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
    """

    def stable(noise):
        # An initial point without overlap stays in the paramagnet, if there is one.
        return _unmagnetized(noise, ratio, visible_units, hidden_units, q_init=0.0).stability < 1

    highest = jnp.asarray(_HIGHEST_NOISE)
    found = _bisect(stable, jnp.zeros_like(highest), 2 * highest)  # the first step is to the highest
    return jnp.where(found < highest, found, jnp.nan)


def almeida_thouless_strength(
    noise: FloatLike,
    *,
    ratio: FloatLike = 1.0,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
) -> Float[Array, ""]:
    """The strength w_AT(σ) above which the ferromagnet is replica-symmetric.

    It depends on the distribution of components. Between `critical_strength` and this line lies the mixed phase. Where
    there is none, the two are the same. Found by bisection in Λ(w) = 1; infinite if Λ > 1 up to w = 64 w_c.

    Args:
        noise: σ; use `vmap` for several.
        ratio: κ = n_hidden / n_visible.
        component_distribution: as in `solve_saddle`.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
    """

    def unstable(strength):
        solution = solve_saddle(
            Control(strength[None], noise=noise, ratio=ratio),
            component_distribution=component_distribution,
            visible_units=visible_units,
            hidden_units=hidden_units,
        )
        return solution.stability > 1

    low = critical_strength(noise, ratio=ratio, visible_units=visible_units, hidden_units=hidden_units)
    found = _bisect(unstable, low, jnp.full_like(low, jnp.inf))
    return jnp.where(found < _LARGEST_FACTOR * low, found, jnp.inf)


def compositional_threshold(order_parameters: OrderParameters, strength: FloatLike) -> Float[Array, "*points"]:
    """The ratio r_c: beside a condensed mode of strength w, one of strength w' condenses too if w'/w > r_c.

    r_c = 1 / (w √((Q - q)(Q̄ - q̄))). Components of kurtosis above 3 have r_c < 1: modes of similar strength condense
    together (compositional phase). Below 3, r_c > 1: they compete, and each can be a metastable state.

    Args:
        order_parameters: the solution with the single mode condensed.
        strength: its w.
    """
    return 1 / (jnp.asarray(strength) * jnp.sqrt(_response(order_parameters)))


def locate(rbm: RBM, *, component_distribution: AbstractDistribution = _GAUSSIAN) -> Location:
    """Where an RBM stands in the ensemble: σ from the bulk of its singular values, w from what sticks out of it.

    The weights are taken for planted modes plus independent noise, and the biases are left out: an RBM whose biases are
    not small is in fields that smear the transitions. For use on the host: the number of outliers sets shapes.

    Args:
        rbm: one RBM. Bernoulli-Bernoulli ones are mapped to ±1 units first, which divides weights by 4.
        component_distribution: as in `solve_saddle`.

    Returns:
        The location; its `control.singular_values` holds the strengths by decreasing value, or a single 0 where nothing
        sticks out (planted modes of w ≤ σ cannot be seen). Weaker modes condense as well if `compositional_threshold`
        says so, which the phase does not tell.

    Raises:
        ValueError: a stack of RBMs, or weights with NaN.
    """
    if rbm.weights.ndim != 2:
        raise ValueError(f"rbm must be a single RBM, got weights of shape {rbm.weights.shape}")
    check_finite("rbm.weights", rbm.weights)
    if same_units(rbm.visible_units, Bernoulli()) and same_units(rbm.hidden_units, Bernoulli()):
        rbm, _ = bernoulli_to_spin(rbm)
    ratio = rbm.weights.shape[1] / rbm.weights.shape[0]
    bulk = split_bulk(rbm.weights)
    strengths = np.asarray(bulk.planted_values)
    strengths = strengths[np.isfinite(strengths)]
    strengths = jnp.asarray(strengths if len(strengths) else np.zeros(1), rbm.dtype)
    solution = solve_saddle(
        Control(strengths[:1], noise=bulk.ensemble_noise, ratio=ratio),
        component_distribution=component_distribution,
        visible_units=rbm.visible_units,
        hidden_units=rbm.hidden_units,
    )
    control = Control(strengths, noise=bulk.ensemble_noise, ratio=ratio)
    return Location(control, solution, Phase(int(classify_phase(solution))))


def _unmagnetized(noise, ratio, visible_units, hidden_units, q_init=None) -> OrderParameters:
    nothing = jnp.zeros(1)
    return solve_saddle(
        Control(nothing, noise=noise, ratio=ratio),
        visible_units=visible_units,
        hidden_units=hidden_units,
        m_init=nothing,
        q_init=q_init,
    )


def _response(solution: OrderParameters):
    """E[var(s)] E[var(h)], as Q - q is a layer's mean variance."""
    visible = solution.second_moment_visible - solution.q_visible
    return visible * (solution.second_moment_hidden - solution.q_hidden)


def _bisect(holds, low, high):
    """Where a condition that holds at `low` ceases to, on the way to `high`; from an infinite one by doubling first."""

    def halve(_, ends):
        low, high = ends
        middle = jnp.where(jnp.isinf(high), 2 * low, (low + high) / 2)
        inside = holds(middle)
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    return lax.fori_loop(0, _N_BISECTIONS, halve, (low, high))[0]
