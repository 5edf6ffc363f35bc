"""`rbm-jax fixed-points`: the fixed points of a trained RBM as clusters of its data, and how they came about."""

from typing import Any

import numpy as np
import typer

from rbm_jax.cli._common import echo_written, open_run, other_data, write_figures
from rbm_jax.cli._fields import make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import OtherData, Picture, RunFolder, Update
from rbm_jax.experiments.clusters import (
    FixedPointsRecipe,
    fixed_points,
    fixed_points_arrays,
    fixed_points_figure,
    fixed_points_table,
)
from rbm_jax.io import atomic_write

__all__ = ["fixed_points_command"]

NUMBERS = (
    "ts",
    "singular_value",
    "n_points",
    "n_points_in_tree",
    "largest_basin",
    "n_not_converged",
    "sizes",
    "free_energy",
    "merge_distance",
)
"""Of the result, for --json."""


@with_json
@with_fields(FixedPointsRecipe)
def fixed_points_command(
    run: RunFolder, settings: dict[str, Any], data: OtherData = None, update: Update = None, out: Picture = None
) -> dict[str, Any]:
    """Mean-field fixed points of a run: clusters of its data, their number along training, how they split.

    Writes the picture and, beside it, an .npz file with centroids, free energies, labels and counts.

    Example: rbm-jax fixed-points run
    """
    path = out or run / "fixed-points.png"
    if path.suffix == ".npz":
        raise ValueError(f"--out is the picture, and its .npz file goes beside it: give another suffix than {path} has")
    recipe, trained = make(FixedPointsRecipe, settings), open_run(run, update)
    result = fixed_points(trained, recipe, data=other_data(trained, data))
    typer.echo(fixed_points_table(result))
    files = write_figures({path: fixed_points_figure(result)})
    with atomic_write(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, **fixed_points_arrays(result))
    return numbers_of(result, *NUMBERS) | {"files": files + echo_written(path.with_suffix(".npz"))}
