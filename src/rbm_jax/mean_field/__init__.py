"""Mean-field theory: variational free energies and their fixed points."""

from rbm_jax.mean_field.clustering import (
    FixedPoints,
    find_fixed_points,
    fixed_point_tree,
    log_state_weights,
)
from rbm_jax.mean_field.free_energy import (
    mean_field_free_energy,
    mean_field_moments,
    quadratic_free_energy,
)
from rbm_jax.mean_field.response import mean_field_covariance, mean_field_hessian, mean_field_stability
from rbm_jax.mean_field.solve import MeanFieldSolution, solve_mean_field

__all__ = [
    "FixedPoints",
    "MeanFieldSolution",
    "find_fixed_points",
    "fixed_point_tree",
    "log_state_weights",
    "mean_field_covariance",
    "mean_field_free_energy",
    "mean_field_hessian",
    "mean_field_moments",
    "mean_field_stability",
    "quadratic_free_energy",
    "solve_mean_field",
]
