"""Training: one update, and a compiled loop of them.

Plain `optax.sgd(learning_rate)` is the explicit Euler method for the learning equations of `rbm_jax.dynamics`, with
time t = learning rate × updates.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import NamedSharding

from rbm_jax._internal.checks import as_configurations, check_count, check_finite, check_function, is_concrete
from rbm_jax._internal.placement import row_sharding, take_rows
from rbm_jax._internal.typing import Array, Bool, Chains, Int, PRNGKey, Sample, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory, finite_status
from rbm_jax.sampling import TrajectoryChains, init_chains
from rbm_jax.spectral import svd_modes
from rbm_jax.symmetry import TiedRBM, expand
from rbm_jax.training.fitting import (
    as_static,
    batch_rows,
    batch_words,
    check_data,
    check_saves,
    check_takes_missing,
    plain,
    run_on_host,
    run_traced,
    times_at,
)

__all__ = [
    "TrainInfo",
    "TrainState",
    "advance_on_data",
    "check_loop",
    "check_optimizer",
    "fit",
    "init_train_state",
    "log_spaced_updates",
    "project_updates",
    "train_step",
    "updates_on_batches",
]


class TrainState(eqx.Module):
    """Everything that an update changes.

    Attributes:
        rbm: the parameters, an `RBM` or a `TiedRBM`.
        chains: what the estimator carries from one update to the next: visible states of persistent chains, shape
            (n_chains, n_visible), or a `TrajectoryChains`.
        opt_state: state of the optax optimizer.
        step: updates done so far, an int32 scalar.
    """

    rbm: Any
    chains: Any
    opt_state: optax.OptState
    step: Int[Array, "*runs"]


class TrainInfo(eqx.Module):
    """What an update learned on its way.

    Attributes:
        gradient: the estimated gradient of the negative log-likelihood per sample, like the parameters.
        accepted: whether the update was made.
    """

    gradient: Any
    accepted: Bool[Array, "*runs"]


def init_train_state(
    key: PRNGKey,
    rbm: RBM | TiedRBM,
    optimizer: optax.GradientTransformation,
    *,
    n_chains: int | None = None,
    chains: TrajectoryChains | Chains | None = None,
) -> TrainState:
    """A training state at step 0, with chains from `init_chains` or given ones.

    Args:
        key: a JAX key, for the chains.
        rbm: where training starts; a `TiedRBM` is trained by `rbm_jax.symmetry.tied_estimator`.
        optimizer: any optax optimizer. Build it once and pass the same object on: a new one recompiles.
        n_chains: number of persistent chains; estimators without chains carry them along unused.
        chains: what the estimator carries, in place of n_chains: `init_trajectory_chains` for `ptt`, or visible states
            to start from.

    Raises:
        TypeError: an optimizer that is not of optax.
        ValueError: n_chains below 1, chains that do not fit or hold NaN, or neither or both of n_chains and chains.
    """
    if (n_chains is None) == (chains is None):
        raise ValueError(f"give either n_chains or chains, got {'neither' if chains is None else 'both'}")
    if n_chains is not None:
        chains = init_chains(key, expand(rbm) if isinstance(rbm, TiedRBM) else rbm, n_chains)
    elif not isinstance(chains, TrajectoryChains):
        chains = as_configurations("chains", chains, rbm.n_visible, rbm.dtype, ndim=2)
        if len(chains) == 0:
            raise ValueError(f"chains must hold at least one state, got shape {chains.shape}")
        check_finite("chains", chains)
    check_optimizer(optimizer)
    parameters: Any = rbm  # a pytree of arrays, which optax's annotations do not know
    return TrainState(rbm, chains, optimizer.init(parameters), jnp.zeros((), jnp.int32))


def train_step(
    key: PRNGKey,
    state: TrainState,
    batch: Sample,
    *,
    estimator: Callable,
    optimizer: optax.GradientTransformation,
    sample_weights: Weighting = None,
    accept: Callable | None = None,
) -> tuple[TrainState, TrainInfo]:
    """One update of all parameters. Not compiled by itself: put it under `jax.jit`, or use `fit`.

    Args:
        key: the key of the run, the same at every step; it is folded with `state.step` here.
        state: from `init_train_state` or the step before.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        estimator: such as `pcd`; see `rbm_jax.training.estimators` for the signature.
        optimizer: the one that `state` was made with.
        sample_weights: non-negative sample weights, shape (n_samples,).
        accept: a function of the RBM before the update, the one after it (of a `TiedRBM` the expanded ones) and the
            chains, such as `keeps_equilibrium`.
            Where it is False, the RBM and the optimizer stay as they were, and only the chains and the step go on.

    Returns:
        The next state, the gradient that led to it and whether the update was made.

    Raises:
        ValueError: an optimizer that cannot update this state, or shapes that do not fit.
    """
    options = {} if sample_weights is None else {"sample_weights": sample_weights}
    key = jax.random.fold_in(key, state.step)
    gradient, chains = estimator(key, state.rbm, batch, state.chains, **options)
    parameters: Any = state.rbm  # a pytree of arrays, which optax's annotations do not know
    try:
        updates, opt_state = optimizer.update(gradient, state.opt_state, parameters)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"optimizer must be the one that the state was made with, but fails on it: {error}") from error
    rbm: Any = optax.apply_updates(parameters, updates)
    accepted = jnp.asarray(True)
    if accept is not None:
        accepted = accept(plain(state.rbm), plain(rbm), chains)
        before = state.rbm, state.opt_state
        rbm, opt_state = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), (rbm, opt_state), before)
    return TrainState(rbm, chains, opt_state, state.step + 1), TrainInfo(gradient, accepted)


def fit(
    key: PRNGKey,
    state: TrainState,
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
    time_step: float | optax.Schedule = 1.0,
    progress: Callable[[int], Any] | None = None,
    batch_key: PRNGKey | None = None,
    allow_missing: bool = False,
) -> tuple[TrainState, Trajectory]:
    """Train for n_updates updates, keeping the RBM at chosen ones.

    Between save points everything runs in one compiled loop. The same key and data give the same bits however a run is
    cut into calls, since minibatches and random numbers are functions of the key and of `state.step`. Under `jit` or
    `vmap` (over keys and states, for many RBMs) the whole run is one program.

    Args:
        key: the key of the run, the same for every call that continues it.
        state: from `init_train_state`, or where another call ended. If its RBM lies on several devices
            (`rbm_jax.sharding`), they share the rows of each batch.
        data: shape (n_samples, n_visible), any real or boolean dtype; each minibatch is cast. Checked for NaN and for
            values outside the support of the visible units, unless it is traced.
        estimator: such as `pcd` or `functools.partial(pcd, n_sweeps=10)`.
        optimizer: the one that `state` was made with.
        n_updates: updates to do in this call.
        batch_size: rows of a minibatch; each epoch is shuffled anew. None: all data in every update.
        sample_weights: non-negative sample weights, shape (n_samples,). Minibatches are drawn with these probabilities (with
            replacement); without minibatches they are passed to the estimator.
        accept: as in `train_step`. Time goes on where an update is rejected.
        save_at: updates of this call after which the RBM is kept, increasing, from 0 (the start) to n_updates. None
            keeps start and end. See `log_spaced_updates`.
        observe: a function of the state that `jit` can compile, such as `lambda state: exact_log_z(state.rbm)`; its
            values at `save_at` are kept as well. Like estimator and optimizer, the same object should be passed to each
            call: a new one compiles anew.
        time_step: time of one update. With the learning rate of plain SGD, the trajectory's clock is the one of
            `rbm_jax.dynamics`; by default it counts updates. With a learning rate that follows an optax schedule, pass
            the schedule: time is its sum over the updates. Calls that continue a run must agree in it.
        progress: called on the host with the number of updates done since its last call, about a hundred times.
        batch_key: a JAX key for the choice of minibatches; None takes `key` for it. Runs that share it see the same
            minibatches; see `fit_ensemble`.
        allow_missing: whether NaN in the data stands for entries that were not observed. The estimator then needs a
            `data_term` of `rbm_jax.missing.data_terms`.

    Returns:
        The state after n_updates, and a `Trajectory` with `ts` = time_step × updates since step 0. It holds the
        expanded RBMs of a `TiedRBM`.

    Raises:
        TypeError, ValueError: arguments that do not fit, named in the message.

    Example:
        >>> import jax, optax
        >>> from rbm_jax import fit, init_rbm
        >>> from rbm_jax.training import init_train_state, pcd
        >>> from rbm_jax.data import bars_and_stripes
        >>> optimizer = optax.sgd(0.1)
        >>> rbm = init_rbm(jax.random.key(0), 16, 8)
        >>> state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=100)
        >>> state, trajectory = fit(jax.random.key(2), state, bars_and_stripes(4), estimator=pcd, optimizer=optimizer,
        ...                         n_updates=50, save_at=(0, 10, 50), time_step=0.1)
        >>> print(trajectory.ts)
        [0. 1. 5.]
    """
    check_loop(state, optimizer, observe, progress)
    data, sample_weights = check_data(state.rbm, data, sample_weights, batch_size, allow_missing)
    if allow_missing:
        check_takes_missing(estimator)
    n_updates = check_count("n_updates", n_updates, minimum=0)
    saves = check_saves(save_at, n_updates)
    ts = times_at(time_step, state.step, saves, state.rbm.dtype)
    advance = functools.partial(
        advance_on_data,
        key,
        batch_key=key if batch_key is None else batch_key,
        data=data,
        sample_weights=sample_weights,
        estimator=as_static("estimator", estimator),
        accept=None if accept is None else as_static("accept", accept),
        optimizer=optimizer,
        batch_size=batch_size,
    )
    if is_concrete(key, batch_key, state, data, sample_weights):
        run, advance = run_on_host, functools.partial(advance, layout=row_sharding(state.rbm.hidden_bias))
    else:
        run = run_traced
    intervals, observe = np.diff(saves, prepend=0), None if observe is None else jax.jit(observe)
    state, (rbms, observations) = run(advance, state, intervals, n_updates - int(saves[-1]), observe, progress)
    return state, Trajectory(ts, rbms, finite_status(rbms), observations)


def check_loop(state: Any, optimizer: Any, observe: Any, progress: Any) -> None:
    """Raise unless these are a state, an optimizer and functions."""
    if not isinstance(state, TrainState):
        raise TypeError(f"state must be a TrainState, from init_train_state, got {type(state).__name__}")
    check_optimizer(optimizer)
    check_function("observe", observe)
    check_function("progress", progress)


def check_optimizer(optimizer: Any) -> None:
    """Raise unless this is an optimizer of optax."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer must be of optax, such as optax.sgd(0.1), got {optimizer!r}")


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


