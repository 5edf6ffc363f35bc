"""How to train, as plain values: what a command line, a TOML file and a run folder can hold."""

import dataclasses
import enum
import functools
import inspect
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from rbm_jax._internal.checks import check_choice, check_count, check_positive
from rbm_jax._internal.typing import Array
from rbm_jax.missing import AbstractDataTerm, ClampedEnumeration, ClampedGibbs, ClampedMeanField, Complete
from rbm_jax.model import AbstractMetric, Centered, Plain, Standardized, init_rbm
from rbm_jax.runs.sources import Dataset, check_number, plain
from rbm_jax.training import (
    CD,
    EMF,
    PCD,
    PTT,
    AbstractEstimator,
    Batches,
    Exact,
    KeepsEquilibrium,
    Optimizer,
    Trainer,
    TrainState,
    penalize_weights,
)

__all__ = ["Method", "MetricName", "OptimizerName", "Recipe", "ScheduleName", "load_toml", "make_estimator", "to_toml"]


class Method(enum.StrEnum):
    """Estimators of the gradient."""

    PCD = "pcd"
    CD = "cd"
    PTT = "ptt"
    EMF = "emf"
    EXACT = "exact"


class MetricName(enum.StrEnum):
    """Geometries of the gradient."""

    PLAIN = "plain"
    CENTERED = "centered"
    STANDARDIZED = "standardized"


class OptimizerName(enum.StrEnum):
    """Optimizers of optax."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"
    RMSPROP = "rmsprop"
    NADAM = "nadam"


class ScheduleName(enum.StrEnum):
    """How the learning rate goes on: as it is, or down to `end_rate` at the last update."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"
    EXPONENTIAL = "exponential"


