"""Files that are whole or not there."""

import contextlib
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["atomic_write", "check_contained", "check_size", "existing_file", "read_unzipped"]


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary file name in the folder of `path`; on success the file takes its place, else it is removed.

    A reader never sees a half-written file, and an old file survives a failed write. What a killed process leaves is a
    hidden file.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        _to_disk(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a write, as to a disk that is full
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def existing_file(path: str | os.PathLike) -> Path:
    """The path of a file that is there.

    Raises:
        FileNotFoundError: nothing is there, or a folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}" + (" (it is a folder)" if path.is_dir() else ""))
    return path


def read_unzipped(path: Path) -> bytes:
    """What a file holds, compressed with gzip or not.

    Raises:
        ValueError: a gzip file that is damaged or truncated.
    """
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged or truncated gzip file: {error}") from error


def check_size(dataset: Any) -> None:
    """Raise if an HDF5 dataset in one piece claims to be larger than what the file has of it.

    Raises:
        ValueError: its shape has been damaged.
    """
    if dataset.chunks is None and dataset.shape is not None and dataset.nbytes > dataset.id.get_storage_size():
        raise ValueError(f"{dataset.name} has shape {dataset.shape}, for which its {dataset.dtype} numbers are too few")


def check_contained(item: Any) -> None:
    """Raise if an open HDF5 file leads elsewhere: by a link in it, or by a dataset whose numbers lie in other files.

    A file that was sent by somebody else could show any file that its reader may read.

    Args:
        item: a file or group, of which everything is looked at, or a dataset.

    Raises:
        ValueError: it is not the whole of what it shows.
    """
    if not hasattr(item, "keys"):
        if item.external or item.is_virtual:
            raise ValueError(
                f"{item.name} keeps its numbers in other files, which are not read; copy them into one file"
            )
        return
    links = []
    item.visititems_links(lambda name, link: links.append((name, link)))  # an error in here would end in a SystemError
    for name, link in links:
        if hasattr(link, "path"):  # soft and external links have a path, hard ones have not
            raise ValueError(f"{name} is a link to {link.path!r}, and links are not followed; copy what it leads to")
        if hasattr(item[name], "shape"):
            check_contained(item[name])


def _to_disk(name: str) -> None:
    """Wait until the contents are on the disk: else a crash of the machine may leave a name without them."""
    handle = os.open(name, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
