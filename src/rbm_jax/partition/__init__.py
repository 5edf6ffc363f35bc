"""The partition function of RBMs that are too large to enumerate, and likelihoods with error bars."""

from rbm_jax.partition.annealing import ais_log_z, reverse_ais_log_z
from rbm_jax.partition.estimate import LikelihoodEstimate, LogZEstimate, log_likelihood, tap_log_z
from rbm_jax.partition.ladders import log_z_along, tempering_log_z

__all__ = [
    "LikelihoodEstimate",
    "LogZEstimate",
    "ais_log_z",
    "log_likelihood",
    "log_z_along",
    "reverse_ais_log_z",
    "tap_log_z",
    "tempering_log_z",
]
