"""RBMs and trajectories in files."""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float
from rbm_jax.io.files import create_file, open_file, read_array, write_array
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.symmetry import AbstractTying, PermutationGroup, TiedRBM, Translations, expand
from rbm_jax.units import UNIT_TYPES, AbstractUnits

__all__ = [
    "load_rbm",
    "load_trajectories",
    "read_observations",
    "read_rbm",
    "read_tying",
    "read_units",
    "save_rbm",
    "save_trajectories",
    "write_observations",
    "write_tying",
    "write_units",
]

_LEAVES = ("weights", "visible_bias", "hidden_bias")


def save_rbm(path: str | os.PathLike, rbm: RBM, *, chains: Float[Array, "n_chains n_visible"] | None = None) -> None:
    """Write an RBM, and the visible states of its chains if given, to an HDF5 file.

    Args:
        path: the file; an older one of this name is replaced once the new one is complete.
        rbm: any unit types; of a `TiedRBM` give the expanded one.
        chains: visible states, shape (n_chains, n_visible).

    Raises:
        ImportError: h5py is not installed.
        OSError: the folder does not exist or cannot be written.
        TypeError: something that is not an RBM.
    """
    if not isinstance(rbm, RBM):
        advice = "; save rbm_jax.symmetry.expand of it" if isinstance(rbm, TiedRBM) else ""
        raise TypeError(f"rbm must be an RBM, got {type(rbm).__name__}{advice}")
    with create_file(path) as file:
        _write_rbm(file.create_group("rbm"), rbm)
        if chains is not None:
            write_array(file, "chains", chains)


def load_rbm(path: str | os.PathLike) -> tuple[RBM, Array | None]:
    """Read the RBM of a file of `save_rbm` or `save_checkpoint`, and its chains (None if there are none).

    Of the chains on the ladder of `ptt`, those that sample this RBM; of a `TiedRBM` the expanded one.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, or has no RBM in it.
    """
    with open_file(path) as file:
        if "rbm" not in file:
            raise ValueError(f"{path} holds no RBM; its groups are {sorted(file)}")
        return read_rbm(file["rbm"]), _read_chains(file)


def save_trajectories(path: str | os.PathLike, trajectories: Mapping[str, Trajectory]) -> None:
    """Write named trajectories to an HDF5 file, one group each with `ts`, `status` and the RBMs' leaves.

    Observations are kept if they are one array, or a mapping of names to arrays.

    Args:
        path: the file; an older one of this name is replaced once the new one is complete.
        trajectories: names and trajectories.

    Raises:
        ImportError: h5py is not installed.
        OSError: the folder does not exist or cannot be written.
        TypeError: observations of another kind.
    """
    with create_file(path) as file:
        for name, trajectory in trajectories.items():
            group = file.create_group(f"trajectories/{name}")
            write_array(group, "ts", trajectory.ts)
            group.attrs["status"] = int(trajectory.status)
            _write_rbm(group.create_group("rbms"), trajectory.rbms)
            write_observations(group, trajectory.observations)


def load_trajectories(path: str | os.PathLike) -> dict[str, Trajectory]:
    """Read all trajectories of a file that `save_trajectories` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, or not one of `save_trajectories`.
    """
    with open_file(path) as file:
        if "trajectories" not in file:
            raise ValueError(f"{path} holds no trajectories; its groups are {sorted(file)}")
        return {name: _read_trajectory(group) for name, group in file["trajectories"].items()}


def _write_rbm(group, rbm: RBM) -> None:
    for name in _LEAVES:
        write_array(group, name, getattr(rbm, name))
    write_units(group, rbm)


def write_units(group, rbm: RBM | TiedRBM) -> None:
    """Write the unit types beside the leaves."""
    for name in ("visible_units", "hidden_units"):
        units = getattr(rbm, name)
        group.attrs[name] = json.dumps([type(units).__name__, *units.config().values()])


def write_tying(group, tied: TiedRBM) -> None:
    """Write the tying beside the leaves.

    Raises:
        TypeError: one that files do not know.
    """
    tying = tied.tying
    if type(tying) is Translations:
        group.attrs["tying"] = json.dumps([tying.shape, tying.extent, tying.periodic])
    elif type(tying) is PermutationGroup:
        write_array(group, "elements", tying.elements)
    else:
        raise TypeError(f"files can hold Translations and PermutationGroup, not the tying {tying!r}")


def read_tying(group) -> AbstractTying | None:
    """The tying that `write_tying` wrote, or None for an RBM without."""
    if "elements" in group:
        return PermutationGroup(read_array(group["elements"], as_jax=False))
    if "tying" not in group.attrs:
        return None
    shape, window, periodic = json.loads(group.attrs["tying"])
    return Translations(tuple(shape), tuple(window), periodic=periodic)


def read_rbm(group) -> RBM:
    """Read an RBM, or several along a leading axis; a tied one is expanded."""
    tying, units = read_tying(group), (read_units(group, "visible_units"), read_units(group, "hidden_units"))
    if tying is None:
        weights, visible_bias, hidden_bias = (read_array(group[name]) for name in _LEAVES)
        return RBM(weights, visible_bias, hidden_bias, *units)
    filters, visible_bias, hidden_bias = (read_array(group[name]) for name in ("filters", *_LEAVES[1:]))
    return expand(TiedRBM(filters, visible_bias, hidden_bias, tying, *units))


def read_units(group, name: str) -> AbstractUnits:
    """One of the unit types that `write_units` wrote."""
    kind, *arguments = json.loads(group.attrs[name])
    if kind not in UNIT_TYPES:
        raise ValueError(f"unknown {name} {kind!r}; this version knows {sorted(UNIT_TYPES)}")
    return UNIT_TYPES[kind](*arguments)


def write_observations(group, observations) -> None:
    """Write one array or a mapping of arrays; None leaves nothing."""
    if observations is None:
        return
    if not isinstance(observations, Mapping):
        write_array(group, "observations", observations)
        return
    for name, values in observations.items():
        write_array(group, f"observations/{name}", values)


def read_observations(group) -> Any:
    """Read what `write_observations` wrote."""
    observations = group.get("observations")
    if observations is None:
        return None
    if hasattr(observations, "keys"):
        return {name: read_array(values) for name, values in observations.items()}
    return read_array(observations)


def _read_trajectory(group) -> Trajectory:
    status = jnp.asarray(group.attrs["status"], jnp.int32)
    return Trajectory(read_array(group["ts"]), read_rbm(group["rbms"]), status, read_observations(group))


def _read_chains(file) -> Array | None:
    """Visible states of the RBM: the chains themselves, or those on the rungs of a ladder that are not frozen."""
    chains = file.get("chains")
    if chains is None or not hasattr(chains, "keys"):
        return None if chains is None else read_array(chains)
    if "tempering" not in chains:
        return None
    live = read_array(chains["tempering/chains"])[int(read_array(chains["n_frozen"])) :]
    return live.reshape(-1, live.shape[-1])
