"""`rbm-jax likelihood`, and likelihoods along a training, by the best means that the RBM's size allows."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax.cli._common import Run, Seed, collect_warnings, echo_warnings, load_model, load_source
from rbm_jax.cli._datasets import Dataset
from rbm_jax.cli._json import with_json
from rbm_jax.likelihood import ais_log_z, log_likelihood, reverse_ais_log_z
from rbm_jax.model.energies import visible_free_energy
from rbm_jax.model.exact import exact_log_likelihood
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.progress import progress_bar

__all__ = ["likelihood", "log_likelihood_along", "one_by_one", "some_rows"]

ENUMERABLE = 16
"""Largest smaller layer for which the log-likelihood is exact."""
MAX_SAMPLES = 2000
"""Data at which likelihoods along a training are evaluated."""
N_CHAINS, N_TEMPERATURES = 100, 300
"""Of the annealing at each time of a training."""
LOG_Z_FIELDS, LIKELIHOOD_FIELDS = ("value", "std_error", "ess", "lower", "upper"), ("value", "lower", "upper")
"""Of the estimates, for --json."""


@with_json
def likelihood(
    run: Run,
    test: Annotated[str | None, typer.Option(help="Further data, as in rbm-jax train, that were held out.")] = None,
    n_chains: Annotated[int, typer.Option(min=2, help="Annealed chains, there and back.")] = 500,
    n_temperatures: Annotated[int, typer.Option(min=2, help="Temperatures of the annealing, a sweep at each.")] = 2000,
    seed: Seed = 0,
) -> dict[str, Any]:
    """Bound the log-likelihood of a run's data from both sides.

    Log Z is annealed from independent units with the means of the data, which tends to err downward, and back from
    states of replica exchange, which tends to err upward. Small RBMs are enumerated. Sequences count with their
    weights, as in training.

    Example: rbm-jax likelihood run --test test-images.npy
    """
    rbm, _ = load_model(run)
    source = load_source(run)
    dataset = source.load()
    dataset.check_fits(rbm)
    sets = {} if dataset.is_lossy else {"training data": dataset}
    if test is not None:
        sets["test data"] = dataclasses.replace(source, data=test).load()
        sets["test data"].check_fits(rbm, "--test")
    if not sets or sets[list(sets)[-1]].is_lossy:
        raise ValueError("the likelihood is that of whole samples: give data without missing entries with --test")
    estimates, messages = {}, []
    if min(rbm.n_visible, rbm.n_hidden) > ENUMERABLE:
        estimates, messages = _both_ways(rbm, next(iter(sets.values())).samples, n_chains, n_temperatures, seed)
    found = {
        name: log_likelihood(rbm, each.samples, *estimates.values(), sample_weights=each.weights)
        for name, each in sets.items()
    }
    for name, each in estimates.items():
        typer.echo(f"log Z {name}: {each.value:.3f} ± {each.std_error:.3f} (effective {each.ess:.0f} of {n_chains})")
    how = "by enumeration" if not estimates else "both ways"
    for name, each in found.items():
        interval = "" if not estimates else f", between {each.lower:.3f} and {each.upper:.3f}"
        typer.echo(f"log-likelihood of the {name}, {how}: {each.value:.3f}{interval} nats per sample")
    echo_warnings(messages)
    numbers = {"log_z": (estimates, LOG_Z_FIELDS), "log_likelihood": (found, LIKELIHOOD_FIELDS)}
    return {"warnings": messages} | {
        title: {name: {field: getattr(each, field) for field in fields} for name, each in results.items()}
        for title, (results, fields) in numbers.items()
    }


def log_likelihood_along(path: Trajectory, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Log-likelihood per sample in nats at each time, and how it was found."""
    if min(path.rbms.weights.shape[1:]) <= ENUMERABLE:
        return one_by_one(exact_log_likelihood, path, dataset, "log-likelihood"), "exact"
    return one_by_one(_annealed_log_likelihood, path, dataset, "log-likelihood"), "by annealing"


def one_by_one(function: Callable, path: Trajectory, dataset: Dataset, description: str) -> np.ndarray:
    """A function of RBM, data and their weights at each time, with a progress bar."""
    data = jnp.asarray(some_rows(dataset.samples, MAX_SAMPLES))
    weights = None if dataset.weights is None else jnp.asarray(some_rows(dataset.weights, MAX_SAMPLES))
    compiled, values = jax.jit(function), []
    with progress_bar(len(path.ts), description, unit="time") as progress:
        for time in range(len(path.ts)):
            rbm = jax.tree.map(lambda leaf, time=time: leaf[time], path.rbms)
            values.append(np.asarray(compiled(rbm, data, weights)))
            progress(1)
    return np.stack(values)


def some_rows(samples: np.ndarray, most: int) -> np.ndarray:
    """At most so many samples, evenly spaced in the data set."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)]


def _annealed_log_likelihood(rbm: RBM, data, weights) -> jax.Array:
    options = {"data": data, "n_chains": N_CHAINS, "n_temperatures": N_TEMPERATURES}
    log_z = ais_log_z(jax.random.key(0), rbm, **options).value
    return -jnp.average(visible_free_energy(rbm, data), weights=weights) - log_z


def _both_ways(rbm: RBM, samples, n_chains: int, n_temperatures: int, seed: int):
    """Estimates by annealing, and what they warn of."""
    keys = jax.random.split(jax.random.key(seed))
    ways = {"by annealing": ais_log_z, "by annealing back": reverse_ais_log_z}
    estimates = {}
    with collect_warnings() as messages, progress_bar(len(ways), "annealing there and back", unit="way") as progress:
        for key, (name, way) in zip(keys, ways.items(), strict=True):
            estimates[name] = way(key, rbm, data=samples, n_chains=n_chains, n_temperatures=n_temperatures)
            progress(1)
    return estimates, messages
