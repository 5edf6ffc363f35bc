"""Whether values lie in the support of a layer's units, and which is the first that does not."""

from collections.abc import Hashable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.arrays import is_on_host, known_values

__all__ = ["SupportCheck", "first_bad_row", "outside_support"]

_CHUNK_ELEMENTS = 2**20
"""Values that are looked at together on the host: boolean temporaries of a few MB, which stay in the cache."""


class SupportCheck(eqx.Module):
    """What is asked of values: to be states of these units, or means of them; with or without missing ones."""

    units: Any
    of_means: bool = eqx.field(static=True)
    allow_missing: bool = eqx.field(static=True)

    @property
    def signature(self) -> Hashable:
        """The same for all units with one support: parameters of units, which are leaves, do not change it."""
        structure = jax.tree.structure(self.units)
        leaf = jax.tree.structure(0)
        return (self.units if structure == leaf else structure), self.of_means, self.allow_missing

    def passes(self, values: Any) -> Any:
        """Whether each value does, in the shape of the values."""
        passes = self.units.contains_mean(values) if self.of_means else self.units.contains(values)
        if not self.allow_missing:
            return passes
        missing = (values != values).reshape(*values.shape[:-1], -1, self.units.group_size)
        return passes | missing.all(-1).repeat(self.units.group_size, axis=-1)


def first_bad_row(values: Any, check: SupportCheck) -> int:
    """Number of the first row (the last axis) that does not pass, or -1, without temporaries as large as the values."""
    if not np.size(values):
        return -1
    with jax.ensure_compile_time_eval():  # the values may be known while the key is traced
        values = known_values(values)
        if not is_on_host(values):
            return int(_fused_first_bad_row(values, check))
        rows = np.asarray(values).reshape(-1, values.shape[-1])
        n_together = max(1, _CHUNK_ELEMENTS // rows.shape[1])
        for first in range(0, len(rows), n_together):
            passes = np.asarray(check.passes(rows[first : first + n_together])).all(-1)
            if not passes.all():
                return first + int(passes.argmin())
    return -1


@eqx.filter_jit
def _fused_first_bad_row(values: jax.Array, check: SupportCheck) -> jax.Array:
    passes = check.passes(values).all(-1).reshape(-1)
    return jnp.where(passes.all(), -1, passes.argmin())


def outside_support(name: str, values: Any, check: SupportCheck, row: int, rows: np.ndarray | None) -> ValueError:
    """The error that names the first value which does not pass, to be raised."""
    units, size = check.units, check.units.group_size
    with jax.ensure_compile_time_eval():
        flat = known_values(values).reshape(-1, np.shape(values)[-1])
        passes = np.asarray(check.passes(flat[row : row + 1]))[0]
        column = int(passes.argmin())
        unit = np.asarray(flat[row, column : column + size])
    place = f"row {row if rows is None else rows[row]}, column {column}"
    if check.allow_missing and np.isnan(unit).any():
        return ValueError(f"{name} must miss all {size} components of a unit of {units} or none, got {unit} at {place}")
    if not np.isfinite(unit).all():
        advice = (
            "" if check.allow_missing else ", or pass allow_missing=True where NaN stands for what was not observed"
        )
        return ValueError(f"{name} holds {unit[~np.isfinite(unit)][0]} at {place}; remove such values{advice}")
    value = unit if size > 1 else unit[0]
    if check.of_means:
        return ValueError(f"{name} must be {units.mean_support} for {units}, got {value} at {place}")
    advice = "; see rbm_jax.data.one_hot" if size > 1 else "; see rbm_jax.data.binarize, which makes 0/1"
    advice = "" if units.states is None else advice
    return ValueError(f"{name} must be {units.support} for {units} units, got {value} at {place}{advice}")
