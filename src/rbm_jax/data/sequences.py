"""Sequences as states of sites, as configurations of Potts units, and what each of them counts.

A sequence is a row of states, the positions of its letters in the alphabet. As one-hot vectors, site by site with the
states of a site side by side, sequences are configurations of a layer of Potts units.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import lax
from scipy.sparse.csgraph import connected_components

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, Int, Shaped

__all__ = [
    "Alignment",
    "check_states",
    "identity_clusters",
    "one_hot",
    "remove_duplicates",
    "sequence_weights",
    "states_of",
]

_BLOCK_ELEMENTS = 2**22

States = Shaped[ArrayLike, "n_sequences length"]


@dataclasses.dataclass(frozen=True)
class Alignment:
    """Aligned sequences.

    Attributes:
        states: positions of the letters in the alphabet, uint8, shape (n_sequences, length).
        names: what follows the ">" of each sequence.
        alphabet: one letter a state.
    """

    states: Shaped[np.ndarray, "n_sequences length"]
    names: tuple[str, ...]
    alphabet: str


def one_hot(states: States, n_states: int) -> Shaped[np.ndarray, "n_sequences n_components"]:
    """Sequences as configurations of Potts units: 1 at the state of each site, site by site, as uint8.

    Args:
        states: integers from 0 to n_states - 1, shape (n_sequences, length).
        n_states: states of a site, the length of the alphabet.

    Returns:
        Shape (n_sequences, length × n_states); component i·n_states + s is whether site i is in state s.

    Raises:
        TypeError: states that are not integers.
        ValueError: another shape, or states outside the range.

    Example:
        >>> import numpy as np
        >>> from rbm_jax.data import one_hot
        >>> one_hot(np.array([[0, 2]]), 3)
        array([[1, 0, 0, 0, 0, 1]], dtype=uint8)
    """
    n_states = check_count("n_states", n_states, minimum=2)
    dtype = np.min_scalar_type(n_states - 1)
    states = check_states("states", states, n_states).astype(dtype)
    hot = states[:, :, None] == np.arange(n_states, dtype=dtype)
    return hot.view(np.uint8).reshape(len(states), -1)


def states_of(
    configurations: Shaped[ArrayLike, "n_sequences n_components"], n_states: int
) -> Shaped[np.ndarray, "n_sequences length"]:
    """Sequences of configurations of Potts units, such as samples of an RBM: the inverse of `one_hot`.

    Args:
        configurations: 0 and 1, one 1 a site, shape (n_sequences, length × n_states).
        n_states: states of a site.

    Returns:
        The states, shape (n_sequences, length); uint8 if there are at most 256.

    Raises:
        ValueError: another shape, or a site that is not in exactly one state.
    """
    n_states = check_count("n_states", n_states, minimum=2)
    array = np.asarray(configurations)
    if array.ndim != 2 or array.size == 0 or array.shape[1] % n_states:
        raise ValueError(
            f"configurations must have shape (n_sequences, length × {n_states}), with at least one sequence and one "
            f"site, got {array.shape}"
        )
    sites = array.reshape(len(array), -1, n_states)
    fits = ((sites == 1).sum(-1) == 1) & ((sites == 0).sum(-1) == n_states - 1)
    if not fits.all():
        row, site = (int(index[0]) for index in np.nonzero(~fits))
        raise ValueError(
            f"configurations must have one 1 among the {n_states} components of a site and 0 elsewhere, got "
            f"{sites[row, site]} at row {row}, site {site}"
        )
    return sites.argmax(-1).astype(np.uint8 if n_states <= 256 else np.int32)


def remove_duplicates(alignment: Alignment) -> tuple[Alignment, Int[np.ndarray, " n_distinct"]]:
    """Each distinct sequence once, in the order and with the name of its first, and how often it was there.

    Args:
        alignment: as from `load_fasta`.

    Returns:
        The distinct sequences, and their counts, which may serve as sample weights.
    """
    states = check_states("alignment.states", alignment.states, None)
    rows = np.ascontiguousarray(states).view(np.dtype((np.void, states.itemsize * states.shape[1]))).ravel()
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    order = np.argsort(first)
    kept = first[order]
    return Alignment(states[kept], tuple(alignment.names[row] for row in kept), alignment.alphabet), counts[order]


def sequence_weights(states: States, *, identity: float = 0.8) -> Float[np.ndarray, " n_sequences"]:
    """Weights that count families of similar sequences once: 1 / number of sequences alike, with itself among them.

    Two sequences are alike if at least this share of their sites are in the same state; gaps count as a state. The sum
    of the weights is the effective number of sequences. Sites are compared by matrix products of one-hot vectors, block
    by block, so that the memory does not grow with the square of the number of sequences; the time does.

    Source: Morcos et al., "Direct-coupling analysis of residue coevolution" (2011).

    Args:
        states: integers from 0 to 255, shape (n_sequences, length).
        identity: least share of equal sites, in (0, 1]; 1 for equal sequences alone.

    Returns:
        Sample weights in (0, 1], for `weights` of `rbm_jax.fit` and others.

    Raises:
        TypeError: states that are not integers.
        ValueError: another shape, states outside the range, or an identity outside (0, 1].
    """
    states = check_states("states", states, None)
    (n_sequences, length), n_states = states.shape, int(states.max()) + 1
    least = _least_equal(identity, length)
    size = min(n_sequences, max(1, _BLOCK_ELEMENTS // (length * n_states)))
    padding = -n_sequences % size
    # Rows of a state that there is not are alike to none.
    blocks = np.pad(states.astype(np.int32), ((0, padding), (0, 0)), constant_values=n_states).reshape(-1, size, length)
    counts = _count_alike(jnp.asarray(blocks), least, n_states=n_states)
    return 1 / np.asarray(counts).reshape(-1)[:n_sequences]


def identity_clusters(states: States, *, identity: float = 0.8) -> Int[np.ndarray, " n_sequences"]:
    """Clusters of sequences that hang together by pairs that are alike, in the sense of `sequence_weights`.

    Sequences of different clusters are never alike: what is held out by whole clusters has no relatives in the rest.

    Args:
        states: integers from 0 to 255, shape (n_sequences, length).
        identity: least share of equal sites, in (0, 1].

    Returns:
        The number of each sequence's cluster, from 0 on.

    Raises:
        TypeError: states that are not integers.
        ValueError: another shape, states outside the range, or an identity outside (0, 1].
    """
    states = check_states("states", states, None)
    (n_sequences, length), n_states = states.shape, int(states.max()) + 1
    least, size = _least_equal(identity, length), max(1, _BLOCK_ELEMENTS // (length * n_states))
    starts = range(0, n_sequences, size)
    nodes, roots = [np.arange(n_sequences)], [np.arange(n_sequences)]
    for first, second in itertools.combinations_with_replacement(starts, 2):
        rows, columns = (_one_hot_floats(states[start : start + size], n_states) for start in (first, second))
        alike = np.nonzero(rows @ columns.T >= least)
        of_row, of_column = alike[0] + first, alike[1] + second
        # A pair of blocks gives as many edges as it has sequences: from each to the first one that it hangs by.
        labels = _components(of_row, of_column, n_sequences)
        here = np.unique(np.concatenate([of_row, of_column]))
        _, inverse = np.unique(labels[here], return_inverse=True)
        root = np.full(inverse.max(initial=-1) + 1, n_sequences)
        np.minimum.at(root, inverse, here)
        nodes.append(here)
        roots.append(root[inverse])
    return _components(np.concatenate(nodes), np.concatenate(roots), n_sequences)


def _components(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    edges = scipy.sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return connected_components(edges, directed=False)[1]


def _one_hot_floats(states: np.ndarray, n_states: int) -> np.ndarray:
    return (states[..., None] == np.arange(n_states)).reshape(len(states), -1).astype(np.float32)


def _least_equal(identity: float, length: int) -> int:
    """Sites that must be equal."""
    if check_positive("identity", identity) > 1:
        raise ValueError(f"identity must be a share of sites, in (0, 1], got {identity}")
    return max(1, math.ceil(identity * length * (1 - 1e-12)))  # 0.7 × 10 is a little more than 7


@functools.partial(jax.jit, static_argnames="n_states")
def _count_alike(blocks: Int[Array, "n_blocks size length"], least, *, n_states: int) -> Int[Array, "n_blocks size"]:
    """For each sequence, how many have at least so many sites in common with it; each pair of blocks is seen once."""
    n_blocks, size, _ = blocks.shape

    def encode(block):
        return jax.nn.one_hot(block, n_states, dtype=jnp.float32).reshape(size, -1)

    def compare_block(first, counts):
        rows = encode(blocks[first])

        def compare(second, counts):
            alike = rows @ encode(blocks[second]).T >= least
            counts = counts.at[first].add(alike.sum(1, dtype=jnp.int32))
            return counts.at[second].add(jnp.where(second > first, alike.sum(0, dtype=jnp.int32), 0))

        return lax.fori_loop(first, n_blocks, compare, counts)

    return lax.fori_loop(0, n_blocks, compare_block, jnp.zeros((n_blocks, size), jnp.int32))


def check_states(name: str, states: States, n_states: int | None) -> np.ndarray:
    """States as an array of integers below n_states, or below 256."""
    array = np.asarray(states)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be integers, the positions of letters in the alphabet, got {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape (n_sequences, length), both at least 1, got {array.shape}")
    top = 255 if n_states is None else n_states - 1
    if array.min() < 0 or array.max() > top:
        raise ValueError(f"{name} must be from 0 to {top}, got {array.min()} to {array.max()}")
    return array
