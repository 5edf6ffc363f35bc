"""Several devices, of one process or of many: a mesh, and what lies where on it.

Algorithms know no mesh: computation follows the arrays that it is given. `replicate` an RBM, and the chains that are
started for it and its minibatches in `fit` are divided among the devices; `divide` chains, or the leading axis of many
RBMs and keys for a vmapped function, and each device computes its own part. Random numbers depend on the position in
the whole array alone, so chains are the same bit for bit on any number of devices, while sums over samples (gradients,
averages) differ in the order of their terms. Sampling needs no communication, an update of `fit` one all-reduce of the
gradient's terms.

Data of minibatches should be replicated: rows are then picked without communication. Data too large for that can be
divided, at the price of an exchange of each minibatch; an update on all data needs none either way.

On a CPU, `virtual_devices` splits the one there is, for trying things out.
"""

import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rbm_jax._internal.checks import check_count
from rbm_jax.sampling import TrajectoryChains
from rbm_jax.training.loop import TrainState

__all__ = [
    "check_even",
    "device_mesh",
    "divide",
    "place_state",
    "replicate",
    "start_processes",
    "to_host",
    "virtual_devices",
]

Tree = TypeVar("Tree")


def device_mesh(n_devices: int | None = None) -> Mesh:
    """A mesh with one axis, "devices".

    Args:
        n_devices: how many of the devices of all processes, the first ones; None for all. In a run of several
            processes each must own some.

    Raises:
        ValueError: more devices than there are.

    Example:
        >>> import jax
        >>> from rbm_jax import init_chains, init_rbm, sample_gibbs
        >>> from rbm_jax.sharding import device_mesh, replicate
        >>> rbm = replicate(init_rbm(jax.random.key(0), 784, 100), device_mesh())
        >>> chains = init_chains(jax.random.key(1), rbm, 16 * jax.device_count())
        >>> chains = sample_gibbs(jax.random.key(2), rbm, chains, n_sweeps=10)
        >>> chains.addressable_shards[0].data.shape
        (16, 784)
    """
    devices = jax.devices()
    n_devices = len(devices) if n_devices is None else check_count("n_devices", n_devices)
    if n_devices > len(devices):
        raise ValueError(
            f"n_devices must be at most the number of devices, {len(devices)} of kind {devices[0].platform}, "
            f"got {n_devices}; rbm_jax.sharding.virtual_devices({n_devices}), called before anything is computed, "
            "splits a CPU"
        )
    return jax.make_mesh((n_devices,), ("devices",), axis_types=(AxisType.Auto,), devices=devices[:n_devices])


def virtual_devices(n_devices: int) -> None:
    """Split the CPU into so many devices, in each process. They share its cores: nothing gets faster.

    Args:
        n_devices: how many.

    Raises:
        RuntimeError: JAX has computed something or listed its devices already, with another number of CPU devices.
    """
    n_devices = check_count("n_devices", n_devices)
    try:
        jax.config.update("jax_num_cpu_devices", n_devices)
    except RuntimeError as error:
        if len(jax.local_devices(backend="cpu")) != n_devices:
            raise RuntimeError(
                f"n_devices={n_devices} virtual devices must be made before JAX computes anything or lists its "
                "devices: call virtual_devices first, or set XLA_FLAGS="
                f"--xla_force_host_platform_device_count={n_devices} in the environment"
            ) from error


