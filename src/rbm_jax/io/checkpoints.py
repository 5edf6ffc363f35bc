"""Checkpoints: all that resuming a training needs, in one file for each saved update."""

import importlib.metadata
import json
import os
import platform
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.typing import ArrayLike, Float, PRNGKey
from rbm_jax._version import __version__
from rbm_jax.io.files import create_file, file_version, is_key, open_file, read_array, write_array
from rbm_jax.io.results import read_observations, read_rbm, read_tying, write_observations, write_tying
from rbm_jax.io.units import LAYERS, describe_units, write_units
from rbm_jax.model.trajectory import Trajectory, finite_status
from rbm_jax.symmetry import TiedRBM
from rbm_jax.training import TrainState

__all__ = [
    "Checkpoint",
    "latest_checkpoint",
    "load_checkpoint",
    "load_config",
    "load_trajectory",
    "read_config",
    "save_checkpoint",
    "saved_updates",
    "software_versions",
]

_RENAMED_SETTINGS = {"n_steps": "n_sweeps"}
"""Of `rbm-jax train` since 0.1.0."""
_MARKS_OF_A_RUN = {"samples", "devices"}
"""Settings that `rbm-jax train` 0.1.0 always wrote; a config without them is a user's own, and stays as it is."""
_CHECKPOINT_NAME = re.compile(r"(\d{8,})(\.interim)?\.h5")


def save_checkpoint(
    folder: str | os.PathLike,
    state: TrainState,
    *,
    key: PRNGKey,
    time: Float[ArrayLike, ""] | None = None,
    observations: Any = None,
    config: Mapping[str, Any] | None = None,
    keep: bool = True,
) -> Path:
    """Write all that resuming a training needs, to the bit, to a file that is named by the number of updates done.

    Calls of `fit` from one save to the next give the same bits as a single call, so that a run which survives anything
    is a loop around `fit`, `latest_checkpoint` and this.

    Args:
        folder: of the run; other files are left alone.
        state: of any estimator and optimizer. Its arrays are named by their places in the pytree.
        key: the key of the run, typed or not.
        time: for `Trajectory.ts`; None takes the updates done.
        observations: for `Trajectory.observations`: one array, or a mapping of names to arrays.
        config: what else to remember, as JSON can hold it: `load_config` gives it back.
        keep: False for a file that only guards against the loss of work. It is not part of the trajectory, and goes
            when a later one is written.

    Returns:
        The file. An older one of this name is replaced once the new one is complete.

    Raises:
        ImportError: h5py is not installed.
        OSError: the folder does not exist or cannot be written.
        TypeError: a config that JSON cannot hold, a state with leaves that are no numbers, or a tying of one's own.

    Example:
        >>> import jax, optax, tempfile
        >>> from rbm_jax import PCD, Trainer, fit, init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> from rbm_jax.io import latest_checkpoint, load_checkpoint, save_checkpoint
        >>> from rbm_jax.training import Optimizer
        >>> folder, key, trainer = tempfile.mkdtemp(), jax.random.key(2), Trainer(PCD(), Optimizer(optax.adam, 0.01))
        >>> state = trainer.init(jax.random.key(1), init_rbm(jax.random.key(0), 16, 8), n_chains=100)
        >>> if (path := latest_checkpoint(folder)) is not None:
        ...     state = load_checkpoint(path, state).state
        >>> while state.step < 20:
        ...     state, _ = fit(key, trainer, state, bars_and_stripes(4), n_updates=10)
        ...     path = save_checkpoint(folder, state, key=key)
        >>> path.name
        '00000020.h5'
    """
    n_updates = int(np.max(state.step))
    path = Path(folder) / f"{n_updates:08d}{'' if keep else '.interim'}.h5"
    leaves = _named_leaves(state)
    with create_file(path) as file:
        file.attrs["config"] = json.dumps(dict(config or {}))
        file.attrs["versions"] = json.dumps(software_versions())
        file.attrs["leaves"] = json.dumps(list(leaves))
        for name, leaf in leaves.items():
            write_array(file, name, leaf)
        for layer in LAYERS:  # whose arrays are among the leaves, at the same places
            write_units(file["rbm"], layer, getattr(state.rbm, layer))
        if isinstance(state.rbm, TiedRBM):
            write_tying(file["rbm"], state.rbm)
        write_array(file, "key", key)
        write_array(file, "time", jnp.asarray(n_updates if time is None else time, state.rbm.dtype))
        write_observations(file, observations)
    for (done, kept), older in _checkpoint_files(path.parent).items():
        if not kept and (done < n_updates or (keep and done == n_updates)):
            older.unlink(missing_ok=True)
    return path


class Checkpoint(eqx.Module):
    """What `save_checkpoint` wrote.

    Attributes:
        state: the training state.
        key: the key of the run.
        config: what else was to be remembered.
        versions: of the software, and the kind of device, that wrote it.
    """

    state: TrainState
    key: PRNGKey
    config: dict[str, Any]
    versions: dict[str, str]


