"""Two modes that compete: when a second one condenses beside the first, by replica theory and by TAP."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.experiments.instances import orthogonalize, sample_instances, tap_order
from rbm_jax.experiments.phases import LAWS, LawName
from rbm_jax.plotting import figure_style, new_figure, plot_theory
from rbm_jax.replica import AbstractDistribution, Control, compositional_threshold, solve_saddle
from rbm_jax.spectral import Modes

__all__ = ["Competition", "CompetitionRecipe", "LawCompetition", "compete", "mode_competition_figure"]

Figure = Any

_LARGEST_RATIOS = {LawName.LAPLACE: 1.4, LawName.GAUSSIAN: 1.4, LawName.BERNOULLI: 2.8}
"""Of w₂/w₁, beyond the threshold of each law."""
_TITLES = {
    LawName.LAPLACE: "Laplace, kurtosis 6",
    LawName.GAUSSIAN: "Gaussian, 3",
    LawName.BERNOULLI: "Bernoulli, 1",
}


@dataclasses.dataclass(frozen=True)
class CompetitionRecipe:
    """Which RBMs to measure.

    Attributes:
        strength: w₁ of the first mode.
        noise: σ of the random part of the weights.
        n_units: units in each layer.
        n_instances: RBMs drawn for each law, at least 2.
        n_points: ratios w₂/w₁ of the measurements.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    strength: float = 1.5
    noise: float = 0.3
    n_units: int = 1000
    n_instances: int = 8
    n_points: int = 10
    seed: int = 0

    def __post_init__(self):
        check_positive("strength", self.strength)
        check_positive("noise", self.noise, or_zero=True)
        check_count("n_units", self.n_units, minimum=2)  # of which two modes are orthogonal
        check_count("n_instances", self.n_instances, minimum=2)  # whose spread is the error
        check_count("n_points", self.n_points)


@dataclasses.dataclass(frozen=True)
class LawCompetition:
    """Magnetizations of two modes whose components have one law; the first mode condenses first.

    Attributes:
        threshold: r_c, the ratio w₂/w₁ from which on the second mode condenses beside the first.
        ratios: w₂/w₁ of the measurements, shape (n_points,).
        magnetizations: |m₁| and |m₂| at the TAP fixed points, shape (n_points, n_instances, 2).
        theory_ratios: w₂/w₁ of the theory, shape (n_theory,).
        theory: |m₁| and |m₂| by replica theory, shape (n_theory, 2).
    """

    threshold: float
    ratios: np.ndarray
    magnetizations: np.ndarray
    theory_ratios: np.ndarray
    theory: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the RBMs, shape (n_points, 2)."""
        return self.magnetizations.mean(1)

    @property
    def error(self) -> np.ndarray:
        """Standard error of that mean, shape (n_points, 2)."""
        return self.magnetizations.std(1, ddof=1) / np.sqrt(self.magnetizations.shape[1])


@dataclasses.dataclass(frozen=True)
class Competition:
    """What becomes of two modes.

    Attributes:
        by_law: for each law of the components.
    """

    by_law: dict[LawName, LawCompetition]


def compete(recipe: CompetitionRecipe = CompetitionRecipe()) -> Competition:
    """Magnetizations of a condensed mode and of one of growing strength, for three laws of the components."""
    keys = jax.random.split(jax.random.key(recipe.seed), len(_LARGEST_RATIOS))
    return Competition(
        {
            name: _compete(key, LAWS[name], np.linspace(0.5, largest, recipe.n_points), recipe)
            for key, (name, largest) in zip(keys, _LARGEST_RATIOS.items(), strict=True)
        }
    )


def _compete(key, law: AbstractDistribution, ratios: np.ndarray, recipe: CompetitionRecipe) -> LawCompetition:
    """By theory, and by TAP on RBMs with orthogonal modes."""
    strength, noise, n_units = recipe.strength, recipe.noise, recipe.n_units
    alone = solve_saddle(Control(np.array([strength]), noise=noise), component_distribution=law)
    threshold = float(compositional_threshold(alone, strength))
    random, modes = sample_instances(key, recipe.n_instances, n_units, n_units, [0.0, 0.0], noise, law=law)
    left, right = (jax.vmap(orthogonalize)(each) / n_units**0.5 for each in (modes.left, modes.right))

    def solve(ratio):
        start = jnp.where(ratio < threshold, jnp.array([0.8, 0.0]), jnp.array([0.2, 0.8]))
        control = Control(strength * jnp.stack([jnp.ones_like(ratio), ratio]), noise=noise)
        return solve_saddle(control, component_distribution=law, m_init=start).m_visible

    def measure(ratio, rbm, left, right):
        modes = Modes(left, strength * jnp.stack([jnp.ones_like(ratio), ratio]), right)
        rbm = dataclasses.replace(rbm, weights=rbm.weights + (left * modes.values) @ right.T)
        return abs(tap_order(rbm, modes)[0].m_visible)

    fine = np.linspace(ratios[0], ratios[-1], 6 * len(ratios))
    theory = abs(np.asarray(jax.jit(lambda each: jax.lax.map(solve, each))(jnp.asarray(fine))))
    together = jax.jit(jax.vmap(measure, in_axes=(None, 0, 0, 0)))
    found = np.stack([np.asarray(together(ratio, random, left, right)) for ratio in jnp.asarray(ratios)])
    return LawCompetition(threshold, ratios, found, fine, theory)


@figure_style()
def mode_competition_figure(result: Competition) -> Figure:
    """What becomes of a condensed mode beside another one of growing strength, for three laws of the components.

    What to see: with heavy tails (Laplace) a second mode condenses beside the first one even if it is weaker, and both
    live together: a compositional phase. With Gaussian components they tie at equal strength, and with Bernoulli ones
    the first mode keeps the other down until that is far stronger. Points are TAP fixed points of RBMs of 1000×1000
    units, lines replica theory, and the dotted one the threshold r_c, from which on the second mode condenses.

    Source: Decelle, Fissore and Furtlehner (2018), on the ferromagnetic phase.
    """
    figure = new_figure(7, 2.6)
    axes = figure.subplots(1, len(result.by_law), sharey=True, squeeze=False)[0]
    for ax, (name, found) in zip(axes, result.by_law.items(), strict=True):
        modes = {"$m_1$": 0, "$m_2$": 1}
        theory = {label: (found.theory_ratios, found.theory[:, mode]) for label, mode in modes.items()}
        points = {label: (found.ratios, found.mean[:, mode], found.error[:, mode]) for label, mode in modes.items()}
        plot_theory(theory, points, x_label="$w_2/w_1$", label=r"magnetizations $m_1$, $m_2$", ax=ax)
        ax.axvline(found.threshold, color="0.6", linestyle=":", linewidth=1)
        ax.set_title(f"{_TITLES[name]}: $r_c={found.threshold:.3f}$")
    return figure
