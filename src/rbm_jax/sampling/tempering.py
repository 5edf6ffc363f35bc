"""Replica exchange: Gibbs chains on a ladder of RBMs, which swap their states.

A ladder is a stack of RBMs of one shape, from one that mixes fast to the one of interest: `temper_ladder`, or the RBMs
along a training (`Trajectory.rbms`). Rungs along a temperature give parallel tempering; rungs along a training,
trajectory tempering (Béreux, Decelle, Furtlehner, Rosset & Seoane 2024, arXiv:2405.15376), which meets the clusters of
the data one after the other, as the training did. Hidden units are summed out in a swap: it satisfies detailed balance
in P_k(v) ∝ e^{-F_k(v)}, so every rung samples its own RBM.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import (
    as_array,
    as_samples,
    check_count,
    check_finite,
    check_parameters,
    is_concrete,
    remember_samples,
)
from rbm_jax._internal.placement import divide_rows
from rbm_jax._internal.random import Stream, key_words, stream_key, uniform
from rbm_jax._internal.typing import Array, ArrayLike, Chains, Float, Int, PRNGKey
from rbm_jax.model.energies import free_energy_of_visible
from rbm_jax.model.rbm import RBM
from rbm_jax.model.transforms import interpolate
from rbm_jax.sampling.gibbs import init_chains, run_gibbs

__all__ = [
    "TemperingInfo",
    "TemperingState",
    "as_reservoir",
    "check_ladder",
    "equalize_acceptance",
    "init_tempering",
    "sample_tempering",
    "share_evenly",
    "temper_ladder",
    "tempering_step",
]


class TemperingState(eqx.Module):
    """Chains on every rung of a ladder.

    Attributes:
        chains: visible states, shape (n_rungs, n_chains, n_visible).
        origin: the rung on which each state was at the start, shape (n_rungs, n_chains); swaps carry it along.
        step: steps done, an int32 scalar. Rungs 0 and 1, 2 and 3, ... may swap at even steps, the others at odd ones.
    """

    chains: Float[Array, "n_rungs n_chains n_visible"]
    origin: Int[Array, "n_rungs n_chains"]
    step: Int[Array, ""]


class TemperingInfo(eqx.Module):
    """Success of swaps.

    Attributes:
        acceptance: mean probability of a swap between each rung and the next, shape (n_rungs - 1,); NaN for pairs that
            had no turn.
    """

    acceptance: Float[Array, " n_pairs"]


def temper_ladder(start: RBM, end: RBM, positions: Float[ArrayLike, " n_rungs"]) -> RBM:
    """The RBMs at these positions on the straight line from `start` (0) to `end` (1), stacked.

    Args:
        start: an RBM that mixes fast, such as `independent_rbm`.
        end: the RBM of interest.
        positions: shape (n_rungs,), by increasing value.

    Raises:
        ValueError: RBMs that differ in units or shapes, or positions that are not finite numbers in one axis.
    """
    positions = jnp.asarray(as_array("positions", positions))
    if positions.ndim != 1:
        raise ValueError(f"positions must be numbers in one axis, got shape {positions.shape}")
    check_finite("positions", positions)
    return jax.vmap(lambda position: interpolate(start, end, position))(positions)


def init_tempering(key: PRNGKey, ladder: RBM, n_chains: int) -> TemperingState:
    """Chains on every rung, each from independent visible units in the fields of its RBM's visible bias.

    Args:
        key: a JAX key.
        ladder: RBMs with leaves that have a leading axis, of any pair of unit types.
        n_chains: chains on each rung; divided among several devices as by `init_chains`.

    Raises:
        ValueError: n_chains below 1, or a ladder that is none or has NaN.
    """
    n_rungs = check_ladder(ladder)
    chains = _draw_chains(key, ladder, check_count("n_chains", n_chains))
    origin = jnp.broadcast_to(jnp.arange(n_rungs, dtype=jnp.int32)[:, None], (n_rungs, n_chains))
    chains, origin = (divide_rows(rows, ladder.weights, axis=1) for rows in (chains, origin))
    return TemperingState(remember_samples(chains, ladder.visible_units), origin, jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnames="n_chains")
def _draw_chains(key: PRNGKey, ladder: RBM, n_chains: int):
    keys = jax.random.split(stream_key(key, Stream.TEMPERING_CHAINS), len(ladder.weights))
    return jax.vmap(lambda key, rbm: init_chains(key, rbm, n_chains))(keys, ladder)


def tempering_step(
    key: PRNGKey,
    ladder: RBM,
    state: TemperingState,
    *,
    n_sweeps: int = 1,
    reservoir: Chains | None = None,
) -> tuple[TemperingState, TemperingInfo]:
    """Gibbs sweeps on every rung, then swaps between neighbors.

    Args:
        key: the key of the run, the same at every step; it is folded with `state.step` here.
        ladder: RBMs with leaves that have a leading axis.
        state: from `init_tempering` or the step before.
        n_sweeps: Gibbs sweeps before the swaps.
        reservoir: equilibrium states of the first rung, shape (n_states, n_visible): its chains are drawn from them
            anew at each step, which spares a first rung that does not mix at once. A first rung without weights
            needs none.

    Returns:
        The next state, and the probabilities of its swaps.

    Raises:
        ValueError: shapes that do not fit, values outside the support of the units, a ladder with NaN, or n_sweeps
            below 1.
    """
    state, reservoir = _check_state(ladder, state, reservoir)
    state, info = _step(key, ladder, state, check_count("n_sweeps", n_sweeps), reservoir)
    return _remember_chains(state, ladder), info


def sample_tempering(
    key: PRNGKey,
    ladder: RBM,
    state: TemperingState,
    *,
    n_steps: int,
    n_sweeps: int = 1,
    reservoir: Chains | None = None,
) -> tuple[TemperingState, TemperingInfo]:
    """Run replica exchange for n_steps steps, in one compiled scan.

    Args:
        key: the key of the run, the same for every call that continues it.
        ladder: RBMs with leaves that have a leading axis.
        state: from `init_tempering`, or where another call ended.
        n_steps: steps, each of n_sweeps Gibbs sweeps and one round of swaps.
        n_sweeps: as in `tempering_step`.
        reservoir: as in `tempering_step`.

    Returns:
        The last state, and the mean probabilities of swaps on the way; NaN for pairs that had no turn.

    Raises:
        ValueError: as in `tempering_step`, or counts below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.model import independent_rbm
        >>> from rbm_jax.sampling import init_tempering, sample_tempering, temper_ladder
        >>> rbm = init_rbm(jax.random.key(0), 20, 10, scale=1.0)
        >>> ladder = temper_ladder(independent_rbm(rbm, jnp.full(20, 0.5)), rbm, jnp.linspace(0, 1, 8))
        >>> state = init_tempering(jax.random.key(1), ladder, 50)
        >>> state, info = sample_tempering(jax.random.key(2), ladder, state, n_steps=100)
        >>> state.chains[-1].shape, info.acceptance.shape
        ((50, 20), (7,))
    """
    state, reservoir = _check_state(ladder, state, reservoir)
    n_steps, n_sweeps = check_count("n_steps", n_steps), check_count("n_sweeps", n_sweeps)
    state, info = _run(key, ladder, state, reservoir, n_steps=n_steps, n_sweeps=n_sweeps)
    return _remember_chains(state, ladder), info


@functools.partial(jax.jit, static_argnames=("n_steps", "n_sweeps"))
def _run(key: PRNGKey, ladder: RBM, state: TemperingState, reservoir, *, n_steps: int, n_sweeps: int):
    def step(carry, _):
        state, total, count = carry
        state, info = _step(key, ladder, state, n_sweeps, reservoir)
        tried = ~jnp.isnan(info.acceptance)
        return (state, total + jnp.where(tried, info.acceptance, 0), count + tried), None

    n_pairs = len(ladder.weights) - 1
    carry = (state, jnp.zeros(n_pairs, ladder.dtype), jnp.zeros(n_pairs, jnp.int32))
    (state, total, count), _ = lax.scan(step, carry, length=n_steps)
    return state, TemperingInfo(jnp.where(count > 0, total / count, jnp.nan).astype(ladder.dtype))


@functools.partial(jax.jit, static_argnames="n_sweeps")
def _step(key: PRNGKey, ladder: RBM, state: TemperingState, n_sweeps: int, reservoir):
    """`tempering_step` of arguments that were checked."""
    n_rungs, n_chains, _ = state.chains.shape
    key = jax.random.fold_in(stream_key(key, Stream.TEMPERING), state.step)
    key_sweep, key_swap, key_reservoir = jax.random.split(key, 3)
    sweep = functools.partial(run_gibbs, n_sweeps=n_sweeps)
    chains = jax.vmap(sweep)(jax.random.split(key_sweep, n_rungs), ladder, state.chains)
    if reservoir is not None:
        rows = jax.random.randint(key_reservoir, (n_chains,), 0, len(reservoir))
        chains = chains.at[0].set(reservoir[rows])
    return _swap(key_swap, ladder, TemperingState(chains, state.origin, state.step))


def _check_state(ladder: RBM, state: TemperingState, reservoir) -> tuple[TemperingState, Array | None]:
    """Chains and reservoir as samples of the ladder's units, or an error."""
    n_rungs, units = check_ladder(ladder), ladder.visible_units
    if state.chains.shape[::2] != (n_rungs, ladder.n_visible):
        raise ValueError(
            f"state must have chains of {ladder.n_visible} units on {n_rungs} rungs, as ladder has, got shape "
            f"{state.chains.shape}"
        )
    chains = as_samples("state.chains", state.chains, units, ladder.n_visible, ladder.dtype, ndim=3)
    return TemperingState(chains, state.origin, state.step), as_reservoir(reservoir, ladder)


