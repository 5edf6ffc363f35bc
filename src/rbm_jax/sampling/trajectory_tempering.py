"""Trajectory tempering in training: replica exchange along the RBMs that a training has passed.

The rungs are RBMs of earlier updates, frozen one by one as the training goes on, and the one that is being trained. A
new rung is frozen when states have become unlikely to be exchanged with the last one.
Source: Béreux, Decelle, Furtlehner, Rosset & Seoane (2024), arXiv:2405.15376.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count, is_concrete
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, Bool, Chains, Float, FloatLike, Int, PRNGKey
from rbm_jax.model.energies import check_rbm
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling.tempering import TemperingState, as_reservoir, init_tempering, tempering_step

__all__ = ["TrajectoryChains", "init_trajectory_chains", "live_rungs", "live_states", "trajectory_step"]


class TrajectoryChains(eqx.Module):
    """Chains on a ladder that grows with a training.

    The shapes are those of a full ladder from the start. Rungs that are not frozen yet are further copies of the RBM
    in training: their chains count as samples of it, so nothing is idle.

    Attributes:
        ladder: the frozen RBMs, stacked, on the first `n_frozen` rungs; what stands behind them is not used.
        previous: the RBM of the step before, which is frozen when the current one has moved on too far.
        tempering: chains on every rung.
        acceptance: probability of a swap between each rung and the next, as a running mean, shape (n_rungs - 1,).
        n_frozen: rungs that are frozen, an int32 scalar.
        reservoir: equilibrium states of the first rung, or None: see `tempering_step`.
    """

    ladder: RBM
    previous: RBM
    tempering: TemperingState
    acceptance: Float[Array, "*runs n_pairs"]
    n_frozen: Int[Array, "*runs"]
    reservoir: Float[Array, "*runs n_states n_visible"] | None = None


def init_trajectory_chains(
    key: PRNGKey, rbm: RBM, n_chains: int, *, n_rungs: int = 12, reservoir: Chains | None = None
) -> TrajectoryChains:
    """A ladder whose first rung is the RBM at the start of a training.

    Args:
        key: a JAX key.
        rbm: where training starts. It should mix fast, as weights near zero do; else give a reservoir.
        n_chains: chains on each rung.
        n_rungs: of the full ladder, the RBM in training included. When it is full, the frozen rung that its neighbors
            need least gives its place.
        reservoir: equilibrium states of that RBM, shape (n_states, n_visible), from which its chains are drawn.

    Raises:
        ValueError: counts that are too small, states that do not fit, or an RBM with NaN.
    """
    n_rungs = check_count("n_rungs", n_rungs, minimum=3)
    check_rbm(rbm)
    reservoir = as_reservoir(reservoir, rbm)
    ladder = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n_rungs, *leaf.shape)), rbm)
    tempering = init_tempering(stream_key(key, Stream.TRAJECTORY_CHAINS), ladder, n_chains)
    acceptance = jnp.ones(n_rungs - 1, rbm.dtype)
    return TrajectoryChains(ladder, rbm, tempering, acceptance, jnp.ones((), jnp.int32), reservoir)


def trajectory_step(
    key: PRNGKey, rbm: RBM, chains: TrajectoryChains, *, n_sweeps: int = 1, floor: FloatLike = 0.3
) -> TrajectoryChains:
    """Replica exchange on the frozen rungs and the current RBM; then a rung is frozen, if it is time.

    Args:
        key: the key of the run, the same at every step.
        rbm: the RBM in training, at this update.
        chains: from `init_trajectory_chains` or the step before.
        n_sweeps: Gibbs sweeps before the swaps.
        floor: acceptance between the last frozen rung and the current RBM below which the RBM of the step before is
            frozen. Each pair is looked at in every second step. A full ladder has to give up a rung for it, and then
            neighbors exchange more rarely.

    Raises:
        ValueError: as in `tempering_step`.
    """
    rungs = _with_live_rungs(chains, rbm)
    key = stream_key(key, Stream.TRAJECTORY_TEMPERING)
    tempering, info = tempering_step(key, rungs, chains.tempering, n_sweeps=n_sweeps, reservoir=chains.reservoir)
    chains = dataclasses.replace(chains, ladder=rungs, tempering=tempering)
    return dataclasses.replace(_freeze_in_time(chains, info.acceptance, floor), previous=rbm)


@jax.jit
def _with_live_rungs(chains: TrajectoryChains, rbm: RBM) -> RBM:
    """The ladder with the RBM in training on its live rungs."""
    live = live_rungs(chains)
    return jax.tree.map(
        lambda frozen, now: jnp.where(live.reshape(-1, *[1] * now.ndim), now, frozen), chains.ladder, rbm
    )


@jax.jit
def _freeze_in_time(chains: TrajectoryChains, found: Float[Array, " n_pairs"], floor: FloatLike) -> TrajectoryChains:
    """The chains with the acceptance that was found now, and with another frozen rung where that is low."""
    n_rungs = len(chains.ladder.weights)
    # Some steps of memory; pairs that had no turn keep their value.
    acceptance = chains.acceptance + 0.3 * jnp.nan_to_num(found - chains.acceptance)
    chains = dataclasses.replace(chains, acceptance=acceptance)
    # What was measured now, where the pair had its turn, so that the rung is not late.
    is_low = jnp.fmin(found, acceptance)[chains.n_frozen - 1] < floor
    chains = lax.cond(is_low & (chains.n_frozen == n_rungs - 1), _drop_rung, lambda chains: chains, chains)
    return lax.cond(is_low & (chains.n_frozen < n_rungs - 1), _freeze, lambda chains: chains, chains)


def live_rungs(chains: TrajectoryChains) -> Bool[Array, " n_rungs"]:
    """Which rungs are the RBM in training."""
    return jnp.arange(len(chains.ladder.weights)) >= chains.n_frozen


def live_states(chains: TrajectoryChains) -> Float[Array, "n_states n_visible"]:
    """States of the RBM in training, all chains of its rungs; not under `jit`, since their number varies.

    Raises:
        TypeError: traced chains.
    """
    if not is_concrete(chains):
        raise TypeError("live_states gives an array whose shape depends on values: call it outside jit and vmap")
    states = chains.tempering.chains[int(chains.n_frozen) :]
    return states.reshape(-1, states.shape[-1])


def _freeze(chains: TrajectoryChains) -> TrajectoryChains:
    """The RBM of the update before becomes a rung; its chains are the first of those that were live."""
    at = chains.n_frozen
    ladder = jax.tree.map(lambda leaf, new: leaf.at[at].set(new), chains.ladder, chains.previous)
    # Its neighbor is one update away, and acceptance with it all but certain.
    return dataclasses.replace(chains, ladder=ladder, acceptance=chains.acceptance.at[at].set(1), n_frozen=at + 1)


def _drop_rung(chains: TrajectoryChains) -> TrajectoryChains:
    """Give up the frozen rung (not the first) whose two neighbors would still exchange best without it."""
    n_rungs = len(chains.ladder.weights)
    # Costs of both pairs add up in the pair that replaces them.
    spared = chains.acceptance[:-1] * chains.acceptance[1:]
    dropped = 1 + jnp.argmax(spared)
    rungs = jnp.arange(n_rungs)
    # The chains of the last rung take the place that becomes free; sweeps part them.
    source = jnp.minimum(jnp.where(rungs < dropped, rungs, rungs + 1), n_rungs - 1)
    ladder = jax.tree.map(lambda leaf: leaf[source], chains.ladder)
    tempering = dataclasses.replace(
        chains.tempering, chains=chains.tempering.chains[source], origin=chains.tempering.origin[source]
    )
    acceptance = chains.acceptance.at[dropped - 1].set(spared[dropped - 1])
    pairs = jnp.arange(n_rungs - 1)
    moved = jnp.minimum(jnp.where(pairs < dropped, pairs, pairs + 1), n_rungs - 2)
    return dataclasses.replace(
        chains, ladder=ladder, tempering=tempering, acceptance=acceptance[moved], n_frozen=chains.n_frozen - 1
    )
