"""Synthetic data with known structure."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax._internal.checks import as_array, check_count, check_finite, check_positive, is_concrete
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, PRNGKey, Shaped

__all__ = ["bars_and_stripes", "gaussian_data", "ising_chain", "planted_clusters"]


def bars_and_stripes(size: int) -> Shaped[np.ndarray, "n_patterns n_pixels"]:
    """All distinct size×size images of full rows or of full columns, in 0/1, one a row: 2·2^size - 2 of them.

    Args:
        size: side of the image, from 1 to 16.

    Raises:
        ValueError: a size outside this range.
    """
    size = check_count("size", size)
    if size > 16:
        raise ValueError(f"size must be at most 16, got {size}: there are 2^size patterns")
    lines = np.indices((2,) * size, dtype=np.uint8).reshape(size, -1).T
    columns = np.broadcast_to(lines[:, None, :], (len(lines), size, size))
    rows = columns.swapaxes(1, 2)
    return np.unique(np.concatenate([rows, columns]).reshape(-1, size * size), axis=0)


def gaussian_data(
    key: PRNGKey, n_samples: int, covariance: Float[ArrayLike, "n_visible n_visible"]
) -> Float[Array, "n_samples n_visible"]:
    """Gaussian samples whose own mean is 0 and whose own covariance is the one given, not only in the limit.

    So the learning equations of the finite sample are those of the covariance.

    Args:
        key: a JAX key.
        n_samples: number of samples, more than n_visible.
        covariance: symmetric and positive, shape (n_visible, n_visible).

    Raises:
        ValueError: a covariance that is not square, symmetric and positive, or too few samples.
    """
    covariance = jnp.asarray(as_array("covariance", covariance))
    if not jnp.issubdtype(covariance.dtype, jnp.floating):
        covariance = covariance.astype(jnp.zeros(()).dtype)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"covariance must be a square matrix, got shape {covariance.shape}")
    n_visible = covariance.shape[0]
    if check_count("n_samples", n_samples) <= n_visible:
        raise ValueError(f"n_samples must be more than the {n_visible} units, got {n_samples}")
    raw = jax.random.normal(stream_key(key, Stream.GAUSSIAN_DATA), (n_samples, n_visible), covariance.dtype)
    raw = raw - raw.mean(0)
    own, wanted = jnp.linalg.cholesky(raw.T @ raw / n_samples), jnp.linalg.cholesky(covariance)
    if is_concrete(covariance) and not (jnp.isfinite(wanted).all() and jnp.allclose(covariance, covariance.T)):
        raise ValueError("covariance must be symmetric, finite and positive definite, but is not")
    return jax.scipy.linalg.solve_triangular(own, raw.T, lower=True).T @ wanted.T


def ising_chain(
    key: PRNGKey, n_samples: int, n_spins: int, *, coupling: float, periodic: bool = False
) -> Float[Array, "n_samples n_spins"]:
    """Exact, independent samples of the Ising chain P(s) ∝ exp(J Σ_i s_i s_{i+1}), in ±1.

    In the open chain neighbors are equal with probability 1 / (1 + e^{-2J}), independently, so ⟨s_i s_j⟩ =
    tanh(J)^{|i-j|}. In the ring the number of unequal neighbors is even, and ⟨s_i s_j⟩ = (t^r + t^{N-r}) / (1 + t^N)
    with t = tanh J and r = |i-j|.

    Args:
        key: a JAX key.
        n_samples: number of samples.
        n_spins: length of the chain, N.
        coupling: J, of any sign.
        periodic: whether the last spin is coupled to the first.

    Raises:
        ValueError: counts below 1, or a coupling that is not finite.
    """
    check_finite("coupling", jnp.asarray(coupling, float))
    shape = (check_count("n_samples", n_samples), check_count("n_spins", n_spins))
    key_first, key_bonds = jax.random.split(stream_key(key, Stream.ISING_CHAIN))
    strength = jnp.asarray(coupling) * 1.0
    first = 2.0 * jax.random.bernoulli(key_first, 0.5, (n_samples, 1)) - 1
    if not periodic:
        equal = jax.random.bernoulli(key_bonds, jax.nn.sigmoid(2 * strength), (shape[0], shape[1] - 1))
        return jnp.cumprod(jnp.concatenate([first, 2.0 * equal - 1], axis=1), axis=1)
    # How likely the rest of the ring's bonds make up for the sign so far is (1 ± t^n) / 2 for n bonds.
    rest = jnp.tanh(strength) ** (n_spins - 1 - jnp.arange(n_spins - 1))

    def next_bond(sign, rest_and_uniform):
        rest, uniform = rest_and_uniform
        stay = jax.nn.sigmoid(2 * strength) * (1 + sign * rest)
        flip = jax.nn.sigmoid(-2 * strength) * (1 - sign * rest)
        bond = jnp.where(uniform * (stay + flip) < stay, 1.0, -1.0)
        return sign * bond, bond

    uniforms = jax.random.uniform(key_bonds, (n_spins - 1, n_samples))
    _, bonds = lax.scan(next_bond, jnp.ones(n_samples), (rest, uniforms))
    return jnp.cumprod(jnp.concatenate([first, bonds.T], axis=1), axis=1)


def planted_clusters(
    key: PRNGKey,
    n_samples: int,
    n_visible: int,
    *,
    n_clusters: int = 4,
    n_modes: int = 2,
    strength: float = 1.0,
) -> tuple[Float[Array, "n_samples n_visible"], Float[Array, "n_visible n_modes"], Float[Array, "n_clusters n_modes"]]:
    """Binary (±1) clusters around random centers in the span of a few modes, as in the sources' synthetic data.

    Given its cluster c, all spins of a sample are independent in the fields h_i = Σ_α g_cα û_iα, with Gaussian modes
    û_iα ~ N(0, 1) and centers g_c uniform on the sphere of radius `strength`, so ⟨s_i⟩ = tanh h_i. Clusters are equally
    likely.

    Args:
        key: a JAX key.
        n_samples: number of samples.
        n_visible: number of spins.
        n_clusters: number of clusters.
        n_modes: dimension of the space of the centers.
        strength: |g_c|; the magnetization along a center grows with it.

    Returns:
        Samples in ±1, shape (n_samples, n_visible); modes û, shape (n_visible, n_modes); centers g, shape
        (n_clusters, n_modes).

    Raises:
        ValueError: counts below 1, or a strength that is not positive.
    """
    counts = {"n_samples": n_samples, "n_visible": n_visible, "n_clusters": n_clusters, "n_modes": n_modes}
    for name, count in counts.items():
        check_count(name, count)
    check_positive("strength", strength)
    key_modes, key_centers, key_labels, key_spins = jax.random.split(stream_key(key, Stream.PLANTED_CLUSTERS), 4)
    modes = jax.random.normal(key_modes, (n_visible, n_modes))
    directions = jax.random.normal(key_centers, (n_clusters, n_modes))
    centers = strength * directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    labels = jax.random.randint(key_labels, (n_samples,), 0, n_clusters)
    fields = (centers @ modes.T)[labels]
    samples = 2.0 * jax.random.bernoulli(key_spins, jax.nn.sigmoid(2 * fields)) - 1.0
    return samples, modes, centers
