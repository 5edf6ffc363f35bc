"""Check of values against the support of units."""

from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import known_values
from rbm_jax._internal.typing import Int
from rbm_jax.units import AbstractUnits

__all__ = ["check_support"]


def check_support(
    name: str,
    values: Any,
    units: AbstractUnits,
    rows: Int[np.ndarray, " n_rows"] | None = None,
    allow_missing: bool = False,
) -> None:
    """Raise if a concrete value lies outside the support of the units.

    Args:
        name: the argument's name, for the message.
        values: shape (n_rows, n_units).
        units: the unit type.
        rows: what to call the rows in the message; None for 0, 1, ...
        allow_missing: whether NaN may stand for what was not observed; in all components of a unit or in none.
    """
    size = units.group_size
    with jax.ensure_compile_time_eval():  # the values may be known while the key is traced
        values = known_values(values)
        allowed = units.contains(values)
        if allow_missing:
            allowed = allowed | (values != values).reshape(len(values), -1, size).all(-1).repeat(size, axis=1)
        if allowed.all():
            return
        row, column = divmod(int(allowed.argmin()), values.shape[1])
        unit = values[row, column : column + size]
        place = f"row {row if rows is None else rows[row]}, column {column}"
        if allow_missing and np.isnan(unit).any():
            raise ValueError(
                f"{name} must miss all {size} components of a unit of {units} or none, got {unit} at {place}"
            )
        if not np.isfinite(unit).all():
            advice = (
                "" if allow_missing else ", or train with allow_missing=True if NaN stands for what was not observed"
            )
            raise ValueError(f"{name} holds {unit[~np.isfinite(unit)][0]} at {place}; remove such values{advice}")
        value, advice = unit[0], "; see rbm_jax.data.binarize, which makes 0/1"
        if units.states is None:
            advice = ""
        elif units.group_size > 1:
            value, advice = unit, "; see rbm_jax.data.one_hot"
        raise ValueError(f"{name} must be {units.support} for {units} visible units, got {value} at {place}{advice}")
