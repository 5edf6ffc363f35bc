"""Where the data of a run come from: images made binary, alignments of sequences, with missing entries or not."""

import dataclasses
import enum
import math
import numbers
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_choice, check_fraction
from rbm_jax.data import (
    binarize,
    identity_clusters,
    intensities,
    load_array,
    load_digits,
    load_fasta,
    load_idx,
    one_hot,
    remove_duplicates,
    sequence_weights,
    states_of,
)
from rbm_jax.missing.data_terms import complete_samples
from rbm_jax.model.rbm import RBM
from rbm_jax.units import AbstractUnits, Bernoulli, Potts, Spin

__all__ = ["Dataset", "Source", "UnitName", "check_number", "plain"]

_ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".hdf")
_FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".fas", ".afa", ".a2m")


class UnitName(enum.StrEnum):
    """Unit types that binary data can be given to."""

    BERNOULLI = "bernoulli"
    SPIN = "spin"


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

    def rows(self, chosen: np.ndarray) -> "Dataset":
        """A part of the samples."""
        weights = None if self.weights is None else self.weights[chosen]
        return dataclasses.replace(self, samples=self.samples[chosen], weights=weights)

    def check_trainable(self) -> None:
        """Raise unless there is something to learn in every pixel or site.

        Raises:
            ValueError: nothing varies, or a pixel is missing in all samples.
        """
        never = np.isnan(self.samples).all(axis=0)
        if never.any():
            raise ValueError(
                f"missing: {never.sum()} of {never.size} pixels, such as {never.argmax()}, are in no sample"
            )
        if (np.nanmin(self.samples, axis=0) == np.nanmax(self.samples, axis=0)).all():
            if self.alphabet is not None:
                raise ValueError("data: no site varies over the sequences")
            raise ValueError("data: no pixel varies over the samples; check the range of the values and the threshold")

    def check_fits(self, rbm: RBM, name: str = "data") -> None:
        """Raise unless these are configurations of the RBM's visible units.

        Raises:
            ValueError: data of another width or for other units, by the name of the argument that gave them.
        """
        if self.samples.shape[1] != rbm.n_visible:
            raise ValueError(
                f"{name}: the samples have {self.samples.shape[1]} values, the RBM {rbm.n_visible} visible units"
            )
        if self.units != rbm.visible_units:
            raise ValueError(f"{name}: the samples are of {self.units} units, the RBM has {rbm.visible_units} ones")

    def completed(self, rbm: RBM) -> "Dataset":
        """These data, with missing entries drawn from the RBM given what was observed."""
        if not self.is_lossy:
            return self
        samples = np.asarray(complete_samples(jax.random.key(0), rbm, self.samples, n_sweeps=100))
        return dataclasses.replace(self, samples=samples)

    def batch_size(self, wanted: int | None) -> int | None:
        """The minibatch asked for; by default all data where that is cheap."""
        if wanted is None and len(self.samples) > 2000:
            return 2000
        return wanted


