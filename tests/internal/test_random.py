"""The counter-based generator: published vectors, JAX's own bits, uniformity, and shuffling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rbm_jax._internal import random as _random
from rbm_jax._internal.random import key_words, shuffled_rows, threefry2x32, uniform
from tests.helpers import slow_but


def words_of(seed: int):
    return key_words(jax.random.key(seed))


draw = jax.jit(uniform, static_argnums=(2, 3))
cipher = jax.jit(threefry2x32)


@functools.partial(jax.jit, static_argnums=(2, 3))
def rows_at(words, steps, n_samples, batch_size):
    """The batches of several steps."""
    return jax.vmap(lambda step: shuffled_rows(words, step, n_samples, batch_size))(steps)


def epoch_of_rows(words, epoch, n_samples, batch_size):
    """The rows of all batches of one epoch."""
    steps = epoch * (n_samples // batch_size) + np.arange(n_samples // batch_size)
    return np.asarray(rows_at(words, steps, n_samples, batch_size)).ravel()


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(key, counter, expected):
    first, second = (jnp.array([word], jnp.uint32) for word in counter)
    found = cipher(jnp.array(key, jnp.uint32), first, second)
    assert tuple(int(word[0]) for word in found) == expected


def test_threefry_is_the_generator_of_jax():
    words = jnp.array([0xDEADBEEF, 42], jnp.uint32)
    with jax.threefry_partitionable(True):
        expected = jax.random.bits(jax.random.wrap_key_data(words, impl="threefry2x32"), (100,), jnp.uint32)
    zero = jnp.zeros(100, jnp.uint32)
    first, second = cipher(words, zero, jnp.arange(100, dtype=jnp.uint32))
    np.testing.assert_array_equal(first ^ second, expected)


def test_key_words_depend_on_the_key():
    found = {tuple(np.asarray(words_of(seed)).tolist()) for seed in range(100)}
    assert len(found) == 100


@pytest.mark.parametrize(("bits", "is_low"), [(0, True), (0xFFFFFFFF, False)])
def test_uniform_is_inside_the_open_interval_for_all_bits(bits, is_low, dtype, monkeypatch):
    def constant(words, first, second):
        return jnp.full_like(second, bits), jnp.zeros_like(second)

    monkeypatch.setattr(_random, "threefry2x32", constant)
    (number,) = uniform(words_of(0), 0, (1,), dtype)
    assert number.dtype == dtype
    assert 0 < number < 1
    # half a step of the grid from the end: 2^-24 in single, 2^-33 in double precision
    distance = float(number) if is_low else 1 - float(number)
    assert distance == (2.0**-24 if dtype == jnp.float32 else 2.0**-33)


def test_uniform_numbers_are_uniform_and_uncorrelated(dtype):
    numbers = np.asarray(draw(words_of(1), 3, (200, 500), dtype), np.float64)
    counts = np.histogram(numbers, 100, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-5
    # neighbours along either axis fill the unit square evenly
    for first, second in [(numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])]:
        pairs = np.histogram2d(first.ravel(), second.ravel(), 20, [(0, 1), (0, 1)])[0]
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-5


def test_low_bits_of_uniform_numbers_are_balanced(dtype):
    numbers = np.asarray(draw(words_of(1), 3, (40_000,), dtype), np.float64)
    n_bits = 23 if dtype == jnp.float32 else 32
    grid = np.floor(numbers * 2.0**n_bits).astype(np.int64)
    share = ((grid[:, None] >> np.arange(n_bits)) & 1).mean(0)
    assert (abs(share - 0.5) < 5 * 0.5 / np.sqrt(len(grid))).all()


def test_uniform_numbers_of_different_counters_and_keys_are_independent():
    n = 40_000
    numbers = [draw(words_of(seed), counter, (n,), jnp.float32) for seed in (0, 1) for counter in (0, 1, 2)]
    for index, first in enumerate(numbers):
        for second in numbers[:index]:
            pairs = np.histogram2d(np.asarray(first), np.asarray(second), 10, [(0, 1), (0, 1)])[0]
            assert stats.chisquare(pairs.ravel()).pvalue > 1e-5


def test_a_uniform_number_depends_on_key_counter_and_position_alone(dtype):
    words = words_of(2)
    flat = draw(words, 5, (60,), dtype)
    np.testing.assert_array_equal(draw(words, jnp.uint32(5), (3, 4, 5), dtype).ravel(), flat)
    np.testing.assert_array_equal(draw(words, jnp.int32(5), (20,), dtype), flat[:20])


def test_uniform_under_vmap_and_jit_is_the_loop(dtype):
    keys, counters = np.stack([words_of(seed) for seed in range(3)]), np.arange(3)
    loop = np.stack([draw(words, counter, (7,), dtype) for words, counter in zip(keys, counters, strict=True)])
    batched = jax.jit(jax.vmap(lambda words, counter: uniform(words, counter, (7,), dtype)))
    np.testing.assert_array_equal(batched(keys, counters), loop)


# each pair of sizes is a program: the quick ones have either number of rounds, with and without walks
@pytest.mark.parametrize(
    ("n_samples", "batch_size"),
    slow_but(
        [(1, 1), (7, 7), (64, 8), (1000, 100)],
        [(1, 1), (2, 1), (2, 2), (3, 1), (7, 7), (64, 8), (65, 13), (1000, 100)],
    ),
)
def test_an_epoch_visits_every_row_once_when_batches_divide_the_samples(n_samples, batch_size):
    for epoch in (0, 1, 5):
        rows = epoch_of_rows(words_of(0), epoch, n_samples, batch_size)
        np.testing.assert_array_equal(np.sort(rows), np.arange(n_samples))


@pytest.mark.parametrize(("n_samples", "batch_size"), slow_but([(7, 3), (1025, 1000)], [(3, 2), (7, 3), (1025, 1000)]))
def test_an_epoch_visits_no_row_twice(n_samples, batch_size):
    for epoch in range(5):
        rows = epoch_of_rows(words_of(1), epoch, n_samples, batch_size)
        assert len(rows) == n_samples // batch_size * batch_size
        assert len(np.unique(rows)) == len(rows)
        assert rows.min() >= 0
        assert rows.max() < n_samples


def test_epochs_and_keys_are_shuffled_differently():
    orders = [epoch_of_rows(words_of(seed), epoch, 1000, 100) for seed in (0, 1) for epoch in (0, 1, 2)]
    for index, first in enumerate([np.arange(1000), *orders]):
        for second in orders[index:]:
            # two random permutations agree at one position on average; the number of them is Poisson
            assert (first == second).sum() < 10


@pytest.mark.parametrize("n_samples", [3, 100, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 7, 10))])
def test_every_row_comes_equally_often_at_every_position(n_samples):
    n_epochs = 4000
    rows = np.asarray(rows_at(words_of(2), np.arange(n_epochs), n_samples, n_samples))
    counts = np.stack([np.bincount(column, minlength=n_samples) for column in rows.T])
    statistic = ((counts - n_epochs / n_samples) ** 2).sum() / (n_epochs / n_samples)
    # the table has (n - 1)² degrees of freedom, its entries a variance of (n / (n - 1)) times that of a multinomial
    statistic *= (n_samples - 1) / n_samples
    assert stats.chi2.sf(statistic, (n_samples - 1) ** 2) > 1e-5


@pytest.mark.parametrize("n_samples", [3, 4])
def test_every_permutation_of_a_few_rows_is_equally_likely(n_samples):
    n_epochs = 4000
    rows = np.asarray(rows_at(words_of(3), np.arange(n_epochs), n_samples, n_samples))
    codes = np.unique(rows @ n_samples ** np.arange(n_samples), return_counts=True)[1]
    assert stats.chisquare(codes).pvalue > 1e-5
    assert len(codes) == {3: 6, 4: 24}[n_samples]


def test_shuffled_rows_under_jit_and_vmap_are_the_loop():
    keys = np.stack([words_of(seed) for seed in range(3)])
    steps = np.arange(3, dtype=np.int32) * 5
    one = jax.jit(shuffled_rows, static_argnums=(2, 3))
    loop = np.stack([one(words, step, 100, 8) for words, step in zip(keys, steps, strict=True)])
    batched = jax.jit(jax.vmap(lambda words, step: shuffled_rows(words, step, 100, 8)))
    np.testing.assert_array_equal(batched(keys, steps), loop)
    assert loop.dtype == jnp.int32
