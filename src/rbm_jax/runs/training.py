"""A training that goes into a folder as it goes on, and goes on from there whatever ended it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from rbm_jax._internal.checks import check_positive
from rbm_jax._internal.files import atomic_write
from rbm_jax._internal.typing import Array
from rbm_jax.io import load_checkpoint, save_rbm, saved_updates, software_versions
from rbm_jax.likelihood.health import ladder_health
from rbm_jax.runs.folder import (
    MODEL,
    RECIPE,
    RECORDS,
    UPDATES,
    check_same_run,
    check_unmixed,
    digest,
    latest_update,
    locked,
    prepare_folder,
    stored_settings,
)
from rbm_jax.runs.loop import Loop, OpenRun, leave_if_told
from rbm_jax.runs.recipe import Recipe, to_toml
from rbm_jax.runs.records import Recorder, some_rows
from rbm_jax.runs.signals import held_signals
from rbm_jax.runs.sources import Dataset, Source
from rbm_jax.sampling import TrajectoryChains, live_states
from rbm_jax.sharding import check_even, place_state
from rbm_jax.training import Batches, TrainState, log_spaced_updates

__all__ = ["NAMED_EPOCHS", "train_run"]

N_SAVES = 50
NAMED_EPOCHS = (1, 10, 100)
"""After which the RBM is kept too, so that pictures can show it then."""


def train_run(
    folder: Path | str,
    source: Source,
    recipe: Recipe,
    *,
    progress: Callable[[int], Any] | None = None,
    report: Callable[[dict[str, Any]], Any] | None = None,
    mesh: Mesh | None = None,
    save_every: float = 300.0,
) -> TrainState:
    """Train as the recipe says, with all that is needed in the folder.

    If the folder holds a part of this very run, only the rest is done, with the same result to the bit. Observations of
    the saved updates are the epochs done and the fields of `dynamics.ModeMotion` for the estimator's step.

    SIGINT, SIGTERM and SIGHUP save the run on the way out, within seconds; so does an error, or a KeyboardInterrupt
    that `progress` or `report` raises. Signals come to the main thread alone: in another one, that is how to stop.

    Args:
        folder: made if it is not there. `Run` reads it.
        source: where the data come from.
        recipe: how to train.
        progress: called with the number of updates done since its last call.
        report: called with each record, as it is written to records.jsonl.
        mesh: devices to divide the chains and the minibatches among.
        save_every: seconds of training that may be lost where the process is killed.

    Returns:
        The state after the last update.

    Raises:
        ValueError, OSError: a training that diverged, data that cannot be read, a folder that cannot be written or that
            holds another run, or chains that the devices cannot share evenly.
        BlockingIOError: another process writes to the folder.
        KeyboardInterrupt, SystemExit: a signal came; the run is saved.

    Warns:
        UserWarning: what a user should know of the run that goes on, and of chains that could not follow.

    Example:
        >>> import tempfile
        >>> from rbm_jax.runs import Recipe, Run, Source, train_run
        >>> folder = tempfile.mkdtemp()
        >>> state = train_run(folder, Source("digits"), Recipe(n_hidden=4, n_updates=20))
        >>> Run(folder).is_finished
        True
    """
    folder = Path(folder)
    check_positive("save_every", save_every)
    if mesh is not None:
        check_even("n_chains", recipe.n_chains, mesh)
    dataset, held_out = source.load_split(recipe.held_out, recipe.seed)
    if source.missing is not None and not dataset.is_lossy:
        warnings.warn(f"missing: no entry of the data is {source.missing}, they count as complete", stacklevel=2)
    dataset.check_trainable()
    settings = _settings(source, recipe, dataset, held_out, mesh)
    prepare_folder(folder / UPDATES)
    with locked(folder), held_signals() as signal_that_came:
        run, state, batches = _open(folder, source, recipe, (dataset, held_out), settings, mesh, save_every)
        if progress is not None:
            progress(int(state.step))
        state = Loop(run, state, _save_points(recipe, batches), signal_that_came, progress, report).train()
        key_health = jax.random.split(jax.random.key(recipe.seed), 3)[1]
        save_rbm(folder / MODEL, state.rbm, chains=_check_chains(key_health, state.carry))
        leave_if_told(signal_that_came())
    return state


def _settings(
    source: Source, recipe: Recipe, dataset: Dataset, held_out: Dataset | None, mesh: Mesh | None
) -> dict[str, Any]:
    """What the run remembers of itself."""
    settings = source.settings() | recipe.settings()
    settings |= {"alphabet": dataset.alphabet, "samples": digest(dataset.samples)}
    settings["held_out_samples"] = None if held_out is None else digest(held_out.samples)
    return settings | {"devices": 1 if mesh is None else mesh.size}


def _open(
    folder: Path,
    source: Source,
    recipe: Recipe,
    data: tuple[Dataset, Dataset | None],
    settings: dict[str, Any],
    mesh: Mesh | None,
    save_every: float,
) -> tuple[OpenRun, TrainState, Batches]:
    """The run in the folder, and the state that it has by now."""
    dataset, held_out = data
    latest, stored = _latest(folder, settings)
    trainer = recipe.make_trainer(is_lossy=dataset.is_lossy)
    key, state = recipe.start(dataset, trainer, stored["devices"])
    if latest is not None:
        checkpoint = load_checkpoint(latest, state)
        state, key = checkpoint.state, checkpoint.key
        _check_goes_on(folder, int(state.step), recipe.n_updates)
        was = checkpoint.versions | {"devices": stored["devices"]}
        _warn_of_changes(was, software_versions() | {"devices": settings["devices"]})
    if mesh is not None:
        state = place_state(state, mesh)
    batches = recipe.make_batches(dataset, mesh)
    updates_per_epoch = len(batches.data) / batches.n_rows
    with atomic_write(folder / RECIPE) as temporary:
        temporary.write_text(to_toml(source.settings() | recipe.settings()), encoding="utf-8")
    record = Recorder(folder, dataset, held_out, updates_per_epoch, int(state.step))
    observed = jnp.asarray(some_rows(dataset.samples))
    run = OpenRun(folder, key, trainer, batches, observed, settings, record, save_every)
    if latest is None or stored != settings:
        run.save(state, keep=latest is None or latest in saved_updates(folder / UPDATES).values())
    return run, state, batches


def _latest(folder: Path, settings: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The latest checkpoint in the folder, if there is one, and the settings that the run has.

    Raises:
        ValueError: a folder that holds another run, or damaged files alone.
    """
    updates, latest = folder / UPDATES, latest_update(folder)
    if latest is None and saved_updates(updates):
        raise ValueError(f"{updates} holds files that cannot be read: move them away, or train into another folder")
    if latest is None and (folder / MODEL).exists():
        raise ValueError(f"{folder} holds {MODEL}, but no saved updates of its training: train into another folder")
    stored = settings if latest is None else stored_settings(latest)
    check_unmixed(folder)
    check_same_run(folder, stored, settings)
    cut_short = [each for name in (MODEL, RECIPE, RECORDS) for each in folder.glob(f".{Path(name).stem}-*")]
    for path in [*updates.glob(".*.h5"), *cut_short]:  # what killed writes have left
        path.unlink(missing_ok=True)
    return latest, stored


def _check_goes_on(folder: Path, done: int, n_updates: int) -> None:
    if n_updates < done:
        raise ValueError(f"n_updates must be at least the {done} that the run in {folder} has done, got {n_updates}")


def _warn_of_changes(was: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [f"{name} {value} (now {now.get(name)})" for name, value in was.items() if now.get(name) != value]
    if changed:
        warnings.warn(f"the run was with {', '.join(changed)}: it may go on with other rounding errors", stacklevel=4)


def _save_points(recipe: Recipe, batches: Batches) -> list[int]:
    """Updates after which the RBM is kept."""
    epochs = [round(epoch * len(batches.data) / batches.n_rows) for epoch in NAMED_EPOCHS]
    spaced = log_spaced_updates(recipe.n_updates, N_SAVES)
    return sorted({*spaced.tolist(), *(update for update in epochs if update <= recipe.n_updates)})


def _check_chains(key, chains: Array | TrajectoryChains | None) -> Array | None:
    """States of the trained RBM, if the estimator carries some; those of a ladder after a look at its health."""
    if not isinstance(chains, TrajectoryChains):
        return chains
    ladder_health(key, chains.ladder, chains.tempering)
    return live_states(chains)
