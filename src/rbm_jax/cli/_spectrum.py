"""`rbm-jax spectrum`: a training on the singular value decomposition of its weights, in pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rbm_jax.cli._common import open_run, other_data, say_if_completed, write_figures
from rbm_jax.cli._fields import Some, given_options, make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import Update
from rbm_jax.experiments.spectrum_figures import draw_spectrum
from rbm_jax.experiments.training_spectrum import spectrum, spectrum_table
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Recipe, Source, train_run

__all__ = ["spectrum_command"]


@with_json
@with_fields(Some(Source, ("units", "threshold")), Some(Recipe, ("n_hidden", "n_updates", "seed")))
def spectrum_command(
    context: typer.Context,
    settings: dict[str, Any],
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder that rbm-jax train wrote.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Without RUN: train on these data. With it: other data than the run's.")
    ] = None,
    n_modes: Annotated[int, typer.Option(min=1, help="Leading modes to color and print.")] = 10,
    update: Update = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pictures [default: spectrum in the run], or of run and pictures.")
    ] = None,
) -> dict[str, Any]:
    """Singular values and vectors along a training, and how they move: seven pictures and a table.

    Of a run that train wrote, or, with --data, of a training done on the spot and kept in the folder --out.

    Example: rbm-jax spectrum run --n-modes 10
    """
    if run is None and data is None:
        raise ValueError("give the folder of a run, or --data to train on")
    if run is not None and (unused := sorted(given_options(context) & settings.keys())):
        raise ValueError(f"{unused[0]} goes with a training on --data, without RUN")
    if run is None:
        run, out = out or Path("run"), None
        recipe = make(Recipe, settings)
        with progress_bar(recipe.n_updates, "PCD") as progress:
            train_run(run, make(Source, settings | {"data": data}), recipe, progress=progress)
        data = None
    trained = open_run(run, update)
    dataset = other_data(trained, data) or trained.dataset
    say_if_completed(dataset)
    result = spectrum(trained.trajectory, dataset, n_modes)
    typer.echo(spectrum_table(result))
    folder = out or run / "spectrum"
    folder.mkdir(parents=True, exist_ok=True)
    files = write_figures({folder / f"{name}.png": figure for name, figure in draw_spectrum(result).items()})
    numbers = ("ts", "effective_temperature", "log_likelihood", "log_likelihood_by", "n_outliers", "singular_values")
    return numbers_of(result, *numbers) | {"files": files}
