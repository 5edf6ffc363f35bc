"""Data that stay on disk: minibatches are read ahead while the compiled loop runs.

The loop runs over a chunk of minibatches that rests on the device, in one program. Meanwhile one host thread reads the
next chunk and sends it, so at most two are on the device.
"""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from rbm_jax._internal.checks import check_count, check_support, is_concrete
from rbm_jax._internal.typing import Array, Int, PRNGKey, Shaped, Weighting
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

__all__ = ["RowSource", "StreamedBatches"]

_CHUNK_BYTES = 2**26
"""Of minibatches that are read and sent together: large against the cost of a call, small against a device's memory."""
_RUN_BYTES = 2**24
"""Of neighboring stored chunks that are read by one slice: beyond it, reads are no faster, only larger."""
_ROWS_AT_ONCE = 256
"""Rows that are read by number in one call; h5py's cost for a row grows with the length of such a list."""


@runtime_checkable
class RowSource(Protocol):
    """What rows can be read from: `np.memmap`, `h5py.Dataset`, a zarr array, or any NumPy array.

    Indexing takes a slice or increasing row numbers, and gives a NumPy array. If there is an attribute `chunks` whose
    first entry is an integer, rows are stored, and therefore read, in blocks of that many.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_samples, n_visible)."""
        ...

    @property
    def dtype(self) -> Any:
        """NumPy dtype of the values."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Rows, in memory."""
        ...


