"""Files with changed, missing or random bytes: refused by name, or read as an array that can be right.

A few hundred files by default; ten thousand and more by

    python -m pytest tests/io/test_fuzzed_files.py --hypothesis-profile=fuzz
"""

import gzip
import io
import struct

import h5py
import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbm_jax import RBM, Gaussian, init_rbm
from rbm_jax.data import load_array, load_fasta, load_idx, open_array
from rbm_jax.io import load_rbm, save_rbm

N_FILES = 3 * settings.default.max_examples
ARRAY = np.arange(12.0).reshape(3, 4)
IDX = struct.pack(">BBBB2I", 0, 0, 8, 2, 2, 3) + bytes(6)
FASTA = b">sp|P1 first\nMKV-LSX\n>second/3-9\r\nMRxV.ALS\r\nB\n"


def in_memory(write):
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def hdf5(**options):
    def write(content):
        with h5py.File(content, "w") as file:
            file.create_dataset("group/only", data=ARRAY, **options)

    return in_memory(write)


def is_array(array):
    return isinstance(array, np.ndarray) and array.ndim >= 2 and array.size > 0 and np.isfinite(array).all()


def is_open_array(array):
    return array.ndim >= 2 and array.size > 0


def is_alignment(alignment):
    return (alignment.states < len(alignment.alphabet)).all() and len(alignment.names) == len(alignment.states)


def is_rbm(content):
    return isinstance(content[0], RBM)


# The loader, a suffix, a good file and what is true of a right result.
KINDS = {
    "npy": (load_array, ".npy", in_memory(lambda file: np.save(file, ARRAY)), is_array),
    "mapped npy": (open_array, ".npy", in_memory(lambda file: np.save(file, ARRAY)), is_open_array),
    "npz": (load_array, ".npz", in_memory(lambda file: np.savez_compressed(file, only=ARRAY)), is_array),
    "hdf5": (load_array, ".h5", hdf5(), is_array),
    "hdf5 in chunks": (load_array, ".h5", hdf5(chunks=(1, 4), compression="gzip"), is_array),
    "idx": (load_idx, "-idx", IDX, lambda array: array.size > 0),
    "idx in gzip": (load_idx, "-idx", gzip.compress(IDX), lambda array: array.size > 0),
    "fasta": (load_fasta, ".fasta", FASTA, is_alignment),
    "fasta in gzip": (load_fasta, ".fasta", gzip.compress(FASTA), is_alignment),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "rbm.h5"
    rbm = init_rbm(jax.random.key(0), 5, 3, hidden_units=Gaussian(0.3))
    save_rbm(path, rbm, chains=np.ones((4, 5), np.float32))
    return KINDS | {"rbm": (load_rbm, ".h5", path.read_bytes(), is_rbm)}


def overwrite(content, changes):
    content = bytearray(content)
    for place, byte in changes:
        content[place % len(content)] = byte
    return bytes(content)


PLACE, BYTE = st.integers(0, 2**16), st.sampled_from([0, 1, 255]) | st.integers(0, 255)
DAMAGE = st.one_of(
    st.lists(st.tuples(PLACE, BYTE), min_size=1, max_size=8).map(lambda changes: lambda good: overwrite(good, changes)),
    PLACE.map(lambda place: lambda good: good[: place % len(good)]),
    st.tuples(PLACE, st.binary(max_size=20)).map(
        lambda new: lambda good: good[: new[0] % len(good)] + new[1] + good[new[0] % len(good) :]
    ),
    st.tuples(PLACE, st.integers(1, 40)).map(
        lambda cut: lambda good: good[: cut[0] % len(good)] + good[cut[0] % len(good) + cut[1] :]
    ),
    st.binary(max_size=60).map(lambda content: lambda good: content),
    st.binary(max_size=60).map(lambda content: lambda good: good[:8] + content),
)


@pytest.mark.filterwarnings("ignore")  # of NumPy, of old headers and of numbers that single precision does not hold
@given(kind=st.sampled_from([*KINDS, "rbm"]), damage=DAMAGE)
@settings(max_examples=N_FILES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_named_or_read_right(tmp_path_factory, kinds, kind, damage):
    load, suffix, good, is_right = kinds[kind]
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(damage(good))
    try:
        found = load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert is_right(found)


def test_undamaged_files_are_read(tmp_path, kinds):
    for kind, (load, suffix, good, is_right) in kinds.items():
        path = tmp_path / f"good{suffix}"
        path.write_bytes(good)
        assert is_right(load(path)), kind
