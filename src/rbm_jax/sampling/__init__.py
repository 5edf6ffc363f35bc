"""Markov chain samplers."""

from rbm_jax.sampling.diagnostics import (
    AdversarialAccuracy,
    Relaxation,
    adversarial_accuracy,
    autocorrelation_time,
    effective_sample_size,
    energy_distance,
    overlaps,
    r_hat,
    relaxation,
)
from rbm_jax.sampling.gibbs import gibbs_step, init_chains, sample_gibbs, sample_hidden, sample_visible
from rbm_jax.sampling.tempering import (
    TemperingInfo,
    TemperingState,
    equalize_acceptance,
    init_tempering,
    sample_tempering,
    temper_ladder,
    tempering_step,
)
from rbm_jax.sampling.traces import Trace, trace_gibbs
from rbm_jax.sampling.trajectory_tempering import (
    TrajectoryChains,
    init_trajectory_chains,
    live_rungs,
    live_states,
    trajectory_step,
)

__all__ = [
    "AdversarialAccuracy",
    "Relaxation",
    "TemperingInfo",
    "TemperingState",
    "Trace",
    "TrajectoryChains",
    "adversarial_accuracy",
    "autocorrelation_time",
    "effective_sample_size",
    "energy_distance",
    "equalize_acceptance",
    "gibbs_step",
    "init_chains",
    "init_tempering",
    "init_trajectory_chains",
    "live_rungs",
    "live_states",
    "overlaps",
    "r_hat",
    "relaxation",
    "sample_gibbs",
    "sample_hidden",
    "sample_tempering",
    "sample_visible",
    "temper_ladder",
    "tempering_step",
    "trace_gibbs",
    "trajectory_step",
]
