"""Which rows of the data each update sees: a function of a key and of the number of the update alone.

So a run gives the same bits however it is cut into calls, and streamed data give those of data in memory.
"""

import abc
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from rbm_jax._internal.checks import (
    check_count,
    check_sample_weights,
    is_concrete,
)
from rbm_jax._internal.random import Stream, Words, key_words, shuffled_rows, stream_key, uniform
from rbm_jax._internal.typing import Array, Float, Int, PRNGKey, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.symmetry import TiedRBM

__all__ = [
    "AbstractBatches",
    "AbstractFeed",
    "MinibatchAt",
    "batch_rows",
    "batch_words",
    "check_batch_size",
    "normalized_cumulative",
]


MinibatchAt = Callable[[Int[Array, ""]], tuple[Array, Array | None]]


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


def batch_words(key: PRNGKey) -> Words:
    """The words of the random numbers that choose minibatches."""
    return key_words(stream_key(key, Stream.BATCHES))


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


def normalized_cumulative(sample_weights: Weighting, n_samples: int) -> tuple[Array | None, Array | None]:
    """Sample weights that sum to one and their cumulative sum, taken in double precision; None for None."""
    check_sample_weights(sample_weights, n_samples)
    if sample_weights is None:
        return None, None
    xp: Any = np if is_concrete(sample_weights) else jnp
    values = xp.asarray(sample_weights, xp.float64 if xp is np else None)
    values = values / values.max()  # their sum may overflow
    values = values / values.sum()
    return jnp.asarray(values, jnp.zeros(()).dtype), jnp.asarray(xp.cumsum(values), jnp.zeros(()).dtype)
