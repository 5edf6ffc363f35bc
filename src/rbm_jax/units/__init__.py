"""Unit types. A unit is its cumulant generating function; see `AbstractUnits`."""

from rbm_jax.units.abstract import AbstractUnits, check_fixed_units, check_scalar_units, same_units
from rbm_jax.units.continuous import Gaussian
from rbm_jax.units.discrete import Bernoulli, Spin
from rbm_jax.units.potts import Potts
from rbm_jax.units.rectified import ReLU

__all__ = [
    "UNIT_TYPES",
    "AbstractUnits",
    "Bernoulli",
    "Gaussian",
    "Potts",
    "ReLU",
    "Spin",
    "check_fixed_units",
    "check_scalar_units",
    "same_units",
]

UNIT_TYPES = {units.__name__: units for units in (Bernoulli, Gaussian, Potts, ReLU, Spin)}
"""Every unit type by its name, as files name them; `AbstractUnits.config` gives the arguments that make one."""
