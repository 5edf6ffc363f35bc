"""RBMs and trajectories in HDF5 files: no pickles, written atomically, refused when damaged or foreign."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from rbm_jax._optional import require
from rbm_jax._typing import Array, Float
from rbm_jax.rbm import RBM
from rbm_jax.trajectory import Trajectory
from rbm_jax.units import UNIT_TYPES, AbstractUnits

__all__ = ["atomic_write", "load_rbm", "load_trajectories", "save_rbm", "save_trajectories"]

_FORMAT = "rbm_jax 1"
_LEAVES = ("weights", "visible_bias", "hidden_bias")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary file name in the folder of `path`; on success the file takes its place, else it is removed.

    A reader never sees a half-written file, and an old file survives a failed write.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_rbm(path: str | os.PathLike, rbm: RBM, *, chains: Float[Array, "n_chains n_visible"] | None = None) -> None:
    """Write an RBM, and the visible states of its chains if given, to an HDF5 file.

    Args:
        path: the file; an older one of this name is replaced once the new one is complete.
        rbm: any unit types.
        chains: visible states, shape (n_chains, n_visible).

    Raises:
        ImportError: h5py is not installed.
        OSError: the folder does not exist or cannot be written.
    """
    with atomic_write(path) as temporary, require("h5py").File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        _write_rbm(file.create_group("rbm"), rbm)
        if chains is not None:
            file["chains"] = np.asarray(chains)


def load_rbm(path: str | os.PathLike) -> tuple[RBM, Array | None]:
    """Read the RBM of a file that `save_rbm` wrote, and its chains (None if there are none).

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, or not one of `save_rbm`.
    """
    with _open(path) as file:
        if "rbm" not in file:
            raise ValueError(f"{path} holds no RBM; its groups are {sorted(file)}")
        return _read_rbm(file["rbm"]), jnp.asarray(file["chains"][()]) if "chains" in file else None


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
    with atomic_write(path) as temporary, require("h5py").File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        for name, trajectory in trajectories.items():
            group = file.create_group(f"trajectories/{name}")
            group["ts"] = np.asarray(trajectory.ts)
            group.attrs["status"] = int(trajectory.status)
            _write_rbm(group.create_group("rbms"), trajectory.rbms)
            _write_observations(group, trajectory.observations)


def load_trajectories(path: str | os.PathLike) -> dict[str, Trajectory]:
    """Read all trajectories of a file that `save_trajectories` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, or not one of `save_trajectories`.
    """
    with _open(path) as file:
        if "trajectories" not in file:
            raise ValueError(f"{path} holds no trajectories; its groups are {sorted(file)}")
        return {name: _read_trajectory(group) for name, group in file["trajectories"].items()}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def _open(path: str | os.PathLike):
    """Open a file of ours, and turn what h5py raises on damage into one clear error."""
    h5py = require("h5py")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise ValueError(f"{path} is an HDF5 file, but not one that rbm_jax wrote")
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or not an rbm_jax file: {error}") from error


def _write_rbm(group, rbm: RBM) -> None:
    for name in _LEAVES:
        group[name] = np.asarray(getattr(rbm, name))
    for name in ("visible_units", "hidden_units"):
        units = getattr(rbm, name)
        group.attrs[name] = json.dumps([type(units).__name__, *dataclasses.astuple(units)])


def _read_rbm(group) -> RBM:
    weights, visible_bias, hidden_bias = (jnp.asarray(group[name][()]) for name in _LEAVES)
    return RBM(
        weights, visible_bias, hidden_bias, _read_units(group, "visible_units"), _read_units(group, "hidden_units")
    )


def _read_units(group, name: str) -> AbstractUnits:
    kind, *arguments = json.loads(group.attrs[name])
    if kind not in UNIT_TYPES:
        raise ValueError(f"unknown {name} {kind!r}; this version knows {sorted(UNIT_TYPES)}")
    return UNIT_TYPES[kind](*arguments)


def _write_observations(group, observations) -> None:
    if observations is None:
        return
    if not isinstance(observations, Mapping):
        group["observations"] = np.asarray(observations)
        return
    for name, values in observations.items():
        group[f"observations/{name}"] = np.asarray(values)


def _read_trajectory(group) -> Trajectory:
    h5py = require("h5py")
    observations = group.get("observations")
    if isinstance(observations, h5py.Group):
        observations = {name: jnp.asarray(values[()]) for name, values in observations.items()}
    elif observations is not None:
        observations = jnp.asarray(observations[()])
    status = jnp.asarray(group.attrs["status"], jnp.int32)
    return Trajectory(jnp.asarray(group["ts"][()]), _read_rbm(group["rbms"]), status, observations)
