"""How to train: an estimator, an optimizer, a review of each update; and what an update changes.

Plain SGD (`Trainer.euler`) is the explicit Euler method for the learning equations of `rbm_jax.dynamics`, with time
t = Σ learning rate over the updates.
"""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax._internal.checks import as_configurations, check_finite, check_function, check_positive, is_concrete
from rbm_jax._internal.typing import Array, Int, PRNGKey, Sample, Weighting
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling import init_chains
from rbm_jax.symmetry import TiedRBM, expand
from rbm_jax.training.estimators import AbstractEstimator

__all__ = ["FunctionEstimator", "Optimizer", "TrainInfo", "TrainState", "Trainer", "as_rate", "expanded", "train_step"]


class TrainState(eqx.Module):
    """Everything that an update changes.

    Attributes:
        rbm: the parameters, an `RBM` or a `TiedRBM`.
        carry: what the estimator carries from one update to the next, such as visible states of persistent chains,
            shape (n_chains, n_visible); None for estimators that carry nothing.
        opt_state: state of the optimizer.
        step: updates done so far, an int32 scalar.
        n_rejected: updates that the trainer's review did not let pass as they were, an int32 scalar.
    """

    rbm: Any
    carry: Any
    opt_state: optax.OptState
    step: Int[Array, "*runs"]
    n_rejected: Int[Array, "*runs"]


class TrainInfo(eqx.Module):
    """What is known of one update.

    Attributes:
        gradient: the estimated gradient of the negative log-likelihood per sample, like the parameters.
    """

    gradient: Any


class Optimizer(eqx.Module):
    """An optax optimizer that compares by value, so that an equal one compiles nothing.

    `optax.adam(1e-3)` is made of closures, which equal nothing but themselves. Here the learning rate is an array leaf:
    another rate, or one for each RBM in `fit_many`, compiles nothing either.

    Args:
        factory: makes an optax transformation from the learning rate and the options: `optax.sgd`, `optax.adam`, or a
            function of one's own, such as `penalized_sgd`.
        learning_rate: a number, an array of one for each RBM, or an optax schedule, read at `TrainState.step`. A
            schedule is a function: build it once and pass the same object on.
        options: further arguments of the factory, hashable.

    Attributes:
        learning_rate: as given; numbers as arrays.
        factory: as given.
        options: pairs of name and value, sorted.

    Raises:
        TypeError: a factory that is no function, options that cannot be hashed, or a rate that is no number.
        ValueError: a learning rate that is negative or not finite.

    Example:
        >>> import optax
        >>> from rbm_jax.training import Optimizer
        >>> Optimizer(optax.adam, 1e-3, b1=0.8).options
        (('b1', 0.8),)
    """

    learning_rate: Any
    factory: Callable = eqx.field(static=True)
    options: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __init__(self, factory: Callable, learning_rate: Any, **options: Any):
        if not callable(factory) or _is_optax(factory):
            raise TypeError(f"factory must make an optimizer, such as optax.adam, got {factory!r}; pass it uncalled")
        try:
            hash(tuple(options.values()))
        except TypeError as error:
            raise TypeError(f"options of an Optimizer must be hashable: {error}; set them inside a factory") from error
        self.factory, self.options = factory, tuple(sorted(options.items()))
        self.learning_rate = as_rate("learning_rate", learning_rate)

    def at(self, step: Int[Array, ""] | int, dtype: Any) -> optax.GradientTransformation:
        """The optimizer with the learning rate of this step, in this dtype: a wider one would promote the RBM."""
        rate = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        return self.factory(jnp.asarray(rate).astype(dtype), **dict(self.options))


