"""The phases of the ensemble by replica theory, and a training's path through them."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_choice, check_count, check_positive
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.plotting import PhaseLine, figure_style, new_figure, plot_phase_diagram
from rbm_jax.progress import progress_bar
from rbm_jax.replica import (
    AbstractDistribution,
    BernoulliDistribution,
    GaussianDistribution,
    LaplaceDistribution,
    Location,
    Phase,
    almeida_thouless_strength,
    critical_strength,
    locate,
    phase_diagram,
)

__all__ = [
    "LAWS",
    "LawName",
    "PhaseDiagram",
    "PhaseDiagramRecipe",
    "PhaseMap",
    "TrainingPath",
    "draw_phases",
    "follow_path",
    "map_phases",
    "path_table",
    "phases_figure",
    "training_path_figure",
]

Figure = Any


class LawName(enum.StrEnum):
    """Laws of the components of modes."""

    GAUSSIAN = "gaussian"
    BERNOULLI = "bernoulli"
    LAPLACE = "laplace"


LAWS: dict[LawName, AbstractDistribution] = {
    LawName.GAUSSIAN: GaussianDistribution(),
    LawName.BERNOULLI: BernoulliDistribution(),
    LawName.LAPLACE: LaplaceDistribution(),
}


@dataclasses.dataclass(frozen=True)
class PhaseDiagramRecipe:
    """Which diagram to draw.

    Attributes:
        law: law of the components of the modes.
        ratio: κ, hidden units per visible one; with the path of a training its own.
        n_points: grid points along each axis.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    law: LawName = LawName.GAUSSIAN
    ratio: float = 1.0
    n_points: int = 120

    def __post_init__(self):
        object.__setattr__(self, "law", check_choice("law", LawName, self.law))
        check_positive("ratio", self.ratio)
        if not 10 <= check_count("n_points", self.n_points) <= 1000:
            raise ValueError(f"n_points must be between 10 and 1000, got {self.n_points}")


@dataclasses.dataclass(frozen=True)
class TrainingPath:
    """Where an RBM in training stands in the diagram, for as long as most of its modes are noise.

    Attributes:
        ts: times, shape (n_times,).
        noise: σ of the bulk at each, in units of k_BT.
        bias: w/σ of the strongest mode; NaN where none sticks out.
        n_modes: modes that stick out of the noise.
        phase: name of the phase at each time.
        t_end: the time at which most modes stick out, and the path ends; None if that does not happen.
    """

    ts: np.ndarray
    noise: np.ndarray
    bias: np.ndarray
    n_modes: np.ndarray
    phase: list[str]
    t_end: float | None

    @property
    def points(self) -> np.ndarray:
        """1/σ and w/σ, shape (n_times, 2)."""
        return np.stack([1 / self.noise, self.bias], axis=1)


def follow_path(training: Trajectory, law: LawName = LawName.GAUSSIAN) -> TrainingPath:
    """The path of a training through the phase diagram.

    Raises:
        ValueError: most modes stick out from the start, so that there is no noise to place the RBM by.
    """
    locations = _locations(training, LAWS[law])
    n_times = len(locations)
    noise = np.array([float(each.control.noise) for each in locations])
    strength = np.array([float(each.control.singular_values[0]) for each in locations])
    return TrainingPath(
        ts=np.asarray(training.ts[:n_times]),
        noise=noise,
        bias=np.where(strength > 0, strength / noise, np.nan),
        n_modes=np.array([_count_modes(each) for each in locations]),
        phase=[Phase(each.phase).name.replace("_", " ").lower() for each in locations],
        t_end=float(training.ts[n_times]) if n_times < len(training.ts) else None,
    )


def _locations(training: Trajectory, law: AbstractDistribution) -> list[Location]:
    n_modes = min(training.rbms.weights.shape[1:])
    found = []
    with progress_bar(len(training.ts), "path of the training", unit="time") as progress:
        for time in range(len(training.ts)):
            rbm = jax.tree.map(lambda leaf, time=time: leaf[time], training.rbms)
            location = locate(rbm, component_distribution=law)
            if _count_modes(location) > n_modes / 2:
                break
            found.append(location)
            progress(1)
    if not found:
        raise ValueError(
            f"training: more than half of the {n_modes} modes stick out at its start, so there is no noise to place it "
            "by. It must start from small random weights, with more hidden units"
        )
    return found


def _count_modes(location: Location) -> int:
    """Modes that stick out of the noise."""
    return int((np.asarray(location.control.singular_values) > 0).sum())


@dataclasses.dataclass(frozen=True)
class PhaseMap:
    """Phases on a grid, and the lines between them: what `plot_phase_diagram` draws."""

    temperature: np.ndarray
    bias: np.ndarray
    phase: np.ndarray
    lines: dict[str, PhaseLine]

    def draw(self, ax: Any, **options) -> None:
        """Draw the diagram; options are those of `plot_phase_diagram`."""
        plot_phase_diagram(self.temperature, self.bias, self.phase, lines=self.lines, ax=ax, **options)