class StreamedBatches(AbstractBatches):
    """Minibatches of data larger than the device's memory, or than the host's; also `Batches.stream`.

    They are the rows that `Batches` takes with the same key, so the result of `fit` is the same, bit for bit, however
    the run is cut. What a minibatch of random rows costs to read depends on the source; it is hidden behind the updates
    unless it takes longer than they do. For 500 rows of 784 bytes on one core, file in the page cache, against about 5
    ms of two cores for the update of PCD-1 with 500 hidden units:

    - an array in memory or a memory map of a .npy file: 0.1 ms;
    - an HDF5 dataset, contiguous: 1 ms. `rbm_jax.data.open_array` gives a memory map of it instead;
    - an HDF5 dataset in chunks: every chunk that holds a wanted row is read whole, and each once for all minibatches
      that are read together. If these (64 MiB, say 170 minibatches) visit every chunk of the data, one reading of the
      data is shared among them: 0.3 ms for 60,000 rows, 1 to 2 ms if compressed with gzip. If the data are much larger,
      a row costs a chunk (for 64 rows, 0.2 ms compressed), a minibatch 500 of them, and no reading ahead hides that:
      raise chunk_updates, pass `load_array(path)` if the host's memory holds it, or rewrite the file once, in order,
      as .npy (`np.lib.format.open_memmap`) or without chunks.

    Smaller types are read and sent faster: uint8 or bool for binary units.

    Args:
        source: shape (n_samples, n_visible), any real or boolean dtype, such as what `rbm_jax.data.open_array` gives;
            see `RowSource`. The values are checked as they are read.
        batch_size: rows of a minibatch.
        sample_weights: non-negative sample weights, shape (n_samples,), with which minibatches are drawn.
        allow_missing: as in `Batches`.
        key: as in `Batches`.
        chunk_updates: minibatches that are read and sent together; None for as many as fit into 64 MiB.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message. `fit` raises for a value outside the
            support of the visible units, with its row in the source.

    Example:
        >>> import jax
        >>> from rbm_jax import PCD, Batches, Trainer, fit, init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> trainer = Trainer.euler(PCD(), learning_rate=0.1)
        >>> state = trainer.init(jax.random.key(1), init_rbm(jax.random.key(0), 16, 8), n_chains=100)
        >>> batches = Batches.stream(bars_and_stripes(4), batch_size=10)  # or open_array("train.npy")
        >>> int(fit(jax.random.key(2), trainer, state, batches, n_updates=50)[0].step)
        50
    """

    source: Any
    batch_size: int = eqx.field(static=True)
    allow_missing: bool = eqx.field(static=True)
    chunk_updates: int = eqx.field(static=True)
    cumulative: Array | None
    key: Any

    def __init__(
        self,
        source: RowSource,
        batch_size: int,
        sample_weights: Weighting = None,
        *,
        allow_missing: bool = False,
        key: PRNGKey | None = None,
        chunk_updates: int | None = None,
    ):
        _check_source(source)
        check_batch_size(check_count("batch_size", batch_size), source.shape[0])
        if not is_concrete(key, sample_weights):
            raise ValueError("streamed data are read on the host, and cannot be under jit, vmap or grad: use Batches")
        if chunk_updates is None:
            chunk_updates = max(1, _CHUNK_BYTES // (batch_size * source.shape[1] * np.dtype(source.dtype).itemsize))
        _, self.cumulative = normalized_cumulative(sample_weights, source.shape[0])
        self.source, self.batch_size, self.key = source, batch_size, key
        self.allow_missing, self.chunk_updates = bool(allow_missing), check_count("chunk_updates", chunk_updates)

    @property
    def n_rows(self) -> int:
        """Rows of a minibatch."""
        return self.batch_size

    def check(self, rbm: RBM | TiedRBM) -> None:
        """Raise unless the source has a column for each visible unit; values are checked as they are read."""
        if self.source.shape[1] != rbm.n_visible:
            raise ValueError(f"source must have shape (n_samples, {rbm.n_visible}), got {tuple(self.source.shape)}")

    def feeds(self, key: PRNGKey, rbm: RBM | TiedRBM, step: int, n_updates: int) -> Iterator[tuple[int, AbstractFeed]]:
        """Chunks of minibatches, each read in a thread while its predecessor is in use."""
        # Few shapes, and not far too many rows.
        n_batches = min(self.chunk_updates, 1 << max(0, n_updates - 1).bit_length())
        sizes = self.source.shape[0], self.batch_size, n_batches
        steps = range(step, step + n_updates, n_batches)
        words = batch_words(key)
        with ThreadPoolExecutor(1) as pool:

            def submit(first):
                # The rows are computed before the loop over the chunk in hand is queued, so as not to wait for it.
                rows = jax.block_until_ready(_rows_of_chunk(words, np.int32(first), self.cumulative, sizes))
                n_wanted = min(n_batches, step + n_updates - first)
                return pool.submit(self._read, rows, n_batches, n_wanted, rbm.visible_units)

            upcoming = [submit(first) for first in steps[:1]]
            for first in steps:
                batches = upcoming.pop().result()
                if first != steps[-1]:
                    upcoming.append(submit(first + n_batches))
                yield n_batches, _Chunk(np.int32(first), batches)
                del batches

    def _read(self, rows: Array, n_batches: int, n_wanted: int, units: Any) -> Array:
        """Minibatches of these rows on the device; those after n_wanted are not read."""
        rows_on_host = np.asarray(rows)[:n_batches]
        values = np.zeros((*rows_on_host.shape, self.source.shape[1]), np.dtype(self.source.dtype).newbyteorder("="))
        _read_rows(self.source, rows_on_host[:n_wanted].reshape(-1), values.reshape(-1, self.source.shape[1]))
        for batch, batch_of_rows in zip(values[:n_wanted], rows_on_host, strict=False):
            check_support("source", batch, units, batch_of_rows, self.allow_missing)
        return jax.device_put(values)


class _Chunk(AbstractFeed):
    """Minibatches first_step, first_step + 1, ... on the device."""

    first_step: Int[Any, ""]
    batches: Shaped[Array, "n_batches batch_size n_visible"]

    def minibatches(self, key: PRNGKey, layout: NamedSharding | None) -> MinibatchAt:
        """Those of the chunk; key and layout were used when it was made."""
        return lambda step: (self.batches[step - self.first_step], None)


def _check_source(source: Any) -> None:
    if not isinstance(source, RowSource):
        raise TypeError(
            "source must have a shape, a dtype and rows, such as np.memmap or h5py.Dataset, "
            f"got {type(source).__name__}; see rbm_jax.data.open_array"
        )
    dtype, shape = np.dtype(source.dtype), tuple(source.shape)
    if not (np.issubdtype(dtype, np.number) or dtype == np.bool_) or np.issubdtype(dtype, np.complexfloating):
        raise TypeError(f"source must hold real numbers or booleans, got dtype {dtype}")
    if len(shape) != 2 or shape[0] == 0:
        raise ValueError(
            f"source must have shape (n_samples, n_visible), one unit a column and at least one sample, got {shape}"
        )


@eqx.filter_jit
def _rows_of_chunk(words, first_step, cumulative, sizes: tuple[int, int, int]) -> Int[Array, "n_batches batch_size"]:
    n_samples, batch_size, n_batches = sizes
    steps = first_step + jnp.arange(n_batches, dtype=jnp.int32)
    return jax.vmap(lambda step: batch_rows(words, step, n_samples, batch_size, cumulative))(steps)


def _read_rows(source: RowSource, rows: np.ndarray, out: np.ndarray) -> None:
    """Write source[rows] into `out`, reading in increasing order and each stored chunk once."""
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    for start, stop, lowest in _reads(source, rows):
        wanted = rows[start:stop]
        if lowest is not None:
            out[order[start:stop]] = source[lowest : int(wanted[-1]) + 1][wanted - lowest]
        elif isinstance(source, np.ndarray):
            out[order[start:stop]] = source[wanted]
        else:  # HDF5 refuses repeated rows
            distinct, places = np.unique(wanted, return_inverse=True)
            out[order[start:stop]] = source[distinct][places]


def _reads(source: RowSource, rows: np.ndarray) -> Iterator[tuple[int, int, int | None]]:
    """Cut sorted rows into reads (start, stop, lowest): rows[start:stop], by a slice from row `lowest` or by number."""
    chunks = getattr(source, "chunks", None)
    if not chunks or not isinstance(chunks[0], int):
        n_at_once = _ROWS_AT_ONCE if isinstance(source, np.ndarray) else 16 * _ROWS_AT_ONCE
        yield from ((start, min(start + n_at_once, len(rows)), None) for start in range(0, len(rows), n_at_once))
        return
    stored = rows // chunks[0]
    chunk_bytes = chunks[0] * source.shape[1] * np.dtype(source.dtype).itemsize
    slices = stored // max(1, _RUN_BYTES // chunk_bytes)  # as many chunks in a row as make a large read, at most
    is_first = (np.diff(stored, prepend=-2) > 1) | (np.diff(slices, prepend=-1) > 0)
    for start, stop in itertools.pairwise([*np.flatnonzero(is_first).tolist(), len(rows)]):
        yield start, stop, int(rows[start])
