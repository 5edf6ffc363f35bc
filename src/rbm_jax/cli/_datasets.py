"""What `--data` names: images made binary, alignments of sequences, with missing entries or not."""

import dataclasses
import enum
import math
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from rbm_jax.data import (
    binarize,
    intensities,
    load_array,
    load_digits,
    load_fasta,
    load_idx,
    one_hot,
    remove_duplicates,
    sequence_weights,
)
from rbm_jax.missing.data_terms import complete_samples
from rbm_jax.model.rbm import RBM
from rbm_jax.units import AbstractUnits, Bernoulli, Potts, Spin

__all__ = ["Alphabet", "Data", "Dataset", "Identity", "Missing", "Source", "Threshold", "UnitName", "Units"]

_ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".hdf")
_FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".fas", ".afa", ".a2m")


class UnitName(enum.StrEnum):
    """Unit types that binary data can be given to."""

    BERNOULLI = "bernoulli"
    SPIN = "spin"


_DATA_HELP = (
    "'digits' (scikit-learn's 8x8 images), an IDX file or a folder with MNIST's train-images file, or a .npy, .npz or "
    "HDF5 file of images in [0, 1] or uint8, one a row. rbm-jax train reads aligned sequences (.fasta, .a2m) as well."
)
Data = Annotated[str, typer.Option(help=_DATA_HELP)]
Threshold = Annotated[float, typer.Option(help="A pixel is on if its intensity in [0, 1] is at least this.")]
Units = Annotated[UnitName, typer.Option(help="Units of both layers, of sequences the hidden one: 0/1 or -1/+1.")]
Missing = Annotated[
    str | None, typer.Option(metavar="NaN|VALUE", help="What stands for missing entries in the data [default: none].")
]
Identity = Annotated[
    float, typer.Option(min=0, max=1, help="Sequences that agree in this share of sites or more count as one.")
]
Alphabet = Annotated[
    str | None, typer.Option(help="Letters of sequences, one a state [default: protein, DNA or RNA, as they look].")
]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Data in the values of its units, one sample a row; NaN where an entry is missing.

    Attributes:
        samples: shape (n_samples, n_visible).
        image_shape: rows and columns, if samples can be drawn as images.
        units: unit type of the visible layer.
        hidden_units: unit type of the hidden layer that goes with them.
        weights: of the samples, shape (n_samples,), or None.
        alphabet: letters of the states of a Potts unit.
    """

    samples: np.ndarray
    image_shape: tuple[int, int] | None
    units: AbstractUnits
    hidden_units: AbstractUnits
    weights: np.ndarray | None = None
    alphabet: str | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether entries are missing."""
        return bool(np.isnan(self.samples).any()) if self.samples.dtype.kind == "f" else False

    @property
    def mean(self) -> np.ndarray:
        """Mean of each visible unit, over what was observed of it."""
        if not self.is_lossy:
            return np.average(self.samples, axis=0, weights=self.weights)
        return np.nanmean(self.samples, axis=0)

    def check_trainable(self) -> None:
        """Raise unless there is something to learn in every pixel or site.

        Raises:
            ValueError: nothing varies, or a pixel is missing in all samples.
        """
        never = np.isnan(self.samples).all(axis=0)
        if never.any():
            raise ValueError(
                f"--missing: {never.sum()} of {never.size} pixels, such as {never.argmax()}, are in no sample"
            )
        if (np.nanmin(self.samples, axis=0) == np.nanmax(self.samples, axis=0)).all():
            if self.alphabet is not None:
                raise ValueError("--data: no site varies over the sequences")
            raise ValueError("--data: no pixel varies over the samples; check the range of the values and --threshold")

    def check_fits(self, rbm: RBM, option: str = "--data") -> None:
        """Raise unless these are configurations of the RBM's visible units.

        Raises:
            ValueError: data of another width or for other units, with the option that gave them.
        """
        if self.samples.shape[1] != rbm.n_visible:
            raise ValueError(
                f"{option}: the samples have {self.samples.shape[1]} values, the RBM {rbm.n_visible} visible units"
            )
        if self.units != rbm.visible_units:
            raise ValueError(f"{option}: the samples are of {self.units} units, the RBM has {rbm.visible_units} ones")

    def completed(self, rbm: RBM) -> "Dataset":
        """These data, with missing entries drawn from the RBM given what was observed."""
        if not self.is_lossy:
            return self
        typer.echo("missing entries are drawn from the RBM, given what was observed")
        samples = np.asarray(complete_samples(jax.random.key(0), rbm, self.samples, n_sweeps=100))
        return dataclasses.replace(self, samples=samples)

    def batch_size(self, wanted: int | None) -> int | None:
        """The minibatch asked for; by default all data where that is cheap."""
        if wanted is None and len(self.samples) > 2000:
            return 2000
        return wanted


