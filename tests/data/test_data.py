"""Loaders, binarization and synthetic data."""

import gzip
import math
import re
import struct

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbm_jax.data import (
    bars_and_stripes,
    binarize,
    gaussian_data,
    intensities,
    ising_chain,
    load_array,
    load_digits,
    load_idx,
    planted_clusters,
)

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx_bytes(array):
    code = CODES[array.dtype.str.lstrip("|")]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_of_every_type_are_read_back(tmp_path, kind, compress):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    content = idx_bytes(array)
    path = tmp_path / "images-idx3"
    path.write_bytes(gzip.compress(content) if compress else content)
    found = load_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype.isnative


def is_complete_idx(content):
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in CODES.values():
        return False
    n_axes = content[3]
    if len(content) < 4 + 4 * n_axes:
        return False
    kind = next(kind for kind, code in CODES.items() if code == content[2])
    sizes = struct.unpack_from(f">{n_axes}I", content, 4)
    n_bytes = math.prod(sizes) * np.dtype(kind).itemsize
    body = np.frombuffer(content[4 + 4 * n_axes :], np.uint8)
    if n_bytes == 0 or len(body) != n_bytes:
        return False
    return bool(np.isfinite(body.view(kind)).all())


def idx_like():
    """Bytes that are, or are close to, an IDX file."""
    header = st.tuples(st.sampled_from([8, 9, 11, 13]), st.integers(0, 2), st.lists(st.integers(0, 3), max_size=3))
    return st.builds(
        lambda start, body: bytes([0, 0, *start[:2]]) + struct.pack(f">{len(start[2])}I", *start[2]) + body,
        header,
        st.binary(max_size=12),
    )


