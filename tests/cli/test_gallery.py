"""The gallery: every figure of the theory, small, and the page that shows them."""

import functools
import re
from pathlib import Path

import pytest

from rbm_jax.cli import _gallery, _lossy, _replica, _symmetry, run
from rbm_jax.cli._gallery import FIGURES, caption
from rbm_jax.plotting import new_figure

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def small(monkeypatch):
    """Experiments as short as possible."""

    def shorten(module, name, **options):
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), **options))

    shorten(_gallery, "emergence", n_chains=10, n_updates=45, n_runs=2)
    rates = {"learning_rates": (0.1, 0.05), "n_chains": (5,), "duration": 0.2}
    shorten(_gallery, "step_convergence", n_runs=2, **rates)
    shorten(_gallery, "ComparisonRecipe", n_updates=40, n_chains=20)
    shorten(_gallery, "MethodsRecipe", n_updates=12, n_chains=20, n_sweeps=1)
    shorten(_replica, "measure_phases", n_units=20, n_instances=2)
    shorten(_replica, "projected_training", duration=1.0)  # the theory is integrated as far as the runs go
    monkeypatch.setattr(_gallery, "N_HIDDEN_EXACT", 4)
    monkeypatch.setattr(_gallery, "N_TIMES", 3)
    monkeypatch.setattr(_gallery, "N_STARTS", 10)
    monkeypatch.setattr(_lossy, "FRACTIONS", (0.0, 0.5))
    updates = {"growth_updates": 10, "ring_updates": 5, "torus_updates": 3}
    options = {
        "growth-rates": {"n_updates": 50, "n_chains": 20},
        "phase-diagram": {"n_points": 3, "n_shades": 10},
        "training-path": {"n_shades": 10},
        "order-parameters": {"n_instances": 2, "n_points": 2},
        "mode-competition": {"n_units": 40, "n_instances": 2, "n_points": 1},
        "deterministic-trajectory": {"n_visible": 30, "n_runs": 2},
        "lossy-data": {"recipe": _lossy.LossyRecipe(n_hidden=4, n_updates=3, n_chains=20)},
        "symmetry": {"recipe": _symmetry.SymmetryRecipe((5, 10), torus_sizes=(20,), n_repeats=2, n_test=10, **updates)},
    }
    for name, smaller in options.items():
        draw, needs = FIGURES[name]
        monkeypatch.setitem(FIGURES, name, (functools.partial(draw, **smaller), needs))


def draw_all(folder, only=()):
    """All figures, or some."""
    names = [word for name in only for word in ("--only", name)]
    assert run(["figures", *names, "--n-updates", "12", "--out", str(folder)]) == 0


@pytest.mark.slow
def test_figures_draws_the_gallery(tmp_path, capsys, small):
    draw_all(tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert "modes grow or decay as the theory says" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["growth-rates", "temperature", "order-parameters"])
def test_a_figure_can_be_made_alone(name, tmp_path, small):
    draw_all(tmp_path, [name])
    (path,) = tmp_path.glob("*.png")
    assert path.name == f"{name}.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_figures_writes_a_page_of_all_and_does_no_training_twice(tmp_path, monkeypatch, small):
    for name in FIGURES.keys() - {"fixed-points"}:  # which needs a training
        monkeypatch.setitem(FIGURES, name, (lambda: new_figure(1, 1), ()))
    draw_all(tmp_path)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(FIGURES)
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'<img src="(.*?).png"', page) == list(FIGURES)
    # A figure that is made again leaves the training and the others on the page as they are.
    updates = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "updates").iterdir())
    draw_all(tmp_path, ["fixed-points"])
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
