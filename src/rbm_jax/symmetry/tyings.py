"""Which weights are copies of one another: translations of a lattice, and groups of permutations.

A channel of hidden units is one filter in all its placements, one unit each. A tying tells which entry of the filter
every visible unit meets in every placement, and which visible units share their bias.
"""

import abc
import dataclasses
import math

import numpy as np

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.typing import ArrayLike, Int, Shaped

__all__ = [
    "AbstractTying",
    "PermutationGroup",
    "Translations",
    "generate_group",
    "reflection",
    "rotation",
    "translation",
]

MAX_ELEMENTS = 2**16
"""Most elements of a group that are generated."""

Permutation = Shaped[ArrayLike, " n_visible"]


class AbstractTying(abc.ABC):
    """How the weights of a channel derive from its filter: a hashable strategy, like a unit type.

    Each entry of the filter occurs once in every placement, so it has n_placements copies among the weights.
    """

    @property
    @abc.abstractmethod
    def table(self) -> Int[np.ndarray, "n_placements n_visible"]:
        """Entry of the filter that each visible unit meets in each placement; -1 for none, a weight of zero."""

    @property
    @abc.abstractmethod
    def orbits(self) -> Int[np.ndarray, " n_visible"]:
        """Number of the bias that each visible unit has, from 0 without gaps."""

    @property
    @abc.abstractmethod
    def n_visible(self) -> int:
        """Number of visible units."""

    @property
    @abc.abstractmethod
    def n_placements(self) -> int:
        """Number of hidden units in a channel."""

    @property
    @abc.abstractmethod
    def n_entries(self) -> int:
        """Number of free weights in a channel."""


@dataclasses.dataclass(frozen=True)
class Translations(AbstractTying):
    """Translations of a lattice in any number of dimensions: convolutional weights, W_{i,(k,t)} = f_k(i - t).

    On the periodic lattice (a ring, a torus) this is a group: filters are placed at all sites, and all sites share one
    bias. Otherwise they are placed where they lie inside the lattice; sites are then not equivalent, and each has a
    bias of its own.

    Attributes:
        shape: lengths of the lattice's axes; visible units are its sites in row-major order.
        window: lengths of the filter's axes; None for those of the lattice.
        periodic: whether the lattice is closed.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...] | None = None
    periodic: bool = True

    def __post_init__(self):
        shape = _lengths("shape", self.shape)
        window = shape if self.window is None else _lengths("window", self.window)
        if len(window) != len(shape) or any(inner > outer for inner, outer in zip(window, shape, strict=True)):
            raise ValueError(f"window must have the axes of the shape and not exceed them, got {window} for {shape}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "window", window)

    @property
    def extent(self) -> tuple[int, ...]:
        """Lengths of the filter's axes."""
        return self.shape if self.window is None else self.window

    @property
    def table(self) -> Int[np.ndarray, "n_placements n_visible"]:
        """As in `AbstractTying`; entries are numbered in row-major order."""
        offsets = [self._offsets(axis) for axis in range(len(self.shape))]
        entry, inside = np.zeros((1, 1), np.int32), np.ones((1, 1), bool)
        for offset, length in zip(offsets, self.extent, strict=True):
            # The Kronecker product of the axes, first axis slowest in placements as in sites.
            inner, meets = np.minimum(offset, length - 1), offset < length
            entry = (entry[:, None, :, None] * length + inner[None, :, None, :]).reshape(
                len(entry) * len(inner), entry.shape[1] * inner.shape[1]
            )
            inside = (inside[:, None, :, None] & meets[None, :, None, :]).reshape(entry.shape)
        return np.where(inside, entry, -1).astype(np.int32)

    def _offsets(self, axis: int) -> Int[np.ndarray, "n_starts length"]:
        """Position of each site along an axis as seen from each start of the filter, modulo the length."""
        length, inner = self.shape[axis], self.extent[axis]
        n_starts = length if self.periodic else length - inner + 1
        return (np.arange(length) - np.arange(n_starts)[:, None]) % length

    @property
    def orbits(self) -> Int[np.ndarray, " n_visible"]:
        """One bias for all sites of a periodic lattice, else one for each."""
        return np.zeros(self.n_visible, np.int32) if self.periodic else np.arange(self.n_visible, dtype=np.int32)

    @property
    def n_visible(self) -> int:
        """Number of sites."""
        return math.prod(self.shape)

    @property
    def n_placements(self) -> int:
        """Number of sites at which a filter can start."""
        if self.periodic:
            return self.n_visible
        return math.prod(outer - inner + 1 for outer, inner in zip(self.shape, self.extent, strict=True))

    @property
    def n_entries(self) -> int:
        """Number of sites of the window."""
        return math.prod(self.extent)


