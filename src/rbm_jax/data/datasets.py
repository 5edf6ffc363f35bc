"""Loaders that return NumPy arrays, and checks at the border: bad data is refused here with one clear error."""

import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_array, check_finite, check_fraction
from rbm_jax._internal.files import check_contained, check_size, existing_file, read_unzipped
from rbm_jax._internal.optional import require
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import ArrayLike, Float, PRNGKey, Shaped

__all__ = ["binarize", "intensities", "load_array", "load_digits", "load_idx", "open_array"]

_IDX_DTYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_DAMAGE = (OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, ArithmeticError, MemoryError)
"""What h5py and NumPy raise on bytes that were changed."""
_NUMPY_DAMAGE = (*_DAMAGE, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)
_UNREADABLE_NUMPY = "{} is not a readable NumPy file of numbers: it is damaged, or of another kind"


def load_digits() -> Float[np.ndarray, "1797 64"]:
    """The 8×8 handwritten digits that ship with scikit-learn, as intensities in [0, 1], one image a row.

    Source: E. Alpaydin & C. Kaynak, "Optical recognition of handwritten digits", UCI repository (1998), test part.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    images = require("sklearn.datasets").load_digits().data
    return (images / 16).astype(np.float32)


def load_idx(path: str | os.PathLike) -> Shaped[np.ndarray, "..."]:
    """Read an IDX file, the format of MNIST, compressed with gzip or not.

    Args:
        path: the file.

    Returns:
        The array as stored, in native byte order: for MNIST images uint8 of shape (n_images, 28, 28); see
        `intensities`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an IDX file, is truncated, has bytes left over, or holds no data or NaN.
    """
    path = existing_file(path)
    content = read_unzipped(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise ValueError(f"{path} is not an IDX file: it starts with {content[:4]!r}")
    dtype, n_axes = _IDX_DTYPES[content[2]], content[3]
    header = 4 + 4 * n_axes
    if len(content) < header:
        raise ValueError(f"{path} is truncated: its header needs {header} bytes, it has {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", n_axes, offset=4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise ValueError(f"{path} is {what}: shape {shape} of {dtype} needs {expected} bytes, it has {len(content)}")
    if math.prod(shape) == 0:
        raise ValueError(f"{path} holds no data, its shape is {shape}")
    array = np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))
    check_finite(str(path), array)
    return array


def load_array(
    path: str | os.PathLike, *, name: str | None = None, allow_missing: bool = False
) -> Shaped[np.ndarray, "n_samples ..."]:
    """Read a data set from a .npy, .npz or HDF5 file.

    Args:
        path: the file; its suffix says what it is.
        name: which array of an .npz or HDF5 file; may be left out if there is only one.
        allow_missing: whether NaN may stand for entries that were not observed.

    Returns:
        The array as stored; real numbers or booleans, at least one sample on the first axis, all finite or missing.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: an HDF5 file, and h5py is not installed.
        ValueError: an unknown suffix, a damaged file, no such array, an array that is not a data set, or one in an HDF5
            file whose numbers lie in other files.
    """
    path = existing_file(path)
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        array = _read_numpy(path, name)
    elif suffix in _HDF5_SUFFIXES:
        array = _read_hdf5(path, name)
    else:
        raise ValueError(f"{path} has suffix {suffix!r}, expected .npy, .npz or one of {', '.join(_HDF5_SUFFIXES)}")
    _check_kind(str(path), array)
    is_missing = np.isnan(array) if allow_missing and array.dtype.kind == "f" else False
    check_finite(str(path), np.where(is_missing, 0, array))
    return array


def open_array(path: str | os.PathLike, *, name: str | None = None) -> Any:
    """Open a data set in a .npy or HDF5 file without reading it, for `Batches.stream`.

    Args:
        path: the file; its suffix says what it is.
        name: which array of an HDF5 file; may be left out if there is only one.

    Returns:
        A read-only `np.memmap`, of which rows are read when they are indexed; for an HDF5 dataset that is stored in
        chunks, which cannot be mapped, the `h5py.Dataset`, whose file is open until `dataset.file.close()`. Real
        numbers or booleans, at least one sample on the first axis. The values are not looked at.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: an HDF5 file, and h5py is not installed.
        ValueError: an unknown suffix, a damaged file, no such array, an array that is not a data set, or one in an HDF5
            file whose numbers lie in other files.
    """
    path = existing_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except _NUMPY_DAMAGE as error:
            raise ValueError(_UNREADABLE_NUMPY.format(path)) from error
    elif suffix in _HDF5_SUFFIXES:
        array = _open_hdf5(path, name)
    elif suffix == ".npz":
        raise ValueError(
            f"{path} is an archive, which cannot be opened without reading it: use load_array, or save .npy"
        )
    else:
        raise ValueError(f"{path} has suffix {suffix!r}, expected .npy or one of {', '.join(_HDF5_SUFFIXES)}")
    _check_kind(str(path), array)
    return array


def intensities(images: Shaped[ArrayLike, "n_samples ..."]) -> Float[np.ndarray, "n_samples n_pixels"]:
    """Images as one row each of intensities in [0, 1].

    Args:
        images: shape (n_samples, ...). Values in [0, 1] of any dtype are taken as they are; uint8 beyond 1 is divided
            by 255.

    Raises:
        TypeError: something else than real numbers.
        ValueError: no samples, NaN, or values outside [0, 1].
    """
    array = _check_data("images", np.asarray(as_array("images", images)))
    array = array.reshape(len(array), -1)
    if array.dtype == np.uint8 and array.max() > 1:
        return (array / 255).astype(np.float32)
    array = array.astype(np.float32)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"images must be uint8 or in [0, 1], got values from {array.min():g} to {array.max():g}")
    return array


def binarize(
    data: Shaped[ArrayLike, "n_samples n_pixels"], *, threshold: float = 0.5, key: PRNGKey | None = None
) -> Shaped[np.ndarray, "n_samples n_pixels"]:
    """Intensities in [0, 1] to 0/1 (uint8), by a threshold or, with a key, at random.

    Args:
        data: intensities, shape (n_samples, n_pixels); see `intensities`.
        threshold: a pixel is 1 if its intensity is at least this.
        key: a JAX key; each pixel is then 1 with probability equal to its intensity, and the threshold is not used.

    Raises:
        TypeError: something else than real numbers.
        ValueError: values or a threshold outside [0, 1], NaN, or no samples.

    Example:
        >>> from rbm_jax.data import binarize
        >>> import numpy as np
        >>> binarize(np.array([[0.2, 0.5, 0.7]]))
        array([[0, 1, 1]], dtype=uint8)
    """
    array = _check_data("data", np.asarray(as_array("data", data)))
    if array.dtype != np.bool_ and (array.min() < 0 or array.max() > 1):
        raise ValueError(
            f"data must be intensities in [0, 1], got values from {array.min():g} to {array.max():g}; "
            "see rbm_jax.data.intensities"
        )
    check_fraction("threshold", threshold)
    if key is None:
        return (array >= threshold).astype(np.uint8)
    return np.asarray(jax.random.bernoulli(stream_key(key, Stream.BINARIZED), jnp.asarray(array, float)), np.uint8)


def _read_numpy(path: Path, name: str | None) -> np.ndarray:
    with path.open("rb") as file:
        try:
            content = np.load(file, allow_pickle=False)
        except _NUMPY_DAMAGE as error:
            raise ValueError(_UNREADABLE_NUMPY.format(path)) from error
        if isinstance(content, np.ndarray):
            return content
        chosen = _choose(path, content.files, name)
        try:
            return content[chosen]
        except _NUMPY_DAMAGE as error:
            raise ValueError(_UNREADABLE_NUMPY.format(path)) from error


def _read_hdf5(path: Path, name: str | None) -> np.ndarray:
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as file:
            dataset = _choose_dataset(path, file, name)
            check_size(dataset)
            return dataset[()]
    except _DAMAGE as error:
        raise _unreadable_hdf5(path, error) from error


def _open_hdf5(path: Path, name: str | None) -> Any:
    """The dataset, as a memory map where its bytes lie in one piece of the file as they are in memory."""
    h5py = require("h5py")
    try:
        file = h5py.File(path, "r")
    except _DAMAGE as error:
        raise _unreadable_hdf5(path, error) from error
    try:
        dataset = _choose_dataset(path, file, name)
        check_size(dataset)
        offset, shape, dtype = dataset.id.get_offset(), dataset.shape, dataset.dtype
    except _DAMAGE as error:
        file.close()
        raise _unreadable_hdf5(path, error) from error
    if offset is None or dtype.kind not in "biuf" or not shape:
        return dataset
    file.close()
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)


def _unreadable_hdf5(path: Path, error: BaseException) -> ValueError:
    """The error of a damaged file; one that names the file already stays as it is."""
    if isinstance(error, ValueError) and str(path) in str(error):
        return error
    return ValueError(f"{path} is not a readable HDF5 file: {error}")


def _choose_dataset(path: Path, file: Any, name: str | None) -> Any:
    h5py, names = require("h5py"), []
    file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
    dataset = file[_choose(path, names, name)]
    check_contained(dataset)
    return dataset


def _choose(path: Path, names: list[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        wanted = "one of them must be named" if name is None else f"there is no {name!r}"
        raise ValueError(f"{path} holds the arrays {sorted(names)}: {wanted}")
    return name


def _check_data(name: str, array: np.ndarray) -> np.ndarray:
    """Return the array if it can be a data set: numeric, finite, at least one sample and one variable."""
    _check_kind(name, array)
    check_finite(name, array)
    return array


def _check_kind(name: str, array: Any) -> None:
    """Raise unless an array, in memory or not, is numeric and has at least one sample and one variable."""
    dtype = getattr(array, "dtype", None)
    if not isinstance(dtype, np.dtype) or not (np.issubdtype(dtype, np.number) or dtype == np.bool_):
        raise ValueError(
            f"{name} must hold numbers or booleans, got {type(array).__name__ if dtype is None else dtype}"
        )
    if np.issubdtype(dtype, np.complexfloating):
        raise ValueError(f"{name} must hold real numbers, got {dtype}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{name} must have samples on its first axis and variables on the others, got shape {array.shape}"
        )
