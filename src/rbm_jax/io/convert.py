"""Runs of version 0.1.0 in the present layout of files."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from rbm_jax.io.checkpoints import read_config
from rbm_jax.io.files import create_file, file_version, open_file, read_array, write_array
from rbm_jax.io.units import LAYERS, read_units, write_units

__all__ = ["convert_run"]

_RENAMED_FIELDS = {"chains": "carry"}
"""Of a training state since 0.1.0."""
_NEW_COUNT = "n_rejected"
"""Its count of rejected updates, which 0.1.0 did not keep."""


def convert_run(old: str | os.PathLike, new: str | os.PathLike) -> list[Path]:
    """Rewrite the files of a run of rbm_jax 0.1 in the present layout, so that this version can resume it.

    RBMs, chains, optimizer states, the trajectory and settings keep their values; the random numbers after resuming are
    those of this version, so the training is a continuation and not the one that 0.1 would have done. Files of RBMs
    alone and of trajectories are rewritten too, and files of the present layout are copied. The old folder stays as it
    is.

    Args:
        old: folder of a run; every HDF5 file of ours in it, or in a folder within it, is rewritten.
        new: folder to write to, made if it is not there.

    Returns:
        The files, which have the names that they had.

    Raises:
        FileNotFoundError: there is no such folder, or it holds none of our files.
        FileExistsError: the new folder holds something.
        ImportError: h5py is not installed.
        OSError: the new folder cannot be written.

    Warns:
        UserWarning: files that are damaged or foreign, which are ignored.
    """
    old, new, written = Path(old), Path(new), []
    if not old.is_dir():
        raise FileNotFoundError(f"there is no run folder {old}")
    if new.exists() and (not new.is_dir() or any(new.iterdir())):
        raise FileExistsError(f"{new} must be a folder that holds nothing yet; choose another one")
    names = sorted(path.relative_to(old) for path in old.rglob("*.h5"))
    for name in [name for name in names if not name.name.startswith(".")]:  # of writes that were cut short
        try:
            with open_file(old / name) as source:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                with create_file(new / name) as target:
                    _rewrite(source, target)
        except ValueError as error:
            warnings.warn(f"ignored: {error}", stacklevel=2)
        else:
            written.append(new / name)
    if not written:
        raise FileNotFoundError(f"there are no files of rbm_jax in {old}")
    return written


def _rewrite(source: Any, target: Any) -> None:
    """Copy all that a file holds, with what has changed since version 1."""
    is_old_checkpoint = file_version(source) == 1 and "leaves" in source.attrs
    for name in source:
        source.copy(source[name], target, name=_renamed(name) if is_old_checkpoint else name)
    target.attrs.update({name: value for name, value in source.attrs.items() if name != "format"})
    if is_old_checkpoint:
        target.attrs["leaves"] = json.dumps([*map(_renamed, json.loads(source.attrs["leaves"])), _NEW_COUNT])
        target.attrs["config"] = json.dumps(read_config(source))
        write_array(target, _NEW_COUNT, jnp.zeros_like(read_array(source["step"])))
    rbms = []
    target.visititems(lambda _, item: rbms.append(item) if set(LAYERS) <= set(item.attrs) else None)
    for rbm in rbms:
        for layer in LAYERS:
            write_units(rbm, layer, read_units(rbm, layer))


def _renamed(leaf: str) -> str:
    """The place of a leaf in a present training state."""
    field, slash, place = leaf.partition("/")
    return _RENAMED_FIELDS.get(field, field) + slash + place
