"""Restricted Boltzmann Machines in JAX, with the ODEs and the statistical physics of how they learn.

Three kinds of things live here: pure functions of an `RBM` pytree, which compose under `jit`, `vmap` and `grad`;
training by any optax optimizer; and, in `rbm_jax.dynamics`, the continuous-time learning equations. Data sets are in
`rbm_jax.data`, pictures in `rbm_jax.plotting`, files in `rbm_jax.checkpoint`.
"""

from rbm_jax import data, dynamics, estimators, replica
from rbm_jax.energies import (
    hidden_field,
    hidden_free_energy,
    joint_energy,
    visible_field,
    visible_free_energy,
)
from rbm_jax.estimators import cd, emf, pcd
from rbm_jax.exact import (
    enumerate_states,
    exact_gradient,
    exact_log_likelihood,
    exact_log_z,
    exact_moments,
    exact_visible_probabilities,
)
from rbm_jax.gaussian import gaussian_log_z, gaussian_moments
from rbm_jax.mean_field import (
    FixedPoints,
    MeanFieldSolution,
    find_fixed_points,
    fixed_point_tree,
    log_state_weights,
    log_z_mean_field,
    mean_field_covariance,
    mean_field_free_energy,
    mean_field_hessian,
    mean_field_moments,
    mean_field_stability,
    quadratic_free_energy,
    solve_mean_field,
)
from rbm_jax.moments import Moments, conditional_moments, likelihood_gradient
from rbm_jax.pseudolikelihood import pseudo_log_likelihood
from rbm_jax.rbm import RBM, init_rbm, stack_rbms
from rbm_jax.sampling import gibbs_step, init_chains, sample_gibbs, sample_hidden, sample_visible
from rbm_jax.spectral import (
    Bulk,
    Modes,
    ModeStatistics,
    align_modes,
    effective_temperature,
    follow_modes,
    leading_modes,
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_quantile,
    mode_statistics,
    modes_along,
    project,
    singular_values_along,
    spiked_outlier,
    spiked_overlaps,
    spiked_value,
    split_bulk,
    svd_modes,
)
from rbm_jax.training import (
    TrainInfo,
    TrainState,
    fit,
    init_train_state,
    log_spaced_updates,
    project_updates,
    train_step,
)
from rbm_jax.trajectory import Status, Trajectory
from rbm_jax.transforms import bernoulli_to_spin, interpolate, spin_to_bernoulli, temper, transpose
from rbm_jax.units import AbstractUnits, Bernoulli, Gaussian, Spin

__version__ = "0.1.0"

__all__ = [
    "RBM",
    "AbstractUnits",
    "Bernoulli",
    "Bulk",
    "FixedPoints",
    "Gaussian",
    "MeanFieldSolution",
    "ModeStatistics",
    "Modes",
    "Moments",
    "Spin",
    "Status",
    "TrainInfo",
    "TrainState",
    "Trajectory",
    "align_modes",
    "bernoulli_to_spin",
    "cd",
    "conditional_moments",
    "data",
    "dynamics",
    "effective_temperature",
    "emf",
    "enumerate_states",
    "estimators",
    "exact_gradient",
    "exact_log_likelihood",
    "exact_log_z",
    "exact_moments",
    "exact_visible_probabilities",
    "find_fixed_points",
    "fit",
    "fixed_point_tree",
    "follow_modes",
    "gaussian_log_z",
    "gaussian_moments",
    "gibbs_step",
    "hidden_field",
    "hidden_free_energy",
    "init_chains",
    "init_rbm",
    "init_train_state",
    "interpolate",
    "joint_energy",
    "leading_modes",
    "likelihood_gradient",
    "log_spaced_updates",
    "log_state_weights",
    "log_z_mean_field",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "marchenko_pastur_quantile",
    "mean_field_covariance",
    "mean_field_free_energy",
    "mean_field_hessian",
    "mean_field_moments",
    "mean_field_stability",
    "mode_statistics",
    "modes_along",
    "pcd",
    "project",
    "project_updates",
    "pseudo_log_likelihood",
    "quadratic_free_energy",
    "replica",
    "sample_gibbs",
    "sample_hidden",
    "sample_visible",
    "singular_values_along",
    "solve_mean_field",
    "spiked_outlier",
    "spiked_overlaps",
    "spiked_value",
    "spin_to_bernoulli",
    "split_bulk",
    "stack_rbms",
    "svd_modes",
    "temper",
    "train_step",
    "transpose",
    "visible_field",
    "visible_free_energy",
]
