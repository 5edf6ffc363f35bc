"""Training many RBMs at once, over seeds, learning rates and sizes, by the loop of `fit`.

Sizes are bucketed, not padded: RBMs of one shape run together. A padded RBM would draw other random numbers than the
RBM itself, and pay for units that are dead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, is_concrete
from rbm_jax._internal.typing import Array, Int, Key, Sample, UInt32
from rbm_jax.model.trajectory import Trajectory, finite_status
from rbm_jax.training.batches import Batches
from rbm_jax.training.loop import Schedule, advance, as_batches, check_run, check_saves, fit, run_on_host, times_at
from rbm_jax.training.minibatches import AbstractBatches
from rbm_jax.training.trainer import Optimizer, Trainer, TrainState, expanded

__all__ = ["fit_many"]

_WORKING_SET = 2**21
"""Bytes of units of batch and chains that stay in the cache of a core: larger groups were slower per RBM."""
_FEWEST_AT_ONCE = 8
"""RBMs of which fewer fit are faster one by one: batched products of that size are slower than single ones."""

PRNGKeys = Key[Array, " n_rbms"] | UInt32[Array, "n_rbms _"]


def fit_many(
    keys: PRNGKeys,
    trainer: Trainer,
    states: TrainState | Sequence[TrainState],
    batches: AbstractBatches | Sample,
    *,
    n_updates: int,
    save_at: Sequence[int] | Int[np.ndarray, " n_saves"] | None = None,
    observe: Callable[[TrainState], Any] | None = None,
    progress: Callable[[int], Any] | None = None,
    n_at_once: int | None = None,
) -> tuple[Any, Any]:
    """`fit` for many RBMs on the same data, in groups under `vmap` that are as large as is fast.

    RBM number r is trained as by `fit(keys[r], trainer r, state r, batches, ...)`: the same random numbers, and the
    same bits if it runs alone (n_at_once=1). In a group, products are summed in another order, which changes the last
    digits of fields, and, once in some millions of draws in single precision, a sampled unit; from then on the two runs
    are different samples of the same process.

    With `Batches(..., key=...)` all RBMs see the same minibatches. Each is then drawn once and enters one matrix
    product with all RBMs of a group, which is the fastest, and differences between learning rates or sizes are not
    blurred by those of minibatches. Without it minibatches are independent, as error bars over seeds need them.

    On CPU, groups keep what an update works on within the cache; RBMs so large that fewer than eight fit are trained
    one after the other, since batched products of that size are slower than single ones.

    Args:
        keys: one JAX key for each RBM, as from `jax.random.split`.
        trainer: as in `fit`. Its learning rate and its time_step may be one for each RBM, shape (n_rbms,).
        states: a `TrainState` with a leading axis of RBMs, all at the same step, from `jax.vmap` of `trainer.init`; or
            a sequence of states, which may differ in shapes, numbers of chains, unit types and step: those of one
            shape and step are trained together.
        batches: as in `fit`.
        n_updates: updates of each RBM.
        save_at: as in `fit`.
        observe: as in `fit`, a function of the state of one RBM.
        progress: called on the host with the number of updates done since its last call, summed over RBMs.
        n_at_once: RBMs in a group; None chooses.

    Returns:
        The states and a `Trajectory`, both with a leading axis of RBMs; for a sequence of states, lists of states and
        of trajectories in its order.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from rbm_jax import PCD, Trainer, fit_many, init_rbm
        >>> from rbm_jax.data import bars_and_stripes
        >>> trainer = Trainer.euler(PCD(), learning_rate=jnp.array([0.01, 0.03, 0.1]))
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> states = jax.vmap(lambda key: trainer.init(key, init_rbm(key, 16, 8), n_chains=100))(keys)
        >>> states, trajectory = fit_many(keys, trainer, states, bars_and_stripes(4), n_updates=50)
        >>> trajectory.rbms.weights.shape, trajectory.ts.shape
        ((3, 2, 16, 8), (3, 2))
    """
    batches = as_batches(batches)
    options = {"n_updates": n_updates, "save_at": save_at, "observe": observe, "progress": progress}
    if not is_concrete(keys, trainer, states, batches):
        raise ValueError("fit_many runs on the host, and cannot be under jit, vmap or grad: use jax.vmap of fit")
    if isinstance(states, TrainState):
        return _fit_stacked(keys, trainer, states, batches, n_at_once=n_at_once, **options)
    states = _check_sequence(keys, states)
    axes, results = _trainer_axes(trainer, len(states)), {}
    for indices in _buckets(states):
        chosen = np.array(indices)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(states[index] for index in indices))
        part = _take_trainer(trainer, axes, chosen)
        ends, paths = _fit_stacked(keys[chosen], part, stacked, batches, n_at_once=n_at_once, **options)
        results |= {index: _take((ends, paths), place) for place, index in enumerate(indices)}
    runs = [results[index] for index in range(len(states))]
    return [state for state, _ in runs], [path for _, path in runs]


def _fit_stacked(keys, trainer: Trainer, states: TrainState, batches: AbstractBatches, *, n_at_once, **options):
    check_run(trainer, states, batches, options["observe"], options["progress"])
    n_rbms, step = _check_states(keys, states)
    axes = _trainer_axes(trainer, n_rbms)
    batches.check(_take(states, 0).rbm)
    n_updates = check_count("n_updates", options["n_updates"], minimum=0)
    saves = check_saves(options["save_at"], n_updates)
    size = _choose_group(states, batches.n_rows) if n_at_once is None else check_count("n_at_once", n_at_once)
    if trainer.estimator.updates_between is not None:
        size = 1  # what is decided on the host may differ from RBM to RBM
    groups = []
    for chosen in np.array_split(np.arange(n_rbms), -(-n_rbms // min(n_rbms, size))):
        schedule = Schedule(saves, n_updates, options["observe"], _summed(options["progress"], len(chosen)))
        groups.append(_fit_group(keys, trainer, axes, states, batches, schedule, chosen, step))
    ends, (rbms, observations) = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *groups)
    steps = np.asarray(step) if callable(trainer.time_step) else np.full(n_rbms, step)
    ts = jnp.broadcast_to(times_at(trainer.time_step, steps, saves, rbms.dtype), (n_rbms, len(saves)))
    return ends, Trajectory(ts, rbms, _statuses(rbms), observations)


class _Group(eqx.Module):
    """States of RBMs that run together. The step, and with it a common minibatch, has no axis of RBMs."""

    rbm: Any
    carry: Any
    opt_state: Any
    step: Any
    n_rejected: Any

    def state(self, step: Array | None = None) -> TrainState:
        """As a `TrainState`, whose step is this one's or another."""
        return TrainState(self.rbm, self.carry, self.opt_state, self.step if step is None else step, self.n_rejected)


