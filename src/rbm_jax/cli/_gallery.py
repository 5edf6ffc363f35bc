"""`rbm-jax figures`: every figure of the theory, from trainings done on the spot."""

import html
import inspect
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

from rbm_jax.cli._common import Out, Seed, load_training, prepare_folder, write_figure
from rbm_jax.cli._compare import comparison_error_figure, comparison_figure
from rbm_jax.cli._datasets import Data, Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._fixed_points import PointsAlong, fixed_points_figure, points_along, training_at
from rbm_jax.cli._growth import growth_rates_figure
from rbm_jax.cli._linear import (
    Emergence,
    StepConvergence,
    emergence,
    linear_theory_figure,
    step_convergence,
    step_convergence_figure,
)
from rbm_jax.cli._lossy import lossy_data_figure
from rbm_jax.cli._methods import MethodsRecipe, TrainingMethods, train_by_all, training_methods_figure
from rbm_jax.cli._replica import (
    deterministic_trajectory_figure,
    mode_competition_figure,
    order_parameters_figure,
    phase_diagram_figure,
    training_path_figure,
)
from rbm_jax.cli._side_by_side import ComparisonRecipe, SideBySide, train_and_integrate
from rbm_jax.cli._spectrum import SPECTRUM_FIGURES, SpectrumReport, spectrum_report
from rbm_jax.cli._symmetry import symmetry_figure
from rbm_jax.cli._training import Recipe, train_run
from rbm_jax.io import atomic_write
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.progress import progress_bar

__all__ = ["FIGURES", "Experiments", "caption", "figures"]

N_HIDDEN_EXACT = 10
"""Hidden units where the exact equations are integrated, too."""
N_TIMES, N_STARTS = 16, 500
"""Of the figure of fixed points: times along the training, and data to start from."""

Figure = Any

FIGURES: dict[str, tuple[Callable[..., Figure], tuple[str, ...]]] = {
    "linear-theory": (linear_theory_figure, ("emergence",)),
    "step-convergence": (step_convergence_figure, ("convergence",)),
    "growth-rates": (growth_rates_figure, ("key", "dataset")),
    "comparison": (comparison_figure, ("side_by_side",)),
    "comparison-error": (comparison_error_figure, ("side_by_side",)),
    **{name: (draw, ("report",)) for name, draw in SPECTRUM_FIGURES.items()},
    "training-methods": (training_methods_figure, ("methods",)),
    "fixed-points": (fixed_points_figure, ("fixed_points",)),
    "phase-diagram": (phase_diagram_figure, ("key",)),
    "training-path": (training_path_figure, ("spins",)),
    "order-parameters": (order_parameters_figure, ("key",)),
    "mode-competition": (mode_competition_figure, ("key",)),
    "deterministic-trajectory": (deterministic_trajectory_figure, ("key",)),
    "lossy-data": (lossy_data_figure, ("key", "dataset")),
    "symmetry": (symmetry_figure, ("key", "dataset")),
}
"""Each figure by its name: the function that draws it, and the attributes of `Experiments` that it takes."""


def _complete_name(incomplete: str) -> Iterable[str]:
    return (name for name in FIGURES if name.startswith(incomplete))


Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", autocompletion=_complete_name, help="Make this figure alone; can be given several times."
    ),
]


def figures(
    data: Data = "digits",
    only: Only = None,
    n_updates: Annotated[int, typer.Option(min=1, help="Updates of the training.")] = Recipe.n_updates,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    seed: Seed = 0,
    out: Out = Path("figures"),
) -> None:
    """Every figure of the theory beside simulation, as PNG files in a folder; up to ten minutes.

    A page in the folder, index.html, shows them and says what to see in each. The main training stays in the folder,
    too, and is not done again.

    Example: rbm-jax figures --out figures
    """
    unknown = [name for name in only or () if name not in FIGURES]
    if unknown:
        raise ValueError(f"--only: there is no figure {unknown[0]}; there are {', '.join(FIGURES)}")
    experiments = Experiments(prepare_folder(out), Source(data, units, threshold), n_updates, seed)
    names = only or list(FIGURES)
    with progress_bar(len(names), "figures", unit="figure") as progress:
        for name in names:
            draw, needs = FIGURES[name]
            write_figure(out / f"{name}.png", draw(*(getattr(experiments, each) for each in needs)))
            typer.echo(f"wrote {out / f'{name}.png'}")
            _write_page(out)
            progress(1)
    typer.echo(f"wrote {out / 'index.html'}")


