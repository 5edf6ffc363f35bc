"""Every figure of the theory beside simulation, from trainings done on the spot, and a page that shows them."""

import dataclasses
import html
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rbm_jax._internal.files import atomic_write
from rbm_jax.experiments.clusters import FixedPointsRecipe, FixedPointsResult, fixed_points, fixed_points_figure
from rbm_jax.experiments.competition import Competition, CompetitionRecipe, compete, mode_competition_figure
from rbm_jax.experiments.early_growth import (
    EarlyGrowth,
    EarlyGrowthRecipe,
    growth_rates_figure,
    growth_table,
    measure_growth,
)
from rbm_jax.experiments.equation_figures import comparison_error_figure, comparison_figure
from rbm_jax.experiments.equations import ComparisonRecipe, ComparisonResult, compare
from rbm_jax.experiments.linear_theory import (
    Emergence,
    EmergenceRecipe,
    StepConvergence,
    StepConvergenceRecipe,
    emergence,
    emergence_table,
    linear_theory_figure,
    step_convergence,
    step_convergence_figure,
)
from rbm_jax.experiments.lossy import LossyData, LossyRecipe, learn_from_lossy, lossy_data_figure, lossy_table
from rbm_jax.experiments.measured_phases import (
    MeasuredPhases,
    MeasuredPhasesRecipe,
    measure_phase_diagram,
    phase_diagram_figure,
)
from rbm_jax.experiments.methods import MethodsRecipe, MethodsResult, compare_training, training_methods_figure
from rbm_jax.experiments.order import OrderRecipe, OrderResult, measure_order, order_parameters_figure
from rbm_jax.experiments.phases import PhaseDiagram, PhaseDiagramRecipe, draw_phases, training_path_figure
from rbm_jax.experiments.spectrum_figures import SPECTRUM_FIGURES
from rbm_jax.experiments.tied_weights import (
    TiedWeights,
    TiedWeightsRecipe,
    learn_tied,
    symmetry_figure,
    tied_weights_table,
)
from rbm_jax.experiments.training_spectrum import SpectrumResult, spectrum
from rbm_jax.experiments.trajectory import (
    DeterministicTrajectory,
    TrajectoryRecipe,
    deterministic_trajectory_figure,
    follow_trajectory,
)
from rbm_jax.plotting import write_figure
from rbm_jax.runs import Dataset, Recipe, Run, Source, UnitName, train_run
from rbm_jax.runs.folder import prepare_folder

__all__ = ["FIGURES", "Exhibit", "Gallery", "GalleryRecipe", "caption", "draw_gallery"]

Figure = Any


class Exhibit(NamedTuple):
    """A figure of the gallery.

    Attributes:
        draw: the function that draws it from the result of its experiment.
        experiment: name of the attribute of `Gallery` that is this result.
        table: the function that writes the result down, if its numbers are in no other command.
    """

    draw: Callable[[Any], Figure]
    experiment: str
    table: Callable[[Any], str] | None = None


FIGURES: dict[str, Exhibit] = {
    "linear-theory": Exhibit(linear_theory_figure, "emergence", emergence_table),
    "step-convergence": Exhibit(step_convergence_figure, "convergence"),
    "growth-rates": Exhibit(growth_rates_figure, "growth", growth_table),
    "comparison": Exhibit(comparison_figure, "comparison"),
    "comparison-error": Exhibit(comparison_error_figure, "comparison"),
    **{name: Exhibit(draw, "spectrum") for name, draw in SPECTRUM_FIGURES.items()},
    "training-methods": Exhibit(training_methods_figure, "methods"),
    "fixed-points": Exhibit(fixed_points_figure, "fixed_points"),
    "phase-diagram": Exhibit(phase_diagram_figure, "measured_phases"),
    "training-path": Exhibit(training_path_figure, "path"),
    "order-parameters": Exhibit(order_parameters_figure, "order"),
    "mode-competition": Exhibit(mode_competition_figure, "competition"),
    "deterministic-trajectory": Exhibit(deterministic_trajectory_figure, "trajectory"),
    "lossy-data": Exhibit(lossy_data_figure, "lossy", lossy_table),
    "symmetry": Exhibit(symmetry_figure, "tied_weights", tied_weights_table),
}
"""Each figure by its name."""


@dataclasses.dataclass(frozen=True)
class GalleryRecipe:
    """The main training, and the recipes of all experiments.

    The comparison is of an RBM that is small enough for the exact equations to be integrated, too.
    """

    training: Recipe = field(default_factory=Recipe)
    comparison: ComparisonRecipe = field(default_factory=lambda: ComparisonRecipe(n_hidden=10))
    methods: MethodsRecipe = field(default_factory=MethodsRecipe)
    fixed_points: FixedPointsRecipe = field(default_factory=FixedPointsRecipe)
    emergence: EmergenceRecipe = field(default_factory=EmergenceRecipe)
    convergence: StepConvergenceRecipe = field(default_factory=StepConvergenceRecipe)
    growth: EarlyGrowthRecipe = field(default_factory=EarlyGrowthRecipe)
    path: PhaseDiagramRecipe = field(default_factory=lambda: PhaseDiagramRecipe(n_points=60))
    measured_phases: MeasuredPhasesRecipe = field(default_factory=MeasuredPhasesRecipe)
    order: OrderRecipe = field(default_factory=OrderRecipe)
    competition: CompetitionRecipe = field(default_factory=CompetitionRecipe)
    trajectory: TrajectoryRecipe = field(default_factory=TrajectoryRecipe)
    lossy: LossyRecipe = field(default_factory=LossyRecipe)
    tied_weights: TiedWeightsRecipe = field(default_factory=TiedWeightsRecipe)

    def with_seed(self, seed: int) -> "GalleryRecipe":
        """The same with another seed of all random numbers."""
        recipes = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        seeded = {name: dataclasses.replace(each, seed=seed) for name, each in recipes.items() if hasattr(each, "seed")}
        return dataclasses.replace(self, **seeded)


