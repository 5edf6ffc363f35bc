"""Units of two states: 0/1 and ±1."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr

from rbm_jax._internal.math import log2cosh, softplus
from rbm_jax._internal.typing import FloatLike
from rbm_jax.units.abstract import AbstractUnits, Field, PerUnit

__all__ = ["Bernoulli", "Spin"]


class Bernoulli(AbstractUnits):
    """Binary units, s in {0, 1}, with counting measure: log_partition(x) = log(1 + e^x)."""

    support: ClassVar[str] = "0 or 1"
    mean_support: ClassVar[str] = "in [0, 1]"

    @property
    def states(self) -> np.ndarray:
        """The two states, 0 then 1."""
        return np.array([[0.0], [1.0]])

    def log_partition(self, field: Field) -> PerUnit:
        """log(1 + e^x)."""
        return softplus(field)

    def mean(self, field: Field) -> Field:
        """1 / (1 + e^{-x})."""
        return jax.nn.sigmoid(field)

    def variance(self, field: Field) -> Field:
        """Variance p (1 - p), accurate in both tails."""
        return jax.nn.sigmoid(field) * jax.nn.sigmoid(-field)

    def third_cumulant(self, field: Field) -> Field:
        """Third cumulant p (1 - p) (1 - 2p)."""
        return -self.variance(field) * jnp.tanh(field / 2)

    def field_at_mean(self, mean: Field) -> Field:
        """log(p / (1 - p))."""
        return jax.scipy.special.logit(mean)

    def entropy(self, mean: Field) -> PerUnit:
        """-p log p - (1 - p) log(1 - p)."""
        return entr(mean) + entr(1 - mean)

    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """Variance p (1 - p), whatever the curvature."""
        return mean * (1 - mean)

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Third cumulant p (1 - p) (1 - 2p)."""
        return mean * (1 - mean) * (1 - 2 * mean)

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """K p (1 - p) / 2."""
        return curvature * self.variance_at_mean(mean) / 2

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """log(1 + e^{x + K/2}): s² is s."""
        return self.log_partition(field + curvature / 2)

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """p, p and p (1 - p) at the field x + K/2."""
        field = field + curvature / 2
        return self.mean(field), self.mean(field), self.variance(field)

    def log_base_measure(self, states: Field) -> PerUnit:
        """Zero: counting measure."""
        return jnp.zeros_like(states)

    def contains(self, states):
        """True for 0 and 1."""
        return (states == 0) | (states == 1)

    def contains_mean(self, mean):
        """True in [0, 1]."""
        return (mean >= 0) & (mean <= 1)

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Means clipped to [margin, 1 - margin]."""
        return jnp.clip(mean, margin, 1 - margin)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """1 where u < mean(x), in the form u (1 + e^{-x}) < 1 that needs no division."""
        return (uniform * (1 + jnp.exp(-field)) < 1).astype(field.dtype)


class Spin(AbstractUnits):
    """Ising spins, s in {-1, +1}, with counting measure: log_partition(x) = log(2 cosh x)."""

    support: ClassVar[str] = "-1 or +1"
    mean_support: ClassVar[str] = "in [-1, 1]"

    @property
    def states(self) -> np.ndarray:
        """The two states, -1 then +1."""
        return np.array([[-1.0], [1.0]])

    def log_partition(self, field: Field) -> PerUnit:
        """log(2 cosh x)."""
        return log2cosh(field)

    def mean(self, field: Field) -> Field:
        """Tanh x."""
        return jnp.tanh(field)

    def variance(self, field: Field) -> Field:
        """1 - tanh² x, accurate in both tails."""
        return 4 * jax.nn.sigmoid(2 * field) * jax.nn.sigmoid(-2 * field)

    def third_cumulant(self, field: Field) -> Field:
        """-2 m (1 - m²) at m = tanh x."""
        return -2 * jnp.tanh(field) * self.variance(field)

    def field_at_mean(self, mean: Field) -> Field:
        """Artanh m."""
        return jnp.arctanh(mean)

    def entropy(self, mean: Field) -> PerUnit:
        """Shannon entropy of the probabilities (1 ± m) / 2."""
        return entr((1 + mean) / 2) + entr((1 - mean) / 2)

    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """1 - m², whatever the curvature."""
        return (1 - mean) * (1 + mean)

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """-2 m (1 - m²)."""
        return -2 * mean * self.variance_at_mean(mean)

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """K (1 - m²) / 2."""
        return curvature * self.variance_at_mean(mean) / 2

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """log(2 cosh x) + K/2: s² is 1."""
        return self.log_partition(field) + curvature / 2

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """Tanh x, 1 and 1 - tanh² x, whatever the curvature."""
        return self.mean(field), jnp.ones_like(field), self.variance(field)

    def log_base_measure(self, states: Field) -> PerUnit:
        """Zero: counting measure."""
        return jnp.zeros_like(states)

    def contains(self, states):
        """True for -1 and +1."""
        return (states == -1) | (states == 1)

    def contains_mean(self, mean):
        """True in [-1, 1]."""
        return (mean >= -1) & (mean <= 1)

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Means clipped so that both probabilities are at least margin."""
        return jnp.clip(mean, 2 * margin - 1, 1 - 2 * margin)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """+1 where u < (1 + tanh x) / 2, else -1."""
        return jnp.where(uniform * (1 + jnp.exp(-2 * field)) < 1, 1, -1).astype(field.dtype)
