"""What the commands share: their options, the data they read and the folders they write."""

import contextlib
import dataclasses
import enum
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jax.sharding import Mesh

from rbm_jax.checkpoint import latest_checkpoint, load_config, load_rbm, load_trajectory
from rbm_jax.data import binarize, intensities, load_array, load_digits, load_idx
from rbm_jax.estimators import cd, emf, exact, pcd, ptt
from rbm_jax.rbm import RBM
from rbm_jax.sharding import device_mesh, virtual_devices
from rbm_jax.trajectory import Trajectory
from rbm_jax.units import AbstractUnits, Bernoulli, Spin

__all__ = [
    "MODEL",
    "UPDATES",
    "BatchSize",
    "Data",
    "Dataset",
    "Devices",
    "LearningRate",
    "Method",
    "NChains",
    "NHidden",
    "NSteps",
    "Order",
    "Out",
    "Run",
    "Seed",
    "Source",
    "Threshold",
    "UnitName",
    "Units",
    "collect_warnings",
    "echo_warnings",
    "from_settings",
    "latest_update",
    "load_dataset",
    "load_model",
    "load_source",
    "load_training",
    "make_estimator",
    "make_mesh",
    "prepare_folder",
    "run_settings",
]

MODEL, UPDATES = "rbm.h5", "updates"
"""Of a run: the trained RBM with its chains, and the folder with a checkpoint for each saved update."""

_ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".hdf")


class UnitName(enum.StrEnum):
    """Unit types that binary data can be given to."""

    BERNOULLI = "bernoulli"
    SPIN = "spin"


class Method(enum.StrEnum):
    """Estimators of the gradient."""

    PCD = "pcd"
    CD = "cd"
    PTT = "ptt"
    EMF = "emf"
    EXACT = "exact"


