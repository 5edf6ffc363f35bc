"""Training: estimators of the gradient, penalties, and compiled loops of updates."""

from rbm_jax.training.estimators import cd, emf, exact, keeps_equilibrium, pcd, ptt
from rbm_jax.training.loop import (
    TrainInfo,
    TrainState,
    fit,
    init_train_state,
    log_spaced_updates,
    project_updates,
    train_step,
)
from rbm_jax.training.many import fit_ensemble, fit_sweep, set_hyperparameters
from rbm_jax.training.penalties import penalize_weights, weight_penalty
from rbm_jax.training.streaming import RowSource, fit_streamed
from rbm_jax.training.tied import fourier_pcd, tied_estimator

__all__ = [
    "RowSource",
    "TrainInfo",
    "TrainState",
    "cd",
    "emf",
    "exact",
    "fit",
    "fit_ensemble",
    "fit_streamed",
    "fit_sweep",
    "fourier_pcd",
    "init_train_state",
    "keeps_equilibrium",
    "log_spaced_updates",
    "pcd",
    "penalize_weights",
    "project_updates",
    "ptt",
    "set_hyperparameters",
    "tied_estimator",
    "train_step",
    "weight_penalty",
]
