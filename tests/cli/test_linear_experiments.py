"""The linear theory held against PCD of Gaussian-Gaussian RBMs, and PCD against the differential equation."""

import jax
import numpy as np
import pytest

from rbm_jax.cli._linear import (
    emergence,
    likelihood_gain,
    linear_theory_figure,
    step_convergence,
    step_convergence_figure,
)
from rbm_jax.dynamics import linear_fixed_points


@pytest.fixture(scope="module")
def trained():
    modes = {"variances": (4.0, 2.0, 0.6, 0.3), "start": 0.1}
    return emergence(jax.random.key(0), n_chains=100, learning_rate=0.002, n_updates=3000, n_runs=8, **modes)


def test_singular_values_follow_the_linear_theory_within_the_spread_of_the_seeds(trained):
    theory = trained.theory_at_ts
    mean, spread = trained.runs.mean(0), trained.runs.std(0, ddof=1)
    assert (abs(mean - theory)[1:] < 2 * spread[1:]).all()
    # and the spread is small enough for that to mean something
    assert (spread < 0.02).all()


def test_modes_above_threshold_end_on_their_plateaus_and_the_others_decay(trained):
    plateaus = np.sqrt([(4 - 1) / 4, (2 - 1) / 2, 0, 0])
    np.testing.assert_allclose(linear_fixed_points(trained.variances), plateaus, rtol=1e-6)
    end = trained.runs[:, -1]
    error = end.std(0, ddof=1) / np.sqrt(len(end))
    assert (abs(end.mean(0) - plateaus)[:2] < 5 * error[:2]).all()
    assert (end.mean(0)[2:] < 0.1 * np.exp(-0.3 * trained.ts[-1])).all()


def test_likelihood_climbs_a_step_with_each_mode(trained):
    # Closed form of each mode's gain, against the likelihood of the RBM itself.
    gains = likelihood_gain(trained.runs, trained.variances)
    assert (abs(gains - trained.gains) < 0.02).all()  # what the chains' noise puts into other directions
    steps = [(c - 1 - np.log(c)) / 2 for c in (4, 2)]
    np.testing.assert_allclose(likelihood_gain(trained.theory[1][-1], trained.variances), sum(steps), rtol=0.02)
    assert abs(trained.gains[:, -1].mean() - sum(steps)) < 0.03


def test_figure_shows_modes_and_the_gain_of_likelihood(trained, capsys):
    modes, gain = linear_theory_figure(trained).axes
    assert len(modes.get_lines()) >= 2 * len(trained.variances)
    assert gain.get_ylabel() == "gain of log-likelihood (nats)"
    assert "the mean of 8 trainings by PCD is within" in capsys.readouterr().out


def test_training_tends_to_the_equation_as_steps_become_short():
    found = step_convergence(
        jax.random.key(0), learning_rates=(0.04, 0.02, 0.01), n_chains=(30, 1000), duration=1.0, n_runs=8
    )
    # Euler's method is of first order; sampling noise goes like √(learning rate / chains).
    assert abs(found.slopes["exact gradient"] - 1) < 0.05
    assert abs(found.slopes["PCD, 30 chains"] - 0.5) < 0.2
    few, many = found.errors["PCD, 30 chains"], found.errors["PCD, 1000 chains"]
    assert (few > 3 * many).all()
    assert (many > found.errors["exact gradient"]).all()
    labels = [text.get_text() for text in step_convergence_figure(found).axes[0].get_legend().get_texts()]
    assert len(labels) >= len(found.errors)
