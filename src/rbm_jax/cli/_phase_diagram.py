"""`rbm-jax phase-diagram`: the phases of the ensemble, and a training's path through them."""

import dataclasses
import enum
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax._internal.checks import check_positive
from rbm_jax.cli._common import load_training, write_figure
from rbm_jax.cli._json import with_json
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
    "PhaseMap",
    "count_modes",
    "map_phases",
    "path_points",
    "phase_diagram_command",
    "training_path",
]


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


@with_json
def phase_diagram_command(
    law: Annotated[LawName, typer.Option(help="Law of the components of the modes.")] = LawName.GAUSSIAN,
    kappa: Annotated[float, typer.Option(help="Hidden units per visible one.")] = 1.0,
    trajectory: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of rbm-jax train: draw its path, at its own kappa.")
    ] = None,
    points: Annotated[int, typer.Option(min=10, max=1000, help="Grid points along each axis.")] = 120,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("phase-diagram.png"),
) -> dict[str, Any]:
    """Paramagnet, ferromagnet and spin glass of RBMs with planted modes and noise, by replica theory.

    Example: rbm-jax phase-diagram --law gaussian --trajectory run
    """
    ratio, path, numbers = check_positive("--kappa", kappa), None, {}
    if trajectory is not None:
        training = load_training(trajectory)
        n_visible, n_hidden = training.rbms.weights.shape[1:]
        ratio = n_hidden / n_visible
        locations = training_path(training, LAWS[law])
        path = path_points(locations)
        numbers = {"path": _path_numbers(training, locations, path)}
        _print_path(numbers["path"])
    with progress_bar(1, "phases", unit="diagram"):
        phases = map_phases(law, ratio=ratio, n_points=points, path=path)
    with figure_style():
        figure = new_figure(3.6, 3.2)
        phases.draw(figure.add_subplot(), path=path)
    write_figure(out, figure)
    typer.echo(f"wrote {out}")
    lines = {name: {"temperature": line.temperature, "bias": line.bias} for name, line in phases.lines.items()}
    return {"law": law, "ratio": ratio, "lines": lines, **numbers, "files": [out]}


def training_path(training: Trajectory, law: AbstractDistribution) -> list[Location]:
    """Where the RBM stands at each time, for as long as most of its modes are noise."""
    n_modes = min(training.rbms.weights.shape[1:])
    path = []
    with progress_bar(len(training.ts), "path of the training", unit="time") as progress:
        for time in range(len(training.ts)):
            location = locate(
                jax.tree.map(lambda leaf, time=time: leaf[time], training.rbms), component_distribution=law
            )
            if count_modes(location) > n_modes / 2:
                break
            path.append(location)
            progress(1)
    if not path:
        raise ValueError(
            f"more than half of the {n_modes} modes stick out at the start of this training: there is "
            "no noise to place it by. It must start from small random weights, with more hidden units"
        )
    return path


def count_modes(location: Location) -> int:
    """Modes that stick out of the noise."""
    return int((np.asarray(location.control.singular_values) > 0).sum())


def path_points(locations: list[Location]) -> np.ndarray:
    """1/σ and w/σ of the strongest mode, NaN where none can be seen; shape (n_times, 2)."""
    noise = np.array([float(each.control.noise) for each in locations])
    strength = np.array([float(each.control.singular_values[0]) for each in locations])
    return np.stack([1 / noise, np.where(strength > 0, strength / noise, np.nan)], axis=1)


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


def _path_numbers(training: Trajectory, locations: list[Location], path: np.ndarray) -> dict[str, Any]:
    """Where the RBM stands at each time, up to where no noise is left to see."""
    return {
        "ts": np.asarray(training.ts[: len(locations)]),
        "noise": np.array([float(each.control.noise) for each in locations]),
        "bias": path[:, 1],
        "n_modes": np.array([count_modes(each) for each in locations]),
        "phase": [Phase(each.phase).name.replace("_", " ").lower() for each in locations],
        "t_end": float(training.ts[len(locations)]) if len(locations) < len(training.ts) else None,
    }


def _print_path(path: dict[str, Any]) -> None:
    typer.echo("         t    sigma  w/sigma  modes  phase")
    columns = ("ts", "noise", "bias", "n_modes", "phase")
    rows = list(zip(*(path[name] for name in columns), strict=True))
    for row in np.unique(np.linspace(0, len(rows) - 1, 16).astype(int)):
        time, noise, bias, n_modes, phase = rows[row]
        label = "     <=1" if np.isnan(bias) else f"{bias:8.3g}"
        typer.echo(f"{time:10.4g} {noise:8.3g} {label} {n_modes:6d}  {phase}")
    if path["t_end"] is not None:
        typer.echo(f"From t = {path['t_end']:.4g} on, most modes stick out: no noise is left to see.")
