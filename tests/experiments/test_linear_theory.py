"""The linear theory held against PCD of Gaussian-Gaussian RBMs, and PCD against the differential equation."""

import re

import numpy as np
import pytest

from rbm_jax.dynamics import linear_fixed_points, linear_likelihood_gain
from rbm_jax.experiments.linear_theory import (
    EmergenceRecipe,
    StepConvergenceRecipe,
    emergence,
    emergence_table,
    linear_theory_figure,
    step_convergence,
    step_convergence_figure,
)


@pytest.fixture(scope="module")
def trained():
    modes = {"variances": (4.0, 2.0, 0.6, 0.3), "start": 0.1}
    return emergence(EmergenceRecipe(n_chains=100, learning_rate=0.002, n_updates=3000, n_runs=8, **modes))


def test_singular_values_follow_the_linear_theory_within_the_spread_of_the_seeds(trained):
    mean, spread = trained.runs.mean(0), trained.runs.std(0, ddof=1)
    steps = _euler_steps(trained.variances, start=0.1, learning_rate=0.002, ts=trained.ts)
    assert (abs(mean - steps)[1:] < 2 * spread[1:]).all()
    # and the spread is small enough for that to mean something
    assert (spread < 0.02).all()
    # the theory is the limit of short steps, which lag behind it where a mode grows
    assert abs(steps - trained.theory_at_ts).max() < 0.0025


def _euler_steps(variances, start, learning_rate, ts):
    """What training does in steps of this length, without noise."""
    values = [np.full(len(variances), start)]
    for _ in range(round(ts[-1] / learning_rate)):
        value = values[-1]
        values.append(value + learning_rate * (variances * value - value / (1 - value**2)))
    return np.array(values)[np.rint(ts / learning_rate).astype(int)]


def test_modes_above_threshold_end_on_their_plateaus_and_the_others_decay(trained):
    plateaus = np.sqrt([(4 - 1) / 4, (2 - 1) / 2, 0, 0])
    np.testing.assert_allclose(linear_fixed_points(trained.variances), plateaus, rtol=1e-6)
    end = trained.runs[:, -1]
    error = end.std(0, ddof=1) / np.sqrt(len(end))
    assert (abs(end.mean(0) - plateaus)[:2] < 5 * error[:2]).all()
    assert (end.mean(0)[2:] < 0.1 * np.exp(-0.3 * trained.ts[-1])).all()


def test_likelihood_climbs_a_step_with_each_mode(trained):
    # Closed form of each mode's gain, against the likelihood of the RBM itself.
    gains = linear_likelihood_gain(trained.runs, trained.variances).sum(-1)
    assert (abs(gains - trained.gains) < 0.02).all()  # what the chains' noise puts into other directions
    steps = [(c - 1 - np.log(c)) / 2 for c in (4, 2)]
    np.testing.assert_allclose(trained.theory_gains[-1], sum(steps), rtol=0.02)
    np.testing.assert_allclose(trained.plateau_gains, np.cumsum(steps), rtol=1e-5)
    assert abs(trained.gains[:, -1].mean() - sum(steps)) < 0.03


def test_figure_shows_modes_and_the_gain_of_likelihood(trained):
    modes, gain = linear_theory_figure(trained).axes
    assert len(modes.get_lines()) >= 2 * len(trained.variances)
    assert gain.get_ylabel() == "gain of log-likelihood (nats)"


def test_table_says_how_far_the_trainings_are_from_the_theory(trained):
    numbers = [float(each) for each in re.findall(r"[\d.]*\d", emergence_table(trained))]
    found = [trained.distance, trained.distance_in_deviations, trained.gain_distance]
    np.testing.assert_allclose(numbers, [8, *found], atol=0.05)
    apart = [abs(run - theory) for run, theory in zip(trained.runs.mean(0), trained.theory_at_ts, strict=True)]
    assert trained.distance == np.max(apart[1:])


def test_training_tends_to_the_equation_as_steps_become_short():
    rates = (0.04, 0.02, 0.01)
    found = step_convergence(StepConvergenceRecipe(learning_rates=rates, n_chains=(30, 1000), duration=1.0, n_runs=8))
    # Euler's method is of first order; sampling noise goes like √(learning rate / chains).
    assert abs(found.slopes["exact gradient"] - 1) < 0.05
    assert abs(found.slopes["PCD, 30 chains"] - 0.5) < 0.2
    few, many = found.errors["PCD, 30 chains"], found.errors["PCD, 1000 chains"]
    assert (few > 3 * many).all()
    assert (many > found.errors["exact gradient"]).all()
    labels = [text.get_text() for text in step_convergence_figure(found).axes[0].get_legend().get_texts()]
    assert len(labels) >= len(found.errors)


@pytest.mark.parametrize(
    ("recipe", "values", "message"),
    [
        (EmergenceRecipe, {"start": 1.0}, "start must be below 1"),
        (EmergenceRecipe, {"n_visible": 3}, "variances must be of 1 to n_visible = 3 modes"),
        (EmergenceRecipe, {"variances": (2.0, -1.0)}, "variances must be positive"),
        (EmergenceRecipe, {"n_runs": 1}, "n_runs must be at least 2"),
        (StepConvergenceRecipe, {"learning_rates": (0.1,)}, "learning_rates must be at least two"),
        (StepConvergenceRecipe, {"duration": 0.01}, "learning_rates must be at most the duration 0.01"),
    ],
)
def test_recipes_refuse_what_cannot_be(recipe, values, message):
    with pytest.raises(ValueError, match=message):
        recipe(**values)
