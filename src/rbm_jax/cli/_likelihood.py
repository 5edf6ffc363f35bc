"""`rbm-jax likelihood`: the log-likelihood of data under a run, from both sides."""

from typing import Annotated, Any

import typer

from rbm_jax.cli._common import open_run, other_data
from rbm_jax.cli._fields import make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import OtherData, RunFolder, Update
from rbm_jax.experiments.bounds import BoundsRecipe, bound_likelihood, bounds_table

__all__ = ["likelihood"]


@with_json
@with_fields(BoundsRecipe)
def likelihood(
    run: RunFolder,
    settings: dict[str, Any],
    data: OtherData = None,
    test: Annotated[str | None, typer.Option(help="Further data, as in rbm-jax train, that were held out.")] = None,
    update: Update = None,
) -> dict[str, Any]:
    """Bound the log-likelihood of a run's data from both sides.

    Log Z is annealed from independent units with the means of the data, which tends to err downward, and back from
    states of replica exchange, which tends to err upward. Small RBMs are enumerated. Sequences count with their
    weights, as in training.

    Example: rbm-jax likelihood run --test test-images.npy
    """
    recipe, trained = make(BoundsRecipe, settings), open_run(run, update)
    further = {"data": other_data(trained, data), "test": other_data(trained, test, name="test")}
    result = bound_likelihood(trained, recipe, **further)
    typer.echo(bounds_table(result, recipe))
    return {
        "warnings": result.warnings,
        "log_z": {
            name: numbers_of(each, "value", "std_error", "ess", "lower", "upper") for name, each in result.log_z.items()
        },
        "log_likelihood": {
            name: numbers_of(each, "value", "lower", "upper") for name, each in result.log_likelihood.items()
        },
    }