@dataclasses.dataclass(frozen=True, eq=False)
class PermutationGroup(AbstractTying):
    """Any group that permutes the visible units: W_{i,(k,g)} = f_k(g⁻¹ i), one placement for each element g.

    See `generate_group`, which makes the whole group from a few of its elements.

    Attributes:
        elements: shape (n_elements, n_visible); row g has in column i the unit that i is sent to.
    """

    elements: Int[np.ndarray, "n_elements n_visible"]

    def __post_init__(self):
        elements = np.array(self.elements)
        if elements.ndim != 2 or elements.size == 0 or not np.issubdtype(elements.dtype, np.integer):
            raise ValueError(
                "elements must be a table of integers, one permutation a row, got "
                f"{elements.dtype} of shape {elements.shape}"
            )
        elements = elements.astype(np.int32)
        for row in elements:
            _check_permutation("elements", row)
        if not _is_group(elements):
            raise ValueError(
                f"elements must be all distinct elements of a group, got {len(elements)} permutations of which some "
                "products are missing or some occur twice; see generate_group"
            )
        elements.setflags(write=False)
        object.__setattr__(self, "elements", elements)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PermutationGroup):
            return NotImplemented
        return self is other or np.array_equal(self.elements, other.elements)

    def __hash__(self) -> int:
        return hash((self.elements.shape, self.elements[-1].tobytes()))

    def __repr__(self) -> str:
        return f"PermutationGroup({len(self.elements)} elements on {self.n_visible} units)"

    @property
    def table(self) -> Int[np.ndarray, "n_placements n_visible"]:
        """g⁻¹ i for each element and unit."""
        return np.argsort(self.elements, axis=1).astype(np.int32)

    @property
    def orbits(self) -> Int[np.ndarray, " n_visible"]:
        """Units that some element sends to one another share a bias."""
        return np.unique(self.elements.min(axis=0), return_inverse=True)[1].astype(np.int32)

    @property
    def n_visible(self) -> int:
        """Number of units that are permuted."""
        return self.elements.shape[1]

    @property
    def n_placements(self) -> int:
        """Number of elements."""
        return self.elements.shape[0]

    @property
    def n_entries(self) -> int:
        """A filter has one entry for each unit."""
        return self.n_visible


def generate_group(*generators: Permutation) -> PermutationGroup:
    """The group of all products of some permutations.

    Args:
        generators: permutations of the visible units, shape (n_visible,): unit i is sent to generator[i].

    Returns:
        The group, with the identity as its first element.

    Raises:
        ValueError: no generator, something that is no permutation, or more than 65536 elements.

    Example:
        >>> from rbm_jax.symmetry import generate_group, reflection, rotation
        >>> generate_group(rotation(8), reflection((8, 8)))
        PermutationGroup(8 elements on 64 units)
    """
    if not generators:
        raise ValueError("generators must hold at least one permutation, got none")
    rows = [_check_permutation("generators", generator) for generator in generators]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"generators must permute the same units, got lengths {[len(row) for row in rows]}")
    elements = _generate(rows, MAX_ELEMENTS)
    group = object.__new__(PermutationGroup)  # a group by construction: the check would do all of this again
    elements.setflags(write=False)
    object.__setattr__(group, "elements", elements)
    return group


def translation(shape: tuple[int, ...], *, axis: int = 0) -> Int[np.ndarray, " n_visible"]:
    """The permutation that moves each site of a periodic lattice by one along an axis."""
    sites = _sites(shape)
    return np.roll(sites, -1, _axis(sites, axis)).reshape(-1)


def rotation(side: int) -> Int[np.ndarray, " n_visible"]:
    """The permutation that turns a square image by 90°, counter-clockwise."""
    sites = _sites((side, side))
    return np.rot90(sites, -1).reshape(-1)


def reflection(shape: tuple[int, ...], *, axis: int = -1) -> Int[np.ndarray, " n_visible"]:
    """The permutation that reverses an axis of a lattice; by default the last, left and right of an image."""
    sites = _sites(shape)
    return np.flip(sites, _axis(sites, axis)).reshape(-1)


def _lengths(name: str, lengths) -> tuple[int, ...]:
    lengths = (lengths,) if np.ndim(lengths) == 0 else tuple(lengths)
    if not lengths:
        raise ValueError(f"{name} must have at least one axis, got ()")
    return tuple(check_count(name, length) for length in lengths)


def _sites(shape) -> np.ndarray:
    shape = _lengths("shape", shape)
    return np.arange(math.prod(shape), dtype=np.int32).reshape(shape)


def _axis(sites: np.ndarray, axis: int) -> int:
    if not -sites.ndim <= axis < sites.ndim:
        raise ValueError(f"axis must be one of the {sites.ndim} axes of the shape, got {axis}")
    return axis


def _check_permutation(name: str, row) -> np.ndarray:
    row = np.asarray(row)
    is_permutation = (
        row.ndim == 1 and np.issubdtype(row.dtype, np.integer) and np.array_equal(np.sort(row), np.arange(len(row)))
    )
    if not is_permutation:
        raise ValueError(f"{name} must be permutations of 0, 1, ..., n_visible - 1, got {row}")
    return row.astype(np.int32)


def _generate(generators: list[np.ndarray], limit: int) -> Int[np.ndarray, "n_elements n_visible"]:
    """All products of permutations, from the identity on; a ValueError beyond the limit."""
    identity = np.arange(len(generators[0]), dtype=np.int32)
    elements, known = [identity], {identity.tobytes()}
    for element in elements:  # which grows while it is walked through
        for generator in generators:
            product = generator[element]
            if product.tobytes() not in known:
                known.add(product.tobytes())
                elements.append(product)
        if len(elements) > limit:
            raise ValueError(f"generators make a group of more than {limit} elements")
    return np.stack(elements)


def _is_group(elements: Int[np.ndarray, "n_elements n_visible"]) -> bool:
    """Whether the rows are distinct and all products of those among them that generate the others."""
    known = {row.tobytes() for row in elements}
    generators, reached = [], {np.arange(elements.shape[1], dtype=np.int32).tobytes()}
    for row in elements:
        if row.tobytes() not in reached:  # at most log2(n_elements) times
            generators.append(row)
            try:
                reached = {product.tobytes() for product in _generate(generators, len(elements))}
            except ValueError:
                return False
    return len(known) == len(elements) and known == reached
