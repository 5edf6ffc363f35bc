"""The statistical ensemble of weights: W = Σ_α w_α u_α v_αᵀ + r.

Modes are u_iα = û_iα / √n_visible and v_jα = v̂_jα / √n_hidden, with independent components û, v̂ of mean 0 and
variance 1 from a component law; r_ij are independent normal numbers of variance σ²/L, L = √(n_visible n_hidden).

Source: Decelle, Fissore & Furtlehner (2018).
"""

import abc
import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._checks import check_count, check_finite, check_positive
from rbm_jax._typing import Array, ArrayLike, Float, FloatLike, PRNGKey
from rbm_jax.rbm import RBM
from rbm_jax.spectral import Modes
from rbm_jax.units import AbstractUnits, Spin

__all__ = [
    "AbstractLaw",
    "BernoulliLaw",
    "EmpiricalLaw",
    "GaussianLaw",
    "LaplaceLaw",
    "SparseLaw",
    "UniformLaw",
    "sample_ensemble",
]

Nodes = tuple[np.ndarray, np.ndarray]


class AbstractLaw(abc.ABC):
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
        """The same for the components of several modes at one unit: points (n_points, n_modes), weights (n_points,)."""
        points, weights = self.nodes()
        grids = list(itertools.product(range(len(points)), repeat=n_modes))
        return points[np.array(grids)], np.prod(weights[np.array(grids)], axis=1)


@dataclasses.dataclass(frozen=True)
class GaussianLaw(AbstractLaw):
    """Normal components: fields are normal too, and averages one-dimensional for any number of modes."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Standard normal numbers."""
        return jax.random.normal(key, shape, dtype)

    def nodes(self) -> Nodes:
        """Gauss-Hermite quadrature of 40 points."""
        points, weights = np.polynomial.hermite_e.hermegauss(40)
        return points, weights / weights.sum()


@dataclasses.dataclass(frozen=True)
class BernoulliLaw(AbstractLaw):
    """±1 with equal probabilities."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Random signs."""
        return jax.random.rademacher(key, shape, dtype)

    def nodes(self) -> Nodes:
        """The two values: exact."""
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])


@dataclasses.dataclass(frozen=True)
class UniformLaw(AbstractLaw):
    """Uniform in [-√3, √3]."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Uniform numbers."""
        return jax.random.uniform(key, shape, dtype, -math.sqrt(3), math.sqrt(3))

    def nodes(self) -> Nodes:
        """Gauss-Legendre quadrature of 32 points."""
        points, weights = np.polynomial.legendre.leggauss(32)
        return math.sqrt(3) * points, weights / 2


@dataclasses.dataclass(frozen=True)
class LaplaceLaw(AbstractLaw):
    """Density e^{-√2|û|}/√2: heavy tails."""

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Laplace numbers of variance 1."""
        return jax.random.laplace(key, shape, dtype) / math.sqrt(2)

    def nodes(self) -> Nodes:
        """Gauss-Legendre quadrature of 40 points on either side of the kink, in the square root of |û|."""
        points, weights = np.polynomial.legendre.leggauss(40)
        longest = 45.0
        t, measure = longest * ((1 + points) / 2) ** 2, longest * (1 + points) / 2 * weights
        share = measure * np.exp(-t)
        share = share / (2 * share.sum())
        return np.concatenate([-t[::-1], t]) / math.sqrt(2), np.concatenate([share[::-1], share])


@dataclasses.dataclass(frozen=True)
class SparseLaw(AbstractLaw):
    """0, but for a share of the components, which are ±1/√share.

    Attributes:
        share: of components that are not zero, in (0, 1].
    """

    share: float

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")

    def sample(self, key: PRNGKey, shape: tuple[int, ...], dtype) -> Array:
        """Random signs of random components."""
        key_sign, key_place = jax.random.split(key)
        present = jax.random.bernoulli(key_place, self.share, shape)
        return jnp.where(present, jax.random.rademacher(key_sign, shape, dtype) / math.sqrt(self.share), 0)

    def nodes(self) -> Nodes:
        """The three values: exact."""
        value = 1 / math.sqrt(self.share)
        return np.array([-value, 0.0, value]), np.array([self.share / 2, 1 - self.share, self.share / 2])


@dataclasses.dataclass(frozen=True, eq=False)
class EmpiricalLaw(AbstractLaw):
    """The components of given modes: averages over them are those of one instance of the ensemble.

    Two of these laws are the same only if they are the same object, as far as compilation is concerned.

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


def sample_ensemble(
    key: PRNGKey,
    n_visible: int,
    n_hidden: int,
    singular_values: Float[ArrayLike, " n_modes"],
    noise: FloatLike,
    *,
    component_law: AbstractLaw | None = None,
    visible_field: Float[ArrayLike, " n_modes"] | None = None,
    hidden_field: Float[ArrayLike, " n_modes"] | None = None,
    visible_units: AbstractUnits | None = None,
    hidden_units: AbstractUnits | None = None,
    dtype=None,
) -> tuple[RBM, Modes]:
    """One RBM of the ensemble, and the modes planted in it.

    Args:
        key: a JAX key.
        n_visible: number of visible units.
        n_hidden: number of hidden units.
        singular_values: strengths w_α, shape (n_modes,).
        noise: σ ≥ 0; entries of r have the variance σ²/L.
        component_law: law of û and v̂; `GaussianLaw()` by default.
        visible_field: â_α, for visible biases Σ_α â_α û_iα; none by default, shape (n_modes,).
        hidden_field: b̂_α, for hidden biases Σ_α b̂_α v̂_jα; none by default, shape (n_modes,).
        visible_units: `Spin()` by default.
        hidden_units: `Spin()` by default.
        dtype: floating dtype; None for JAX's default.

    Returns:
        The RBM, and modes with left u_iα, values w_α and right v_jα. They are orthonormal up to terms of order 1/√n.

    Raises:
        ValueError: counts below 1, or fields of another number of modes.
    """
    n_visible, n_hidden = check_count("n_visible", n_visible), check_count("n_hidden", n_hidden)
    check_positive("noise", noise, or_zero=True)
    law = GaussianLaw() if component_law is None else component_law
    dtype = jnp.zeros((), dtype).dtype
    strengths = jnp.asarray(singular_values, dtype)
    if strengths.ndim != 1:
        raise ValueError(f"singular_values must be a vector, one a mode, got shape {strengths.shape}")
    check_finite("singular_values", strengths)
    key_left, key_right, key_noise = jax.random.split(key, 3)
    left = law.sample(key_left, (n_visible, len(strengths)), dtype)
    right = law.sample(key_right, (n_hidden, len(strengths)), dtype)
    modes = Modes(left / math.sqrt(n_visible), strengths, right / math.sqrt(n_hidden))
    random = jax.random.normal(key_noise, (n_visible, n_hidden), dtype) / (n_visible * n_hidden) ** 0.25
    weights = (modes.left * strengths) @ modes.right.T + jnp.asarray(noise, dtype) * random
    rbm = RBM(
        weights,
        _bias("visible_field", left, visible_field, dtype),
        _bias("hidden_field", right, hidden_field, dtype),
        Spin() if visible_units is None else visible_units,
        Spin() if hidden_units is None else hidden_units,
    )
    return rbm, modes


def _bias(name: str, components, field, dtype):
    if field is None:
        return jnp.zeros(components.shape[0], dtype)
    field = jnp.asarray(field, dtype)
    if field.shape != components.shape[1:]:
        raise ValueError(f"{name} must have shape {components.shape[1:]}, one a mode, got {field.shape}")
    return components @ field
