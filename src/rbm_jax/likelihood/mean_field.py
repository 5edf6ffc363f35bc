"""Log Z as a sum over mean-field fixed points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_means, as_samples, check_count, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Sample, Shaped
from rbm_jax.likelihood.estimate import LogZEstimate
from rbm_jax.mean_field import MeanFieldSolution, log_state_weights, solve_mean_field
from rbm_jax.mean_field.clustering import polarized_start
from rbm_jax.model.energies import check_rbm
from rbm_jax.model.rbm import RBM

__all__ = ["mean_field_log_z"]


def mean_field_log_z(
    rbm: RBM,
    *,
    data: Sample | None = None,
    n_starts: int = 200,
    init: Shaped[ArrayLike, "n_starts n_visible"] | None = None,
    order: int = 2,
    damping: FloatLike = 0.0,
    tol: FloatLike | None = None,
    max_steps: int = 1000,
    merge_distance: float = 1e-2,
) -> LogZEstimate:
    """Log Z ≈ log Σ_k e^{-G_k} over the distinct mean-field fixed points k that are found.

    Below it stands the naive mean-field bound of Gibbs and Bogoliubov, log Z ≥ -G_k at order 1, which holds always.
    The value is differentiable, with the set of fixed points held constant; without `data` and `init` the iterations
    start at both ends of every singular mode, the visible layer in the field of a hidden layer polarized along ±v_α,
    which finds the stable states of an RBM with a few strong modes.

    Args:
        rbm: any pair of unit types.
        data: samples at which iterations start, shape (n_samples, n_visible); `n_starts` of them, evenly spaced.
        n_starts: number of samples at which iterations start.
        init: in place of data: visible magnetizations or configurations to start from, shape (n_starts, n_visible).
        order: of the equations, 2 for TAP; see `solve_mean_field`, also for the next three.
        damping: fraction of the old value in a step.
        tol: largest change in the last sweep.
        max_steps: sweeps at most. Starts that have not converged by then are left out.
        merge_distance: largest root mean square distance of fixed points that count as one.

    Returns:
        The estimate, whose error is not known: `std_error` and `ess` are NaN, and `upper` is infinite. The value is NaN
        and `converged` False if no start converges; `lower` is then -inf if no naive iteration converges either.

    Raises:
        ValueError: both `data` and `init`, values that do not fit, an RBM with NaN, or counts below 1.

    Example:
        >>> import jax
        >>> from rbm_jax import exact_log_z, init_rbm
        >>> from rbm_jax.likelihood import mean_field_log_z
        >>> rbm = init_rbm(jax.random.key(0), 10, 5, scale=0.5)
        >>> estimate = mean_field_log_z(rbm)
        >>> estimate.method, bool(estimate.lower < exact_log_z(rbm))
        ('mean field of order 2', True)
    """
    check_rbm(rbm)
    merge_distance = check_positive("merge_distance", merge_distance)
    starts = _starts(rbm, data, n_starts, init)
    options = {"damping": damping, "tol": tol, "max_steps": max_steps}
    solution = solve_mean_field(rbm, init=starts, order=order, **options)
    naive = solution if order == 1 else solve_mean_field(rbm, init=starts, order=1, **options)
    return _estimate(solution, naive, merge_distance, method=f"mean field of order {order}")


@functools.partial(jax.jit, static_argnames="method")
def _estimate(solution: MeanFieldSolution, naive: MeanFieldSolution, merge_distance, *, method: str) -> LogZEstimate:
    visible, found = lax.stop_gradient(solution.visible), solution.converged.any()
    log_weights = log_state_weights(solution.free_energy, visible, solution.converged, merge_distance=merge_distance)
    lower = jnp.where(naive.converged, -naive.free_energy, -jnp.inf).max()
    value = jnp.where(found, logsumexp(log_weights), jnp.nan)
    unknown, upper = jnp.full_like(value, jnp.nan), jnp.full_like(value, jnp.inf)
    return LogZEstimate(value, unknown, unknown, lower, upper, found, method)


def _starts(rbm: RBM, data, n_starts: int, init) -> Float[Array, "n_starts n_visible"]:
    if data is not None and init is not None:
        raise ValueError("data and init must not both be given: data are samples to start at, init magnetizations")
    if init is not None:
        return as_means("init", init, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2)
    if data is None:
        return polarized_start(lax.stop_gradient(rbm))
    data = as_samples("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)
    n_starts = min(check_count("n_starts", n_starts), len(data))
    return data[np.linspace(0, len(data) - 1, n_starts).astype(int)]
