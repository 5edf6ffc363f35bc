"""The deterministic trajectory of learning in the limit of many units, and PCD on RBMs of finite size beside it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.experiments.phases import LAWS, LawName
from rbm_jax.experiments.projected import projected_training
from rbm_jax.plotting import figure_style, new_figure, plot_theory
from rbm_jax.replica import Clusters
from rbm_jax.replica.learning import integrate_thermodynamic, thermodynamic_force

__all__ = [
    "DeterministicTrajectory",
    "FollowedCase",
    "TrajectoryRecipe",
    "deterministic_trajectory_figure",
    "follow_trajectory",
]

Figure = Any

_ONE_MODE = (np.array([[1.0], [-1.0]]), np.array([[0.3]]))
_TWO_MODES = (np.array([[1.2, 0], [-1.2, 0], [0, 0.9], [0, -0.9]]), np.array([[0.3, 0.05], [-0.02, 0.3]]))
_CASES = {
    "one mode, Gaussian components": (*_ONE_MODE, LawName.GAUSSIAN),
    "one mode, Bernoulli components": (*_ONE_MODE, LawName.BERNOULLI),
    "two modes, Gaussian components": (*_TWO_MODES, LawName.GAUSSIAN),
}
"""Fields of the clusters of data, the initial B, and the law of the components."""


@dataclasses.dataclass(frozen=True)
class TrajectoryRecipe:
    """How to train the RBMs that are to follow the trajectory.

    Attributes:
        n_visible: units in each layer.
        n_runs: trainings of each case, each with components and data of its own, at least 2.
        n_samples: samples of each training.
        n_chains: persistent Markov chains, at most n_samples, as they start from samples.
        n_sweeps: Gibbs sweeps in each update.
        duration: length of the trainings in τ = √(n_visible n_hidden) x learning rate x updates.
        time_step: τ of an update.
        n_saves: times at which trainings are compared, at least 2.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_visible: int = 300
    n_runs: int = 4
    n_samples: int = 1000
    n_chains: int = 200
    n_sweeps: int = 5
    duration: float = 20.0
    time_step: float = 0.05
    n_saves: int = 21
    seed: int = 0

    def __post_init__(self):
        check_count("n_visible", self.n_visible, minimum=2)
        for name in ("n_samples", "n_chains", "n_sweeps"):
            check_count(name, getattr(self, name))
        for name in ("n_runs", "n_saves"):
            check_count(name, getattr(self, name), minimum=2)
        if self.n_chains > self.n_samples:
            raise ValueError(f"n_chains must be at most n_samples = {self.n_samples}, got {self.n_chains}")
        if check_positive("time_step", self.time_step) > check_positive("duration", self.duration):
            raise ValueError(f"time_step must be at most the duration {self.duration:g}, got {self.time_step:g}")


@dataclasses.dataclass(frozen=True)
class FollowedCase:
    """One kind of data and components: PCD that moves the planted modes only, and the theory.

    Attributes:
        ts: times τ of the trainings, shape (n_times,).
        singular_values: of B in each training, shape (n_runs, n_times, n_modes).
        chain_moments: ⟨m_α²⟩ over the Markov chains of each training, shape (n_runs, n_times, n_modes).
        theory_ts: times τ of the theory, shape (n_theory,).
        theory_singular_values: of B, shape (n_theory, n_modes).
        theory_moments: ⟨m_α²⟩ of the model, shape (n_theory, n_modes).
        data_moments: ⟨m_α²⟩ of the data, shape (n_modes,).
    """

    ts: np.ndarray
    singular_values: np.ndarray
    chain_moments: np.ndarray
    theory_ts: np.ndarray
    theory_singular_values: np.ndarray
    theory_moments: np.ndarray
    data_moments: np.ndarray

    @property
    def singular_values_mean(self) -> np.ndarray:
        """Mean over the trainings, shape (n_times, n_modes)."""
        return self.singular_values.mean(0)

    @property
    def singular_values_std(self) -> np.ndarray:
        """Standard deviation over the trainings, shape (n_times, n_modes)."""
        return self.singular_values.std(0, ddof=1)

    @property
    def chain_moments_mean(self) -> np.ndarray:
        """Mean over the trainings, shape (n_times, n_modes)."""
        return self.chain_moments.mean(0)

    @property
    def chain_moments_std(self) -> np.ndarray:
        """Standard deviation over the trainings, shape (n_times, n_modes)."""
        return self.chain_moments.std(0, ddof=1)


