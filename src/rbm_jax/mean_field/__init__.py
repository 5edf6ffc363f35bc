"""Mean-field theory: variational free energies and their fixed points."""

from rbm_jax.mean_field.free_energy import mean_field_free_energy
from rbm_jax.mean_field.solve import MeanFieldSolution, solve_mean_field

__all__ = ["MeanFieldSolution", "mean_field_free_energy", "solve_mean_field"]
