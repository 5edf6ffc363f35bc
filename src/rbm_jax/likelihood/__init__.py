"""The partition function of RBMs that are too large to enumerate, and likelihoods with error bars."""

from rbm_jax.likelihood.annealing import ais_log_z, reverse_ais_log_z
from rbm_jax.likelihood.estimate import LikelihoodEstimate, LogZEstimate, enumeration_log_z, log_likelihood
from rbm_jax.likelihood.health import LadderHealth, ladder_health
from rbm_jax.likelihood.ladders import log_z_along, tempering_log_z
from rbm_jax.likelihood.mean_field import mean_field_log_z
from rbm_jax.likelihood.pseudo import pseudo_log_likelihood

__all__ = [
    "LadderHealth",
    "LikelihoodEstimate",
    "LogZEstimate",
    "ais_log_z",
    "enumeration_log_z",
    "ladder_health",
    "log_likelihood",
    "log_z_along",
    "mean_field_log_z",
    "pseudo_log_likelihood",
    "reverse_ais_log_z",
    "tempering_log_z",
]
