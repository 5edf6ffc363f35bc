"""Trainings that are stopped in one process: signals, callbacks, clocks, other threads, readers."""

import dataclasses
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest

from rbm_jax.io import latest_checkpoint, load_rbm, save_rbm
from rbm_jax.runs import Recipe, Run, Source, folder, loop, train_run, training
from rbm_jax.runs.folder import check_unmixed, locked, read_latest
from tests.helpers import same_bits

SMALL = Recipe(n_hidden=3, n_chains=6, batch_size=20, n_sweeps=1, n_updates=30)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).random((40, 3, 3)))
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    train_run(path, Source(data), SMALL)
    return path


def after(n_updates, act):
    """A progress function that acts once so many updates are done."""
    done = 0

    def progress(n_more):
        nonlocal done
        done += n_more
        if n_more and done >= n_updates:
            act()

    return progress


def interrupt():
    raise KeyboardInterrupt


def assert_goes_on_to(finished, path, data):
    """The rest of the training, and then the same run."""
    assert not Run(path).is_finished
    train_run(path, Source(data), SMALL)
    assert Run(path).is_finished
    same_bits(Run(path).trajectory, Run(finished).trajectory)
    same_bits((Run(path).rbm, Run(path).chains), (Run(finished).rbm, Run(finished).chains))
    numbers = [[(each["update"], each["free_energy"]) for each in Run(at).records] for at in (path, finished)]
    assert numbers[0] == numbers[1]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_save_what_is_done(name, data, finished, tmp_path):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt if name == "SIGINT" else SystemExit) as error:
        train_run(tmp_path, Source(data), SMALL, progress=after(17, lambda: os.kill(os.getpid(), number)))
    assert error.value.args == (() if name == "SIGINT" else (128 + number,))
    assert signal.getsignal(number) == before
    assert Run(tmp_path).n_updates == 17
    assert_goes_on_to(finished, tmp_path, data)


@pytest.mark.parametrize("which", ["progress", "report"])
def test_interrupts_by_callbacks_save_what_is_done(which, data, finished, tmp_path):
    callback = {
        "progress": after(18, interrupt),
        "report": lambda record: interrupt() if record["update"] >= 18 else None,
    }[which]
    with pytest.raises(KeyboardInterrupt):
        train_run(tmp_path, Source(data), SMALL, **{which: callback})
    assert Run(tmp_path).n_updates >= 18
    assert_goes_on_to(finished, tmp_path, data)


def test_a_training_in_another_thread_is_stopped_by_a_callback(data, finished, tmp_path):
    stop, errors = threading.Event(), []

    def progress(n_updates):
        stop.set()
        if n_updates:
            interrupt()

    def train():
        try:
            train_run(tmp_path, Source(data), SMALL, progress=progress)
        except KeyboardInterrupt as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert Run(tmp_path).n_updates == 1
    with locked(tmp_path):
        pass
    assert_goes_on_to(finished, tmp_path, data)


def test_two_threads_cannot_write_one_run(data, tmp_path):
    errors = []

    def second():
        try:
            train_run(tmp_path, Source(data), SMALL)
        except BlockingIOError as error:
            errors.append(error)

    def progress(n_updates):
        if n_updates and not errors:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    train_run(tmp_path, Source(data), SMALL, progress=progress)
    assert "is in use" in str(errors[0])


