"""What the commands share: their options, the data they read and the folders they write."""

import contextlib
import dataclasses
import enum
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from jax.sharding import Mesh

from rbm_jax.cli._datasets import Source
from rbm_jax.io import atomic_write, latest_checkpoint, load_config, load_rbm, load_trajectory
from rbm_jax.missing import ClampedEnumeration, ClampedGibbs, ClampedMeanField, Complete
from rbm_jax.model import RBM, Centered
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.progress import progress_bar
from rbm_jax.sampling import sample_gibbs
from rbm_jax.sharding import device_mesh, virtual_devices
from rbm_jax.training import CD, EMF, PCD, PTT, AbstractEstimator, Exact

__all__ = [
    "MODEL",
    "UPDATES",
    "BatchSize",
    "Devices",
    "LearningRate",
    "Method",
    "Modes",
    "NChains",
    "NHidden",
    "NSweeps",
    "Order",
    "Out",
    "Run",
    "Seed",
    "collect_warnings",
    "echo_warnings",
    "from_settings",
    "in_chunks",
    "latest_update",
    "load_model",
    "load_source",
    "load_training",
    "make_estimator",
    "make_mesh",
    "prepare_folder",
    "run_chains",
    "run_settings",
    "write_figure",
]

SWEEPS_OF_A_CHUNK = 100
"""Between looks at the progress bar, and at the keyboard."""
MODEL, UPDATES = "rbm.h5", "updates"
"""Of a run: the trained RBM with its chains, and the folder with a checkpoint for each saved update."""


class Method(enum.StrEnum):
    """Estimators of the gradient."""

    PCD = "pcd"
    CD = "cd"
    PTT = "ptt"
    EMF = "emf"
    EXACT = "exact"


NHidden = Annotated[int, typer.Option(min=1, help="Hidden units.")]
NChains = Annotated[int, typer.Option(min=1, help="Persistent Markov chains.")]
NSweeps = Annotated[int, typer.Option(min=1, help="Sweeps, Gibbs or mean-field, in each update.")]
Order = Annotated[int, typer.Option(min=1, max=3, help="Order of mean field: 1 naive, 2 TAP, 3.")]
LearningRate = Annotated[float, typer.Option(help="Learning rate of plain SGD; time is learning rate x updates.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Rows of a minibatch [default: all data, at most 2000].")]
Modes = Annotated[int, typer.Option(min=1, help="Leading modes to compare.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of all random numbers.")]
Devices = Annotated[
    int | None,
    typer.Option(min=1, help="Devices to divide the work among; a CPU is split into so many [default: one device]."),
]
Out = Annotated[Path, typer.Option(help="Folder to write to; made if it is not there.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that rbm-jax train wrote.")]


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


def in_chunks(total: int, size: int, description: str, unit: str) -> Iterator[slice]:
    """The parts of long work one by one, with a progress bar; each must be done when the next one is asked for."""
    with progress_bar(total, description, unit=unit) as progress:
        for start in range(0, total, size):
            part = slice(start, min(start + size, total))
            yield part
            progress(part.stop - part.start)


def run_chains(key, rbm: RBM, chains, n_sweeps: int, **options: Any) -> jax.Array:
    """States of Gibbs chains after n_sweeps sweeps, with a progress bar; options are those of `sample_gibbs`."""
    for steps in in_chunks(n_sweeps, SWEEPS_OF_A_CHUNK, "sampling", "sweep"):
        key_part = jax.random.fold_in(key, steps.start)
        chains = sample_gibbs(key_part, rbm, chains, n_sweeps=steps.stop - steps.start, **options)
        jax.block_until_ready(chains)
    return chains


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


def make_estimator(
    method: Method, n_sweeps: int, order: int, *, n_rungs: int = 12, is_lossy: bool = False
) -> AbstractEstimator:
    """The estimator of a method, with the centered gradient; for data with missing entries with its own data term."""
    sweeps: dict[str, Any] = {"n_sweeps": n_sweeps}
    kind, options, term = {
        Method.PCD: (PCD, sweeps, ClampedGibbs()),
        Method.PTT: (PTT, sweeps | {"n_rungs": n_rungs}, ClampedGibbs()),
        Method.CD: (CD, sweeps, ClampedGibbs()),
        Method.EMF: (EMF, sweeps | {"order": order}, ClampedMeanField(order)),
        Method.EXACT: (Exact, {}, ClampedEnumeration()),
    }[method]
    return kind(**options, metric=Centered(), data_term=term if is_lossy else Complete())


def write_figure(path: Path, figure: Any) -> None:
    """Write a matplotlib figure as a PNG file, whatever the file's name says."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=200, format="png")


def prepare_folder(path: Path) -> Path:
    """Make the folder, and try it before any long work: an OSError comes now or not at all."""
    path.mkdir(parents=True, exist_ok=True)
    probe = path / ".writable"
    probe.touch()
    probe.unlink()
    return path
