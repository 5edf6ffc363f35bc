"""What a run knows of itself."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.typing import Array
from rbm_jax.io import load_rbm, load_trajectory, saved_updates
from rbm_jax.model import RBM, Trajectory
from rbm_jax.runs.folder import (
    DIGESTS,
    MODEL,
    UPDATES,
    check_unmixed,
    digest,
    latest_update,
    read_latest,
    read_records,
    run_settings,
)
from rbm_jax.runs.recipe import Recipe
from rbm_jax.runs.sources import Dataset, Source

__all__ = ["Run", "from_settings"]


class Run:
    """A training in its folder, finished or not; nothing is written.

    It may be read while it trains: `updates`, `n_updates`, `is_finished`, `trajectory` and `records` are those of the
    moment; `rbm` and `chains` are read once, together, so another `Run` shows later ones.

    Args:
        folder: where `train_run` or `rbm-jax train` wrote.
        update: one of `updates`, at which `rbm` and `chains` are taken; None for the latest state.

    Attributes:
        folder: as given.
        update: as given.

    Raises:
        ValueError, OSError: no such run, no such update, or a folder that mixes two runs.

    Example:
        >>> import tempfile
        >>> from rbm_jax.runs import Recipe, Run, Source, train_run
        >>> folder = tempfile.mkdtemp()
        >>> state = train_run(folder, Source("digits"), Recipe(n_hidden=4, n_updates=20))
        >>> run = Run(folder)
        >>> run.n_updates, run.rbm.weights.shape, run.dataset.samples.shape
        (20, (64, 4), (1797, 64))
    """

    def __init__(self, folder: Path | str, update: int | None = None):
        self.folder, self.update = Path(folder), update
        latest_update(self.folder)
        check_unmixed(self.folder)
        if update is not None and update not in self.updates:
            raise ValueError(
                f"update must be one that is saved in {self.folder}, got {update}; there are {sorted(self.updates)}"
            )

    @property
    def updates(self) -> dict[int, Path]:
        """Files of the saved updates, by the number of updates done."""
        return saved_updates(self.folder / UPDATES)

    @property
    def updates_passed(self) -> list[int]:
        """The saved updates up to `update`; all of them without one."""
        return [each for each in self.updates if self.update is None or each <= self.update]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Fields of source and recipe, and what else the run must agree in to go on."""
        return run_settings(self.folder)

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return from_settings(Recipe, self.settings)

    @property
    def source(self) -> Source:
        """Where its data came from."""
        return from_settings(Source, self.settings)

    @cached_property
    def _split(self) -> tuple[Dataset, Dataset | None]:
        settings, recipe = self.settings, self.recipe
        training, held_out = self.source.load_split(recipe.held_out, recipe.seed)
        for name, each in (("samples", training), ("held_out_samples", held_out)):
            known, now = settings.get(name), None if each is None else digest(each.samples)
            if known is not None and known != now:
                argument = DIGESTS[name] if self.source.test else "data"
                raise ValueError(
                    f"{argument}: the samples of {getattr(self.source, argument)} are not those that the run in "
                    f"{self.folder} was made with: bring these back, say where they are now (rbm-jax train --resume "
                    f"{self.folder} --{argument} FILE), or name other data on purpose (--data of the other commands)"
                )
        return training, held_out

    @property
    def dataset(self) -> Dataset:
        """The data it is trained on, known again by their digest.

        Raises:
            ValueError, OSError: they are gone or have changed.
        """
        return self._split[0]

    @property
    def held_out(self) -> Dataset | None:
        """The data that were kept from it; None if there are none."""
        return self._split[1]

    @cached_property
    def _model(self) -> tuple[RBM, Array | None]:
        if self.update is not None:
            return load_rbm(self.updates[self.update])
        return read_latest(self.folder, load_rbm) or load_rbm(self.folder / MODEL)

    @property
    def rbm(self) -> RBM:
        """The RBM at `update`, or at the latest one; of a folder without checkpoints that in rbm.h5."""
        return self._model[0]

    @property
    def chains(self) -> Array | None:
        """Its persistent chains, where the method has some."""
        return self._model[1]

    @property
    def n_updates(self) -> int:
        """Updates done."""
        path = latest_update(self.folder)
        return 0 if path is None else int(path.name.partition(".")[0])

    @property
    def is_finished(self) -> bool:
        """Whether all updates of the recipe are done, and rbm.h5 holds the RBM after the last one."""
        path, recipe = self.folder / MODEL, from_settings(Recipe, run_settings(self.folder))
        latest = read_latest(self.folder, load_rbm)
        if latest is None or self.n_updates < recipe.n_updates or not path.is_file():
            return False
        pairs = zip(*(jax.tree.leaves(rbm) for rbm, _ in (latest, load_rbm(path))), strict=True)
        return all(np.array_equal(*pair) for pair in pairs)  # else it is from before the run was made longer

    @property
    def trajectory(self) -> Trajectory:
        """The RBMs of the saved updates, up to `update` if that is given."""
        return self.trajectory_of(None if self.update is None else self.updates_passed)

    def trajectory_of(self, updates: Sequence[int] | None) -> Trajectory:
        """The RBMs of some saved updates; None for all.

        Raises:
            ValueError: updates that are not saved, or a folder that mixes two runs.

        Warns:
            UserWarning: damaged files, which are left out.
        """
        run_settings(self.folder)
        check_unmixed(self.folder)
        return load_trajectory(self.folder / UPDATES, updates=updates)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The numbers that were written while it trained, in their order."""
        return read_records(self.folder)


def from_settings(kind: type, settings: dict[str, Any]) -> Any:
    """A dataclass, such as `Source`, from the settings that a run remembers.

    Raises:
        ValueError: settings that do not fit, of another version.
    """
    try:
        return kind(
            **{field.name: settings[field.name] for field in dataclasses.fields(kind) if field.name in settings}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"this version cannot read the settings of the run: {error}") from error
