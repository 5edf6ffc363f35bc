"""Every experiment of linear theory, replica theory, symmetry and lossy data, small: results, figures, tables, keys."""

import dataclasses
import importlib
import inspect
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Trainer
from rbm_jax.experiments import competition, instances, measured_phases, trajectory
from rbm_jax.experiments.competition import CompetitionRecipe, compete, mode_competition_figure
from rbm_jax.experiments.early_growth import EarlyGrowthRecipe, growth_rates_figure, growth_table, measure_growth
from rbm_jax.experiments.linear_theory import (
    EmergenceRecipe,
    StepConvergenceRecipe,
    emergence,
    linear_theory_figure,
    step_convergence,
    step_convergence_figure,
)
from rbm_jax.experiments.lossy import FILLED, OBSERVED, LossyRecipe, learn_from_lossy, lossy_data_figure, lossy_table
from rbm_jax.experiments.measured_phases import MeasuredPhasesRecipe, measure_phase_diagram, phase_diagram_figure
from rbm_jax.experiments.order import OrderRecipe, measure_order, order_parameters_figure
from rbm_jax.experiments.phases import LawName, PhaseMap
from rbm_jax.experiments.tied_weights import TiedWeightsRecipe, learn_tied, symmetry_figure, tied_weights_table
from rbm_jax.experiments.trajectory import TrajectoryRecipe, deterministic_trajectory_figure, follow_trajectory
from rbm_jax.missing import Imputation
from rbm_jax.plotting import plot_imputation
from rbm_jax.runs import Dataset
from tests.helpers import reference_rbm

MODULES = """
linear_theory early_growth instances projected measured_phases order competition trajectory tied_weights lossy
"""


def small_dataset(n_samples=60):
    """Images of 3×3 pixels, the rows of each alike."""
    rng = np.random.default_rng(0)
    rows = rng.random((n_samples, 3, 1)) < 0.5
    images = rows ^ (rng.random((n_samples, 3, 3)) < 0.1)
    return Dataset(images.reshape(n_samples, 9).astype(np.uint8), (3, 3), Bernoulli(), Bernoulli())


def numbers(text):
    """All numbers of a text; a percentage is a hundredth."""
    found = re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?: ?%)?", text)
    return [float(each.rstrip("% ")) / (100 if each.endswith("%") else 1) for each in found]


def assert_finite(result):
    """All numbers of a result are, in all fields and properties."""
    names = [field.name for field in dataclasses.fields(result)]
    names += [name for name, _ in inspect.getmembers(type(result), lambda each: isinstance(each, property))]
    for name in names:
        for leaf in jax.tree.leaves(getattr(result, name)):
            if dataclasses.is_dataclass(leaf):
                assert_finite(leaf)
            elif isinstance(leaf, float | np.ndarray):
                assert np.isfinite(leaf).all(), name


class Keys:
    """Watches the keys that the modules of the experiments hand out: to each consumer of its own, and only once."""

    def __init__(self, monkeypatch):
        self.used, self._kept = {}, []
        random = types.SimpleNamespace(**vars(jax.random))
        for name in ("split", "normal", "uniform", "permutation", "randint", "bernoulli", "fold_in", "choice"):
            setattr(random, name, self.watch(getattr(jax.random, name)))
        modules = [importlib.import_module(f"rbm_jax.experiments.{name}") for name in MODULES.split()]
        for module in modules:
            monkeypatch.setattr(module, "jax", _Jax(random))
            for name, value in list(vars(module).items()):
                outer = inspect.isfunction(value) and not value.__module__.startswith("rbm_jax.experiments")
                if outer and next(iter(inspect.signature(value).parameters), "") in ("key", "keys"):
                    monkeypatch.setattr(module, name, self.watch(value))
        init = Trainer.init
        monkeypatch.setattr(
            Trainer, "init", lambda self_, key, *args, **options: self._init(init, self_, key, args, options)
        )

    def _init(self, init, trainer, key, args, options):
        self.note(key, "Trainer.init")
        return init(trainer, key, *args, **options)

    def watch(self, consumer):
        def watched(key, *args, **options):
            self.note(key, consumer.__name__)
            return consumer(key, *args, **options)

        return watched

    def note(self, key, consumer):
        self._kept.append(key)
        if isinstance(key, jax.core.Tracer):
            names = [id(key)]
        else:
            with jax.ensure_compile_time_eval():
                data = np.asarray(jax.random.key_data(key))
            names = [each.tobytes() for each in data.reshape(-1, 2)]
        for name in names:
            self.used.setdefault(name, []).append(consumer)

    def used_twice(self):
        return [consumers for consumers in self.used.values() if len(consumers) > 1]


class _Jax:
    """JAX with other functions for random numbers."""

    def __init__(self, random):
        self.random = random

    def __getattr__(self, name):
        return getattr(jax, name)


@pytest.fixture
def keys(monkeypatch):
    return Keys(monkeypatch)


SLOW = {"emergence"}
CASES = {
    "emergence": (
        emergence,
        EmergenceRecipe(n_samples=50, n_chains=5, learning_rate=0.02, n_updates=45, n_runs=2),
        linear_theory_figure,
    ),
    "step_convergence": (
        step_convergence,
        StepConvergenceRecipe(learning_rates=(0.1, 0.05), n_chains=(5,), duration=0.2, n_runs=2, n_samples=50),
        step_convergence_figure,
    ),
    "measured_phases": (
        measure_phase_diagram,
        MeasuredPhasesRecipe(n_points=2, n_shades=10, n_units=20, n_instances=2, n_chains=4, n_sweeps=20),
        phase_diagram_figure,
    ),
    "order": (
        measure_order,
        OrderRecipe(n_visible=40, n_hidden=20, n_instances=2, n_points=2),
        order_parameters_figure,
    ),
    "competition": (compete, CompetitionRecipe(n_units=40, n_instances=2, n_points=2), mode_competition_figure),
    "trajectory": (
        follow_trajectory,
        TrajectoryRecipe(n_visible=20, n_runs=2, n_samples=50, n_chains=10, n_sweeps=1, duration=0.2, n_saves=3),
        deterministic_trajectory_figure,
    ),
}


