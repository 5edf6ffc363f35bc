"""Fields of strategies: static, checked and normalized when the strategy is made, so that equal options are equal."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from rbm_jax._internal.checks import check_count, check_fraction, check_positive

__all__ = ["count_field", "dtype_field", "fraction_field", "positive_field"]


def count_field(name: str, default: int, *, minimum: int = 1) -> Any:
    """An integer of at least `minimum`: `PCD(2)` and `PCD(np.int64(2))` are one strategy."""
    return eqx.field(static=True, default=default, converter=lambda n: check_count(name, n, minimum=minimum))


def fraction_field(name: str, default: float, *, below_one: bool = False) -> Any:
    """A number from 0 to 1."""

    def convert(value):
        check_fraction(name, value, below_one=below_one)
        return float(value)

    return eqx.field(static=True, default=default, converter=convert)


def positive_field(name: str, default: float) -> Any:
    """A positive number."""
    return eqx.field(static=True, default=default, converter=lambda value: check_positive(name, value))


def dtype_field(default: Any = None) -> Any:
    """A dtype, or None."""
    return eqx.field(static=True, default=default, converter=lambda dtype: None if dtype is None else jnp.dtype(dtype))
