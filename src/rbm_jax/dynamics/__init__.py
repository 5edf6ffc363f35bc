"""The continuous-time learning equations, and what is known about their solutions.

`forces` has the equations with the model's averages from enumeration, the Gaussian closure or mean field; `ode`
integrates them with diffrax; `modes` writes them on the singular value decomposition of W, and `mode_flow` integrates
them there; `linear` has the closed solutions; `compare` puts training and
theory on one clock. Time is t = Σ learning rate × updates, for gradients per sample.

Source: Decelle, Fissore & Furtlehner, EPL 119, 60001 (2017) and J. Stat. Phys. 172, 1576 (2018). Equation numbers are
those of the authors' talk on the two papers.
"""

from rbm_jax.dynamics.compare import (
    Comparison,
    compare_trajectories,
    departures,
    growth_deviation,
    growth_rates_along,
    growth_windows,
    linear_window,
)
from rbm_jax.dynamics.forces import (
    DataStatistics,
    LearningForce,
    data_statistics,
    exact_force,
    gaussian_force,
    mean_field_force,
    missing_gaussian_force,
)
from rbm_jax.dynamics.linear import (
    GrowthModes,
    growth_modes,
    linear_bound,
    linear_fixed_points,
    linear_likelihood_gain,
    linear_rate,
    linear_rotations,
    linear_solution,
    linear_time,
    linear_velocity,
    linear_weights,
)
from rbm_jax.dynamics.mode_flow import ModeFlow, integrate_modes
from rbm_jax.dynamics.modes import (
    ModeMotion,
    ModeVelocity,
    mode_motion,
    mode_velocity,
    modes_derivative,
    rebuild_velocity,
    split_degenerate,
)
from rbm_jax.dynamics.ode import integrate

__all__ = [
    "Comparison",
    "DataStatistics",
    "GrowthModes",
    "LearningForce",
    "ModeFlow",
    "ModeMotion",
    "ModeVelocity",
    "compare_trajectories",
    "departures",
    "data_statistics",
    "exact_force",
    "gaussian_force",
    "growth_deviation",
    "growth_modes",
    "growth_rates_along",
    "growth_windows",
    "integrate",
    "integrate_modes",
    "linear_bound",
    "linear_fixed_points",
    "linear_likelihood_gain",
    "linear_rate",
    "linear_rotations",
    "linear_solution",
    "linear_time",
    "linear_velocity",
    "linear_weights",
    "linear_window",
    "mean_field_force",
    "missing_gaussian_force",
    "mode_motion",
    "mode_velocity",
    "modes_derivative",
    "rebuild_velocity",
    "split_degenerate",
]