@pytest.mark.parametrize("where", ["_open", "_check_chains"])
def test_signals_before_the_first_and_after_the_last_update_are_not_lost(where, data, finished, tmp_path, monkeypatch):
    real = getattr(training, where)

    def with_signal(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, where, with_signal)
        with pytest.raises(SystemExit):
            train_run(tmp_path, Source(data), SMALL)
    if where == "_open":
        assert Run(tmp_path).n_updates == 0
        assert_goes_on_to(finished, tmp_path, data)
    assert Run(tmp_path).is_finished


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_does_not_wait(data, tmp_path, monkeypatch):
    """It comes while the first one makes the run save."""

    def save(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    def first():
        monkeypatch.setattr(loop, "save_checkpoint", save)
        os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train_run(tmp_path, Source(data), SMALL, progress=after(18, first))
    assert time.monotonic() - began < 9
    assert 0 < Run(tmp_path).n_updates < 18


def test_what_no_file_has_is_never_older_than_save_every(data, tmp_path, monkeypatch):
    """On a clock that stands still but for the updates, of a tenth of a second each."""
    clock, saved, lost = [0.0], [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    fit, save = loop.fit, loop.save_checkpoint

    def slow_fit(key, trainer, state, *args, n_updates, **options):
        clock[0] += 0.1 * n_updates
        lost.append(clock[0] - saved[0])
        return fit(key, trainer, state, *args, n_updates=n_updates, **options)

    def noting_save(*args, **options):
        saved[0] = clock[0]
        return save(*args, **options)

    monkeypatch.setattr(loop, "fit", slow_fit)
    monkeypatch.setattr(loop, "save_checkpoint", noting_save)
    monkeypatch.setattr(training, "_save_points", lambda recipe, batches: [0, 1, recipe.n_updates])
    recipe = dataclasses.replace(SMALL, n_updates=3000)
    train_run(tmp_path, Source(data), recipe, save_every=20.0)
    assert 10 < max(lost) <= 20
    records = [record["update"] for record in Run(tmp_path).records]
    assert np.diff(records).max() * 0.1 <= loop.SECONDS_OF_A_RECORD + 2 * loop.SECONDS_OF_A_CHUNK
    assert len(records) > 8


def test_a_record_that_a_kill_has_kept_from_its_checkpoint_is_made(data, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    lines = (path / "records.jsonl").read_text().splitlines(keepends=True)
    (path / "records.jsonl").write_bytes("".join(lines[:-1]).encode() + b'{"update": 30, "ti\xff')
    train_run(path, Source(data), SMALL)
    records = [[dict(each, updates_per_second=0) for each in Run(at).records] for at in (path, finished)]
    assert records[0] == records[1]


def test_a_run_that_was_made_longer_is_not_finished_with_its_old_rbm(data, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    longer = dataclasses.replace(SMALL, n_updates=40)
    train_run(path, Source(data), longer)
    assert Run(path).is_finished
    shutil.copy(finished / "rbm.h5", path / "rbm.h5")  # as a kill before it was written leaves it
    assert not Run(path).is_finished
    train_run(path, Source(data), longer)
    assert Run(path).is_finished


def test_readers_wait_for_a_checkpoint_that_is_replaced(finished, tmp_path, monkeypatch):
    gone, real = [tmp_path / "00000017.interim.h5"] * 2, latest_checkpoint
    monkeypatch.setattr(folder, "latest_checkpoint", lambda path: gone.pop() if gone else real(path))
    assert read_latest(finished, load_rbm)[0].weights.shape == (9, 3)
    assert not gone
    monkeypatch.setattr(folder, "latest_checkpoint", lambda path: tmp_path / "gone.h5")
    with pytest.raises(FileNotFoundError, match="replaced faster than"):
        read_latest(finished, load_rbm)


def test_rbm_and_chains_of_a_run_belong_together(data, tmp_path):
    early = []

    def report(record):
        if record["update"] == 3:
            early.append(Run(tmp_path))
            _ = early[0].rbm
        elif early:
            assert early[0].n_updates == record["update"]

    train_run(tmp_path, Source(data), SMALL, report=report)
    third = Run(tmp_path, update=3)
    same_bits((early[0].rbm, early[0].chains), (third.rbm, third.chains))
    assert early[0].is_finished


def test_mixtures_are_refused_by_readers_and_seen_in_what_is_not_kept(data, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_save_points", lambda recipe, batches: [0, recipe.n_updates])
    path, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished, path)
    recipe = dataclasses.replace(SMALL, seed=1, n_updates=10**6)
    with pytest.raises(KeyboardInterrupt):
        train_run(other, Source(data), recipe, progress=after(50, interrupt))
    latest = latest_checkpoint(other / "updates")
    assert latest.name.endswith(".interim.h5")
    shutil.copy(latest, path / "updates" / latest.name)
    with pytest.raises(ValueError, match="mixes two runs: seed is 0"):
        check_unmixed(path)
    with pytest.raises(ValueError, match="mixes two runs: seed is 0"):
        _ = Run(path).trajectory


def test_folders_of_other_things_are_refused(data, finished, tmp_path):
    (tmp_path / "updates").mkdir()
    save_rbm(tmp_path / "rbm.h5", Run(finished).rbm)
    (tmp_path / "updates" / "00000001.h5").write_bytes(b"of another program")
    warned = pytest.warns(UserWarning, match="is damaged")
    with warned, pytest.raises(ValueError, match="cannot be read: move them"):
        train_run(tmp_path, Source(data), SMALL)
    with pytest.raises(ValueError, match="save_every must be"):
        train_run(tmp_path, Source(data), SMALL, save_every=0.0)


def test_file_systems_without_locks_are_named(tmp_path, monkeypatch):
    import filelock

    def acquire(self, timeout):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OSError, match="on a file system without locks"), locked(tmp_path):
        pass


def test_records_of_tempered_chains_have_the_acceptance_of_swaps(data, tmp_path):
    recipe = dataclasses.replace(SMALL, method="ptt", n_rungs=3, held_out=0.25, n_updates=10)
    train_run(tmp_path, Source(data), recipe)
    for record in Run(tmp_path).records:
        assert len(record["acceptance"]) == 2
        assert set(record["free_energy"]) == {"training", "held_out", "chains"}
        assert set(record["pseudo_log_likelihood"]) == {"training", "held_out"}
        assert isinstance(record["n_rejected"], int)


def test_records_of_lossy_data_have_the_energy_of_the_chains_alone(tmp_path):
    rng = np.random.default_rng(0)
    images = np.where(rng.random((40, 3, 3)) < 0.2, np.nan, rng.integers(0, 2, (40, 3, 3)))
    np.save(tmp_path / "lossy.npy", images)
    np.save(tmp_path / "test.npy", np.nan_to_num(images))
    train_run(tmp_path / "a", Source(tmp_path / "lossy.npy", missing="NaN"), dataclasses.replace(SMALL, n_updates=5))
    last = Run(tmp_path / "a").records[-1]
    assert set(last["free_energy"]) == {"chains"}
    assert "pseudo_log_likelihood" not in last
    json.loads(json.dumps(last, allow_nan=False))
    whole = Source(tmp_path / "lossy.npy", missing="NaN", test=tmp_path / "test.npy")
    train_run(tmp_path / "b", whole, dataclasses.replace(SMALL, n_updates=5))
    assert set(Run(tmp_path / "b").records[-1]["pseudo_log_likelihood"]) == {"held_out"}
