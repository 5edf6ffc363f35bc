"""Integration of a force with diffrax."""

from collections.abc import Sequence
from typing import Any, cast

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_array, check_count, check_finite, check_function, check_positive, is_concrete
from rbm_jax._internal.typing import Array, ArrayLike, Float, Int
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Status, Trajectory, finite_status

__all__ = ["check_times", "default_rtol", "integrate", "solve_ode"]


def integrate(
    force: Any,
    rbm: RBM,
    ts: Float[ArrayLike, " n_times"] | Sequence[float],
    *,
    args: Any = None,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    step: float | None = None,
    max_steps: int = 4096,
) -> Trajectory:
    """Integrate d(rbm)/dt = force(t, rbm, args), with adaptive steps or equal ones.

    Args:
        force: such as `exact_force(data)`; any function (t, rbm, args) -> RBM-shaped time derivative. A force that is a
            pytree (all of this package's) recompiles only when shapes change; a new closure recompiles each time.
        rbm: the state at ts[0].
        ts: increasing times, at least two; the RBM is kept at each.
        args: handed to the force.
        solver: a diffrax solver; None for `diffrax.Tsit5()`, or `diffrax.Heun()` with equal steps.
        rtol: relative tolerance of a step; None for 1e-4 in float32 and 1e-7 in float64.
        atol: absolute tolerance of a step, to be well below the initial weights; None for a hundredth of rtol.
        step: length of equal steps, for a force with jumps, at which adaptive steps would become tiny; rtol and atol
            are then not used. None for adaptive steps.
        max_steps: solver steps at most.

    Returns:
        A trajectory. Its `status` says whether all times were reached with finite values; rows that were not are NaN.
        Differentiable in the RBM and the leaves of the force.

    Raises:
        TypeError: a force or a solver that is none.
        ValueError: times that do not increase, tolerances or steps that are not positive, or bad counts.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax import Status, init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> from rbm_jax.dynamics import exact_force, integrate
        >>> data = bars_and_stripes(3)
        >>> rbm = init_rbm(jax.random.key(0), 9, 4)
        >>> trajectory = integrate(exact_force(data), rbm, jnp.linspace(0.0, 10.0, 5))
        >>> trajectory.rbms.weights.shape, Status(int(trajectory.status)).name
        ((5, 9, 4), 'SUCCESS')
    """
    check_times(ts)
    ts = jnp.asarray(ts).astype(rbm.dtype)
    rbms, status = solve_ode(
        force, rbm, ts, args=args, solver=solver, rtol=rtol, atol=atol, step=step, max_steps=max_steps
    )
    return Trajectory(ts, cast(RBM, rbms), status)


def solve_ode(
    force: Any,
    init: Any,
    ts: Float[Array, " n_times"],
    *,
    args: Any = None,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    step: float | None = None,
    max_steps: int = 4096,
) -> tuple[Any, Int[Array, ""]]:
    """The states at the times, NaN where they were not reached, and a `Status`: `integrate` for any pytree."""
    max_steps = check_count("max_steps", max_steps)
    check_function("force", force)
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        raise TypeError(f"solver must be one of diffrax, such as diffrax.Tsit5(), got {solver!r}")
    relative = default_rtol(ts.dtype) if rtol is None else check_positive("rtol", rtol)
    absolute = relative / 100 if atol is None else check_positive("atol", atol, or_zero=True)
    if step is None:
        controller = diffrax.PIDController(rtol=relative, atol=absolute)
        default_solver = diffrax.Tsit5()
    else:
        controller, step = diffrax.ConstantStepSize(), check_positive("step", step)
        default_solver = diffrax.Heun()
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(force),
        default_solver if solver is None else solver,
        t0=ts[0],
        t1=ts[-1],
        dt0=step,
        y0=init,
        args=args,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
        max_steps=max_steps,
        throw=False,
    )
    failure = jnp.where(
        solution.result == diffrax.RESULTS.max_steps_reached, Status.MAX_STEPS_REACHED, Status.SOLVER_FAILED
    )
    succeeded = solution.result == diffrax.RESULTS.successful
    status = jnp.where(succeeded, finite_status(solution.ys), failure).astype(jnp.int32)
    # diffrax leaves infinities in the rows that it did not reach.
    return jax.tree.map(lambda leaf: jnp.where(jnp.isinf(leaf), jnp.nan, leaf), solution.ys), status


def default_rtol(dtype: Any) -> float:
    """Relative tolerance of a step that suits the precision of the state."""
    return 1e-7 if jnp.finfo(dtype).bits == 64 else 1e-4


def check_times(ts: Any) -> None:
    """Raise unless these are at least two times that increase."""
    ts = as_array("ts", ts)
    if np.ndim(ts) != 1 or np.shape(ts)[0] < 2:
        raise ValueError(f"ts must be a vector of at least two times, got shape {np.shape(ts)}")
    check_finite("ts", ts)
    if is_concrete(ts) and (np.diff(np.asarray(ts, float)) <= 0).any():
        raise ValueError("ts must increase strictly")
