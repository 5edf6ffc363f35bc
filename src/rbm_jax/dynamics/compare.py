"""Discrete training against continuous theory, on one clock."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, Float, Shaped
from rbm_jax.dynamics.linear import GrowthModes
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.spectral import Modes, align_modes, svd_modes
from rbm_jax.units import same_units

__all__ = [
    "Comparison",
    "compare_trajectories",
    "departures",
    "growth_deviation",
    "growth_rates_along",
    "growth_windows",
    "linear_window",
]

_LASTING = 0.1
"""Share of its time that a departure must last: more than the noise of neighboring saves."""
_SLACK = 1e-5
"""Of the last time, by which a time of training may lie outside of the theory's: products of the learning rate and
counts differ from the solver's times by rounding, up to 1e-7 each in float32, added up over the run."""


class Comparison(eqx.Module):
    """Leading modes of two trajectories, side by side.

    Attributes:
        ts: the times of the discrete trajectory that the continuous one covers, shape (n_times,).
        discrete_values: singular values σ_α(t) of the discrete one, its modes aligned to the continuous one's by
            overlap, shape (n_times, n_modes).
        continuous_values: singular values of the continuous one, decreasing, shape (n_times, n_modes).
        deviation: (discrete - continuous) / continuous, shape (n_times, n_modes).
        left_overlap: |u_α · u'_α| between the two, in [0, 1], shape (n_times, n_modes).
        right_overlap: |v_α · v'_α| between the two, shape (n_times, n_modes).
        departure: when each mode departs from the continuous one, see `departures`; inf if it never does, shape
            (n_modes,).
        largest_deviation: of each mode, with its sign; NaN where there is no other, shape (n_modes,).
        largest_at: the time of it, shape (n_modes,).
    """

    ts: Float[Array, " n_times"]
    discrete_values: Float[Array, "n_times n_modes"]
    continuous_values: Float[Array, "n_times n_modes"]
    deviation: Float[Array, "n_times n_modes"]
    left_overlap: Float[Array, "n_times n_modes"]
    right_overlap: Float[Array, "n_times n_modes"]
    departure: Float[Array, " n_modes"]
    largest_deviation: Float[Array, " n_modes"]
    largest_at: Float[Array, " n_modes"]


def compare_trajectories(
    discrete: Trajectory, continuous: Trajectory, *, n_modes: int = 10, tolerance: float = 0.1
) -> Comparison:
    """Put the leading modes of training and theory side by side.

    Both clocks must be t = learning rate × updates (`time_step` of `fit`). Times of the discrete trajectory outside the
    continuous one are left out; in between, the continuous weights are interpolated linearly (exact at common times).
    Modes are numbered by the continuous singular values at each time, so numbers change hands where these cross. Works
    on concrete trajectories, not under `jit`.

    With the linear theory as the continuous one, `departure` is when each mode leaves the linear regime.

    Args:
        discrete: from `fit`.
        continuous: from `integrate`, or any trajectory of RBMs of the same shape.
        n_modes: leading modes to compare; fewer if the RBM has fewer.
        tolerance: relative deviation of a singular value that counts as a departure.

    Raises:
        ValueError: trajectories of different shapes or unit types, or without a common time.
    """
    n_modes = check_count("n_modes", n_modes)
    tolerance = check_positive("tolerance", tolerance)
    shape, other = discrete.rbms.weights.shape[1:], continuous.rbms.weights.shape[1:]
    units, others = ((path.rbms.visible_units, path.rbms.hidden_units) for path in (discrete, continuous))
    if not all(map(same_units, units, others)):
        raise ValueError(f"trajectories must have the same unit types, got {units} and {others}: their flows differ")
    if shape != other:
        raise ValueError(f"trajectories must be of RBMs of one shape, got weights of {shape} and {other}")
    ts, weights, theory = _common_times(discrete, continuous)
    n_modes = min(n_modes, *shape)
    reference, modes = _aligned_modes(theory, weights, n_modes)
    deviation = modes.values / reference.values - 1
    return Comparison(
        ts=ts,
        discrete_values=modes.values,
        continuous_values=reference.values,
        deviation=deviation,
        left_overlap=jnp.abs((modes.left * reference.left).sum(1)),
        right_overlap=jnp.abs((modes.right * reference.right).sum(1)),
        departure=departures(ts, deviation, tolerance=tolerance),
        **_largest(ts, deviation),
    )


def departures(
    ts: Float[Array, " n_times"], deviation: Float[Array, "n_times n_modes"], *, tolerance: float = 0.1
) -> Float[Array, " n_modes"]:
    """The time of each mode's first lasting departure from a theory; inf if there is none.

    A departure is a time from which on |deviation| is beyond the tolerance, or NaN. It lasts if there is no way back,
    or none before a tenth of that time more has gone: the noise of a training crosses the line and returns at once, and
    a training that misses for long and catches up has departed.

    Args:
        ts: increasing times, shape (n_times,).
        deviation: relative, shape (n_times, n_modes).
        tolerance: relative deviation that counts as a departure.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax.dynamics import departures
        >>> ts = jnp.array([0.0, 1.0, 1.05, 2.0, 4.0, 8.0])
        >>> print(departures(ts, jnp.array([[0.0, 0.2, 0.0, 0.7, 0.6, 0.0]]).T))
        [2.]
    """
    is_beyond = ~(jnp.abs(deviation) <= tolerance)
    begins = is_beyond & ~jnp.roll(is_beyond, 1, axis=0).at[0].set(False)
    back = lax.cummin(jnp.where(is_beyond, jnp.inf, ts[:, None]), axis=0, reverse=True)
    lasts = back >= (1 + _LASTING) * ts[:, None]
    return jnp.where(begins & lasts, ts[:, None], jnp.inf).min(0)


