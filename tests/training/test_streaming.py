"""Data that stay on disk: the same training as in memory, and what a file may hold that it should not."""

import functools
import threading

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import PCD, Batches, Bernoulli, Gaussian, Trainer, fit, init_rbm
from rbm_jax.data import open_array
from rbm_jax.training import KeepsEquilibrium, streaming
from tests.helpers import compiles, same_bits

N_SAMPLES, N_VISIBLE = 103, 9
DATA = (np.random.default_rng(0).random((N_SAMPLES, N_VISIBLE)) < 0.4).astype(np.uint8)
EULER = Trainer.euler(PCD(), 0.1)
KEY = 7
CHUNK_UPDATES = 7  # so that most tests run the same program


@functools.partial(jax.jit, static_argnames="units")
def small_state(units=None):
    rbm = init_rbm(jax.random.key(0), N_VISIBLE, 4, visible_units=units, scale=0.1)
    # a trainer of its own: JAX mixes up the precisions of a NumPy constant of programs with and without x64
    return Trainer.euler(PCD(), 0.1).init(jax.random.key(1), rbm, n_chains=20)


def train(batches, state=None, trainer=EULER, n_updates=40, **options):
    return fit(
        jax.random.key(KEY), trainer, small_state() if state is None else state, batches, n_updates=n_updates, **options
    )


def in_memory(data, *arguments, **options):
    """Train on data in memory, by minibatches of 10."""
    batches = {name: options.pop(name) for name in ("sample_weights", "key") if name in options}
    return train(Batches(data, 10, **batches), *arguments, **options)


def streamed(data, *arguments, **options):
    """The same from a source, by default in chunks that end within epochs."""
    names = ("sample_weights", "key", "chunk_updates", "batch_size")
    batches = {"batch_size": 10, "chunk_updates": CHUNK_UPDATES} | {
        name: options.pop(name) for name in names if name in options
    }
    return train(Batches.stream(data, **batches), *arguments, **options)


def write_memory_map(folder, array):
    np.save(folder / "data.npy", array)
    return open_array(folder / "data.npy")


def write_hdf5(folder, array, **storage):
    with h5py.File(folder / "data.h5", "w", userblock_size=512) as file:
        file.create_dataset("group/images", data=array, **storage)
    return open_array(folder / "data.h5")