@given(content=st.binary(max_size=60) | idx_like())
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_never_half_read_as_idx(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "file"
    path.write_bytes(content)
    if is_complete_idx(content):
        assert len(content) == 4 + 4 * content[3] + load_idx(path).nbytes
    else:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_idx(path)


def damaged_idx_files():
    good = idx_bytes(np.zeros((2, 3), "u1"))
    return {
        "truncated": (good[:-1], "truncated"),
        "too long": (good + b"x", "too long"),
        "header cut": (good[:7], "truncated"),
        "empty": (b"", "not an IDX file"),
        "text": (b"hello, world", "not an IDX file"),
        "no images": (idx_bytes(np.zeros((0, 3), "u1")), "no data"),
        "NaN": (idx_bytes(np.full((2, 3), np.nan, ">f4")), "NaN"),
        "gzip cut": (gzip.compress(good)[:-6], "gzip"),
        "gzip damaged": (gzip.compress(good)[:12] + b"\xff" * 9, "gzip"),
        "gzip of text": (gzip.compress(b"hello"), "not an IDX file"),
    }


@pytest.mark.parametrize(("content", "message"), damaged_idx_files().values(), ids=damaged_idx_files().keys())
def test_damaged_idx_files_are_named(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_idx(path)
    assert str(path) in str(error.value)


def test_arrays_come_back_from_every_format(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", only=array)
    np.savez(tmp_path / "two.npz", first=array, second=2 * array)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/only"] = array
    for name in ("a.npy", "a.npz", "a.h5"):
        np.testing.assert_array_equal(load_array(tmp_path / name), array)
    np.testing.assert_array_equal(load_array(tmp_path / "two.npz", name="second"), 2 * array)
    np.testing.assert_array_equal(load_array(tmp_path / "a.h5", name="group/only"), array)


BAD_ARRAYS = {
    "NaN": (np.array([[0.0, np.nan]]), "NaN"),
    "infinity": (np.array([[0.0, np.inf]]), "NaN or infinite"),
    "text": (np.array([["a", "b"]]), "numbers"),
    "objects": (np.array([[None, {}]], object), "NumPy file of numbers"),
    "complex": (np.array([[1j]]), "real"),
    "a vector": (np.zeros(4), "shape"),
    "a number": (np.array(1.0), "shape"),
    "no samples": (np.zeros((0, 4)), "shape"),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_are_no_data_are_named(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        load_array(tmp_path / "bad.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
@pytest.mark.parametrize("content", [b"", b"of another kind", b"\x93NUMPY", b"PK\x03\x04xx", b"\x89HDF\r\n\x1a\n"])
def test_damaged_array_files_are_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable"):
        load_array(path)


def test_missing_files_and_arrays_are_named(tmp_path):
    for load in (load_idx, load_array):
        with pytest.raises(FileNotFoundError, match=r"nothing\.npy"):
            load(tmp_path / "nothing.npy")
        with pytest.raises(FileNotFoundError, match="folder"):
            load(tmp_path)
    np.savez(tmp_path / "two.npz", first=np.zeros((1, 1)), second=np.zeros((1, 1)))
    for name in (None, "third"):
        with pytest.raises(ValueError, match=r"\['first', 'second'\]"):
            load_array(tmp_path / "two.npz", name=name)
    (tmp_path / "data.csv").write_text("0,1")
    with pytest.raises(ValueError, match="suffix"):
        load_array(tmp_path / "data.csv")


def test_digits_are_intensities():
    digits = load_digits()
    assert digits.shape == (1797, 64)
    assert digits.min() == 0
    assert digits.max() == 1


def test_intensities_flatten_and_scale():
    images = np.array([[[0, 255], [51, 0]]], np.uint8)
    np.testing.assert_allclose(intensities(images), [[0, 1, 0.2, 0]])
    for kind in (bool, np.uint8, float):
        np.testing.assert_array_equal(intensities((images > 0).astype(kind)), [[0, 1, 1, 0]])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        intensities(np.array([[0.0, 2.0]]))


def test_random_binarization_has_the_intensities_as_its_mean():
    data = np.tile([0.0, 0.3, 1.0], (20000, 1))
    binary = binarize(data, key=jax.random.key(0))
    np.testing.assert_allclose(binary.mean(0), [0, 0.3, 1], atol=5 * np.sqrt(0.21 / 20000))
    assert binary.dtype == np.uint8
    with pytest.raises(ValueError, match="intensities"):
        binarize(np.array([[0, 255]], np.uint8))
    with pytest.raises(ValueError, match="NaN"):
        binarize(np.array([[0, np.nan]]))
    for threshold in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match="threshold"):
            binarize(np.array([[0, 1]]), threshold=threshold)


def test_bars_and_stripes_are_the_distinct_patterns():
    for size in (1, 2, 3, 4):
        patterns = bars_and_stripes(size)
        assert patterns.shape == (2 ** (size + 1) - 2 if size > 1 else 2, size**2)
        images = patterns.reshape(-1, size, size)
        is_row = (images == images[:, :, :1]).all((1, 2))
        is_column = (images == images[:, :1, :]).all((1, 2))
        assert (is_row | is_column).all()
    for size in (0, 17):
        with pytest.raises(ValueError, match="size"):
            bars_and_stripes(size)


@pytest.mark.parametrize("coupling", [-0.7, 0.0, 0.5])
def test_ising_chain_has_its_exact_correlations(coupling):
    n = 40000
    spins = ising_chain(jax.random.key(0), n, 5, coupling=coupling)
    assert set(np.unique(spins)) <= {-1, 1}
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    np.testing.assert_allclose(spins.T @ spins / n, np.tanh(coupling) ** distance, atol=5 / np.sqrt(n))


def test_planted_clusters_have_the_magnetizations_of_their_fields():
    samples, modes, centers = planted_clusters(jax.random.key(0), 20000, 30, n_clusters=3, n_modes=2, strength=1.5)
    np.testing.assert_allclose(jnp.linalg.norm(centers, axis=1), 1.5, rtol=1e-5)
    expected = jnp.tanh(centers @ modes.T)
    np.testing.assert_allclose(samples.mean(0), expected.mean(0), atol=5 / np.sqrt(20000))
    correlation = expected.T @ expected / 3
    correlation = correlation.at[jnp.arange(30), jnp.arange(30)].set(1)
    np.testing.assert_allclose(samples.T @ samples / 20000, correlation, atol=6 / np.sqrt(20000))


def test_gaussian_data_have_exactly_their_covariance(dtype):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(5, 5))
    covariance = jnp.asarray(factor @ factor.T + np.eye(5), dtype)
    data = gaussian_data(jax.random.key(0), 40, covariance)
    assert data.dtype == dtype
    error = 1e-10 if dtype == jnp.float64 else 1e-4
    np.testing.assert_allclose(data.mean(0), 0, atol=error)
    np.testing.assert_allclose(data.T @ data / 40, covariance, atol=error)


@pytest.mark.usefixtures("unchecked")
def test_gaussian_data_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="square"):
        gaussian_data(jax.random.key(0), 40, jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="n_samples must be more than the 5 units"):
        gaussian_data(jax.random.key(0), 5, jnp.eye(5))


def test_synthetic_data_refuse_bad_counts():
    with pytest.raises(ValueError, match="n_samples"):
        ising_chain(jax.random.key(0), 0, 3, coupling=1.0)
    with pytest.raises(ValueError, match="n_modes"):
        planted_clusters(jax.random.key(0), 3, 3, n_modes=0)
    with pytest.raises(ValueError, match="strength"):
        planted_clusters(jax.random.key(0), 3, 3, strength=-1.0)
