"""Training on data that stay on disk: minibatches are read ahead while the compiled loop runs.

The loop runs over a chunk of minibatches that rests on the device, in one program. Meanwhile one host thread reads the
next chunk and sends it, so at most two are on the device.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax._internal.checks import check_count, check_sample_weights, is_concrete
from rbm_jax._internal.typing import Int, PRNGKey, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory, finite_status
from rbm_jax.training.fitting import (
    as_static,
    batch_rows,
    batch_words,
    check_batch_size,
    check_saves,
    check_support,
    check_takes_missing,
    run_on_host,
    times_at,
)
from rbm_jax.training.loop import TrainState, check_loop, updates_on_batches

__all__ = ["RowSource", "fit_streamed"]

_CHUNK_BYTES = 2**26
_RUN_BYTES = 2**24
_ROWS_AT_ONCE = 256


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


def fit_streamed(
    key: PRNGKey,
    state: TrainState,
    source: RowSource,
    *,
    estimator: Callable,
    optimizer: optax.GradientTransformation,
    n_updates: int,
    batch_size: int,
    sample_weights: Weighting = None,
    accept: Callable | None = None,
    save_at: Sequence[int] | Int[np.ndarray, " n_saves"] | None = None,
    observe: Callable[[TrainState], Any] | None = None,
    time_step: float | optax.Schedule = 1.0,
    progress: Callable[[int], Any] | None = None,
    batch_key: PRNGKey | None = None,
    allow_missing: bool = False,
    chunk_updates: int | None = None,
) -> tuple[TrainState, Trajectory]:
    """`fit` on data larger than the device's memory, or than the host's.

    Minibatches are the rows that `fit` takes with the same key, so the result is the same, bit for bit, however the run
    is cut. What a minibatch of random rows costs to read depends on the source; it is hidden behind the updates unless
    it takes longer than they do. For 500 rows of 784 bytes on one core, file in the page cache, against about 5 ms of
    two cores for the update of PCD-1 with 500 hidden units:

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
        key: the key of the run, the same for every call that continues it.
        state: from `init_train_state`, or where another call of this or of `fit` ended.
        source: shape (n_samples, n_visible), any real or boolean dtype, such as what `rbm_jax.data.open_array` gives;
            see `RowSource`. The values are checked as they are read.
        estimator: as in `fit`.
        optimizer: the one that `state` was made with.
        n_updates: updates to do in this call.
        batch_size: rows of a minibatch.
        sample_weights: non-negative sample weights, shape (n_samples,), with which minibatches are drawn.
        accept: as in `fit`.
        save_at: as in `fit`.
        observe: as in `fit`.
        time_step: as in `fit`.
        progress: as in `fit`.
        batch_key: as in `fit`.
        allow_missing: as in `fit`.
        chunk_updates: minibatches that are read and sent together; None for as many as fit into 64 MiB.

    Returns:
        The state after n_updates, and a `Trajectory`, as from `fit`.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message; a value outside the support of the
            visible units, with its row in the source.

    Example:
        >>> import jax, optax
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.training import fit_streamed, init_train_state, pcd
        >>> from rbm_jax.data import bars_and_stripes
        >>> optimizer = optax.sgd(0.1)
        >>> state = init_train_state(jax.random.key(1), init_rbm(jax.random.key(0), 16, 8), optimizer, n_chains=100)
        >>> source = bars_and_stripes(4)  # or open_array("train.npy")
        >>> state, _ = fit_streamed(jax.random.key(2), state, source, estimator=pcd, optimizer=optimizer, n_updates=50,
        ...                         batch_size=10)
        >>> int(state.step)
        50
    """
    if not is_concrete(key, batch_key, state, sample_weights):
        raise ValueError("fit_streamed reads on the host, and cannot be under jit, vmap or grad: use fit")
    check_loop(state, optimizer, observe, progress)
    _check_source(state.rbm, source)
    check_batch_size(check_count("batch_size", batch_size), source.shape[0])
    check_sample_weights(sample_weights, source.shape[0])
    n_updates = check_count("n_updates", n_updates, minimum=0)
    saves = check_saves(save_at, n_updates)
    ts = times_at(time_step, state.step, saves, state.rbm.dtype)
    if chunk_updates is None:
        chunk_updates = max(1, _CHUNK_BYTES // (batch_size * source.shape[1] * np.dtype(source.dtype).itemsize))
    rows_at = functools.partial(
        _rows_of_chunk,
        batch_words(key if batch_key is None else batch_key),
        weights=None if sample_weights is None else jnp.asarray(sample_weights).astype(state.rbm.dtype),
        n_samples=source.shape[0],
        batch_size=batch_size,
        n_batches=check_count("chunk_updates", chunk_updates),
    )
    chunk_updates = min(chunk_updates, 1 << max(0, n_updates - 1).bit_length())  # few shapes, and not far too many rows
    if allow_missing:
        check_takes_missing(estimator)
    chunks = _read_ahead(source, state, rows_at, n_updates, chunk_updates, allow_missing)
    update = functools.partial(
        _advance_on_chunk,
        key,
        estimator=as_static("estimator", estimator),
        accept=None if accept is None else as_static("accept", accept),
        optimizer=optimizer,
    )
    intervals, observe = np.diff(saves, prepend=0), None if observe is None else jax.jit(observe)
    advance = _advance_through(chunks, update, chunk_updates)
    try:
        run = run_on_host(advance, state, intervals, n_updates - int(saves[-1]), observe, progress)
    finally:
        chunks.close()
    state, (rbms, observations) = run
    return state, Trajectory(ts, rbms, finite_status(rbms), observations)


def _check_source(rbm: RBM, source: Any) -> None:
    if not isinstance(source, RowSource):
        raise TypeError(
            "source must have a shape, a dtype and rows, such as np.memmap or h5py.Dataset, "
            f"got {type(source).__name__}; see rbm_jax.data.open_array"
        )
    dtype, shape = np.dtype(source.dtype), tuple(source.shape)
    if not (np.issubdtype(dtype, np.number) or dtype == np.bool_) or np.issubdtype(dtype, np.complexfloating):
        raise TypeError(f"source must hold real numbers or booleans, got dtype {dtype}")
    if len(shape) != 2 or shape[0] == 0 or shape[1] != rbm.n_visible:
        raise ValueError(
            f"source must have shape (n_samples, {rbm.n_visible}), one unit a column and at least one sample, "
            f"got {shape}"
        )


@functools.partial(jax.jit, static_argnames=("n_samples", "batch_size", "n_batches"))
def _rows_of_chunk(words, first_step, *, weights, n_samples, batch_size, n_batches):
    cumulative = None if weights is None else jnp.cumsum(weights)
    steps = first_step + jnp.arange(n_batches, dtype=jnp.int32)
    return jax.vmap(lambda step: batch_rows(words, step, n_samples, batch_size, cumulative))(steps)


@functools.partial(jax.jit, static_argnames=("estimator", "accept", "optimizer"))
def _advance_on_chunk(
    key, state: TrainState, n_updates, first_step, batches, *, estimator, accept, optimizer
) -> TrainState:
    """Do a (traced) number of updates on minibatches first_step, first_step + 1, ..."""
    options = {"estimator": estimator, "accept": accept, "optimizer": optimizer}
    return updates_on_batches(key, state, n_updates, lambda step: (batches[step - first_step], None), **options)


def _advance_through(chunks: Iterator, update: Callable, chunk_updates: int) -> Callable:
    """`advance(state, n_updates)` on the minibatches of one chunk after another."""
    first_step, batches, n_left = None, None, 0

    def advance(state, n_updates):
        nonlocal first_step, batches, n_left
        while n_updates:
            if n_left == 0:
                batches = None  # done with: its memory is for the chunk after the next
                jax.block_until_ready(state)
                first_step, batches = next(chunks)
                n_left = chunk_updates
            n_now = min(n_updates, n_left)
            state = update(state, n_now, first_step, batches)
            n_left, n_updates = n_left - n_now, n_updates - n_now
        return state

    return advance


def _read_ahead(
    source: RowSource, state: TrainState, rows_at: Callable, n_updates: int, chunk_updates: int, allow_missing: bool
):
    """First step and minibatches of each chunk, read in a thread while its predecessor is in use."""
    step = int(state.step)
    starts = range(step, step + n_updates, chunk_updates)
    units = state.rbm.visible_units

    def read(rows, n_batches):
        rows = np.asarray(rows)
        values = np.zeros((*rows.shape, source.shape[1]), np.dtype(source.dtype).newbyteorder("="))
        _read_rows(source, rows[:n_batches].reshape(-1), values.reshape(-1, source.shape[1]))
        for batch, batch_of_rows in zip(values[:n_batches], rows, strict=False):
            check_support("source", batch, units, batch_of_rows, allow_missing)
        return jax.device_put(values)

    with ThreadPoolExecutor(1) as pool:

        def submit(start):
            # The rows are computed here, before the loop over the chunk in hand is queued, so as not to wait for it.
            n_batches = min(chunk_updates, step + n_updates - start)
            return pool.submit(read, jax.block_until_ready(rows_at(np.int32(start))), n_batches)

        upcoming = [submit(start) for start in starts[:1]]
        for start in starts:
            batches = upcoming.pop().result()
            if start != starts[-1]:
                upcoming.append(submit(start + chunk_updates))
            yield np.int32(start), batches
            del batches


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
