"""What a unit type is: its cumulant generating function.

For the local field x on a unit with base measure ρ, `log_partition(x)` = log ∫ρ(s) e^{xs} ds; its derivatives are the
conditional mean, the variance and the third cumulant, and its Legendre transform is the mean-field entropy. All
else in the package is written once in these terms, for any pair of unit types.

A unit may own several neighbouring components of the field (`group_size`), of which one is 1 in every state and the
others 0: a Potts unit. Functions that give one number per unit then return a last axis shorter by that factor. Callers
sum over it, whatever it is.

A unit may have parameters λ that are learned: its leaves. They are parts of ρ, so that the derivative of the
log-likelihood is ⟨∂log ρ(s)/∂λ⟩ over the data less that over the model, where a summed-out unit has ∂log_partition/∂λ.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import unsupported_units
from rbm_jax._internal.random import Stream, key_words, stream_key, uniform
from rbm_jax._internal.typing import Array, Float, FloatLike, PRNGKey, Shaped

__all__ = ["AbstractUnits", "Field", "PerUnit", "check_fixed_units", "check_scalar_units", "same_units"]

Field = Float[Array, "*batch n_units"]
PerUnit = Float[Array, "*batch n_groups"]


class AbstractUnits(eqx.Module):
    """A layer's unit type: a frozen module. Its leaves are the learned parameters, of shape (n_units,), if it has any.

    Units without leaves are hashable and compare by value. Compare any units by `same_units`: `==` looks at the values
    of leaves, which fails under `jit`.

    Mean-field theory asks for a little more: the other layer's fluctuations act on a unit as a quadratic term K s²/2 in
    its log weight. K is called the curvature: `curved_` functions are those of a unit with weight ρ(s) e^{xs + Ks²/2},
    and `variance_at_mean`, `third_cumulant_at_mean` and `fluctuation_entropy` those of one whose field x is set by its
    mean.

    Attributes:
        variance_is_free: whether the variance at a given mean depends on the curvature. With two states it does not.
    """

    variance_is_free: ClassVar[bool] = False

    @property
    def group_size(self) -> int:
        """Components of the field that one unit owns: 1, or the number of states of a one-hot unit."""
        return 1

    @property
    def has_learned_scale(self) -> bool:
        """Whether a leaf rescales the unit: pure gauge in a hidden layer, where weights and biases can absorb it."""
        return False

    @property
    @abc.abstractmethod
    def support(self) -> str:
        """The values that a unit takes, in words, for error messages."""

    @property
    @abc.abstractmethod
    def mean_support(self) -> str:
        """The means that a unit can have, in words, for error messages."""

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
        """Whether each value is in the support; NaN is not. Works on NumPy and JAX arrays alike.

        Units of several components answer for all of them alike, so the last axis must hold whole units.
        """

    @abc.abstractmethod
    def contains_mean(self, mean: Shaped[Array | np.ndarray, "..."]) -> Shaped[Array | np.ndarray, "..."]:
        """Whether each value can be the mean of a unit (or, on the edge, its limit); in groups as `contains`."""

    @abc.abstractmethod
    def interior_mean(self, mean: Field, margin: float) -> Field:
        """The means moved at least `margin` (in probability) away from the edge of the support."""

    @abc.abstractmethod
    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """States at the field x as a function of independent uniforms in (0, 1), in the field's dtype.

        The function is monotone, but for units of several components, whose states have no order.
        """

    def sample(self, key: PRNGKey, field: Field) -> Field:
        """Independent states at the field x, in the field's dtype.

        Example:
            >>> import jax
            >>> from rbm_jax import Spin
            >>> Spin().sample(jax.random.key(0), jax.numpy.array([-20.0, 20.0]))
            Array([-1.,  1.], dtype=float32)
        """
        field = jnp.asarray(field)
        return self.sample_from_uniform(
            field, uniform(key_words(stream_key(key, Stream.UNITS)), 0, field.shape, field.dtype)
        )

    def base_measure_derivative(self, states: Field) -> "AbstractUnits":
        """∂log ρ(s)/∂λ at these states, as units whose leaves are the derivatives, shape (*batch, n_units).

        Units without parameters are their own derivative: there is nothing in them. Those with some must define it.
        """
        return self._without_parameters("base_measure_derivative")

    def log_partition_derivative(self, field: Field) -> "AbstractUnits":
        """∂log_partition(x)/∂λ at a fixed field x, the mean of `base_measure_derivative` there; of the same kind."""
        return self._without_parameters("log_partition_derivative")

    def second_moment_derivative(self, second_moment: Field) -> "AbstractUnits":
        """⟨∂log ρ(s)/∂λ⟩ of units with this ⟨s²⟩, for units of which it depends on nothing else; of the same kind."""
        return self._without_parameters("second_moment_derivative")

    def interpolate(self, end: "AbstractUnits", t: FloatLike) -> "AbstractUnits":
        """The units on the way to `end`, of the same kind, whose log ρ is (1 - t) this one plus t that of `end`."""
        return self._without_parameters("interpolate")

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor that give these units, bit for bit: numbers, or arrays where learned."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _without_parameters(self, method: str) -> "AbstractUnits":
        if jax.tree.leaves(self):
            raise NotImplementedError(f"{type(self).__name__} must define {method}, as it has parameters")
        return self


def same_units(first: AbstractUnits, second: AbstractUnits) -> bool:
    """Whether two layers are of one kind: of one type, with the same fixed values and the same learned parameters.

    The values of learned parameters are not compared, so that it works on traced ones.
    """
    return type(first) is type(second) and jax.tree.structure(first) == jax.tree.structure(second)


def check_fixed_units(function: str, *layers: AbstractUnits) -> None:
    """Raise if units have learned parameters, one for each unit, where the function is of units that are all alike."""
    for units in layers:
        if jax.tree.leaves(units):
            raise unsupported_units(function, f"{units} units", "units without learned parameters, all of one kind")


def check_scalar_units(function: str, *layers: AbstractUnits) -> None:
    """Raise unless each unit of these types has one component, which Potts ones have not."""
    for units in layers:
        if units.group_size > 1:
            raise unsupported_units(function, f"{units} units", "units of one number each")
