"""A training that goes into a folder as it goes on, and goes on from there whatever ended it."""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax.sharding import Mesh

from rbm_jax._internal.checks import check_positive
from rbm_jax._internal.typing import Array, Bool
from rbm_jax.cli._common import (
    MODEL,
    UPDATES,
    Method,
    collect_warnings,
    echo_warnings,
    latest_update,
    make_estimator,
    prepare_folder,
)
from rbm_jax.cli._datasets import Dataset, Source
from rbm_jax.cli._likelihood import some_rows
from rbm_jax.dynamics import mode_motion
from rbm_jax.io import load_checkpoint, load_config, save_checkpoint, save_rbm, saved_updates, software_versions
from rbm_jax.likelihood.health import ladder_health
from rbm_jax.model import RBM, Status, init_rbm
from rbm_jax.model.trajectory import finite_status
from rbm_jax.progress import progress_bar
from rbm_jax.sampling import TrajectoryChains, live_states
from rbm_jax.sharding import check_even, place_state
from rbm_jax.spectral import svd_modes
from rbm_jax.training import (
    AbstractEstimator,
    Batches,
    KeepsEquilibrium,
    Optimizer,
    Trainer,
    TrainState,
    fit,
    log_spaced_updates,
    penalized_sgd,
)
from rbm_jax.training.loop import times_at

__all__ = ["NAMED_EPOCHS", "Recipe", "train_run"]

N_SAVES = 50
NAMED_EPOCHS = (1, 10, 100)
"""After which the RBM is kept too, so that pictures can show it then."""
SECONDS_OF_A_CHUNK = 3.0
"""Between looks at the weights, and at the keyboard."""
SECONDS_AT_RISK = 60.0
"""Of training that is in no file yet."""
N_OBSERVED = 2000
"""Samples for observations at a save: their noise is small beside that of a minibatch, and so is their cost."""
LARGEST_WEIGHT = 1e3
"""In units of k_BT: beyond, a training has run away, though all is finite still."""
MAY_CHANGE = ("n_updates", "devices", "data")
"""Settings in which a run need not agree with what continues it: the samples count, not where they lie."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train."""

    n_hidden: int = 64
    method: Method = Method.PCD
    order: int = 2
    n_updates: int = 5000
    learning_rate: float = 0.05
    n_chains: int = 500
    n_sweeps: int = 5
    batch_size: int = 500
    seed: int = 0
    scale: float = 0.01
    l1: float = 0.0
    l2: float = 0.0
    n_rungs: int = 10


@dataclasses.dataclass(frozen=True)
class _Run:
    """A training in its folder.

    Attributes:
        folder: the run's.
        key: of the run.
        trainer: how to train.
        batches: the data.
        observed: samples on which the estimator's step is observed at each save.
        settings: what the run remembers of itself.
    """

    folder: Path
    key: Array
    trainer: Trainer
    batches: Batches
    observed: Array
    settings: dict[str, Any]

    def advance(self, state: TrainState, n_updates: int) -> TrainState:
        """The state after so many updates more."""
        return fit(self.key, self.trainer, state, self.batches, n_updates=n_updates, save_at=(n_updates,))[0]

    def save(self, state: TrainState, *, keep: bool = True) -> Path:
        """Write a checkpoint, with the epochs done and what the estimator's next step would do to the modes."""
        epochs = int(state.step) * self.batches.n_rows / len(self.batches.data)
        observations = {"epochs": epochs, **_observe_step(self.trainer.estimator, self.observed, state)}
        now = times_at(self.trainer.time_step, state.step, np.zeros(1, int), state.rbm.dtype)[0]
        options = {"time": now, "observations": observations, "config": self.settings, "keep": keep}
        return save_checkpoint(self.folder / UPDATES, state, key=self.key, **options)