def load_checkpoint(path: str | os.PathLike, like: TrainState) -> Checkpoint:
    """Read a file of `save_checkpoint`.

    Args:
        path: such as `latest_checkpoint` gives.
        like: a state made in the same way as the one that was saved, by `Trainer.init` with the same units, sizes,
            estimator and optimizer. Only structure, shapes and dtypes matter.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged or not a checkpoint, or its state does not have the structure of `like`.
    """
    with open_file(path) as file:
        _check_is_checkpoint(path, file)
        if file_version(file) == 1:
            raise ValueError(
                f"{path} is a checkpoint of rbm_jax 0.1, whose states have other fields; rewrite its run by rbm-jax "
                "convert or rbm_jax.io.convert_run, then load that"
            )
        expected, found = _named_leaves(like), json.loads(file.attrs["leaves"])
        if set(found) != set(expected):
            extra, missing = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
            raise ValueError(
                f"{path} has another structure than like: it has {', '.join(extra) or 'nothing'} besides, and lacks "
                f"{', '.join(missing) or 'nothing'}; make like with the same estimator and optimizer"
            )
        for layer in LAYERS:
            units, wanted = json.loads(file["rbm"].attrs[layer]), describe_units(layer, getattr(like.rbm, layer))
            if units != wanted:
                raise ValueError(f"{path} has the {layer} {units}, and like has {wanted}")
        tying, wanted = read_tying(file["rbm"]), getattr(like.rbm, "tying", None)
        if tying != wanted:
            raise ValueError(f"{path} has the tying {tying}, and like has {wanted}")
        leaves = [_read_like(path, file[name], name, leaf) for name, leaf in expected.items()]
        state = jax.tree.unflatten(jax.tree.structure(like), leaves)
        key, config, versions = read_array(file["key"]), *(json.loads(file.attrs[n]) for n in ("config", "versions"))
        return Checkpoint(state, key, config, versions)


def load_config(path: str | os.PathLike) -> dict[str, Any]:
    """What a file of `save_checkpoint` remembers besides the state. JAX is not started.

    Settings that `rbm-jax train` 0.1.0 wrote come by their present names.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged or not a checkpoint.
    """
    with open_file(path) as file:
        _check_is_checkpoint(path, file)
        return read_config(file)


def latest_checkpoint(folder: str | os.PathLike) -> Path | None:
    """The checkpoint of a run folder with the most updates that is whole; None if there is none. JAX is not started.

    Warns:
        UserWarning: files that are damaged or foreign, which are ignored.
    """
    for path in reversed(_checkpoint_files(Path(folder)).values()):
        try:
            with open_file(path) as file:
                _check_is_checkpoint(path, file)
            return path
        except ValueError as error:
            warnings.warn(f"ignored: {error}", stacklevel=2)
    return None


def saved_updates(folder: str | os.PathLike) -> dict[int, Path]:
    """The checkpoints of a run folder that were to be kept, by the number of updates done; they are not opened."""
    return {done: path for (done, kept), path in _checkpoint_files(Path(folder)).items() if kept}


def load_trajectory(folder: str | os.PathLike, *, updates: Sequence[int] | None = None) -> Trajectory:
    """Read the RBMs of a run folder's checkpoints as a trajectory, tied ones expanded.

    Where not all fit in memory, `load_rbm` reads the RBM of one of `saved_updates` at a time.

    Args:
        folder: where `save_checkpoint` wrote.
        updates: which ones to read, of `saved_updates`, increasing; None reads all.

    Raises:
        ImportError: h5py is not installed.
        ValueError: no checkpoints, none after one of these updates, or damage to one of them.

    Warns:
        UserWarning: files that are damaged, which are ignored where all are to be read.
    """
    files = saved_updates(folder)
    if updates is not None and not set(updates) <= set(files):
        raise ValueError(f"{folder} has no saved updates {sorted(set(updates) - set(files))}; it has {sorted(files)}")
    rows = []
    for path in files.values() if updates is None else [files[update] for update in updates]:
        try:
            with open_file(path) as file:
                rows.append((read_array(file["time"]), read_rbm(file["rbm"]), read_observations(file)))
        except ValueError as error:
            if updates is not None:
                raise
            warnings.warn(f"ignored: {error}", stacklevel=2)
    if not rows:
        raise ValueError(f"{folder} holds no checkpoints that can be read")
    if len({jax.tree.structure(observed) for _, _, observed in rows}) > 1:
        rows = [(time, rbm, None) for time, rbm, _ in rows]
    ts, rbms, observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return Trajectory(ts, rbms, finite_status(rbms), observations)


def software_versions() -> dict[str, str]:
    """What the bits of a training depend on besides its settings."""
    return {
        "rbm_jax": __version__,
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def _checkpoint_files(folder: Path) -> dict[tuple[int, bool], Path]:
    """Files by the updates done and whether they are to be kept, in that order."""
    if not folder.is_dir():
        return {}
    matches = [(_CHECKPOINT_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return dict(sorted(((int(match[1]), not match[2]), path) for match, path in matches if match))


def _check_is_checkpoint(path: str | os.PathLike, file) -> None:
    if "leaves" not in file.attrs:
        raise ValueError(f"{path} is not a checkpoint, which save_checkpoint writes; its groups are {sorted(file)}")


def read_config(file) -> dict[str, Any]:
    """The config in an open checkpoint, with the settings of an old run by their present names."""
    config: dict[str, Any] = json.loads(file.attrs["config"])
    if file_version(file) == 1 and set(config) >= _MARKS_OF_A_RUN:
        return {_RENAMED_SETTINGS.get(name, name): value for name, value in config.items()}
    return config


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves of a pytree by their places in it, such as opt_state/0/mu/weights."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) < len(leaves):
        raise ValueError("the state holds leaves that cannot be told apart by their names: rename keys of its dicts")
    return named


def _read_like(path: str | os.PathLike, dataset, name: str, like: Any) -> Any:
    """An array with the shape and dtype of another, or an error."""
    kind = np.asarray(like) if not hasattr(like, "dtype") else like
    shape, dtype = (jax.random.key_data(like).shape, "uint32") if is_key(like) else (kind.shape, kind.dtype)
    found = read_array(dataset, as_jax=False)
    if found.shape != shape or found.dtype != jnp.dtype(dtype):
        raise ValueError(
            f"{path} has {name} of shape {found.shape} and dtype {found.dtype}, and like has {shape} and {dtype}"
        )
    return read_array(dataset)
