"""What the commands share besides options: devices, the runs they read, the data and files they name."""

import contextlib
import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any

import typer
from jax.sharding import Mesh

from rbm_jax.plotting import write_figure
from rbm_jax.runs import Dataset, Run
from rbm_jax.sharding import device_mesh, virtual_devices

__all__ = ["echo_written", "make_mesh", "open_run", "other_data", "say_if_completed", "write_figures"]


def open_run(folder: Path, update: int | None = None) -> Run:
    """A run to be read; warns if it is not finished.

    Raises:
        ValueError, OSError: no such run.
    """
    run = Run(folder, update)
    if run.updates and not run.is_finished:
        warnings.warn(
            f"{folder} has {run.n_updates} of {run.recipe.n_updates} updates: it is not finished", stacklevel=2
        )
    return run


def other_data(run: Run, data: str | None, *, name: str = "data", **changed: Any) -> Dataset | None:
    """Other data than the run's, read like these but for the arguments of `Source` that are not None.

    Args:
        run: whose data are others.
        data: where they are; None: there are none.
        name: of the argument that says so.
        **changed: further fields of `Source`.

    Raises:
        ValueError, OSError: no such data, or a change without them, which the run's own data do not take.
    """
    changed = {name: value for name, value in changed.items() if value is not None}
    if data is None:
        if changed:
            raise ValueError(f"{next(iter(changed))} goes with --data: the run's own data are read as in its training")
        return None
    try:
        return dataclasses.replace(run.source, data=data, test=None, **changed).load()
    except (ValueError, OSError) as error:
        raise type(error)(re.sub("^data(?=[: ])", name, str(error))) from error


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


def say_if_completed(dataset: Dataset) -> None:
    """Tell that missing entries are drawn, where there are some."""
    if dataset.is_lossy:
        typer.echo("missing entries are drawn from the RBM, given what was observed")


def write_figures(figures: dict[Path, Any]) -> list[Path]:
    """Write figures by their paths, and say so."""
    for path, figure in figures.items():
        write_figure(path, figure)
    return echo_written(*figures)


def echo_written(*paths: Path) -> list[Path]:
    """Say which files are there now."""
    for path in paths:
        typer.echo(f"wrote {path}")
    return list(paths)
