"""Training: estimators of the gradient, how they are used, minibatches, and one compiled loop."""

from rbm_jax.training.batches import Batches
from rbm_jax.training.estimators import CD, EMF, PCD, PTT, AbstractEstimator, Exact
from rbm_jax.training.loop import fit, log_spaced_updates
from rbm_jax.training.many import fit_many
from rbm_jax.training.minibatches import AbstractBatches
from rbm_jax.training.penalties import penalize_weights, penalized_sgd, project_updates, weight_penalty
from rbm_jax.training.review import KeepsEquilibrium, KeepsFiniteZ
from rbm_jax.training.streaming import RowSource, StreamedBatches
from rbm_jax.training.tied import FourierPCD, Tied
from rbm_jax.training.trainer import FunctionEstimator, Optimizer, Trainer, TrainInfo, TrainState, train_step

__all__ = [
    "CD",
    "EMF",
    "PCD",
    "PTT",
    "AbstractBatches",
    "AbstractEstimator",
    "Batches",
    "Exact",
    "FourierPCD",
    "FunctionEstimator",
    "KeepsEquilibrium",
    "KeepsFiniteZ",
    "Optimizer",
    "RowSource",
    "StreamedBatches",
    "Tied",
    "TrainInfo",
    "TrainState",
    "Trainer",
    "fit",
    "fit_many",
    "log_spaced_updates",
    "penalize_weights",
    "penalized_sgd",
    "project_updates",
    "train_step",
    "weight_penalty",
]
