"""Unit types. A unit is its cumulant generating function.

For the local field x on a unit with base measure ρ, `log_partition(x)` = log ∫ρ(s) e^{xs} ds; its derivatives are the
conditional mean, the variance and the third cumulant, and its Legendre transform is the mean-field entropy. All
else in the package is written once in these terms, for any pair of unit types.

A unit may own several neighbouring components of the field (`group_size`), as a Potts unit does; functions that give
one number per unit then return a last axis shorter by that factor. Callers sum over it, whatever it is.
"""

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr, ndtri

from rbm_jax._checks import check_positive
from rbm_jax._math import log2cosh, softplus
from rbm_jax._random import key_words, uniform
from rbm_jax._typing import Array, Float, FloatLike, PRNGKey, Shaped

__all__ = ["AbstractUnits", "Bernoulli", "Gaussian", "Spin"]

Field = Float[Array, "*batch n_units"]
PerUnit = Float[Array, "*batch n_groups"]


class AbstractUnits(abc.ABC):
    """A layer's unit type: a stateless, hashable strategy.

    Mean-field theory asks for a little more: the other layer's fluctuations act on a unit as a quadratic term K s²/2 in
    its log weight. K is called the curvature: `curved_` functions are those of a unit with weight ρ(s) e^{xs + Ks²/2},
    and `variance_at_mean`, `third_cumulant_at_mean` and `fluctuation_entropy` those of one whose field x is set by its
    mean.

    Attributes:
        group_size: components of the field that one unit owns; 1 unless a unit has vector states.
        support: the values that a unit takes, in words, for error messages.
        variance_is_free: whether the variance at a given mean depends on the curvature. With two states it does not.
    """

    group_size: ClassVar[int] = 1
    support: ClassVar[str]
    variance_is_free: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def states(self) -> np.ndarray | None:
        """All states of one unit, shape (n_states, group_size); None if they are a continuum."""

    @abc.abstractmethod
    def log_partition(self, field: Field) -> PerUnit:
        """Cumulant generating function log ∫ρ(s) e^{xs} ds at the field x, one number per unit."""

    @abc.abstractmethod
    def mean(self, field: Field) -> Field:
        """First derivative of `log_partition`: the mean of s at the field x."""

    @abc.abstractmethod
    def variance(self, field: Field) -> Field:
        """Second derivative of `log_partition`: the variance of s at the field x."""

    @abc.abstractmethod
    def third_cumulant(self, field: Field) -> Field:
        """Third derivative of `log_partition`: the third cumulant of s at the field x."""

    @abc.abstractmethod
    def field_at_mean(self, mean: Field) -> Field:
        """Inverse of `mean`: the field at which a unit has this mean (infinite on the edge of the support)."""

    @abc.abstractmethod
    def entropy(self, mean: Field) -> PerUnit:
        """Legendre transform log_partition(x) - x·mean at the field x of this mean, one number per unit.

        For discrete units it is the Shannon entropy in nats; finite on the edge of the support, where its
        derivative -`field_at_mean` is infinite.
        """

    @abc.abstractmethod
    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """Variance of a unit of this mean and curvature; NaN where its weight cannot be normalized."""

    @abc.abstractmethod
    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Third cumulant of a unit of this mean, without curvature."""

    @abc.abstractmethod
    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """What the curvature adds to the entropy, ½ ∫₀ᴷ variance dK' at fixed mean, one number per unit."""

    @abc.abstractmethod
    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """Log ∫ρ(s) e^{xs + Ks²/2} ds at the field x and the curvature K, one number per unit."""

    @abc.abstractmethod
    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """⟨s⟩, ⟨s²⟩ and the variance at the field x and the curvature K; NaN where the weight cannot be normalized."""

    @abc.abstractmethod
    def log_base_measure(self, states: Field) -> PerUnit:
        """Log ρ(s), one number per unit."""

    @abc.abstractmethod
    def contains(self, states: Shaped[Array | np.ndarray, "..."]) -> Shaped[Array | np.ndarray, "..."]:
        """Whether each value is in the support; NaN is not. Works on NumPy and JAX arrays alike."""

    @abc.abstractmethod
    def interior_mean(self, mean: Field, margin: float) -> Field:
        """The means moved at least `margin` (in probability) away from the edge of the support."""

    @abc.abstractmethod
    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """States at the field x as a monotone function of independent uniforms in (0, 1), in the field's dtype."""

    def sample(self, key: PRNGKey, field: Field) -> Field:
        """Independent states at the field x, in the field's dtype.

        Example:
            >>> import jax
            >>> from rbm_jax import Spin
            >>> Spin().sample(jax.random.key(0), jax.numpy.array([-20.0, 20.0]))
            Array([-1.,  1.], dtype=float32)
        """
        field = jnp.asarray(field)
        return self.sample_from_uniform(field, uniform(key_words(key), 0, field.shape, field.dtype))


