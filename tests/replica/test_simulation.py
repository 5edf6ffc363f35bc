"""Replica theory against TAP and Monte Carlo on sampled RBMs, and learning's trajectory against PCD."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Gaussian, Spin, exact_log_z
from rbm_jax.experiments.instances import (
    annealed_free_energy,
    gibbs_order,
    measure_phases,
    orthogonalize,
    sample_instances,
    tap_order,
)
from rbm_jax.experiments.projected import Instance, ProjectedRuns, instance_force, projected_training
from rbm_jax.replica import BernoulliDistribution, Clusters, Control, GaussianDistribution, solve_saddle
from rbm_jax.replica.learning import integrate_thermodynamic, thermodynamic_force
from tests.helpers import optimized, reference_rbm, slow_but

GAUSS, SIGNS = GaussianDistribution(), BernoulliDistribution()
SPINS, HOPFIELD, BITS = (Spin(), Spin()), (Spin(), Gaussian(1.0)), (Bernoulli(), Bernoulli())
MATRICES = (np.array([[0.3]]), np.array([[0.3, 0.05], [-0.02, 0.3]]))
PAIR, FOUR = np.array([[1.0], [-1.0]]), np.array([[1.2, 0], [-1.2, 0], [0, 0.9], [0, -0.9]])

sample = jax.jit(sample_instances, static_argnums=(1, 2, 3, 4, 5), static_argnames=("law", "units"))
solve = optimized(jax.vmap(tap_order))
integrate = optimized(integrate_thermodynamic, static_argnames="rtol")


@optimized
def measure(keys, rbms, modes):
    """Order and free energy by Monte Carlo, one instance after another."""
    anneal = functools.partial(annealed_free_energy, n_temperatures=21, n_burn=10, n_samples=20)
    return jax.lax.map(lambda each: (gibbs_order(*each), anneal(each[0], each[1])), (keys, rbms, modes))


def assert_close_to_theory(found, control, law, units, n_visible, correction):
    """Within three standard errors, and a correction that goes like 1/n_visible."""
    theory = solve_saddle(control, component_distribution=law, visible_units=units[0], hidden_units=units[1])
    for name, values in found.items():
        values = np.asarray(values).reshape(len(values), -1)[:, 0]
        error = values.std(ddof=1) / np.sqrt(len(values))
        difference = values.mean() - np.ravel(getattr(theory, name))[0]
        assert abs(difference) < 3 * error + correction / n_visible, (name, n_visible, difference, error)


TAP_CASES = [
    (GAUSS, SPINS, 1.5, 0.8, 2.0),
    (SIGNS, SPINS, 1.5, 0.8, 1.0),
    (SIGNS, HOPFIELD, 1.3, 0.3, 2.0),
    (SIGNS, BITS, 9.0, 2.5, 4.0),
]


@pytest.mark.parametrize(
    ("n_visible", "n_instances", "law", "units", "strength", "noise", "correction"),
    slow_but(
        [(250, 128, *TAP_CASES[i]) for i in (2, 3)] + [(1000, 64, *TAP_CASES[1])],
        [(*size, *case) for size in ((250, 128), (1000, 64)) for case in TAP_CASES],
    ),
    ids=str,
)
def test_tap_of_instances_averages_to_replica_theory(n_visible, n_instances, law, units, strength, noise, correction):
    control = Control(np.array([strength]), noise=noise, ratio=0.5)
    key = jax.random.key(n_visible)
    rbms, modes = sample(key, n_instances, n_visible, n_visible // 2, (strength,), noise, law=law, units=units)
    order, free_energy, converged = solve(rbms, modes)
    assert converged.all()
    found = vars(order) | {"free_energy": free_energy}
    assert_close_to_theory(found, control, law, units, n_visible, correction)


MONTE_CARLO_CASES = [(law, n_visible) for n_visible in (200, 800) for law in (GAUSS, SIGNS)]


@pytest.mark.parametrize(("law", "n_visible"), slow_but(MONTE_CARLO_CASES[:2], MONTE_CARLO_CASES), ids=str)
def test_monte_carlo_of_instances_averages_to_replica_theory(law, n_visible):
    control, n_instances = Control(np.array([1.5]), noise=0.8, ratio=0.5), 16
    rbms, modes = sample(jax.random.key(n_visible), n_instances, n_visible, n_visible // 2, (1.5,), 0.8, law=law)
    order, free_energy = measure(jax.random.split(jax.random.key(1), n_instances), rbms, modes)
    found = vars(order) | {"free_energy": free_energy}
    assert_close_to_theory(found, control, law, SPINS, n_visible, 2.0)


def test_annealing_finds_the_free_energy_of_a_small_rbm():
    rbm = reference_rbm(6, 4, 0.5, *SPINS, jnp.float32)
    expected = -float(exact_log_z(rbm)) / np.sqrt(24)
    found = optimized(functools.partial(annealed_free_energy, n_chains=400, n_samples=100))(jax.random.key(0), rbm)
    # The trapezoid rule's error, and that of 40 000 samples.
    assert float(found) == pytest.approx(expected, abs=5e-3)


def test_monte_carlo_orders_where_the_diagram_says():
    """A point in each phase, far from the lines: σ and w of paramagnet, ferromagnet and spin glass."""
    noise, strength = np.array([0.5, 0.5, 3.0]), np.array([0.5, 2.0, 0.5])
    magnetization, overlap = measure_phases(jax.random.key(0), noise, strength, n_units=100, n_chains=8, n_sweeps=200)
    np.testing.assert_array_equal(magnetization > 0.4, [False, True, False])
    np.testing.assert_array_equal(overlap > 0.4, [False, True, True])


def test_orthogonalized_components_have_the_lengths_of_the_law():
    components = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(orthogonalize(components).T @ orthogonalize(components), 50 * np.eye(3), atol=1e-3)


@functools.cache
def trainings(n_modes: int, n_visible: int, law, n_runs: int = 8) -> tuple[Clusters, ProjectedRuns]:
    clusters = Clusters(jnp.asarray((PAIR, FOUR)[n_modes - 1]))
    options = {"n_samples": 500, "n_chains": n_visible, "n_sweeps": 5, "duration": 10.0, "n_saves": 5, "n_runs": n_runs}
    key = jax.random.key(n_visible)
    return clusters, projected_training(key, clusters, MATRICES[n_modes - 1], law, n_visible=n_visible, **options)


# Gaussian components of 60 units differ too much between seeds.
TRAINING_CASES = [(GAUSS, 100), (SIGNS, 60), (SIGNS, 100), (GAUSS, 200), (SIGNS, 200)]


@pytest.mark.parametrize(("law", "n_visible"), slow_but(TRAINING_CASES[:2], TRAINING_CASES), ids=str)
def test_projected_pcd_follows_the_deterministic_trajectory_within_the_spread_of_seeds(law, n_visible):
    clusters, runs = trainings(1, n_visible, law)
    force = thermodynamic_force(clusters, n_visible=n_visible, component_distribution=law)
    theory = integrate(force, MATRICES[0], runs.ts).singular_values
    mean, spread = runs.singular_values.mean(0), runs.singular_values.std(0, ddof=1)
    assert (abs(mean - theory)[1:] < 2 * spread[1:] + 0.005).all()  # an update is a step of 0.05 in τ
    assert (spread < 0.06).all()
    moments = theory[-1] > 1.2
    assert moments.all()


@pytest.mark.parametrize("n_visible", [60, pytest.param(100, marks=pytest.mark.slow)])
def test_what_separates_seeds_is_their_data_and_components(n_visible):
    """For each seed, the theory for its own data and components is five times closer than that of their law."""
    clusters, runs = trainings(2, n_visible, GAUSS, n_runs=2)
    force = thermodynamic_force(clusters, n_visible=n_visible)
    law = integrate(force, MATRICES[1], runs.ts).singular_values
    own = []
    for seed in range(2):
        instance: Instance = jax.tree.map(lambda leaf, seed=seed: leaf[seed], runs.instances)
        own.append(integrate(instance_force(instance), MATRICES[1], runs.ts, rtol=1e-3).singular_values)
    found = runs.singular_values[:, 1:]
    distance = [float(np.sqrt(((found - each) ** 2).mean())) for each in (np.asarray(law)[1:], np.stack(own)[:, 1:])]
    assert distance[1] < distance[0] / 5
    assert distance[1] < 0.01
