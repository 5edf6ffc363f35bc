"""The folder of a run: who writes to it, what it remembers, and what it must agree in with what goes on with it."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rbm_jax._internal.optional import require
from rbm_jax.io import latest_checkpoint, load_config, saved_updates

__all__ = [
    "DIGESTS",
    "MODEL",
    "RECIPE",
    "RECORDS",
    "UPDATES",
    "check_same_run",
    "check_unmixed",
    "digest",
    "latest_update",
    "locked",
    "prepare_folder",
    "read_latest",
    "read_records",
    "run_settings",
    "stored_settings",
]

MODEL, UPDATES, RECORDS, RECIPE = "rbm.h5", "updates", "records.jsonl", "recipe.toml"
"""Of a run: the trained RBM with its chains, the folder with a checkpoint for each saved update, its numbers, how it is
made."""
_LOCK = ".lock"
_N_LOOKS = 20
"""For a checkpoint that a training does not replace while it is read."""
MAY_CHANGE = ("n_updates", "devices", "data", "test")
"""Settings in which a run need not agree with what continues it: the samples count, not where they lie."""
DIGESTS = {"samples": "data", "held_out_samples": "test"}
"""Settings that are digests, and the argument that gave the data."""

_Found = TypeVar("_Found")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers out of a run folder; the operating system lets them in when this process is gone.

    Raises:
        BlockingIOError: another one writes to it.
    """
    filelock = require("filelock")
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BlockingIOError(
            f"{folder} is in use: another process writes to it; wait for it, or choose another folder"
        ) from error
    except NotImplementedError as error:  # as some network file systems
        raise OSError(f"{folder} is on a file system without locks; choose a folder on another one") from error
    try:
        yield
    finally:
        lock.release()


def prepare_folder(path: Path) -> Path:
    """Make the folder, and try it before any long work: an OSError comes now or not at all."""
    path.mkdir(parents=True, exist_ok=True)
    probe = path / ".writable"
    probe.touch()
    probe.unlink(missing_ok=True)  # another process may have tried at the same moment
    return path


def latest_update(folder: Path) -> Path | None:
    """The latest checkpoint of a run that is whole, if there is one.

    Raises:
        FileNotFoundError: there is no such folder.

    Warns:
        UserWarning: others that are damaged.
    """
    return read_latest(folder, lambda path: path)


def read_latest(folder: Path, read: Callable[[Path], _Found]) -> _Found | None:
    """What a function reads of the latest checkpoint that is whole, if there is one.

    A training that goes on may replace the checkpoint at any moment; then the one in its place is read.

    Raises:
        FileNotFoundError: there is no such folder.

    Warns:
        UserWarning: others that are damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no run folder {folder}; rbm-jax train or rbm_jax.runs.train_run makes one")
    for _ in range(_N_LOOKS):
        with contextlib.suppress(FileNotFoundError):
            path = latest_checkpoint(folder / UPDATES)
            return None if path is None else read(path)
    raise FileNotFoundError(f"the checkpoints in {folder / UPDATES} are replaced faster than they can be read")


def run_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run: fields of `Source` and `Recipe`, and what else it must agree in to be continued.

    Raises:
        ValueError, OSError: no such run.
    """
    settings = read_latest(folder, stored_settings)
    if settings is None:
        raise FileNotFoundError(
            f"there are no saved updates in {folder / UPDATES}; rbm-jax train or rbm_jax.runs.train_run writes them"
        )
    return settings


def stored_settings(path: Path) -> dict[str, Any]:
    """The settings that a checkpoint holds; version 0.1.0 wrote NaN for what stands for missing entries as it came."""
    settings = load_config(path)
    missing = settings.get("missing")
    return settings | {"missing": "nan"} if str(missing).lower() == "nan" else settings


def digest(samples: np.ndarray) -> str:
    """By which data are known again."""
    hashed = hashlib.blake2b(f"{samples.shape} {samples.dtype.str} ".encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(samples).data)
    return hashed.hexdigest()


def check_same_run(folder: Path, stored: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise unless these settings continue the run with the stored ones.

    Raises:
        ValueError: another run, by the name of what differs.
    """
    if not {"devices", "samples"} <= set(stored):
        raise ValueError(f"{folder} holds checkpoints that are not of a run: train into another folder")
    for name, value in settings.items():
        if name in MAY_CHANGE or name not in stored or stored[name] == value:
            continue
        if name in DIGESTS:
            raise ValueError(
                f"{DIGESTS[name]}: the samples are not those of the run in {folder}, so it cannot go on with them: "
                "bring these back, or train into another folder"
            )
        raise ValueError(
            f"{name} is {value}, but {folder} holds a run with {stored[name]}: continue that one "
            f"(rbm-jax train --resume {folder}), or train into another folder"
        )
    if settings["schedule"] != "constant" and settings["n_updates"] != stored.get("n_updates"):
        raise ValueError(
            f"n_updates must stay {stored.get('n_updates')}, got {settings['n_updates']}: the learning rate of the run "
            f"in {folder} goes down along them"
        )


def check_unmixed(folder: Path) -> None:
    """Raise unless all checkpoints are of one run.

    Raises:
        ValueError: they are of several, with two files that differ and the setting.
    """
    settings = {}
    for path in [*saved_updates(folder / UPDATES).values(), latest_update(folder)]:
        with contextlib.suppress(ValueError, FileNotFoundError):  # damaged ones are told of where they are read
            settings |= {} if path is None else {path: stored_settings(path)}
    if not settings:
        return
    first, expected = next(iter(settings.items()))
    for path, found in settings.items():
        for name in found.keys() - set(MAY_CHANGE):
            if found[name] != expected.get(name, found[name]):
                which = f"{name} is {expected[name]} in {first.name} and {found[name]} in {path.name}"
                if name in DIGESTS:
                    which = f"{first.name} and {path.name} are of different data"
                raise ValueError(f"{folder / UPDATES} mixes two runs: {which}; move the files of one of them away")


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, in their order; a line that was cut short at the end is left out."""
    path = folder / RECORDS
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records