class FunctionEstimator(AbstractEstimator):
    """A function `(key, rbm, batch, carry, sample_weights=None) -> (gradient, carry)` as an estimator.

    It compares by the function's own equality. What it carries at first comes from its attribute `init`, called like
    `AbstractEstimator.init`; without one it is given chains of `init_chains`.

    Attributes:
        function: the function. It takes missing entries if it has an attribute `takes_missing` that is True.
        takes_weights: whether it has a fifth argument.
    """

    function: Callable = eqx.field(static=True)
    takes_weights: bool = eqx.field(static=True)

    @property
    def takes_missing(self) -> bool:
        """What the function says."""
        return bool(getattr(self.function, "takes_missing", False))

    def __call__(self, key, rbm: Any, batch: Sample, carry: Any, sample_weights: Weighting = None) -> tuple[Any, Any]:
        """Call the function."""
        if self.takes_weights:
            return self.function(key, rbm, batch, carry, sample_weights)
        if sample_weights is not None:
            raise ValueError("estimator must take sample_weights as its fifth argument, since the data have them")
        return self.function(key, rbm, batch, carry)

    def init(self, key: PRNGKey, rbm: Any, n_chains: int | None) -> Any:
        """What the function's `init` gives; chains of `init_chains`, or nothing without a number of them."""
        if hasattr(self.function, "init"):
            return self.function.init(key, rbm, n_chains)
        return None if n_chains is None else init_chains(key, expanded(rbm), n_chains)


class Trainer(eqx.Module):
    """An estimator, an optimizer and a review: all that an update needs besides the state and the data.

    It is a pytree: arrays in it are traced, all else compares by value, so that an equal trainer compiles nothing.

    Args:
        estimator: such as `PCD(n_sweeps=10)`, or a function (see `FunctionEstimator`).
        optimizer: an `Optimizer`, or an optax optimizer, which is equal to itself alone: build it once.
        review: `review(before, after) -> TrainState`, such as `KeepsEquilibrium()`: it may shorten or reject an update,
            and counts it in `n_rejected`.
        time_step: time of one update on the clock of `rbm_jax.dynamics`: a number, one for each RBM, or a schedule.
            Time goes on where an update is rejected.

    Example:
        >>> import optax
        >>> from rbm_jax import PCD, Centered, Trainer
        >>> from rbm_jax.training import Optimizer
        >>> trainer = Trainer(PCD(n_sweeps=10, metric=Centered()), Optimizer(optax.adam, 1e-3, b1=0.8))
        >>> trainer.estimator.n_sweeps
        10
    """

    estimator: AbstractEstimator
    optimizer: Any
    review: Callable | None
    time_step: Any

    def __init__(self, estimator: Any, optimizer: Any, *, review: Callable | None = None, time_step: Any = 1.0):
        check_function("review", review)
        if not (isinstance(optimizer, Optimizer) or _is_optax(optimizer)):
            raise TypeError(
                "optimizer must be an Optimizer such as Optimizer(optax.sgd, 0.1), or an optax optimizer, "
                f"got {optimizer!r}"
            )
        self.estimator, self.optimizer = _as_estimator(estimator), optimizer
        self.review, self.time_step = review, as_rate("time_step", time_step, or_zero=False)

    @classmethod
    def euler(cls, estimator: Any, learning_rate: Any, *, review: Callable | None = None) -> "Trainer":
        """Plain SGD, whose clock is that of `rbm_jax.dynamics`: time is the sum of the learning rates.

        Args:
            estimator: such as `PCD(metric=Centered())`.
            learning_rate: a number, one for each RBM, or a schedule.
            review: as in `Trainer`.
        """
        optimizer = Optimizer(optax.sgd, learning_rate)
        return cls(estimator, optimizer, review=review, time_step=learning_rate)

    def init(self, key: PRNGKey, rbm: RBM | TiedRBM, n_chains: int | None = None, *, carry: Any = None) -> TrainState:
        """The state at step 0.

        Args:
            key: a JAX key, for what the estimator carries.
            rbm: where training starts; a `TiedRBM` is trained by `Tied` or `FourierPCD`.
            n_chains: number of persistent chains; not needed by estimators without any.
            carry: what the estimator carries, in its place: visible states to start chains from, shape
                (n_chains, n_visible), or `init_trajectory_chains` for `PTT`.

        Raises:
            TypeError: something that is no RBM.
            ValueError: n_chains below 1 or missing, a carry that does not fit or holds NaN, or both of them.
        """
        if not isinstance(rbm, RBM | TiedRBM):
            raise TypeError(f"rbm must be an RBM or a TiedRBM, got {type(rbm).__name__}")
        if carry is not None and n_chains is not None:
            raise ValueError("give either n_chains or carry, got both")
        if carry is None:
            carry = self.estimator.init(key, rbm, n_chains)
        elif not isinstance(carry, eqx.Module):
            carry = as_configurations("carry", carry, rbm.n_visible, rbm.dtype, ndim=2)
            if len(carry) == 0:
                raise ValueError(f"carry must hold at least one state, got shape {carry.shape}")
            check_finite("carry", carry)
        parameters: Any = rbm  # a pytree of arrays, which optax's annotations do not know
        opt_state = self.optimizer_at(0, rbm.dtype).init(parameters)
        return TrainState(rbm, carry, opt_state, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def optimizer_at(self, step: Int[Array, ""] | int, dtype: Any) -> optax.GradientTransformation:
        """The optimizer of optax for this step."""
        return self.optimizer.at(step, dtype) if isinstance(self.optimizer, Optimizer) else self.optimizer


def train_step(
    key: PRNGKey, trainer: Trainer, state: TrainState, batch: Sample, sample_weights: Weighting = None
) -> tuple[TrainState, TrainInfo]:
    """One update of all parameters. Not compiled by itself: put it under `equinox.filter_jit`, or use `fit`.

    Args:
        key: the key of the run, the same at every step; it is folded with `state.step` here.
        trainer: how to train.
        state: from `trainer.init` or the step before.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        sample_weights: non-negative sample weights, shape (n_samples,).

    Returns:
        The next state, and the gradient that led to it.

    Raises:
        ValueError: an optimizer that cannot update this state, or shapes that do not fit.
    """
    key = jax.random.fold_in(key, state.step)
    gradient, carry = trainer.estimator(key, state.rbm, batch, state.carry, sample_weights)
    parameters: Any = state.rbm  # a pytree of arrays, which optax's annotations do not know
    optimizer = trainer.optimizer_at(state.step, state.rbm.dtype)
    try:
        updates, opt_state = optimizer.update(gradient, state.opt_state, parameters)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"optimizer must be the one that the state was made with, but fails on it: {error}") from error
    rbm: Any = optax.apply_updates(parameters, updates)
    after = TrainState(rbm, carry, opt_state, state.step + 1, state.n_rejected)
    return after if trainer.review is None else trainer.review(state, after), TrainInfo(gradient)


