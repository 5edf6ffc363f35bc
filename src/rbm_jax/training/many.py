"""Training many RBMs at once, over seeds, learning rates and sizes.

Sizes are bucketed, not padded: RBMs of one shape run together. A padded RBM would draw other random numbers than the
RBM itself, and pay for units that are dead.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax._internal.checks import check_count, check_positive, is_concrete
from rbm_jax._internal.typing import Array, Float, Int, Key, PRNGKey, Sample, UInt32, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory, finite_status
from rbm_jax.training.fitting import as_static, check_data, check_saves, check_takes_missing, run_on_host
from rbm_jax.training.loop import TrainState, advance_on_data, check_loop

__all__ = ["fit_ensemble", "fit_sweep", "set_hyperparameters"]

_WORKING_SET = 2**21
_FEWEST_AT_ONCE = 8

PRNGKeys = Key[Array, " n_rbms"] | UInt32[Array, "n_rbms _"]
TimeSteps = float | Float[Array | np.ndarray, ""] | Float[Array | np.ndarray, " n_rbms"]


def fit_ensemble(
    keys: PRNGKeys,
    states: TrainState,
    data: Sample,
    *,
    estimator: Callable,
    optimizer: optax.GradientTransformation,
    n_updates: int,
    batch_size: int | None = None,
    sample_weights: Weighting = None,
    accept: Callable | None = None,
    save_at: Sequence[int] | Int[np.ndarray, " n_saves"] | None = None,
    observe: Callable[[TrainState], Any] | None = None,
    time_step: TimeSteps = 1.0,
    progress: Callable[[int], Any] | None = None,
    batch_key: PRNGKey | None = None,
    allow_missing: bool = False,
    n_at_once: int | None = None,
) -> tuple[TrainState, Trajectory]:
    """`fit` for many RBMs of one shape on the same data, in groups under `vmap` that are as large as is fast.

    RBM number r is trained as by `fit(keys[r], state r, data, ..., batch_key=batch_key)`: the same random numbers, and
    the same bits if it runs alone (n_at_once=1). In a group, products are summed in another order, which changes the
    last digits of fields, and, once in some millions of draws in single precision, a sampled unit; from then on the two
    runs are different samples of the same process.

    With a `batch_key` all RBMs see the same minibatches. Each is then drawn once and enters one matrix product with all
    RBMs of a group, which is the fastest, and differences between learning rates or sizes are not blurred by those of
    minibatches. Without it minibatches are independent, as error bars over seeds need them.

    On CPU, groups keep what an update works on within the cache; RBMs so large that fewer than eight fit are trained
    one after the other, since batched products of that size are slower than single ones.

    Args:
        keys: one JAX key for each RBM, as from `jax.random.split`.
        states: states with a leading axis of RBMs, all at the same step; from `jax.vmap` of `init_train_state`. For
            learning rates of their own, see `set_hyperparameters`.
        data: as in `fit`.
        estimator: as in `fit`.
        optimizer: the one that `states` were made with.
        n_updates: updates of each RBM.
        batch_size: as in `fit`.
        sample_weights: as in `fit`.
        accept: as in `fit`.
        save_at: as in `fit`.
        observe: as in `fit`, a function of the state of one RBM.
        time_step: time of one update, one for all or one for each RBM, shape (n_rbms,), such as its learning rate; no
            schedule.
        progress: called on the host with the number of updates done since its last call, summed over RBMs.
        batch_key: a JAX key for minibatches that are common to all; None for independent ones.
        allow_missing: as in `fit`.
        n_at_once: RBMs in a group; None chooses.

    Returns:
        The states and a `Trajectory`, both with a leading axis of RBMs.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message.

    Example:
        >>> import jax, optax
        >>> import jax.numpy as jnp
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.training import fit_ensemble, init_train_state, pcd, set_hyperparameters
        >>> from rbm_jax.data import bars_and_stripes
        >>> optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)
        >>> def start(key):
        ...     return init_train_state(key, init_rbm(key, 16, 8), optimizer, n_chains=100)
        >>> keys, rates = jax.random.split(jax.random.key(0), 3), jnp.array([0.01, 0.03, 0.1])
        >>> states = set_hyperparameters(jax.vmap(start)(keys), learning_rate=rates)
        >>> states, trajectory = fit_ensemble(keys, states, bars_and_stripes(4), estimator=pcd, optimizer=optimizer,
        ...                                   n_updates=50, time_step=rates)
        >>> trajectory.rbms.weights.shape, trajectory.ts.shape
        ((3, 2, 16, 8), (3, 2))
    """
    if not is_concrete(keys, batch_key, states, data, sample_weights):
        raise ValueError("fit_ensemble runs on the host, and cannot be under jit, vmap or grad: use jax.vmap of fit")
    check_loop(states, optimizer, observe, progress)
    n_rbms, step = _check_states(keys, states)
    data, sample_weights = check_data(_take(states, 0).rbm, data, sample_weights, batch_size, allow_missing)
    if allow_missing:
        check_takes_missing(estimator)
    n_updates = check_count("n_updates", n_updates, minimum=0)
    saves, time_step = check_saves(save_at, n_updates), _check_time_step(time_step, n_rbms)
    size = _choose_group(states, len(data) if batch_size is None else batch_size)
    size = min(n_rbms, size if n_at_once is None else check_count("n_at_once", n_at_once))
    options = {"data": data, "sample_weights": sample_weights, "batch_size": batch_size}
    options |= {"estimator": as_static("estimator", estimator), "optimizer": optimizer}
    options |= {"accept": None if accept is None else as_static("accept", accept)}
    groups = []
    for group in np.array_split(np.arange(n_rbms), -(-n_rbms // size)):
        report = None if progress is None else functools.partial(_report, progress, len(group))
        advance, watch, part = _prepare(keys, states, group, step, batch_key, observe, options)
        end, kept = run_on_host(advance, part, np.diff(saves, prepend=0), n_updates - int(saves[-1]), watch, report)
        groups.append(_with_leading_axis(end, kept, n_rbms=len(group)))
    parts, (rbms, observations) = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *groups)
    ts = (time_step[:, None] * (step + saves)).astype(rbms.dtype)
    rbm, chains, opt_state = parts
    end = TrainState(rbm, chains, opt_state, jnp.full(n_rbms, step + n_updates, jnp.int32))
    return end, jax.vmap(lambda t, rbm, seen: Trajectory(t, rbm, finite_status(rbm), seen))(ts, rbms, observations)


def fit_sweep(
    keys: PRNGKeys, states: Sequence[TrainState], data: Sample, *, time_step: TimeSteps = 1.0, **options: Any
) -> list[tuple[TrainState, Trajectory]]:
    """`fit` for many RBMs of any shapes on the same data: those of one shape are trained together by `fit_ensemble`.

    Args:
        keys: one JAX key for each RBM.
        states: one state for each RBM, all of one optimizer; see `set_hyperparameters` for its learning rate. They may
            differ in shapes, numbers of chains, unit types and step.
        data: as in `fit`.
        time_step: as in `fit`; one for all, or one for each RBM.
        options: the other arguments of `fit_ensemble`. Progress counts the updates of all RBMs, n_at_once is the same
            for all shapes.

    Returns:
        What `fit` returns, for each RBM, in the order of `states`.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message.

    Example:
        >>> import jax, optax
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.training import fit_sweep, init_train_state, pcd
        >>> from rbm_jax.data import bars_and_stripes
        >>> optimizer, keys = optax.sgd(0.1), jax.random.split(jax.random.key(0), 4)
        >>> states = [init_train_state(key, init_rbm(key, 16, n_hidden), optimizer, n_chains=100)
        ...           for key, n_hidden in zip(keys, [4, 8, 4, 8])]
        >>> runs = fit_sweep(keys, states, bars_and_stripes(4), estimator=pcd, optimizer=optimizer, n_updates=50)
        >>> [state.rbm.n_hidden for state, _ in runs]
        [4, 8, 4, 8]
    """
    states = [] if isinstance(states, TrainState) else list(states)
    if not states or not all(isinstance(state, TrainState) for state in states):
        raise TypeError("states must be a sequence of at least one TrainState; see fit_ensemble for stacked ones")
    if not is_concrete(keys, states):
        raise ValueError("fit_sweep runs on the host, and cannot be under jit, vmap or grad: use jax.vmap of fit")
    if len(keys) != len(states):
        raise ValueError(f"keys must be one for each of the {len(states)} states, got {len(keys)}")
    time_step, buckets = _check_time_step(time_step, len(states)), {}
    for index, state in enumerate(states):
        leaves, structure = jax.tree.flatten(state)
        signature = (structure, int(state.step), *((leaf.shape, leaf.dtype) for leaf in leaves))
        buckets.setdefault(signature, []).append(index)
    runs = {}
    for indices in buckets.values():
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(states[index] for index in indices))
        chosen = np.array(indices)
        results = fit_ensemble(keys[chosen], stacked, data, time_step=time_step[chosen], **options)
        runs |= {index: _take(results, place) for place, index in enumerate(indices)}
    return [runs[index] for index in range(len(states))]


def set_hyperparameters(state: TrainState, **values: Any) -> TrainState:
    """The state with other hyperparameters of an optimizer that was built with `optax.inject_hyperparams`.

    Args:
        state: of one RBM, or of many along a leading axis.
        values: numbers, or one for each RBM, shape (n_rbms,); such as `learning_rate`. Values are not checked.

    Raises:
        ValueError: the optimizer's state does not hold such a hyperparameter, or the shapes do not fit.

    Example:
        >>> import jax, optax
        >>> from rbm_jax import init_rbm
        >>> from rbm_jax.training import init_train_state, set_hyperparameters
        >>> optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
        >>> rbm = init_rbm(jax.random.key(0), 6, 4)
        >>> state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=10)
        >>> state = set_hyperparameters(state, learning_rate=0.01)
        >>> print(state.opt_state.hyperparams["learning_rate"])
        0.01
    """
    opt_state = state.opt_state
    for name, value in values.items():
        try:
            old = optax.tree_utils.tree_get(opt_state, name)
        except KeyError:
            old = None
        if old is None:
            raise ValueError(
                f"the optimizer's state must hold one hyperparameter {name!r}: "
                f"build the optimizer as optax.inject_hyperparams(optax.sgd)({name}=...)"
            )
        if np.shape(value) not in ((), np.shape(old)):
            raise ValueError(f"{name} must be a number or have shape {np.shape(old)}, got shape {np.shape(value)}")
        new = jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)
        opt_state = optax.tree_utils.tree_set(opt_state, **{name: new})
    return TrainState(state.rbm, state.chains, opt_state, state.step)


class _Group(NamedTuple):
    """States of RBMs that run together. The step, and with it a common minibatch, has no axis of RBMs."""

    rbm: RBM
    chains: Array
    opt_state: optax.OptState
    step: Array


@functools.partial(jax.jit, static_argnames=("estimator", "accept", "optimizer", "batch_size"))
def _advance_together(keys, states: _Group, n_updates, *, batch_key, **options) -> _Group:
    """Do a (traced) number of updates of each RBM."""

    def run(key, rbm, chains, opt_state):
        state = TrainState(rbm, chains, opt_state, states.step)
        state = advance_on_data(key, state, n_updates, batch_key=key if batch_key is None else batch_key, **options)
        return state.rbm, state.chains, state.opt_state

    rbms, chains, opt_states = jax.vmap(run)(keys, states.rbm, states.chains, states.opt_state)
    return _Group(rbms, chains, opt_states, states.step + n_updates)


@functools.partial(jax.jit, static_argnames="observe")
def _observe_together(states: _Group, *, observe):
    def look(rbm, chains, opt_state):
        return observe(TrainState(rbm, chains, opt_state, states.step))

    return jax.vmap(look)(states.rbm, states.chains, states.opt_state)


def _prepare(keys, states: TrainState, group, step: int, batch_key, observe, options: dict):
    """The loop, the observer and the state of a group; an RBM alone has no axis."""
    if len(group) == 1:
        key, part = _take((keys, states), group[0])
        advance = functools.partial(advance_on_data, key, batch_key=key if batch_key is None else batch_key, **options)
        return advance, None if observe is None else jax.jit(observe), part
    part_keys, part = _take((keys, states), group)
    advance = functools.partial(_advance_together, part_keys, batch_key=batch_key, **options)
    watch = None if observe is None else functools.partial(_observe_together, observe=observe)
    return advance, watch, _Group(part.rbm, part.chains, part.opt_state, jnp.asarray(step, jnp.int32))


@functools.partial(jax.jit, static_argnames="n_rbms")
def _with_leading_axis(state: TrainState | _Group, kept, *, n_rbms: int):
    """Bring the axis of RBMs before that of save points, or make one."""
    parts = (state.rbm, state.chains, state.opt_state)
    if n_rbms == 1:
        return jax.tree.map(lambda leaf: leaf[None], (parts, kept))
    return parts, jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), kept)


@jax.jit
def _take(tree: Any, index) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _report(progress: Callable[[int], Any], n_rbms: int, n_updates: int) -> None:
    progress(n_rbms * n_updates)


def _choose_group(states: TrainState, n_rows: int) -> int:
    """RBMs that are trained at once: on CPU, as many as keep the units of batch and chains within the cache."""
    n_rbms, n_visible = len(states.step), states.rbm.n_visible
    if {device.platform for device in states.rbm.hidden_bias.devices()} != {"cpu"}:
        return n_rbms
    n_chains = sum(leaf.size for leaf in jax.tree.leaves(states.chains)) // (n_rbms * n_visible)
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
            f"got shapes {', '.join(map(str, shapes))}; make them by jax.vmap of init_train_state"
        )
    n_keys = len(keys) if np.ndim(keys) else "a single one"
    if n_keys != n_rbms:
        raise ValueError(f"keys must be one for each of the {n_rbms} RBMs, got {n_keys}")
    steps = np.asarray(states.step)
    if (steps != steps[0]).any():
        raise ValueError(
            f"states must be at one step, got steps {steps.min()} to {steps.max()}; see fit_sweep for different ones"
        )
    return n_rbms, int(steps[0])


def _check_time_step(time_step: Any, n_rbms: int) -> np.ndarray:
    if np.shape(time_step) not in ((), (n_rbms,)):
        raise ValueError(f"time_step must be a number or have shape ({n_rbms},), got shape {np.shape(time_step)}")
    for value in np.ravel(time_step):
        check_positive("time_step", value)
    return np.broadcast_to(np.asarray(time_step, float), (n_rbms,))