def train_run(folder: Path, source: Source, recipe: Recipe, mesh: Mesh | None = None) -> TrainState:
    """Train as the recipe says, on the devices of the mesh if there is one, with all that is needed in the folder.

    If the folder holds a part of this very run, only the rest is done, with the same result. Observations of the saved
    updates are the epochs done and the fields of `dynamics.ModeMotion` for the estimator's step.

    Raises:
        ValueError, OSError: a training that diverged, data that cannot be read, a folder that cannot be written or that
            holds another run, or chains that the devices cannot share evenly.
    """
    check_positive("--learning-rate", recipe.learning_rate)
    if mesh is not None:
        check_even("--n-chains", recipe.n_chains, mesh)
    dataset = source.load()
    if source.missing is not None and not dataset.is_lossy:
        echo_warnings([f"--missing: no entry of the data is {source.missing}, they count as complete"])
    dataset.check_trainable()
    settings = source.settings() | dataclasses.asdict(recipe)
    settings |= {"alphabet": dataset.alphabet, "samples": _digest(dataset.samples)}
    settings |= {"devices": 1 if mesh is None else mesh.size}
    latest, stored = _open_run(folder, settings)
    trainer = _make_trainer(recipe, is_lossy=dataset.is_lossy)
    key, state = _start(dataset, recipe, trainer, stored["devices"])
    if latest is not None:
        checkpoint = load_checkpoint(latest, state)
        state, key, versions = checkpoint.state, checkpoint.key, checkpoint.versions
        was, now = ({"devices": each["devices"]} for each in (stored, settings))
        _say_how_it_goes_on(folder, int(state.step), recipe.n_updates, versions | was, software_versions() | now)
    if mesh is not None:
        state = place_state(state, mesh)
    batches = _make_batches(dataset, recipe, mesh)
    run = _Run(folder, key, trainer, batches, jnp.asarray(some_rows(dataset.samples, N_OBSERVED)), settings)
    if latest is None or stored != settings:
        run.save(state, keep=latest is None or latest in saved_updates(folder / UPDATES).values())
    with progress_bar(recipe.n_updates, recipe.method.value.upper()) as progress:
        progress(int(state.step))
        state = _train(run, state, _save_points(recipe, batches), progress)
    if state.n_rejected:
        typer.echo(f"{int(state.n_rejected)} of {int(state.step)} updates were rejected: the chains could not follow")
    key_health = jax.random.split(jax.random.key(recipe.seed), 3)[1]
    save_rbm(folder / MODEL, state.rbm, chains=_check_chains(key_health, state.carry))
    return state


