"""Units of the positive half-line: truncated Gaussians."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal import truncated_normal
from rbm_jax._internal.typing import Array, Float, FloatLike
from rbm_jax.units.abstract import AbstractUnits, Field, PerUnit
from rbm_jax.units.scales import (
    LogVariance,
    Variance,
    half_log_two_pi_variance,
    interpolate_precision,
    log_scale_of,
    remaining_precision,
    scale_config,
    scale_derivative,
    scale_of,
    scale_text,
    split_variance,
    variance_of,
)

__all__ = ["ReLU"]


class ReLU(AbstractUnits):
    """Units of a truncated Gaussian: real s ≥ 0 with base measure ρ(s) = exp(-s² / 2σ²), not normalized.

    log_partition(x) = σ²x²/2 + log Φ(σx) + ½ log 2πσ². At large fields a unit is a Gaussian one of mean σ²x; at large
    negative ones it is exponential, of mean -1/x: the mean is a smooth max(0, σ²x). All functions keep their
    relative accuracy in both tails. `ReLU(variance=1.0)` takes σ² as `Gaussian` does: a number is fixed, an array of
    shape (n_units,) is learned. Source: Tubiana & Monasson, "Emergence of compositional representations in restricted
    Boltzmann machines" (2017).

    Attributes:
        log_variance: as of `Gaussian`.
        fixed_variance: as of `Gaussian`.

    Raises:
        TypeError: as `Gaussian`.
        ValueError: as `Gaussian`.
    """

    log_variance: Float[Array, "*rbms n_units"] | None
    fixed_variance: float | None = eqx.field(static=True)
    support: ClassVar[str] = "a finite number of at least 0"
    mean_support: ClassVar[str] = "a finite number of at least 0"
    variance_is_free: ClassVar[bool] = True

    def __init__(self, variance: Variance = 1.0, *, log_variance: LogVariance | None = None):
        self.log_variance, self.fixed_variance = split_variance(variance, log_variance)

    def __repr__(self) -> str:
        return f"ReLU({scale_text(self)})"

    @property
    def base_variance(self) -> float | Array:
        """σ²: a number, or an array of shape (n_units,) where it is learned."""
        return variance_of(self)

    @property
    def has_learned_scale(self) -> bool:
        """Whether σ² is learned."""
        return self.log_variance is not None

    @property
    def states(self) -> None:
        """None: a continuum."""
        return None

    def log_partition(self, field: Field) -> PerUnit:
        """σ²x²/2 + log Φ(σx) + ½ log 2πσ²."""
        return truncated_normal.log_partition(self._scale * field) + log_scale_of(self)

    def mean(self, field: Field) -> Field:
        """σ²x + σ φ(σx) / Φ(σx)."""
        return self._scale * truncated_normal.mean(self._scale * field)

    def variance(self, field: Field) -> Field:
        """σ² - λ⟨s⟩ with λ = σ φ(σx) / Φ(σx)."""
        return self.base_variance * truncated_normal.variance(self._scale * field)

    def third_cumulant(self, field: Field) -> Field:
        """Third cumulant, between 0 and that of an exponential distribution, 2 |x|^{-3}."""
        return self._scale**3 * truncated_normal.third_cumulant(self._scale * field)

    def field_at_mean(self, mean: Field) -> Field:
        """Inverse of the mean, by Newton steps; -inf at 0 and NaN below."""
        return truncated_normal.field_at_mean(mean / self._scale) / self._scale

    def entropy(self, mean: Field) -> PerUnit:
        """Differential entropy relative to ρ; 1 + log m for small means m, and so -inf at 0."""
        mean = mean / self._scale
        gaussian = half_log_two_pi_variance(self) - mean**2 / 2
        return gaussian + truncated_normal.truncation_entropy(mean)

    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """That of a truncated Gaussian of variance 1 / (1/σ² - K) and this mean; NaN for K ≥ 1/σ²."""
        scale = self._scale_at(mean, curvature)
        variance = scale**2 * truncated_normal.variance(truncated_normal.field_at_mean(mean / scale))
        return jnp.broadcast_to(variance, mean.shape)

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Third cumulant at `field_at_mean`."""
        return self.third_cumulant(self.field_at_mean(mean))

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """½ ∫₀ᴷ variance dK': -½ log(1 - σ²K) and the change of the entropy of truncation; NaN for K ≥ 1/σ²."""
        scale = self._scale_at(mean, curvature)
        truncation = truncated_normal.truncation_entropy(mean / scale)
        return jnp.log(scale / self._scale) + truncation - truncated_normal.truncation_entropy(mean / self._scale)

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """`log_partition` of a unit of variance 1 / (1/σ² - K)."""
        scale = self._scale_at(field, curvature)
        return truncated_normal.log_partition(scale * field) + jnp.log(scale)

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """Moments of a unit of variance 1 / (1/σ² - K)."""
        scale = self._scale_at(field, curvature)
        mean = scale * truncated_normal.mean(scale * field)
        variance = scale**2 * truncated_normal.variance(scale * field)
        return mean, variance + mean**2, variance

    def log_base_measure(self, states: Field) -> PerUnit:
        """-s² / 2σ²."""
        return -(states**2) / (2 * self.base_variance)

    def base_measure_derivative(self, states: Field) -> AbstractUnits:
        """s² / 2σ² of a learned log σ²."""
        return self.second_moment_derivative(states**2)

    def log_partition_derivative(self, field: Field) -> AbstractUnits:
        """⟨s²⟩ / 2σ² of a learned log σ²."""
        return self.second_moment_derivative(self.variance(field) + self.mean(field) ** 2)

    def second_moment_derivative(self, second_moment: Field) -> AbstractUnits:
        """⟨s²⟩ / 2σ² of a learned log σ²."""
        return scale_derivative(self, second_moment)

    def interpolate(self, end: AbstractUnits, t: FloatLike) -> AbstractUnits:
        """The units whose 1/σ² is (1 - t) that of these plus t that of `end`."""
        return interpolate_precision(self, end, t)

    def config(self) -> dict[str, Any]:
        """`variance` where it is fixed, `log_variance` where it is learned."""
        return scale_config(self)

    def contains(self, states):
        """True for finite numbers of at least 0."""
        return (states >= 0) & (states < np.inf)

    def contains_mean(self, mean):
        """True for finite numbers of at least 0."""
        return self.contains(mean)

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Means raised to at least margin × σ, so that a unit that is always 0 gets a finite field."""
        return jnp.maximum(mean, margin * self._scale)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """The state above which a fraction u of the distribution lies."""
        return self._scale * truncated_normal.upper_quantile(self._scale * field, uniform)

    @property
    def _scale(self) -> float | Array:
        return scale_of(self)

    def _scale_at(self, like: Field, curvature: Field | FloatLike) -> Array:
        """σ of the unit with this curvature."""
        return self._scale / jnp.sqrt(remaining_precision(self.base_variance, like, curvature))
