"""HDF5 files that are whole or not there: written aside and moved into place, each with its checksum."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.files import atomic_write, check_contained, existing_file
from rbm_jax._internal.optional import require

__all__ = ["VERSION", "create_file", "file_version", "is_key", "open_file", "read_array", "write_array"]

_FORMAT = "rbm_jax {}"
VERSION = 2
"""Of the layout. 1 is that of rbm_jax 0.1.0: units as a list of arguments, and in checkpoints `chains` for `carry`."""
_BLOCK = 512
"""Bytes before the HDF5 part of a file, which hold the checksum of that part."""
_SIGNATURE = b"\x89HDF"
"""Of an HDF5 file without such a block."""
_UNREADABLE = (OSError, LookupError, RuntimeError, TypeError, ValueError)
"""What h5py, NumPy and JSON raise on contents that are not as expected."""


@contextlib.contextmanager
def create_file(path: str | os.PathLike) -> Iterator[Any]:
    """Yield an open `h5py.File` that takes the place of `path` once it is complete.

    Raises:
        ImportError: h5py is not installed.
        OSError: it cannot be written; an older file is still there.
    """
    h5py, buffer = require("h5py"), io.BytesIO()
    with atomic_write(path) as temporary:
        # In memory first: on a full disk HDF5 complains in ways that cannot be caught.
        with h5py.File(buffer, "w", userblock_size=_BLOCK) as file:
            file.attrs["format"] = _FORMAT.format(VERSION)
            yield file
        contents = buffer.getbuffer()
        digest = hashlib.blake2b(contents[_BLOCK:]).hexdigest().encode()
        contents[: len(digest)] = digest
        temporary.write_bytes(contents)


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[Any]:
    """Yield an open file of ours, of this or an older version; what h5py raises on damage becomes one clear error.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged or foreign.
    """
    h5py, path = require("h5py"), existing_file(path)
    with path.open("rb") as contents:  # before HDF5 sees them, which some damage crashes
        head = contents.read(_BLOCK)
        if head.startswith(_SIGNATURE):
            raise ValueError(f"{path} is an HDF5 file, but not one that rbm_jax wrote")
        if head.rstrip(b"\0") != hashlib.file_digest(contents, "blake2b").hexdigest().encode():
            raise ValueError(f"{path} is damaged or not an rbm_jax file: its checksum does not fit")
    try:
        with h5py.File(path, "r") as file:
            if file_version(file) == 0:
                raise ValueError(
                    f"{path} has the format {file.attrs.get('format')!r}, and this version reads "
                    f"{_FORMAT.format(1)!r} to {_FORMAT.format(VERSION)!r}; install a newer rbm_jax"
                )
            check_contained(file)
            yield file
    except _UNREADABLE as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read: {error}") from error


def file_version(file: Any) -> int:
    """The version of an open file's layout; 0 for none that is known."""
    known = {_FORMAT.format(version): version for version in range(1, VERSION + 1)}
    return known.get(file.attrs.get("format"), 0)


def write_array(group, name: str, value: Any) -> None:
    """Write an array, of JAX or NumPy, a number or a key.

    What HDF5 has no type for, such as bfloat16, is kept as the bits it is made of.

    Raises:
        TypeError: something that is no array of numbers.
    """
    attributes: dict[str, Any] = {}
    if is_key(value):
        attributes["key_impl"] = str(jax.random.key_impl(value))
        value = jax.random.key_data(value)
    if getattr(value, "weak_type", False):
        attributes["weak_type"] = True
    array = np.asarray(value, order="C")
    if array.dtype.kind not in "biufcV":
        raise TypeError(f"{name} must be an array of numbers, got {value!r}")
    if array.dtype.kind == "V":
        attributes["dtype"] = array.dtype.name
        array = array.view(f"u{array.itemsize}")
    dataset = group.create_dataset(name, data=array)
    dataset.attrs.update(attributes)


def read_array(dataset, *, as_jax: bool = True) -> Any:
    """Read what `write_array` wrote, or any other dataset of numbers.

    Args:
        dataset: of an open file.
        as_jax: False for a NumPy array (of a key, its data), which keeps double precision where JAX would not.
    """
    array = np.asarray(dataset[()])
    if "dtype" in dataset.attrs:
        array = array.view(jnp.dtype(dataset.attrs["dtype"]))
    if not as_jax:
        return array
    if "key_impl" in dataset.attrs:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=dataset.attrs["key_impl"])
    weak = jnp.asarray(array.dtype.type(0).item())  # a Python number, whose type gives way to that of other operands
    if dataset.attrs.get("weak_type", False) and weak.dtype == array.dtype:
        return jnp.broadcast_to(weak, array.shape).at[...].set(array)
    return jnp.asarray(array)


def is_key(value: Any) -> bool:
    """Whether this is a typed key of JAX."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
