"""Distributions of the components of planted modes."""

import abc
import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_finite
from rbm_jax._internal.typing import Array, PRNGKey

__all__ = [
    "AbstractDistribution",
    "BernoulliDistribution",
    "EmpiricalDistribution",
    "GaussianDistribution",
    "LaplaceDistribution",
    "SparseDistribution",
    "UniformDistribution",
]

Nodes = tuple[np.ndarray, np.ndarray]


class AbstractDistribution(abc.ABC):
    """Distribution of the components of modes, with mean 0 and variance 1: a stateless, hashable strategy."""

    @property
    def kurtosis(self) -> float:
        """Fourth moment E û⁴: 3 for Gaussian components, 1 for Bernoulli, 1.8 for uniform, 6 for Laplace ones."""
        points, weights = self.nodes()
        return float(weights @ points**4)

    @abc.abstractmethod
    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Independent components."""

    @abc.abstractmethod
    def nodes(self) -> Nodes:
        """Quadrature points and weights for averages over one component; the weights sum to 1."""

    def product_nodes(self, n_modes: int) -> Nodes:
        """The same for the components of several modes at one unit: points (n_points, n_modes), weights (n_points,).

        Points of weight below 1e-18 are left out; they add up to 1e-16 for two modes, and can be half of the grid.
        """
        points, weights = self.nodes()
        places = np.array(list(itertools.product(range(len(points)), repeat=n_modes)))
        product = np.prod(weights[places], axis=1)
        heavy = product >= 1e-18
        return points[places[heavy]], product[heavy]


@dataclasses.dataclass(frozen=True)
class GaussianDistribution(AbstractDistribution):
    """Normal components: fields are normal too, and averages one-dimensional for any number of modes."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Standard normal numbers."""
        return jax.random.normal(key, shape, dtype)

    def nodes(self) -> Nodes:
        """Gauss-Hermite quadrature of 40 points, for averages of what is smooth on the scale of 1."""
        points, weights = np.polynomial.hermite_e.hermegauss(40)
        return points, weights / weights.sum()


@dataclasses.dataclass(frozen=True)
class BernoulliDistribution(AbstractDistribution):
    """±1 with equal probabilities."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Random signs."""
        return jax.random.rademacher(key, shape, dtype)

    def nodes(self) -> Nodes:
        """The two values: exact."""
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])


@dataclasses.dataclass(frozen=True)
class UniformDistribution(AbstractDistribution):
    """Uniform in [-√3, √3]."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Uniform numbers."""
        return jax.random.uniform(key, shape, dtype, -math.sqrt(3), math.sqrt(3))

    def nodes(self) -> Nodes:
        """Gauss-Legendre quadrature of 32 points."""
        points, weights = np.polynomial.legendre.leggauss(32)
        return math.sqrt(3) * points, weights / 2


@dataclasses.dataclass(frozen=True)
class LaplaceDistribution(AbstractDistribution):
    """Density e^{-√2|û|}/√2: heavy tails."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Laplace numbers of variance 1."""
        return jax.random.laplace(key, shape, dtype) / math.sqrt(2)

    def nodes(self) -> Nodes:
        """Gauss-Legendre quadrature of 40 points on either side of the kink, in the square root of |û|."""
        points, weights = np.polynomial.legendre.leggauss(40)
        longest = 45.0  # e^{-45} is 3e-20
        t, measure = longest * ((1 + points) / 2) ** 2, longest * (1 + points) / 2 * weights
        half = measure * np.exp(-t)
        half = half / (2 * half.sum())
        return np.concatenate([-t[::-1], t]) / math.sqrt(2), np.concatenate([half[::-1], half])


@dataclasses.dataclass(frozen=True)
class SparseDistribution(AbstractDistribution):
    """0, but for a fraction of the components, which are ±1/√fraction.

    Attributes:
        fraction: of components that are not zero, in (0, 1].
    """

    fraction: float

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], got {self.fraction}")

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Random signs of random components."""
        key_sign, key_place = jax.random.split(key)
        present = jax.random.bernoulli(key_place, self.fraction, shape)
        return jnp.where(present, jax.random.rademacher(key_sign, shape, dtype) / math.sqrt(self.fraction), 0)

    def nodes(self) -> Nodes:
        """The three values: exact."""
        value = 1 / math.sqrt(self.fraction)
        return np.array([-value, 0.0, value]), np.array([self.fraction / 2, 1 - self.fraction, self.fraction / 2])


@dataclasses.dataclass(frozen=True, eq=False)
class EmpiricalDistribution(AbstractDistribution):
    """The components of given modes: averages over them are those of one instance of the ensemble.

    Two of these distributions are the same only if they are the same object, as far as compilation is concerned.

    Attributes:
        components: û of all units, shape (n_units, n_modes), normalized by the caller.
    """

    components: np.ndarray

    def __post_init__(self):
        components = np.asarray(self.components, float)
        if components.ndim != 2 or components.size == 0:
            raise ValueError(f"components must have shape (n_units, n_modes), got {components.shape}")
        check_finite("components", components)
        object.__setattr__(self, "components", components)

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Components drawn with replacement, independently of each other."""
        return jax.random.choice(key, jnp.asarray(self.components.ravel(), dtype), shape)

    def nodes(self) -> Nodes:
        """Every component, with equal weights."""
        return self.components.ravel(), np.full(self.components.size, 1 / self.components.size)

    def product_nodes(self, n_modes: int) -> Nodes:
        """Every unit's components of all modes, with equal weights."""
        n_units, n_given = self.components.shape
        if n_modes != n_given:
            raise ValueError(f"n_modes is {n_modes}, but components have {n_given} modes")
        return self.components, np.full(n_units, 1 / n_units)
