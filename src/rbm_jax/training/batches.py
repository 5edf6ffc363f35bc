"""Minibatches: which rows of the data each update sees, from memory or from a disk.

The rows of update t are a function of a key and of t alone, so that a run gives the same bits however it is cut into
calls, and streamed data give those of data in memory.
"""

import abc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rbm_jax._internal.checks import as_array, check_count, check_finite, check_sample_weights, is_concrete
from rbm_jax._internal.placement import take_rows
from rbm_jax._internal.random import Words, key_words, shuffled_rows, uniform
from rbm_jax._internal.typing import Array, Float, Int, PRNGKey, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.symmetry import TiedRBM
from rbm_jax.training.fitting import check_support

__all__ = ["AbstractBatches", "AbstractFeed", "Batches", "batch_rows", "batch_words", "check_batch_size", "normalized"]

MinibatchAt = Callable[[Int[Array, ""]], tuple[Array, Array | None]]

_BATCH_STREAM = 2**32 - 1
"""What the key of a run is folded with to choose minibatches: a step number that no run reaches."""


class AbstractFeed(eqx.Module):
    """Minibatches on the device, as an argument of the compiled loop."""

    @abc.abstractmethod
    def minibatches(self, key: PRNGKey, layout: NamedSharding | None) -> MinibatchAt:
        """The minibatch and sample weights of each update.

        Args:
            key: chooses the rows.
            layout: how the rows of a batch are divided among devices; None as XLA likes.
        """


class AbstractBatches(eqx.Module):
    """Data and how minibatches are taken from them.

    Attributes:
        batch_size: rows of a minibatch; None: all data in every update.
        allow_missing: whether NaN in the data stands for entries that were not observed.
        key: chooses the minibatches; None takes the key of the run.
    """

    batch_size: eqx.AbstractVar[int | None]
    allow_missing: eqx.AbstractVar[bool]
    key: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def check(self, rbm: RBM | TiedRBM) -> None:
        """Raise unless the data fit the RBM's visible layer."""

    @abc.abstractmethod
    def feeds(self, key: PRNGKey, rbm: RBM | TiedRBM, step: int, n_updates: int) -> Iterator[tuple[int, AbstractFeed]]:
        """Feeds one after the other, each with the number of updates it is good for."""

    @property
    @abc.abstractmethod
    def n_rows(self) -> int:
        """Rows of a minibatch, or of the data."""


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
        data = as_array("data", data)
        if data.ndim != 2:
            raise ValueError(f"data must have 2 axes, one sample a row, got shape {data.shape}")
        if data.shape[0] == 0:
            raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
        if not allow_missing:
            check_finite("data", data)
        check_batch_size(batch_size, data.shape[0])
        self.sample_weights, self.cumulative = normalized(sample_weights, data.shape[0])
        data = data if isinstance(data, jax.Array) else jnp.array(data)  # a copy: what is checked must not change
        self.data = data if mesh is None else jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
        self.batch_size, self.allow_missing, self.key = batch_size, bool(allow_missing), key

    @staticmethod
    def stream(source: Any, batch_size: int, **options: Any) -> "AbstractBatches":
        """Minibatches that are read from a disk while the loop runs: `StreamedBatches`, with its options."""
        from rbm_jax.training.streaming import StreamedBatches

        return StreamedBatches(source, batch_size, **options)

    def check(self, rbm: RBM | TiedRBM) -> None:
        """Raise unless the data fit the RBM's visible layer; data that did are remembered."""
        if self.data.shape[1] != rbm.n_visible:
            raise ValueError(
                f"data must have {rbm.n_visible} units on its last axis, got shape {self.data.shape}; flatten images "
                "to one row each, and check that data and RBM belong together"
            )
        units = rbm.visible_units
        if not is_concrete(self.data, units):
            return
        # Arrays of JAX do not change. The reference dies with the array, before its number is used again.
        signature = id(self.data), str(units), self.allow_missing
        if signature in _SEEN and _SEEN[signature]() is self.data:
            return
        check_support("data", self.data, units, allow_missing=self.allow_missing)
        _SEEN[signature] = weakref.ref(self.data, lambda _: _SEEN.pop(signature, None))

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


_SEEN: dict[tuple, weakref.ref] = {}
"""Data whose values were found to lie in the support of some units."""


def batch_words(key: PRNGKey) -> Words:
    """The words of the random numbers that choose minibatches."""
    return key_words(jax.random.fold_in(key, _BATCH_STREAM))


def batch_rows(
    words: Words,
    step: Int[Array, ""],
    n_samples: int,
    batch_size: int,
    cumulative: Float[Array, " n_samples"] | None,
) -> Int[Array, " batch_size"]:
    """Rows of the minibatch of update number `step`.

    Args:
        words: from `batch_words`.
        step: number of the update.
        n_samples: rows of the data.
        batch_size: rows of the minibatch.
        cumulative: cumulative sum of the sample weights, for draws with replacement; None for epochs that are each
            shuffled anew.
    """
    if cumulative is None:
        return shuffled_rows(words, step, n_samples, batch_size)
    drawn = uniform(words, step, (batch_size,), cumulative.dtype) * cumulative[-1]
    below_total = jnp.nextafter(cumulative[-1], 0)  # rounding up must not reach samples of no weight at the end
    return jnp.searchsorted(cumulative, jnp.minimum(drawn, below_total), side="right").astype(jnp.int32)


def check_batch_size(batch_size: int | None, n_samples: int) -> None:
    """Raise unless the batch size is None or a count of at most n_samples."""
    if batch_size is not None and check_count("batch_size", batch_size) > n_samples:
        raise ValueError(f"batch_size must be at most the number of samples, {n_samples}, got {batch_size}")


def normalized(sample_weights: Weighting, n_samples: int) -> tuple[Array | None, Array | None]:
    """Sample weights that sum to one and their cumulative sum, taken in double precision; None for None."""
    check_sample_weights(sample_weights, n_samples)
    if sample_weights is None:
        return None, None
    xp: Any = np if is_concrete(sample_weights) else jnp
    values = xp.asarray(sample_weights, xp.float64 if xp is np else None)
    values = values / values.max()  # their sum may overflow
    values = values / values.sum()
    return jnp.asarray(values, jnp.zeros(()).dtype), jnp.asarray(xp.cumsum(values), jnp.zeros(()).dtype)
