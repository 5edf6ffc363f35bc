"""Counter-based random numbers: the one generator behind every sampler.

A uniform number is the Threefry-2x32 cipher of the pair (counter, position) under two words that are drawn once
from the user's key. The twenty rounds are written out, so that XLA fuses them with the comparison that uses
the number; `jax.random` runs them as a loop on CPU, which does not fuse and is slower. A number
depends on its position in the global array alone, so a batch that is sharded over devices gets the same ones.

Every public function that draws folds its key with a constant of its own (`Stream`), so that one key given to several
of them makes independent numbers.

Source: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

import enum
import math

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.typing import Array, Float, Int, PRNGKey, UInt32

__all__ = ["Stream", "key_words", "shuffled_rows", "stream_key", "threefry2x32", "uniform"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

Words = UInt32[Array, "2"]
Counter = Int[Array, ""] | UInt32[Array, ""] | int


class Stream(enum.IntEnum):
    """What the random numbers of a key are for: a constant for each use, and no two uses with one constant.

    `jax.random.fold_in(key, step)` numbers the steps of a run, and `jax.random.split` makes keys that equal
    `fold_in(key, 0)`, `fold_in(key, 1)`, ...: both stay below 2^31, and the constants start there.
    """

    # units, RBMs and samplers
    UNITS = 2**31
    WEIGHTS = enum.auto()
    HIDDEN = enum.auto()
    VISIBLE = enum.auto()
    GIBBS = enum.auto()
    CHAINS = enum.auto()
    TEMPERING_CHAINS = enum.auto()
    TEMPERING = enum.auto()
    TRAJECTORY_CHAINS = enum.auto()
    TRAJECTORY_TEMPERING = enum.auto()
    RELAXATION = enum.auto()
    # estimates of log Z
    AIS = enum.auto()
    REVERSE_AIS = enum.auto()
    TEMPERING_LOG_Z = enum.auto()
    LOG_Z_ALONG = enum.auto()
    LADDER_HEALTH = enum.auto()
    # missing entries
    COMPLETION = enum.auto()
    IMPUTATION = enum.auto()
    CLASSES = enum.auto()
    # training: streams of a run's key (BATCHES), and of the key of one update
    BATCHES = enum.auto()
    DATA_TERM = enum.auto()
    MODEL_TERM = enum.auto()
    TIED_WEIGHTS = enum.auto()
    # synthetic data and random matrices
    GAUSSIAN_DATA = enum.auto()
    ISING_CHAIN = enum.auto()
    PLANTED_CLUSTERS = enum.auto()
    BINARIZED = enum.auto()
    ENSEMBLE = enum.auto()
    CLUSTER_SAMPLES = enum.auto()


def stream_key(key: PRNGKey, stream: Stream) -> PRNGKey:
    """The key of one use of a user's key."""
    return jax.random.fold_in(key, int(stream))


def key_words(key: PRNGKey) -> Words:
    """Two 32-bit words drawn from a JAX key of any implementation."""
    return jax.random.bits(key, (2,), jnp.uint32)


@jax.jit  # traced once for each shape, and not at each of its many uses
def threefry2x32(
    words: Words, first: UInt32[Array, "*#shape"], second: UInt32[Array, "*#shape"]
) -> tuple[UInt32[Array, "*#shape"], UInt32[Array, "*#shape"]]:
    """The 20-round Threefry-2x32 block cipher of (first, second), which broadcast, under the key `words`."""
    schedule = (words[0], words[1], words[0] ^ words[1] ^ jnp.uint32(_PARITY))
    x, y = first + schedule[0], second + schedule[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << rotation) | (y >> (32 - rotation)))
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def uniform(words: Words, counter: Counter, shape: tuple[int, ...], dtype) -> Float[Array, "..."]:
    """Uniform numbers in the open interval (0, 1): never 0 and never 1.

    Args:
        words: from `key_words`.
        counter: which array of numbers; arrays with different counters are independent.
        shape: at most 2^32 numbers.
        dtype: floating dtype; 23 random bits for float32 and narrower, 32 for float64.
    """
    position = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = threefry2x32(words, jnp.asarray(counter).astype(jnp.uint32), position)
    bits = first ^ second
    if jnp.finfo(dtype).bits == 64:
        return (bits.astype(dtype) + 0.5) * 2.0**-32
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)


def shuffled_rows(words: Words, step: Int[Array, ""], n_samples: int, batch_size: int) -> Int[Array, " batch_size"]:
    """Rows of minibatch number `step` of epochs that are each shuffled anew.

    Every epoch visits n_samples // batch_size batches of distinct rows. The permutation is computed at the rows that
    are asked for, with no state and no sort: a Feistel cipher with Threefry as its round function (Luby & Rackoff,
    1988) on the cells of a nearly square grid that holds n_samples, walked along its cycles until the result is
    below n_samples (Black & Rogaway, 2002). Four rounds are biased on a grid of few cells, which gets eight.
    """
    batches_per_epoch = n_samples // batch_size
    epoch = (step // batches_per_epoch).astype(jnp.uint32)
    start = (step % batches_per_epoch).astype(jnp.uint32) * jnp.uint32(batch_size)
    n_rows = math.isqrt(n_samples - 1) + 1
    n_columns = -(-n_samples // n_rows)
    n_rounds = 4 if n_samples > 64 else 8

    def encrypt(index):
        left, right = index // n_columns, index % n_columns
        for round_number in range(n_rounds):
            scrambled, _ = threefry2x32(words, n_rounds * epoch + jnp.uint32(round_number), right)
            side = jnp.uint32((n_rows, n_columns)[round_number % 2])
            left, right = right, (left + scrambled % side) % side
        return left * n_columns + right

    def walk(state):
        index, is_outside = state
        index = jnp.where(is_outside, encrypt(index), index)
        return index, index >= n_samples

    unshuffled = start + lax.iota(jnp.uint32, batch_size)
    rows, _ = lax.while_loop(lambda state: jnp.any(state[1]), walk, (unshuffled, jnp.ones(batch_size, bool)))
    return rows.astype(jnp.int32)
