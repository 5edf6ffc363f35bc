"""Annealed importance sampling, there and back.

Chains go from independent units, whose Z is known, to the RBM, and are weighed by the ratios of probabilities on the
way: the mean weight is the ratio of the two Z without bias, and its logarithm tends to be too low. Equilibrium states
of the RBM, carried back, give a logarithm that tends to be too high. Sources: Neal, "Annealed importance sampling"
(2001); Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks" (2008); Burda, Grosse &
Salakhutdinov (2015), arXiv:1412.8566.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_means, as_samples, check_count, is_concrete
from rbm_jax._internal.random import Stream, key_words, stream_key, uniform
from rbm_jax._internal.typing import ArrayLike, Chains, Float, PRNGKey, Sample
from rbm_jax.likelihood.estimate import LogZEstimate, independent_log_z, make_estimate, warn_if_poor
from rbm_jax.model.energies import check_rbm, free_energy_of_visible
from rbm_jax.model.rbm import RBM, check_compute_dtype
from rbm_jax.model.transforms import independent_rbm
from rbm_jax.sampling import init_chains, init_tempering, sample_gibbs, sample_tempering, temper_ladder
from rbm_jax.sampling.tempering import share_evenly

__all__ = ["ais_log_z", "place_temperatures", "reverse_ais_log_z", "start_rbm"]


_LEAST_FRACTION = 0.1
"""Of the chains that must carry the weight: with fewer, the largest weights are likely missing, and the spread."""


def ais_log_z(
    key: PRNGKey,
    rbm: RBM,
    *,
    data: Sample | None = None,
    n_chains: int = 500,
    n_temperatures: int = 1000,
    positions: Float[ArrayLike, " n_temperatures"] | None = None,
    compute_dtype=None,
) -> LogZEstimate:
    """Log Z by annealed importance sampling, from independent units that have the means of the data.

    The steps between the start and the RBM are those in which the weights of a short first run spread evenly, which
    costs a tenth of the whole. Under `vmap` many RBMs are annealed at once.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        data: samples (or magnetizations, since nothing else of them is used) whose means the start has, shape
            (n_samples, n_visible): the training data. None: states of the RBM after 100 Gibbs sweeps.
        n_chains: independent chains.
        n_temperatures: Gibbs sweeps of each chain. More of them make a better estimate than more chains.
        positions: increasing from 0 (start) to 1 (the RBM), in place of n_temperatures. None: found as said above.
        compute_dtype: dtype of the matrix products on the way, the RBM's by default. With `jnp.bfloat16` the chains go
            to the RBM with rounded weights, and a last step without a sweep, in full precision, from there to the RBM,
            so the mean weight stays unbiased; faster where the hardware multiplies bfloat16 natively.

    Returns:
        The estimate. Its `ess` is (Σw)²/Σw² of the weights, out of n_chains.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: arguments that do not fit, data that cannot be means of the units, or an RBM with NaN.

    Warns:
        UserWarning: fewer than a tenth of the chains carry the weight: the estimate is likely too low, whatever its
            interval says. Not under `jit` or `vmap`.

    Example:
        >>> import jax
        >>> from rbm_jax import ais_log_z, exact_log_z, init_rbm
        >>> rbm = init_rbm(jax.random.key(0), 20, 10, scale=0.5)
        >>> estimate = ais_log_z(jax.random.key(1), rbm)
        >>> bool(abs(estimate.value - exact_log_z(rbm)) < 4 * estimate.std_error)
        True
    """
    check_rbm(rbm)
    n_chains = check_count("n_chains", n_chains, minimum=2)
    key_mean, key_pilot, key_start, key_run = jax.random.split(stream_key(key, Stream.AIS), 4)
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    rounded = _round_weights(rbm, compute_dtype)
    start = start_rbm(key_mean, rbm, data, n_chains)
    positions = place_temperatures(key_pilot, rbm, start, n_chains, n_temperatures, positions, compute_dtype)
    chains = init_chains(key_start, start, n_chains)
    chains, log_weights, _ = _anneal(key_run, rounded, start, chains, positions, compute_dtype)
    log_weights += _log_ratio(rounded, rbm, chains)
    estimate = _from_log_weights(independent_log_z(start), log_weights, 1, "annealing")
    warn_if_poor(estimate, n_chains)
    return estimate


def reverse_ais_log_z(
    key: PRNGKey,
    rbm: RBM,
    *,
    data: Sample | None = None,
    samples: Chains | None = None,
    n_chains: int = 500,
    n_temperatures: int = 1000,
    positions: Float[ArrayLike, " n_temperatures"] | None = None,
    compute_dtype=None,
) -> LogZEstimate:
    """Log Z by annealing equilibrium states of the RBM back to independent units.

    Errors tend upward where those of `ais_log_z` tend downward, so that the two hold log Z between them, if the
    states are in equilibrium: states that miss a part of the RBM give too low a value.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        data: as in `ais_log_z`.
        samples: independent equilibrium states, shape (n_chains, n_visible): persistent chains after a long training,
            or the last rung of `sample_tempering`. None: replica exchange on 20 rungs for 500 steps.
        n_chains: number of chains; that of `samples`, if they are given.
        n_temperatures: as in `ais_log_z`.
        positions: as in `ais_log_z`.
        compute_dtype: as in `ais_log_z`; here the step in full precision is the first.

    Returns:
        The estimate; the weights behind `ess` are those of the way back.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: arguments that do not fit, samples outside the support of the units, or an RBM with NaN.

    Warns:
        UserWarning: as in `ais_log_z`; the estimate is then likely too high.
    """
    check_rbm(rbm)
    if samples is not None:
        samples = as_samples("samples", samples, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2)
        n_chains = len(samples)
    n_chains = check_count("n_chains", n_chains, minimum=2)
    key_mean, key_pilot, key_samples, key_run = jax.random.split(stream_key(key, Stream.REVERSE_AIS), 4)
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    rounded = _round_weights(rbm, compute_dtype)
    start = start_rbm(key_mean, rbm, data, n_chains)
    positions = place_temperatures(key_pilot, rbm, start, n_chains, n_temperatures, positions, compute_dtype)
    if samples is None:
        samples = _equilibrium_states(key_samples, rbm, start, positions, n_chains)
    _, log_weights, _ = _anneal(key_run, rounded, start, samples, positions[::-1], compute_dtype)
    log_weights += _log_ratio(rbm, rounded, samples)
    estimate = _from_log_weights(independent_log_z(start), log_weights, -1, "reverse annealing")
    warn_if_poor(estimate, n_chains)
    return estimate


def start_rbm(key: PRNGKey, rbm: RBM, data: Sample | None, n_chains: int) -> RBM:
    """Independent units with the means of the data, or of short chains."""
    if data is None:
        key_start, key_run = jax.random.split(key)
        data = sample_gibbs(key_run, rbm, init_chains(key_start, rbm, n_chains), n_sweeps=100)
    data = as_means("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2)
    if len(data) == 0:
        raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
    return independent_rbm(rbm, data.mean(0))


def place_temperatures(
    key: PRNGKey, rbm: RBM, start: RBM, n_chains: int, n_temperatures: int, positions, compute_dtype=None
):
    """Positions of the ladder, from a pilot run where they are not given."""
    if positions is not None:
        return _check_positions(positions, rbm.dtype)
    n_temperatures = check_count("n_temperatures", n_temperatures, minimum=2)
    key_start, key_run = jax.random.split(key)
    even = jnp.linspace(0, 1, max(20, n_temperatures // 10), dtype=rbm.dtype)
    chains = init_chains(key_start, start, n_chains)
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    _, _, spread = _anneal(key_run, rbm, start, chains, even, compute_dtype)
    return share_evenly(even, spread, n_temperatures)


def _check_positions(positions, dtype):
    if np.ndim(positions) != 1 or len(positions) < 2:
        raise ValueError(f"positions must be at least two numbers in one axis, got shape {np.shape(positions)}")
    if is_concrete(positions):
        values = np.asarray(positions)  # known even where the RBM is traced
        if not (values[0] == 0 and values[-1] == 1 and (np.diff(values) > 0).all()):
            raise ValueError(f"positions must increase from 0 to 1, got {values[0]:g} to {values[-1]:g}")
    return jnp.asarray(positions, dtype)


def _round_weights(rbm: RBM, compute_dtype) -> RBM:
    """The RBM whose weights are those that matrix products in this dtype see."""
    if compute_dtype == rbm.dtype:
        return rbm
    # XLA may leave out a conversion there and back, but not this.
    format_ = jnp.finfo(compute_dtype)
    weights = lax.reduce_precision(rbm.weights, exponent_bits=format_.nexp, mantissa_bits=format_.nmant)
    return dataclasses.replace(rbm, weights=weights)


def _log_ratio(old: RBM, new: RBM, v):
    """Log of the ratio of unnormalized probabilities, new over old."""
    return 0 if new is old else free_energy_of_visible(old, v) - free_energy_of_visible(new, v)


@functools.partial(jax.jit, static_argnames="compute_dtype")
def _anneal(key: PRNGKey, rbm: RBM, start: RBM, chains, positions, compute_dtype):
    """Where chains end that go along the positions, their log weights, and the spread of the gains of each step.

    On the way the hidden fields are position × (b + Wᵀv), as those of the start are zero, so a step takes the two
    matrix products of its sweep and no other.
    """
    words = key_words(key)
    shift = rbm.visible_bias - start.visible_bias
    weights = rbm.weights.astype(compute_dtype)
    matrices = (weights, weights.T)  # transposed here: in the scan, XLA on CPU would do a bfloat16 h Wᵀ in float32
    multiply = functools.partial(jnp.matmul, preferred_element_type=rbm.dtype)

    def sample(units, field, counter):
        draws = uniform(words, counter, field.shape, rbm.dtype)
        return units.sample_from_uniform(field, draws).astype(compute_dtype)

    def step(carry, inputs):
        chains, log_weights = carry
        counter, before, after = inputs
        field = multiply(chains, matrices[0]) + rbm.hidden_bias
        change = rbm.hidden_units.log_partition(after * field) - rbm.hidden_units.log_partition(before * field)
        gain = change.sum(-1) + (after - before) * (chains.astype(rbm.dtype) @ shift)
        hidden = sample(rbm.hidden_units, after * field, 2 * counter)
        field = start.visible_bias + after * (shift + multiply(hidden, matrices[1]))
        return (sample(rbm.visible_units, field, 2 * counter + 1), log_weights + gain), gain.std()

    counters = jnp.arange(len(positions) - 1, dtype=jnp.uint32)
    carry = (chains.astype(compute_dtype), jnp.zeros(len(chains), rbm.dtype))
    (chains, log_weights), spread = lax.scan(step, carry, (counters, positions[:-1], positions[1:]))
    return chains.astype(rbm.dtype), log_weights, spread


@functools.partial(jax.jit, static_argnames=("sign", "method"))
def _from_log_weights(log_z_start, log_weights, sign: int, method: str) -> LogZEstimate:
    """The estimate log Z = log Z_start ± log of the mean weight."""
    n_chains = len(log_weights)
    log_sum, log_sum_squares = logsumexp(log_weights), logsumexp(2 * log_weights)
    ess = jnp.exp(2 * log_sum - log_sum_squares)
    # Relative standard error of the mean of the weights.
    std_error = jnp.sqrt(jnp.maximum(1 / ess - 1 / n_chains, 0) * n_chains / (n_chains - 1))
    value = log_z_start + sign * (log_sum - jnp.log(n_chains))
    return make_estimate(value, std_error, ess, _LEAST_FRACTION * n_chains, method)


def _equilibrium_states(key: PRNGKey, rbm: RBM, start: RBM, positions, n_chains: int):
    """The last rung of replica exchange along the positions."""
    key_start, key_run = jax.random.split(key)
    ladder = temper_ladder(
        start, rbm, jnp.interp(jnp.linspace(0, 1, 20), jnp.linspace(0, 1, len(positions)), positions)
    )
    state = init_tempering(key_start, ladder, n_chains)
    return sample_tempering(key_run, ladder, state, n_steps=500)[0].chains[-1]