def map_phases(name: LawName, *, ratio: float = 1.0, n_points: int = 120, path=None) -> PhaseMap:
    """The diagram around the transitions; in logarithmic steps, and as far as needed, where there is a path."""
    law = LAWS[name]
    if path is None:
        temperature, bias = np.linspace(0.02, 1.6, n_points), np.linspace(0.02, 2.0, n_points)
    else:
        highest = np.nanmax(path)
        temperature = np.geomspace(min(0.3, 0.8 * path[:, 0].min()), max(3, 1.5 * path[:, 0].max()), n_points)
        bias = np.geomspace(0.3, max(3, 2 * highest), n_points)
    noise = jnp.asarray(1 / temperature)
    # Off the dense Gaussian rule, each solution averages over many more points, and neighbors look alike.
    coarse = slice(None) if isinstance(law, GaussianDistribution | BernoulliDistribution) else slice(None, None, 3)
    rows = jnp.asarray(bias[coarse])[:, None]
    phase = phase_diagram(noise[coarse], rows * noise[coarse], ratio=ratio, component_distribution=law).phase
    return PhaseMap(temperature[coarse], bias[coarse], np.asarray(phase), _lines(noise, ratio, name))


def _lines(noise, ratio: float, name: LawName) -> dict[str, PhaseLine]:
    temperature = np.asarray(1 / noise)
    critical = np.asarray(jax.jit(jax.vmap(lambda each: critical_strength(each, ratio=ratio)))(noise)) / noise
    glass = np.asarray(noise) > 1
    cold = jnp.linspace(1.01, float(noise.max()), len(noise) // 5) if name == LawName.LAPLACE else noise[glass]
    lines = {
        "condensation": PhaseLine(temperature, np.asarray(critical), "-"),
        r"freezing, $\sigma=1$": PhaseLine(np.ones(2), np.array([1e-3, 1.0]), "--"),
    }
    if cold.size:
        breaking = jax.lax.map(
            lambda each: almeida_thouless_strength(each, ratio=ratio, component_distribution=LAWS[name]),
            cold,
            batch_size=32,
        )
        breaking = np.asarray(breaking / cold)
        lines["de Almeida-Thouless"] = PhaseLine(1 / np.asarray(cold), breaking, ":")
    return lines


@dataclasses.dataclass(frozen=True)
class PhaseDiagram:
    """A diagram, and the path of a training through it if there is one.

    Attributes:
        law: of the components of the modes.
        ratio: κ = n_hidden / n_visible.
        phases: on a grid, with the lines between them.
        path: of the training, or None.
    """

    law: LawName
    ratio: float
    phases: PhaseMap
    path: TrainingPath | None

    @property
    def lines(self) -> dict[str, dict[str, Any]]:
        """The transitions by name, each as temperatures 1/σ and biases w/σ."""
        return {name: {"temperature": line.temperature, "bias": line.bias} for name, line in self.phases.lines.items()}


def draw_phases(
    recipe: PhaseDiagramRecipe = PhaseDiagramRecipe(),
    training: Trajectory | None = None,
) -> PhaseDiagram:
    """Paramagnet, ferromagnet and spin glass of RBMs with planted modes and noise, by replica theory.

    Args:
        recipe: which diagram.
        training: of an RBM of ±1 units from small random weights, whose path is to be drawn.

    Raises:
        ValueError: a training that starts with modes that stick out.
    """
    law, ratio, path = recipe.law, recipe.ratio, None
    if training is not None:
        n_visible, n_hidden = training.rbms.weights.shape[1:]
        ratio, path = n_hidden / n_visible, follow_path(training, law)
    with progress_bar(1, "phases", unit="diagram"):
        points = None if path is None else path.points
        phases = map_phases(law, ratio=ratio, n_points=recipe.n_points, path=points)
    return PhaseDiagram(law, ratio, phases, path)


@figure_style()
def phases_figure(result: PhaseDiagram) -> Figure:
    """The phases, the lines between them, and the path if there is one."""
    figure = new_figure(3.6, 3.2)
    result.phases.draw(figure.add_subplot(), path=None if result.path is None else result.path.points)
    return figure


def training_path_figure(result: PhaseDiagram) -> Figure:
    """The path of a training, of an RBM of ±1 units, through the phase diagram.

    What to see: weights are noise at the start, and the RBM a paramagnet. The first mode that sticks out grows until
    it takes the RBM into the ferromagnet. The noise that is left falls as further modes leave it, and rises in the end.

    Source: Decelle, Fissore and Furtlehner (2018), who draw such a path.
    """
    return phases_figure(result)


def path_table(path: TrainingPath) -> str:
    """The path at up to 16 times."""
    rows = ["         t    sigma  w/sigma  modes  phase"]
    for time in np.unique(np.linspace(0, len(path.ts) - 1, 16).astype(int)):
        bias = "     <=1" if np.isnan(path.bias[time]) else f"{path.bias[time]:8.3g}"
        rows.append(f"{path.ts[time]:10.4g} {path.noise[time]:8.3g} {bias} {path.n_modes[time]:6d}  {path.phase[time]}")
    if path.t_end is not None:
        rows.append(f"From t = {path.t_end:.4g} on, most modes stick out: no noise is left to see.")
    return "\n".join(rows)
