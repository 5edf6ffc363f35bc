"""Random-matrix theory against published values, quadrature and sampled matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import svds

from rbm_jax.spectral import (
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_quantile,
    spiked_outlier,
    spiked_overlaps,
    spiked_value,
    split_bulk,
)
from tests.helpers import slow_but

RATIOS = (0.1, 0.5, 1.0, 3.0)
split = jax.jit(split_bulk)


def noise_matrix(rng, n_visible, n_hidden, noise):
    return noise * rng.normal(size=(n_visible, n_hidden)) / (n_visible * n_hidden) ** 0.25


def planted(rng, n_visible, n_hidden, strengths, noise):
    """A spiked matrix and the planted vectors."""
    left = np.linalg.qr(rng.normal(size=(n_visible, len(strengths))))[0]
    right = np.linalg.qr(rng.normal(size=(n_hidden, len(strengths))))[0]
    return (left * strengths) @ right.T + noise_matrix(rng, n_visible, n_hidden, noise), left, right


def integral(function, ratio, noise):
    """By Gauss-Legendre quadrature in the angle that makes the edges smooth; independent of the library's own."""
    lower, upper = (float(edge) for edge in marchenko_pastur_edges(noise, ratio=ratio))
    nodes, weights = np.polynomial.legendre.leggauss(400)
    theta = np.pi * (nodes + 1) / 2
    s = (lower + upper) / 2 - (upper - lower) / 2 * np.cos(theta)
    density = np.asarray(marchenko_pastur_density(jnp.asarray(s), noise, ratio=ratio))
    return np.pi / 2 * (upper - lower) / 2 * (weights * np.sin(theta) * density * function(s)).sum()