class Experiments:
    """What the figures show, each of it done when a figure first asks for it.

    Attributes:
        key: of every figure, each of which stands for itself: one that is made alone is the same as among all.
        dataset: the data.
    """

    def __init__(self, folder: Path, source: Source, n_updates: int, seed: int):
        self.key = jax.random.key(seed)
        self.dataset: Dataset = source.load_images()
        self._folder, self._source = folder, source
        self._recipe = Recipe(n_updates=n_updates, seed=seed)

    @cached_property
    def run(self) -> Path:
        """Folder of a training by PCD."""
        train_run(self._folder, self._source, self._recipe)
        return self._folder

    @cached_property
    def training(self) -> Trajectory:
        """All of it."""
        return load_training(self.run)

    @cached_property
    def spins(self) -> Trajectory:
        """The same with ±1 units."""
        if self._source.units == UnitName.SPIN:
            return self.training
        folder = self._folder / "spins"
        train_run(folder, Source(self._source.data, UnitName.SPIN, self._source.threshold), self._recipe)
        return load_training(folder)

    @cached_property
    def report(self) -> SpectrumReport:
        """The training on the singular value decomposition."""
        return spectrum_report(self.training, self.dataset)

    @cached_property
    def fixed_points(self) -> PointsAlong:
        """Of the mean field, along the training."""
        return points_along(training_at(self.run, N_TIMES), self.dataset, N_STARTS, max_steps=2000)

    @cached_property
    def side_by_side(self) -> SideBySide:
        """PCD and the learning equations, the exact ones too."""
        return train_and_integrate(self.dataset, ComparisonRecipe(n_hidden=N_HIDDEN_EXACT, seed=self._recipe.seed))

    @cached_property
    def methods(self) -> TrainingMethods:
        """Trainings by PCD and by extended mean field."""
        return train_by_all(self.dataset, MethodsRecipe(seed=self._recipe.seed))

    @cached_property
    def emergence(self) -> Emergence:
        """PCD of Gaussian RBMs."""
        return emergence(self.key)

    @cached_property
    def convergence(self) -> StepConvergence:
        """How PCD tends to the learning equation as steps become short."""
        return step_convergence(self.key)


def caption(name: str) -> tuple[str, list[str]]:
    """The title of a figure, and paragraphs on what to see and its source: the docstring of its function."""
    title, *paragraphs = (inspect.getdoc(FIGURES[name][0]) or "").split("\n\n")
    return title, [" ".join(each.split()) for each in paragraphs]


def _write_page(folder: Path) -> None:
    """Write index.html: the figures of the folder with their captions."""
    shown = [name for name in FIGURES if (folder / f"{name}.png").is_file()]
    with atomic_write(folder / "index.html") as path:
        path.write_text(_PAGE.format("\n".join(_section(name) for name in shown)), encoding="utf-8")


def _section(name: str) -> str:
    title, paragraphs = caption(name)
    text = "".join(f"<p>{_marked_up(each)}</p>" for each in paragraphs)
    return (
        f'<section id="{name}"><h2>{_marked_up(title)}</h2>\n'
        f'<figure><img src="{name}.png" alt="{html.escape(title)}"><figcaption>{text}</figcaption></figure></section>'
    )


def _marked_up(text: str) -> str:
    return re.sub(r"`(.*?)`", r"<code>\1</code>", html.escape(text))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>rbm_jax: figures</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ font-size: 1.1rem; margin: 3rem 0 0.5rem }}
figure {{ margin: 0 }}
img {{ max-width: 100%; background: white }}
</style>
</head>
<body>
<h1>Restricted Boltzmann Machines: theory beside simulation</h1>
<p>Theory is drawn as lines, data and training as points.</p>
{}
</body>
</html>
"""
