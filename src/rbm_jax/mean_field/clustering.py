"""Fixed points of the mean-field equations as clusters of the data, and as the states of the model.

After training, data flow to many fixed points, which stand for clusters (Decelle, Fissore & Furtlehner 2018; Decelle,
Rosset & Seoane 2023 for the tree).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_means, check_positive, check_same_length
from rbm_jax._internal.typing import Array, Bool, Float, FloatLike, Int, Sample, Shaped
from rbm_jax.mean_field.response import mean_field_stability
from rbm_jax.mean_field.solve import solve_mean_field
from rbm_jax.model.energies import check_rbm
from rbm_jax.model.rbm import RBM
from rbm_jax.spectral import svd_modes

__all__ = [
    "FixedPoints",
    "find_fixed_points",
    "fixed_point_tree",
    "log_state_weights",
    "polarized_start",
]


class FixedPoints(eqx.Module):
    """Distinct fixed points that were found from data, the largest basin first.

    Attributes:
        visible: centroids m_v, shape (n_points, n_visible).
        hidden: m_h, shape (n_points, n_hidden).
        free_energy: `mean_field_free_energy` of each, shape (n_points,).
        sizes: number of data in each basin, shape (n_points,).
        labels: the fixed point that each datum flows to; -1 for none, shape (n_samples,).
        converged: whether the iteration from each datum converged, shape (n_samples,).
        merge_distance: end points whose visible magnetizations differ by less, in root mean square, count as one.
    """

    visible: Float[Array, "n_points n_visible"]
    hidden: Float[Array, "n_points n_hidden"]
    free_energy: Float[Array, " n_points"]
    sizes: Int[Array, " n_points"]
    labels: Int[Array, " n_samples"]
    converged: Bool[Array, " n_samples"]
    merge_distance: float = eqx.field(static=True)


def find_fixed_points(
    rbm: RBM,
    data: Sample,
    *,
    order: int = 2,
    damping: FloatLike = 0.0,
    tol: FloatLike | None = None,
    max_steps: int = 1000,
    merge_distance: float = 1e-2,
    stable_only: bool = False,
) -> FixedPoints:
    """Cluster data by the fixed point that the mean-field iteration started at each datum ends in.

    The result has as many points as there are, so it cannot be under `jit` or `vmap`.

    Args:
        rbm: any pair of unit types.
        data: configurations or magnetizations, shape (n_samples, n_visible).
        order: of the equations; see `solve_mean_field`, also for the next three.
        damping: fraction of the old value in a step.
        tol: largest change in the last sweep.
        max_steps: sweeps at most. A start that has not converged by then belongs to no cluster.
        merge_distance: largest root mean square distance, over visible units, of end points that count as one. It
            should be well above `tol`, since slow directions end that much short of the fixed point.
        stable_only: leave out points at which `mean_field_stability` is negative; their data belong to no cluster. The
            iteration ends in such a point only from a start of exact symmetry.

    Raises:
        ValueError: arguments that do not fit, data that cannot be means of the units, or an RBM with NaN.

    Example:
        >>> import jax
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> from rbm_jax.mean_field import find_fixed_points
        >>> rbm = init_rbm(jax.random.key(0), 16, 8)
        >>> find_fixed_points(rbm, bars_and_stripes(4)).sizes
        Array([30], dtype=int32)
    """
    check_rbm(rbm)
    data = as_means("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2)
    if len(data) == 0:
        raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
    merge_distance = check_positive("merge_distance", merge_distance)
    padding = [(0, 2 ** math.ceil(math.log2(len(data))) - len(data)), (0, 0)]  # few shapes, so few compilations
    init = jnp.pad(data, padding, mode="edge")
    solution = solve_mean_field(rbm, init=init, order=order, damping=damping, tol=tol, max_steps=max_steps)
    solution = jax.tree.map(lambda leaf: leaf[: len(data)], solution)
    labels = _merge(np.asarray(solution.visible), np.asarray(solution.converged), merge_distance)
    if stable_only and labels.max() >= 0:
        first = np.array([np.argmax(labels == label) for label in range(labels.max() + 1)])
        stability = mean_field_stability(rbm, solution.visible[first], solution.hidden[first], order=order)
        labels = _relabel(np.where(np.append(stability < 0, False)[labels], -1, labels))
    sizes = np.bincount(labels[labels >= 0])
    first = np.array([np.argmax(labels == label) for label in range(len(sizes))], int)
    return FixedPoints(
        solution.visible[first],
        solution.hidden[first],
        solution.free_energy[first],
        jnp.asarray(sizes, jnp.int32),
        jnp.asarray(labels, jnp.int32),
        solution.converged,
        merge_distance,
    )


def fixed_point_tree(rbms: Sequence[RBM], data: Sample, **options: Any) -> list[FixedPoints]:
    """How clusters split as training goes on: the fixed points of the last RBM, followed back through the earlier ones.

    Iterations for each RBM start at the fixed points of the next one, where some end in the same point. So the clusters
    are nested, and the labels of all times together are a tree whose root is at the start of the training.

    Args:
        rbms: one RBM for each time, the earliest first.
        data: shape (n_samples, n_visible), at which iterations for the last RBM start.
        **options: of `find_fixed_points`.

    Returns:
        One `FixedPoints` for each RBM, in the same order. `sizes`, `labels` and `converged` count and index data.

    Raises:
        TypeError: a stack of RBMs.
        ValueError: no RBM, or arguments that do not fit.
    """
    if isinstance(rbms, RBM):
        raise TypeError("rbms must be a sequence of RBMs, the earliest first, got one RBM or a stack")
    if len(rbms) == 0:
        raise ValueError("rbms must hold at least one RBM, got none")
    points = find_fixed_points(rbms[-1], data, **options)
    tree = [points]
    for rbm in reversed(rbms[:-1]):
        if len(points.visible):
            points = _pull_back(find_fixed_points(rbm, points.visible, **options), points)
        tree.append(points)
    return tree[::-1]


def log_state_weights(
    free_energy: Float[Array, " n_points"],
    visible: Float[Array, "n_points n_visible"],
    converged: Shaped[Array, " n_points"] | None = None,
    *,
    merge_distance: FloatLike = 1e-2,
) -> Float[Array, " n_points"]:
    """Logarithms of e^{-G_k} / n_k, with n_k the number of points that are the same as point k.

    Their sum of exponentials counts each distinct state once, and their softmax weighs averages over states so. Unlike
    `find_fixed_points` it can be under `jit` and `vmap`.

    Args:
        free_energy: G_k, shape (n_points,).
        visible: visible magnetizations, shape (n_points, n_visible).
        converged: False for points to leave out, shape (n_points,); their value is -inf.
        merge_distance: largest root mean square distance of points that are the same.

    Raises:
        ValueError: different numbers of points.
    """
    check_same_length(free_energy=free_energy, visible=visible)
    taken = jnp.ones(free_energy.shape, bool) if converged is None else converged
    centered = visible - visible[0]  # differences of large numbers would lose digits
    squares = (centered**2).mean(-1)
    distance = squares[:, None] + squares - 2 * centered @ centered.T / visible.shape[-1]
    n_same = ((distance < merge_distance**2) & taken).sum(1).astype(free_energy.dtype)
    return jnp.where(taken, -free_energy - jnp.log(jnp.maximum(n_same, 1)), -jnp.inf)


@jax.jit
def polarized_start(rbm: RBM) -> Array:
    """Both ends of every mode, tilted towards the leading one: an init that keeps a symmetry would end in a saddle."""
    modes = svd_modes(rbm.weights)
    scaled = (modes.left * modes.values).T
    field = math.sqrt(rbm.n_hidden) * (scaled + 0.1 * scaled[0])
    return rbm.visible_units.mean(rbm.visible_bias + jnp.concatenate([field, -field]))


def _merge(points: np.ndarray, converged: np.ndarray, distance: float) -> np.ndarray:
    """Label each row by the first of those left within the distance, the largest group 0; -1 if not converged."""
    labels = np.full(len(points), -1)
    left = np.flatnonzero(converged)
    for label in range(len(left)):
        if not len(left):
            break
        same = ((points[left] - points[left[0]]) ** 2).mean(1) < distance**2
        labels[left[same]] = label
        left = left[~same]
    return _relabel(labels)


def _relabel(labels: np.ndarray) -> np.ndarray:
    """Number the groups by decreasing size, the earlier first where sizes are equal."""
    kept, sizes = np.unique(labels[labels >= 0], return_counts=True)
    new = np.full(labels.max() + 2, -1)
    new[kept[np.argsort(-sizes, kind="stable")]] = np.arange(len(kept))
    return new[labels]


def _pull_back(parents: FixedPoints, children: FixedPoints) -> FixedPoints:
    """Parents found from their children, with sizes and labels that refer to the children's data."""
    labels = np.append(parents.labels, -1)[np.asarray(children.labels)]
    order = np.argsort(-np.bincount(labels[labels >= 0], minlength=len(parents.sizes)), kind="stable")
    rank = np.append(np.argsort(order), -1)[labels]
    return dataclasses.replace(
        parents,
        visible=parents.visible[order],
        hidden=parents.hidden[order],
        free_energy=parents.free_energy[order],
        sizes=jnp.asarray(np.bincount(rank[rank >= 0], minlength=len(order)), jnp.int32),
        labels=jnp.asarray(rank, jnp.int32),
        converged=jnp.asarray(labels >= 0),
    )
