"""`rbm-jax impute`: missing entries as the RBM sees them, with how sure it is."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from rbm_jax.cli._common import Run, Seed, in_chunks, load_model, load_source, write_figure
from rbm_jax.cli._datasets import Missing
from rbm_jax.cli._json import with_json
from rbm_jax.io import atomic_write
from rbm_jax.missing.imputation import Imputation, impute
from rbm_jax.plotting import figure_style, new_figure, plot_images

__all__ = ["draw_imputation", "impute_command"]

CHUNK_ROWS = 500
N_IMAGES = 10


@with_json
def impute_command(
    run: Run,
    data: Annotated[
        str | None, typer.Option(help="Data to complete, as in rbm-jax train [default: the run's].")
    ] = None,
    missing: Missing = None,
    n_sweeps: Annotated[int, typer.Option(min=1, help="Gibbs sweeps that are averaged over.")] = 100,
    n_burn_in: Annotated[int, typer.Option(min=1, help="Gibbs sweeps before.")] = 50,
    n_chains: Annotated[int, typer.Option(min=2, help="Chains for each sample.")] = 4,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The .npz file to write [default: imputed.npz in the run].")] = None,
) -> dict[str, Any]:
    """Complete data with missing entries by sampling the RBM given what was observed.

    Writes the arrays mean, std, std_error and sample, of the data's shape in rows, in the values of the units; and, for
    images, a picture of the first ones beside it. By default missing is what it was in the training.

    Example: rbm-jax impute run --data lossy.npy --missing NaN --out imputed.npz
    """
    path = run / "imputed.npz" if out is None else out
    if path.suffix != ".npz":
        raise ValueError(f"--out must be a .npz file, which a picture may be written beside, got {path}")
    rbm, _ = load_model(run)
    source = load_source(run)
    changed = {name: value for name, value in {"data": data, "missing": missing}.items() if value is not None}
    dataset = dataclasses.replace(source, **changed).load()
    if not dataset.is_lossy:
        raise ValueError("no entry of the data is missing: say what stands for such entries with --missing NaN|VALUE")
    dataset.check_fits(rbm)
    key, parts = jax.random.key(seed), []
    options = {"n_sweeps": n_sweeps, "n_burn_in": n_burn_in, "n_chains": n_chains}
    for rows in in_chunks(len(dataset.samples), CHUNK_ROWS, "imputation", "sample"):
        part = impute(jax.random.fold_in(key, rows.start), rbm, dataset.samples[rows], **options)
        parts.append(jax.tree.map(np.asarray, part))
    found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    numbers = _numbers(dataset.samples, found)
    typer.echo(
        f"{numbers['n_missing']} missing entries in {numbers['n_samples']} samples; their deviation is "
        f"{numbers['std']:.3g}, the error of their mean {numbers['std_error']:.3g} (root mean squares)"
    )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, mean=found.mean, std=found.std, std_error=found.std_error, sample=found.sample)
    typer.echo(f"wrote {path}")
    files = [path]
    if dataset.image_shape is not None:
        picture = path.with_suffix(".png")
        with figure_style():
            figure = new_figure(7, 2.9)
            draw_imputation(dataset.samples, found, dataset.image_shape, figure.add_subplot())
        write_figure(picture, figure)
        typer.echo(f"wrote {picture}")
        files.append(picture)
    return numbers | {"files": files}


def _numbers(observed: np.ndarray, found: Imputation) -> dict[str, Any]:
    """Counts, and root mean squares over the missing entries."""
    missing = np.isnan(observed)
    spread = {name: float(np.sqrt(np.mean(getattr(found, name)[missing] ** 2))) for name in ("std", "std_error")}
    return {"n_samples": len(observed), "n_missing": int(missing.sum()), **spread}


def draw_imputation(observed: np.ndarray, found: Imputation, shape: tuple[int, int], ax: Any) -> None:
    """The first images: what was observed (missing pixels in gray), mean, deviation and a sample."""
    values = np.concatenate([observed, found.sample])
    low, high = np.nanmin(values), np.nanmax(values)
    deviation = low + 2 * np.asarray(found.std)  # at most half the distance of two states
    known = np.where(np.isnan(observed), (low + high) / 2, observed)
    rows = {"observed": known, "mean given it": found.mean, "deviation": deviation, "a sample": found.sample}
    n_images = min(N_IMAGES, len(observed))
    images = np.concatenate([np.asarray(each)[:n_images] for each in rows.values()])
    plot_images(images, shape, n_columns=n_images, row_labels=list(rows), ax=ax)
