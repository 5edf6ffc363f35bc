"""Where the work is done: rows that are made for an array on several devices are divided among these devices.

An algorithm that makes rows itself (chains, minibatches) has nothing placed that their computation could follow; it
follows the parameters of the RBM instead, which lie as a whole copy on each device.
"""

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from rbm_jax._internal.checks import is_concrete
from rbm_jax._internal.typing import Array, Int, Shaped

__all__ = ["divide_rows", "row_sharding", "take_rows"]


def row_sharding(parameters: Array, axis: int = 0) -> NamedSharding | None:
    """The layout that divides this axis of other arrays among the devices which hold copies of `parameters`.

    None where nothing is to be divided: one device, parameters that are divided themselves (an ensemble of RBMs), or
    traced ones, which lie nowhere yet.
    """
    sharding = getattr(parameters, "sharding", None) if is_concrete(parameters) else None
    if not isinstance(sharding, NamedSharding) or sharding.num_devices == 1 or not sharding.is_fully_replicated:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(*[None] * axis, sharding.mesh.axis_names))


def divide_rows(rows: Array, parameters: Array, axis: int = 0) -> Array:
    """Divide the rows by `row_sharding`, where there are equally many for each device."""
    sharding = row_sharding(parameters, axis)
    if sharding is None or rows.shape[axis] % sharding.num_devices:
        return rows
    return jax.device_put(rows, sharding)


def take_rows(
    data: Shaped[Array, "n_samples n_visible"], rows: Int[Array, " batch_size"] | None, layout: NamedSharding | None
) -> Shaped[Array, "batch_size n_visible"]:
    """The rows of the data (None: all of them), divided among devices as the layout says (None: as XLA likes)."""
    if layout is not None and rows is not None:
        # Every device computes all the numbers of the rows: divided, the search for them would ask all others at
        # each of its steps whether it may end.
        rows = lax.with_sharding_constraint(rows, NamedSharding(layout.mesh, PartitionSpec()))
    batch = data if rows is None else data[rows]
    return batch if layout is None else lax.with_sharding_constraint(batch, layout)
