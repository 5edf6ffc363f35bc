"""`rbm-jax compare`: train by PCD, integrate the learning equations, show both on one clock."""

from pathlib import Path
from typing import Any

import typer

from rbm_jax.cli._common import echo_written, write_figures
from rbm_jax.cli._fields import IMAGES, make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import Out
from rbm_jax.experiments.equation_figures import comparison_figure, comparison_table
from rbm_jax.experiments.equations import ComparisonRecipe, compare
from rbm_jax.io import save_trajectories
from rbm_jax.runs import Source
from rbm_jax.runs.folder import prepare_folder

__all__ = ["COMPARED", "compare_command"]

COMPARED = ("ts", "discrete_values", "continuous_values", "deviation", "departure", "largest_deviation", "largest_at")
"""Of a comparison, for --json."""


@with_json
@with_fields(IMAGES, ComparisonRecipe)
def compare_command(settings: dict[str, Any], out: Out = Path("compare")) -> dict[str, Any]:
    """Training by PCD against the continuous-time learning equations.

    Trains an RBM from small random weights, integrates from the same weights the linear theory, the Gaussian closure,
    the TAP closure and, for up to 12 units in the smaller layer, the exact equations, and writes compare.png and
    compare.h5.

    Example: rbm-jax compare --data digits --n-hidden 64 --out compare
    """
    recipe, dataset = make(ComparisonRecipe, settings), make(Source, settings).load_images()
    folder = prepare_folder(out)
    result = compare(dataset, recipe)
    save_trajectories(folder / "compare.h5", {"training": result.training, **result.theories})
    typer.echo(comparison_table(result))
    files = write_figures({folder / "compare.png": comparison_figure(result)}) + echo_written(folder / "compare.h5")
    return numbers_of(result, "measured_rates", "measured_until") | {
        "growth": numbers_of(result.growth, "rates"),
        "comparisons": {name: numbers_of(each, *COMPARED) for name, each in result.comparisons.items()},
        "files": files,
    }