def test_published_edges_moments_and_median(x64):
    noise = 0.01 * (1000 * 500) ** 0.25
    np.testing.assert_allclose(noise, 0.265915, atol=5e-7)
    np.testing.assert_allclose(marchenko_pastur_edges(noise, ratio=0.5), (0.092621, 0.539835), atol=5e-7)
    np.testing.assert_allclose(integral(lambda s: s**2, 0.5, noise), 0.1, rtol=1e-8)
    np.testing.assert_allclose(integral(lambda s: s, 0.5, noise), 0.29497709, atol=5e-9)
    np.testing.assert_allclose(marchenko_pastur_quantile(0.5, noise, ratio=0.5), 0.28817805, atol=1e-6)
    mnist = 0.01 * (784 * 500) ** 0.25
    np.testing.assert_allclose(marchenko_pastur_edges(mnist, ratio=500 / 784), (0.05639, 0.50361), atol=5e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_density_is_normalized_and_has_the_second_moment_of_the_entries(x64, ratio):
    # Σ s² = Σ W² = n_visible n_hidden σ²/L, over min(n_visible, n_hidden) values.
    np.testing.assert_allclose(integral(np.ones_like, ratio, 0.7), 1, rtol=1e-8)
    second = 0.49 / np.sqrt(min(ratio, 1 / ratio))
    np.testing.assert_allclose(integral(lambda s: s**2, ratio, 0.7), second, rtol=1e-8)


@pytest.mark.parametrize("ratio", RATIOS)
def test_density_does_not_depend_on_which_layer_is_larger(x64, ratio):
    s = jnp.linspace(0.01, 3, 50)
    np.testing.assert_allclose(
        marchenko_pastur_density(s, 0.8, ratio=ratio), marchenko_pastur_density(s, 0.8, ratio=1 / ratio), rtol=1e-12
    )


def test_density_is_zero_outside_its_edges(dtype):
    lower, upper = marchenko_pastur_edges(0.5, ratio=0.25)
    outside = jnp.asarray([0.0, 0.9 * lower, 1.1 * upper, 100.0], dtype)
    found = marchenko_pastur_density(outside, 0.5, ratio=0.25)
    np.testing.assert_array_equal(found, 0)
    assert found.dtype == dtype


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_quantiles_invert_the_cumulative_distribution(x64, ratio, probability):
    quantile = float(marchenko_pastur_quantile(probability, 0.6, ratio=ratio))
    lower, _ = (float(edge) for edge in marchenko_pastur_edges(0.6, ratio=ratio))
    s = np.linspace(lower, quantile, 200_001)
    density = np.asarray(marchenko_pastur_density(jnp.asarray(s), 0.6, ratio=ratio))
    np.testing.assert_allclose(np.trapezoid(density, s), probability, atol=1e-4)


@pytest.mark.parametrize("shape", [(900, 300), (300, 900), (600, 600)], ids=str)
def test_sampled_matrices_have_the_distribution(x64, shape):
    rng = np.random.default_rng(0)
    values = np.linalg.svd(noise_matrix(rng, *shape, 0.8), compute_uv=False)
    ratio = shape[1] / shape[0]
    for probability in (0.1, 0.25, 0.5, 0.75, 0.9):
        # Singular values are rigid: quantiles fluctuate by about one spacing, 1/300 in probability.
        below = (values < float(marchenko_pastur_quantile(probability, 0.8, ratio=ratio))).mean()
        assert abs(below - probability) < 4 / len(values)


@pytest.mark.parametrize(
    ("value", "noise", "ratio", "outlier", "left", "right"),
    [
        (1.6, 0.8, 0.5, 2.0193, 0.6926, 0.7967),
        (1.0, 0.8, 0.5, 1.6635, 0.3099, 0.4065),
        (0.8, 0.5, 1.0, 1.1125, 0.6094, 0.6094),
    ],
)
def test_published_outliers_and_overlaps(x64, value, noise, ratio, outlier, left, right):
    np.testing.assert_allclose(spiked_outlier(value, noise, ratio=ratio), outlier, atol=6e-5)
    overlaps = spiked_overlaps(value, noise, ratio=ratio)
    np.testing.assert_allclose((overlaps.left, overlaps.right), (left, right), atol=6e-5)


def test_outliers_of_sampled_matrices_are_where_the_theory_puts_them(x64):
    rng = np.random.default_rng(1)
    strengths, noise, shape = np.array([2.5, 1.6]), 0.8, (1200, 600)
    found = []
    for _ in range(8):
        weights, left, right = planted(rng, *shape, strengths, noise)
        u, s, vt = svds(weights, 2, v0=np.ones(shape[1]))  # in increasing order
        found.append([s[::-1], (u[:, ::-1] * left).sum(0) ** 2, (vt[::-1].T * right).sum(0) ** 2])
    mean, error = np.mean(found, 0), np.std(found, 0, ddof=1) / np.sqrt(8)
    overlaps = spiked_overlaps(strengths, noise, ratio=0.5)
    expected = np.stack([spiked_outlier(strengths, noise, ratio=0.5), overlaps.left, overlaps.right])
    # 1/N is the size of the corrections to the theory of infinite layers.
    assert (abs(mean - expected) < 5 * error + 3 / shape[1]).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_planted_values_are_found_back_from_outliers(dtype, ratio):
    planted_values = jnp.asarray([0.81, 1.0, 2.0, 7.0], dtype)
    found = spiked_value(spiked_outlier(planted_values, 0.8, ratio=ratio), 0.8, ratio=ratio)
    np.testing.assert_allclose(found, planted_values, rtol=1e-10 if dtype == jnp.float64 else 2e-3)
    assert found.dtype == dtype


def test_hidden_modes_sit_at_the_edge_and_have_no_overlap(x64):
    edge = marchenko_pastur_edges(0.8, ratio=0.5)[1]
    np.testing.assert_allclose(spiked_outlier(jnp.array([0.0, 0.4, 0.8]), 0.8, ratio=0.5), edge, rtol=1e-12)
    overlaps = spiked_overlaps(jnp.array([0.4, 0.8]), 0.8, ratio=0.5)
    np.testing.assert_array_equal((overlaps.left, overlaps.right), np.zeros((2, 2)))
    assert np.isnan(spiked_value(0.9 * edge, 0.8, ratio=0.5))
    np.testing.assert_allclose(spiked_outlier(jnp.array([0.0, 2.0]), 0.0), [0, 2])
    np.testing.assert_allclose(spiked_value(2.0, 0.0), 2)


@pytest.mark.parametrize(
    "shape", slow_but([((120, 60),), ((80, 80),)], [((120, 60),), ((60, 120),), ((80, 80),)]), ids=str
)
def test_pure_noise_has_no_outliers_and_its_own_strength(shape):
    rng = np.random.default_rng(2)
    bulks = [split(jnp.asarray(noise_matrix(rng, *shape, 0.3), jnp.float32)) for _ in range(200)]
    n_false = sum(bool(bulk.is_outlier.any()) for bulk in bulks)
    assert n_false <= 3  # one in a thousand each, and the estimate of the strength fluctuates
    noise = np.array([bulk.ensemble_noise for bulk in bulks])
    np.testing.assert_allclose(noise.mean(), 0.3, rtol=0.01)
    assert noise.std() < 0.01


@pytest.mark.parametrize("n_planted", [1, 5, 40])
def test_outliers_are_told_from_the_bulk_and_do_not_bias_its_strength(dtype, n_planted):
    rng = np.random.default_rng(3)
    strengths = np.linspace(1.2, 9.0, n_planted)
    weights, _, _ = planted(rng, 300, 150, strengths, 0.5)
    bulk = split(jnp.asarray(weights, dtype))
    assert bulk.is_outlier.sum() == n_planted
    assert bulk.values[n_planted] <= bulk.threshold < bulk.values[n_planted - 1]
    np.testing.assert_allclose(bulk.ensemble_noise, 0.5, rtol=0.05)
    assert all(leaf.dtype in (dtype, bool) for leaf in jax.tree.leaves(bulk))


@pytest.mark.parametrize("shape", [(300, 150), (150, 300), (200, 200)], ids=str)
def test_theory_of_the_bulk_is_that_of_the_noise_which_outliers_leave(dtype, shape):
    """Noise alone, of the size that 40 outliers leave, against the theory of a whole matrix with the outliers."""
    rng = np.random.default_rng(6)
    weights, _, _ = planted(rng, *shape, np.linspace(3, 30, 40), 0.5)
    bulk = split(jnp.asarray(weights, dtype))
    assert bulk.is_outlier.sum() == 40
    rest = 0.5 / np.prod(shape) ** 0.25 * rng.normal(size=(shape[0] - 40, shape[1] - 40))
    expected = np.linalg.svd(rest, compute_uv=False)
    # Extreme values fluctuate by N^{-2/3}; the theory of the whole matrix would be off by 11 %.
    np.testing.assert_allclose(bulk.edges[1], expected[0], rtol=0.05)
    np.testing.assert_allclose(bulk.values[40], expected[0], rtol=0.05)
    np.testing.assert_array_equal(bulk.edges, marchenko_pastur_edges(bulk.noise, ratio=bulk.ratio))
    middle = (np.sort(expected)[1:] + np.sort(expected)[:-1]) / 2
    below = [(np.asarray(bulk.values) < value).sum() / len(expected) for value in middle[::10]]
    curve = np.linspace(float(bulk.edges[0]), float(bulk.edges[1]), 2001)
    density = np.asarray(bulk.density(jnp.asarray(curve, dtype)), float)
    np.testing.assert_allclose(np.trapezoid(density, curve), 1, atol=2e-3)
    cumulative = np.interp(middle[::10], curve[1:], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(curve)))
    np.testing.assert_allclose(cumulative, below, atol=6 / len(expected))


