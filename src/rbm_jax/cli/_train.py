"""`rbm-jax train`: make a run, or go on with one."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from rbm_jax._internal.checks import check_positive
from rbm_jax.cli._common import echo_written, make_mesh
from rbm_jax.cli._fields import given_options, make, with_fields
from rbm_jax.cli._json import with_json
from rbm_jax.cli._options import Devices, Out
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Recipe, Run, Source, train_run
from rbm_jax.runs.folder import MODEL, UPDATES
from rbm_jax.runs.recipe import load_toml, to_toml
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.training import TrainState

__all__ = ["train"]


@with_json
@with_fields(Source, Recipe)
def train(
    context: typer.Context,
    settings: dict[str, Any],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="A file of settings, by the names of the options with _ for -; options given here go before it.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as such a file, and end.")
    ] = False,
    save_every: Annotated[
        float, typer.Option(help="Minutes of training that may be lost where the process is killed.")
    ] = 5.0,
    devices: Devices = None,
    out: Out = Path("run"),
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of a run to go on with, by its own options.")
    ] = None,
) -> dict[str, Any]:
    """Train an RBM by SGD and write it, its chains and its trajectory.

    With --missing it learns from what was observed, and nothing is filled in. Aligned sequences train Potts units;
    duplicates are left out, and similar ones share their weight.

    The same command on the same folder, or --resume, goes on with what an interruption left, to the same bits. A larger
    --n-updates goes on with a finished run.

    Example: rbm-jax train --data digits --n-hidden 64 --out run
    """
    given = given_options(context)
    if resume is not None:
        if "out" in given:
            raise ValueError("--resume writes into the folder of the run: leave --out away")
        out, stored = resume, Run(resume).settings
        devices = devices if "devices" in given or stored["devices"] == 1 else stored["devices"]
        settings = stored | {name: settings[name] for name in given & set(settings)}
    if config is not None:
        settings = settings | {name: value for name, value in _settings_in(config).items() if name not in given}
    source, recipe = make(Source, settings), make(Recipe, settings)
    if print_config:
        typer.echo(to_toml(source.settings() | recipe.settings()), nl=False)
        return {"settings": source.settings() | recipe.settings()}
    state = _train(out, source, recipe, devices, 60 * check_positive("save_every", save_every))
    if state.n_rejected:
        typer.echo(f"{int(state.n_rejected)} of {int(state.step)} updates were rejected: the chains could not follow")
    values, temperature = svd_modes(state.rbm.weights).values, float(effective_temperature(state.rbm.weights))
    leading = ", ".join(f"{value:.3g}" for value in values[:5])
    typer.echo(f"leading singular values {leading}; effective temperature {temperature:.3g}")
    return {
        "n_updates": int(state.step),
        "time": float(Run(out).records[-1]["time"]),
        "singular_values": values,
        "effective_temperature": temperature,
        "n_rejected": int(state.n_rejected),
        "files": echo_written(out / MODEL, out / UPDATES),
    }


def _train(out: Path, source: Source, recipe: Recipe, devices: int | None, save_every: float) -> TrainState:
    mesh = make_mesh(devices)
    with progress_bar(recipe.n_updates, recipe.method.value.upper()) as progress:

        def report(record):
            progress.show({"w": record["singular_values"][0], "F": record["free_energy"].get("training", math.nan)})

        def follow(n_done):
            if progress.is_new:  # the first call has the updates that an earlier training did
                _say_how_it_goes_on(out, n_done, recipe.n_updates)
            progress(n_done)

        return train_run(out, source, recipe, progress=follow, report=report, mesh=mesh, save_every=save_every)


def _settings_in(path: Path) -> dict[str, Any]:
    """Settings of a TOML file, all of which there are."""
    found, known = load_toml(path), {field.name for kind in (Source, Recipe) for field in dataclasses.fields(kind)}
    if unknown := sorted(found.keys() - known):
        raise ValueError(
            f"--config: {path} has {unknown[0]}, which is no setting; there are {', '.join(sorted(known))}"
        )
    return found


def _say_how_it_goes_on(out: Path, done: int, n_updates: int) -> None:
    if done and n_updates == done:
        typer.echo(f"{out} is finished, with {done} updates; a larger --n-updates goes on")
    elif done:
        typer.echo(f"{out} has {done} of {n_updates} updates: going on from there")