def start_processes(
    coordinator_address: str | None = None, n_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the processes of one run, before anything else is done with JAX: `jax.distributed.initialize`.

    All processes then run the same program with the same arguments; `device_mesh` spans the devices of all. Values are
    given to `replicate` and `divide` whole, the same in each process.

    Args:
        coordinator_address: host and port of process 0, such as "10.0.0.1:12345", the same in each process.
        n_processes: how many.
        process_id: the number of this one, from 0. Leave out all three under Slurm, Open MPI or on Cloud TPUs, which
            JAX asks itself.

    Raises:
        ValueError: some of the three and not the others, or a process_id that is not below n_processes.
        RuntimeError: JAX has computed something already, or other processes cannot be reached.
    """
    arguments = (coordinator_address, n_processes, process_id)
    if any(argument is None for argument in arguments) and arguments != (None, None, None):
        raise ValueError(
            "coordinator_address, n_processes and process_id must be given together or not at all, got "
            f"{coordinator_address!r}, {n_processes} and {process_id}"
        )
    if n_processes is not None and process_id is not None:
        n_processes = check_count("n_processes", n_processes)
        if check_count("process_id", process_id, minimum=0) >= n_processes:
            raise ValueError(f"process_id must be below n_processes={n_processes}, got {process_id}; it counts from 0")
    jax.distributed.initialize(coordinator_address, n_processes, process_id)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """A whole copy of each array on each device: parameters, optimizer states, data of minibatches.

    Args:
        tree: an array, JAX or NumPy, or a pytree of them, such as an RBM; keys too.
        mesh: from `device_mesh`, or any other.
    """
    return jax.tree.map(lambda leaf: _put(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def divide(tree: Tree, mesh: Mesh, *, axis: int = 0) -> Tree:
    """Divide an axis of each array evenly among the devices: chains, or many RBMs, states and keys for `jax.vmap`.

    Args:
        tree: an array, JAX or NumPy, or a pytree of them, all with this axis.
        mesh: from `device_mesh`, or any other.
        axis: which one, such as 1 for the chains of a `TemperingState`.

    Raises:
        ValueError: an array without such an axis, or with a length that is no multiple of the number of devices.
    """
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * check_count("axis", axis, minimum=0), mesh.axis_names))

    def put(path, leaf):
        name = f"tree{jax.tree_util.keystr(path)}"
        if np.ndim(leaf) <= axis:
            raise ValueError(f"{name} must have an axis {axis} to divide, got shape {np.shape(leaf)}; replicate it")
        check_even(f"axis {axis} of {name}", np.shape(leaf)[axis], mesh)
        return _put(leaf, sharding)

    return jax.tree_util.tree_map_with_path(put, tree)


def place_state(state: TrainState, mesh: Mesh) -> TrainState:
    """A training state with its chains divided, and RBM, optimizer state and step replicated, as `fit` leaves it.

    A state of `Trainer.init` that is used as it is works too, but counters that lie elsewhere make `fit` compile
    twice.

    Args:
        state: from `Trainer.init`, or read from a file.
        mesh: from `device_mesh`, or any other.

    Raises:
        ValueError: a number of chains that is no multiple of the number of devices.
    """
    placed = replicate(dataclasses.replace(state, carry=None), mesh)
    carry = None if state.carry is None else _divide_chains(state.carry, mesh)
    return dataclasses.replace(placed, carry=carry)


def to_host(tree: Tree) -> Tree:
    """Each array whole, as a NumPy array, on each process. All processes must call it together.

    Args:
        tree: an array or a pytree of them, placed in any way; no keys.
    """

    def fetch(leaf):
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(fetch, tree)


def check_even(name: str, length: int, mesh: Mesh) -> None:
    """Raise unless the devices of the mesh can share so many rows evenly."""
    if length % mesh.size:
        nearest = max(mesh.size, round(length / mesh.size) * mesh.size)
        raise ValueError(
            f"{name} must be a multiple of the number of devices, {mesh.size}, got {length}; "
            f"take {nearest}, or other devices"
        )


def _divide_chains(chains, mesh: Mesh):
    """Chains in an array, or those of each rung of a ladder, which is replicated."""
    if not isinstance(chains, TrajectoryChains):
        check_even("n_chains", len(chains), mesh)
        return divide(chains, mesh)
    tempering, placed = chains.tempering, replicate(chains, mesh)
    check_even("n_chains", tempering.chains.shape[1], mesh)
    states, origin = divide((tempering.chains, tempering.origin), mesh, axis=1)
    tempering = dataclasses.replace(placed.tempering, chains=states, origin=origin)
    return dataclasses.replace(placed, tempering=tempering)


def _put(leaf: Any, sharding: NamedSharding):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        # JAX itself does not place typed keys on the devices of other processes.
        data = jax.device_put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.device_put(leaf, sharding)
