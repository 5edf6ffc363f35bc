"""Leading modes by subspace iteration, and modes along trajectories."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Modes, Trajectory, init_rbm, svd_modes
from rbm_jax.spectral import follow_modes, leading_modes, modes_along, singular_values_along
from tests.helpers import slow_but

SHAPES = [(90, 60), (60, 90), (64, 64)]
leading = jax.jit(leading_modes, static_argnums=1)


def trained_like(shape, rank=8, noise=0.02, seed=0):
    """Modes of strength 5, 4.2, 3.5, ... in noise."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(shape[0], rank)))[0]
    right = np.linalg.qr(rng.normal(size=(shape[1], rank)))[0]
    return (left * (5 * 0.85 ** np.arange(rank))) @ right.T + noise * rng.normal(size=shape)


def trajectory_of(weights):
    weights = jnp.asarray(weights)
    rbm = init_rbm(jax.random.key(0), *weights.shape[1:])
    rbms = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(weights), *leaf.shape)), rbm)
    rbms = dataclasses.replace(rbms, weights=weights)
    return Trajectory(jnp.arange(len(weights), dtype=weights.dtype), rbms, jnp.array(0))


def assert_leading(found: Modes, weights, n_modes):
    """To the accuracy that `leading_modes` promises: residuals of up to the root of a rounding error, √ε σ_1.

    Values are then right to ε σ_1² over the gaps, and to the rounding of either decomposition, √n ε σ_1; vectors to the
    residual over the gaps.
    """
    expected = svd_modes(weights)
    epsilon, largest = float(jnp.finfo(weights.dtype).eps), float(expected.values[0])
    gap = -float(np.diff(expected.values[: n_modes + 1]).max())
    rounding = 2 * epsilon * largest * len(weights) ** 0.5
    np.testing.assert_allclose(found.values, expected.values[:n_modes], atol=rounding + epsilon * largest**2 / gap)
    for vectors, reference in ((found.left, expected.left), (found.right, expected.right)):
        np.testing.assert_allclose(vectors, reference[:, :n_modes], atol=2 * epsilon**0.5 * largest / gap)


INITS = ["cold", "warm", "of fewer modes"]


