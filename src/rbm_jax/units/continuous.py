"""Units of the real line."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from rbm_jax._internal.typing import Array, Float, FloatLike
from rbm_jax.units.abstract import AbstractUnits, Field, PerUnit
from rbm_jax.units.scales import (
    LogVariance,
    Variance,
    half_log_two_pi_variance,
    interpolate_precision,
    remaining_precision,
    scale_config,
    scale_derivative,
    scale_of,
    scale_text,
    split_variance,
    variance_of,
)

__all__ = ["Gaussian"]


class Gaussian(AbstractUnits):
    """Real units with base measure ρ(s) = exp(-s² / 2σ²), not normalized: log_partition(x) = σ²x²/2 + ½ log 2πσ².

    `Gaussian(variance=1.0)` takes σ², the variance whatever the field. A number is fixed, and the same for all units of
    the layer. An array of shape (n_units,) is learned: one leaf log σ², `Gaussian(log_variance=...)` likewise. As the
    mean is σ² x, the variance multiplies fields and couplings. A learned one is for visible units; of hidden ones it
    would be a gauge (`rbm_jax.model.absorb_hidden_scale`).

    Attributes:
        log_variance: log σ² of each unit where it is learned, shape (n_units,), in the dtype of the RBM; else None.
        fixed_variance: σ² where it is a fixed number, else None. `base_variance` is σ² in both cases (`variance` is
            the function that every unit type has).

    Raises:
        TypeError: a variance that is not of numbers, or a traced number.
        ValueError: a variance that is not positive and finite.
    """

    log_variance: Float[Array, "*rbms n_units"] | None
    fixed_variance: float | None = eqx.field(static=True)
    support: ClassVar[str] = "a finite real number"
    mean_support: ClassVar[str] = "a finite real number"
    variance_is_free: ClassVar[bool] = True

    def __init__(self, variance: Variance = 1.0, *, log_variance: LogVariance | None = None):
        self.log_variance, self.fixed_variance = split_variance(variance, log_variance)

    def __repr__(self) -> str:
        return f"Gaussian({scale_text(self)})"

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
        """σ²x²/2 + ½ log 2πσ²."""
        return self.base_variance * field**2 / 2 + half_log_two_pi_variance(self)

    def mean(self, field: Field) -> Field:
        """σ² x."""
        return self.base_variance * field

    def variance(self, field: Field) -> Field:
        """σ²."""
        return jnp.full_like(field, self.base_variance)

    def third_cumulant(self, field: Field) -> Field:
        """Zero."""
        return jnp.zeros_like(field)

    def field_at_mean(self, mean: Field) -> Field:
        """Field m / σ²."""
        return mean / self.base_variance

    def entropy(self, mean: Field) -> PerUnit:
        """½ log 2πσ² - m² / 2σ²."""
        return half_log_two_pi_variance(self) - mean**2 / (2 * self.base_variance)

    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """1 / (1/σ² - K), whatever the mean; NaN for K ≥ 1/σ²."""
        return jnp.broadcast_to(
            self.base_variance / remaining_precision(self.base_variance, mean, curvature), mean.shape
        )

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Zero."""
        return jnp.zeros_like(mean)

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """-½ log(1 - σ²K); NaN for K ≥ 1/σ²."""
        return -jnp.log(remaining_precision(self.base_variance, mean, curvature)) / 2

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """½ v x² + ½ log 2πv with v = 1 / (1/σ² - K)."""
        variance = self.base_variance / remaining_precision(self.base_variance, field, curvature)
        return variance * field**2 / 2 + jnp.log(2 * math.pi * variance) / 2

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """Mean v x, then v + (v x)² and v, with v = 1 / (1/σ² - K)."""
        variance = self.base_variance / remaining_precision(self.base_variance, field, curvature)
        mean = variance * field
        return mean, variance + mean**2, jnp.broadcast_to(variance, mean.shape)

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
        """True for finite numbers."""
        return abs(states) < np.inf

    def contains_mean(self, mean):
        """True for finite numbers."""
        return self.contains(mean)

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """The means as they are: the real line has no edge."""
        return mean

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """σ²x + σ Φ^{-1}(u)."""
        return self.mean(field) + (scale_of(self) * ndtri(uniform)).astype(field.dtype)