def _open_run(folder: Path, settings: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The latest checkpoint in the folder, if there is one, and the settings that the run has.

    Raises:
        ValueError, OSError: a folder that cannot be written, or that holds another run or damaged files alone.
    """
    updates = prepare_folder(folder / UPDATES)
    latest = latest_update(folder)
    if latest is None and saved_updates(updates):
        raise ValueError(f"{updates} holds files that cannot be read: move them away, or train into another --out")
    stored = settings if latest is None else load_config(latest)
    _check_same_run(folder, stored, settings)
    for path in [*updates.glob(".*.h5"), *folder.glob(f".{Path(MODEL).stem}-*.h5")]:
        path.unlink(missing_ok=True)  # of writes that were cut short
    return latest, stored


def _digest(samples: np.ndarray) -> str:
    """By which data are known again."""
    digest = hashlib.blake2b(f"{samples.shape} {samples.dtype.str} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


def _check_same_run(folder: Path, stored: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise unless these settings continue the run with the stored ones."""
    if not {"devices", "samples"} <= set(stored):
        raise ValueError(f"{folder} holds checkpoints that are not of rbm-jax train: train into another folder")
    for name, value in settings.items():
        if name in MAY_CHANGE or name not in stored or stored[name] == value:
            continue
        if name == "samples":
            raise ValueError(
                f"--data: the samples of {settings['data']} are not those that the run in {folder} was trained on, so "
                "it cannot go on with them: bring these back, or train into another folder with --out"
            )
        raise ValueError(
            f"--{name.replace('_', '-')} is {value}, but {folder} holds a run with {stored[name]}: continue that one "
            f"with rbm-jax train --resume {folder}, or train into another folder with --out"
        )


def _say_how_it_goes_on(folder: Path, done: int, n_updates: int, was: dict[str, Any], now: dict[str, Any]) -> None:
    if n_updates < done:
        raise ValueError(f"--n-updates must be at least the {done} that the run in {folder} has done, got {n_updates}")
    if n_updates == done:
        typer.echo(f"{folder} is finished, with {done} updates; a larger --n-updates goes on")
        return
    typer.echo(f"{folder} has {done} of {n_updates} updates: going on from there")
    changed = [f"{name} {value} (now {now.get(name)})" for name, value in was.items() if now.get(name) != value]
    if changed:
        echo_warnings([f"the run was with {', '.join(changed)}: it may go on with other rounding errors"])


def _make_trainer(recipe: Recipe, *, is_lossy: bool) -> Trainer:
    """Plain SGD, whose clock is that of dynamics."""
    estimator = make_estimator(recipe.method, recipe.n_sweeps, recipe.order, n_rungs=recipe.n_rungs, is_lossy=is_lossy)
    optimizer = Optimizer(penalized_sgd, recipe.learning_rate, l1=recipe.l1, l2=recipe.l2)
    review = KeepsEquilibrium() if recipe.method == Method.PTT else None
    return Trainer(estimator, optimizer, review=review, time_step=recipe.learning_rate)


def _make_batches(dataset: Dataset, recipe: Recipe, mesh: Mesh | None) -> Batches:
    batch_size = min(recipe.batch_size, len(dataset.samples))
    options = {"allow_missing": dataset.is_lossy, "mesh": mesh}
    return Batches(dataset.samples, batch_size, dataset.weights, **options)


def _start(dataset: Dataset, recipe: Recipe, trainer: Trainer, n_devices: int) -> tuple[Array, TrainState]:
    """The key of a run, and its state before the first update."""
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(recipe.seed), 3)
    units = {"visible_units": dataset.units, "hidden_units": dataset.hidden_units}
    n_visible = dataset.samples.shape[1]
    rbm = init_rbm(key_rbm, n_visible, recipe.n_hidden, scale=recipe.scale, visible_mean=dataset.mean, **units)
    n_chains = recipe.n_chains
    if recipe.method == Method.PTT:  # which takes their number on each rung
        n_chains = -(-n_chains // (recipe.n_rungs * n_devices)) * n_devices
    return key_run, trainer.init(key_chains, rbm, n_chains)


def _save_points(recipe: Recipe, batches: Batches) -> list[int]:
    """Updates after which the RBM is kept."""
    epochs = [round(epoch * len(batches.data) / batches.n_rows) for epoch in NAMED_EPOCHS]
    spaced = log_spaced_updates(recipe.n_updates, N_SAVES)
    return sorted({*spaced.tolist(), *(update for update in epochs if update <= recipe.n_updates)})


def _train(run: _Run, state: TrainState, save_points: list[int], progress: Callable) -> TrainState:
    """Train from save point to save point, with looks at the weights in between.

    Raises:
        ValueError: the training diverged; the last state before is in a file.
    """
    step, n_chunk, n_rejected, is_stuck = int(state.step), 1, int(state.n_rejected), False
    saved_at, saved_when = step, time.monotonic()
    for stop in [point for point in save_points if point > step]:
        n_to_do = stop - step
        while step < stop:
            n_updates, began = min(n_chunk, stop - step), time.monotonic()
            advanced = run.advance(state, n_updates)
            if not _is_bounded(advanced.rbm):
                path = run.folder / UPDATES if saved_at == step else run.save(state, keep=False)
                raise ValueError(
                    f"training diverged between the updates {step} and {step + n_updates} (not finite, or weights "
                    f"beyond {LARGEST_WEIGHT:g}); the last good state is in {path}; try a smaller --learning-rate and "
                    "another --out"
                )
            state, step = advanced, step + n_updates
            progress(n_updates)
            now = time.monotonic()
            n_chunk = max(1, min(2 * n_chunk, int(SECONDS_OF_A_CHUNK * n_updates / (now - began))))
            if step < stop and now - saved_when > SECONDS_AT_RISK:
                run.save(state, keep=False)
                saved_at, saved_when = step, now
        run.save(state)
        saved_at, saved_when = step, time.monotonic()
        is_stuck, n_rejected = int(state.n_rejected) - n_rejected == n_to_do, int(state.n_rejected)
    if is_stuck:
        echo_warnings(["no update was made at the end, for the chains could not follow: try a smaller --learning-rate"])
    return state


@jax.jit
def _is_bounded(rbm: RBM) -> Bool[Array, ""]:
    """Whether all parameters are finite, and no weight is beyond what a training can mean."""
    return (finite_status(rbm) == Status.SUCCESS) & (jnp.abs(rbm.weights) < LARGEST_WEIGHT).all()


def _check_chains(key, chains: Array | TrajectoryChains | None) -> Array | None:
    """States of the trained RBM, if the estimator carries some; those of a ladder after a look at its health."""
    if not isinstance(chains, TrajectoryChains):
        return chains
    with collect_warnings() as messages:
        ladder_health(key, chains.ladder, chains.tempering)
    echo_warnings(messages)
    return live_states(chains)


@eqx.filter_jit
def _observe_step(estimator: AbstractEstimator, data: Array, state: TrainState) -> dict[str, Array]:
    """What the estimator's next step would do to the modes."""
    gradient, _ = estimator(jax.random.fold_in(jax.random.key(0), state.step), state.rbm, data, state.carry)
    return vars(mode_motion(svd_modes(state.rbm.weights), -gradient.weights))
