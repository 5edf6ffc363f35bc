"""`rbm-jax inpaint`: the other half of images, as the RBM imagines it."""

import enum
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax.cli._common import Run, Seed, load_model, load_source, run_chains, write_figure
from rbm_jax.cli._datasets import Source, Threshold, UnitName
from rbm_jax.cli._likelihood import some_rows
from rbm_jax.model.rbm import RBM
from rbm_jax.plotting import figure_style, new_figure, plot_images
from rbm_jax.units import Spin

__all__ = ["Half", "inpaint", "inpaint_halves"]

N_COMPLETIONS = 4


class Half(enum.StrEnum):
    """The part of an image that is left out."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """True at the pixels that are left out, shape (rows × columns,)."""
        rows, columns = np.indices(shape)
        return {
            Half.LEFT: columns < shape[1] // 2,
            Half.RIGHT: columns >= shape[1] // 2,
            Half.TOP: rows < shape[0] // 2,
            Half.BOTTOM: rows >= shape[0] // 2,
        }[self].ravel()


def inpaint(
    run: Run,
    half: Annotated[Half, typer.Option(help="The half to leave out.")] = Half.RIGHT,
    data: Annotated[str | None, typer.Option(help="Images, as in rbm-jax train [default: those of the run].")] = None,
    threshold: Threshold = 0.5,
    n_images: Annotated[int, typer.Option(min=1, help="Images to complete, evenly spaced in the data.")] = 10,
    n_sweeps: Annotated[int, typer.Option(min=1, help="Gibbs sweeps with the known half held fixed.")] = 1000,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="The picture to write [default: inpaint.png in the run].")] = None,
) -> None:
    """Complete half-images by sampling the RBM with the known half held fixed.

    Example: rbm-jax inpaint run --half bottom --out inpaint.png
    """
    rbm, _ = load_model(run)
    units = UnitName.SPIN if rbm.visible_units == Spin() else UnitName.BERNOULLI
    dataset = load_source(run).load() if data is None else Source(data, units, threshold).load()
    dataset.check_fits(rbm)
    if dataset.image_shape is None:
        raise ValueError("--data: the samples must be images, with pixels in rows and columns")
    images = some_rows(dataset.completed(rbm).samples, n_images)
    missing = half.mask(dataset.image_shape)
    completions = inpaint_halves(jax.random.key(seed), rbm, images, missing, n_sweeps)
    path = run / "inpaint.png" if out is None else out
    known = np.where(missing, (images.min() + images.max()) / 2, images)
    labels = ["image", "known half", *[f"completion {number + 1}" for number in range(N_COMPLETIONS)]]
    grid = np.concatenate([images, known, *completions])
    with figure_style():
        figure = new_figure(0.6 * len(images) + 1.3, 3.8)
        plot_images(grid, dataset.image_shape, n_columns=len(images), row_labels=labels, ax=figure.add_subplot())
    write_figure(path, figure)
    typer.echo(f"wrote {path}")


def inpaint_halves(key, rbm: RBM, images, missing: np.ndarray, n_sweeps: int) -> np.ndarray:
    """Completions of the missing pixels, shape (N_COMPLETIONS, n_images, n_visible).

    Chains start from independent random pixels in the missing half.
    """
    key_start, key_run = jax.random.split(key)
    start = np.broadcast_to(images, (N_COMPLETIONS, *images.shape))
    noise = rbm.visible_units.sample(key_start, jnp.broadcast_to(rbm.visible_bias, start.shape))
    return np.asarray(run_chains(key_run, rbm, np.where(missing, noise, start), n_sweeps, clamp_mask=~missing))
