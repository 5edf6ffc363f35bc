"""Data and the minibatches that are taken from them."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rbm_jax._internal.checks import (
    as_array,
    check_finite,
    check_support,
)
from rbm_jax._internal.placement import take_rows
from rbm_jax._internal.typing import Array, PRNGKey, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.symmetry import TiedRBM
from rbm_jax.training.minibatches import (
    AbstractBatches,
    AbstractFeed,
    MinibatchAt,
    batch_rows,
    batch_words,
    check_batch_size,
    normalized_cumulative,
)
from rbm_jax.training.streaming import StreamedBatches

__all__ = ["Batches"]


class Batches(AbstractBatches, AbstractFeed):
    """Data in memory, checked once: build it once and give it to every call of `fit`.

    Args:
        data: shape (n_samples, n_visible), any real or boolean dtype; minibatches are cast to the RBM's. A NumPy array
            is copied to the device here; uint8 or bool need the least memory.
        batch_size: rows of a minibatch; each epoch is shuffled anew. None: all data in every update.
        sample_weights: non-negative sample weights, shape (n_samples,). Minibatches are drawn with these probabilities
            (with replacement); without minibatches they are passed to the estimator.
        allow_missing: whether NaN in the data stands for entries that were not observed. The estimator then needs a
            `data_term` of `rbm_jax.missing`.
        key: a JAX key for the choice of minibatches; None takes the key of the run. Runs that share it see the same
            minibatches; see `fit_many`.
        mesh: devices that get a copy of the data each (`rbm_jax.sharding.device_mesh`); None leaves them where they
            are.

    Attributes:
        data: the data, as an array of JAX.
        sample_weights: normalized, or None.
        cumulative: cumulative sum of the sample weights, or None.

    Raises:
        TypeError, ValueError: data or weights that cannot be right, named in the message. Values outside the support of
            the visible units are found by the first `fit`.

    Example:
        >>> from rbm_jax import Batches
        >>> from rbm_jax.data import bars_and_stripes
        >>> Batches(bars_and_stripes(4), batch_size=10).data.shape
        (30, 16)
    """

    data: Array
    sample_weights: Array | None
    cumulative: Array | None
    key: Any
    batch_size: int | None = eqx.field(static=True)
    allow_missing: bool = eqx.field(static=True)

    def __init__(
        self,
        data: Any,
        batch_size: int | None = None,
        sample_weights: Weighting = None,
        *,
        allow_missing: bool = False,
        key: PRNGKey | None = None,
        mesh: Mesh | None = None,
    ):
        data = as_array("data", data, allow_missing=allow_missing)
        if data.ndim != 2:
            raise ValueError(f"data must have 2 axes, one sample a row, got shape {data.shape}")
        if data.shape[0] == 0:
            raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
        if not allow_missing:
            check_finite("data", data)  # before there are units to ask
        check_batch_size(batch_size, data.shape[0])
        self.sample_weights, self.cumulative = normalized_cumulative(sample_weights, data.shape[0])
        data = data if isinstance(data, jax.Array) else jnp.array(data)  # a copy: what is checked must not change
        self.data = data if mesh is None else jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
        self.batch_size, self.allow_missing, self.key = batch_size, bool(allow_missing), key

    @staticmethod
    def stream(source: Any, batch_size: int, **options: Any) -> "AbstractBatches":
        """Minibatches that are read from a disk while the loop runs: `StreamedBatches`, with its options."""
        return StreamedBatches(source, batch_size, **options)

    def check(self, rbm: RBM | TiedRBM) -> None:
        """Raise unless the data fit the RBM's visible layer; data that did are remembered."""
        if self.data.shape[1] != rbm.n_visible:
            raise ValueError(
                f"data must have {rbm.n_visible} units on its last axis, got shape {self.data.shape}; flatten images "
                "to one row each, and check that data and RBM belong together"
            )
        check_support("data", self.data, rbm.visible_units, allow_missing=self.allow_missing)

    def feeds(self, key: PRNGKey, rbm: RBM | TiedRBM, step: int, n_updates: int) -> Iterator[tuple[int, AbstractFeed]]:
        """The data themselves, for all updates."""
        yield n_updates, self

    def minibatches(self, key: PRNGKey, layout: NamedSharding | None) -> MinibatchAt:
        """Rows of the data."""
        if self.batch_size is None:
            batch = take_rows(self.data, None, layout)
            return lambda step: (batch, self.sample_weights)
        words, n_samples, size = batch_words(key), len(self.data), self.batch_size
        return lambda step: (
            take_rows(self.data, batch_rows(words, step, n_samples, size, self.cumulative), layout),
            None,
        )

    @property
    def n_rows(self) -> int:
        """Rows of a minibatch, or of the data."""
        return len(self.data) if self.batch_size is None else self.batch_size
