"""`rbm-jax compare-training`: does what an RBM learns depend on how the model's averages are estimated?"""

from pathlib import Path
from typing import Any

import typer

from rbm_jax.cli._common import echo_written, write_figures
from rbm_jax.cli._compare import COMPARED
from rbm_jax.cli._fields import IMAGES, make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import Out
from rbm_jax.experiments.methods import MethodsRecipe, compare_training, methods_table, training_methods_figure
from rbm_jax.io import save_trajectories
from rbm_jax.runs import Source
from rbm_jax.runs.folder import prepare_folder

__all__ = ["compare_training_command"]


@with_json
@with_fields(IMAGES, MethodsRecipe)
def compare_training_command(settings: dict[str, Any], out: Out = Path("compare-training")) -> dict[str, Any]:
    """Training by PCD and by extended mean field of orders 1, 2 and 3, from the same start on the same minibatches.

    PCD runs a second time with other random numbers, to show what difference chance makes. Writes compare-training.png
    and compare-training.h5.

    Example: rbm-jax compare-training --data digits --n-hidden 12
    """
    recipe, dataset = make(MethodsRecipe, settings), make(Source, settings).load_images()
    folder = prepare_folder(out)
    result = compare_training(dataset, recipe)
    path = folder / "compare-training.h5"
    save_trajectories(path, result.trajectories)
    typer.echo(methods_table(result))
    files = write_figures({path.with_suffix(".png"): training_methods_figure(result)}) + echo_written(path)
    return {
        "ts": result.ts,
        "trainings": {name: vars(each) for name, each in result.trainings.items()},
        "comparisons": {name: numbers_of(each, *COMPARED) for name, each in result.comparisons.items()},
        "files": files,
    }
