"""Checks of a user's arguments, with errors that say what was expected, what came and what to do."""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = [
    "as_array",
    "as_configurations",
    "check_count",
    "check_finite",
    "check_function",
    "check_mask",
    "check_order",
    "check_positive",
    "check_same_length",
    "check_sample_weights",
    "check_share",
    "is_concrete",
    "known_values",
    "unsupported_units",
]


def is_concrete(*arrays: Any) -> bool:
    """Whether the values can be looked at: True outside `jit`, `vmap` and `grad`."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays))


def known_values(array: Any) -> jax.Array | np.ndarray:
    """A concrete array to look at the values of: one copy of a replicated one, or NumPy's of what is not of JAX.

    An array on the devices of several processes cannot be copied to one of them; what JAX reduces it to can.
    """
    if not isinstance(array, jax.Array):
        return np.asarray(array)
    return array.addressable_data(0) if array.is_fully_replicated else array


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Return `value` as an int, or raise: a count is a Python integer of at least `minimum`."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        count = operator.index(value)
    except (TypeError, jax.errors.JAXTypeError) as error:
        message = f"{name} must be a Python integer, got {value!r} of type {type(value).__name__}"
        raise TypeError(message) from error
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {count}")
    return count


def check_positive(name: str, value: Any, *, or_zero: bool = False) -> Any:
    """Return `value` as a float, or raise: a positive and finite number (or zero, where that is allowed).

    A traced value passes as it is.
    """
    if not is_concrete(value):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, jax.errors.JAXTypeError) as error:
        raise TypeError(f"{name} must be a positive number, got {value!r}") from error
    if not ((number > 0 or (or_zero and number == 0)) and np.isfinite(number)):
        raise ValueError(f"{name} must be {'at least 0' if or_zero else 'positive'} and finite, got {number}")
    return number


def check_share(name: str, value: Any, *, below_one: bool = False) -> None:
    """Raise unless the value is a number from 0 to 1, or below 1; a traced value passes."""
    if not is_concrete(value):
        return
    try:
        number = float(value)
    except (TypeError, ValueError, jax.errors.JAXTypeError) as error:
        raise TypeError(f"{name} must be a number from 0 to 1, got {value!r}") from error
    if not 0 <= number <= 1 or (below_one and number == 1):
        raise ValueError(f"{name} must be at least 0 and {'below' if below_one else 'at most'} 1, got {number}")


def check_function(name: str, function: Any) -> None:
    """Raise unless the value can be called; None passes."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function, got {function!r}")


def as_array(name: str, values: Any) -> jax.Array | np.ndarray:
    """A JAX array as it is, anything else as a NumPy array, or raise: real numbers or booleans, of any shape."""
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except jax.errors.TracerArrayConversionError:
        array = jnp.asarray(values)
    except (TypeError, ValueError) as error:  # rows of unequal lengths
        raise TypeError(f"{name} must be an array of numbers, got {type(values).__name__}: {error}") from error
    numeric = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_
    if not numeric or jnp.issubdtype(array.dtype, jnp.complexfloating):
        what = f"{type(values).__name__} of dtype {array.dtype}"
        raise TypeError(f"{name} must be an array of real numbers or booleans, got {what}")
    return array


def as_configurations(name: str, states: Any, size: int, dtype: Any, *, ndim: int | None = None) -> jax.Array:
    """Cast configurations to `dtype` after checking their last axis (`size` units) and number of axes.

    Args:
        name: the argument's name, for the message.
        states: an array of any numeric or boolean dtype.
        size: the number of units expected on the last axis.
        dtype: the floating dtype to compute in.
        ndim: the number of axes expected; None for any number of leading axes.

    Raises:
        TypeError: the dtype is not numeric.
        ValueError: the shape does not fit.
    """
    array = as_array(name, states)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {array.shape}")
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{name} must have {size} units on its last axis, got shape {array.shape}; "
            "flatten images to one row each, and check that data and RBM belong together"
        )
    return jnp.asarray(array).astype(dtype)


def check_finite(name: str, array: Any) -> None:
    """Raise if a concrete array holds NaN or infinity; traced arrays pass."""
    if not is_concrete(array):
        return
    values = known_values(array)
    xp = jnp if isinstance(values, jax.Array) else np
    if not jnp.issubdtype(values.dtype, np.floating):
        return
    with jax.ensure_compile_time_eval():
        n_bad = int((~xp.isfinite(values)).sum())
    if n_bad:
        raise ValueError(f"{name} holds {n_bad} values that are NaN or infinite; remove or impute them first")


def check_mask(name: str, mask: Any, shape: tuple[int, ...], group_size: int = 1) -> jax.Array | None:
    """Return a boolean mask broadcast to `shape`, or raise; None passes as it is.

    A concrete mask must clamp all components of a unit, of which there are `group_size`, or none.
    """
    if mask is None:
        return None
    array = jnp.asarray(mask)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name} must be boolean, True where a unit is clamped, got dtype {array.dtype}")
    try:
        array = jnp.broadcast_to(array, shape)
    except ValueError as error:
        raise ValueError(f"{name} must broadcast to the shape {shape} of the states, got {array.shape}") from error
    if group_size > 1 and is_concrete(array):
        with jax.ensure_compile_time_eval():
            groups = known_values(array).reshape(*shape[:-1], -1, group_size)
            is_split = bool((groups.any(-1) != groups.all(-1)).any())
        if is_split:
            raise ValueError(
                f"{name} must clamp all {group_size} components of a unit or none; repeat a mask of sites {group_size} "
                "times on its last axis"
            )
    return array


def check_order(order: int) -> int:
    """Return the order of an expansion in the couplings, or raise: it is 1, 2 or 3."""
    if check_count("order", order) > 3:
        raise ValueError(f"order must be 1 (naive mean field), 2 (TAP) or 3, got {order}")
    return order


def check_sample_weights(sample_weights: Any, n_samples: int) -> None:
    """Raise unless the weights are one non-negative finite number per sample with a positive sum."""
    if sample_weights is None:
        return
    if np.shape(sample_weights) != (n_samples,):
        raise ValueError(
            f"sample_weights must have shape ({n_samples},), one per sample, got {np.shape(sample_weights)}"
        )
    check_finite("sample_weights", as_array("sample_weights", sample_weights))
    if is_concrete(sample_weights):
        with jax.ensure_compile_time_eval():
            values = known_values(sample_weights)
            if (values < 0).any() or not values.sum() > 0:
                raise ValueError("sample_weights must be non-negative with a positive sum")


def check_same_length(**arrays: Any) -> None:
    """Raise unless the named arrays have equal first axes."""
    lengths = {name: np.shape(array)[0] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"first axes must be equal, but {listed}")


def unsupported_units(function: str, units: Any, needed: str) -> ValueError:
    """The one error that says which unit types a function cannot take, to be raised.

    Args:
        function: its public name.
        units: the unit type, or the pair in words.
        needed: what it can take, or what to use instead.
    """
    return ValueError(f"{function} does not support {units}: it needs {needed}")