class NumberedRows:
    """An HDF5 dataset without chunks, which h5py reads by increasing row numbers."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.threads = set()

    def __getitem__(self, rows):
        assert (np.diff(rows) > 0).all()
        self.threads.add(threading.get_ident())
        return self.array[rows]


SOURCES = {
    "array": lambda folder, array: array,
    "memory map": write_memory_map,
    "HDF5": write_hdf5,
    "HDF5 in chunks": functools.partial(write_hdf5, chunks=(4, 3)),
    "HDF5 compressed": functools.partial(write_hdf5, chunks=(50, 9), compression="gzip"),
    "by number": lambda folder, array: NumberedRows(array),
}


@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.int64, ">f4", np.float64])
@pytest.mark.parametrize("write", SOURCES.values(), ids=SOURCES.keys())
def test_streamed_training_is_that_in_memory_bit_for_bit(write, kind, tmp_path):
    """The 40 updates are four epochs."""
    array = DATA.astype(kind)
    found = streamed(write(tmp_path, array), save_at=[0, 3, 7, 30])
    same_bits(found, in_memory(DATA, save_at=[0, 3, 7, 30]))


@pytest.mark.parametrize("weights", [None, np.arange(N_SAMPLES) % 3], ids=["shuffled", "weighted"])
def test_streamed_training_is_the_same_however_it_is_cut(weights, tmp_path):
    source, options = write_memory_map(tmp_path, DATA), {"sample_weights": weights}
    whole = in_memory(DATA, sample_weights=weights)[0]
    for chunk_updates in (CHUNK_UPDATES, 40):
        same_bits(streamed(source, chunk_updates=chunk_updates, **options)[0], whole)
    halfway, _ = streamed(source, n_updates=18, save_at=[5], **options)
    same_bits(streamed(source, halfway, n_updates=22, **options)[0], whole)
    done = []
    same_bits(streamed(source, progress=done.append, **options)[0], whole)
    assert sum(done) == 40


def test_double_precision_data_are_streamed_in_double_precision(x64, tmp_path):
    array = np.random.default_rng(1).normal(size=(50, N_VISIBLE))
    state = small_state(Gaussian())
    found = streamed(write_memory_map(tmp_path, array), state)
    assert found[0].rbm.dtype == jnp.float64
    same_bits(found, in_memory(array, state))


def test_a_key_of_the_batches_chooses_the_minibatches_whatever_the_key_of_the_run():
    expected = in_memory(DATA, key=jax.random.key(99))
    same_bits(streamed(DATA, key=jax.random.key(99)), expected)
    assert not (expected[0].rbm.weights == in_memory(DATA)[0].rbm.weights).all()


def test_no_update_reads_nothing():
    class Unreadable(NumberedRows):
        def __getitem__(self, rows):
            raise OSError

    state, trajectory = streamed(Unreadable(DATA), n_updates=0)
    same_bits(state, small_state())
    assert trajectory.ts.shape == (1,)


def test_rows_are_read_by_one_thread_beside_the_loop_and_at_most_a_chunk_ahead():
    """At the save point after k updates, chunks up to the next but one have been asked for, and no more."""
    asked = []

    class Counting(NumberedRows):
        def __getitem__(self, rows):
            asked.append(len(rows))
            return super().__getitem__(rows)

    source, seen = Counting(DATA), []
    streamed(source, chunk_updates=5, progress=lambda n: seen.append((sum(asked), n)))
    done = np.cumsum([n for _, n in seen])
    for (n_rows, _), n_done in zip(seen, done, strict=True):
        assert n_rows <= 10 * 5 * (-(-n_done // 5) + 1)
    assert sum(asked) == 40 * 10
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_no_thread_outlives_a_failed_run():
    class Failing(NumberedRows):
        def __getitem__(self, rows):
            if self.threads:
                raise OSError("the disk is gone")
            return super().__getitem__(rows)

    before = threading.active_count()
    with pytest.raises(OSError, match="disk is gone"):
        streamed(Failing(DATA))
    with pytest.raises(ZeroDivisionError):
        streamed(DATA, progress=lambda n: 1 // 0)
    assert threading.active_count() == before


def test_second_call_compiles_nothing():
    streamed(DATA)
    with compiles(at_most=0):
        streamed(DATA, n_updates=17, save_at=[2, 9])


def test_chunks_fill_their_memory(monkeypatch):
    """Without a number of updates; the bound of 64 MiB is made smaller here."""
    monkeypatch.setattr(streaming, "_CHUNK_BYTES", CHUNK_UPDATES * 10 * N_VISIBLE + 8)
    assert Batches.stream(DATA, 10).chunk_updates == CHUNK_UPDATES
    same_bits(streamed(DATA, chunk_updates=None), in_memory(DATA))


def damaged(value):
    array = DATA.astype(np.float32)
    array[61, 4] = value
    return array


BAD_VALUES = {
    "a 2": (damaged(2), Bernoulli(), "source must be 0 or 1 .* got 2.0 at row 61, column 4"),
    "NaN": (damaged(np.nan), Bernoulli(), "source holds nan at row 61, column 4"),
    "infinity": (damaged(np.inf), Gaussian(), "source holds inf at row 61, column 4"),
}


@pytest.mark.parametrize(("array", "units", "message"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_values_are_checked_as_they_are_read_and_their_row_is_named(array, units, message):
    with pytest.raises(ValueError, match=message):
        streamed(array, small_state(units))


BAD_ARGUMENTS = {
    "a path": ({"source": "data.npy"}, "source must have a shape"),
    "text": ({"source": np.full((20, 9), "a")}, "real numbers"),
    "complex": ({"source": np.zeros((20, 9), complex)}, "real numbers"),
    "too few pixels": ({"source": DATA[:, :8]}, r"\(n_samples, 9\).*got \(103, 8\)"),
    "images": ({"source": DATA[:, None]}, r"\(n_samples, n_visible\)"),
    "no sample": ({"source": DATA[:0]}, "at least one sample"),
    "no batch size": ({"batch_size": None}, "batch_size"),
    "batch larger than data": ({"batch_size": 104}, "batch_size must be at most"),
    "half an update": ({"n_updates": 1.5}, "n_updates"),
    "empty chunk": ({"chunk_updates": 0}, "chunk_updates"),
    "weights of another length": ({"sample_weights": np.ones(3)}, "sample_weights"),
    "save beyond the end": ({"save_at": [99]}, "save_at"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        streamed(changes.get("source", DATA), **{k: v for k, v in changes.items() if k != "source"})


def test_streaming_inside_a_transformation_is_refused():
    with pytest.raises(ValueError, match=r"use Batches\(data\)"):
        jax.jit(lambda state: streamed(DATA, state))(small_state())


def test_arrays_are_opened_without_reading(tmp_path):
    assert isinstance(write_memory_map(tmp_path, DATA), np.memmap)
    mapped = write_hdf5(tmp_path, DATA)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, DATA)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 1
    chunked = write_hdf5(tmp_path, DATA == 1, chunks=(10, 9))
    assert isinstance(chunked, h5py.Dataset)
    np.testing.assert_array_equal(chunked[()], DATA == 1)
    chunked.file.close()


UNOPENABLE = {
    "missing.npy": (None, FileNotFoundError, "no file"),
    "archive.npz": (b"PK", ValueError, "use load_array"),
    "data.csv": (b"1,2", ValueError, "suffix '.csv'"),
    "damaged.npy": (b"\x93NUMPY", ValueError, "not a readable NumPy file"),
    "damaged.h5": (b"\x89HDF\r\n\x1a\n", ValueError, "not a readable HDF5 file"),
}


@pytest.mark.parametrize("name", UNOPENABLE)
def test_files_that_cannot_be_opened_are_named(name, tmp_path):
    content, kind, message = UNOPENABLE[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=message) as error:
        open_array(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_opened_arrays_that_are_no_data_are_named(tmp_path):
    for array, message in ((np.zeros(4), "shape"), (np.full((2, 2), 1j), "real"), (np.array([["a"]]), "numbers")):
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(ValueError, match=message):
            open_array(tmp_path / "bad.npy")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["first"], file["second"] = DATA, b"text"
    with pytest.raises(ValueError, match=r"first.*second.*must be named"):
        open_array(tmp_path / "two.h5")
    with pytest.raises(ValueError, match="there is no 'third'"):
        open_array(tmp_path / "two.h5", name="third")
    with pytest.raises(ValueError, match="numbers"):
        open_array(tmp_path / "two.h5", name="second")


def test_updates_are_rejected_as_in_memory(tmp_path):
    """Steps so large that the chains cannot follow most of them."""
    reviewed, free = (Trainer.euler(PCD(), 2.0, review=review) for review in (KeepsEquilibrium(0.5), None))
    state = small_state()
    found, _ = streamed(write_memory_map(tmp_path, DATA), state, reviewed)
    whole, _ = in_memory(DATA, state, reviewed)
    same_bits(found, whole)
    assert whole.n_rejected > 0
    assert (in_memory(DATA, state, free)[0].rbm.weights != whole.rbm.weights).any()
