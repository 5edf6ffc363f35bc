"""Statistics of the components of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rbm_jax.spectral import mode_statistics

N = 200_000
DISTRIBUTIONS = {
    "Bernoulli": (lambda rng: rng.choice([-1.0, 1.0], N), 1.0),
    "uniform": (lambda rng: rng.uniform(-1, 1, N), 1.8),
    "Gaussian": (lambda rng: rng.normal(size=N), 3.0),
    "Laplace": (lambda rng: rng.laplace(size=N), 6.0),
    "sparse": (lambda rng: rng.choice([-1.0, 0.0, 0.0, 0.0, 1.0], N), 2.5),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_kurtosis_of_a_distribution_is_the_published_one(name, dtype):
    draw, expected = DISTRIBUTIONS[name]
    found = mode_statistics(jnp.asarray(draw(np.random.default_rng(0))[:, None], dtype))
    np.testing.assert_allclose(found.kurtosis, [expected], rtol=0.05)
    np.testing.assert_allclose(found.inverse_participation_ratio * N, found.kurtosis, rtol=1e-5)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(found))


def test_random_directions_have_the_kurtosis_of_the_sphere(x64):
    vectors = np.random.default_rng(0).normal(size=(50, 4000))
    found = mode_statistics(jnp.asarray(vectors))
    for values, expected in ((found.kurtosis, 3 * 50 / 52), (found.inverse_participation_ratio, 3 / 52)):
        assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(4000)


def test_participation_counts_the_components_that_take_part(x64):
    vectors = np.zeros((40, 3))
    vectors[0, 0], vectors[:10, 1], vectors[:, 2] = 3.0, -0.2, 1.0
    np.testing.assert_allclose(1 / mode_statistics(jnp.asarray(vectors)).inverse_participation_ratio, [1, 10, 40])


@pytest.mark.parametrize("n_units", [20, 64, 784])
def test_normality_is_the_omnibus_test_of_scipy(n_units, dtype):
    rng = np.random.default_rng(1)
    sample = np.stack([rng.normal(size=n_units), rng.laplace(size=n_units), rng.exponential(size=n_units)], axis=1)
    found = mode_statistics(jnp.asarray(sample, dtype)).normality
    expected = scipy.stats.normaltest(sample, axis=0).pvalue
    np.testing.assert_allclose(found, expected, rtol=1e-9 if dtype == jnp.float64 else 2e-3, atol=1e-30)


def test_p_values_of_gaussian_vectors_are_uniform(x64):
    found = mode_statistics(jnp.asarray(np.random.default_rng(2).normal(size=(200, 4000)))).normality
    # The test is an approximation for finite samples: a few per thousand of difference are its own.
    assert scipy.stats.kstest(found, "uniform").statistic < 0.03


def test_few_components_and_zero_vectors_have_no_answer(dtype):
    assert jnp.isnan(mode_statistics(jnp.ones((7, 2), dtype)).normality).all()
    assert jnp.isnan(mode_statistics(jnp.zeros((9, 1), dtype)).kurtosis).all()


def test_statistics_work_under_vmap_over_times(x64):
    vectors = jnp.asarray(np.random.default_rng(3).normal(size=(3, 20, 4)))
    together = jax.jit(jax.vmap(mode_statistics))(vectors)
    for time in range(3):
        np.testing.assert_allclose(together.kurtosis[time], mode_statistics(vectors[time]).kurtosis, rtol=1e-12)