def few_points(name, *, n_points):
    """A diagram that costs nothing."""
    axis = np.linspace(0.1, 2, n_points)
    return PhaseMap(axis, axis, np.zeros((n_points, n_points), int), {})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_an_experiment_gives_numbers_and_a_figure_and_uses_no_key_twice(name, keys, monkeypatch):
    run, recipe, draw = CASES[name]
    # One case of each; all of them stand in the gallery.
    monkeypatch.setattr(competition, "_LARGEST_RATIOS", {LawName.GAUSSIAN: 1.4})
    monkeypatch.setattr(trajectory, "_CASES", dict(list(trajectory._CASES.items())[:1]))
    monkeypatch.setattr(measured_phases, "map_phases", few_points)
    result = run(recipe)
    assert_finite(result)
    assert draw(result).axes
    assert len(keys.used) > 1
    assert not keys.used_twice()


def test_the_watch_sees_a_key_that_is_used_twice(keys):
    key, rbm = jax.random.key(0), reference_rbm(2, 2, 1.0)
    v = np.ones((1, 2), np.float32)
    first, _ = trajectory.jax.random.split(key)
    second, *_ = trajectory.jax.random.split(key, 3)
    assert keys.used_twice() == [["split", "split"]]
    instances.sample_gibbs(first, rbm, v, n_sweeps=1)
    instances.sample_hidden(second, rbm, v)
    assert keys.used_twice() == [["split", "split"], ["sample_gibbs", "sample_hidden"]]


def test_growth(keys):
    result = measure_growth(small_dataset(), EarlyGrowthRecipe(n_hidden=4, n_updates=50, n_chains=20))
    assert growth_rates_figure(result).axes
    assert not keys.used_twice()
    head, _, *rows, last = growth_table(result).split("\n")
    assert numbers(head) == [0.02, 0.1]
    expected = np.stack([result.measured, result.theory, result.deviation], axis=1)
    np.testing.assert_allclose([numbers(row)[1:4] for row in rows], expected, atol=6e-4)
    assert numbers(last) == [result.n_agree, 9]


def test_learning_from_lossy_data(keys):
    recipe = LossyRecipe(fractions=(0.0, 0.4), n_hidden=2, n_updates=3, n_chains=20)
    result = learn_from_lossy(small_dataset(), recipe)
    assert len(lossy_data_figure(result).axes) == 3
    # The two ways to learn are compared on the same random numbers.
    assert {tuple(sorted(set(each))) for each in keys.used_twice()} == {("fit",), ("impute",)}
    assert result.likelihood[OBSERVED][0] == pytest.approx(result.likelihood[FILLED][0], abs=1e-4)
    assert result.completed_at == 0.4
    _, second, _, *rows = lossy_table(result).split("\n")
    assert numbers(second) == pytest.approx([0.5, result.by_means], abs=1e-4)
    columns = [result.fractions]
    for name in result.likelihood:
        columns += [result.likelihood[name], result.error[name]]
    np.testing.assert_allclose([numbers(row) for row in rows], np.stack(columns, axis=1), atol=6e-3)


def test_completed_images_stand_in_columns_with_missing_pixels_in_gray():
    observed = np.array([[0.0, np.nan, 1.0, np.nan], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], np.float32)
    known, missing = np.nan_to_num(observed), np.isnan(observed)
    found = Imputation(*(jnp.asarray(known + value * missing) for value in (0.25, 0.0, 0.0, 1.0)))
    found = dataclasses.replace(found, std=jnp.asarray(0.5 * missing))
    ax = plot_imputation(observed, found, (2, 2), n_images=2)
    canvas = ax.images[0].get_array()
    assert canvas.shape == (11, 5)
    first = [canvas[3 * row : 3 * row + 2, :2].ravel() for row in range(4)]
    np.testing.assert_array_equal(first, [[0, 0.5, 1, 0.5], [0, 0.25, 1, 0.25], [0, 1, 0, 1], [0, 1, 1, 1]])
    assert [each.get_text() for each in ax.get_yticklabels()] == ["observed", "mean given it", "deviation", "a sample"]
    with pytest.raises(ValueError, match=r"observed must be images of the shape \(3, 4\)"):
        plot_imputation(observed[:2], found, (2, 2))


@pytest.mark.slow
def test_tied_weights(keys):
    sizes = {"ring_sizes": (5, 10), "torus_sizes": (20, 70), "n_repeats": 2, "n_test": 10, "n_spins": 4, "n_hidden": 2}
    updates = {"growth_updates": 10, "ring_updates": 5, "torus_updates": 3}
    result = learn_tied(small_dataset(), TiedWeightsRecipe(**sizes, **updates, n_channels=1))
    assert len(symmetry_figure(result).axes) == 3
    assert not keys.used_twice()
    assert_finite(result)
    np.testing.assert_array_equal(result.torus_sizes, [20])
    ring, torus = (part.split("\n") for part in tied_weights_table(result).split("\n\n"))
    for (_, head, *rows), n_samples, found, counts in (
        (ring, result.ring_sizes, result.ring_divergence, result.ring_parameters),
        (torus, result.torus_sizes, result.torus_likelihood, result.torus_parameters),
    ):
        assert numbers(head) == list(counts.values())
        np.testing.assert_allclose([numbers(row) for row in rows], np.stack([n_samples, *found.values()], 1), atol=1e-4)
