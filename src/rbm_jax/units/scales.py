"""The scale of units with base measure exp(-s² / 2σ²): one fixed number, or one learned for each unit.

A learned one is a leaf, log σ², so that steps of an optimizer keep σ² positive. It broadcasts over the last axis alone;
stacks of RBMs go through `jax.vmap`. A fixed one is a static Python float: a constant of the compiled program. These
functions are of any units with the two fields `log_variance` and `fixed_variance`, of which one is None.
"""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_array, check_finite, check_positive, is_concrete, known_values
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Shaped

__all__ = [
    "LogVariance",
    "Variance",
    "half_log_two_pi_variance",
    "interpolate_precision",
    "log_scale_of",
    "remaining_precision",
    "scale_config",
    "scale_derivative",
    "scale_of",
    "scale_text",
    "split_variance",
    "variance_of",
]

Variance = FloatLike | Shaped[ArrayLike, "*rbms n_units"]
LogVariance = Float[ArrayLike, "*rbms n_units"]


def split_variance(variance: Variance, log_variance: LogVariance | None) -> tuple[Array | None, float | None]:
    """The leaf log σ² of a learned scale, or the number σ² of a fixed one; the other is None.

    Raises:
        TypeError: a traced number, or values that are not numbers.
        ValueError: values that are not positive and finite, or both arguments.
    """
    is_number = np.ndim(variance) == 0
    if log_variance is not None:
        if not (is_number and is_concrete(variance) and variance == 1):
            raise ValueError("variance must be left out where log_variance is given; pass one of the two")
        return _as_leaf("log_variance", log_variance), None
    if not is_number:
        return jnp.log(_check_all_positive(_as_leaf("variance", variance))), None
    if not is_concrete(variance):
        raise TypeError(
            "variance must be a Python number (fixed) or an array of shape (n_units,) (learned), got a traced number; "
            "use jax.numpy.full(n_units, variance)"
        )
    return None, check_positive("variance", variance)


def variance_of(units: Any) -> float | Array:
    """σ²."""
    return units.fixed_variance if units.log_variance is None else jnp.exp(units.log_variance)


def scale_of(units: Any) -> float | Array:
    """σ."""
    return math.sqrt(units.fixed_variance) if units.log_variance is None else jnp.exp(units.log_variance / 2)


def log_scale_of(units: Any) -> float | Array:
    """The logarithm of σ."""
    return math.log(math.sqrt(units.fixed_variance)) if units.log_variance is None else units.log_variance / 2


def half_log_two_pi_variance(units: Any) -> float | Array:
    """½ log 2πσ²."""
    if units.log_variance is None:
        return math.log(2 * math.pi * units.fixed_variance) / 2
    return (math.log(2 * math.pi) + units.log_variance) / 2


def scale_derivative(units: Any, second_moment: Array) -> Any:
    """⟨∂log ρ/∂log σ²⟩ = ⟨s²⟩ / 2σ² as units whose leaf it is; units with a fixed scale as they are.

    Not made by the constructor, as tangents may be negative and have axes of samples.
    """
    if units.log_variance is None:
        return units
    return eqx.tree_at(lambda units: units.log_variance, units, second_moment / (2 * variance_of(units)))


def interpolate_precision(start: Any, end: Any, t: FloatLike) -> Any:
    """Units whose 1/σ², the coefficient in log ρ, is (1 - t) times that of `start` plus t times that of `end`."""
    if start.log_variance is None:
        return start
    # 1/σ² relative to that of start is 1 + t (e^x - 1), which is exact where both have the same scale.
    relative = jnp.log1p(t * jnp.expm1(start.log_variance - end.log_variance))
    log_variance = (start.log_variance - relative).astype(start.log_variance.dtype)
    return eqx.tree_at(lambda units: units.log_variance, start, log_variance)


def remaining_precision(
    base_variance: float | Array, like: Float[Array, "*batch n_units"], curvature: Float[Array, "..."] | FloatLike
) -> Array:
    """1 - σ²K, the fraction of the precision that the curvature leaves; NaN unless positive."""
    remaining = 1 - base_variance * jnp.asarray(curvature, like.dtype)
    return jnp.where(remaining > 0, remaining, jnp.nan)


def scale_config(units: Any) -> dict[str, Any]:
    """The argument of the constructor that gives these units bit for bit: `variance` or `log_variance`."""
    if units.log_variance is None:
        return {"variance": units.fixed_variance}
    return {"log_variance": units.log_variance}


def scale_text(units: Any) -> str:
    """The argument of the constructor in words; a learned scale without its values, which may be traced."""
    if units.log_variance is None:
        return f"variance={units.fixed_variance}"
    return f"log_variance={eqx.tree_pformat(units.log_variance)}"


def _as_leaf(name: str, values: Any) -> Array:
    array = jnp.asarray(as_array(name, values))
    if array.ndim == 0:
        raise ValueError(f"{name} must have shape (n_units,), got a number; use variance for a fixed scale")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.zeros(()).dtype)


def _check_all_positive(variance: Array) -> Array:
    check_finite("variance", variance)
    if is_concrete(variance) and not (known_values(variance) > 0).all():
        raise ValueError(f"variance must be positive for every unit, got {known_values(variance).min():g}")
    return variance