@dataclasses.dataclass(frozen=True)
class DeterministicTrajectory:
    """Trainings beside the theory.

    Attributes:
        cases: by their names, which say how many modes there are and what law their components have.
    """

    cases: dict[str, FollowedCase]


def follow_trajectory(recipe: TrajectoryRecipe = TrajectoryRecipe()) -> DeterministicTrajectory:
    """Train RBMs of one and two modes by PCD that moves these modes only, and integrate the deterministic equation."""
    keys = jax.random.split(jax.random.key(recipe.seed), len(_CASES))
    return DeterministicTrajectory(
        {name: _follow(key, case, recipe) for key, (name, case) in zip(keys, _CASES.items(), strict=True)}
    )


def _follow(key, case: tuple[np.ndarray, np.ndarray, LawName], recipe: TrajectoryRecipe) -> FollowedCase:
    fields, matrix, name = case
    clusters, law = Clusters(jnp.asarray(fields)), LAWS[name]
    options = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe) if field.name != "seed"}
    runs = projected_training(key, clusters, matrix, law, **options)
    force = thermodynamic_force(clusters, n_visible=recipe.n_visible, component_distribution=law)
    path = integrate_thermodynamic(force, jnp.asarray(matrix), jnp.linspace(0, runs.ts[-1], 81))
    return FollowedCase(
        ts=runs.ts,
        singular_values=runs.singular_values,
        chain_moments=_diagonal(runs.chain_moments),
        theory_ts=np.asarray(path.ts),
        theory_singular_values=np.asarray(path.singular_values),
        theory_moments=_diagonal(path.moments.model_visible),
        data_moments=_diagonal(path.moments.data_visible[-1]),
    )


def _diagonal(moments) -> np.ndarray:
    return np.diagonal(np.asarray(moments), axis1=-2, axis2=-1)


@figure_style()
def deterministic_trajectory_figure(result: DeterministicTrajectory) -> Figure:
    """The trajectory of learning in the limit of many units, and PCD on RBMs of 300×300 units.

    What to see: singular values (top) and second moments of the model's magnetizations (bottom) follow one
    deterministic curve, on their way to the moments of the data (dotted). Points are means and deviations of PCD that
    moves the planted modes only.

    Source: the non-linear dynamics, theory and simulation, of Decelle, Fissore and Furtlehner (2018) and the talks.
    """
    figure = new_figure(7, 4.2)
    axes = figure.subplots(2, len(result.cases), sharex=True, sharey="row", squeeze=False)
    for column, (name, case) in zip(axes.T, result.cases.items(), strict=True):
        for value in case.data_moments:
            column[1].axhline(float(value), color="0.6", linestyle=":", linewidth=1)
        values = (case.theory_singular_values, case.singular_values_mean, case.singular_values_std)
        _draw(column[0], case, "$w_{}$", "singular values of $B$", *values)
        moments = (case.theory_moments, case.chain_moments_mean, case.chain_moments_std)
        _draw(column[1], case, r"$\langle m_{}^2\rangle$", "moments of the model", *moments)
        column[0].set_title(name)
    return figure


def _draw(ax: Any, case: FollowedCase, name: str, label: str, theory, mean, deviation) -> None:
    """Both along time, for each mode; not the first time, as the chains start from the data."""
    names = [name.replace("{}", f"{mode + 1}") for mode in range(theory.shape[1])]
    lines = {each: (case.theory_ts, theory[:, mode]) for mode, each in enumerate(names)}
    points = {each: (case.ts[1:], mean[1:, mode], deviation[1:, mode]) for mode, each in enumerate(names)}
    plot_theory(lines, points, x_label=r"time $\tau=\sqrt{n_vn_h}\,t$", label=label, ax=ax)
    ax.label_outer()
