"""Samples of a run: from its chains, or by replica exchange along its training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.typing import Array
from rbm_jax.model.rbm import RBM
from rbm_jax.progress import in_chunks
from rbm_jax.runs import Run
from rbm_jax.sampling import init_chains, init_tempering, sample_gibbs, sample_tempering
from rbm_jax.sharding import check_even, divide, replicate

__all__ = ["SampleRecipe", "Samples", "run_chains", "sample_run"]

SWEEPS_OF_A_CHUNK = 100
"""Between looks at the progress bar, and at the keyboard."""
N_EXCHANGING = 20
"""RBMs along a training between which sampling exchanges states."""


@dataclasses.dataclass(frozen=True)
class SampleRecipe:
    """How to sample.

    Attributes:
        n_samples: samples to draw, one chain each.
        n_sweeps: Gibbs sweeps of each chain.
        exchange: exchange states with RBMs along the training.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_samples: int = 100
    n_sweeps: int = 1000
    exchange: bool = False
    seed: int = 0

    def __post_init__(self):
        check_count("n_samples", self.n_samples)
        check_count("n_sweeps", self.n_sweeps, minimum=1 if self.exchange else 0)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of an RBM.

    Attributes:
        samples: configurations of the visible layer, shape (n_samples, n_visible).
        acceptance: of swaps between neighbors along the training, shape (n_rungs - 1,); None without exchange.
        fraction_from_earlier: of the states that came from earlier RBMs; None without exchange.
    """

    samples: Array
    acceptance: np.ndarray | None = None
    fraction_from_earlier: float | None = None


def sample_run(run: Run, recipe: SampleRecipe = SampleRecipe(), *, mesh: Mesh | None = None) -> Samples:
    """Sample the RBM of a run.

    The chains go on from those of the training, each several times if there are not enough. With exchange they start
    fresh, and reach every cluster of the data through the RBMs that the training has passed.

    Args:
        run: whose RBM; with exchange also those of its earlier updates.
        recipe: how to sample.
        mesh: devices to divide the chains among; not with exchange.

    Raises:
        ValueError: chains that the devices cannot share evenly.
    """
    key = jax.random.key(recipe.seed)
    if recipe.exchange:
        if mesh is not None:
            raise ValueError("exchange must be off where the chains are divided among devices")
        return _along_training(key, run, recipe)
    key_start, key_run = jax.random.split(key)
    rbm, chains, n_samples = run.rbm, run.chains, recipe.n_samples
    if chains is None:
        chains = init_chains(key_start, rbm, n_samples)
    elif len(chains) < n_samples:
        chains = chains[jax.random.randint(key_start, (n_samples,), 0, len(chains))]
    chains = chains[:n_samples]
    if mesh is not None:
        check_even("n_samples", n_samples, mesh)
        rbm, chains = replicate(rbm, mesh), divide(chains, mesh)
    return Samples(run_chains(key_run, rbm, chains, recipe.n_sweeps))


def run_chains(
    key, rbm: RBM, chains: Array | np.ndarray, n_sweeps: int, *, clamp_mask: np.ndarray | None = None
) -> Array:
    """States of Gibbs chains after n_sweeps sweeps, with a progress bar.

    Args:
        key: a JAX key.
        rbm: the RBM.
        chains: states to start from, shape (..., n_visible).
        n_sweeps: sweeps.
        clamp_mask: True at the units that are held fixed, shape (n_visible,).
    """
    for steps in in_chunks(n_sweeps, SWEEPS_OF_A_CHUNK, "sampling", "sweep"):
        key_part = jax.random.fold_in(key, steps.start)
        chains = sample_gibbs(key_part, rbm, chains, n_sweeps=steps.stop - steps.start, clamp_mask=clamp_mask)
        jax.block_until_ready(chains)
    return jnp.asarray(chains)


def _along_training(key, run: Run, recipe: SampleRecipe) -> Samples:
    """States of the last RBM from replica exchange along the saved ones."""
    key_start, key_run = jax.random.split(key)
    updates = run.updates_passed
    rungs = np.unique(np.linspace(0, len(updates) - 1, N_EXCHANGING).astype(int))
    ladder = run.trajectory_of([updates[rung] for rung in rungs]).rbms
    state = init_tempering(key_start, ladder, recipe.n_samples)
    acceptances = []
    for steps in in_chunks(recipe.n_sweeps, SWEEPS_OF_A_CHUNK, "replica exchange", "step"):
        state, info = sample_tempering(key_run, ladder, state, n_steps=steps.stop - steps.start)
        acceptances.append(np.asarray(info.acceptance))
    acceptance = np.asarray(jnp.nanmean(jnp.stack(acceptances), axis=0))
    moved = float((state.origin[-1] != len(rungs) - 1).mean())
    return Samples(state.chains[-1], acceptance, moved)
