"""How to look at arrays: those of other packages as those of NumPy, and each of JAX no more than once."""

import weakref
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = ["as_host_array", "is_known", "is_on_host", "known_values", "remember"]

_seen: dict[tuple, weakref.ref] = {}
"""Arrays of JAX that passed a check, by the identity of the array and the check; emptied as the arrays are freed."""


def as_host_array(name: str, values: Any, allow_missing: bool) -> jax.Array | np.ndarray:
    """Anything but an array of JAX as a NumPy array, of whatever dtype that makes.

    Tables (anything with `to_numpy`, such as pandas DataFrames) become arrays. A masked array becomes a plain one if
    nothing is masked, or with NaN for what is masked where missing entries are allowed.

    Raises:
        TypeError: rows of unequal lengths, or a sparse matrix.
        ValueError: masked entries where none may be missing.
    """
    if callable(getattr(values, "to_numpy", None)):
        values = _from_table(values)
    elif callable(getattr(values, "todense", None)):
        raise TypeError(
            f"{name} must be a dense array, got a sparse {type(values).__name__}; pass {name}.toarray() if it fits "
            "into memory (0/1 data as uint8: one byte an entry)"
        )
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(name, values, allow_missing)
    try:
        return np.asarray(values)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(values)
    except (TypeError, ValueError) as error:  # rows of unequal lengths
        raise TypeError(f"{name} must be an array of numbers, got {type(values).__name__}: {error}") from error


def _from_table(table: Any) -> np.ndarray:
    """The values of a table; columns of mixed numeric types, and missing values of their own kind, become floats."""
    array = np.asarray(table.to_numpy())
    if array.dtype != object:
        return array
    try:
        return table.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):  # text, or a library without these options
        return array


def _unmasked(name: str, values: np.ma.MaskedArray, allow_missing: bool) -> np.ndarray:
    n_masked = int(np.ma.count_masked(values))
    if not n_masked:
        return values.data
    if not allow_missing:
        raise ValueError(
            f"{name} must have no masked entries here, got {n_masked}; impute them first, or take only complete rows"
        )
    # Not float16, which XLA cannot convert on a processor without F16C.
    return np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)


def is_known(array: Any, check: Hashable) -> bool:
    """Whether this very array passed the check before; an array of JAX never changes."""
    seen = _seen.get((id(array), check)) if isinstance(array, jax.Array) else None
    return seen is not None and seen() is array


def remember(array: Any, check: Hashable) -> None:
    """Note that an array passed the check; those of NumPy, which may change, and traced ones are not noted."""
    if isinstance(array, jax.Array) and not isinstance(array, Tracer):
        key = (id(array), check)
        _seen[key] = weakref.ref(array, lambda _, forget=_seen.pop: forget(key, None))


def known_values(array: Any) -> jax.Array | np.ndarray:
    """A concrete array to look at the values of: one copy of a replicated one, or NumPy's of what is not of JAX.

    An array on the devices of several processes cannot be copied to one of them; what JAX reduces it to can.
    """
    if not isinstance(array, jax.Array):
        return np.asarray(array)
    return array.addressable_data(0) if array.is_fully_replicated else array


def is_on_host(values: Any) -> bool:
    """Whether NumPy can look at the values where they are: on one CPU, where that takes no compilation."""
    if not isinstance(values, jax.Array):
        return True
    return len(values.devices()) == 1 and next(iter(values.devices())).platform == "cpu"