def _group_axes(value: Any) -> _Group:
    return _Group(value, value, value, None, value)


@eqx.filter_jit
def _advance_together(keys, trainer: Trainer, axes: Trainer, group: _Group, n_updates, batch_key, batches) -> _Group:
    """Do a (traced) number of updates of each RBM."""

    def run(key, trainer, group):
        own_key = key if batch_key is None else batch_key
        state = advance(key, trainer, group.state(), n_updates, own_key, batches)
        return _Group(state.rbm, state.carry, state.opt_state, group.step, state.n_rejected)

    in_axes = (0, axes, _group_axes(0))
    group_after = eqx.filter_vmap(run, in_axes=in_axes, out_axes=_group_axes(0))(keys, trainer, group)
    return eqx.tree_at(lambda group: group.step, group_after, group.step + n_updates)


def _fit_group(
    keys, trainer: Trainer, axes, states: TrainState, batches, schedule: Schedule, chosen: np.ndarray, step: int
) -> tuple[TrainState, tuple[Any, Any]]:
    """End states, RBMs and observations of some RBMs, with a leading axis of RBMs."""
    part_keys, part = _take((keys, states), chosen)
    trainer = _take_trainer(trainer, axes, chosen)
    if len(chosen) == 1:
        key, state = _take((part_keys, part), 0)
        alone = _take_trainer(trainer, axes, 0)
        options = {"save_at": schedule.saves, "observe": schedule.observe, "progress": schedule.progress}
        end, path = fit(key, alone, state, batches, n_updates=schedule.n_updates, **options)
        return jax.tree.map(lambda leaf: leaf[None], (end, (path.rbms, path.observations)))
    if not isinstance(batches, Batches):
        raise ValueError("streamed batches train RBMs one by one: set n_at_once=1, or use Batches(data)")
    group = _Group(part.rbm, part.carry, part.opt_state, jnp.asarray(step, jnp.int32), part.n_rejected)

    def go(group, n_updates):
        return _advance_together(part_keys, trainer, axes, group, np.int32(n_updates), batches.key, batches)

    def look(group):
        observe = schedule.observe
        return expanded(group.rbm), None if observe is None else _observe_together(observe, group)

    group, kept = run_on_host(go, group, schedule, look=look)
    kept = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves, axis=1)), *jax.device_get(kept))
    return group.state(jnp.full(len(chosen), step + schedule.n_updates, jnp.int32)), kept


