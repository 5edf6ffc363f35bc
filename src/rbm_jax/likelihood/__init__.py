"""The partition function of RBMs that are too large to enumerate, and likelihoods with error bars."""

from rbm_jax.likelihood.annealing import ais_log_z, reverse_ais_log_z
from rbm_jax.likelihood.estimate import LikelihoodEstimate, LogZEstimate, log_likelihood, tap_log_z
from rbm_jax.likelihood.health import LadderHealth, ladder_health
from rbm_jax.likelihood.ladders import log_z_along, tempering_log_z
from rbm_jax.likelihood.pseudo import pseudo_log_likelihood

__all__ = [
    "LadderHealth",
    "LikelihoodEstimate",
    "LogZEstimate",
    "ais_log_z",
    "ladder_health",
    "log_likelihood",
    "log_z_along",
    "pseudo_log_likelihood",
    "reverse_ais_log_z",
    "tap_log_z",
    "tempering_log_z",
]
