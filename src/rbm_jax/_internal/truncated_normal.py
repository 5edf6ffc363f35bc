"""The distribution exp(-s²/2 + ts) on s ≥ 0 as a function of its field t, accurate in both tails.

With u = -t and Mills' ratio R(u) = ∫ e^{-s²/2 - us} ds over s ≥ 0, the partition function is R and the mean is
⟨s⟩ = 1/R - u, which cancels for large u. The ratios ρ_n = I_n / I_{n-1} of integrals I_n = ∫ sⁿ/n! e^{-s²/2 - us} ds do
not: R = 1 / (u + ρ_1) and ρ_n = 1 / (u + (n+1) ρ_{n+1}), a continued fraction, and

    ⟨s⟩ = ρ_1,   variance = ρ_1 (2ρ_2 - ρ_1),   third cumulant = 2 ρ_1 ρ_2 (3ρ_3 - 2ρ_2) (1 - variance).

It is used from u = 1 (float64: 2) on, started some levels deep from the expansion of ρ_n for large n. On the other side
all follows from λ = φ(t) / Φ(t), the mean being t + λ. Narrower dtypes than float32 are computed in float32.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import log_ndtr, ndtr, ndtri

from rbm_jax._internal.typing import Array, Float

__all__ = [
    "field_at_mean",
    "log_partition",
    "mean",
    "third_cumulant",
    "truncation_entropy",
    "upper_quantile",
    "variance",
]

Values = Float[Array, "*batch"]

_LOG_SQRT_2PI = math.log(2 * math.pi) / 2
_TAIL_FIELD = -3.0
"""Field below which samples are drawn by the ratios: above, quantiles of the normal distribution are accurate."""


def _in_single(function):
    """Compute in float32 what comes in a narrower dtype; as one program, not a hundred, where it is called eagerly."""

    @jax.jit
    @functools.wraps(function)
    def wrapped(*values):
        dtype = values[0].dtype
        wide = jnp.promote_types(dtype, jnp.float32)
        return function(*(value.astype(wide) for value in values)).astype(dtype)

    return wrapped


@jax.custom_jvp
@_in_single
def log_partition(field: Values) -> Values:
    """t²/2 + log Φ(t) + ½ log 2π."""
    is_tail, u, t = _split(field)
    body = t**2 / 2 + log_ndtr(t) + _LOG_SQRT_2PI
    return jnp.where(is_tail, -jnp.log(u + _ratios(u)[0]), body)


log_partition.defjvps(lambda tangent, _, t: tangent * mean(t))


@jax.custom_jvp
@_in_single
def mean(field: Values) -> Values:
    """Mean t + λ."""
    return _mean_and_variance(field)[0]


mean.defjvps(lambda tangent, _, t: tangent * variance(t))


@jax.custom_jvp
@_in_single
def variance(field: Values) -> Values:
    """Variance 1 - λ⟨s⟩."""
    return _mean_and_variance(field)[1]


variance.defjvps(lambda tangent, _, t: tangent * third_cumulant(t))


@_in_single
def third_cumulant(field: Values) -> Values:
    """λ (⟨s⟩² - variance)."""
    is_tail, u, t = _split(field)
    first, second, third = ratios = _ratios(u)
    tail = 2 * first * second * (3 * third - 2 * second) * (1 - _tail_variance(ratios))
    hazard = _hazard(t)
    average = t + hazard
    return jnp.where(is_tail, tail, hazard * (average**2 + hazard * average - 1))


@jax.custom_jvp
@_in_single
def field_at_mean(average: Values) -> Values:
    """Inverse of `mean`: Newton steps from a guess that is right in both tails. -inf at 0, NaN below."""
    small = 1e-3 if jnp.finfo(average.dtype).bits <= 32 else 1e-4
    inside = jnp.maximum(average, small)
    guess = 3 * inside / 2 - jnp.exp(-(inside**2) / 2) / inside

    def improve(_, field):
        at_field, slope = _mean_and_variance(field)
        return field - (at_field - inside) / slope

    field = lax.fori_loop(0, 4, improve, guess)
    # The next term of the expansion is of relative order m⁴.
    tiny = 2 * average - 1 / jnp.where(average > 0, average, 1)
    return jnp.select([average >= small, average > 0, average == 0], [field, tiny, -jnp.inf], jnp.nan)


field_at_mean.defjvps(lambda tangent, t, _: tangent / variance(t))


@jax.custom_jvp
@_in_single
def truncation_entropy(average: Values) -> Values:
    """What truncation adds to the entropy ½ log 2π - m²/2 of a Gaussian of this mean m: log Φ(t) + λ²/2."""
    field = field_at_mean(average)
    is_tail, u, t = _split(field)
    tail = u * average + average**2 / 2 - jnp.log(u + average) - _LOG_SQRT_2PI
    body = log_ndtr(t) + jnp.where(is_tail, 0, average - t) ** 2 / 2
    return jnp.where(average > 0, jnp.where(is_tail, tail, body), jnp.where(average == 0, -jnp.inf, jnp.nan))


truncation_entropy.defjvps(lambda tangent, _, average: tangent * (average - field_at_mean(average)))


@_in_single
def upper_quantile(field: Values, fraction: Values) -> Values:
    """The s above which this fraction of the distribution lies: decreasing, so that a uniform one gives a sample.

    In the lower tail s solves s (u + s/2) + log(λ(u + s) / λ(u)) = -log fraction, λ(u) = 1 / R(u), by two Newton steps.
    """
    is_tail = field < _TAIL_FIELD
    t = jnp.where(is_tail, _TAIL_FIELD, field)
    body = t - ndtri(fraction * ndtr(t))
    u = jnp.where(is_tail, -field, -_TAIL_FIELD)
    depth = -jnp.log(fraction)
    start_hazard = hazard = u + _ratios(u, 4)[0]
    s = 2 * depth / (hazard + jnp.sqrt(hazard**2 + 2 * depth))
    for _ in range(2):
        hazard = u + s + _ratios(u + s, 4)[0]
        s = s - (s * (u + s / 2) + jnp.log(hazard / start_hazard) - depth) / hazard
    return jnp.maximum(jnp.where(is_tail, s, body), 0)


def _split(field: Array) -> tuple[Array, Array, Array]:
    """Where the tail is, u for it, and t for the rest, each harmless on the other side."""
    kind = jnp.finfo(field.dtype)
    start = 1.0 if kind.bits <= 32 else 2.0
    is_tail = field <= -start
    reach = float(kind.max) ** 0.5 / 4  # beyond, squares overflow
    return is_tail, jnp.clip(jnp.where(is_tail, -field, start), start, reach), jnp.where(is_tail, -start, field)


def _mean_and_variance(field: Array) -> tuple[Array, Array]:
    is_tail, u, t = _split(field)
    ratios, hazard = _ratios(u), _hazard(t)
    average = t + hazard
    return jnp.where(is_tail, ratios[0], average), jnp.where(is_tail, _tail_variance(ratios), 1 - hazard * average)


def _hazard(t: Array) -> Array:
    """φ(t) / Φ(t), for t that is not far below 0."""
    return jnp.exp(-(t**2) / 2 - _LOG_SQRT_2PI) / ndtr(t)


def _tail_variance(ratios: tuple[Array, Array, Array]) -> Array:
    first, second, _ = ratios
    return first * (2 * second - first)


def _ratios(u: Array, n_levels: int | None = None) -> tuple[Array, Array, Array]:
    """ρ_1, ρ_2 and ρ_3.

    I_n is a parabolic cylinder function times e^{u²/4}, so with y' + y² = p² = u²/4 + n - ½, ρ_n = -(y + u/2) / n; here
    to second order beyond y = -p. The error shrinks by about e^{-2u√n} on the way down.
    """
    n = (12 if jnp.finfo(u.dtype).bits <= 32 else 40) if n_levels is None else n_levels
    p = jnp.sqrt(u**2 / 4 + (n - 0.5))
    slope = u / p
    second_order = (5 * slope**2 / 8 - 1) / (16 * p**3)
    ratio = ((n - 0.5) / (p + u / 2) + slope / (8 * p) - second_order) / n
    ratios = [ratio]
    for level in range(n - 1, 0, -1):
        ratios.append(1 / (u + (level + 1) * ratios[-1]))
    return ratios[-1], ratios[-2], ratios[-3]
