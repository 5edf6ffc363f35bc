"""The one loop of training: updates, save points, resuming, minibatches from memory or a disk, one RBM or many."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from rbm_jax._internal.checks import check_count, check_function, is_concrete
from rbm_jax._internal.placement import row_sharding
from rbm_jax._internal.typing import Float, Int, PRNGKey, Sample
from rbm_jax.model.trajectory import Status, Trajectory, finite_status
from rbm_jax.training.batches import Batches
from rbm_jax.training.minibatches import AbstractBatches, AbstractFeed
from rbm_jax.training.trainer import Trainer, TrainState, expanded, train_step

__all__ = [
    "Schedule",
    "advance",
    "as_batches",
    "check_run",
    "check_saves",
    "fit",
    "log_spaced_updates",
    "run_on_host",
    "times_at",
]


def fit(
    key: PRNGKey,
    trainer: Trainer,
    state: TrainState,
    batches: AbstractBatches | Sample,
    *,
    n_updates: int,
    save_at: Sequence[int] | Int[np.ndarray, " n_saves"] | None = None,
    observe: Callable[[TrainState], Any] | None = None,
    progress: Callable[[int], Any] | None = None,
    report: Callable[[dict[str, Any]], Any] | None = None,
) -> tuple[TrainState, Trajectory]:
    """Train for n_updates updates, keeping the RBM at chosen ones.

    Between save points everything runs in one compiled loop. The same key and data give the same bits however a run is
    cut into calls, since minibatches and random numbers are functions of the key and of `state.step`. Under `jit` or
    `vmap` (over keys and states, for many RBMs) the whole run is one program.

    Args:
        key: the key of the run, the same for every call that continues it.
        trainer: how to train.
        state: from `trainer.init`, or where another call ended. If its RBM lies on several devices
            (`rbm_jax.sharding`), they share the rows of each batch.
        batches: `Batches(data, batch_size=...)`, or data, shape (n_samples, n_visible), which are then all used in
            every update. Build `Batches` once: data are copied and checked at each call.
        n_updates: updates to do in this call.
        save_at: updates of this call after which the RBM is kept, increasing, from 0 (the start) to n_updates. None
            keeps start and end. See `log_spaced_updates`.
        observe: a function of the state that `jit` can compile, such as `lambda state: exact_log_z(state.rbm)`; its
            values at `save_at` are kept as well. Pass the same function to each call: a new one compiles anew.
        progress: called on the host with the number of updates done since its last call, about a hundred times.
        report: called on the host as often, after `progress`, with numbers of the state: "update", updates done since
            step 0; "time", on the trainer's clock; "n_rejected", updates that its review has rejected since step 0; and
            "observed", what `observe` says of it, if that is given.

    Returns:
        The state after n_updates, and a `Trajectory` whose `ts` are those of the trainer's clock since step 0. It holds
        the expanded RBMs of a `TiedRBM`.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message.

    Example:
        >>> import jax
        >>> from rbm_jax import PCD, Batches, Trainer, fit, init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> trainer = Trainer.euler(PCD(), learning_rate=0.1)
        >>> state = trainer.init(jax.random.key(1), init_rbm(jax.random.key(0), 16, 8), n_chains=100)
        >>> batches = Batches(bars_and_stripes(4), batch_size=10)
        >>> state, trajectory = fit(jax.random.key(2), trainer, state, batches, n_updates=50, save_at=(0, 10, 50))
        >>> print(trajectory.ts)
        [0. 1. 5.]
    """
    batches = as_batches(batches)
    check_run(trainer, state, batches, observe, progress)
    check_function("report", report)
    batches.check(state.rbm)
    n_updates = check_count("n_updates", n_updates, minimum=0)
    saves = check_saves(save_at, n_updates)
    ts = times_at(trainer.time_step, state.step, saves, state.rbm.dtype)
    schedule = Schedule(saves, n_updates, observe, progress, None if report is None else _reporting(report, trainer))
    batch_key = key if batches.key is None else batches.key
    if is_concrete(key, trainer, state, batches):
        layout = row_sharding(state.rbm.hidden_bias)
        feeds: Any = batches.feeds(batch_key, state.rbm, int(state.step), n_updates)
        with contextlib.closing(feeds):  # a thread that reads ahead ends with the run

            def update(state, n_updates, feed):
                return advance(key, trainer, state, n_updates, batch_key, feed, layout)

            def between(state):
                return trainer.estimator.between(key, state)

            go = _through_feeds(feeds, update)
            state, kept = run_on_host(go, state, schedule, trainer.estimator.updates_between, between)
        rbms, observations = _stack(kept)
        return state, Trajectory(ts, jax.device_put(rbms), _known_status(rbms), jax.device_put(observations))
    state, (rbms, observations) = _run_traced(key, trainer, state, schedule, batch_key, batches)
    return state, Trajectory(ts, rbms, finite_status(rbms), observations)


@eqx.filter_jit
def advance(
    key: PRNGKey,
    trainer: Trainer,
    state: TrainState,
    n_updates: Int[Any, ""],
    batch_key: PRNGKey,
    feed: AbstractFeed,
    layout: NamedSharding | None = None,
) -> TrainState:
    """The compiled loop: a (traced) number of updates on the minibatches of a feed."""
    minibatch_at = feed.minibatches(batch_key, layout)

    def update(_, state):
        return train_step(key, trainer, state, *minibatch_at(state.step))[0]

    return lax.fori_loop(0, n_updates, update, state)


class Schedule(eqx.Module):
    """What to keep and to report along a run.

    Attributes:
        saves: updates of this call after which the RBM is kept.
        n_updates: updates of this call.
        observe: a function of the state whose values are kept, or None.
        progress: called with the number of updates since its last call, or None.
        report: called with the state, and what is observed of it, as often, or None.
    """

    saves: Int[np.ndarray, " n_saves"]
    n_updates: int = eqx.field(static=True)
    observe: Callable | None = eqx.field(static=True)
    progress: Callable | None = eqx.field(static=True)
    report: Callable | None = eqx.field(static=True, default=None)

    @property
    def intervals(self) -> Int[np.ndarray, " n_saves"]:
        """Updates from each save point to the next."""
        return np.diff(self.saves, prepend=0)

    @property
    def n_after(self) -> int:
        """Updates after the last save point."""
        return self.n_updates - int(self.saves[-1])


def run_on_host(
    go: Callable,
    state: Any,
    schedule: Schedule,
    updates_between: int | None = None,
    between: Callable | None = None,
    look: Callable | None = None,
) -> tuple[Any, list]:
    """Save points as a Python loop: progress can be reported, and a new `save_at` compiles nothing.

    Args:
        go: `go(state, n_updates) -> state`.
        state: where to start.
        schedule: what to keep and to report.
        updates_between: updates between calls of `between`, counted by `state.step`; None for no such calls.
        between: `between(state) -> state`.
        look: the RBM and the observations of a state, to be kept; None takes those of one RBM.

    Returns:
        The last state, and what was kept at each save point.
    """
    progress, report = schedule.progress, schedule.report
    observe = None if schedule.observe is None else jax.jit(schedule.observe)
    longest = max(1, schedule.n_updates // 100) if progress or report else schedule.n_updates
    step = int(np.ravel(state.step)[0]) if updates_between else 0

    def keep(state):
        return expanded(state.rbm), None if observe is None else observe(state)

    def run(state, n_updates):
        nonlocal step
        while n_updates:
            n_now = min(n_updates, longest)
            if updates_between:
                n_now = min(n_now, updates_between - step % updates_between)
            state, step, n_updates = go(state, n_now), step + n_now, n_updates - n_now
            if between is not None and updates_between and step % updates_between == 0:
                state = between(state)
            if progress:
                jax.block_until_ready(state)
                progress(n_now)
            if report:
                report(state, observe and observe(state))
        return state

    kept = []
    for interval in schedule.intervals:
        state = run(state, int(interval))
        kept.append(keep(state) if look is None else look(state))
    return run(state, schedule.n_after), kept


def _through_feeds(feeds: Iterator[tuple[int, AbstractFeed]], update: Callable) -> Callable:
    """`go(state, n_updates)` on one feed after another."""
    n_left, feed = 0, None

    def go(state, n_updates):
        nonlocal n_left, feed
        while n_updates:
            if n_left == 0:
                feed = None  # done with: its memory is for the feed after the next
                jax.block_until_ready(state)
                n_left, feed = next(feeds)
            n_now = min(n_updates, n_left)
            state = update(state, np.int32(n_now), feed)
            n_left, n_updates = n_left - n_now, n_updates - n_now
        return state

    return go


def _run_traced(key, trainer: Trainer, state: TrainState, schedule: Schedule, batch_key, batches: AbstractBatches):
    """Save points as a scan: one program, whatever their number."""
    for name in ("progress", "report"):
        if getattr(schedule, name) is not None:
            raise ValueError(f"{name} is called on the host, and cannot be under jit, vmap or grad: leave it out")
    if not isinstance(batches, Batches):
        raise ValueError("streamed data are read on the host, and cannot be under jit, vmap or grad: use Batches(data)")
    if trainer.estimator.updates_between is not None:
        raise ValueError(f"{type(trainer.estimator).__name__} works on the host too, and cannot be under jit or vmap")
    observe = schedule.observe

    def to_next_save(state, interval):
        state = advance(key, trainer, state, interval, batch_key, batches)
        return state, (expanded(state.rbm), None if observe is None else observe(state))

    state, kept = lax.scan(to_next_save, state, jnp.asarray(schedule.intervals, jnp.int32))
    return advance(key, trainer, state, jnp.asarray(schedule.n_after, jnp.int32), batch_key, batches), kept


def _reporting(report: Callable, trainer: Trainer) -> Callable:
    """A function of the state, and of what is observed of it, that reports their numbers."""

    def of_state(state: TrainState, observed: Any) -> None:
        time = times_at(trainer.time_step, state.step, np.zeros(1, int), state.rbm.dtype)[0]
        numbers = {"update": int(state.step), "time": float(time), "n_rejected": int(state.n_rejected)}
        report(numbers if observed is None else numbers | {"observed": jax.device_get(observed)})

    return of_state


def _stack(kept: list) -> Any:
    """What was kept with a leading axis of save points, in NumPy: one transfer at the end, and nothing to compile."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(kept))