def as_reservoir(reservoir, rbm: RBM) -> Array | None:
    """Equilibrium states of the first rung, at least one, as samples; None passes."""
    if reservoir is None:
        return None
    return as_samples("reservoir", reservoir, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)


def _remember_chains(state: TemperingState, ladder: RBM) -> TemperingState:
    remember_samples(state.chains, ladder.visible_units)
    return state


def equalize_acceptance(
    positions: Float[ArrayLike, " n_rungs"], acceptance: Float[ArrayLike, " n_pairs"]
) -> Float[Array, " n_rungs"]:
    """Positions that share rejections evenly: the ladder's next version, after a run with these acceptances.

    Rejections add up along a ladder to a total that hardly depends on the number of rungs, so rungs are set where equal
    shares of it have been passed. Repeat it two or three times, with runs of some hundred steps. Source: Syed,
    Bouchard-Côté, Deligiannidis & Doucet, "Non-reversible parallel tempering" (2022).

    Args:
        positions: of the rungs of the run, by increasing value.
        acceptance: from `TemperingInfo`.

    Raises:
        ValueError: shapes that do not fit, or pairs that had no turn.
    """
    positions, acceptance = jnp.asarray(positions), jnp.asarray(acceptance)
    if positions.ndim != 1 or acceptance.shape != (len(positions) - 1,):
        raise ValueError(
            "acceptance must have one entry for each pair of neighbors, got shapes "
            f"{positions.shape} of positions and {acceptance.shape} of acceptance"
        )
    if is_concrete(acceptance) and bool(jnp.isnan(acceptance).any()):
        raise ValueError("acceptance is NaN for pairs that had no turn: run at least two steps")
    return share_evenly(positions, 1 - acceptance, len(positions))


