"""Units of the real line."""

import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from rbm_jax._internal.checks import check_positive
from rbm_jax._internal.typing import Array, FloatLike
from rbm_jax.units.abstract import AbstractUnits, Field, PerUnit

__all__ = ["Gaussian", "remaining_precision"]


@dataclasses.dataclass(frozen=True, init=False)
class Gaussian(AbstractUnits):
    """Real units with base measure ρ(s) = exp(-s² / 2σ²), not normalized: log_partition(x) = σ²x²/2 + ½ log 2πσ².

    The one argument, `Gaussian(variance=1.0)`, is σ², the same for all units of the layer and whatever the field.

    Attributes:
        base_variance: σ² (`variance` is the function that every unit type has).
    """

    base_variance: float
    support: ClassVar[str] = "a finite real number"
    mean_support: ClassVar[str] = "a finite real number"
    variance_is_free: ClassVar[bool] = True

    def __init__(self, variance: float = 1.0):
        object.__setattr__(self, "base_variance", check_positive("variance", variance))

    def __repr__(self) -> str:
        return f"Gaussian(variance={self.base_variance})"

    @property
    def states(self) -> None:
        """None: a continuum."""
        return None

    def log_partition(self, field: Field) -> PerUnit:
        """σ²x²/2 + ½ log 2πσ²."""
        return self.base_variance * field**2 / 2 + math.log(2 * math.pi * self.base_variance) / 2

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
        return math.log(2 * math.pi * self.base_variance) / 2 - mean**2 / (2 * self.base_variance)

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

    def config(self) -> dict[str, Any]:
        """`variance`."""
        return {"variance": self.base_variance}

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
        return self.mean(field) + (math.sqrt(self.base_variance) * ndtri(uniform)).astype(field.dtype)


def remaining_precision(base_variance: float, like: Field, curvature: Field | FloatLike) -> Array:
    """1 - σ²K, the share of the precision that the curvature leaves; NaN unless positive."""
    remaining = 1 - base_variance * jnp.asarray(curvature, like.dtype)
    return jnp.where(remaining > 0, remaining, jnp.nan)