def _known_status(rbms: Any) -> Int[Any, ""]:
    """`finite_status` of arrays on the host."""
    is_finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rbms))
    return jax.device_put(np.int32(Status.SUCCESS if is_finite else Status.NON_FINITE))


def as_batches(batches: Any) -> AbstractBatches:
    """Batches as they are, or all of these data in every update."""
    return batches if isinstance(batches, AbstractBatches) else Batches(batches)


def check_run(trainer: Any, state: Any, batches: AbstractBatches, observe: Any, progress: Any) -> None:
    """Raise unless these are a trainer, a state and functions, and the estimator can take the data."""
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer must be a Trainer, such as Trainer.euler(PCD(), 0.1), got {type(trainer).__name__}")
    if not isinstance(state, TrainState):
        raise TypeError(f"state must be a TrainState, from trainer.init, got {type(state).__name__}")
    check_function("observe", observe)
    check_function("progress", progress)
    if batches.allow_missing and not trainer.estimator.takes_missing:
        raise ValueError(
            "estimator must take missing entries, since the data have them: PCD(data_term=ClampedGibbs()), or another "
            "data term of rbm_jax.missing; a function says so by an attribute takes_missing = True"
        )


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
    time_step: Any, step: Int[Any, "*runs"], saves: Int[np.ndarray, " n_saves"], dtype: Any
) -> Float[Any, "*runs n_saves"]:
    """Times of save points: time_step × updates, or the sum of a schedule over the updates since step 0."""
    if callable(time_step):
        before = _time_before(time_step, step)
        steps: Any = jax.vmap(time_step)(step + jnp.arange(saves[-1]))
        return (before + jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)])[saves]).astype(dtype)
    if not is_concrete(time_step, step):
        # A copy, since JAX may keep what it made of an array when x64 was off.
        time_step = jnp.asarray(np.array(time_step) if is_concrete(time_step) else time_step)
        return (time_step[..., None] * (jnp.asarray(step)[..., None] + saves)).astype(dtype)
    times = np.asarray(time_step)[..., None] * (np.asarray(step)[..., None] + saves)
    return jax.device_put(times.astype(dtype))  # all of it on the host, where nothing is compiled


@eqx.filter_jit
def _time_before(time_step: Callable, step: Int[Any, ""]) -> Float[Any, ""]:
    zero = jnp.zeros(())
    return lax.fori_loop(0, step, lambda update, t: (t + time_step(update)).astype(zero.dtype), zero)


def log_spaced_updates(n_updates: int, n_saves: int) -> Int[np.ndarray, " n_saves"]:
    """Update numbers for `save_at`: 0, then about n_saves - 1 that are evenly spaced in the logarithm, up to n_updates.

    Args:
        n_updates: the last one.
        n_saves: how many at most; fewer where integers are not dense enough.

    Example:
        >>> from rbm_jax.training import log_spaced_updates
        >>> log_spaced_updates(100, 7)
        array([  0,   1,   3,   6,  16,  40, 100])
    """
    n_updates, n_saves = check_count("n_updates", n_updates), check_count("n_saves", n_saves, minimum=2)
    spaced = np.geomspace(1, n_updates, n_saves - 1)
    return np.unique(np.concatenate([[0], np.round(spaced).astype(int), [n_updates]]))
