"""Figures. Every function takes arrays and an optional `ax`, and returns the matplotlib axes it drew on.

Theory is drawn as lines, data and training as points.
"""

from rbm_jax.plotting.clusters import plot_fixed_points, plot_tree
from rbm_jax.plotting.images import plot_images
from rbm_jax.plotting.replica import PhaseLine, plot_phase_diagram, plot_theory
from rbm_jax.plotting.spectral import (
    plot_convergence,
    plot_growth_rates,
    plot_linear_theory,
    plot_spectrum_histogram,
)
from rbm_jax.plotting.style import figure_style, new_figure
from rbm_jax.plotting.trajectories import (
    plot_against_fraction,
    plot_comparison,
    plot_learning_curves,
    plot_modes,
    plot_quantity,
    plot_spectrum,
)

__all__ = [
    "PhaseLine",
    "figure_style",
    "new_figure",
    "plot_against_fraction",
    "plot_comparison",
    "plot_convergence",
    "plot_fixed_points",
    "plot_growth_rates",
    "plot_images",
    "plot_learning_curves",
    "plot_linear_theory",
    "plot_modes",
    "plot_phase_diagram",
    "plot_quantity",
    "plot_spectrum",
    "plot_spectrum_histogram",
    "plot_theory",
    "plot_tree",
]