_DATA_HELP = (
    "'digits' (scikit-learn's 8x8 images), an IDX file or a folder with MNIST's train-images file, or a .npy, .npz or "
    "HDF5 file of images in [0, 1] or uint8, one a row."
)
Data = Annotated[str, typer.Option(help=_DATA_HELP)]
Threshold = Annotated[float, typer.Option(help="A pixel is on if its intensity in [0, 1] is at least this.")]
Units = Annotated[UnitName, typer.Option(help="Units of both layers: 0/1 or -1/+1.")]
NHidden = Annotated[int, typer.Option(min=1, help="Hidden units.")]
NChains = Annotated[int, typer.Option(min=1, help="Persistent Markov chains.")]
NSteps = Annotated[int, typer.Option(min=1, help="Sweeps, Gibbs or mean-field, in each update.")]
Order = Annotated[int, typer.Option(min=1, max=3, help="Order of mean field: 1 naive, 2 TAP, 3.")]
LearningRate = Annotated[float, typer.Option(help="Learning rate of plain SGD; time is learning rate x updates.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Rows of a minibatch [default: all data, at most 2000].")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")]
Devices = Annotated[
    int | None,
    typer.Option(min=1, help="Devices to divide the work among; a CPU is split into so many [default: one device]."),
]
Out = Annotated[Path, typer.Option(help="Folder to write to; made if it is not there.")]
Run = Annotated[Path, typer.Argument(help="Folder that rbm-jax train wrote.")]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Binary data in the values of its units, one sample a row."""

    samples: np.ndarray
    image_shape: tuple[int, int] | None
    units: AbstractUnits

    def batch_size(self, wanted: int | None) -> int | None:
        """The minibatch asked for; by default all data where that is cheap."""
        if wanted is None and len(self.samples) > 2000:
            return 2000
        return wanted


def load_dataset(source: str, units: UnitName, threshold: float) -> Dataset:
    """Read what `--data` names, and make it binary.

    Raises:
        ValueError, OSError: nothing there, or nothing that can be used.
    """
    images = load_digits() if source == "digits" else _load_path(Path(source))
    shape = images.shape[1:] if images.ndim == 3 else _square(images[0].size)
    binary = binarize(intensities(images), threshold=threshold)
    if (binary == binary[0]).all():
        raise ValueError("--data: no pixel varies over the samples; check the range of the values and --threshold")
    if units == UnitName.SPIN:
        return Dataset(2 * binary.astype(np.int8) - 1, shape, Spin())
    return Dataset(binary, shape, Bernoulli())


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a run's data came from, so that a later command can read them again."""

    data: str
    units: UnitName
    threshold: float

    def settings(self) -> dict[str, Any]:
        """The fields, to be remembered; a path is made absolute."""
        data = self.data if self.data == "digits" else str(Path(self.data).resolve())
        return dataclasses.asdict(self) | {"data": data}

    def load(self) -> Dataset:
        """The data set.

        Raises:
            ValueError, OSError: as `load_dataset`.
        """
        return load_dataset(self.data, self.units, self.threshold)


def from_settings(kind: type, settings: dict[str, Any]) -> Any:
    """A dataclass, such as `Source`, from the settings that a run remembers.

    Raises:
        ValueError: settings that do not fit, of another version.
    """
    given = {field.name: field for field in dataclasses.fields(kind) if field.name in settings}
    try:
        # Names are plain strings in a file.
        return kind(
            **{
                name: field.type(settings[name]) if isinstance(field.type, type) else settings[name]
                for name, field in given.items()
            }
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"this version cannot read the settings of the run: {error}") from error


def latest_update(run: Path) -> Path | None:
    """The latest checkpoint of a run that is whole, if there is one; warns of others.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"there is no run folder {run}; rbm-jax train makes one")
    with collect_warnings() as messages:
        path = latest_checkpoint(run / UPDATES)
    echo_warnings(messages)
    return path


def run_settings(run: Path) -> dict[str, Any]:
    """The settings of a run: fields of `Source` and `Recipe`, and what else it must agree in to be continued.

    Raises:
        ValueError, OSError: no such run.
    """
    path = latest_update(run)
    if path is None:
        raise FileNotFoundError(f"there are no saved updates in {run / UPDATES}; rbm-jax train writes them")
    return load_config(path)


def load_source(run: Path) -> Source:
    """Where the data of a run came from.

    Raises:
        ValueError, OSError: no such run.
    """
    return from_settings(Source, run_settings(run))


def load_model(run: Path) -> tuple[RBM, Any]:
    """The RBM of a run as it is by now, and its chains; of a folder without checkpoints, those in its file rbm.h5.

    Raises:
        ValueError, OSError: no such run.
    """
    return load_rbm(latest_update(run) or run / MODEL)


def load_training(run: Path, updates: Sequence[int] | None = None) -> Trajectory:
    """The trajectory of a run, or a part of it; warns of files that are damaged.

    Raises:
        ValueError, OSError: no such run.
    """
    run_settings(run)
    with collect_warnings() as messages:
        training = load_trajectory(run / UPDATES, updates=updates)
    echo_warnings(messages)
    return training


def make_mesh(n_devices: int | None) -> Mesh | None:
    """The devices of `--devices`, as virtual ones if JAX has not started yet and runs on a CPU; None: not asked for.

    Raises:
        ValueError: fewer devices than that.
    """
    if n_devices is None:
        return None
    with contextlib.suppress(RuntimeError):  # too late to split the CPU: what there is may be enough
        virtual_devices(n_devices)
    try:
        return device_mesh(n_devices)
    except ValueError as error:
        raise ValueError(f"--devices: {error}") from error


@contextlib.contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Keep the messages of warnings in a list, for `echo_warnings`."""
    messages = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages.extend(str(warning.message) for warning in caught)


def echo_warnings(messages: list[str]) -> None:
    """Show them on standard error."""
    for message in messages:
        typer.echo(f"rbm-jax: warning: {message}", err=True)


def make_estimator(method: Method, n_steps: int, order: int) -> Callable:
    """The estimator of a method, with the centered gradient."""
    return {
        Method.PCD: functools.partial(pcd, n_steps=n_steps, centered=True),
        Method.PTT: functools.partial(ptt, n_steps=n_steps, centered=True),
        Method.CD: functools.partial(cd, n_steps=n_steps, centered=True),
        Method.EMF: functools.partial(emf, n_steps=n_steps, order=order, centered=True),
        Method.EXACT: functools.partial(exact, centered=True),
    }[method]


def prepare_folder(path: Path) -> Path:
    """Make the folder, and try it before any long work: an OSError comes now or not at all."""
    path.mkdir(parents=True, exist_ok=True)
    probe = path / ".writable"
    probe.touch()
    probe.unlink()
    return path


def _load_path(path: Path) -> np.ndarray:
    if path.is_dir():
        found = sorted(path.glob("train-images*"))
        if not found:
            raise ValueError(f"--data: the folder {path} has no train-images file of MNIST's format")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"--data: there is no file or folder {path}; 'digits' needs no file")
    images = load_array(path) if path.suffix.lower() in _ARRAY_SUFFIXES else load_idx(path)
    if images.ndim < 2 or images.size == 0:
        raise ValueError(f"--data: {path} holds no images, its shape is {images.shape}")
    return images


def _square(n_pixels: int) -> tuple[int, int] | None:
    side = math.isqrt(n_pixels)
    return (side, side) if side**2 == n_pixels else None
