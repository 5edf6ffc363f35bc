"""Motion of singular values and vectors."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import PCD, Modes, init_rbm, svd_modes
from rbm_jax.data import bars_and_stripes
from rbm_jax.dynamics import (
    exact_force,
    integrate,
    mode_motion,
    mode_velocity,
    modes_derivative,
    rebuild_velocity,
    split_degenerate,
)
from tests.helpers import reference_rbm, tolerance

SHAPES = [(7, 5), (5, 7), (6, 6), (1, 4), (4, 1)]
(
    svd_modes_jit,
    mode_velocity_jit,
    mode_motion_jit,
    modes_derivative_jit,
    rebuild_velocity_jit,
    split_degenerate_jit,
) = map(jax.jit, (svd_modes, mode_velocity, mode_motion, modes_derivative, rebuild_velocity, split_degenerate))


def weights_and_velocity(n_visible, n_hidden):
    """A weight matrix and a velocity that published values refer to."""
    i, j = np.arange(n_visible)[:, None], np.arange(n_hidden)
    weights = reference_rbm(n_visible, n_hidden, 1.0).weights
    return weights, jnp.asarray(np.cos(0.5 + 1.3 * i - 0.7 * j**2), weights.dtype)


@pytest.mark.parametrize(
    ("shape", "left", "right", "top"),
    [((7, 5), 2.65855094, 2.62228507, -1.06806224), ((5, 7), 0.32863100, 0.33460141, -0.21655241)],
)
def test_published_rotations_and_velocities(x64, shape, left, right, top):
    weights, velocity = weights_and_velocity(*shape)
    found = mode_velocity_jit(svd_modes_jit(weights), velocity)
    np.testing.assert_allclose(abs(found.left_rotation[0, 1]), left, atol=1e-8)
    np.testing.assert_allclose(abs(found.right_rotation[0, 1]), right, atol=1e-8)
    np.testing.assert_allclose(found.values[0], top, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_velocity_rebuilt_from_modes_is_the_velocity(dtype, shape):
    weights, velocity = weights_and_velocity(*shape)
    modes = svd_modes_jit(weights)
    found = mode_velocity_jit(modes, velocity.astype(dtype))
    np.testing.assert_allclose(rebuild_velocity_jit(modes, found), velocity, atol=100 * tolerance(dtype))
    assert found.values.dtype == dtype
    assert not found.degenerate.any()


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6)], ids=str)
@pytest.mark.parametrize("values", [(2, 2, 1, 1, 1), (3, 3, 3, 3, 3), (4, 3, 3, 2, 1), (2, 2, 2, 1, 0.5)], ids=str)
def test_velocity_is_rebuilt_through_degenerate_blocks(shape, values, x64):
    rng = np.random.default_rng(0)
    n_modes = min(shape)
    values = np.sort(np.append(values, 0.25)[:n_modes])[::-1]
    basis = svd_modes_jit(jnp.asarray(rng.normal(size=shape)))
    modes = Modes(basis.left, jnp.asarray(values), basis.right)
    weights, velocity = (basis.left * values) @ basis.right.T, jnp.asarray(rng.normal(size=shape))
    split = split_degenerate_jit(modes, velocity)
    np.testing.assert_allclose((split.left * split.values) @ split.right.T, weights, atol=1e-13)
    found = mode_velocity_jit(split, velocity)
    np.testing.assert_allclose(rebuild_velocity_jit(split, found), velocity, atol=1e-12)
    # The singular values split at these rates.
    step = 1e-7
    moved = np.linalg.svd(weights + step * velocity, compute_uv=False)
    expected = np.sort(split.values + step * found.values)[::-1]
    np.testing.assert_allclose(moved, expected, atol=1e-12)


def test_modes_that_are_alone_stay_as_they_are(dtype):
    weights, velocity = weights_and_velocity(7, 5)
    modes = svd_modes_jit(weights.astype(dtype))
    split = split_degenerate_jit(modes, velocity)
    for leaf, expected in zip(jax.tree.leaves(split), jax.tree.leaves(modes), strict=True):
        np.testing.assert_allclose(leaf, expected, atol=tolerance(dtype))
        assert leaf.dtype == dtype


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_motion_divides_the_velocity_without_rest(shape, dtype):
    weights, velocity = weights_and_velocity(*shape)
    modes, velocity = svd_modes_jit(weights), velocity.astype(dtype)
    motion, found = mode_motion_jit(modes, velocity), mode_velocity_jit(modes, velocity)
    total = (velocity**2).sum()
    np.testing.assert_allclose(motion.values_fraction, (found.values**2).sum() / total, rtol=10 * tolerance(dtype))
    outside = (
        ((found.left_outside * modes.values) @ modes.right.T) ** 2
        + ((modes.left * modes.values) @ found.right_outside.T) ** 2
    ).sum()
    np.testing.assert_allclose(motion.outside_fraction, outside / total, atol=10 * tolerance(dtype))
    total_fraction = motion.values_fraction + motion.rotation_fraction + motion.outside_fraction
    np.testing.assert_allclose(total_fraction, 1, rtol=10 * tolerance(dtype))
    speed = modes_derivative_jit(modes, velocity)
    np.testing.assert_allclose(motion.left_speed, np.linalg.norm(speed.left, axis=0), rtol=1e3 * tolerance(dtype))
    np.testing.assert_allclose(motion.right_speed, np.linalg.norm(speed.right, axis=0), rtol=1e3 * tolerance(dtype))


def test_motion_of_a_step_of_training_is_that_of_the_modes_of_the_weights(x64):
    data = bars_and_stripes(3)
    rbm = init_rbm(jax.random.key(0), 9, 4, scale=0.5)
    chains = np.random.default_rng(1).integers(0, 2, (50, 9)).astype(float)
    gradient, _ = jax.jit(PCD())(jax.random.key(2), rbm, data, chains)
    motion = mode_motion_jit(svd_modes_jit(rbm.weights), -gradient.weights)
    step = 1e-6
    before, after = (svd_modes_jit(rbm.weights - sign * step * gradient.weights) for sign in (-1, 1))
    np.testing.assert_allclose(motion.value_velocity, (after.values - before.values) / (2 * step), atol=1e-7)
    turned = np.linalg.norm(after.left - before.left, axis=0) / (2 * step)
    np.testing.assert_allclose(motion.left_speed, turned, rtol=1e-5)


def test_a_step_along_one_mode_only_changes_its_value(x64):
    modes = svd_modes_jit(weights_and_velocity(7, 5)[0])
    motion = mode_motion_jit(modes, jnp.outer(modes.left[:, 1], modes.right[:, 1]))
    np.testing.assert_allclose(motion.value_velocity, [0, 1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(
        [motion.values_fraction, motion.rotation_fraction, motion.outside_fraction], [1, 0, 0], atol=1e-12
    )
    still = mode_motion_jit(modes, jnp.zeros((7, 5)))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(still))


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_mode_velocities_are_the_derivatives_of_the_decomposition(x64, shape):
    weights, velocity = weights_and_velocity(*shape)
    step = 1e-6
    before, after = svd_modes_jit(weights - step * velocity), svd_modes_jit(weights + step * velocity)
    numeric = jax.tree.map(lambda new, old: (new - old) / (2 * step), after, before)
    found = modes_derivative_jit(svd_modes_jit(weights), velocity)
    for exact, difference in zip(jax.tree.leaves(found), jax.tree.leaves(numeric), strict=True):
        np.testing.assert_allclose(exact, difference, atol=1e-7)


def test_rotations_are_antisymmetric_and_outside_parts_are_orthogonal(x64):
    weights, velocity = weights_and_velocity(7, 5)
    modes = svd_modes_jit(weights)
    found = mode_velocity_jit(modes, velocity)
    for rotation in (found.left_rotation, found.right_rotation):
        np.testing.assert_allclose(rotation, -rotation.T, atol=1e-12)
    np.testing.assert_allclose(modes.left.T @ found.left_outside, 0, atol=1e-12)
    np.testing.assert_allclose(found.right_outside, 0, atol=1e-12)


def test_off_diagonal_velocity_is_the_published_combination_of_rotations(x64):
    # Equation (6): A_ab = w_a Omega^h_ab + w_b Omega^v_ba.
    weights, velocity = weights_and_velocity(7, 5)
    modes = svd_modes_jit(weights)
    found = mode_velocity_jit(modes, velocity)
    a = modes.left.T @ velocity @ modes.right
    rebuilt = modes.values[:, None] * found.right_rotation + modes.values * found.left_rotation.T
    np.testing.assert_allclose(rebuilt + jnp.diag(found.values), a, atol=1e-12)


def test_degenerate_modes_stay_finite_and_are_named(dtype):
    values = jnp.asarray([2.0, 2.0, 1.0, 0.0], dtype)
    basis = svd_modes_jit(jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), dtype))
    modes = Modes(basis.left, values, basis.right)
    velocity = jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), dtype)
    found = mode_velocity_jit(modes, velocity)
    for leaf in jax.tree.leaves(found):
        assert jnp.isfinite(leaf).all()
    expected = np.zeros((4, 4), bool)
    expected[0, 1] = expected[1, 0] = expected[3, 3] = True
    np.testing.assert_array_equal(found.degenerate, expected)
    # What a common rotation of both bases does to a degenerate pair is not determined; the rest is.
    np.testing.assert_allclose(found.left_rotation[0, 1], -found.right_rotation[0, 1], rtol=1e-4)


def test_integrating_the_modes_agrees_with_integrating_the_weights(x64):
    data = bars_and_stripes(3)
    rbm, force = init_rbm(jax.random.key(0), 9, 4, scale=0.5), exact_force(data)
    ts = np.linspace(0, 2, 5)

    def field(t, state, args):
        modes, a, b = state
        weights = (modes.left * modes.values) @ modes.right.T
        slope = force(t, type(rbm)(weights, a, b, rbm.visible_units, rbm.hidden_units))
        return modes_derivative(modes, slope.weights), slope.visible_bias, slope.hidden_bias

    @jax.jit
    def both(rbm):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=0.0,
            t1=2.0,
            dt0=None,
            y0=(svd_modes(rbm.weights), rbm.visible_bias, rbm.hidden_bias),
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-12),
        )
        return integrate(force, rbm, ts, rtol=1e-10), solution

    reference, solution = both(rbm)
    modes = solution.ys[0]
    weights = np.einsum("tia,ta,tja->tij", modes.left, modes.values, modes.right)
    np.testing.assert_allclose(weights, reference.rbms.weights, atol=1e-8)
    np.testing.assert_allclose(solution.ys[1], reference.rbms.visible_bias, atol=1e-8)


def test_mode_velocity_works_under_jit_and_vmap(x64):
    weights, velocity = weights_and_velocity(7, 5)
    weights = np.stack([weights, np.multiply(2, weights)])
    together = jax.jit(jax.vmap(lambda w: mode_velocity(svd_modes(w), velocity)))(weights)
    for index in range(2):
        alone = mode_velocity_jit(svd_modes_jit(weights[index]), velocity)
        np.testing.assert_allclose(together.left_rotation[index], alone.left_rotation, atol=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_velocity_of_another_shape_is_refused():
    modes = svd_modes_jit(reference_rbm(5, 3, 1.0).weights)
    with pytest.raises(ValueError, match=r"dW must have the shape \(5, 3\)"):
        mode_velocity(modes, jnp.zeros((3, 5)))
    leading = Modes(modes.left[:, :2], modes.values[:2], modes.right[:, :2])
    with pytest.raises(ValueError, match="all 3 modes"):
        mode_velocity(leading, jnp.zeros((5, 3)))
