"""Units in files: a description in JSON, and the arrays that it names.

A description is {"type": name, "arguments": {...}}, with the arguments that `AbstractUnits.config` gives. An array
among them is {"array": place}, a dataset at this place below the RBM's group, which is also its place in the pytree of
the RBM. Units within units, and tuples of them, are described likewise. Version 0.1.0 wrote [name, *arguments].
"""

import json
from typing import Any

from rbm_jax._internal.typing import Array
from rbm_jax.io.files import read_array
from rbm_jax.units import UNIT_TYPES, AbstractUnits

__all__ = ["LAYERS", "describe_units", "read_units", "unit_arrays", "write_units"]

LAYERS = ("visible_units", "hidden_units")
"""The fields of an RBM that hold units, and the attributes of its group that describe them."""


def describe_units(layer: str, units: AbstractUnits) -> dict[str, Any]:
    """What files say of the units of a layer, but for the values of arrays."""
    return _described(units, layer, {})


def unit_arrays(layer: str, units: AbstractUnits) -> dict[str, Array]:
    """Arrays in the units of a layer, by their places."""
    arrays = {}
    _described(units, layer, arrays)
    return arrays


def write_units(group: Any, layer: str, units: AbstractUnits) -> None:
    """Describe the units of a layer in the group of an RBM; the caller writes their arrays."""
    group.attrs[layer] = json.dumps(describe_units(layer, units))


def read_units(group: Any, layer: str) -> AbstractUnits:
    """The units of a layer, from the group of an RBM.

    Raises:
        TypeError, ValueError: unit types, or arguments of them, that this version does not know.
    """
    description = json.loads(group.attrs[layer])
    if isinstance(description, list):
        name, *arguments = description
        return _unit_type(name)(*arguments)
    return _made(description, group)


def _described(value: Any, place: str, arrays: dict[str, Array]) -> Any:
    """The description of a value, whose arrays go into `arrays`."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [_described(part, f"{place}/{index}", arrays) for index, part in enumerate(value)]
        case AbstractUnits():
            arguments = value.config().items()
            described = {name: _described(part, f"{place}/{name}", arrays) for name, part in arguments}
            return {"type": type(value).__name__, "arguments": described}
    arrays[place] = value
    return {"array": place}


def _made(description: Any, group: Any) -> Any:
    """The value that was described."""
    match description:
        case list():
            return tuple(_made(part, group) for part in description)
        case {"array": place}:
            return read_array(group[place])
        case {"type": name, "arguments": arguments}:
            return _unit_type(name)(**{argument: _made(part, group) for argument, part in arguments.items()})
    return description


def _unit_type(name: str) -> Any:
    if name not in UNIT_TYPES:
        raise ValueError(f"the unit type {name!r} is unknown; this version knows {sorted(UNIT_TYPES)}")
    return UNIT_TYPES[name]
