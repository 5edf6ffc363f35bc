"""Figures. Every function takes arrays and an optional `ax`, and returns the matplotlib axes it drew on.

Theory is drawn as lines, data and training as points. Each function loads when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rbm_jax.plotting.clusters import plot_fixed_points as plot_fixed_points
    from rbm_jax.plotting.clusters import plot_tree as plot_tree
    from rbm_jax.plotting.images import plot_images as plot_images
    from rbm_jax.plotting.images import plot_imputation as plot_imputation
    from rbm_jax.plotting.replica import PhaseLine as PhaseLine
    from rbm_jax.plotting.replica import plot_phase_diagram as plot_phase_diagram
    from rbm_jax.plotting.replica import plot_theory as plot_theory
    from rbm_jax.plotting.spectral import plot_convergence as plot_convergence
    from rbm_jax.plotting.spectral import plot_growth_rates as plot_growth_rates
    from rbm_jax.plotting.spectral import plot_linear_theory as plot_linear_theory
    from rbm_jax.plotting.spectral import plot_spectrum_histogram as plot_spectrum_histogram
    from rbm_jax.plotting.style import figure_style as figure_style
    from rbm_jax.plotting.style import new_figure as new_figure
    from rbm_jax.plotting.style import write_figure as write_figure
    from rbm_jax.plotting.trajectories import plot_against_fraction as plot_against_fraction
    from rbm_jax.plotting.trajectories import plot_comparison as plot_comparison
    from rbm_jax.plotting.trajectories import plot_learning_curves as plot_learning_curves
    from rbm_jax.plotting.trajectories import plot_modes as plot_modes
    from rbm_jax.plotting.trajectories import plot_quantity as plot_quantity
    from rbm_jax.plotting.trajectories import plot_spectrum as plot_spectrum

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
    "plot_imputation",
    "plot_learning_curves",
    "plot_linear_theory",
    "plot_modes",
    "plot_phase_diagram",
    "plot_quantity",
    "plot_spectrum",
    "plot_spectrum_histogram",
    "plot_theory",
    "plot_tree",
    "write_figure",
]

_HOMES = {
    name: module
    for module, names in {
        "clusters": "plot_fixed_points plot_tree",
        "images": "plot_images plot_imputation",
        "replica": "PhaseLine plot_phase_diagram plot_theory",
        "spectral": "plot_convergence plot_growth_rates plot_linear_theory plot_spectrum_histogram",
        "style": "figure_style new_figure write_figure",
        "trajectories": "plot_against_fraction plot_comparison plot_learning_curves plot_modes plot_quantity"
        " plot_spectrum",
    }.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # else type checkers would take every name for a public one

    def __getattr__(name: str):
        """Import the module that has the name, and keep the name here: this function is not called for it again."""
        if name not in _HOMES:
            raise AttributeError(f"module 'rbm_jax.plotting' has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module(f"rbm_jax.plotting.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
