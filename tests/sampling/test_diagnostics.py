"""Diagnostics against processes and distributions whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Spin, temper
from rbm_jax.model import enumerate_states, exact_visible_probabilities
from rbm_jax.sampling import (
    adversarial_accuracy,
    autocorrelation_time,
    effective_sample_size,
    energy_distance,
    overlaps,
    r_hat,
    relaxation,
)
from tests.helpers import reference_rbm

RNG = np.random.default_rng(0)
time_of, size_of, mixing_of = jax.jit(autocorrelation_time), jax.jit(effective_sample_size), jax.jit(r_hat)
probabilities_of = jax.jit(exact_visible_probabilities)
distance_of, accuracy_of, overlaps_of = jax.jit(energy_distance), jax.jit(adversarial_accuracy), jax.jit(overlaps)


def autoregressive(correlation, n_steps=4000, n_chains=50):
    """x' = ρx + √(1 - ρ²) noise, whose autocorrelation time is (1 + ρ) / (1 - ρ)."""
    rng = np.random.default_rng(1)
    series = np.empty((n_steps, n_chains))
    series[0] = rng.normal(size=n_chains)
    for step in range(1, n_steps):
        series[step] = correlation * series[step - 1] + (1 - correlation**2) ** 0.5 * rng.normal(size=n_chains)
    return series


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_autoregressive_process(correlation, dtype):
    series, exact = jnp.asarray(autoregressive(correlation), dtype), (1 + correlation) / (1 - correlation)
    np.testing.assert_allclose(time_of(series), exact, rtol=0.1)
    np.testing.assert_allclose(size_of(series), series.size / exact, rtol=0.1)


def test_chains_stuck_in_different_places_are_slow_and_not_mixed():
    series = autoregressive(0.5) + 3 * np.sign(np.arange(50) - 24.5)
    assert time_of(jnp.asarray(series)) > 1000
    assert mixing_of(jnp.asarray(series)) > 2


def test_r_hat_of_mixed_chains_is_one_and_sees_a_drift():
    series = autoregressive(0.5)
    assert abs(mixing_of(jnp.asarray(series)) - 1) < 0.005
    assert mixing_of(jnp.asarray(series + np.linspace(0, 2, len(series))[:, None])) > 1.1


def test_overlaps_are_scalar_products_per_unit():
    states = np.array([[1, 1, -1, 1], [1, -1, -1, 1], [-1, -1, 1, -1]])
    np.testing.assert_allclose(overlaps_of(states), [0.5, -1, -0.5])
    np.testing.assert_allclose(overlaps_of(states, states[:1]), [[1], [0.5], [-1]])


def test_energy_distance_of_shifted_normals_and_of_equals():
    first, second = RNG.normal(size=(2000, 1)), RNG.normal(size=(2000, 1)) + 1.0
    # 2 E|x - y| - 2 E|x - x'| with E|N(μ, 2)| = √(4/π) e^{-μ²/4} + μ erf(μ/2)
    between = np.sqrt(4 / np.pi) * np.exp(-0.25) + 0.5204998778
    exact = 2 * (between - np.sqrt(4 / np.pi))
    assert abs(distance_of(first, second) - exact) < 0.06
    same = [float(distance_of(*np.split(RNG.normal(size=(400, 3)), 2))) for _ in range(30)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 30**0.5


def test_adversarial_accuracy_tells_alike_apart_and_copied():
    data, others = np.split(RNG.normal(size=(2000, 5)), 2)
    found = accuracy_of(data, others)
    for share in (found.data, found.samples):
        assert abs(share - 0.5) < 0.07
    found = accuracy_of(data, others + 20)
    for share in (found.data, found.samples):
        assert share == 1
    found = accuracy_of(data, data + 1e-3 * others)
    for share in (found.data, found.samples):
        assert share < 0.02


def test_ties_of_binary_data_count_half():
    states = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = accuracy_of(states, states)
    assert (found.data, found.samples) == (0.5, 0.5)


def exact_samples(rbm, n_samples=4000, seed=0):
    probabilities = np.asarray(probabilities_of(rbm), float)
    rows = np.random.default_rng(seed).choice(256, n_samples, p=probabilities / probabilities.sum())
    return np.asarray(enumerate_states(Spin(), 8))[rows]


def test_relaxation_of_an_rbm_to_its_own_samples():
    rbm = reference_rbm(8, 6, 0.7, Spin())
    found = relaxation(jax.random.key(0), rbm, exact_samples(rbm), n_times=8, n_chains=4000)
    np.testing.assert_array_equal(found.n_sweeps, [1, 2, 4, 8, 16, 32, 64, 128])
    # from data, chains stay; fresh ones come.
    for name in ("fresh", "data"):
        for kind in ("mean", "covariance"):
            path, noise = getattr(found, f"{name}_{kind}"), getattr(found, f"noise_{kind}")
            assert (path[-3:] < 2 * noise).all(), (name, kind)
    assert found.fresh_covariance[0] > 3 * found.noise_covariance


def test_noise_is_what_independent_samples_differ_by_whatever_the_order_of_the_data():
    rbm = reference_rbm(8, 6, 0.7, Spin())
    data = exact_samples(rbm)
    ordered = data[np.lexsort(data.T)]
    found = [relaxation(jax.random.key(0), rbm, each, n_times=1, n_chains=1000) for each in (data, ordered)]
    means, covariances = [], []
    for seed in range(100):
        first, second = exact_samples(rbm, seed=seed), exact_samples(rbm, 1000, seed=seed + 100)
        means.append(first.mean(0) - second.mean(0))
        covariances.append(np.cov(first.T) - np.cov(second.T))
    for each in found:
        np.testing.assert_allclose(each.noise_mean, np.sqrt(np.mean(np.square(means))), rtol=0.2)
        np.testing.assert_allclose(each.noise_covariance, np.sqrt(np.mean(np.square(covariances))), rtol=0.2)


def test_relaxation_sees_a_wrong_rbm():
    rbm = reference_rbm(8, 6, 0.7, Spin())
    found = relaxation(jax.random.key(0), rbm, exact_samples(temper(rbm, 0.3)), n_times=8, n_chains=4000)
    assert found.data_covariance[-1] > 5 * found.noise_covariance
    assert found.fresh_covariance[-1] > 5 * found.noise_covariance


def test_mistakes_are_named(unchecked):
    with pytest.raises(ValueError, match="series must have shape"):
        r_hat(np.ones(5))
    with pytest.raises(ValueError, match="two sets of samples"):
        energy_distance(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="equally many"):
        adversarial_accuracy(np.ones((3, 2)), np.ones((4, 2)))