METRICS: dict[MetricName, AbstractMetric] = {
    MetricName.PLAIN: Plain(),
    MetricName.CENTERED: Centered(),
    MetricName.STANDARDIZED: Standardized(),
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        n_hidden: hidden units.
        method: how the model's averages are estimated.
        n_sweeps: sweeps, Gibbs or mean-field, in each update.
        order: of mean field, with emf: 1 naive, 2 TAP, 3.
        n_rungs: of the ladder of `ptt`.
        method_options: further arguments of the estimator, such as {"damping": 0.5} of extended mean field.
        metric: geometry of the gradient.
        optimizer: of optax. Plain SGD follows the learning equations, with the sum of the learning rates as time.
        optimizer_options: further arguments of the optimizer, such as {"b1": 0.8} of Adam.
        n_updates: updates.
        learning_rate: at the first update.
        schedule: how the learning rate goes on.
        end_rate: where it goes to, as a share of the first one; 0 is not for the exponential.
        batch_size: rows of a minibatch; at most all data.
        n_chains: Markov chains.
        l1: strength of the penalty l1 Σ|W|.
        l2: strength of the penalty l2 ΣW²/2.
        group: strength of the penalty group Σ_j √(Σ_i W_ij²), which favors few hidden units.
        scale: standard deviation of the initial weights.
        held_out: share of the samples that is not trained on, but kept for evaluation.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_hidden: int = 64
    method: Method = Method.PCD
    n_sweeps: int = 5
    order: int = 2
    n_rungs: int = 10
    method_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metric: MetricName = MetricName.CENTERED
    optimizer: OptimizerName = OptimizerName.SGD
    optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    n_updates: int = 5000
    learning_rate: float = 0.05
    schedule: ScheduleName = ScheduleName.CONSTANT
    end_rate: float = 0.01
    batch_size: int = 500
    n_chains: int = 500
    l1: float = 0.0
    l2: float = 0.0
    group: float = 0.0
    scale: float = 0.01
    held_out: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name, kind in _KINDS.items():
            object.__setattr__(self, name, check_choice(name, kind, getattr(self, name)))
        for name in ("n_hidden", "n_sweeps", "n_updates", "batch_size", "n_chains"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        object.__setattr__(self, "n_rungs", check_count("n_rungs", self.n_rungs, minimum=3))
        if check_count("order", self.order) > 3:
            raise ValueError(f"order must be at most 3, got {self.order}")
        if check_count("seed", self.seed, minimum=0) >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {self.seed}")
        for name in ("learning_rate", "l1", "l2", "group", "scale", "end_rate", "held_out"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        check_positive("learning_rate", self.learning_rate)
        for name in ("l1", "l2", "group", "scale", "end_rate"):
            check_positive(name, getattr(self, name), or_zero=True)
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be a share of at least 0 and below 1, got {self.held_out}")
        if self.schedule == ScheduleName.EXPONENTIAL and self.end_rate == 0:
            raise ValueError("end_rate must be above 0 for the exponential schedule, which never gets to 0")
        kind, own, _ = _estimator_of(self.method, self.n_sweeps, self.order, self.n_rungs)
        known = {"method_options": _check_options("method_options", kind.__name__, kind, own, self.method_options)}
        label, rate = f"optax.{self.optimizer}", {"learning_rate": self.learning_rate}
        factory = getattr(optax, self.optimizer)
        known["optimizer_options"] = _check_options("optimizer_options", label, factory, rate, self.optimizer_options)
        for name, options in known.items():
            object.__setattr__(self, name, options)

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        mappings = {name: dict(getattr(self, name)) for name in ("method_options", "optimizer_options")}
        return dataclasses.asdict(self) | mappings

    def learning_rate_at(self) -> Any:
        """The learning rate: a number, or a schedule of optax."""
        return _schedule(self.schedule, self.learning_rate, self.end_rate, self.n_updates)

    def make_trainer(self, *, is_lossy: bool = False) -> Trainer:
        """The estimator with its metric, and the penalized optimizer; `ptt` with a review of its equilibrium."""
        further: dict[str, Any] = {"n_rungs": self.n_rungs, "metric": METRICS[self.metric], "is_lossy": is_lossy}
        estimator = make_estimator(self.method, self.n_sweeps, self.order, **further, **self.method_options)
        rate = self.learning_rate_at()
        options = {"name": self.optimizer.value, "l1": self.l1, "l2": self.l2, "group": self.group}
        optimizer = Optimizer(_penalized, rate, **options, **self.optimizer_options)
        review = KeepsEquilibrium() if self.method == Method.PTT else None
        return Trainer(estimator, optimizer, review=review, time_step=rate)

    def make_batches(self, dataset: Dataset, mesh: Mesh | None = None) -> Batches:
        """Minibatches of the data set."""
        batch_size = min(self.batch_size, len(dataset.samples))
        options = {"allow_missing": dataset.is_lossy, "mesh": mesh}
        return Batches(dataset.samples, batch_size, dataset.weights, **options)

    def start(self, dataset: Dataset, trainer: Trainer, n_devices: int = 1) -> tuple[Array, TrainState]:
        """The key of a run, and its state before the first update."""
        key_rbm, key_chains, key_run = jax.random.split(jax.random.key(self.seed), 3)
        units = {"visible_units": dataset.units, "hidden_units": dataset.hidden_units}
        n_visible = dataset.samples.shape[1]
        rbm = init_rbm(key_rbm, n_visible, self.n_hidden, scale=self.scale, visible_mean=dataset.mean, **units)
        n_chains = self.n_chains
        if self.method == Method.PTT:  # which takes their number on each rung
            n_chains = -(-n_chains // (self.n_rungs * n_devices)) * n_devices
        return key_run, trainer.init(key_chains, rbm, n_chains)


_KINDS: dict[str, type[enum.StrEnum]] = {
    "method": Method,
    "metric": MetricName,
    "optimizer": OptimizerName,
    "schedule": ScheduleName,
}


def make_estimator(
    method: Method,
    n_sweeps: int,
    order: int,
    *,
    n_rungs: int = 12,
    metric: AbstractMetric = METRICS[MetricName.CENTERED],
    is_lossy: bool = False,
    **options: Any,
) -> AbstractEstimator:
    """The estimator of a method; for data with missing entries with its own data term.

    Raises:
        ValueError: options that the method does not have.
    """
    kind, own, term = _estimator_of(method, n_sweeps, order, n_rungs)
    options = _check_options("method_options", kind.__name__, kind, own, options)
    return kind(**own, metric=metric, data_term=term if is_lossy else Complete(), **options)


def load_toml(path: Path) -> dict[str, Any]:
    """Settings in a TOML file, by the names of the fields of `Recipe` and `Source`.

    Raises:
        ValueError: no such file, or one that is no TOML; it begins with config, the option that names the file.
    """
    expected = "a TOML file of settings is expected, with lines such as n_hidden = 64"
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"config: {path} is a folder; {expected}")
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ValueError(f"config: there is no file {path}; {expected}") from error
    except OSError as error:
        raise ValueError(f"config: {path} cannot be read ({error}); {expected}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"config: {path} is no text; {expected}") from error
    except ValueError as error:
        raise ValueError(f"config: {path} is no TOML file ({error}); {expected}") from error


def to_toml(settings: Mapping[str, Any]) -> str:
    """Settings as `load_toml` reads them; those that are None are left out.

    Raises:
        ValueError: a value that TOML cannot hold, by its name.
    """
    known = {name: value for name, value in settings.items() if value is not None}
    tables = {name: value for name, value in known.items() if isinstance(value, Mapping)}
    lines = _toml_lines({name: value for name, value in known.items() if name not in tables})
    for name, table in tables.items():
        lines += [f"\n[{_toml_key(name)}]", *_toml_lines(table)] if table else []
    return "\n".join(lines) + "\n"


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(key)} = {_toml_value(key, value)}" for key, value in table.items() if value is not None]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key, key)


def _toml_value(name: str, value: Any) -> str:
    """A value on one line; a table within a table in braces."""
    value = plain(value)
    if isinstance(value, str):
        if re.search("[\ud800-\udfff]", value):
            raise ValueError(f"{name} must be text that UTF-8 can hold, got {value!r}")
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(name, each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(_toml_lines(value))}}}"
    raise ValueError(f"{name} must be text, numbers, booleans, or lists or tables of these, got {value!r}")


def _estimator_of(
    method: Method, n_sweeps: int, order: int, n_rungs: int
) -> tuple[Callable, dict[str, Any], AbstractDataTerm]:
    """The estimator of a method, what a recipe gives to it, and its data term where entries are missing."""
    sweeps: dict[str, Any] = {"n_sweeps": n_sweeps}
    match method:
        case Method.PCD:
            return PCD, sweeps, ClampedGibbs()
        case Method.CD:
            return CD, sweeps, ClampedGibbs()
        case Method.PTT:
            return PTT, sweeps | {"n_rungs": n_rungs}, ClampedGibbs()
        case Method.EMF:
            return EMF, sweeps | {"order": order}, ClampedMeanField(order)
        case Method.EXACT:
            return Exact, {}, ClampedEnumeration()


def _check_options(
    name: str, label: str, factory: Callable, own: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Further arguments of a factory as plain values, or raise; `own` are those that it gets anyway."""
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(f"{name} must be a mapping from names to values, got {given!r}")
    if not given:
        return {}
    parameters = inspect.signature(factory).parameters
    others = parameters.keys() - own.keys() - _NO_OPTIONS
    kinds = {key: _option_kind(key, parameters[key].default) for key in parameters if key in others}
    listed = ", ".join(f"{key}: {kind}" for key, kind in kinds.items()) or "there are none"
    try:
        if unknown := sorted(given.keys() - kinds.keys()):
            raise ValueError(f"got {unknown[0]}")
        values = {
            key: value for key, value in given.items() if value is not None or parameters[key].default is not None
        }
        values = {key: _plain_option(key, kinds[key], value) for key, value in values.items()}
        factory(**own, **values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be those of {label} ({listed}): {error}") from error
    return values


_NO_OPTIONS = {"metric", "data_term", "mask"}
"""Arguments of estimators and optimizers that are no plain values."""


def _option_kind(key: str, default: Any) -> str:
    if key.endswith("dtype"):
        return "the name of a dtype"
    return "true or false" if isinstance(default, bool) else "a number"


def _plain_option(key: str, kind: str, value: Any) -> Any:
    if kind == "a number":
        number = check_number(key, value)
        if not math.isfinite(number):
            raise ValueError(f"{key} must be finite, got {number}")
        return number
    if kind == "the name of a dtype":
        return jnp.dtype(value).name
    if not isinstance(plain(value), bool):
        raise TypeError(f"{key} must be {kind}, got {value!r}")
    return plain(value)


@functools.cache  # schedules are closures, equal to themselves alone: a second run of a recipe compiles nothing
def _schedule(name: ScheduleName, rate: float, end_rate: float, n_updates: int) -> Any:
    match name:
        case ScheduleName.LINEAR:
            return optax.linear_schedule(rate, end_rate * rate, n_updates)
        case ScheduleName.COSINE:
            return optax.cosine_decay_schedule(rate, n_updates, end_rate)
        case ScheduleName.EXPONENTIAL:
            return optax.exponential_decay(rate, n_updates, end_rate)
    return rate


def _penalized(
    learning_rate: Any, *, name: str, l1: float, l2: float, group: float, **options: Any
) -> optax.GradientTransformation:
    """An optimizer of optax on the penalized likelihood."""
    return optax.chain(penalize_weights(l1=l1, l2=l2, group=group), getattr(optax, name)(learning_rate, **options))