def expanded(rbm: RBM | TiedRBM) -> RBM:
    """The RBM that samplers and theory work on, one or a stack: that of a `TiedRBM` with all copies of its weights."""
    if not isinstance(rbm, TiedRBM):
        return rbm
    return expand(rbm) if rbm.filters.ndim == 2 else jax.vmap(expanded)(rbm)


def as_rate(name: str, value: Any, *, or_zero: bool = True) -> Any:
    """A schedule or a traced value as it is; a number or several as a float64 NumPy array, or an error.

    Double precision on the host, so that the times of a run do not depend on the precision of its RBM.
    """
    if callable(value) or not is_concrete(value):
        return value
    if not np.ndim(value):
        return np.asarray(check_positive(name, value, or_zero=or_zero), np.float64)
    for each in np.ravel(value):
        check_positive(name, each, or_zero=or_zero)
    return np.asarray(value, np.float64)


def _is_optax(value: Any) -> bool:
    return hasattr(value, "init") and hasattr(value, "update")


def _as_estimator(estimator: Any) -> AbstractEstimator:
    if isinstance(estimator, AbstractEstimator):
        return estimator
    if isinstance(estimator, type) or not callable(estimator):
        raise TypeError(f"estimator must be one such as PCD(), or a function, got {estimator!r}")
    parameters = inspect.signature(estimator).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(positional) < 4 and not takes_any:
        raise TypeError(
            "estimator must take (key, rbm, batch, carry, sample_weights=None), "
            f"got a function of {', '.join(p.name for p in positional) or 'nothing'}"
        )
    return FunctionEstimator(estimator, takes_any or len(positional) > 4)