@pytest.mark.parametrize("n_planted", [1, 10])
def test_strengths_behind_outliers_are_found_back(dtype, n_planted):
    """One matrix of 300 by 150; what noise moves a mode by is of the order of σ/√150."""
    strengths = np.linspace(1.2, 4.0, n_planted)[::-1]
    weights, _, _ = planted(np.random.default_rng(7), 300, 150, strengths, 0.5)
    found = np.asarray(split(jnp.asarray(weights, dtype)).planted_values)
    np.testing.assert_allclose(found[:n_planted], strengths, atol=3 * 0.5 / np.sqrt(150))
    assert np.isnan(found[n_planted:]).all()


@pytest.mark.parametrize("dtype", slow_but([("float32",)], [("float32",), ("float64",)]), indirect=True)
def test_tall_thin_and_tiny_matrices_have_a_bulk_too(dtype):
    for shape in ((500, 2), (2, 500), (5, 1), (1, 1), (2, 2)):
        weights = jnp.asarray(np.random.default_rng(4).normal(size=shape), dtype)
        bulk = split_bulk(weights)
        assert bulk.values.shape == (min(shape),)
        assert jnp.isfinite(bulk.noise)
        assert np.isfinite(bulk.edges).all()


def test_random_matrix_functions_work_under_vmap_and_are_differentiable(x64):
    grid = jnp.linspace(0.9, 3, 5)
    together = jax.jit(jax.vmap(lambda w: spiked_outlier(w, 0.8, ratio=0.5)))(grid)
    np.testing.assert_allclose(together, spiked_outlier(grid, 0.8, ratio=0.5), rtol=1e-12)
    for function in (spiked_outlier, lambda w, noise: spiked_value(2 * w, noise)):
        slope = jax.grad(lambda w, function=function: function(w, 0.8))(1.5)
        numeric = (function(1.5 + 1e-6, 0.8) - function(1.5 - 1e-6, 0.8)) / 2e-6
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)
    stacked = jnp.asarray(np.random.default_rng(5).normal(size=(3, 30, 20)))
    bulks = jax.jit(jax.vmap(split_bulk))(stacked)
    for index, weights in enumerate(stacked):
        alone = split(weights)
        np.testing.assert_allclose(bulks.noise[index], alone.noise, rtol=1e-12)
        np.testing.assert_allclose(np.stack(bulks.edges)[:, index], alone.edges, rtol=1e-12)
        np.testing.assert_allclose(bulks.planted_values[index], alone.planted_values, rtol=1e-12)