class Gallery:
    """The results that the figures show, each of it found when it is first asked for.

    Every experiment stands for itself: a figure that is made alone is the same as among all.

    Args:
        folder: where the main training is kept, so that it is not done again.
        source: of the data.
        recipe: of the experiments.
    """

    def __init__(self, folder: Path, source: Source, recipe: GalleryRecipe):
        self.dataset: Dataset = source.load_images()
        self._folder, self._source, self._recipe = folder, source, recipe

    @cached_property
    def run(self) -> Run:
        """The main training."""
        train_run(self._folder, self._source, self._recipe.training)
        return Run(self._folder)

    @cached_property
    def spins(self) -> Run:
        """The same with ±1 units."""
        if self._source.units == UnitName.SPIN:
            return self.run
        folder, source = self._folder / "spins", dataclasses.replace(self._source, units=UnitName.SPIN)
        train_run(folder, source, self._recipe.training)
        return Run(folder)

    @cached_property
    def spectrum(self) -> SpectrumResult:
        """The main training on the singular value decomposition."""
        return spectrum(self.run.trajectory, self.dataset)

    @cached_property
    def fixed_points(self) -> FixedPointsResult:
        """Of the mean field, along the main training."""
        return fixed_points(self.run, self._recipe.fixed_points)

    @cached_property
    def path(self) -> PhaseDiagram:
        """Of a training of ±1 units through the phases."""
        return draw_phases(self._recipe.path, self.spins.trajectory)

    @cached_property
    def comparison(self) -> ComparisonResult:
        """PCD and the learning equations, the exact ones too."""
        return compare(self.dataset, self._recipe.comparison)

    @cached_property
    def methods(self) -> MethodsResult:
        """Trainings by PCD and by extended mean field."""
        return compare_training(self.dataset, self._recipe.methods)

    @cached_property
    def emergence(self) -> Emergence:
        """PCD of Gaussian RBMs."""
        return emergence(self._recipe.emergence)

    @cached_property
    def convergence(self) -> StepConvergence:
        """How PCD tends to the learning equation as steps become short."""
        return step_convergence(self._recipe.convergence)

    @cached_property
    def growth(self) -> EarlyGrowth:
        """Of the modes of the data, in the first times of a training."""
        return measure_growth(self.dataset, self._recipe.growth)

    @cached_property
    def measured_phases(self) -> MeasuredPhases:
        """Monte Carlo in all phases."""
        return measure_phase_diagram(self._recipe.measured_phases)

    @cached_property
    def order(self) -> OrderResult:
        """TAP and Monte Carlo against temperature."""
        return measure_order(self._recipe.order)

    @cached_property
    def competition(self) -> Competition:
        """Of two modes, for three laws."""
        return compete(self._recipe.competition)

    @cached_property
    def trajectory(self) -> DeterministicTrajectory:
        """Of learning in the thermodynamic limit."""
        return follow_trajectory(self._recipe.trajectory)

    @cached_property
    def lossy(self) -> LossyData:
        """Trainings on data with missing entries."""
        return learn_from_lossy(self.dataset, self._recipe.lossy)

    @cached_property
    def tied_weights(self) -> TiedWeights:
        """Trainings with and without the symmetry of the data."""
        return learn_tied(self.dataset, self._recipe.tied_weights)


def draw_gallery(
    folder: Path, source: Source, recipe: GalleryRecipe = GalleryRecipe(), *, only: Sequence[str] | None = None
) -> Iterator[tuple[Path, str | None]]:
    """Write figures into a folder, and a page, index.html, that shows those which are there.

    Args:
        folder: made if it is not there. The main training stays in it, and is not done again.
        source: of the data.
        recipe: of the experiments.
        only: names in `FIGURES`; all by default.

    Yields:
        The file of each figure when it is written, and the table of its experiment, if there is one.

    Raises:
        ValueError: a figure that there is not, at once.
    """
    unknown = [name for name in only or () if name not in FIGURES]
    if unknown:
        raise ValueError(f"only: there is no figure {unknown[0]}; there are {', '.join(FIGURES)}")
    return _draw(prepare_folder(Path(folder)), source, recipe, list(only or FIGURES))


def _draw(folder: Path, source: Source, recipe: GalleryRecipe, names: list[str]) -> Iterator[tuple[Path, str | None]]:
    gallery = Gallery(folder, source, recipe)
    for name in names:
        draw, experiment, table = FIGURES[name]
        result, path = getattr(gallery, experiment), folder / f"{name}.png"
        write_figure(path, draw(result))
        _write_page(folder)
        yield path, None if table is None else table(result)


def caption(name: str) -> tuple[str, list[str]]:
    """The title of a figure, and paragraphs on what to see and its source: the docstring of its function."""
    title, *paragraphs = (inspect.getdoc(FIGURES[name].draw) or "").split("\n\n")
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
