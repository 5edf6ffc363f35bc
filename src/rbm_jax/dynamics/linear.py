"""The linear (Gaussian) theory of learning.

In a Gaussian-Gaussian RBM whose left singular vectors are eigenvectors of the data's covariance, with eigenvalues c_α,
the singular values σ_α = w decouple: dw/dt = σ_h² w (c - σ_v² / (1 - σ_v² σ_h² w²)) (equation 17). The
functions of single modes act elementwise and broadcast. For real binary data, `growth_modes` expands around the
product measure with the data's means instead of one variance for all.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import is_concrete
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Sample, Weighting
from rbm_jax.dynamics.forces import INTERIOR_MARGIN, DataStatistics, as_statistics
from rbm_jax.dynamics.modes import ModeVelocity
from rbm_jax.spectral import Modes
from rbm_jax.units import AbstractUnits, check_scalar_units

__all__ = [
    "GrowthModes",
    "growth_modes",
    "linear_bound",
    "linear_fixed_points",
    "linear_likelihood_gain",
    "linear_rate",
    "linear_rotations",
    "linear_solution",
    "linear_time",
    "linear_velocity",
    "linear_weights",
]

Values = Float[ArrayLike, "*#modes"] | float
Result = Float[Array, "..."]


def linear_velocity(
    values: Values, data_variance: Values, *, visible_variance: Values = 1.0, hidden_variance: Values = 1.0
) -> Result:
    """dw/dt = σ_h² w (c - σ_v² / (1 - σ_v² σ_h² w²)), equation (17).

    Args:
        values: singular values w, in [0, `linear_bound`).
        data_variance: c, the variance of the centered data along each mode.
        visible_variance: σ_v².
        hidden_variance: σ_h².

    Returns:
        The time derivative, for time in units of learning rate × updates; NaN at and beyond the bound.
    """
    w, c = jnp.asarray(values), jnp.asarray(data_variance)
    return jnp.asarray(hidden_variance) * w * (c - visible_variance / _remaining(w, visible_variance, hidden_variance))


def linear_rate(
    values: Values, data_variance: Values, *, visible_variance: Values = 1.0, hidden_variance: Values = 1.0
) -> Result:
    """∂(dw/dt)/∂w: the rate at which a small deviation from w grows (positive: unstable) or relaxes (negative: stable).

    At w = 0 it is the growth rate σ_h² (c - σ_v²); at the fixed point w* > 0 it is -2 σ_h² c (c - σ_v²) / σ_v².
    An explicit update is stable there only for learning rates below 2 / |rate|.

    Args:
        values: singular values w.
        data_variance: c.
        visible_variance: σ_v².
        hidden_variance: σ_h².
    """
    w, c = jnp.asarray(values), jnp.asarray(data_variance)
    remaining = _remaining(w, visible_variance, hidden_variance)
    return jnp.asarray(hidden_variance) * (c - visible_variance * (2 - remaining) / remaining**2)


def linear_fixed_points(
    data_variance: Values, *, visible_variance: Values = 1.0, hidden_variance: Values = 1.0
) -> Result:
    """The stable singular values w*² = (c - σ_v²) / (σ_v² σ_h² c) for c > σ_v², and 0 below, equation (18).

    A mode of the data is learned if its variance is above the threshold σ_v²; the model's variance along it is then c.
    `linear_rate` is negative there; at the threshold itself it is 0. The other fixed point, w = 0, is unstable for
    c > σ_v²: `linear_rate(0, c)` > 0.

    Args:
        data_variance: c.
        visible_variance: σ_v².
        hidden_variance: σ_h².
    """
    c = jnp.asarray(data_variance)
    excess = jnp.maximum(c - visible_variance, 0)
    learned = excess > 0
    squared = excess / jnp.where(learned, visible_variance * hidden_variance * c, 1)
    return jnp.where(learned, jnp.sqrt(jnp.where(learned, squared, 1)), 0)


def linear_bound(*, visible_variance: Values = 1.0, hidden_variance: Values = 1.0) -> Result:
    """1 / (σ_v σ_h): the singular value from which on the Gaussian model does not exist."""
    return 1 / jnp.sqrt(jnp.asarray(visible_variance) * hidden_variance)


def linear_time(
    values: Values,
    initial: Values,
    data_variance: Values,
    *,
    visible_variance: Values = 1.0,
    hidden_variance: Values = 1.0,
) -> Result:
    """The time at which a mode of initial value w_0 reaches w: the solution of equation (17), in closed form.

    With x = w², x* = (c - σ_v²) / (σ_v² σ_h² c), Δ = c - σ_v²:
    2 σ_h² Δ t = log(x/x_0) - (σ_v²/c) log[(x* - x) / (x* - x_0)], and its limit for Δ = 0.

    Args:
        values: w > 0, between w_0 and the fixed point.
        initial: w_0 > 0.
        data_variance: c > 0.
        visible_variance: σ_v².
        hidden_variance: σ_h².

    Returns:
        t ≥ 0; negative for values that lie before w_0, NaN for values on the far side of the fixed point, inf on it.
    """
    x, x0 = jnp.asarray(values) ** 2, jnp.asarray(initial) ** 2
    return _time(jnp.log(x), jnp.log(x0), data_variance, visible_variance, hidden_variance)


def linear_solution(
    ts: Float[ArrayLike, " n_times"],
    initial: Float[ArrayLike, " n_modes"],
    data_variance: Float[ArrayLike, " n_modes"],
    *,
    visible_variance: Values = 1.0,
    hidden_variance: Values = 1.0,
) -> Float[Array, "n_times n_modes"]:
    """Singular values of all modes along time, from the closed solution (no integration): `linear_time` inverted.

    The inverse is found by bisection in log w², and one Newton step that makes it differentiable in all arguments.

    Args:
        ts: times ≥ 0, shape (n_times,).
        initial: w_α(0), positive and below `linear_bound`, shape (n_modes,).
        data_variance: c_α > 0, shape (n_modes,).
        visible_variance: σ_v².
        hidden_variance: σ_h².

    Raises:
        ValueError: values outside these ranges, or shapes that do not fit.
    """
    ts, initial, data_variance = jnp.asarray(ts), jnp.asarray(initial), jnp.asarray(data_variance)
    if ts.ndim != 1 or initial.ndim != 1 or initial.shape != data_variance.shape:
        raise ValueError(
            "ts must have shape (n_times,), initial and data_variance (n_modes,), got "
            f"{ts.shape}, {initial.shape} and {data_variance.shape}"
        )
    bound = linear_bound(visible_variance=visible_variance, hidden_variance=hidden_variance)
    _check_all("ts must be at least 0", ts, lambda: ts >= 0)
    _check_all(
        "initial must be positive and below linear_bound", (initial, bound), lambda: (initial > 0) & (initial < bound)
    )
    _check_all("data_variance must be positive", data_variance, lambda: data_variance > 0)
    return _solution(ts, initial, data_variance, visible_variance, hidden_variance)


@jax.jit
def _solution(ts, initial, data_variance, visible_variance, hidden_variance):
    ts = ts[:, None]
    variances = {"visible_variance": visible_variance, "hidden_variance": hidden_variance}
    fixed_point = linear_fixed_points(data_variance, **variances)
    log_initial = 2 * jnp.log(initial)
    # The speed of log w² is largest initially or, on the way up, at w = 0: twice it bounds the reach in time t.
    speed = 2 * jnp.abs(linear_velocity(initial, data_variance, **variances) / initial) + 2 * jnp.abs(
        linear_rate(jnp.zeros_like(initial), data_variance, **variances)
    )
    grows = fixed_point > initial
    target = jnp.where(fixed_point > 0, 2 * jnp.log(jnp.where(fixed_point > 0, fixed_point, 1)), -jnp.inf)
    low = jnp.where(grows, log_initial, jnp.maximum(target, log_initial - speed * ts))
    high = jnp.where(grows, jnp.minimum(target, log_initial + speed * ts), log_initial)

    def elapsed(log_x):
        return _time(log_x, log_initial, data_variance, visible_variance, hidden_variance)

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        # On the way up a later time is a larger value, on the way down a smaller one; beyond the fixed point it is NaN.
        above = jnp.where(grows, ~(elapsed(middle) < ts), elapsed(middle) < ts)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    n_halvings = jnp.finfo(log_initial.dtype).nmant + 8
    reach = lax.stop_gradient((low, high))
    root = sum(lax.fori_loop(0, n_halvings, halve, reach)) / 2
    value = jnp.exp(root / 2)
    rate = lax.stop_gradient(2 * linear_velocity(value, data_variance, **variances) / value)
    correction = elapsed(root) - ts
    moving = (ts > 0) & jnp.isfinite(correction) & (jnp.abs(rate) > 0)
    root = jnp.clip(root - jnp.where(moving, rate * jnp.where(moving, correction, 0), 0), *reach)
    return jnp.where(ts > 0, jnp.exp(root / 2), initial)


def linear_likelihood_gain(
    values: Values, data_variance: Values, *, visible_variance: Values = 1.0, hidden_variance: Values = 1.0
) -> Result:
    """Gain in log-likelihood per sample of each mode over w = 0: ½ c σ_h² w² + ½ log(1 - σ_v² σ_h² w²), in nats.

    The sum over modes is ℓ(t) - ℓ(0); at the fixed point a mode's gain is ½ (c/σ_v² - 1 - log(c/σ_v²)).

    Args:
        values: singular values w.
        data_variance: c.
        visible_variance: σ_v².
        hidden_variance: σ_h².
    """
    w, c = jnp.asarray(values), jnp.asarray(data_variance)
    return (c * hidden_variance * w**2 + jnp.log(_remaining(w, visible_variance, hidden_variance))) / 2


def linear_rotations(
    modes: Modes,
    covariance: Float[Array, "n_visible n_visible"],
    *,
    visible_variance: FloatLike = 1.0,
    hidden_variance: FloatLike = 1.0,
) -> ModeVelocity:
    """How the modes of a Gaussian-Gaussian RBM move, whether they are aligned with the data's or not.

    With C_αβ = u_α·C u_β: dσ_α/dt from equation (17) with c = C_αα;
    Ω^v_αβ = σ_h² C_αβ (σ_α² + σ_β²) / (σ_α² - σ_β²), Ω^h_αβ = 2 σ_h² C_αβ σ_α σ_β / (σ_α² - σ_β²); and outside the span
    du_α/dt gains σ_h² (1 - UUᵀ) C u_α, while the v's stay in theirs. Rotations end where the u's are eigenvectors of C.

    Args:
        modes: modes of W with distinct, positive singular values, from `svd_modes`.
        covariance: C of the centered data.
        visible_variance: σ_v².
        hidden_variance: σ_h².

    Returns:
        What `mode_velocity` finds for the force of the linear RBM; infinite where singular values coincide.
    """
    left, values = modes.left, modes.values
    moved = covariance @ left
    c = left.T @ moved
    off_diagonal = ~jnp.eye(values.shape[0], dtype=bool)
    difference = jnp.where(off_diagonal, values[:, None] ** 2 - values**2, 1)
    factor = jnp.asarray(hidden_variance) * jnp.where(off_diagonal, c / difference, 0)
    variances = {"visible_variance": visible_variance, "hidden_variance": hidden_variance}
    return ModeVelocity(
        values=linear_velocity(values, jnp.diagonal(c), **variances),
        left_rotation=factor * (values[:, None] ** 2 + values**2),
        right_rotation=factor * 2 * values[:, None] * values,
        left_outside=jnp.asarray(hidden_variance) * (moved - left @ c),
        right_outside=jnp.zeros_like(modes.right),
        degenerate=jnp.zeros(c.shape, bool),
    )


class GrowthModes(eqx.Module):
    """Directions in which the weights of a small-weight RBM grow (or shrink) independently.

    Attributes:
        rates: growth rates per unit of time, decreasing, shape (n_visible,).
        vectors: the directions in the columns, orthonormal, shape (n_visible, n_visible).
    """

    rates: Float[Array, " n_visible"]
    vectors: Float[Array, "n_visible n_visible"]


def growth_modes(
    data: Sample | DataStatistics,
    *,
    visible_units: AbstractUnits,
    hidden_units: AbstractUnits,
    sample_weights: Weighting = None,
) -> GrowthModes:
    """Eigenmodes of early learning: σ_h² × eigenvalues of C_d - Σ_v, with their eigenvectors.

    The linear theory around the product measure with the data's means: Σ_v is the diagonal of the units' variances at
    these means (p(1-p) for Bernoulli units, means moved 1e-3 from the edge) and σ_h² the variance of a hidden unit at
    zero field. Then dW/dt = σ_h² (C_d - Σ_v) W for small W: modes of the data with more variance than independent
    units would have are learned, the others decay. For Gaussian visible units the rate is that of `linear_rate` at 0.

    Args:
        data: shape (n_samples, n_visible), or its `DataStatistics`.
        visible_units: unit type of the visible layer; any but Potts.
        hidden_units: unit type of the hidden layer; any but Potts.
        sample_weights: non-negative sample weights, shape (n_samples,); for data only.

    Returns:
        All n_visible modes. Each vector's largest component is positive.

    Raises:
        ValueError: Potts units, or shapes that do not fit.
    """
    check_scalar_units("growth_modes", visible_units, hidden_units)
    statistics = as_statistics(data, sample_weights)
    mean = visible_units.interior_mean(statistics.mean, INTERIOR_MARGIN)
    visible_variance = visible_units.variance(visible_units.field_at_mean(mean))
    hidden_variance = hidden_units.variance(jnp.zeros(1, mean.dtype))[0]
    eigenvalues, vectors = jnp.linalg.eigh(statistics.covariance - jnp.diag(visible_variance))
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], axis=0)
    return GrowthModes(hidden_variance * eigenvalues, vectors * jnp.where(largest < 0, -1, 1))


def linear_weights(
    ts: Float[ArrayLike, " n_times"], weights: Float[Array, "n_visible n_hidden"], growth: GrowthModes
) -> Float[Array, "n_times n_visible n_hidden"]:
    """The linear theory of the weights, W(t) = exp(σ_h² (C_d - Σ_v) t) W(0): valid while σ_v σ_h σ_α is small.

    Args:
        ts: times, shape (n_times,).
        weights: W(0), shape (n_visible, n_hidden).
        growth: from `growth_modes`.
    """
    components = growth.vectors.T @ weights
    grown = jnp.exp(jnp.asarray(ts)[:, None] * growth.rates)[:, :, None] * components
    return jax.vmap(lambda projection: growth.vectors @ projection)(grown.astype(weights.dtype))


def _check_all(expected: str, values, holds) -> None:
    if is_concrete(values) and not holds().all():
        raise ValueError(f"{expected}, got {jnp.ravel(jax.tree.leaves(values)[0])}")


def _remaining(w, visible_variance, hidden_variance):
    """1 - σ_v² σ_h² w², NaN where the Gaussian model does not exist."""
    remaining = 1 - visible_variance * hidden_variance * w**2
    return jnp.where(remaining > 0, remaining, jnp.nan)


def _time(log_x, log_x0, data_variance, visible_variance, hidden_variance):
    """Equation (17) solved for the time between two values of log w², in a form without cancellation at threshold.

    The first logarithm of `linear_time` over Δ is log(1 + Δz) / Δ plus a part of the second; it tends to z for Δ → 0.
    Far from threshold its two terms are taken one by one, as 1 + Δz would cancel in turn.
    """
    c = jnp.asarray(data_variance)
    excess, slope = c - visible_variance, c * visible_variance * hidden_variance
    pull = excess - slope * jnp.exp(log_x)
    initial_pull = excess - slope * jnp.exp(log_x0)
    log_pull = jnp.log(pull / initial_pull)
    z = jnp.expm1(log_x - log_x0) / pull
    near = jnp.abs(excess * z) < 0.5
    at_threshold = jnp.abs(excess * z) < jnp.finfo(log_x0.dtype).tiny
    growth = jnp.where(near, jnp.log1p(jnp.where(near, excess * z, 0)), log_x - log_x0 - log_pull)
    first = jnp.where(at_threshold, z, growth / jnp.where(at_threshold, 1, excess))
    return (first + log_pull / c) / (2 * hidden_variance)