@pytest.mark.parametrize(
    ("dtype", "init", "shape"),
    slow_but(
        [("float64", init, SHAPES[0]) for init in INITS]
        + [("float64", "cold", shape) for shape in SHAPES[1:]]
        + [("float32", "warm", SHAPES[1])],
        [(name, init, shape) for name in ("float64", "float32") for init in INITS for shape in SHAPES],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_leading_modes_are_those_of_the_full_decomposition(shape, init, dtype):
    weights = jnp.asarray(trained_like(shape), dtype)
    nearby = svd_modes(jnp.asarray(trained_like(shape) + 1e-3, dtype))
    n_known = {"cold": 0, "warm": 5, "of fewer modes": 2}[init]
    known = Modes(nearby.left[:, :n_known], nearby.values[:n_known], nearby.right[:, :n_known]) if n_known else None
    found = leading(weights, 5, init=known)
    assert_leading(found, weights, 5)
    assert found.values.dtype == dtype


def test_a_mode_that_init_does_not_know_is_found(x64):
    weights = jnp.asarray(trained_like((90, 60)))
    modes = svd_modes(weights)
    others = Modes(modes.left[:, 1:6], modes.values[1:6], modes.right[:, 1:6])  # exact, but not the leading ones
    assert_leading(leading(weights, 5, init=others), weights, 5)


@pytest.mark.parametrize("kind", ["noise", "zero", "rank one", "a few rows"])
def test_difficult_matrices_have_leading_modes_too(kind, dtype):
    rng = np.random.default_rng(0)
    weights = {
        "noise": rng.normal(size=(90, 60)),
        "zero": np.zeros((90, 60)),
        "rank one": np.outer(rng.normal(size=90), rng.normal(size=60)),
        "a few rows": rng.normal(size=(3, 60)),
    }[kind]
    weights = jnp.asarray(weights, dtype)
    found = leading(weights, 4)
    n_modes = min(4, *weights.shape)
    expected = jnp.linalg.svd(weights, compute_uv=False)
    error = 1e-10 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(found.values, expected[:n_modes], rtol=error, atol=error * float(expected[0]))
    assert found.left.shape == (weights.shape[0], n_modes)


def test_looser_tolerance_gives_a_smaller_effort_and_still_close_values(x64):
    weights = jnp.asarray(trained_like((90, 60), noise=0.3))
    found = leading_modes(weights, 3, tol=1e-2)
    np.testing.assert_allclose(found.values, svd_modes(weights).values[:3], rtol=1e-3)


@pytest.mark.usefixtures("unchecked")
def test_leading_modes_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="n_modes"):
        leading_modes(jnp.ones((40, 30)), 0)
    with pytest.raises(ValueError, match="weights must be a matrix"):
        leading_modes(jnp.ones(40), 2)
    with pytest.raises(ValueError, match=r"init must have modes of weights of shape \(40, 30\)"):
        leading_modes(jnp.ones((40, 30)), 2, init=svd_modes(jnp.ones((30, 40))))


@pytest.mark.parametrize("n_modes", [None, 3])
def test_values_along_a_trajectory_are_those_of_each_matrix(n_modes, dtype):
    rng = np.random.default_rng(1)
    drift = 0.05 * rng.normal(size=(90, 60))
    weights = np.stack([trained_like((90, 60)) + time * drift for time in range(6)]).astype(dtype)
    path = trajectory_of(weights)
    expected = np.linalg.svd(weights, compute_uv=False)[:, :n_modes]
    error = 1e-10 if dtype == jnp.float64 else 1e-5
    np.testing.assert_allclose(singular_values_along(path, n_modes=n_modes), expected, rtol=error, atol=error)
    modes = modes_along(path, n_modes=n_modes)
    np.testing.assert_allclose(modes.values, expected, rtol=error, atol=error)
    assert modes.left.shape == (6, 90, 60 if n_modes is None else 3)


def crossing_path(n_times=20):
    """Two modes whose values cross in time, slowly turning, and a third one below."""
    rng = np.random.default_rng(2)
    left = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    right = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    way = np.linspace(0, 1, n_times)
    values = np.stack([3 - way, 2 + way, 0 * way + 0.5], axis=1)
    turn = 0.3 * way
    u = np.stack([left[:, :3]] * n_times)
    u[:, :, 0] = np.cos(turn)[:, None] * left[:, 0] + np.sin(turn)[:, None] * left[:, 5]
    return values, np.einsum("tia,ta,ja->tij", u, values, right[:, :3])


@pytest.mark.parametrize("backward", [False, True])
def test_modes_are_followed_through_a_crossing(backward, x64):
    values, weights = crossing_path()
    modes = modes_along(trajectory_of(weights))
    assert (np.diff(modes.values, axis=1) <= 1e-12).all()
    followed = follow_modes(modes, backward=backward)
    expected = values[:, [1, 0, 2]] if backward else values
    np.testing.assert_allclose(followed.values[:, :3], expected, atol=1e-10)
    # signs are continuous too
    for vectors in (followed.left, followed.right):
        assert ((vectors[1:, :, :3] * vectors[:-1, :, :3]).sum(1) > 0.9).all()


def test_followed_modes_still_rebuild_their_weights(x64):
    _, weights = crossing_path()
    followed = follow_modes(modes_along(trajectory_of(weights)))
    rebuilt = np.einsum("tia,ta,tja->tij", followed.left, followed.values, followed.right)
    np.testing.assert_allclose(rebuilt, weights, atol=1e-10)


def test_leading_modes_work_under_vmap(x64):
    weights = jnp.stack([jnp.asarray(trained_like((90, 60), seed=seed)) for seed in range(3)])
    together = jax.jit(jax.vmap(lambda matrix: leading_modes(matrix, 4)))(weights)
    for index in range(3):
        np.testing.assert_allclose(together.values[index], leading(weights[index], 4).values, rtol=1e-10)
