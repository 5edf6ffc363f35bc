"""Checks of a user's arguments, with errors that say what was expected, what was received and how to fix it.

`as_samples` and `as_means` are the guards of every public function that takes configurations, or means of units. They
look at values that are known (outside `jit`, `vmap` and `grad`), and at each array of JAX once, since it never changes.
"""

import enum
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rbm_jax._internal.arrays import as_host_array, is_known, is_on_host, known_values, remember
from rbm_jax._internal.support import SupportCheck, first_bad_row, outside_support

__all__ = [
    "as_array",
    "as_configurations",
    "as_means",
    "as_samples",
    "check_choice",
    "check_count",
    "check_finite",
    "check_function",
    "check_mask",
    "check_order",
    "check_parameters",
    "check_positive",
    "check_same_length",
    "check_sample_weights",
    "check_fraction",
    "check_support",
    "is_concrete",
    "remember_samples",
    "unsupported_units",
]


def is_concrete(*arrays: Any) -> bool:
    """Whether the values can be looked at: True outside `jit`, `vmap` and `grad`."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays))


def check_count(name: str, value: Any, *, minimum: int = 1) -> int:
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


def check_choice(name: str, kind: type[enum.StrEnum], value: Any) -> Any:
    """A member of an enumeration, from itself or its value.

    Raises:
        ValueError: a value that it does not have.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"{name} must be one of {', '.join(kind)}, got {value!r}") from error


def check_fraction(name: str, value: Any, *, below_one: bool = False) -> None:
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


def as_array(name: str, values: Any, *, allow_missing: bool = False) -> jax.Array | np.ndarray:
    """A JAX array as it is, anything else as a NumPy array, or raise: real numbers or booleans, of any shape.

    Masked arrays and tables as in `as_host_array`, which says what else is refused.
    """
    array = values if isinstance(values, jax.Array) else as_host_array(name, values, allow_missing)
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
    if not is_concrete(array):
        return jnp.asarray(array).astype(dtype)
    with jax.ensure_compile_time_eval():  # known values stay known where others are traced
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


def as_samples(
    name: str,
    values: Any,
    units: Any,
    n_units: int,
    dtype: Any,
    *,
    ndim: int | None = None,
    n_least: int = 0,
    allow_missing: bool = False,
) -> jax.Array:
    """Cast what a user gave to configurations of a layer, or raise: shape, dtype, NaN, and the support of the units.

    Args:
        name: the argument's name, for the message.
        values: an array, a masked array or a table, shape (*batch, n_units), of any numeric or boolean dtype.
        units: the layer's unit type.
        n_units: number of components of the layer.
        dtype: the floating dtype to compute in.
        ndim: the number of axes expected; None for any number of leading axes.
        n_least: least number of samples, which are the first axis.
        allow_missing: whether NaN may stand for what was not observed, in all components of a unit or in none.

    Raises:
        TypeError: not numbers, or a sparse matrix.
        ValueError: the shape does not fit, or a known value lies outside the support of the units.
    """
    array = as_array(name, values, allow_missing=allow_missing)
    samples = as_configurations(name, array, n_units, dtype, ndim=ndim)
    if len(samples) < n_least:
        number = "one sample" if n_least == 1 else "two samples" if n_least == 2 else f"{n_least} samples"
        raise ValueError(f"{name} must hold at least {number}, got shape {samples.shape}")
    _check_once(name, array, samples, SupportCheck(units, False, allow_missing))
    return samples


def as_means(name: str, values: Any, units: Any, n_units: int, dtype: Any, *, ndim: int | None = None) -> jax.Array:
    """The same for magnetizations: each known value must be a mean that the units can have, or its limit."""
    array = as_array(name, values)
    means = as_configurations(name, array, n_units, dtype, ndim=ndim)
    _check_once(name, array, means, SupportCheck(units, True, False))
    return means


def check_support(
    name: str, values: Any, units: Any, rows: np.ndarray | None = None, allow_missing: bool = False
) -> None:
    """Raise if a known value lies outside the support of the units; an array of JAX is looked at once.

    Args:
        name: the argument's name, for the message.
        values: shape (*batch, n_units), of any numeric or boolean dtype.
        units: the unit type.
        rows: what to call the rows in the message; None for 0, 1, ...
        allow_missing: whether NaN may stand for what was not observed, in all components of a unit or in none.
    """
    check = SupportCheck(units, False, allow_missing)
    if not is_concrete(values) or is_known(values, check.signature):
        return
    row = first_bad_row(values, check)
    if row >= 0:
        raise outside_support(name, values, check, row, rows)
    remember(values, check.signature)


def remember_samples(states: jax.Array, units: Any) -> jax.Array:
    """Return states that a sampler drew, which need no look: those of discrete units are in the support by law."""
    if units.states is not None:
        remember(states, SupportCheck(units, False, False).signature)
    return states


def check_parameters(rbm: Any) -> None:
    """Raise if a known parameter of an RBM (or of a stack) is NaN; each array is looked at once."""
    if all(is_known(leaf, "parameter") for leaf in jax.tree.leaves(rbm)):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(rbm):
        if not isinstance(leaf, jax.Array | np.ndarray) or not is_concrete(leaf):
            continue
        with jax.ensure_compile_time_eval():
            values = known_values(leaf)
            n_bad = int((np.isnan if is_on_host(values) else jnp.isnan)(values).sum())
        if n_bad:
            raise ValueError(
                f"rbm{jax.tree_util.keystr(path)} holds {n_bad} values that are NaN; use an RBM from before its "
                "training or integration diverged, and smaller steps"
            )
        remember(leaf, "parameter")


def _check_once(name: str, given: Any, cast: jax.Array, check: SupportCheck) -> None:
    """Look at what will be computed with, unless it or the array that it was cast from was looked at before."""
    if not is_concrete(cast) or is_known(given, check.signature) or is_known(cast, check.signature):
        return
    row = first_bad_row(cast, check)
    if row >= 0:
        if not check.allow_missing:
            check_finite(name, cast)
        raise outside_support(name, cast, check, row, None)
    remember(given, check.signature)
    remember(cast, check.signature)


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
