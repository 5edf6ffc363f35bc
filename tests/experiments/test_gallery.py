"""The gallery: every figure of the theory, small, and the page that shows them."""

import re
from pathlib import Path

import pytest

from rbm_jax.cli import run
from rbm_jax.experiments import (
    FIGURES,
    ComparisonRecipe,
    CompetitionRecipe,
    EarlyGrowthRecipe,
    EmergenceRecipe,
    FixedPointsRecipe,
    GalleryRecipe,
    LossyRecipe,
    MeasuredPhasesRecipe,
    MethodsRecipe,
    OrderRecipe,
    PhaseDiagramRecipe,
    StepConvergenceRecipe,
    TiedWeightsRecipe,
    TrajectoryRecipe,
    caption,
    draw_gallery,
)
from rbm_jax.plotting import new_figure
from rbm_jax.runs import Recipe, Source

DOCS = Path(__file__).parents[2] / "docs"
SMALL = GalleryRecipe(
    training=Recipe(n_hidden=4, n_updates=12),
    comparison=ComparisonRecipe(n_hidden=4, n_updates=40, n_chains=20),
    methods=MethodsRecipe(n_updates=12, n_chains=20, n_sweeps=1),
    fixed_points=FixedPointsRecipe(n_times=3, n_samples=10),
    emergence=EmergenceRecipe(n_chains=10, n_updates=45, n_runs=2),
    convergence=StepConvergenceRecipe(n_runs=2, learning_rates=(0.1, 0.05), n_chains=(5,), duration=0.2),
    growth=EarlyGrowthRecipe(n_updates=50, n_chains=20),
    path=PhaseDiagramRecipe(n_points=10),
    measured_phases=MeasuredPhasesRecipe(n_points=3, n_shades=10, n_units=20),
    order=OrderRecipe(n_instances=2, n_points=2),
    competition=CompetitionRecipe(n_units=40, n_instances=2, n_points=1),
    trajectory=TrajectoryRecipe(n_visible=30, n_runs=2, duration=1.0),
    lossy=LossyRecipe(fractions=(0.0, 0.5), n_hidden=4, n_updates=3, n_chains=20),
    tied_weights=TiedWeightsRecipe((5, 10), (20,), 2, n_test=10, growth_updates=10, ring_updates=5, torus_updates=3),
)
"""Experiments as short as possible."""


def draw(folder, only=None):
    return dict(draw_gallery(folder, Source("digits"), SMALL, only=only))


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_whole_gallery_is_drawn(tmp_path):
    tables = draw(tmp_path)
    assert [path.stem for path in tables] == list(FIGURES)
    assert all(is_png(path) for path in tables)
    assert "modes grow or decay as the theory says" in tables[tmp_path / "growth-rates.png"]


@pytest.mark.parametrize("name", ["temperature"])
def test_a_figure_can_be_made_alone(name, tmp_path):
    (path,) = draw(tmp_path, [name])
    assert path == tmp_path / f"{name}.png"
    assert is_png(path)
    assert [each.name for each in tmp_path.glob("*.png")] == [path.name]


def test_figures_writes_a_page_of_all_and_does_no_training_twice(tmp_path, monkeypatch):
    empty = {"draw": lambda _: new_figure(1, 1), "experiment": "dataset", "table": None}
    for name in FIGURES.keys() - {"fixed-points"}:  # which needs a training
        monkeypatch.setitem(FIGURES, name, FIGURES[name]._replace(**empty))
    monkeypatch.setattr("rbm_jax.cli._gallery.GalleryRecipe", lambda: SMALL)
    options = ["--n-updates", "12", "--out", str(tmp_path)]
    assert run(["figures", *options]) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == set(FIGURES)
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'<img src="(.*?).png"', page) == list(FIGURES)
    # A figure that is made again leaves the training and the others on the page as they are.
    updates = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "updates").iterdir())
    assert run(["figures", "--only", "fixed-points", *options]) == 0
    assert updates == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "updates").iterdir())
    assert (tmp_path / "index.html").read_text() == page


def test_a_figure_that_is_not_there_is_named_with_those_that_are(tmp_path, capsys):
    assert run(["figures", "--only", "mode", "--out", str(tmp_path / "figures")]) == 2
    message = capsys.readouterr().err
    assert "--only: there is no figure mode; there are linear-theory, " in message
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_to_see_and_its_source_here_and_in_the_documentation(name):
    title, paragraphs = caption(name)
    assert title.endswith(".")
    assert [each.split(":")[0] for each in paragraphs] == ["What to see", "Source"]
    page = " ".join((DOCS / "gallery.md").read_text().split())
    assert f"![{title}](gallery/{name}.png) **{title}** {' '.join(paragraphs)}" in page
    assert (DOCS / "gallery" / f"{name}.png").is_file()
