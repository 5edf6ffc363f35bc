"""Fixed points of the mean-field equations, for a batch of starts at a time."""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax

from rbm_jax._internal.checks import (
    as_means,
    check_count,
    check_fraction,
    check_mask,
    check_positive,
)
from rbm_jax._internal.math import max_norm
from rbm_jax._internal.typing import Array, ArrayLike, Bool, Float, FloatLike, Int, Shaped
from rbm_jax.mean_field.fluctuations import check_expansion
from rbm_jax.mean_field.free_energy import mean_field_free_energy
from rbm_jax.mean_field.sweep import (
    Equations,
    Magnetizations,
    init_magnetizations,
    mean_field_equations,
    sweep,
)
from rbm_jax.model.energies import check_rbm
from rbm_jax.model.rbm import RBM

__all__ = ["MeanFieldSolution", "solve_mean_field"]

_BLOCK = 64
"""Starts that are swept at once: enough for an efficient matrix product, and few for the last ones that go on."""

_BURST = 8
"""Sweeps of a block before the starts still on their way are gathered again, which costs about as much as one."""

_PATIENCE = 10
"""Turns back before the damping is raised: an iteration that converges turns back a few times too."""


class MeanFieldSolution(eqx.Module):
    """Magnetizations that solve the mean-field equations, one set for each start.

    Attributes:
        visible: m_v, shape (*batch, n_visible).
        hidden: m_h, shape (*batch, n_hidden).
        free_energy: `mean_field_free_energy` there, shape (*batch,).
        converged: whether the last change was within the tolerance and the free energy exists, shape (*batch,).
        n_steps: sweeps done, shape (*batch,).
        residual: largest change of a magnetization in the last, undamped sweep, shape (*batch,).
    """

    visible: Float[Array, "*batch n_visible"]
    hidden: Float[Array, "*batch n_hidden"]
    free_energy: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]
    n_steps: Int[Array, "*batch"]
    residual: Float[Array, "*batch"]


def solve_mean_field(
    rbm: RBM,
    *,
    init: Shaped[ArrayLike, "*batch n_visible"] | None = None,
    order: int = 2,
    damping: FloatLike = 0.0,
    tol: FloatLike | None = None,
    max_steps: int = 1000,
    clamp_mask: Shaped[ArrayLike, "..."] | None = None,
) -> MeanFieldSolution:
    """Iterate the mean-field equations of any order to stationary points of `mean_field_free_energy`.

    One sweep is m_h ← μ(b + Wᵀ m_v + O_h), then m_v ← μ(a + W m_h + O_v), with μ the `mean` of the units. From order 2
    on each unit is freed from its own reaction: O = ∂m(½ K c + ⅙ T c₃) for units of two states, at the unit's own
    previous magnetization m, with K = Σ W² c and T = Σ W³ c₃ of the other layer's newest ones (Bolthausen 2014: with
    other time indices the iteration diverges where this one converges). Which of several fixed points is found depends
    on the start.

    Each start stops by itself once it has converged; blocks of those that have not share one matrix product per
    half-step. Differentiable at the solution by the implicit function theorem, which for one start takes a dense linear
    system in all magnetizations.

    Args:
        rbm: any pair of unit types.
        init: visible magnetizations or configurations to start from, shape (*batch, n_visible); None for the means of
            the uncoupled layer, μ(a). Hidden ones start where their own equation holds (Potts ones: that of order 1).
        order: 1 (naive), 2 (TAP) or 3; with Potts units 1 or 2.
        damping: fraction d of the old value in a step at first, new = (1 - d) f(old) + d old; in [0, 1). A start that
            goes to and fro without coming to rest, as undamped ones do where replica symmetry breaks, is damped more,
            half the way to 1 at a time.
        tol: largest change of a magnetization in the last sweep; None for 1e-5 in float32 and 1e-10 in float64.
        max_steps: sweeps at most.
        clamp_mask: True where a visible unit is held at its value in `init`, in a shape that broadcasts to that of
            `init`. The free energy then approximates -log of the sum over all other units. Potts units are clamped
            whole.

    Returns:
        A solution with a `converged` flag for each start; nothing is raised when it is not reached.

    Raises:
        TypeError: a mask that is not boolean.
        ValueError: arguments that do not fit, an init that cannot be means of the units, or an RBM with NaN.

    Example:
        >>> import jax
        >>> from rbm_jax import init_rbm, solve_mean_field
        >>> rbm = init_rbm(jax.random.key(0), 20, 10, scale=0.3)
        >>> solution = solve_mean_field(rbm, order=2)
        >>> solution.visible.shape, bool(solution.converged)
        ((20,), True)
    """
    check_rbm(rbm)
    order, max_steps = check_expansion(order, rbm), check_count("max_steps", max_steps)
    tol = (1e-10 if jnp.finfo(rbm.dtype).bits == 64 else 1e-5) if tol is None else check_positive("tol", tol)
    check_fraction("damping", damping, below_one=True)
    start = rbm.visible_units.mean(rbm.visible_bias) if init is None else init
    start = as_means("init", start, rbm.visible_units, rbm.n_visible, rbm.dtype)
    if start.size == 0:
        raise ValueError(f"init must hold at least one start, got shape {start.shape}")
    mask = check_mask("clamp_mask", clamp_mask, start.shape, rbm.visible_units.group_size)
    if init is None and mask is not None:
        raise ValueError("init must be given with clamp_mask: it holds the values of the clamped units")
    batch, rows = start.shape[:-1], start.reshape(-1, rbm.n_visible)
    mask = None if mask is None else mask.reshape(rows.shape)
    damping, tol = jnp.asarray(damping, rbm.dtype), jnp.asarray(tol, rbm.dtype)
    solution = _solve_rows(rbm, rows, mask, damping, tol, order=order, max_steps=max_steps)
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), solution)


