"""Fixed points of the mean-field equations."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx

from rbm_jax._checks import as_configurations, check_count, check_positive, is_concrete
from rbm_jax._typing import Array, Float, FloatLike, Int, Shaped
from rbm_jax.energies import hidden_field, visible_field
from rbm_jax.mean_field.free_energy import mean_field_free_energy
from rbm_jax.rbm import RBM

__all__ = ["MeanFieldSolution", "solve_mean_field"]


class MeanFieldSolution(eqx.Module):
    """Magnetizations that solve the mean-field equations.

    Attributes:
        visible: m_v, shape (*batch, n_visible).
        hidden: m_h, shape (*batch, n_hidden).
        free_energy: `mean_field_free_energy` there, shape (*batch,).
        converged: whether the largest change in the last step was within the tolerance, for the batch as a whole.
        n_steps: sweeps done.
        residual: largest |m_v - f(m_v)| at the solution, shape (*batch,).
    """

    visible: Float[Array, "*batch n_visible"]
    hidden: Float[Array, "*batch n_hidden"]
    free_energy: Float[Array, "*batch"]
    converged: Shaped[Array, ""]
    n_steps: Int[Array, ""]
    residual: Float[Array, "*batch"]


def solve_mean_field(
    rbm: RBM,
    *,
    init: Float[Array, "*batch n_visible"] | None = None,
    damping: FloatLike = 0.0,
    tol: float | None = None,
    max_steps: int = 1000,
) -> MeanFieldSolution:
    """Solve the naive mean-field equations m_h = μ(b + Wᵀ m_v), m_v = μ(a + W m_h) by damped iteration.

    μ is `mean` of the units. Which of several fixed points is found depends on the start. Differentiable at the
    solution by the implicit function theorem.

    Args:
        rbm: any pair of unit types.
        init: visible magnetizations to start from, shape (*batch, n_visible); None for those of the uncoupled layer,
            μ(a).
        damping: share d of the old value in a step, new = (1 - d) f(old) + d old; in [0, 1).
        tol: largest change that an undamped last step would make; None for 1e-5 in float32 and 1e-10 in float64.
        max_steps: sweeps at most.

    Returns:
        A solution with a `converged` flag; nothing is raised when it is not reached.

    Raises:
        ValueError: arguments that do not fit.
    """
    if tol is None:
        tol = 1e-10 if jnp.finfo(rbm.dtype).bits == 64 else 1e-5
    tol, max_steps = check_positive("tol", tol), check_count("max_steps", max_steps)
    start = rbm.visible_units.mean(rbm.visible_bias) if init is None else init
    start = as_configurations("init", start, rbm.n_visible, rbm.dtype)

    if is_concrete(damping) and not 0 <= damping < 1:
        raise ValueError(f"damping must be at least 0 and below 1, got {damping}")
    arguments = (rbm, jnp.asarray(damping, rbm.dtype))
    damped_tol: Any = tol * (1 - damping)
    solver = optx.FixedPointIteration(rtol=0.0, atol=damped_tol, norm=_max_norm)
    solution = optx.fixed_point(_damped_sweep, solver, start, args=arguments, max_steps=max_steps, throw=False)
    visible = solution.value
    hidden = rbm.hidden_units.mean(hidden_field(rbm, visible))
    return MeanFieldSolution(
        visible,
        hidden,
        mean_field_free_energy(rbm, visible, hidden),
        solution.result == optx.RESULTS.successful,
        solution.stats["num_steps"],
        jnp.abs(_damped_sweep(visible, (rbm, jnp.zeros((), rbm.dtype))) - visible).max(-1),
    )


def _damped_sweep(visible: Array, arguments: tuple[RBM, Array]) -> Array:
    """One sweep visible → hidden → visible. At module level, so that a second solution compiles nothing."""
    rbm, damping = arguments
    hidden = rbm.hidden_units.mean(hidden_field(rbm, visible))
    new = rbm.visible_units.mean(visible_field(rbm, hidden))
    return (1 - damping) * new + damping * visible


def _max_norm(change: Array) -> Array:
    """Largest component, in JAX's default dtype: optimistix keeps the norm in that, whatever the dtype of the state."""
    return jnp.abs(change).max().astype(jnp.zeros(()).dtype)
