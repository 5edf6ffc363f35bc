"""The log-likelihood of data under a run, from both sides."""

import dataclasses
import warnings

import jax

from rbm_jax._internal.checks import check_count
from rbm_jax.experiments.quality import ENUMERABLE
from rbm_jax.likelihood import LikelihoodEstimate, LogZEstimate, ais_log_z, log_likelihood, reverse_ais_log_z
from rbm_jax.model.rbm import RBM
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset, Run

__all__ = ["BoundsRecipe", "LikelihoodBounds", "bound_likelihood", "bounds_table"]


@dataclasses.dataclass(frozen=True)
class BoundsRecipe:
    """How to anneal.

    Attributes:
        n_chains: annealed chains, there and back.
        n_temperatures: temperatures of the annealing, a sweep at each.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_chains: int = 500
    n_temperatures: int = 2000
    seed: int = 0

    def __post_init__(self):
        for name in ("n_chains", "n_temperatures"):
            check_count(name, getattr(self, name), minimum=2)


@dataclasses.dataclass(frozen=True)
class LikelihoodBounds:
    """Estimates of log Z, and the log-likelihoods with them.

    Attributes:
        log_z: by the way of estimating it; none where the RBM is small enough to be enumerated.
        log_likelihood: by the name of the data, in nats per sample.
        warnings: what the estimates warn of.
    """

    log_z: dict[str, LogZEstimate]
    log_likelihood: dict[str, LikelihoodEstimate]
    warnings: list[str]


def bound_likelihood(
    run: Run,
    recipe: BoundsRecipe = BoundsRecipe(),
    *,
    data: Dataset | None = None,
    test: Dataset | None = None,
) -> LikelihoodBounds:
    """Bound the log-likelihood of a run's data from both sides.

    Log Z is annealed from independent units with the means of the data, which tends to err downward, and back from
    states of replica exchange, which tends to err upward. Small RBMs are enumerated. Sequences count with their
    weights, as in training.

    Args:
        run: whose RBM and data, those it was trained on and those that were held out.
        recipe: how to anneal.
        data: others in the place of the run's.
        test: further data.

    Raises:
        ValueError: no data without missing entries, or data for another RBM.

    Warns:
        UserWarning: estimates that cannot be trusted.
    """
    rbm, sets = run.rbm, _whole_data(run, data, test)
    estimates, messages = {}, []
    if min(rbm.n_visible, rbm.n_hidden) > ENUMERABLE:
        estimates, messages = _both_ways(rbm, next(iter(sets.values())).samples, recipe)
    found = {
        name: log_likelihood(rbm, each.samples, *estimates.values(), sample_weights=each.weights)
        for name, each in sets.items()
    }
    return LikelihoodBounds(estimates, found, messages)


def bounds_table(result: LikelihoodBounds, recipe: BoundsRecipe) -> str:
    """Log Z by each way, and the log-likelihood of each data set."""
    rows = [
        f"log Z {name}: {each.value:.3f} ± {each.std_error:.3f} (effective {each.ess:.0f} of {recipe.n_chains})"
        for name, each in result.log_z.items()
    ]
    how = "both ways" if result.log_z else "by enumeration"
    for name, each in result.log_likelihood.items():
        interval = f", between {each.lower:.3f} and {each.upper:.3f}" if result.log_z else ""
        rows.append(f"log-likelihood of the {name}, {how}: {each.value:.3f}{interval} nats per sample")
    return "\n".join(rows)


def _whole_data(run: Run, data: Dataset | None, test: Dataset | None) -> dict[str, Dataset]:
    """The data sets whose samples are whole, by their names."""
    own = {"training data": run.dataset, "held-out data": run.held_out} if data is None else {"other data": data}
    sets = {name: each for name, each in {**own, "test data": test}.items() if each is not None}
    for name, each in sets.items():
        each.check_fits(run.rbm, "test" if name == "test data" else "data")
    whole = {name: each for name, each in sets.items() if not each.is_lossy}
    if not whole or (test is not None and test.is_lossy):
        raise ValueError("test: the likelihood is that of whole samples, give data without missing entries")
    return whole


def _both_ways(rbm: RBM, samples, recipe: BoundsRecipe) -> tuple[dict[str, LogZEstimate], list[str]]:
    """Estimates by annealing, and what they warn of."""
    keys = jax.random.split(jax.random.key(recipe.seed))
    ways = {"by annealing": ais_log_z, "by annealing back": reverse_ais_log_z}
    options = {"data": samples, "n_chains": recipe.n_chains, "n_temperatures": recipe.n_temperatures}
    with warnings.catch_warnings(record=True) as caught, progress_bar(len(ways), "annealing", unit="way") as progress:
        warnings.simplefilter("always")
        estimates = {}
        for key, (name, way) in zip(keys, ways.items(), strict=True):
            estimates[name] = way(key, rbm, **options)
            progress(1)
    for warning in caught:
        warnings.warn(str(warning.message), warning.category, stacklevel=3)
    return estimates, [str(warning.message) for warning in caught]
