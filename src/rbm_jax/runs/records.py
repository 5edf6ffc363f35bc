"""The numbers of a training as it goes: a line of JSON at each look at it."""

import json
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.files import atomic_write
from rbm_jax._internal.typing import Array
from rbm_jax.likelihood import pseudo_log_likelihood
from rbm_jax.model import RBM, visible_free_energy
from rbm_jax.runs.folder import RECORDS, read_records
from rbm_jax.runs.sources import Dataset
from rbm_jax.sampling import TrajectoryChains, live_states
from rbm_jax.spectral import svd_modes
from rbm_jax.training import TrainState

__all__ = ["Recorder", "some_rows"]

N_VALUES = 5
"""Leading singular values in a record."""
N_ROWS = 2000
"""Samples that a record looks at: their noise is small beside that of a minibatch, and so is their cost."""
N_FLIPS = 2**27
"""Samples times weights of which a record takes the pseudo-likelihood, at most: about a second."""


def some_rows(samples: Any, most: int = N_ROWS) -> Any:
    """At most so many samples, evenly spaced in the data set."""
    return samples[np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)]


class Recorder:
    """Writes records of one run.

    Args:
        folder: of the run. Records of updates after `step`, which will be done again, are dropped.
        training: what is trained on.
        held_out: what is not, or None.
        updates_per_epoch: minibatches in as many samples as there are.
        step: updates done.

    Attributes:
        updates: those with a record.
    """

    def __init__(self, folder: Path, training: Dataset, held_out: Dataset | None, updates_per_epoch: float, step: int):
        self._path = folder / RECORDS
        self._samples = {
            name: (jnp.asarray(some_rows(each.samples)), None if each.weights is None else some_rows(each.weights))
            for name, each in {"training": training, "held_out": held_out}.items()
            if each is not None and not each.is_lossy  # energies of those that are not whole mean nothing
        }
        self._updates_per_epoch = updates_per_epoch
        self._then, self._step = time.monotonic(), step
        kept = [record for record in read_records(folder) if record["update"] <= step]
        self.updates = {record["update"] for record in kept}
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(f"{json.dumps(record)}\n" for record in kept))

    def __call__(self, state: TrainState, now: float) -> dict[str, Any]:
        """Append the record of a state at this time on the clock of the trainer, and return it."""
        step, clock = int(state.step), time.monotonic()
        rate = (step - self._step) / max(clock - self._then, 1e-9)
        self._step, self._then = step, clock
        chains = live_states(state.carry) if isinstance(state.carry, TrajectoryChains) else state.carry
        found = jax.device_get(_numbers(state.rbm, self._samples, chains))
        energies = found["free_energy"]
        record = {
            "update": step,
            "time": float(now),
            "epoch": step / self._updates_per_epoch,
            "updates_per_second": rate,
            "n_rejected": int(state.n_rejected),
            **jax.tree.map(lambda leaf: np.asarray(leaf, float).tolist(), found),
        }
        if {"training", "held_out"} <= set(energies):
            record["log_likelihood_gap"] = float(energies["held_out"] - energies["training"])
        if isinstance(state.carry, TrajectoryChains):
            record["acceptance"] = np.asarray(state.carry.acceptance, float).tolist()
        with self._path.open("a") as file:
            file.write(f"{json.dumps(record)}\n")
        self.updates.add(step)
        return record


@eqx.filter_jit
def _numbers(rbm: RBM, samples: dict[str, tuple[Array, Array | None]], chains: Array | None) -> dict[str, Any]:
    known = samples | ({} if chains is None else {"chains": (chains, None)})
    numbers = {
        "singular_values": svd_modes(rbm.weights).values[:N_VALUES],
        "free_energy": {
            name: jnp.average(visible_free_energy(rbm, each), weights=weights)
            for name, (each, weights) in known.items()
        },
    }
    if samples and rbm.visible_units.states is not None:
        most = max(1, N_FLIPS // rbm.weights.size)
        numbers["pseudo_log_likelihood"] = {
            name: pseudo_log_likelihood(
                rbm, some_rows(each, most), None if weights is None else some_rows(weights, most)
            )
            for name, (each, weights) in samples.items()
        }
    return numbers