@dataclasses.dataclass(frozen=True)
class Source:
    """Where data come from and how they are read, so that a later command can read them again."""

    data: str
    units: UnitName
    threshold: float
    missing: str | None = None
    identity: float = 0.8
    alphabet: str | None = None

    def settings(self) -> dict[str, Any]:
        """The fields, to be remembered; a path is made absolute."""
        data = self.data if self.data == "digits" else str(Path(self.data).resolve())
        return dataclasses.asdict(self) | {"data": data}

    def load(self) -> Dataset:
        """The data set.

        Raises:
            ValueError, OSError: nothing there, or nothing that can be used.
        """
        path = Path(self.data)
        suffixes = [suffix.lower() for suffix in path.suffixes[-2:] if suffix.lower() != ".gz"]
        if suffixes[-1:] and suffixes[-1] in _FASTA_SUFFIXES:
            return self._load_sequences(path)
        return self._load_images(path)

    def load_images(self) -> Dataset:
        """Complete binary data, for commands that train on these.

        Raises:
            ValueError, OSError: as `load`, data of another kind, or in which nothing varies.
        """
        dataset = self.load()
        if dataset.alphabet is not None or dataset.is_lossy:
            raise ValueError(f"--data: {self.data} must be complete binary data here, images or .npy of 0 and 1")
        dataset.check_trainable()
        return dataset

    def _load_sequences(self, path: Path) -> Dataset:
        if self.missing is not None:
            raise ValueError("--missing does not go with sequences, whose gaps are states of their own")
        if not path.exists():
            raise FileNotFoundError(f"--data: there is no file {path}")
        alignment, _ = remove_duplicates(load_fasta(path, alphabet=self.alphabet))
        n_states = len(alignment.alphabet)
        samples = one_hot(alignment.states, n_states)
        weights = sequence_weights(alignment.states, identity=self.identity) if self.identity > 0 else None
        return Dataset(samples, None, Potts(n_states), self._binary_units(), weights, alignment.alphabet)

    def _load_images(self, path: Path) -> Dataset:
        images = load_digits() if self.data == "digits" else _load_path(path, allow_missing=self.missing is not None)
        shape = images.shape[1:] if images.ndim == 3 else _square(images[0].size)
        missing = _where_missing(images, self.missing)
        try:
            known = intensities(np.where(missing, 0, images).astype(images.dtype))
        except ValueError as error:
            raise ValueError(
                f"--data: {self.data}: {error}; if a value stands for missing entries, train with --missing"
            ) from error
        binary = binarize(known, threshold=self.threshold)
        units = self._binary_units()
        samples = 2 * binary.astype(np.int8) - 1 if units == Spin() else binary
        missing = missing.reshape(samples.shape)
        if missing.any():
            samples = np.where(missing, np.nan, samples).astype(np.float32)
        return Dataset(samples, shape, units, units)

    def _binary_units(self) -> AbstractUnits:
        return Spin() if self.units == UnitName.SPIN else Bernoulli()


def _load_path(path: Path, allow_missing: bool) -> np.ndarray:
    if path.is_dir():
        found = sorted(path.glob("train-images*"))
        if not found:
            raise ValueError(f"--data: the folder {path} has no train-images file of MNIST's format")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"--data: there is no file or folder {path}; 'digits' needs no file")
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        images = load_array(path, allow_missing=True)
        if not allow_missing and images.dtype.kind == "f" and np.isnan(images).any():
            raise ValueError(
                f"--data: {path} holds {np.isnan(images).sum()} NaN: remove them, or train with --missing NaN if they "
                "stand for missing entries"
            )
    else:
        images = load_idx(path)
    if images.ndim < 2 or images.size == 0:
        raise ValueError(f"--data: {path} holds no images, its shape is {images.shape}")
    return images


def _where_missing(images: np.ndarray, missing: str | None) -> np.ndarray:
    """True at the entries that the option names."""
    if missing is None:
        return np.zeros(images.shape, bool)
    try:
        value = float(missing)
    except ValueError as error:
        raise ValueError(f"--missing must be NaN or a number, got {missing!r}") from error
    unknown = np.isnan(images) if images.dtype.kind == "f" else np.zeros(images.shape, bool)
    if unknown.any() and not math.isnan(value):
        raise ValueError(f"--missing is {missing}, but the data hold NaN too: use --missing NaN, or remove them")
    return unknown if math.isnan(value) else images == value


def _square(n_pixels: int) -> tuple[int, int] | None:
    side = math.isqrt(n_pixels)
    return (side, side) if side**2 == n_pixels else None