@dataclasses.dataclass(frozen=True)
class Bernoulli(AbstractUnits):
    """Binary units, s in {0, 1}, with counting measure: log_partition(x) = log(1 + e^x)."""

    support: ClassVar[str] = "0 or 1"

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

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Means clipped to [margin, 1 - margin]."""
        return jnp.clip(mean, margin, 1 - margin)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """1 where u < mean(x), in the form u (1 + e^{-x}) < 1 that needs no division."""
        return (uniform * (1 + jnp.exp(-field)) < 1).astype(field.dtype)


@dataclasses.dataclass(frozen=True)
class Spin(AbstractUnits):
    """Ising spins, s in {-1, +1}, with counting measure: log_partition(x) = log(2 cosh x)."""

    support: ClassVar[str] = "-1 or +1"

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

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Means clipped so that both probabilities are at least margin."""
        return jnp.clip(mean, 2 * margin - 1, 1 - 2 * margin)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """+1 where u < (1 + tanh x) / 2, else -1."""
        return jnp.where(uniform * (1 + jnp.exp(-2 * field)) < 1, 1, -1).astype(field.dtype)


@dataclasses.dataclass(frozen=True, init=False)
class Gaussian(AbstractUnits):
    """Real units with base measure ρ(s) = exp(-s² / 2σ²), not normalized: log_partition(x) = σ²x²/2 + ½ log 2πσ².

    The one argument, `Gaussian(variance=1.0)`, is σ², the same for all units of the layer and whatever the field.

    Attributes:
        base_variance: σ² (`variance` is the function that every unit type has).
    """

    base_variance: float
    support: ClassVar[str] = "a finite real number"
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
        return jnp.broadcast_to(self.base_variance / self._remaining_precision(mean, curvature), mean.shape)

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Zero."""
        return jnp.zeros_like(mean)

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """-½ log(1 - σ²K); NaN for K ≥ 1/σ²."""
        return -jnp.log(self._remaining_precision(mean, curvature)) / 2

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """½ v x² + ½ log 2πv with v = 1 / (1/σ² - K)."""
        variance = self.base_variance / self._remaining_precision(field, curvature)
        return variance * field**2 / 2 + jnp.log(2 * math.pi * variance) / 2

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """Mean v x, then v + (v x)² and v, with v = 1 / (1/σ² - K)."""
        variance = self.base_variance / self._remaining_precision(field, curvature)
        mean = variance * field
        return mean, variance + mean**2, jnp.broadcast_to(variance, mean.shape)

    def log_base_measure(self, states: Field) -> PerUnit:
        """-s² / 2σ²."""
        return -(states**2) / (2 * self.base_variance)

    def contains(self, states):
        """True for finite numbers."""
        return abs(states) < np.inf

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """The means as they are: the real line has no edge."""
        return mean

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """σ²x + σ Φ^{-1}(u)."""
        return self.mean(field) + (math.sqrt(self.base_variance) * ndtri(uniform)).astype(field.dtype)

    def _remaining_precision(self, mean: Field, curvature: Field | FloatLike) -> Array:
        """1 - σ²K, the share of the precision that the curvature leaves; NaN unless positive."""
        remaining = 1 - self.base_variance * jnp.asarray(curvature, mean.dtype)
        return jnp.where(remaining > 0, remaining, jnp.nan)
