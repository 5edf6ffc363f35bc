"""Trainings in processes that are killed; `python -m benchmarks.kills` does more of the same on the digits."""

import contextlib
import json
import shutil
import signal
import time

import numpy as np
import pytest

from benchmarks import kills
from rbm_jax.runs import Recipe, Run, Source, train_run
from rbm_jax.runs.folder import locked

N_UPDATES = 30_000
RECIPE = {"n_hidden": 3, "n_chains": 6, "batch_size": 20, "n_sweeps": 1, "n_updates": N_UPDATES}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).random((40, 3, 3)))
    return kills.Task(str(path), RECIPE, save_every=0.1, pause=0.03)


def resume(folder, task):
    train_run(folder, Source(task.data), Recipe(**task.recipe))


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "whole"
    resume(folder, task)
    return folder


@contextlib.contextmanager
def training(folder, task, least):
    """A process that trains, once it has trained and so many updates are done."""
    n_before = len(kills.progress_of(folder))
    process = kills.start(folder, task)
    try:
        log = []
        while process.poll() is None and (len(log) < 2 or log[-1][1] < least):  # at first it logs what was done before
            time.sleep(0.005)
            log = kills.progress_of(folder)[n_before:]
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        if not process.stderr.closed:
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_three_kills_lose_nothing_that_was_promised(number, task, whole):
    """Of one training, which is resumed after each."""
    folder = whole.parent / number.name
    moments = np.sort(np.random.default_rng(int(number)).integers(1, N_UPDATES // 3, 3))
    for moment in moments:
        with training(folder, task, moment) as process:
            with pytest.raises(BlockingIOError, match="is in use: another process writes"), locked(folder):
                pass
            found = kills.kill(process, folder, number, 0.0)
        assert found is not None
        assert (found.n_damaged, found.exit_code) == (0, -9 if number == signal.SIGKILL else 143)
        assert found.seconds_to_end < 10
        if number == signal.SIGTERM:
            assert (found.lost_updates, found.n_half_written) == (0, 0)
        assert not Run(folder).is_finished
    resume(folder, task)
    assert kills.differences(folder, whole) == []
    assert Run(folder).is_finished


def test_differences_of_runs_are_found(whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    assert kills.differences(other, whole) == []
    path = other / "updates" / "00000002.h5"
    path.write_bytes((path.parent / "00000001.h5").read_bytes())
    records = Run(other).records
    (other / "records.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records[:-1]))
    found = kills.differences(other, whole)
    assert "updates/00000002.h5: rbm/weights" in found
    assert "the records" in found
    path.unlink()
    assert "the files" in kills.differences(other, whole)[0]
