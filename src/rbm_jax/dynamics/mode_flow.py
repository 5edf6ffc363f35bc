"""The learning equations integrated on the singular value decomposition: (U, σ, V) in place of W."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, Int
from rbm_jax.dynamics.modes import modes_derivative
from rbm_jax.dynamics.ode import check_times, default_rtol
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Status, Trajectory, finite_status
from rbm_jax.spectral import Modes, align_modes, svd_modes

__all__ = ["ModeFlow", "integrate_modes"]

_SMALLEST_STEP = 1e-12
"""Of a step, relative to the interval between two saves, before the solver gives up: a force that is NaN shrinks it by
five at each attempt."""
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 5.0
"""How the next step follows from the error of the last: the usual choices for a method of fifth order."""


class ModeFlow(eqx.Module):
    """Modes along an integration, and how it went.

    Attributes:
        modes: continued from the first time through crossings, so that `values` need not stay in decreasing order; with
            a leading time axis.
        n_steps: steps that were accepted.
        n_weight_steps: those of them that were made on W, since modes were close.
        drift: the largest component of |UᵀU - 1| and |VᵀV - 1| after any step.
    """

    modes: Modes
    n_steps: Int[Array, ""]
    n_weight_steps: Int[Array, ""]
    drift: Float[Array, ""]


class _Point(NamedTuple):
    """The state of the equations: modes in place of the weights, and all else of an RBM."""

    modes: Modes
    rest: RBM


class _Progress(NamedTuple):
    """Where the integration stands."""

    t: Array
    step: Array
    point: _Point
    n_attempts: Array
    n_steps: Array
    n_weight_steps: Array
    drift: Array


def integrate_modes(
    force: Any,
    rbm: RBM,
    ts: Float[ArrayLike, " n_times"],
    *,
    args: Any = None,
    gap: float = 1e-2,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 4096,
) -> Trajectory:
    """Integrate dσ_α/dt and the rotations of both singular bases: equations (6) to (11), for any force.

    The steps are those of Tsit5 with error control. After each, both bases are put back on the manifold of orthonormal
    ones. Where two singular values, or one and zero, come closer than the gap, the rotations become singular: the steps
    are then made on W, and its modes matched to those before by overlap, until the crossing is over (an avoided
    crossing narrower than a step counts as one). It is the flow that `integrate` follows with W; this form is for those
    who want U, σ and V as functions of time.

    Args:
        force: as for `integrate`.
        rbm: the state at ts[0].
        ts: increasing times, at least two.
        args: handed to the force.
        gap: smallest distance of two singular values, relative to the largest one, with steps on the modes.
        rtol: relative tolerance of a step; None for 1e-4 in float32 and 1e-7 in float64.
        atol: absolute tolerance of a step; None for a hundredth of rtol.
        max_steps: steps at most, rejected ones included.

    Returns:
        A trajectory whose `observations` are a `ModeFlow`. `status` as from `integrate`; rows that were not reached are
        NaN. Works under `jit` and `vmap` (where it computes both kinds of steps); no reverse-mode derivatives.

    Raises:
        ValueError: times that do not increase, or bad counts.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> from rbm_jax.dynamics import exact_force, integrate_modes
        >>> rbm = init_rbm(jax.random.key(0), 9, 4, scale=0.5)
        >>> flow = integrate_modes(exact_force(bars_and_stripes(3)), rbm, jnp.linspace(0.0, 2.0, 5))
        >>> flow.observations.modes.left.shape
        (5, 9, 4)
    """
    max_steps = check_count("max_steps", max_steps)
    gap = check_positive("gap", gap, or_zero=True)
    check_times(ts)
    rtol = default_rtol(rbm.dtype) if rtol is None else float(check_positive("rtol", rtol))
    atol = rtol / 100 if atol is None else check_positive("atol", atol)
    # As arrays, so that others of them compile nothing.
    times, gaps, *tolerances = (jnp.asarray(values).astype(rbm.dtype) for values in (ts, gap, rtol, atol))
    return _integrate(force, rbm, times, args, gaps, tuple(tolerances), jnp.asarray(max_steps, jnp.int32))


@eqx.filter_jit
def _integrate(force, rbm: RBM, ts, args, gap, tolerances, max_steps) -> Trajectory:
    counts = jnp.zeros((), jnp.int32)
    init = _Point(svd_modes(rbm.weights), _without_weights(rbm))
    progress = _Progress(ts[0], (ts[1] - ts[0]) / 100, init, counts, counts, counts, jnp.zeros_like(ts[0]))

    def to_next_save(progress: _Progress, target):
        smallest = _SMALLEST_STEP * (target - progress.t)

        def unfinished(now: _Progress):
            return (now.t < target) & (now.n_attempts < max_steps) & (now.step > smallest)

        def advance(now: _Progress):
            return _attempt(force, args, gap, tolerances, now, target)

        progress = lax.while_loop(unfinished, advance, progress)
        reached = progress.t >= target
        return progress, jax.tree.map(lambda leaf: jnp.where(reached, leaf, jnp.nan), progress.point)

    end, later = lax.scan(to_next_save, progress, ts[1:])
    points = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), init, later)
    rbms = jax.vmap(_as_rbm)(points)
    failure = jnp.where(end.n_attempts >= max_steps, Status.MAX_STEPS_REACHED, Status.SOLVER_FAILED)
    status = jnp.where(end.t >= ts[-1], finite_status(rbms), failure).astype(jnp.int32)
    return Trajectory(ts, rbms, status, ModeFlow(points.modes, end.n_steps, end.n_weight_steps, end.drift))


def _attempt(force, args, gap, tolerances, now: _Progress, target) -> _Progress:
    """One step of either kind, kept if its error is within the tolerances."""
    until = jnp.minimum(now.t + now.step, target)
    on_weights = _relative_gap(now.point.modes.values) < gap

    def modes_field(t, point, args):
        slope = force(t, _as_rbm(point), args)
        return _Point(modes_derivative(point.modes, slope.weights), _without_weights(slope))

    def step_on_modes():
        point, error = _runge_kutta(modes_field, now.t, until, now.point, args, tolerances)
        modes = Modes(_orthonormal(point.modes.left), point.modes.values, _orthonormal(point.modes.right))
        return point._replace(modes=modes), error

    def step_on_weights():
        moved, error = _runge_kutta(force, now.t, until, _as_rbm(now.point), args, tolerances)
        finite = jnp.isfinite(error)  # a decomposition of NaN takes long
        modes = svd_modes(jnp.where(finite, moved.weights, 0))
        return _Point(align_modes(modes, now.point.modes), _without_weights(moved)), error

    point, error = lax.cond(on_weights, step_on_weights, step_on_modes)
    accepted = error <= 1  # NaN is rejected
    factor = jnp.where(
        jnp.isfinite(error), jnp.clip(_SAFETY * jnp.maximum(error, 1e-8) ** -0.2, _SHRINK, _GROW), _SHRINK
    )
    proposed = (until - now.t) * factor
    # A step that was cut to end at a save says nothing against the length it had.
    step = jnp.where(accepted & (until == target), jnp.maximum(proposed, now.step), proposed)
    return _Progress(
        t=jnp.where(accepted, until, now.t),
        step=step.astype(now.step.dtype),
        point=jax.tree.map(lambda new, old: jnp.where(accepted, new, old), point, now.point),
        n_attempts=now.n_attempts + 1,
        n_steps=now.n_steps + accepted,
        n_weight_steps=now.n_weight_steps + (accepted & on_weights),
        drift=jnp.where(accepted, jnp.maximum(now.drift, _drift(point.modes)), now.drift),
    )


def _without_weights(rbm: RBM) -> RBM:
    """Biases and the units' parameters, as a pytree."""
    return eqx.tree_at(lambda rbm: rbm.weights, rbm, None)


