"""Samples of the ensemble: their moments, spectrum, fields and errors; clusters of data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from rbm_jax import Bernoulli, Gaussian, Spin
from rbm_jax.replica import (
    BernoulliDistribution,
    Clusters,
    EmpiricalDistribution,
    GaussianDistribution,
    LaplaceDistribution,
    SparseDistribution,
    SpikedEnsemble,
    UniformDistribution,
    cluster_magnetizations,
    sample_clusters,
)
from rbm_jax.spectral import spiked_outlier

DISTRIBUTIONS = [
    GaussianDistribution(),
    BernoulliDistribution(),
    UniformDistribution(),
    LaplaceDistribution(),
    SparseDistribution(0.2),
]
NOTHING = jnp.zeros(1)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_components_have_unit_variance_and_their_kurtosis(distribution, dtype):
    sample = np.asarray(distribution.sample(jax.random.key(0), (500, 800), dtype), float)
    assert distribution.sample(jax.random.key(0), (2,), dtype).dtype == dtype
    n = sample.size
    assert sample.mean() == pytest.approx(0, abs=4 / np.sqrt(n))
    for power, expected in ((2, 1.0), (4, distribution.kurtosis)):
        values = sample**power
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / np.sqrt(n) + 1e-6)


def test_components_of_given_modes_are_drawn_from_them():
    distribution = EmpiricalDistribution(np.array([[-1.2], [0.3], [1.5]]))
    sample = distribution.sample(jax.random.key(0), (200,), jnp.float32)
    assert set(np.unique(sample)) == {np.float32(-1.2), np.float32(0.3), np.float32(1.5)}


def test_weights_are_planted_modes_plus_noise(dtype):
    strengths, noise = jnp.array([2.0, 1.5], dtype), 0.7
    rbm, modes = SpikedEnsemble(strengths, noise=noise).sample(jax.random.key(1), 400, 200)
    assert rbm.dtype == modes.left.dtype == dtype
    np.testing.assert_allclose(modes.values, strengths)
    gram = np.asarray(modes.left.T @ modes.left)
    np.testing.assert_allclose(gram, np.eye(2), atol=4 * np.sqrt(2 / 400))
    rest = np.asarray(rbm.weights - (modes.left * modes.values) @ modes.right.T)
    variance = rest.var() * np.sqrt(400 * 200) / noise**2
    assert variance == pytest.approx(1, abs=4 * np.sqrt(2 / rest.size))


def test_outlier_stands_where_random_matrix_theory_has_it():
    ensemble = SpikedEnsemble(jnp.array([2.0]), noise=0.8, component_distribution=BernoulliDistribution())
    rbm, modes = ensemble.sample(jax.random.key(2), 1000, 500)
    value = float(jnp.linalg.svd(rbm.weights, compute_uv=False)[0])
    assert value == pytest.approx(float(spiked_outlier(2.0, 0.8, ratio=0.5)), rel=0.02)
    np.testing.assert_allclose(abs(np.asarray(modes.left)), 1 / np.sqrt(1000), rtol=1e-6)


def test_fields_are_biases_along_the_components():
    fields = {"visible_field": jnp.array([0.3, 0.1]), "hidden_field": jnp.array([-0.2, 0.0])}
    ensemble = SpikedEnsemble(jnp.array([1.0, 0.5]), noise=0.2, **fields)
    rbm, modes = ensemble.sample(jax.random.key(3), 30, 20, visible_units=Bernoulli(), hidden_units=Gaussian(1.0))
    expected = np.sqrt(30) * np.asarray(modes.left) @ (0.3, 0.1)
    np.testing.assert_allclose(rbm.visible_bias, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rbm.hidden_bias, -0.2 * np.sqrt(20) * modes.right[:, 0], rtol=1e-5, atol=1e-6)
    assert (rbm.visible_units, rbm.hidden_units) == (Bernoulli(), Gaussian(1.0))
    plain, _ = SpikedEnsemble(jnp.array([1.0]), noise=0.2).sample(jax.random.key(3), 30, 20)
    assert (plain.visible_units, plain.hidden_units) == (Spin(), Spin())
    assert not plain.visible_bias.any()


def test_many_instances_by_vmap():
    draw = lambda key, noise: SpikedEnsemble(NOTHING, noise=noise).sample(key, 30, 20)[0].weights  # noqa: E731
    noises = jnp.array([0.5, 1.0, 2.0])
    weights = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(4), 3), noises)
    np.testing.assert_allclose(weights.std((1, 2)) * 600**0.25, noises, rtol=0.1)


def test_cluster_magnetizations_are_those_of_their_samples(x64):
    distribution = LaplaceDistribution()
    clusters = Clusters(jnp.array([[1.2, 0.0], [-0.5, 0.8]]), jnp.array([3.0, 1.0]))
    components = distribution.sample(jax.random.key(5), (4000, 2), float)
    data = sample_clusters(jax.random.key(6), 4000, clusters, components)
    assert data.shape == (4000, 4000)
    assert set(np.unique(data)) == {-1, 1}
    found = np.asarray(data @ components) / 4000
    for index, expected in enumerate(cluster_magnetizations(clusters, component_distribution=distribution)):
        belongs = (found[:, 0] < 0) == (index == 1)
        assert belongs.mean() == pytest.approx(float(clusters.weights[index]), abs=0.03)
        np.testing.assert_allclose(found[belongs].mean(0), expected, atol=0.05)


def test_gaussian_magnetizations_by_parts_are_the_plain_average(x64):
    fields = np.array([[0.7, -0.4], [1.5, 0.2]])
    expected = []
    for field in fields:
        strength = np.linalg.norm(field)
        integrand = lambda x: x * np.tanh(strength * x) * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)  # noqa: B023, E731
        expected.append(field / strength * quad(integrand, -12, 12, epsabs=1e-13)[0])
    np.testing.assert_allclose(cluster_magnetizations(Clusters(fields)), expected, atol=1e-11)


@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="n_visible"):
        SpikedEnsemble(NOTHING).sample(key, 0, 3)
    with pytest.raises(ValueError, match="noise"):
        SpikedEnsemble(NOTHING, noise=-0.1)
    with pytest.raises(ValueError, match="singular_values must be a vector"):
        SpikedEnsemble(1.0)
    with pytest.raises(ValueError, match="hidden_field must have the shape"):
        SpikedEnsemble(NOTHING, hidden_field=jnp.zeros(2))
    with pytest.raises(ValueError, match="fields must have shape"):
        Clusters(jnp.zeros(3))
    with pytest.raises(ValueError, match="weights must have shape"):
        Clusters(jnp.zeros((3, 1)), jnp.ones(2))
    with pytest.raises(ValueError, match="n_samples"):
        sample_clusters(key, 0, Clusters(jnp.zeros((3, 1))), jnp.ones((5, 1)))
