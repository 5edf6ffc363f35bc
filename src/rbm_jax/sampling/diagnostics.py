"""Have chains mixed, and do their states look like the data?"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_array, as_samples, check_count, check_finite
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, Int, PRNGKey, Sample, Shaped
from rbm_jax.model.energies import check_rbm
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling.gibbs import init_chains, sample_gibbs

__all__ = [
    "AdversarialAccuracy",
    "Relaxation",
    "adversarial_accuracy",
    "autocorrelation_time",
    "effective_sample_size",
    "energy_distance",
    "overlaps",
    "r_hat",
    "relaxation",
]

Series = Shaped[ArrayLike, "n_steps n_chains"]


class Relaxation(eqx.Module):
    """How far chains are from the data, as they run.

    Attributes:
        n_sweeps: Gibbs sweeps done, shape (n_times,).
        fresh_mean: root mean square difference of the means of visible units between fresh chains and the data.
        fresh_covariance: likewise of the elements of the covariance matrix.
        data_mean: the same for chains that start from the data.
        data_covariance: likewise.
        noise_mean: what independent samples would differ by if chains had the distribution of the data: the root mean
            square of the difference, from the moments of the data.
        noise_covariance: likewise.
    """

    n_sweeps: Int[Array, " n_times"]
    fresh_mean: Float[Array, " n_times"]
    fresh_covariance: Float[Array, " n_times"]
    data_mean: Float[Array, " n_times"]
    data_covariance: Float[Array, " n_times"]
    noise_mean: Float[Array, ""]
    noise_covariance: Float[Array, ""]


class AdversarialAccuracy(eqx.Module):
    """Fractions of samples whose nearest neighbor is of their own kind; ties count half.

    Attributes:
        data: among the data.
        samples: among the samples.
    """

    data: Float[Array, ""]
    samples: Float[Array, ""]


def autocorrelation_time(series: Series) -> Float[Array, ""]:
    """Integrated autocorrelation time 1 + 2 Σ_t ρ(t), in steps, of several chains of one quantity.

    Correlations are taken about the mean of all chains, so that chains that are stuck in different places count as
    slow, and summed while sums of neighboring pairs are positive and decreasing. Source: Geyer (1992).

    Args:
        series: one column a chain, shape (n_steps, n_chains).

    Returns:
        A scalar, at least about 1 for independent steps; it cannot exceed the length of the series by much, so values
        of a tenth of n_steps and more say only that the series is too short. About n_steps for a series that never
        changes: each chain counts as one sample.

    Raises:
        ValueError: a series of another shape, with fewer than 4 steps, or with NaN.
    """
    series = _check_series(series)
    n_steps = len(series)
    centered = series - series.mean()
    # Padded, so that the circular correlation is the plain one.
    spectrum = jnp.abs(jnp.fft.rfft(centered, 2 * n_steps, axis=0)) ** 2
    covariance = jnp.fft.irfft(spectrum, 2 * n_steps, axis=0)[:n_steps].mean(1) / n_steps
    moves = covariance[0] > 0
    frozen = 1 - jnp.arange(n_steps) / n_steps  # the limit of a constant that is hardly changed
    correlation = jnp.where(moves, covariance / jnp.where(moves, covariance[0], 1), frozen.astype(series.dtype))
    pairs = correlation[: n_steps // 2 * 2].reshape(-1, 2).sum(1)
    decreasing = lax.cummin(jnp.where(lax.cummin(pairs) > 0, pairs, 0))
    return 2 * decreasing.sum() - 1


def effective_sample_size(series: Series) -> Float[Array, ""]:
    """Number of independent samples that would know the mean as well: n_steps × n_chains / `autocorrelation_time`.

    Args:
        series: one column a chain, shape (n_steps, n_chains).

    Raises:
        ValueError: a series of another shape, or with fewer than 4 steps.
    """
    return jnp.size(series) / autocorrelation_time(series)


def r_hat(series: Series) -> Float[Array, ""]:
    """Split R-hat of several chains of one quantity: 1 where chains agree, and above 1.01 where they have not mixed.

    Chains that never change have 1 if they are all in one place, and infinity else.

    Each chain is cut in half, and the variance between the halves is compared with that within. Source: Gelman et al.,
    *Bayesian Data Analysis* (2013); threshold from Vehtari et al. (2021).

    Args:
        series: one column a chain, shape (n_steps, n_chains) with at least 4 steps.

    Raises:
        ValueError: a series of another shape, or with fewer than 4 steps.
    """
    series = _check_series(series)
    half = len(series) // 2
    halves = jnp.concatenate([series[:half], series[len(series) - half :]], axis=1)
    within = halves.var(0, ddof=1).mean()
    between = halves.mean(0).var(ddof=1)
    moves = within > 0
    share = jnp.where(moves, between / jnp.where(moves, within, 1), jnp.where(between > 0, jnp.inf, 1 / half))
    return jnp.sqrt((half - 1) / half + share)


def overlaps(
    first: Shaped[ArrayLike, "n_first n_units"], second: Shaped[ArrayLike, "n_second n_units"] | None = None
) -> Float[Array, "..."]:
    """Overlaps q = s·s' / n of pairs of configurations, whose histogram is P(q).

    Args:
        first: configurations, shape (n_first, n_units). For 0/1 units pass 2v - 1.
        second: other ones, shape (n_second, n_units), each paired with each of the first; None: every pair of different
            rows of the first.

    Returns:
        Shape (n_first, n_second), or (n_first (n_first - 1) / 2,).

    Raises:
        ValueError: shapes that do not fit, or NaN.
    """
    first = _floats("first", first)
    other = first if second is None else _floats("second", second)
    if first.ndim != 2 or other.ndim != 2 or first.shape[1] != other.shape[1]:
        raise ValueError(
            f"first and second must have shapes (n_first, n_units) and (n_second, n_units), got {first.shape} and "
            f"{other.shape}"
        )
    products = first @ other.T / first.shape[1]
    return products if second is not None else products[jnp.triu_indices(len(first), 1)]


def energy_distance(first: Sample, second: Sample) -> Float[Array, ""]:
    """Energy distance 2 E|x - y| - E|x - x'| - E|y - y'| of two sets of samples; zero in the mean if they are alike.

    Unbiased: pairs of a sample with itself are left out, so that it may be negative. Source: Székely & Rizzo (2013).

    Args:
        first: shape (n_first, n_units), at least two rows.
        second: shape (n_second, n_units), at least two rows.

    Raises:
        ValueError: shapes that do not fit, or NaN.
    """
    first, second = _two_samples(first, second)
    between = _distances(first, second).mean()
    within = [_distances(each, each).sum() / (len(each) * (len(each) - 1)) for each in (first, second)]
    return 2 * between - within[0] - within[1]


def adversarial_accuracy(data: Sample, samples: Sample) -> AdversarialAccuracy:
    """Fractions of data, and of samples, whose nearest neighbor is of their own kind: 1/2 each if they are alike.

    Both above 1/2: samples lie apart from the data. Both below: samples copy the data. Source: Yale et al. (2020); used
    for RBMs by Decelle, Furtlehner & Seoane (2021).

    Args:
        data: shape (n_samples, n_units).
        samples: shape (n_samples, n_units), as many as there are data.

    Raises:
        ValueError: shapes that do not fit, NaN, or unequal numbers.
    """
    data, samples = _two_samples(data, samples)
    if len(data) != len(samples):
        raise ValueError(f"data and samples must be equally many, got {len(data)} and {len(samples)}")
    across = _distances(data, samples)
    own_data, own_samples = (
        jnp.where(jnp.eye(len(each), dtype=bool), jnp.inf, _distances(each, each)).min(1) for each in (data, samples)
    )

    def fraction(own, other):
        return ((own < other) + (own == other) / 2).mean()

    return AdversarialAccuracy(fraction(own_data, across.min(1)), fraction(own_samples, across.min(0)))


def relaxation(key: PRNGKey, rbm: RBM, data: Sample, *, n_times: int = 12, n_chains: int = 1000) -> Relaxation:
    """Do fresh chains reproduce the data's first two moments, and do chains from the data keep them?

    Chains are looked at after 1, 2, 4, ... sweeps. An RBM trained out of equilibrium reproduces its data only after
    about as many sweeps as its training took for each gradient, and drifts away later; one in equilibrium comes and
    stays. Source: Decelle, Furtlehner & Seoane, "Equilibrium and non-equilibrium regimes in the learning of restricted
    Boltzmann machines" (2021).

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        data: shape (n_samples, n_visible), at least two rows.
        n_times: after 2^(n_times - 1) sweeps it ends.
        n_chains: of each of the two kinds.

    Raises:
        ValueError: data that do not fit, lie outside the support of the units or are fewer than two, an RBM with NaN,
            or counts that are too small.
    """
    n_times, n_chains = check_count("n_times", n_times), check_count("n_chains", n_chains, minimum=2)
    check_rbm(rbm)
    data = as_samples("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=2)
    return _relax(stream_key(key, Stream.RELAXATION), rbm, data, n_times=n_times, n_chains=n_chains)


@functools.partial(jax.jit, static_argnames=("n_times", "n_chains"))
def _relax(key: PRNGKey, rbm: RBM, data: Array, *, n_times: int, n_chains: int) -> Relaxation:
    key_fresh, key_rows, key_run = jax.random.split(key, 3)
    target = _two_moments(data)
    rows = jax.random.randint(key_rows, (n_chains,), 0, len(data))
    chains = [init_chains(key_fresh, rbm, n_chains), data[rows]]
    distances, sweeps = [], 2 ** jnp.arange(n_times)
    for time in range(n_times):
        for index, states in enumerate(chains):
            key_now = jax.random.fold_in(jax.random.fold_in(key_run, time), index)
            chains[index] = sample_gibbs(key_now, rbm, states, n_sweeps=max(1, 2 ** (time - 1)))
        distances.append([_distance(_two_moments(each), target) for each in chains])
    share = 1 / n_chains + 1 / len(data)
    noise = (jnp.sqrt(share * each) for each in _variances_of_moments(data))
    fresh, from_data = jnp.asarray(distances, rbm.dtype).transpose(1, 2, 0)
    return Relaxation(sweeps, *fresh, *from_data, *noise)


def _two_moments(states):
    mean = states.mean(0)
    return mean, (states - mean).T @ (states - mean) / len(states)


def _variances_of_moments(data):
    """Variances of v_i and of (v_i - ⟨v_i⟩)(v_j - ⟨v_j⟩), means over i and over i, j."""
    _, covariance = _two_moments(data)
    squares = (data - data.mean(0)) ** 2
    return squares.mean(), (squares.mean(1) ** 2).mean() - (covariance**2).mean()


def _distance(first, second):
    return tuple(jnp.sqrt(((one - other) ** 2).mean()) for one, other in zip(first, second, strict=True))


def _check_series(series) -> Array:
    array = _floats("series", series)
    if array.ndim != 2 or len(array) < 4 or array.size == 0:
        raise ValueError(
            f"series must have shape (n_steps, n_chains) with at least 4 steps and one chain, got {array.shape}"
        )
    return array


def _floats(name: str, values) -> Array:
    array = jnp.asarray(as_array(name, values))
    check_finite(name, array)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.zeros(()).dtype)


def _two_samples(first, second) -> tuple[Array, Array]:
    first, second = _floats("samples", first), _floats("samples", second)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(
            "two sets of samples must have shapes (n_samples, n_units), with at least two rows and equally many units, "
            f"got {first.shape} and {second.shape}"
        )
    return first, second


def _distances(first, second) -> Array:
    """Euclidean distances of all pairs, by one matrix product."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return jnp.sqrt(jnp.maximum(squares, 0))