def project_updates(n_modes: int) -> optax.GradientTransformation:
    """Keep the weights in the span of their leading modes at the start, and the biases where they are.

    Training then moves the n_modes × n_modes matrix Uᵀ W V alone, which is what `rbm_jax.dynamics.thermodynamic_force`
    describes. Chain it before an optimizer that acts on each entry alike: `optax.chain(project_updates(2),
    optax.sgd(0.1))`.

    Args:
        n_modes: how many; the rank of the initial weights, if that is what should not grow.

    Returns:
        An optax transformation. Its state holds the modes, so that one object serves many RBMs under `vmap`.
    """
    n_modes = check_count("n_modes", n_modes)

    def init(params: Any):
        modes = svd_modes(params.weights)
        return modes.left[:, :n_modes], modes.right[:, :n_modes]

    def update(updates: Any, state: Any, params=None):
        del params
        left, right = state
        weights = left @ (left.T @ updates.weights @ right) @ right.T
        still = jax.tree.map(jnp.zeros_like, updates)
        return dataclasses.replace(still, weights=weights), state

    return optax.GradientTransformation(init, update)


@functools.partial(jax.jit, static_argnames=("estimator", "accept", "optimizer", "batch_size", "layout"))
def advance_on_data(
    key: PRNGKey,
    state: TrainState,
    n_updates: int | Int[Array, ""],
    *,
    batch_key: PRNGKey,
    data: Sample,
    sample_weights: Weighting,
    estimator: Callable,
    optimizer: optax.GradientTransformation,
    batch_size: int | None,
    accept: Callable | None = None,
    layout: NamedSharding | None = None,
) -> TrainState:
    """The loop of `fit` from one save point to the next, for a number of updates that may be traced.

    The rows of each batch are divided among devices as in `layout`.
    """
    words = batch_words(batch_key)
    cumulative = None if sample_weights is None else jnp.cumsum(sample_weights)
    data = jnp.asarray(data)

    def batch_at(step):
        if batch_size is None:
            return take_rows(data, None, layout), sample_weights
        return take_rows(data, batch_rows(words, step, len(data), batch_size, cumulative), layout), None

    return updates_on_batches(key, state, n_updates, batch_at, estimator=estimator, accept=accept, optimizer=optimizer)


def updates_on_batches(
    key: PRNGKey,
    state: TrainState,
    n_updates: int | Int[Array, ""],
    batch_at: Callable,
    *,
    estimator: Callable,
    optimizer: optax.GradientTransformation,
    accept: Callable | None = None,
) -> TrainState:
    """Updates on the minibatches and weights `batch_at(step)`, in one loop."""
    options = {"estimator": estimator, "accept": accept, "optimizer": optimizer}

    def update(_, state):
        batch, weights = batch_at(state.step)
        return train_step(key, state, batch, sample_weights=weights, **options)[0]

    return lax.fori_loop(0, n_updates, update, state)
