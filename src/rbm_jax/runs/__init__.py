"""A training in a folder: a recipe and data in; saved updates, records and what the run knows of itself out.

The folder holds `updates/`, a checkpoint for each saved update, `records.jsonl`, numbers of the training as it goes,
and in the end `rbm.h5`. One process writes to it at a time. A run that was killed goes on to the same bits.
"""

from rbm_jax.runs.recipe import Method, MetricName, OptimizerName, Recipe, ScheduleName
from rbm_jax.runs.run import Run
from rbm_jax.runs.sources import Dataset, Source, UnitName
from rbm_jax.runs.training import train_run

__all__ = [
    "Dataset",
    "Method",
    "MetricName",
    "OptimizerName",
    "Recipe",
    "Run",
    "ScheduleName",
    "Source",
    "UnitName",
    "train_run",
]
