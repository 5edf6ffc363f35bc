"""Log Z along a ladder of RBMs (a temperature, or a training), each with states of its own: Bennett's ratios.

Source: Bennett, "Efficient estimation of free energy differences from Monte Carlo data" (1976).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_samples, check_count, check_same_length
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import ArrayLike, PRNGKey, Sample, Shaped
from rbm_jax.likelihood.annealing import place_temperatures, start_rbm
from rbm_jax.likelihood.estimate import LogZEstimate, independent_log_z, make_estimate, warn_if_poor
from rbm_jax.model.energies import check_rbm, free_energy_of_visible
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling import init_chains, init_tempering, sample_tempering, temper_ladder, tempering_step
from rbm_jax.sampling.tempering import check_ladder

__all__ = ["log_z_along", "tempering_log_z"]

_N_BISECTIONS = 60
"""Halvings of the interval that holds a difference of log Z: more than the digits of float64."""

_LEAST_OVERLAP = 0.02
"""Fraction of states that neighbors must share: with less, the few states that they do share dominate the ratio."""


def tempering_log_z(
    key: PRNGKey,
    rbm: RBM,
    *,
    data: Sample | None = None,
    ladder: RBM | None = None,
    n_rungs: int = 20,
    n_chains: int = 50,
    n_steps: int = 500,
) -> LogZEstimate:
    """Log Z by Bennett's ratios between the neighbors of a ladder, sampled by replica exchange.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        data: as in `ais_log_z`.
        ladder: RBMs that lead to this one, such as those along its training, stacked; `rbm` comes after them, and
            independent units before. None: rungs along a temperature.
        n_rungs: without a ladder, their number.
        n_chains: independent systems of chains, whose spread gives the standard error.
        n_steps: steps of `sample_tempering`; the first half is left out.

    Returns:
        The estimate. Its `ess` is the number of states on a rung times the overlap of the two neighbors that share
        least: 1 if they are the same, and near 0 if no state is likely in both.

    Raises:
        ValueError: arguments that do not fit, data outside the support of the units, or RBMs with NaN.

    Warns:
        UserWarning: two neighbors overlap by less than 2 %. Not under `jit` or `vmap`.
    """
    check_rbm(rbm)
    n_chains, n_rungs = check_count("n_chains", n_chains, minimum=2), check_count("n_rungs", n_rungs, minimum=2)
    n_kept = check_count("n_steps", n_steps, minimum=2) // 2
    key_mean, key_pilot, key_start, key_run = jax.random.split(stream_key(key, Stream.TEMPERING_LOG_Z), 4)
    if ladder is not None:
        _check_leads_to(ladder, rbm)
    start = start_rbm(key_mean, rbm, data, n_chains)
    if ladder is None:
        positions = place_temperatures(key_pilot, rbm, start, 100, n_rungs, None)
        ladder = temper_ladder(start, rbm, positions)
    else:
        ladder = jax.tree.map(lambda *parts: jnp.concatenate(parts), _one_rung(start), ladder, _one_rung(rbm))
    estimates = _temper(key_start, key_run, ladder, n_chains=n_chains, n_burn=n_steps - n_kept, n_kept=n_kept)
    estimate = jax.tree.map(lambda leaf: leaf[-1], estimates)
    warn_if_poor(estimate, n_kept * n_chains)
    return estimate


def log_z_along(key: PRNGKey, rbms: RBM, chains: Shaped[ArrayLike, "n_times n_chains n_visible"]) -> LogZEstimate:
    """Log Z of every RBM along a training, from its chains at these times, at the cost of two sweeps each.

    Keep them by `fit(..., observe=lambda state: state.chains)`, often enough for neighbors to overlap. Each is compared
    with the one before, and the first with itself without weights: log Z is a sum of differences, and errors add up.

    Args:
        key: a JAX key.
        rbms: RBMs with leaves that have a leading time axis (`Trajectory.rbms`).
        chains: states in equilibrium with each of them, shape (n_times, n_chains, n_visible).

    Returns:
        Estimates with a leading time axis; `ess` is that of the worst step so far, as in `tempering_log_z`. Persistent
        chains that lag behind the RBM make errors that the standard error does not know.

    Raises:
        ValueError: shapes that do not fit, chains outside the support of the units, or RBMs with NaN.

    Warns:
        UserWarning: as in `tempering_log_z`, for the last time.
    """
    check_ladder(rbms)
    chains = as_samples("chains", chains, rbms.visible_units, rbms.n_visible, rbms.dtype, ndim=3)
    check_same_length(rbms=rbms.weights, chains=chains)
    estimates = _along(key, rbms, chains)
    warn_if_poor(jax.tree.map(lambda leaf: leaf[-1], estimates), chains.shape[1])
    return estimates


@jax.jit
def _along(key, rbms: RBM, chains) -> LogZEstimate:
    """Estimates for every RBM."""
    # Not fitted to the chains: states that take part in the choice of the start would look too likely under it.
    start = jax.tree.map(lambda leaf: leaf[0], dataclasses.replace(rbms, weights=jnp.zeros_like(rbms.weights)))
    ladder = jax.tree.map(lambda *parts: jnp.concatenate(parts), _one_rung(start), rbms)
    states = jnp.concatenate([init_chains(stream_key(key, Stream.LOG_Z_ALONG), start, chains.shape[1])[None], chains])
    forward, backward = _log_ratios(ladder, states)
    estimates = _bennett(independent_log_z(start), forward[:, None], backward[:, None], "ratios along the training")
    return jax.tree.map(lambda leaf: leaf[1:], estimates)


@functools.partial(jax.jit, static_argnames=("n_chains", "n_burn", "n_kept"))
def _temper(key_start, key_run, ladder: RBM, *, n_chains: int, n_burn: int, n_kept: int) -> LogZEstimate:
    """Estimates for every rung."""
    state = init_tempering(key_start, ladder, n_chains)
    state, _ = sample_tempering(key_run, ladder, state, n_steps=n_burn)

    def step(state, _):
        state, _ = tempering_step(key_run, ladder, state)
        return state, _log_ratios(ladder, state.chains)

    _, (forward, backward) = lax.scan(step, state, length=n_kept)
    first = jax.tree.map(lambda leaf: leaf[0], ladder)
    return _bennett(independent_log_z(first), forward.swapaxes(0, 1), backward.swapaxes(0, 1), "replica exchange")


def _log_ratios(ladder: RBM, chains):
    """Log P*_{k+1} / P*_k at states of rung k and at states of rung k + 1, both of shape (n_pairs, n_chains)."""
    below, above = (jax.tree.map(lambda leaf, part=part: leaf[part], ladder) for part in (slice(-1), slice(1, None)))

    def log_ratio(below, above, v):
        return free_energy_of_visible(below, v) - free_energy_of_visible(above, v)

    return jax.vmap(log_ratio)(below, above, chains[:-1]), jax.vmap(log_ratio)(below, above, chains[1:])


@functools.partial(jax.jit, static_argnames="method")
def _bennett(log_z_start, forward, backward, method: str) -> LogZEstimate:
    """Log Z of every rung from the log ratios of neighbors, of shape (n_pairs, n_steps, n_chains).

    The difference Δ of each pair solves mean σ(forward - Δ) = mean σ(Δ - backward), which has the least variance of all
    estimates from the two sets of states. A chain's share in the error is linear in what it adds to the two means.
    """

    def excess(difference):
        difference = difference[:, None, None]
        return jax.nn.sigmoid(forward - difference), jax.nn.sigmoid(difference - backward)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        leaving, arriving = excess(middle)
        too_low = leaving.mean((1, 2)) > arriving.mean((1, 2))
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    both = jnp.stack([forward, backward])
    low, high = lax.fori_loop(0, _N_BISECTIONS, halve, (both.min((0, 2, 3)), both.max((0, 2, 3))))
    leaving, arriving = excess((low + high) / 2)
    slope = (leaving * (1 - leaving)).mean((1, 2)) + (arriving * (1 - arriving)).mean((1, 2))
    shares = (leaving - arriving).mean(1) / slope[:, None]
    n_chains = forward.shape[2]
    values = jnp.cumsum(jnp.concatenate([log_z_start[None], (low + high) / 2]))
    errors = jnp.cumsum(shares, axis=0).std(1, ddof=1) / jnp.sqrt(n_chains)
    n_states = forward.shape[1] * n_chains
    ess = n_states * lax.cummin(2 * slope)
    first = jnp.zeros(1, errors.dtype), jnp.full(1, n_states, errors.dtype)
    errors, ess = (jnp.concatenate(parts) for parts in zip(first, (errors, ess), strict=True))
    return make_estimate(values, errors, ess, _LEAST_OVERLAP * n_states, method)


def _check_leads_to(ladder: RBM, rbm: RBM) -> None:
    if jax.tree.structure(ladder) != jax.tree.structure(rbm) or ladder.weights.shape[1:] != rbm.weights.shape:
        raise ValueError(
            f"ladder must be a stack of RBMs like rbm, {rbm.visible_units}-{rbm.hidden_units} of shape "
            f"{rbm.weights.shape}, got {ladder.visible_units}-{ladder.hidden_units} of shape {ladder.weights.shape}"
        )


def _one_rung(rbm: RBM) -> RBM:
    return jax.tree.map(lambda leaf: leaf[None], rbm)