class _Rows(NamedTuple):
    """Starts on their way, one a row, in any order.

    Attributes:
        state: magnetizations.
        mask: True where a visible unit is clamped, or None.
        damping: fraction of the old value in the next sweep.
        step: change of the visible magnetizations in the last sweep.
        n_turns: sweeps at this damping that turned back on the one before, and were hardly smaller.
        change: largest change in the last sweep, relative to an undamped one.
        n_steps: sweeps done.
        index: number of the start.
    """

    state: Magnetizations
    mask: Array | None
    damping: Float[Array, " n_rows"]
    step: Float[Array, "n_rows n_visible"]
    n_turns: Int[Array, " n_rows"]
    change: Float[Array, " n_rows"]
    n_steps: Int[Array, " n_rows"]
    index: Int[Array, " n_rows"]


class _Options(NamedTuple):
    tol: Array
    max_steps: int


@functools.partial(jax.jit, static_argnames=("order", "max_steps"))
def _solve_rows(rbm: RBM, visible, mask, damping, tol, *, order: int, max_steps: int) -> MeanFieldSolution:
    """Iterate without derivatives; the last sweep is optimistix's, which knows the derivative of a fixed point."""
    equations = mean_field_equations(rbm, order)
    start, constants = lax.stop_gradient((_start_rows(equations, visible, mask, damping), equations))
    iterate = _advance if len(visible) <= _BLOCK else _advance_in_blocks
    rows = iterate(constants, start, _Options(tol, max_steps - 1))
    state = jax.vmap(_last_sweep, in_axes=(0, None, 0))(rows.state, equations, mask)
    residual = _largest_change(lax.stop_gradient(state), rows.state)
    free_energy = _stationary_free_energy(order, rbm, state.visible, state.hidden, mask)
    converged = ((rows.change <= tol) | (residual <= tol)) & jnp.isfinite(free_energy)
    return MeanFieldSolution(state.visible, state.hidden, free_energy, converged, rows.n_steps + 1, residual)


def _start_rows(equations: Equations, visible, mask, damping) -> _Rows:
    n_rows = len(visible)
    state = init_magnetizations(equations, visible, mask)
    damping, change = jnp.full(n_rows, damping), jnp.full(n_rows, jnp.inf, visible.dtype)
    zero, index = jnp.zeros(n_rows, int), jnp.arange(n_rows)
    return _Rows(state, mask, damping, jnp.zeros_like(visible), zero, change, zero, index)