def _as_rbm(point: _Point) -> RBM:
    weights = (point.modes.left * point.modes.values) @ point.modes.right.T
    return eqx.tree_at(lambda rbm: rbm.weights, point.rest, weights, is_leaf=lambda leaf: leaf is None)


def _runge_kutta(field, t, until, state, args, tolerances):
    """One step of Tsit5, and its error as a root mean square in units of the tolerances."""
    rtol, atol = tolerances
    solver, term = diffrax.Tsit5(), diffrax.ODETerm(field)
    memory = solver.init(term, t, until, state, args)
    end, error, _, _, _ = solver.step(term, t, until, state, args, memory, made_jump=False)

    def scaled(error, before, after):
        return error / (atol + rtol * jnp.maximum(jnp.abs(before), jnp.abs(after)))

    ratios = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(jax.tree.map(scaled, error, state, end))])
    return end, jnp.sqrt((ratios**2).mean())


def _relative_gap(values):
    """The smallest distance between any two singular values, or one and zero, over the largest value."""
    ordered = jnp.sort(jnp.append(values, 0))
    return jnp.diff(ordered).min() / ordered[-1]


def _orthonormal(vectors):
    """The orthonormal columns nearest to almost orthonormal ones: two Newton steps for (XᵀX)^{-1/2}."""
    for _ in range(2):
        vectors = vectors @ (3 * jnp.eye(vectors.shape[1], dtype=vectors.dtype) - vectors.T @ vectors) / 2
    return vectors


def _drift(modes: Modes):
    identity = jnp.eye(modes.values.shape[0], dtype=modes.values.dtype)
    return jnp.maximum(
        jnp.abs(modes.left.T @ modes.left - identity).max(), jnp.abs(modes.right.T @ modes.right - identity).max()
    )
