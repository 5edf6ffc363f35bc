"""The phase diagram of replica theory on trial: Monte Carlo at points of it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_count
from rbm_jax.experiments.instances import measure_phases
from rbm_jax.experiments.phases import LawName, PhaseMap, map_phases
from rbm_jax.plotting import figure_style, new_figure

__all__ = ["MeasuredPhases", "MeasuredPhasesRecipe", "measure_phase_diagram", "phase_diagram_figure"]

Figure = Any


@dataclasses.dataclass(frozen=True)
class MeasuredPhasesRecipe:
    """Where and how to measure.

    Attributes:
        n_points: measured points along each axis.
        n_shades: points of the theory along each axis.
        n_units: units in each layer.
        n_instances: RBMs drawn at each point.
        n_chains: Markov chains of each RBM.
        n_sweeps: Gibbs sweeps of the cooling, and between the two states of an overlap; at least 20.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_points: int = 12
    n_shades: int = 120
    n_units: int = 200
    n_instances: int = 2
    n_chains: int = 24
    n_sweeps: int = 400
    seed: int = 0

    def __post_init__(self):
        for name in ("n_points", "n_units", "n_instances", "n_chains"):
            check_count(name, getattr(self, name))
        check_count("n_shades", self.n_shades, minimum=10)
        check_count("n_sweeps", self.n_sweeps, minimum=20)


@dataclasses.dataclass(frozen=True)
class MeasuredPhases:
    """Order in RBMs of a planted mode and noise, at points of the phase diagram.

    Attributes:
        temperature: 1/σ of the points, shape (n_points,).
        bias: w/σ of the points, shape (n_points,).
        magnetization: root mean square along the mode, between 0 and 1, shape (n_points,).
        overlap: root mean square overlap of states that are n_sweeps sweeps apart, between 0 and 1, shape (n_points,).
        phases: what replica theory says.
    """

    temperature: np.ndarray
    bias: np.ndarray
    magnetization: np.ndarray
    overlap: np.ndarray
    phases: PhaseMap


def measure_phase_diagram(recipe: MeasuredPhasesRecipe = MeasuredPhasesRecipe()) -> MeasuredPhases:
    """Magnetizations and overlaps on a grid of 1/σ and w/σ by Gibbs sampling, and the phases by replica theory."""
    temperatures, biases = np.linspace(0.1, 1.55, recipe.n_points), np.linspace(0.1, 1.95, recipe.n_points)
    temperature, bias = (axis.ravel() for axis in np.meshgrid(temperatures, biases))
    magnetization, overlap = measure_phases(
        jax.random.key(recipe.seed),
        1 / temperature,
        bias / temperature,
        n_units=recipe.n_units,
        n_instances=recipe.n_instances,
        n_chains=recipe.n_chains,
        n_sweeps=recipe.n_sweeps,
    )
    phases = map_phases(LawName.GAUSSIAN, n_points=recipe.n_shades)
    return MeasuredPhases(temperature, bias, magnetization, overlap, phases)


@figure_style()
def phase_diagram_figure(result: MeasuredPhases) -> Figure:
    """Phases of RBMs whose weights are a planted mode of strength w and noise σ: replica theory, and Monte Carlo.

    What to see: the colors of the points, which are measured on RBMs of 200×200 units, change where the lines of the
    theory are. The magnetization along the mode (left) is that of a ferromagnet; the overlap of two replicas (right)
    tells the spin glass from the paramagnet.

    Source: the phase diagram of Decelle, Fissore and Furtlehner (2018), and of the talks.
    """
    figure = new_figure(7, 3)
    values = {r"magnetization $m$": result.magnetization, r"overlap $q$": result.overlap}
    for ax, (name, value) in zip(figure.subplots(1, 2), values.items(), strict=True):
        points = np.stack([result.temperature, result.bias, value], 1)
        result.phases.draw(ax, points=points, points_label=f"{name} by Monte Carlo")
    return figure
