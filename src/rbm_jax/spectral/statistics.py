"""Statistics of weights and of the components of singular vectors."""

import math

import equinox as eqx
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float
from rbm_jax.spectral.modes import as_matrix

__all__ = ["ModeStatistics", "effective_temperature", "mode_statistics"]


class ModeStatistics(eqx.Module):
    """How the components of vectors are distributed.

    Attributes:
        kurtosis: N Σu⁴ / (Σu²)², not centered: 3N/(N+2) on average for a random direction, 1 for equal components up to
            signs, N for a single one; 3 means Gaussian components and 6 Laplace ones. Shape (n_modes,).
        inverse_participation_ratio: Σu⁴ / (Σu²)², the inverse of the number of components that take part, (n_modes,).
        normality: p-value of the hypothesis that the components are a Gaussian sample (D'Agostino and Pearson's test on
            their skewness and kurtosis): uniform in [0, 1] if they are, near 0 if not. NaN for fewer than 8 components.
            Shape (n_modes,).
    """

    kurtosis: Float[Array, "*times n_modes"]
    inverse_participation_ratio: Float[Array, "*times n_modes"]
    normality: Float[Array, "*times n_modes"]


def mode_statistics(vectors: Float[Array, "n_units n_modes"]) -> ModeStatistics:
    """Kurtosis, inverse participation ratio and normality of the components of each vector.

    In the theory of learning, the kurtosis of the components decides whether modes condense one at a time or together
    (Decelle, Fissore & Furtlehner 2018).

    Args:
        vectors: one a column, such as `svd_modes(weights).left`, shape (n_units, n_modes).

    Returns:
        A number a vector, for each. NaN for a vector of zeros.

    Raises:
        ValueError: not a matrix, or one with NaN.
    """
    vectors = as_matrix("vectors", vectors)
    n_units = vectors.shape[0]
    ratio = (vectors**4).sum(0) / (vectors**2).sum(0) ** 2
    return ModeStatistics(n_units * ratio, ratio, _normality(vectors))


def effective_temperature(weights: Float[Array, "n_visible n_hidden"], *, size_free: bool = False) -> Float[Array, ""]:
    """T_eff = 1 / Var(W) over all entries, as in a talk of Decelle, Fissore & Furtlehner.

    It depends on the size of the layers: entries of variance σ²/L, with L = √(n_visible n_hidden), have T_eff = L/σ².

    Args:
        weights: shape (n_visible, n_hidden).
        size_free: return 1/σ = 1 / √(L Var(W)) instead, the temperature axis of the phase diagram.

    Returns:
        A scalar; infinite for weights that are all the same.

    Raises:
        ValueError: not a matrix, or one with NaN.
    """
    weights = as_matrix("weights", weights)
    variance = jnp.var(weights)
    return 1 / jnp.sqrt(math.sqrt(weights.size) * variance) if size_free else 1 / variance


def _normality(sample: Float[Array, "n_units n_modes"]) -> Float[Array, " n_modes"]:
    """P-values of the omnibus test K² = z_skewness² + z_kurtosis², which has two degrees of freedom.

    Source: D'Agostino (1970) for the skewness; Anscombe & Glynn (1983) for the kurtosis.
    """
    n = sample.shape[0]
    if n < 8:
        return jnp.full(sample.shape[1], jnp.nan, sample.dtype)
    deviation = sample - sample.mean(0)
    variance = (deviation**2).mean(0)
    z_skewness = _skewness_score((deviation**3).mean(0) / variance**1.5, n)
    z_kurtosis = _kurtosis_score((deviation**4).mean(0) / variance**2, n)
    return jnp.exp(-(z_skewness**2 + z_kurtosis**2) / 2)


def _skewness_score(skewness, n: int):
    """The skewness of n components, mapped to a standard normal variable if they are Gaussian."""
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    fourth = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w_squared = -1 + math.sqrt(2 * (fourth - 1))
    return jnp.arcsinh(y * math.sqrt((w_squared - 1) / 2)) / math.sqrt(math.log(w_squared) / 2)


def _kurtosis_score(kurtosis, n: int):
    """The same for the kurtosis."""
    mean = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - mean) / math.sqrt(variance)
    third = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9)) * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / third * (2 / third + math.sqrt(1 + 4 / third**2))
    ratio = (1 - 2 / a) / (1 + x * math.sqrt(2 / (a - 4)))
    return (1 - 2 / (9 * a) - jnp.cbrt(ratio)) / math.sqrt(2 / (9 * a))