@dataclasses.dataclass(frozen=True)
class Source:
    """Where data come from and how they are read, so that a later command can read them again.

    Attributes:
        data: 'digits' (scikit-learn's 8x8 images), an IDX file or a folder with MNIST's train-images file, a .npy, .npz
            or HDF5 file of images in [0, 1] or uint8, one a row, or aligned sequences (.fasta, .a2m).
        units: units of both layers, of sequences the hidden one: 0/1 or -1/+1.
        threshold: a pixel is on if its intensity in [0, 1] is at least this.
        missing: what stands for missing entries in the data, NaN or a number.
        identity: sequences that agree in this share of sites or more count as one; with 0 each counts.
        alphabet: letters of sequences, one a state; by default protein, DNA or RNA, as they look.
        test: further data, like `data`, that are held out.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    data: str = "digits"
    units: UnitName = UnitName.BERNOULLI
    threshold: float = 0.5
    missing: str | None = None
    identity: float = 0.8
    alphabet: str | None = None
    test: str | None = None

    def __post_init__(self):
        known = {"data": _check_path("data", self.data), "units": check_choice("units", UnitName, self.units)}
        known |= {name: check_number(name, getattr(self, name)) for name in ("threshold", "identity")}
        known |= {"missing": None if self.missing is None else _check_missing(self.missing)}
        known |= {"test": None if self.test is None else _check_path("test", self.test)}
        for name, value in known.items():
            object.__setattr__(self, name, value)
        check_fraction("threshold", self.threshold)
        if not 0 <= self.identity <= 1:
            raise ValueError(f"identity must be a share of sites, in (0, 1], or 0 to count each, got {self.identity}")
        if not isinstance(self.alphabet, str | None):
            raise TypeError(f"alphabet must be the letters in one text, got {self.alphabet!r}")

    def settings(self) -> dict[str, Any]:
        """The fields, to be remembered; paths are made absolute."""
        data = self.data if self.data == "digits" else str(Path(self.data).resolve())
        test = None if self.test is None else str(Path(self.test).resolve())
        return dataclasses.asdict(self) | {"data": data, "test": test}

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

    def load_split(self, held_out: float, seed: int) -> tuple[Dataset, Dataset | None]:
        """The data to train on, and those that are held out, or None.

        Sequences are held out by whole clusters, in which each has another one that it agrees with in the share
        `identity` of sites or more: a relative of what is trained on would be no test.

        Args:
            held_out: share of the samples, or 0.
            seed: of the choice.

        Raises:
            ValueError, OSError: as `load`, a share beside a file of test data, or a choice that leaves nothing.
        """
        dataset = self.load()
        if self.test is not None:
            if held_out:
                raise ValueError(f"held_out must be 0 where test names data of their own, got {held_out}")
            alphabet = dataset.alphabet or self.alphabet
            test = dataclasses.replace(self, data=self.test, test=None, alphabet=alphabet).load()
            if test.samples.shape[1] != dataset.samples.shape[1]:
                raise ValueError(
                    f"test: the samples of {self.test} have {test.samples.shape[1]} values, those of {self.data} have "
                    f"{dataset.samples.shape[1]}"
                )
            return dataset, test
        if not held_out:
            return dataset, None
        clusters = np.arange(len(dataset.samples))
        if dataset.alphabet is not None and self.identity > 0:
            states = states_of(dataset.samples, len(dataset.alphabet))
            clusters = identity_clusters(states, identity=self.identity)
        chosen = _choose(clusters, held_out, seed)
        return dataset.rows(~chosen), dataset.rows(chosen)

    def load_images(self) -> Dataset:
        """Complete binary data, for commands that train on these.

        Raises:
            ValueError, OSError: as `load`, data of another kind, or in which nothing varies.
        """
        dataset = self.load()
        if dataset.alphabet is not None or dataset.is_lossy:
            raise ValueError(f"data: {self.data} must be complete binary data here, images or .npy of 0 and 1")
        dataset.check_trainable()
        return dataset

    def _load_sequences(self, path: Path) -> Dataset:
        if self.missing is not None:
            raise ValueError("missing does not go with sequences, whose gaps are states of their own")
        if not path.exists():
            raise FileNotFoundError(f"data: there is no file {path}")
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
                f"data: {self.data}: {error}; if a value stands for missing entries, name it by missing"
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


def plain(value: Any) -> Any:
    """A scalar of NumPy or JAX as one of Python, which JSON can hold; anything else as it is."""
    return value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0 else value


def check_number(name: str, value: Any) -> float:
    """Return the value as a float, or raise: texts and booleans are no numbers."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(number)
    except OverflowError as error:
        raise ValueError(f"{name} must be a number that a float can hold, got an integer beyond") from error


def _check_path(name: str, value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path or name, got {value!r}")
    return str(value)


def _check_missing(value: Any) -> str:
    """One text for all spellings of a number, with all of its digits."""
    try:
        number = float(value) if isinstance(value, str) else check_number("missing", value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"missing must be NaN or a number, got {value!r}") from error
    return repr(number + 0.0).removesuffix(".0")


def _choose(clusters: np.ndarray, share: float, seed: int) -> np.ndarray:
    """True for whole clusters, in random order, until they hold this share of all samples."""
    names = np.random.default_rng(seed).permutation(np.unique(clusters))
    sizes = np.bincount(clusters)[names]
    wanted = max(1, round(share * len(clusters)))
    taken = np.zeros(len(names), bool)
    held = 0
    for place, size in enumerate(sizes):  # clusters that would be too many are left for training
        if held + size <= wanted:
            taken[place], held = True, held + size
    chosen = np.isin(clusters, names[taken])
    if not chosen.any() or chosen.all():
        raise ValueError(
            f"held_out leaves {chosen.sum()} of {len(chosen)} samples to evaluate on, in {len(names)} clusters that "
            f"stay together: choose another share, got {share}"
        )
    return chosen


def _load_path(path: Path, allow_missing: bool) -> np.ndarray:
    if path.is_dir():
        found = sorted(path.glob("train-images*"))
        if not found:
            raise ValueError(f"data: the folder {path} has no train-images file of MNIST's format")
        path = found[0]
    if not path.exists():
        raise FileNotFoundError(f"data: there is no file or folder {path}; 'digits' needs no file")
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        images = load_array(path, allow_missing=True)
        if not allow_missing and images.dtype.kind == "f" and np.isnan(images).any():
            raise ValueError(
                f"data: {path} holds {np.isnan(images).sum()} NaN: remove them, or set missing to NaN if they stand "
                "for missing entries"
            )
    else:
        images = load_idx(path)
    if images.ndim < 2 or images.size == 0:
        raise ValueError(f"data: {path} holds no images, its shape is {images.shape}")
    return images


def _where_missing(images: np.ndarray, missing: str | None) -> np.ndarray:
    """True at the entries that the option names."""
    if missing is None:
        return np.zeros(images.shape, bool)
    value = float(missing)
    unknown = np.isnan(images) if images.dtype.kind == "f" else np.zeros(images.shape, bool)
    if unknown.any() and not math.isnan(value):
        raise ValueError(f"missing is {missing}, but the data hold NaN too: set it to NaN, or remove them")
    return unknown if math.isnan(value) else images == value


def _square(n_pixels: int) -> tuple[int, int] | None:
    side = math.isqrt(n_pixels)
    return (side, side) if side**2 == n_pixels else None
