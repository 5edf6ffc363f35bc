"""`rbm-jax sample`, `inpaint` and `impute`: what the RBM of a run draws, freely or given a part."""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from rbm_jax.cli._common import echo_written, make_mesh, open_run, other_data, say_if_completed, write_figures
from rbm_jax.cli._fields import Some, make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import Devices, OtherData, Picture, RunFolder, Update
from rbm_jax.data import Alignment, states_of, write_fasta
from rbm_jax.experiments.completions import (
    ImputeRecipe,
    InpaintRecipe,
    imputation_figure,
    impute_data,
    inpaint,
    inpainting_figure,
)
from rbm_jax.experiments.samples import SampleRecipe, sample_run
from rbm_jax.io import atomic_write
from rbm_jax.plotting import new_figure, plot_images
from rbm_jax.runs import Run, Source
from rbm_jax.units import Potts

__all__ = ["impute_command", "inpaint_command", "sample"]


@with_json
@with_fields(SampleRecipe)
def sample(
    run: RunFolder,
    settings: dict[str, Any],
    update: Update = None,
    devices: Devices = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an image [default: it is a square].")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write [default: samples.png or samples.fasta in the run].")
    ] = None,
) -> dict[str, Any]:
    """Sample a trained RBM and write a grid of images, or a FASTA file of sequences.

    The chains go on from those of the training, each several times if there are not enough. With --exchange they start
    fresh, and reach every cluster of the data through the RBMs that the training has passed.

    Example: rbm-jax sample run --n-samples 100 --out samples.png
    """
    recipe, mesh = make(SampleRecipe, settings), make_mesh(devices)
    trained = open_run(run, update)
    result, numbers = sample_run(trained, recipe, mesh=mesh), {}
    if result.acceptance is not None:
        numbers = numbers_of(result, "acceptance", "fraction_from_earlier")
        typer.echo(
            f"least acceptance of swaps {np.nanmin(result.acceptance):.2f}; {result.fraction_from_earlier:.0%} of the "
            "states came from earlier RBMs"
        )
    units, n_visible = trained.rbm.visible_units, trained.rbm.n_visible
    if isinstance(units, Potts):
        return numbers | {"files": _write_sequences(out or run / "samples.fasta", trained, result.samples)}
    if rows is None:
        side = math.isqrt(n_visible)
        rows = side if side**2 == n_visible else 1
    if n_visible % rows:
        raise ValueError(f"rows must divide the {n_visible} visible units, got {rows}")
    figure = new_figure(5, 5)
    plot_images(result.samples, (rows, n_visible // rows), ax=figure.add_subplot())
    return numbers | {"files": write_figures({out or run / "samples.png": figure})}


def _write_sequences(path: Path, run: Run, samples) -> list[Path]:
    alphabet = run.settings.get("alphabet")
    if alphabet is None:
        raise ValueError(f"{run.folder} does not say which letters its states are: it was not trained on sequences")
    names = tuple(f"sample {number + 1}" for number in range(len(samples)))
    write_fasta(path, Alignment(states_of(samples, len(alphabet)), names, alphabet))
    return echo_written(path)


@with_json
@with_fields(InpaintRecipe)
def inpaint_command(
    run: RunFolder,
    settings: dict[str, Any],
    data: OtherData = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Of --data: a pixel is on if its intensity is at least this [default: the run's]."),
    ] = None,
    update: Update = None,
    out: Picture = None,
) -> dict[str, Any]:
    """Complete half-images by sampling the RBM with the known half held fixed.

    Example: rbm-jax inpaint run --half bottom --out inpaint.png
    """
    trained = open_run(run, update)
    dataset = other_data(trained, data, threshold=threshold) or trained.dataset
    say_if_completed(dataset)
    result = inpaint(trained.rbm, dataset, make(InpaintRecipe, settings))
    return {"files": write_figures({out or run / "inpaint.png": inpainting_figure(result)})}


@with_json
@with_fields(ImputeRecipe, Some(Source, ("missing",)))
def impute_command(
    run: RunFolder,
    settings: dict[str, Any],
    data: OtherData = None,
    update: Update = None,
    out: Annotated[Path | None, typer.Option(help="The .npz file to write [default: imputed.npz in the run].")] = None,
) -> dict[str, Any]:
    """Complete data with missing entries by sampling the RBM given what was observed.

    Writes the arrays mean, std, std_error and sample, of the data's shape in rows, in the values of the units; and, for
    images, a picture of the first ones beside it. By default missing is what it was in the training.

    Example: rbm-jax impute run --data lossy.npy --missing NaN --out imputed.npz
    """
    path = out or run / "imputed.npz"
    if path.suffix != ".npz":
        raise ValueError(f"--out must be a .npz file, which a picture may be written beside, got {path}")
    trained = open_run(run, update)
    dataset = other_data(trained, data, missing=settings["missing"]) or trained.dataset
    result = impute_data(trained.rbm, dataset, make(ImputeRecipe, settings))
    typer.echo(
        f"{result.n_missing} missing entries in {result.n_samples} samples; their deviation is {result.std:.3g}, the "
        f"error of their mean {result.std_error:.3g} (root mean squares)"
    )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **numbers_of(result.found, "mean", "std", "std_error", "sample"))
    files = echo_written(path)
    if result.image_shape is not None:
        files += write_figures({path.with_suffix(".png"): imputation_figure(result)})
    return numbers_of(result, "n_samples", "n_missing", "std", "std_error") | {"files": files}
