"""A path through the space of RBMs, whether trained or integrated."""

import enum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float, Int
from rbm_jax.model.rbm import RBM

__all__ = ["Status", "Trajectory", "finite_status"]


class Status(enum.IntEnum):
    """How a trajectory ended."""

    SUCCESS = 0
    """All saved RBMs are finite and were reached."""
    NON_FINITE = 1
    """Some saved RBM holds NaN or infinity: training or integration diverged."""
    MAX_STEPS_REACHED = 2
    """The solver used up max_steps before the last time; what it did not reach is NaN."""
    SOLVER_FAILED = 3
    """The solver gave up for another reason; what it did not reach is NaN."""


class Trajectory(eqx.Module):
    """RBMs along a run.

    Attributes:
        ts: times, shape (n_times,). For `dynamics.integrate` the time t of the learning equations; for `fit` the number
            of updates times its `time_step`.
        rbms: an RBM whose leaves have a leading time axis.
        status: a `Status`, as an integer array so that it passes through `jit` and `vmap`.
        observations: whatever the run's `observe` returned, with a leading time axis; None if nothing was observed.
    """

    ts: Float[Array, "*runs n_times"]
    rbms: RBM
    status: Int[Array, "*runs"]
    observations: Any = None


def finite_status(rbms: Any) -> Int[Array, ""]:
    """`Status.SUCCESS` if every leaf is finite, else `Status.NON_FINITE`."""
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(rbms)]).all()
    return jnp.where(finite, Status.SUCCESS, Status.NON_FINITE).astype(jnp.int32)