def _advance(equations: Equations, rows: _Rows, options: _Options, n_sweeps: int | None = None) -> _Rows:
    """Sweep until all rows are done, or n_sweeps times."""

    def one_sweep(carry):
        count, rows = carry
        state = sweep(rows.state, equations, rows.mask, rows.damping[:, None])
        change = _largest_change(state, rows.state) / (1 - rows.damping)
        new = _raise_damping(rows, state.visible - rows.state.visible)
        new = new._replace(state=state, change=change, n_steps=rows.n_steps + 1)
        active = _active(rows, options)
        return count + 1, jax.tree.map(lambda new, old: jnp.where(_as_column(active, new), new, old), new, rows)

    def goes_on(carry):
        count, rows = carry
        return _active(rows, options).any() & (True if n_sweeps is None else count < n_sweeps)

    return lax.while_loop(goes_on, one_sweep, (0, rows))[1]


def _advance_in_blocks(equations: Equations, rows: _Rows, options: _Options) -> _Rows:
    """The same for many rows: those still active are gathered into blocks, so that the others cost nothing."""
    n_rows = len(rows.change)
    rows = jax.tree.map(lambda leaf: jnp.pad(leaf, [(0, -n_rows % _BLOCK)] + [(0, 0)] * (leaf.ndim - 1)), rows)
    index = jnp.arange(len(rows.change))
    rows = rows._replace(change=jnp.where(index < n_rows, rows.change, 0), index=index)

    def advance_block(number, rows):
        first = number * _BLOCK
        block = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, first, _BLOCK), rows)
        block = _advance(equations, block, options, _BURST)
        return jax.tree.map(lambda old, new: lax.dynamic_update_slice_in_dim(old, new, first, 0), rows, block)

    def burst(rows):
        active = _active(rows, options)
        return lax.fori_loop(0, -(-active.sum() // _BLOCK), advance_block, _take(rows, jnp.argsort(~active)))

    rows = lax.while_loop(lambda rows: _active(rows, options).any(), burst, rows)
    return _take(rows, jnp.argsort(rows.index)[:n_rows])


def _raise_damping(rows: _Rows, step: Array) -> _Rows:
    """Half-way to 1 where the magnetizations have gone to and fro for some time without coming to rest."""
    turns_back = ((step * rows.step).sum(-1) < 0) & ((step**2).sum(-1) > 0.9 * (rows.step**2).sum(-1))
    n_turns = rows.n_turns + turns_back
    raised = n_turns >= _PATIENCE
    damping = jnp.where(raised, (1 + rows.damping) / 2, rows.damping)
    return rows._replace(damping=damping, step=step, n_turns=jnp.where(raised, 0, n_turns))


def _active(rows: _Rows, options: _Options) -> Array:
    """NaN is not: a row that overflowed stops."""
    return (rows.change > options.tol) & (rows.n_steps < options.max_steps)


def _take(rows: _Rows, order) -> _Rows:
    return jax.tree.map(lambda leaf: leaf[order], rows)


def _as_column(values: Array, like: Array) -> Array:
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def _largest_change(new: Magnetizations, old: Magnetizations) -> Array:
    return jnp.maximum(jnp.abs(new.visible - old.visible).max(-1), jnp.abs(new.hidden - old.hidden).max(-1))


def _last_sweep(state: Magnetizations, equations: Equations, mask) -> Magnetizations:
    solver = optx.FixedPointIteration(rtol=0.0, atol=math.inf, norm=max_norm)
    arguments = (equations, mask)
    return optx.fixed_point(_undamped_sweep, solver, state, args=arguments, max_steps=1, throw=False).value


def _undamped_sweep(state: Magnetizations, arguments) -> Magnetizations:
    return sweep(state, *arguments)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _stationary_free_energy(order: int, rbm: RBM, visible, hidden, mask) -> Array:
    """G at a solution. Being stationary in the magnetizations, it depends on the RBM alone to first order."""
    return mean_field_free_energy(rbm, visible, hidden, order=order, clamp_mask=mask)


@_stationary_free_energy.defjvp
def _slope_of_free_energy(order: int, primals, tangents):
    """The envelope theorem: no change of the magnetizations is needed, nor an infinite slope of a saturated entropy.

    Second derivatives see the magnetizations in the slope, so they are right too.
    """
    rbm, visible, hidden, mask = primals

    def free_energy(rbm):
        return mean_field_free_energy(rbm, visible, hidden, order=order, clamp_mask=mask)

    return jax.jvp(free_energy, (rbm,), (tangents[0],))
