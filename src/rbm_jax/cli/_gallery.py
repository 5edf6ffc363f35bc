"""`rbm-jax figures`: every figure of the theory, from trainings done on the spot."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from rbm_jax.cli._common import echo_written
from rbm_jax.cli._fields import IMAGES, Some, make, with_fields
from rbm_jax.cli._json import with_json
from rbm_jax.cli._options import Out
from rbm_jax.experiments.gallery import FIGURES, GalleryRecipe, draw_gallery
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Recipe, Source

__all__ = ["figures"]


def _complete_name(incomplete: str) -> Iterable[str]:
    return (name for name in FIGURES if name.startswith(incomplete))


Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", autocompletion=_complete_name, help="Make this figure alone; can be given several times."
    ),
]


@with_json
@with_fields(IMAGES, Some(Recipe, ("n_updates", "seed")))
def figures(settings: dict[str, Any], only: Only = None, out: Out = Path("figures")) -> dict[str, Any]:
    """Every figure of the theory beside simulation, as PNG files in a folder; up to ten minutes.

    A page in the folder, index.html, shows them and says what to see in each. The main training stays in the folder,
    too, and is not done again.

    Example: rbm-jax figures --out figures
    """
    recipe = GalleryRecipe()
    training = dataclasses.replace(recipe.training, n_updates=settings["n_updates"])
    recipe = dataclasses.replace(recipe, training=training).with_seed(settings["seed"])
    drawn = draw_gallery(out, make(Source, settings), recipe, only=only)
    files = []
    with progress_bar(len(only or FIGURES), "figures", unit="figure") as progress:
        for path, table in drawn:
            if table is not None:
                typer.echo(table)
            files += echo_written(path)
            progress(1)
    return {"files": files + echo_written(out / "index.html")}