def growth_rates_along(
    trajectory: Trajectory, growth: GrowthModes, window: Shaped[Array, " n_times"]
) -> Float[Array, " n_visible"]:
    """Measured growth rates: least-squares slopes of log |u_αᵀ W(t)| against t, to hold against `growth.rates`.

    Args:
        trajectory: of training or of theory.
        growth: whose vectors u_α the weights are projected on.
        window: True for the times to use, at least two, shape (n_times,); see `linear_window`.

    Returns:
        One rate per vector, in the order of `growth`; NaN if fewer than two times are in the window.
    """
    log_norm = jnp.log(_projected_norms(trajectory, growth))
    log_norm = jnp.where(window[:, None], log_norm, 0)  # rows outside may be NaN
    weights = (window / window.sum()).astype(trajectory.ts.dtype)
    ts = trajectory.ts - weights @ trajectory.ts
    return (weights * ts) @ (log_norm - weights @ log_norm) / (weights @ ts**2)


def growth_deviation(trajectory: Trajectory, growth: GrowthModes) -> Float[Array, "n_times n_visible"]:
    """Relative deviation of the growth since the first time from the linear theory, mode by mode.

    log(|u_αᵀ W(t)| / |u_αᵀ W(0)|) / (rate_α · t) - 1: of the mean growth rate up to t.

    Args:
        trajectory: of training or of theory.
        growth: directions and rates.

    Returns:
        Zero at the first time.
    """
    log_norm = jnp.log(_projected_norms(trajectory, growth))
    elapsed = (trajectory.ts - trajectory.ts[0])[:, None]
    expected = growth.rates * jnp.where(elapsed > 0, elapsed, 1)
    return jnp.where(elapsed > 0, (log_norm - log_norm[0]) / expected - 1, 0)


def growth_windows(
    trajectory: Trajectory, growth: GrowthModes, *, tolerance: float = 0.02, from_time: float = 0.0
) -> Float[Array, " n_visible"]:
    """The time up to which each mode's growth since the first time is within a tolerance of the linear theory.

    Args:
        trajectory: of training or of theory.
        growth: directions and rates.
        tolerance: largest |`growth_deviation`|.
        from_time: earlier times are not looked at; a growth over a few steps is all noise.

    Returns:
        The last saved time before the first departure; 0 for a mode outside the tolerance from the outset.
    """
    deviation = growth_deviation(trajectory, growth)
    departed = ~(jnp.abs(deviation) <= tolerance) & (trajectory.ts >= from_time)[:, None]
    inside = jnp.cumsum(departed, axis=0) == 0
    last = inside.sum(0) - 1
    return jnp.where((last >= 0) & (trajectory.ts[last] >= from_time), trajectory.ts[last], 0)


def linear_window(trajectory: Trajectory, growth: GrowthModes, *, largest: float = 0.2) -> Shaped[Array, " n_times"]:
    """The times up to which the linear theory is expected to hold: while no |u_αᵀ W| has passed `largest`.

    Args:
        trajectory: of training or of theory.
        growth: the directions to watch.
        largest: bound on |u_αᵀ W|; the linear theory is a small-weight expansion, whose bound in W is 1 / (σ_v σ_h).

    Returns:
        True inside the window, which is one interval from the first time on, shape (n_times,).
    """
    exceeded = ~(_projected_norms(trajectory, growth) <= largest).all(1)
    return jnp.cumsum(exceeded) == 0


@functools.partial(jax.jit, static_argnames="n_modes")
def _aligned_modes(theory, weights, n_modes: int) -> tuple[Modes, Modes]:
    """Leading modes of the theory's weights at each time, and the modes of the others that go with them."""

    def at_one_time(theory, weights):
        reference = svd_modes(theory)
        leading = Modes(reference.left[:, :n_modes], reference.values[:n_modes], reference.right[:, :n_modes])
        return leading, align_modes(svd_modes(weights), leading)

    return jax.vmap(at_one_time)(theory, weights)


def _projected_norms(trajectory: Trajectory, growth: GrowthModes) -> Float[Array, "n_times n_visible"]:
    return jax.vmap(lambda weights: jnp.linalg.norm(growth.vectors.T @ weights, axis=1))(trajectory.rbms.weights)


def _common_times(discrete: Trajectory, continuous: Trajectory):
    """Discrete times within the continuous range, with both sets of weights there."""
    ts, theory = continuous.ts, continuous.rbms.weights
    if len(ts) < 2:
        raise ValueError(f"continuous must have at least two times, got {len(ts)}")
    slack = _SLACK * jnp.abs(ts[-1])
    inside = (discrete.ts >= ts[0] - slack) & (discrete.ts <= ts[-1] + slack)
    if not inside.any():
        raise ValueError(
            f"trajectories have no common time: discrete from {discrete.ts[0]} to {discrete.ts[-1]}, "
            f"continuous from {ts[0]} to {ts[-1]}; is time_step the learning rate?"
        )
    common = jnp.clip(discrete.ts[inside], ts[0], ts[-1])
    right = jnp.clip(jnp.searchsorted(ts, common), 1, len(ts) - 1)
    way = ((common - ts[right - 1]) / (ts[right] - ts[right - 1]))[:, None, None]
    return common, discrete.rbms.weights[inside], (1 - way) * theory[right - 1] + way * theory[right]


def _largest(ts, deviation) -> dict[str, Array]:
    """Largest deviation of each mode, and its time."""
    size = jnp.abs(deviation)
    row = jnp.where(jnp.isnan(size), -1, size).argmax(0)
    return {"largest_deviation": jnp.take_along_axis(deviation, row[None], 0)[0], "largest_at": ts[row]}
