"""Singular modes: decomposition, signs, and following them along a trajectory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Modes, svd_modes
from rbm_jax.spectral import align_modes, effective_temperature, project
from tests.helpers import reference_rbm, tolerance

per_shape = pytest.mark.parametrize("shape", [(7, 5), (5, 7), (4, 4), (6, 1), (1, 1)], ids=str)


def rearranged(modes, order, sign):
    return Modes(modes.left[:, order] * sign, modes.values[order], modes.right[:, order] * sign)


def assert_same_modes(found, expected, error=0.0):
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=error, atol=error)


@per_shape
def test_modes_rebuild_the_weights_from_orthonormal_vectors(shape, dtype):
    weights = reference_rbm(*shape, 1.0, dtype=dtype).weights
    modes = svd_modes(weights)
    n_modes = min(shape)
    assert (modes.left.shape, modes.right.shape) == ((shape[0], n_modes), (shape[1], n_modes))
    np.testing.assert_allclose((modes.left * modes.values) @ modes.right.T, weights, atol=tolerance(dtype))
    for vectors in (modes.left, modes.right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(n_modes), atol=tolerance(dtype))
    assert (modes.values >= 0).all()
    assert (np.diff(modes.values) <= 0).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7, 5), (2.7055247, 2.4630046, 2.3791896, 0.9071129, 0.7034331)),
        ((5, 7), (2.6497176, 2.4853234, 2.0110257, 1.8475325, 0.5074289)),
    ],
)
def test_singular_values_are_the_published_ones(shape, expected, x64):
    np.testing.assert_allclose(svd_modes(reference_rbm(*shape, 1.0).weights).values, expected, rtol=0, atol=6e-8)


@per_shape
def test_the_largest_component_of_a_left_vector_is_positive(shape, dtype):
    for sign in (1, -1):
        left = np.asarray(svd_modes(sign * reference_rbm(*shape, 1.0, dtype=dtype).weights).left)
        assert (left[abs(left).argmax(0), np.arange(left.shape[1])] > 0).all()


def test_signs_of_the_factors_do_not_matter(x64):
    modes = svd_modes(reference_rbm(7, 5, 1.0).weights)
    rng = np.random.default_rng(0)
    for _ in range(5):
        sign = rng.choice([-1, 1], 5)
        weights = (modes.left * sign * modes.values) @ (modes.right * sign).T
        assert_same_modes(svd_modes(weights), modes, 1e-12)
    assert_same_modes(svd_modes(-reference_rbm(7, 5, 1.0).weights).left, modes.left, 1e-12)


def test_modes_of_a_trajectory_are_those_of_each_matrix(dtype):
    weights = jnp.stack([reference_rbm(5, 3, strength, dtype=dtype).weights for strength in (0.5, 1.0, 2.0)])
    batched = jax.jit(jax.vmap(svd_modes))(weights)
    for index, matrix in enumerate(weights):
        found = jax.tree.map(lambda leaf, index=index: leaf[index], batched)
        assert_same_modes(found, svd_modes(matrix), tolerance(dtype))


def test_derivatives_of_singular_values_are_the_projected_changes(x64):
    weights = reference_rbm(7, 5, 1.0).weights
    i, j = np.arange(7)[:, None], np.arange(5)
    change = jnp.asarray(np.cos(0.5 + 1.3 * i - 0.7 * j**2))
    _, rates = jax.jvp(lambda w: svd_modes(w).values, (weights,), (change,))
    modes = svd_modes(weights)
    np.testing.assert_allclose(rates, jnp.diag(modes.left.T @ change @ modes.right), rtol=1e-10)
    np.testing.assert_allclose(rates[0], -1.06806224, rtol=0, atol=6e-9)


def test_alignment_undoes_a_permutation_and_joint_sign_flips(dtype):
    modes = svd_modes(reference_rbm(7, 5, 1.0, dtype=dtype).weights)
    rng = np.random.default_rng(0)
    align = jax.jit(align_modes)
    for _ in range(10):
        shuffled = rearranged(modes, rng.permutation(5), jnp.asarray(rng.choice([-1, 1], 5), dtype))
        assert_same_modes(align(shuffled, modes), modes)
        assert_same_modes(
            align(shuffled, rearranged(modes, np.arange(3), np.ones(3))), rearranged(modes, np.arange(3), np.ones(3))
        )


def test_alignment_follows_modes_whose_singular_values_cross(x64):
    # two modes rotate by a small angle while their singular values change places
    modes = svd_modes(reference_rbm(7, 5, 1.0).weights)
    angle = 0.1
    rotation = jnp.eye(5).at[:2, :2].set(jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]))
    left, values = modes.left @ rotation, modes.values[jnp.array([1, 0, 2, 3, 4])]
    moved = svd_modes((left * values) @ modes.right.T)
    followed = align_modes(moved, modes)
    assert_same_modes(followed, Modes(left, values, modes.right), 1e-12)
    assert (moved.values != followed.values).any()


def test_aligned_modes_still_rebuild_their_weights(x64):
    weights = reference_rbm(6, 4, 1.0).weights
    reference = svd_modes(weights)
    noisy = weights + 0.05 * np.random.default_rng(0).normal(size=(6, 4))
    aligned = align_modes(svd_modes(noisy), reference)
    np.testing.assert_allclose((aligned.left * aligned.values) @ aligned.right.T, noisy, atol=1e-12)
    overlap = jnp.diag(reference.left.T @ aligned.left + reference.right.T @ aligned.right)
    assert (overlap > 1).all()


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_projections_are_inner_products_with_the_left_vectors(batch, dtype):
    modes = svd_modes(reference_rbm(5, 3, 1.0, dtype=dtype).weights)
    data = np.random.default_rng(0).integers(0, 2, (*batch, 5)).astype(np.uint8)
    found = project(data, modes)
    assert found.dtype == dtype
    expected = np.einsum("...i,ia->...a", data.astype(float), np.asarray(modes.left, np.float64))
    np.testing.assert_allclose(found, expected, rtol=tolerance(dtype), atol=tolerance(dtype))


def test_effective_temperature_is_the_inverse_variance_of_the_weights(dtype):
    weights = reference_rbm(7, 5, 0.3, dtype=dtype).weights
    expected = 1 / np.asarray(weights, np.float64).var()
    np.testing.assert_allclose(effective_temperature(weights), expected, rtol=tolerance(dtype))
    np.testing.assert_allclose(effective_temperature(2 * weights + 1), expected / 4, rtol=tolerance(dtype))


def test_size_free_temperature_is_the_inverse_strength_of_the_noise(dtype):
    noise = np.random.default_rng(0).normal(size=(60, 40))
    weights = jnp.asarray(0.8 * noise / noise.std() / 2400**0.25, dtype)
    np.testing.assert_allclose(effective_temperature(weights, size_free=True), 1 / 0.8, rtol=tolerance(dtype))


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_only_a_matrix_has_modes(shape):
    with pytest.raises((TypeError, ValueError), match="weights"):
        svd_modes(jnp.ones(shape))


@pytest.mark.parametrize(("shape", "reference"), [((5, 3), (4, 3)), ((5, 3), (5, 2)), ((5, 2), (5, 3))], ids=str)
def test_alignment_refuses_modes_of_other_layers_or_too_few(shape, reference):
    modes = [svd_modes(reference_rbm(*sizes, 1.0).weights) for sizes in (shape, reference)]
    with pytest.raises(ValueError, match="modes must have the layers of the reference"):
        align_modes(*modes)


def test_projection_refuses_data_of_another_width():
    modes = svd_modes(reference_rbm(5, 3, 1.0).weights)
    with pytest.raises(ValueError, match="data must have 5 units"):
        project(jnp.ones((2, 4)), modes)
