"""What the training loops share: checks of their arguments, the rows of minibatches, and save points."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax._internal.checks import (
    as_array,
    as_configurations,
    check_count,
    check_finite,
    check_positive,
    check_sample_weights,
    is_concrete,
    known_values,
)
from rbm_jax._internal.random import Words, key_words, shuffled_rows, uniform
from rbm_jax._internal.typing import Array, Float, Int, PRNGKey
from rbm_jax.model.rbm import RBM
from rbm_jax.symmetry import TiedRBM, expand
from rbm_jax.units import AbstractUnits

__all__ = [
    "as_static",
    "batch_rows",
    "batch_words",
    "check_batch_size",
    "check_data",
    "check_saves",
    "check_support",
    "check_takes_missing",
    "plain",
    "run_on_host",
    "run_traced",
    "times_at",
]

_BATCH_STREAM = 2**32 - 1
"""What the key of a run is folded with to choose minibatches: a step number that no run reaches."""


def batch_words(key: PRNGKey) -> Words:
    """The words of the random numbers that choose minibatches."""
    return key_words(jax.random.fold_in(key, _BATCH_STREAM))


def batch_rows(
    words: Words,
    step: Int[Array, ""],
    n_samples: int,
    batch_size: int,
    cumulative: Float[Array, " n_samples"] | None,
) -> Int[Array, " batch_size"]:
    """Rows of the minibatch of update number `step`.

    Args:
        words: from `batch_words`.
        step: number of the update.
        n_samples: rows of the data.
        batch_size: rows of the minibatch.
        cumulative: cumulative sum of the sample weights, for draws with replacement; None for epochs that are each
            shuffled anew.
    """
    if cumulative is None:
        return shuffled_rows(words, step, n_samples, batch_size)
    drawn = uniform(words, step, (batch_size,), cumulative.dtype) * cumulative[-1]
    below_total = jnp.nextafter(cumulative[-1], 0)  # rounding up must not reach samples of no weight at the end
    return jnp.searchsorted(cumulative, jnp.minimum(drawn, below_total), side="right").astype(jnp.int32)


def run_on_host(
    advance: Callable, state: Any, intervals: Int[np.ndarray, " n_saves"], n_after: int, observe, progress
) -> tuple[Any, Any]:
    """Save points as a Python loop: progress can be reported, and a new `save_at` compiles nothing.

    Args:
        advance: `advance(state, n_updates) -> state`.
        state: where to start.
        intervals: updates from each save point to the next.
        n_after: updates after the last.
        observe: a function of the state, compiled if that is wanted, or None.
        progress: called with the number of updates since its last call, or None.

    Returns:
        The last state, and RBMs and observations stacked over save points.
    """
    longest = max(1, (int(intervals.sum()) + n_after) // 100) if progress else None

    def go(state, n_updates):
        while progress and n_updates > longest:
            state = jax.block_until_ready(advance(state, longest))
            progress(longest)
            n_updates -= longest
        state = advance(state, n_updates)
        if progress:
            jax.block_until_ready(state)
            progress(n_updates)
        return state

    kept = []
    for interval in intervals:
        state = go(state, int(interval))
        kept.append((plain(state.rbm), observe(state) if observe else None))
    return go(state, n_after), jax.tree.map(lambda *leaves: jnp.stack(leaves), *kept)


def run_traced(
    advance: Callable, state: Any, intervals: Int[np.ndarray, " n_saves"], n_after: int, observe, progress
) -> tuple[Any, Any]:
    """Save points as a scan: one program, whatever their number. Otherwise as `run_on_host`."""
    if progress is not None:
        raise ValueError("progress is reported on the host, and cannot be under jit, vmap or grad: leave it out")

    def to_next_save(state, interval):
        state = advance(state, interval)
        return state, (plain(state.rbm), None if observe is None else observe(state))

    state, kept = lax.scan(to_next_save, state, jnp.asarray(intervals))
    return advance(state, n_after), kept


def plain(rbm: RBM | TiedRBM) -> RBM:
    """What trajectories are made of, one RBM or several."""
    if not isinstance(rbm, TiedRBM):
        return rbm
    return expand(rbm) if rbm.filters.ndim == 2 else jax.vmap(plain)(rbm)


@dataclasses.dataclass(frozen=True)
class _StaticPartial:
    """A `functools.partial` that compares by value, so that an equal one does not recompile."""

    function: Callable
    positional: tuple
    keywords: tuple

    def __call__(self, *args, **kwargs):
        return self.function(*self.positional, *args, **dict(self.keywords), **kwargs)


def as_static(name: str, function: Callable) -> Callable:
    """A function that the user gave as the argument `name`, in a form that `jit` takes as a static one."""
    if not callable(function):
        raise TypeError(f"{name} must be a function (such as pcd, for the estimator), got {function!r}")
    return _by_value(function)


def _by_value(value: Any) -> Any:
    """The same for a partial's own arguments, which may be partials too."""
    if not isinstance(value, functools.partial):
        return value
    keywords = tuple(sorted((name, _by_value(option)) for name, option in value.keywords.items()))
    return _StaticPartial(value.func, tuple(map(_by_value, value.args)), keywords)


