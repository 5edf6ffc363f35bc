"""Random-matrix theory of the weights: the bulk of singular values, and what sticks out of it.

The ensemble is W = Σ_α w_α u_α v_αᵀ + r with few unit vectors u_α, v_α and independent entries r_ij of variance σ²/L,
L = √(n_visible n_hidden). Formulas depend on the sizes through κ = n_hidden / n_visible alone: the argument `ratio`.
The strength `noise` is σ; for entries of standard deviation s, as `init_rbm(..., scale=s)` makes them, σ = s √L.

Sources: Marchenko & Pastur (1967); Benaych-Georges & Nadakuditi (2012) for outliers; Johnstone (2001) for the edge at
finite size.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_fraction, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Shaped
from rbm_jax.spectral.modes import as_matrix

__all__ = [
    "Bulk",
    "SpikedOverlaps",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "marchenko_pastur_quantile",
    "spiked_outlier",
    "spiked_overlaps",
    "spiked_value",
    "split_bulk",
]

_EDGE_QUANTILE = 3.2724
"""Of the Tracy-Widom law of real matrices: one pure noise matrix in a thousand has a singular value beyond."""
_N_SPLITS = 50

Values = Float[ArrayLike, "*#values"] | float
Result = Float[Array, "*values"]


def marchenko_pastur_edges(noise: FloatLike, *, ratio: FloatLike = 1.0) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Lower and upper edge of the singular values of pure noise: σ |κ^{1/4} - κ^{-1/4}| and σ (κ^{1/4} + κ^{-1/4}).

    Args:
        noise: σ > 0.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: noise or ratio that is not positive.
    """
    _check_law(noise, ratio)
    noise, quarter = jnp.asarray(noise), jnp.sqrt(jnp.sqrt(ratio))
    return noise * jnp.abs(quarter - 1 / quarter), noise * (quarter + 1 / quarter)


def marchenko_pastur_density(values: Values, noise: FloatLike, *, ratio: FloatLike = 1.0) -> Result:
    """Density of the min(n_visible, n_hidden) singular values of pure noise; its integral is 1.

    ρ(s) = √((s₊² - s²)(s² - s₋²)) / (π σ² √c s) with the edges s± and c = min(κ, 1/κ).

    Args:
        values: singular values s > 0, of any shape.
        noise: σ > 0.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: noise or ratio that is not positive.
    """
    s = jnp.asarray(values)
    lower, upper = marchenko_pastur_edges(noise, ratio=ratio)
    smaller = jnp.minimum(jnp.asarray(ratio), 1 / jnp.asarray(ratio))
    inside = (s >= lower) & (s <= upper) & (s >= 0)
    positive = inside & (s > 0)  # for κ = 1 the law goes down to 0, with a finite density
    shape = (upper**2 - s**2) * (1 - jnp.where(positive, lower / jnp.where(positive, s, 1), 0) ** 2)
    interior = inside & (shape > 0)
    root = jnp.where(interior, jnp.sqrt(jnp.where(interior, shape, 1)), 0)
    return root / (jnp.pi * jnp.asarray(noise) ** 2 * jnp.sqrt(smaller))


def marchenko_pastur_quantile(
    probability: FloatLike, noise: FloatLike = 1.0, *, ratio: FloatLike = 1.0
) -> Float[Array, ""]:
    """The singular value below which the given share of pure noise lies; the median for 1/2.

    Args:
        probability: in [0, 1].
        noise: σ.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: a probability outside [0, 1], or noise or ratio that is not positive.
    """
    check_fraction("probability", probability)
    _check_law(noise, ratio)
    lower, upper = marchenko_pastur_edges(1.0, ratio=ratio)
    # As a function of the angle θ, the integrand is smooth at both edges.
    theta = jnp.linspace(0, jnp.pi, 1025)
    s = (lower + upper) / 2 - (upper - lower) / 2 * jnp.cos(theta)
    weight = marchenko_pastur_density(s, 1.0, ratio=ratio) * jnp.sin(theta)
    cumulative = jnp.concatenate([jnp.zeros_like(s[:1]), jnp.cumsum(weight[1:] + weight[:-1])])
    quantile = jnp.interp(jnp.asarray(probability), cumulative / cumulative[-1], s)
    return jnp.asarray(noise) * quantile.astype(jnp.result_type(noise, 1.0))


def spiked_outlier(value: Values, noise: FloatLike, *, ratio: FloatLike = 1.0) -> Result:
    """The singular value λ of W that a planted mode of strength w gives rise to, for large layers.

    λ = √((w² + σ²√κ)(w² + σ²/√κ)) / w for w > σ; up to w = σ the mode is hidden, and λ is the bulk's edge.

    Args:
        value: planted w ≥ 0, of any shape.
        noise: σ ≥ 0.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: negative noise, or a ratio that is not positive.
    """
    _check_law(noise, ratio, or_zero=True)
    w, root = jnp.asarray(value), jnp.sqrt(ratio)
    # At w = σ the formula gives the edge, and it grows from there on.
    visible = jnp.maximum(w, noise)
    safe = jnp.where(visible > 0, visible, 1)
    outlier = jnp.sqrt((safe**2 + noise**2 * root) * (safe**2 + noise**2 / root)) / safe
    return jnp.where(visible > 0, outlier, 0)


