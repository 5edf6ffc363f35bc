"""Random-matrix theory of the weights: the bulk of singular values, and what sticks out of it.

The ensemble is W = Σ_α w_α u_α v_αᵀ + r with few unit vectors u_α, v_α and independent entries r_ij of variance σ²/L,
L = √(n_visible n_hidden). Formulas depend on the sizes through κ = n_hidden / n_visible alone: the argument `ratio`.
The strength `noise` is σ; for entries of standard deviation s, as `init_rbm(..., scale=s)` makes them, σ = s √L.

Sources: Marchenko & Pastur (1967); Benaych-Georges & Nadakuditi (2012) for outliers; Johnstone (2001) for the edge at
finite size.
"""

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
"""Quantile 0.999 of the Tracy-Widom distribution of real matrices: one outlier in a thousand matrices is false."""
_N_SPLITS = 50
"""Iterations of the split. The number of outliers settles within ten, unless it alternates between two values."""
_N_ANGLES = 1025
"""Points of the cumulative distribution: its trapezoid rule is then right to 1e-6 in probability."""

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
    _check_parameters(noise, ratio)
    return _edges(noise, ratio)


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
    positive = inside & (s > 0)  # for κ = 1 the bulk goes down to 0, with a finite density
    shape = (upper**2 - s**2) * (1 - jnp.where(positive, lower / jnp.where(positive, s, 1), 0) ** 2)
    interior = inside & (shape > 0)
    root = jnp.where(interior, jnp.sqrt(jnp.where(interior, shape, 1)), 0)
    return root / (jnp.pi * jnp.asarray(noise) ** 2 * jnp.sqrt(smaller))


def marchenko_pastur_quantile(
    probability: FloatLike, noise: FloatLike = 1.0, *, ratio: FloatLike = 1.0
) -> Float[Array, ""]:
    """The singular value below which the given fraction of pure noise lies; the median for 1/2.

    Args:
        probability: in [0, 1].
        noise: σ.
        ratio: κ = n_hidden / n_visible.

    Raises:
        ValueError: a probability outside [0, 1], or noise or ratio that is not positive.
    """
    check_fraction("probability", probability)
    _check_parameters(noise, ratio)
    lower, upper = marchenko_pastur_edges(1.0, ratio=ratio)
    # As a function of the angle θ, the integrand is smooth at both edges.
    theta = jnp.linspace(0, jnp.pi, _N_ANGLES)
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
    _check_parameters(noise, ratio, or_zero=True)
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
    _check_parameters(noise, ratio, or_zero=True)
    return _spiked_value(outlier, noise, ratio)


class SpikedOverlaps(eqx.Module):
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
    _check_parameters(noise, ratio, or_zero=True)
    w, root = jnp.asarray(value), jnp.sqrt(ratio)
    visible = w > noise
    excess, squared = jnp.where(visible, w**4 - noise**4, 0), jnp.where(visible, w, 1) ** 2
    return SpikedOverlaps(
        excess / (squared * (squared + noise**2 / root)), excess / (squared * (squared + noise**2 * root))
    )


class Bulk(eqx.Module):
    """Singular values split into a random bulk and outliers.

    The bulk is that of a smaller matrix than W: the noise in the directions that k outliers leave, a matrix of
    n_visible - k by n_hidden - k whose entries have the variance of the noise in W. `noise` and `ratio` are those of
    this matrix, for all functions of this module: `marchenko_pastur_edges(bulk.noise, ratio=bulk.ratio)` are `edges`.
    `ensemble_noise` is the σ of the ensemble that W is drawn from, the one to give to `replica.Control`.

    Attributes:
        values: all singular values, decreasing, shape (n_modes,).
        is_outlier: True for those beyond the threshold, shape (n_modes,).
        threshold: the largest singular value that is still counted as bulk; the upper of `edges`, widened by what noise
            of this size exceeds once in a thousand matrices.
        noise: σ of the matrix that the outliers leave: its entries have variance σ² / √((n_visible - k)(n_hidden - k)).
        ratio: κ of that matrix, (n_hidden - k) / (n_visible - k).
        ensemble_noise: σ of the whole matrix: the same entries have variance σ² / √(n_visible n_hidden).
    """

    values: Float[Array, "*times n_modes"]
    is_outlier: Shaped[Array, "*times n_modes"]
    threshold: Float[Array, "*times"]
    noise: Float[Array, "*times"]
    ratio: Float[Array, "*times"]
    ensemble_noise: Float[Array, "*times"]

    @property
    def edges(self) -> tuple[Float[Array, "*times"], Float[Array, "*times"]]:
        """Lower and upper edge of the bulk in theory."""
        return _edges(self.noise, self.ratio)

    @property
    def planted_values(self) -> Float[Array, "*times n_modes"]:
        """The strength w behind each outlier (`spiked_value`), NaN for the singular values of the bulk."""
        planted = _spiked_value(self.values, self.noise[..., None], self.ratio[..., None])
        return jnp.where(self.is_outlier, planted, jnp.nan)

    def density(self, values: Values) -> Result:
        """Density of the singular values that are not outliers; its integral is 1.

        A bin of width Δ at s is expected to hold Δ · density(s) · (number of values that are not outliers) of them.

        Args:
            values: singular values s > 0, of any shape; of a single bulk, not of a stack.

        Raises:
            ValueError: a bulk without noise, as that of weights that are zero.
        """
        return marchenko_pastur_density(values, self.noise, ratio=self.ratio)