def check_data(
    rbm: RBM | TiedRBM, data: Any, sample_weights: Any, batch_size: int | None, allow_missing: bool = False
) -> tuple[Array, Array | None]:
    """Data and weights as arrays, or an error: shape, values in the support of the visible units, batch size."""
    data = as_array("data", data)
    as_configurations("data", data[:1] if np.ndim(data) == 2 else data, rbm.n_visible, rbm.dtype, ndim=2)
    n_samples = data.shape[0]
    if n_samples == 0:
        raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
    if not allow_missing:
        check_finite("data", data)
    if is_concrete(data):
        check_support("data", data, rbm.visible_units, allow_missing=allow_missing)
    check_sample_weights(sample_weights, n_samples)
    sample_weights = None if sample_weights is None else jnp.asarray(sample_weights).astype(rbm.dtype)
    check_batch_size(batch_size, n_samples)
    return jnp.asarray(data), sample_weights


def check_takes_missing(estimator: Callable) -> None:
    """Raise if this is an estimator of `rbm_jax` whose data term would make NaN of missing entries."""
    function = estimator
    if isinstance(estimator, functools.partial):
        function = estimator.func
        for inner in filter(callable, estimator.args):  # as in `tied_estimator`
            check_takes_missing(inner)
    if not str(getattr(function, "__module__", "")).startswith("rbm_jax."):
        return
    term = inspect.signature(estimator).parameters.get("data_term")
    if term is not None and term.default is None:
        raise ValueError(
            "estimator must have a data_term for data with missing entries: functools.partial(pcd, "
            "data_term=clamped_gibbs), or another one of rbm_jax.missing.data_terms"
        )


def check_batch_size(batch_size: int | None, n_samples: int) -> None:
    """Raise unless the batch size is None or a count of at most n_samples."""
    if batch_size is not None and check_count("batch_size", batch_size) > n_samples:
        raise ValueError(f"batch_size must be at most the number of samples, {n_samples}, got {batch_size}")


def check_support(
    name: str,
    values: Any,
    units: AbstractUnits,
    rows: Int[np.ndarray, " n_rows"] | None = None,
    allow_missing: bool = False,
) -> None:
    """Raise if a concrete value lies outside the support of the units.

    Args:
        name: the argument's name, for the message.
        values: shape (n_rows, n_units).
        units: the unit type.
        rows: what to call the rows in the message; None for 0, 1, ...
        allow_missing: whether NaN may stand for what was not observed; in all components of a unit or in none.
    """
    size = units.group_size
    with jax.ensure_compile_time_eval():  # the values may be known while the key is traced
        values = known_values(values)
        allowed = units.contains(values)
        if allow_missing:
            allowed = allowed | (values != values).reshape(len(values), -1, size).all(-1).repeat(size, axis=1)
        if allowed.all():
            return
        row, column = divmod(int(allowed.argmin()), values.shape[1])
        unit = values[row, column : column + size]
        place = f"row {row if rows is None else rows[row]}, column {column}"
        if allow_missing and np.isnan(unit).any():
            raise ValueError(
                f"{name} must miss all {size} components of a unit of {units} or none, got {unit} at {place}"
            )
        if not np.isfinite(unit).all():
            advice = (
                "" if allow_missing else ", or train with allow_missing=True if NaN stands for what was not observed"
            )
            raise ValueError(f"{name} holds {unit[~np.isfinite(unit)][0]} at {place}; remove such values{advice}")
        value, advice = unit[0], "; see rbm_jax.data.binarize, which makes 0/1"
        if units.states is None:
            advice = ""
        elif units.group_size > 1:
            value, advice = unit, "; see rbm_jax.data.one_hot"
        raise ValueError(f"{name} must be {units.support} for {units} visible units, got {value} at {place}{advice}")


def check_saves(save_at: Any, n_updates: int) -> Int[np.ndarray, " n_saves"]:
    """Save points as an array, or an error; None stands for start and end."""
    saves = np.unique([0, n_updates]) if save_at is None else np.asarray(save_at)
    if saves.ndim != 1 or saves.size == 0 or not np.issubdtype(saves.dtype, np.integer):
        raise TypeError(f"save_at must be a sequence of update numbers, got {save_at!r}")
    if saves[0] < 0 or saves[-1] > n_updates or (np.diff(saves) <= 0).any():
        raise ValueError(
            f"save_at must increase strictly from at least 0 to at most n_updates={n_updates}, got {save_at!r}"
        )
    return saves


def times_at(
    time_step: float | Callable, step: Int[Array, ""], saves: Int[np.ndarray, " n_saves"], dtype: jnp.dtype
) -> Float[Array, " n_saves"]:
    """Times of save points: time_step × updates, or the sum of a schedule over the updates."""
    if not callable(time_step):
        return (check_positive("time_step", time_step) * (step + saves)).astype(dtype)
    before = _time_before(step, time_step=time_step, dtype=dtype)
    steps = jax.vmap(time_step)(step + jnp.arange(saves[-1]))
    return (before + jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)])[saves]).astype(dtype)


@functools.partial(jax.jit, static_argnames=("time_step", "dtype"))
def _time_before(step: Int[Array, ""], *, time_step: Callable, dtype: jnp.dtype) -> Float[Array, ""]:
    return lax.fori_loop(0, step, lambda update, t: (t + time_step(update)).astype(dtype), jnp.zeros((), dtype))