@functools.partial(jax.jit, static_argnames="n_positions")
def share_evenly(
    positions: Float[ArrayLike, " n_positions"], cost: Float[ArrayLike, " n_steps"], n_positions: int
) -> Float[Array, " n_new"]:
    """So many positions, between which equal shares of the cost lie that was measured between the old ones."""
    # No step is free, so that no two positions fall together; a fiftieth of the mean moves the others hardly at all.
    cost = jnp.maximum(cost, 0.02 * jnp.mean(cost) + jnp.finfo(cost.dtype).tiny)
    passed = jnp.cumsum(jnp.concatenate([jnp.zeros(1, cost.dtype), cost]))
    placed = jnp.interp(jnp.linspace(0, 1, n_positions, dtype=cost.dtype), passed / passed[-1], positions)
    # Rounding must not end a ladder before its last position.
    return placed.at[0].set(positions[0]).at[-1].set(positions[-1])


def check_ladder(ladder: RBM) -> int:
    """Number of rungs, at least two; raise otherwise, or if a parameter is NaN."""
    if ladder.weights.ndim != 3 or len(ladder.weights) < 2:
        raise ValueError(
            "ladder must be a stack of at least two RBMs (temper_ladder, stack_rbms), "
            f"got weights of shape {ladder.weights.shape}"
        )
    check_parameters(ladder)
    return len(ladder.weights)


def _swap(key: PRNGKey, ladder: RBM, state: TemperingState) -> tuple[TemperingState, TemperingInfo]:
    n_rungs, n_chains, _ = state.chains.shape
    rungs = jnp.arange(n_rungs)
    partner = jnp.where((rungs + state.step) % 2 == 0, rungs + 1, rungs - 1)
    partner = jnp.where((partner < 0) | (partner >= n_rungs), rungs, partner)
    free_energy = jax.vmap(free_energy_of_visible)
    gain = free_energy(ladder, state.chains) - free_energy(ladder, state.chains[partner])
    log_ratio = gain + gain[partner]
    draws = uniform(key_words(key), 0, (n_rungs, n_chains), ladder.dtype)
    # Both sides of a pair look at the same number.
    accepted = jnp.log(draws[jnp.minimum(rungs, partner)]) < log_ratio
    chains = jnp.where(accepted[..., None], state.chains[partner], state.chains)
    origin = jnp.where(accepted, state.origin[partner], state.origin)
    probability = jnp.exp(jnp.minimum(log_ratio[:-1], 0)).mean(1)
    acceptance = jnp.where(partner[:-1] == rungs[1:], probability, jnp.nan)
    return TemperingState(chains, origin, state.step + 1), TemperingInfo(acceptance)
