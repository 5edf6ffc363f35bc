"""The gallery: every figure of the theory, small, and the page that shows them."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from rbm_jax.cli import _gallery, _lossy, _replica, _symmetry, run
from rbm_jax.cli._gallery import FIGURES, caption
from rbm_jax.cli._phase_diagram import PhaseMap
from rbm_jax.cli._spectrum import SPECTRUM_FIGURES
from rbm_jax.plotting import PhaseLine, new_figure

DOCS = Path(__file__).parents[2] / "docs"


DRAWN_ELSEWHERE = {"linear-theory", "step-convergence", "training-methods", *SPECTRUM_FIGURES}
"""Figures that tests of their experiments draw."""


@pytest.fixture
def small(monkeypatch):
    """Experiments as short as possible, and an empty figure in place of what other tests draw."""

    def shorten(module, name, **options):
        monkeypatch.setattr(module, name, functools.partial(getattr(module, name), **options))

    for name in DRAWN_ELSEWHERE:
        monkeypatch.setitem(FIGURES, name, (lambda: new_figure(1, 1), ()))
    shorten(_gallery, "ComparisonRecipe", n_updates=40, n_chains=20)
    shorten(_replica, "measure_phases", n_units=20, n_instances=2)
    shorten(_replica, "projected_training", duration=1.0)  # the theory is integrated as far as the runs go
    line = PhaseLine(np.linspace(0.1, 1.5, 15), np.ones(15))
    phases = PhaseMap(np.array([0.5, 1.0]), np.array([0.5, 1.5]), np.array([[1, 0], [2, 0]]), {"a line": line})
    monkeypatch.setattr(_replica, "map_phases", lambda *_, **__: phases)
    monkeypatch.setattr(_replica, "_LAPLACE", _replica._BERNOULLI)  # whose averages are the shortest
    monkeypatch.setattr(_gallery, "N_HIDDEN_EXACT", 4)
    monkeypatch.setattr(_gallery, "N_TIMES", 3)
    monkeypatch.setattr(_gallery, "N_STARTS", 10)
    monkeypatch.setattr(_lossy, "FRACTIONS", (0.0, 0.5))
    updates = {"growth_updates": 10, "ring_updates": 5, "torus_updates": 3}
    options = {
        "growth-rates": {"n_updates": 50, "n_chains": 20},
        "phase-diagram": {"n_points": 3},
        "order-parameters": {"n_instances": 2, "n_points": 2},
        "mode-competition": {"n_units": 40, "n_instances": 2, "n_points": 1},
        "deterministic-trajectory": {"n_visible": 30, "n_runs": 2},
        "lossy-data": {"recipe": _lossy.LossyRecipe(n_hidden=4, n_updates=3, n_chains=20)},
        "symmetry": {"recipe": _symmetry.SymmetryRecipe((5, 10), torus_sizes=(20,), n_repeats=2, n_test=10, **updates)},
    }
    for name, smaller in options.items():
        draw, needs = FIGURES[name]
        monkeypatch.setitem(FIGURES, name, (functools.partial(draw, **smaller), needs))


def test_figures_writes_the_gallery(tmp_path, capsys, small):
    assert run(["figures", "--n-updates", "12", "--out", str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == set(FIGURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    assert "modes grow or decay as the theory says" in capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'<img src="(.*?).png"', page) == list(FIGURES)
    # A figure that is made again does not train again, and leaves the others on the page.
    updates = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "updates").iterdir())
    assert run(["figures", "--only", "fixed-points", "--n-updates", "12", "--out", str(tmp_path)]) == 0
    assert updates == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "updates").iterdir())
    assert (tmp_path / "index.html").read_text() == page


@pytest.mark.parametrize("only", ["temperature", "training-methods"])
def test_a_figure_can_be_made_alone(tmp_path, only, monkeypatch):
    monkeypatch.setattr(_gallery, "MethodsRecipe", functools.partial(_gallery.MethodsRecipe, n_updates=12, n_chains=20))
    assert run(["figures", "--only", only, "--n-updates", "12", "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.glob("*.png")] == [f"{only}.png"]


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