@eqx.filter_jit
def _observe_together(observe: Callable, group: _Group) -> Any:
    return jax.vmap(lambda group: observe(group.state()), in_axes=(_group_axes(0),))(group)


def _summed(progress: Callable | None, n_rbms: int) -> Callable | None:
    """Progress of a group, summed over its RBMs."""
    return None if progress is None else lambda n_updates: progress(n_rbms * n_updates)


@jax.jit
def _take(tree: Any, index) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@jax.jit
def _statuses(rbms: Any) -> Int[Array, " n_rbms"]:
    return jax.vmap(finite_status)(rbms)


def _trainer_axes(trainer: Trainer, n_rbms: int) -> Trainer:
    """The trainer with 0 for its arrays that have one entry for each RBM, and None for all other leaves."""
    axes = jax.tree.map(lambda _: None, trainer)
    if isinstance(trainer.optimizer, Optimizer) and _is_each("learning_rate", trainer.optimizer.learning_rate, n_rbms):
        axes = eqx.tree_at(lambda each: each.optimizer.learning_rate, axes, 0, is_leaf=lambda leaf: leaf is None)
    if _is_each("time_step", trainer.time_step, n_rbms):
        axes = eqx.tree_at(lambda each: each.time_step, axes, 0, is_leaf=lambda leaf: leaf is None)
    return axes


def _is_each(name: str, value: Any, n_rbms: int) -> bool:
    if callable(value) or np.ndim(value) == 0:
        return False
    if np.shape(value) != (n_rbms,):
        raise ValueError(f"{name} must be a number, a schedule or have shape ({n_rbms},), got shape {np.shape(value)}")
    return True


def _take_trainer(trainer: Trainer, axes: Trainer, index: Any) -> Trainer:
    """The trainer of some RBMs, or of one."""
    return jax.tree.map(
        lambda axis, leaf: leaf if axis is None else leaf[index], axes, trainer, is_leaf=lambda leaf: leaf is None
    )


def _buckets(states: Sequence[TrainState]) -> list[list[int]]:
    """Places of states that can run together: those of one structure, shape, dtype and step."""
    buckets = {}
    for index, state in enumerate(states):
        leaves, structure = jax.tree.flatten(state)
        signature = (structure, int(state.step), *((leaf.shape, leaf.dtype) for leaf in leaves))
        buckets.setdefault(signature, []).append(index)
    return list(buckets.values())


def _choose_group(states: TrainState, n_rows: int) -> int:
    """RBMs that are trained at once: on CPU, as many as keep the units of batch and chains within the cache."""
    n_rbms, n_visible = len(states.step), states.rbm.n_visible
    if {device.platform for device in states.rbm.hidden_bias.devices()} != {"cpu"}:
        return n_rbms
    n_chains = sum(leaf.size for leaf in jax.tree.leaves(states.carry)) // (n_rbms * n_visible)
    n_bytes = max(n_rows, n_chains) * (n_visible + states.rbm.n_hidden) * states.rbm.dtype.itemsize
    size = _WORKING_SET // n_bytes
    return size if size >= _FEWEST_AT_ONCE else 1


def _check_states(keys, states: TrainState) -> tuple[int, int]:
    """Number of RBMs and their common step, or an error."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(states)]
    n_rbms = np.shape(states.step)[0] if np.ndim(states.step) == 1 else 0
    if n_rbms == 0 or any(shape[:1] != (n_rbms,) for shape in shapes):
        raise ValueError(
            "states must have one leading axis of RBMs in all leaves, "
            f"got shapes {', '.join(map(str, shapes))}; make them by jax.vmap of trainer.init, or give a list"
        )
    _check_keys(keys, n_rbms)
    steps = np.asarray(states.step)
    if (steps != steps[0]).any():
        raise ValueError(
            f"states must be at one step, got steps {steps.min()} to {steps.max()}; give a list of states instead"
        )
    return n_rbms, int(steps[0])


def _check_sequence(keys, states: Any) -> list[TrainState]:
    states = list(states) if isinstance(states, Sequence) else []
    if not states or not all(isinstance(state, TrainState) for state in states):
        raise TypeError("states must be a TrainState with a leading axis of RBMs, or a sequence of at least one state")
    _check_keys(keys, len(states))
    return states


def _check_keys(keys, n_rbms: int) -> None:
    n_keys = len(keys) if np.ndim(keys) else "a single one"
    if n_keys != n_rbms:
        raise ValueError(f"keys must be one for each of the {n_rbms} RBMs, got {n_keys}")
