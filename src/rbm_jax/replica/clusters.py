"""Data of clusters in the span of planted modes: what the thermodynamic limit of learning is written for.

A cluster has independent ±1 units in the fields h_i = Σ_α g_α û_iα, so that its magnetizations m_α = E[û_α tanh(g·û)]
are of order one. Source: Decelle, Fissore & Furtlehner (2018), Section 5.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, PRNGKey
from rbm_jax.replica.averages import free_magnetization
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution

__all__ = ["Clusters", "cluster_magnetizations", "sample_clusters"]

_GAUSSIAN = GaussianDistribution()


class Clusters(eqx.Module):
    """Clusters of ±1 data.

    `Clusters(fields, weights=None)`; equal weights by default, and any are normalized.

    Attributes:
        fields: g of each cluster, shape (n_clusters, n_modes).
        weights: probability of each, shape (n_clusters,).
    """

    fields: Float[Array, "*batch n_clusters n_modes"]
    weights: Float[Array, "*batch n_clusters"]

    def __init__(
        self, fields: Float[ArrayLike, "n_clusters n_modes"], weights: Float[ArrayLike, " n_clusters"] | None = None
    ):
        self.fields = jnp.asarray(fields)
        if self.fields.ndim != 2:
            raise ValueError(f"fields must have shape (n_clusters, n_modes), got {self.fields.shape}")
        weights = jnp.ones(self.fields.shape[0]) if weights is None else jnp.asarray(weights)
        if weights.shape != self.fields.shape[:1]:
            raise ValueError(f"weights must have shape {self.fields.shape[:1]}, one a cluster, got {weights.shape}")
        self.weights = (weights / weights.sum()).astype(self.fields.dtype)


def cluster_magnetizations(
    clusters: Clusters, *, component_distribution: AbstractDistribution = _GAUSSIAN
) -> Float[Array, "n_clusters n_modes"]:
    """Magnetization m_α = E[û_α ⟨s⟩] of each cluster.

    Args:
        clusters: the data model.
        component_distribution: distribution of û.
    """
    return jax.vmap(lambda field: free_magnetization(component_distribution, field))(clusters.fields)


def sample_clusters(
    key: PRNGKey, n_samples: int, clusters: Clusters, components: Float[Array, "n_visible n_modes"]
) -> Float[Array, "n_samples n_visible"]:
    """Independent configurations in ±1.

    Args:
        key: a JAX key.
        n_samples: number of configurations.
        clusters: the data model.
        components: û of the visible units, √n_visible times the left modes of `SpikedEnsemble.sample`.
    """
    key_cluster, key_states = jax.random.split(stream_key(key, Stream.CLUSTER_SAMPLES))
    shape = (check_count("n_samples", n_samples),)
    chosen = jax.random.choice(key_cluster, clusters.weights.shape[0], shape, p=clusters.weights)
    up = jax.nn.sigmoid(2 * clusters.fields @ components.T)[chosen]
    return 2 * jax.random.bernoulli(key_states, up).astype(components.dtype) - 1