def split_bulk(weights: Float[Array, "n_visible n_hidden"]) -> Bulk:
    """Tell the modes that were learned from a random bulk, and measure the bulk's strength.

    What is left of the noise beside k strong modes is a matrix of n_visible - k by n_hidden - k. Its σ is the one whose
    Marchenko-Pastur distribution has the median of the singular values that are not outliers; outliers are those beyond
    its upper edge, widened to what pure noise exceeds once in a thousand matrices (Tracy and Widom's distribution). The
    two conditions are iterated from "no outliers". Meaningful while most modes are still random; nothing here tests
    whether the bulk has the shape of Marchenko and Pastur's distribution.

    Args:
        weights: shape (n_visible, n_hidden).

    Returns:
        The split, with its theory: `bulk.edges`, `bulk.density(values)` and `bulk.planted_values`.

    Raises:
        ValueError: not a matrix, or one with NaN.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax.spectral import split_bulk
        >>> noise = jax.random.normal(jax.random.key(1), (60, 40)) / 2400**0.25
        >>> bulk = split_bulk(noise.at[0, 0].add(5.0))
        >>> int(bulk.is_outlier.sum()), f"{bulk.planted_values[0]:.1f}", f"{bulk.edges[1]:.1f}"
        (1, '5.0', '1.9')
    """
    return _split_matrix(as_matrix("weights", weights))


@jax.jit  # outside of it, the loop would be compiled in every call
def _split_matrix(weights) -> Bulk:
    values = jnp.linalg.svd(weights, compute_uv=False)

    def remaining(n_outliers):
        """Rows and columns of the noise beside so many outliers."""
        left = jnp.asarray(weights.shape) - n_outliers
        return jnp.maximum(left, 1).astype(values.dtype)

    def scale_without(n_outliers):
        """Standard deviation of an entry, and the threshold, if there are so many outliers."""
        n_rows, n_columns = remaining(n_outliers)
        median = marchenko_pastur_quantile(0.5, _noise_of_unit_entries(n_rows, n_columns), ratio=n_columns / n_rows)
        scale = _median_of_smallest(values, n_outliers) / median
        return scale, scale * _finite_size_edge(n_rows, n_columns)

    def split(_, n_outliers):
        _, threshold = scale_without(n_outliers)
        return (values > threshold).sum().astype(jnp.int32)

    n_outliers = lax.fori_loop(0, _N_SPLITS, split, jnp.zeros((), jnp.int32))
    scale, threshold = scale_without(n_outliers)
    is_outlier = values > threshold
    n_rows, n_columns = remaining(is_outlier.sum())
    return Bulk(
        values=values,
        is_outlier=is_outlier,
        threshold=threshold,
        noise=scale * _noise_of_unit_entries(n_rows, n_columns),
        ratio=n_columns / n_rows,
        ensemble_noise=scale * _noise_of_unit_entries(*map(float, weights.shape)),
    )


def _noise_of_unit_entries(n_rows, n_columns):
    """σ of a matrix whose entries have variance 1."""
    return jnp.sqrt(jnp.sqrt(n_rows * n_columns))


def _edges(noise, ratio):
    noise, quarter = jnp.asarray(noise), jnp.sqrt(jnp.sqrt(ratio))
    return noise * jnp.abs(quarter - 1 / quarter), noise * (quarter + 1 / quarter)


def _spiked_value(outlier, noise, ratio):
    root = jnp.sqrt(ratio)
    y = jnp.asarray(outlier) ** 2 - noise**2 * (root + 1 / root)
    discriminant = y**2 - 4 * noise**4
    beyond = (y >= 2 * noise**2) & (y > 0)
    return jnp.where(beyond, jnp.sqrt((y + jnp.sqrt(jnp.where(beyond, discriminant, 0))) / 2), jnp.nan)


def _check_parameters(noise, ratio, *, or_zero: bool = False) -> None:
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
