"""The loop of a training in a folder: from save point to save point, with looks at the clock and at signals."""

import contextlib
import dataclasses
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.typing import Array, Bool
from rbm_jax.dynamics import mode_motion
from rbm_jax.io import save_checkpoint
from rbm_jax.model import RBM, Status
from rbm_jax.model.trajectory import finite_status
from rbm_jax.runs.folder import UPDATES, latest_update
from rbm_jax.runs.records import Recorder
from rbm_jax.spectral import svd_modes
from rbm_jax.training import AbstractEstimator, Batches, Trainer, TrainState, fit
from rbm_jax.training.loop import times_at

__all__ = ["Loop", "OpenRun", "leave_if_told"]

SECONDS_OF_A_CHUNK = 3.0
"""Between looks at the weights, and at the signals that have come."""
SECONDS_OF_A_RECORD = 30.0
"""Between records, at most, beside those at saved updates."""
LARGEST_WEIGHT = 1e3
"""In units of k_BT: beyond, a training has run away, though all is finite still."""


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A training in its folder.

    Attributes:
        folder: the run's.
        key: of the run.
        trainer: how to train.
        batches: the data.
        observed: samples on which the estimator's step is observed at each save.
        settings: what the run remembers of itself.
        record: writes the numbers of a state.
        save_every: seconds of training that may be in no file yet.
    """

    folder: Path
    key: Array
    trainer: Trainer
    batches: Batches
    observed: Array
    settings: dict[str, Any]
    record: Recorder
    save_every: float

    def advance(self, state: TrainState, n_updates: int) -> TrainState:
        """The state after so many updates more."""
        return fit(self.key, self.trainer, state, self.batches, n_updates=n_updates, save_at=(n_updates,))[0]

    def time_of(self, state: TrainState) -> Array:
        """On the clock of the trainer."""
        return times_at(self.trainer.time_step, state.step, np.zeros(1, int), state.rbm.dtype)[0]

    def save(self, state: TrainState, *, keep: bool = True) -> Path:
        """Write a checkpoint, with the epochs done and what the estimator's next step would do to the modes."""
        epochs = int(state.step) * self.batches.n_rows / len(self.batches.data)
        observations = {"epochs": epochs, **_observe_step(self.trainer.estimator, self.observed, state)}
        options = {"time": self.time_of(state), "observations": observations, "config": self.settings, "keep": keep}
        return save_checkpoint(self.folder / UPDATES, state, key=self.key, **options)


class Loop:
    """A training that is under way. Whatever ends it, its last state is in a file then.

    Args:
        run: where it belongs.
        state: that of the latest checkpoint.
        save_points: updates after which the RBM is kept, from 0.
        signal_that_came: says which signal has come, or 0.
        progress: called with the number of updates done since its last call, or None.
        report: called with each record, or None.
    """

    def __init__(
        self,
        run: OpenRun,
        state: TrainState,
        save_points: Sequence[int],
        signal_that_came: Callable[[], int],
        progress: Callable | None,
        report: Callable | None,
    ):
        self.run, self.state, self.save_points = run, state, save_points
        self._signal_that_came, self._progress, self._report = signal_that_came, progress, report
        self._saved_step, self._is_saving = self.step, False
        self._saved_when = self._recorded_when = time.monotonic()
        self._n_chunk = 1

    @property
    def step(self) -> int:
        """Updates done."""
        return int(self.state.step)

    def train(self) -> TrainState:
        """The state after the last save point.

        Raises:
            ValueError: the training diverged.
            KeyboardInterrupt, SystemExit: a signal came.

        Warns:
            UserWarning: chains that could not follow.
        """
        is_stuck = False
        try:
            if self.step in self.save_points and self.step not in self.run.record.updates:
                self._record()  # which a kill has kept from it
            leave_if_told(self._signal_that_came())
            for stop in [point for point in self.save_points if point > self.step]:
                step, n_rejected = self.step, int(self.state.n_rejected)
                self._advance_to(stop)
                self._save()
                self._record()
                is_stuck = int(self.state.n_rejected) - n_rejected == stop - step
                leave_if_told(self._signal_that_came())
        except BaseException:
            if not self._is_saving:
                with contextlib.suppress(Exception):  # the error that came first is what to tell
                    self._save()
            raise
        if is_stuck:
            warnings.warn(
                "no update was made at the end, for the chains could not follow: try a smaller learning_rate",
                stacklevel=3,
            )
        return self.state

    def _advance_to(self, stop: int) -> None:
        """Train in chunks of at most a few seconds."""
        save_every = self.run.save_every
        seconds = min(SECONDS_OF_A_CHUNK, save_every / 4)
        while self.step < stop:
            began, n_updates = time.monotonic(), min(self._n_chunk, stop - self.step)
            advanced = self.run.advance(self.state, n_updates)
            if not _is_bounded(advanced.rbm):
                self._save()
                raise _diverged(latest_update(self.run.folder), self.step, n_updates)
            self.state = advanced
            now = time.monotonic()
            self._n_chunk = max(1, min(2 * self._n_chunk, int(seconds * n_updates / (now - began))))
            if self._progress is not None:
                self._progress(n_updates)
            if self.step == stop:
                return
            leave_if_told(self._signal_that_came())
            if now - self._saved_when > save_every - 2 * seconds:  # what the next chunk and a record take
                self._save()
            if now - self._recorded_when > SECONDS_OF_A_RECORD:
                self._record()

    def _save(self) -> None:
        """Write the state, unless it is in a file."""
        if self.step == self._saved_step:
            return
        self._is_saving, now = True, time.monotonic()
        self.run.save(self.state, keep=self.step in self.save_points)
        self._saved_step, self._saved_when, self._is_saving = self.step, now, False

    def _record(self) -> None:
        self._recorded_when = time.monotonic()
        found = self.run.record(self.state, float(self.run.time_of(self.state)))
        if self._report is not None:
            self._report(found)


def leave_if_told(number: int) -> None:
    """End as a signal asks for.

    Args:
        number: of the signal that has come, or 0.

    Raises:
        KeyboardInterrupt: SIGINT.
        SystemExit: another one, with the exit code of a process that it ended.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number:
        raise SystemExit(128 + number)


def _diverged(path: Path | None, step: int, n_updates: int) -> ValueError:
    return ValueError(
        f"training diverged between the updates {step} and {step + n_updates} (not finite, or weights beyond "
        f"{LARGEST_WEIGHT:g}); the last good state is in {path}; try a smaller learning_rate and another folder"
    )


@jax.jit
def _is_bounded(rbm: RBM) -> Bool[Array, ""]:
    """Whether all parameters are finite, and no weight is beyond what a training can mean."""
    return (finite_status(rbm) == Status.SUCCESS) & (jnp.abs(rbm.weights) < LARGEST_WEIGHT).all()


@eqx.filter_jit
def _observe_step(estimator: AbstractEstimator, data: Array, state: TrainState) -> dict[str, Array]:
    """What the estimator's next step would do to the modes."""
    gradient, _ = estimator(jax.random.fold_in(jax.random.key(0), state.step), state.rbm, data, state.carry)
    return vars(mode_motion(svd_modes(state.rbm.weights), -gradient.weights))