def spiked_value(outlier: Values, noise: FloatLike, *, ratio: FloatLike = 1.0) -> Result:
    """The planted strength w behind an outlier λ: the inverse of `spiked_outlier`.

    Args:
        outlier: singular values λ of W, of any shape.
        noise: σ ≥ 0.
        ratio: κ = n_hidden / n_visible.

    Returns:
        w > σ; NaN inside the bulk, where w cannot be told.

    Raises:
        ValueError: negative noise, or a ratio that is not positive.
    """
    _check_law(noise, ratio, or_zero=True)
    root = jnp.sqrt(ratio)
    y = jnp.asarray(outlier) ** 2 - noise**2 * (root + 1 / root)
    discriminant = y**2 - 4 * noise**4
    beyond = (y >= 2 * noise**2) & (y > 0)
    return jnp.where(beyond, jnp.sqrt((y + jnp.sqrt(jnp.where(beyond, discriminant, 0))) / 2), jnp.nan)


class SpikedOverlaps(NamedTuple):
    """Squared overlaps between planted and observed singular vectors.

    Attributes:
        left: (u·û)² of the left vectors.
        right: (v·v̂)² of the right vectors.
    """

    left: Float[Array, "*values"]
    right: Float[Array, "*values"]


def spiked_overlaps(value: Values, noise: FloatLike, *, ratio: FloatLike = 1.0) -> SpikedOverlaps:
    """How much of a planted mode its outlier's singular vectors show; 0 up to w = σ.

    (u·û)² = (w⁴ - σ⁴) / (w² (w² + σ²/√κ)), and (v·v̂)² with √κ in place of 1/√κ.

    Args:
        value: planted w > 0, of any shape.
        noise: σ ≥ 0.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: negative noise, or a ratio that is not positive.
    """
    _check_law(noise, ratio, or_zero=True)
    w, root = jnp.asarray(value), jnp.sqrt(ratio)
    visible = w > noise
    excess, squared = jnp.where(visible, w**4 - noise**4, 0), jnp.where(visible, w, 1) ** 2
    return SpikedOverlaps(
        excess / (squared * (squared + noise**2 / root)), excess / (squared * (squared + noise**2 * root))
    )


class Bulk(eqx.Module):
    """Singular values split into a random bulk and outliers.

    Attributes:
        values: all singular values, decreasing, shape (n_modes,).
        is_outlier: True for those beyond the edge, shape (n_modes,).
        noise: σ of the bulk: its entries have variance σ²/L.
        edge: the largest singular value that is still counted as bulk.
    """

    values: Float[Array, "*times n_modes"]
    is_outlier: Shaped[Array, "*times n_modes"]
    noise: Float[Array, "*times"]
    edge: Float[Array, "*times"]


def split_bulk(weights: Float[Array, "n_visible n_hidden"]) -> Bulk:
    """Tell the modes that were learned from a random bulk, and measure the bulk's strength.

    What is left of the noise beside k strong modes is a matrix of n_visible - k by n_hidden - k. σ is the one whose
    Marchenko-Pastur law at this size has the median of the singular values that are not outliers; outliers are those
    beyond its upper edge, widened to what pure noise exceeds once in a thousand matrices (Tracy & Widom's law). The two
    conditions are iterated from "no outliers". Meaningful while most modes are still random; nothing here tests whether
    the bulk has the law's shape.

    Args:
        weights: shape (n_visible, n_hidden).

    Returns:
        The split. `spiked_value(bulk.values, bulk.noise, ratio=...)` gives the strengths of what was planted.

    Raises:
        ValueError: not a matrix, or one with NaN.
    """
    return _split_matrix(as_matrix("weights", weights))


@jax.jit  # outside of it, the loop would be compiled in every call
def _split_matrix(weights) -> Bulk:
    values = jnp.linalg.svd(weights, compute_uv=False)
    n_visible, n_hidden = weights.shape

    def law_without(n_outliers):
        """Strength of an entry, and the edge, if there are so many outliers."""
        remaining = jnp.stack([n_visible - n_outliers, n_hidden - n_outliers]).astype(values.dtype)
        n_rows, n_columns = jnp.maximum(remaining, 1)
        unit = jnp.sqrt(jnp.sqrt(n_rows * n_columns))  # σ of entries of variance 1
        median = marchenko_pastur_quantile(0.5, unit, ratio=n_columns / n_rows)
        scale = _median_of_smallest(values, n_outliers) / median
        return scale, scale * _finite_size_edge(n_rows, n_columns)

    def split(_, n_outliers):
        _, edge = law_without(n_outliers)
        return (values > edge).sum().astype(jnp.int32)

    n_outliers = lax.fori_loop(0, _N_SPLITS, split, jnp.zeros((), jnp.int32))
    scale, edge = law_without(n_outliers)
    return Bulk(values, values > edge, scale * math.sqrt(math.sqrt(weights.size)), edge)


def _check_law(noise, ratio, *, or_zero: bool = False) -> None:
    check_positive("noise", noise, or_zero=or_zero)
    check_positive("ratio", ratio)


def _finite_size_edge(n_rows, n_columns):
    """What the largest singular value of entries of variance 1 exceeds once in a thousand matrices."""
    large, small = jnp.maximum(n_rows, n_columns), jnp.minimum(n_rows, n_columns)
    before = jnp.sqrt(jnp.maximum(large - 1, 1))  # Johnstone's centering
    center = (before + jnp.sqrt(small)) ** 2
    width = (before + jnp.sqrt(small)) * (1 / before + 1 / jnp.sqrt(small)) ** (1 / 3)
    return jnp.sqrt(center + _EDGE_QUANTILE * width)


def _median_of_smallest(values, n_outliers):
    """Median of decreasing values without the first n_outliers."""
    n_modes = values.shape[0]
    middle = n_outliers + (n_modes - 1 - n_outliers) / 2
    low, high = jnp.floor(middle).astype(int), jnp.ceil(middle).astype(int)
    return (values[low] + values[high]) / 2
