"""A training that is killed, interrupted, full, diverged or finished, and what becomes of it."""

import json
import resource
import shutil

import h5py
import jax
import numpy as np
import pytest

from rbm_jax.cli import run
from rbm_jax.io import latest_checkpoint, load_config, load_rbm, load_trajectory, saved_updates
from rbm_jax.runs import loop, training

TINY = ["--n-hidden", "3", "--n-chains", "6", "--batch-size", "20", "--n-sweeps", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).random((40, 3, 3)))
    return path


def train(data, folder, *options):
    return run(["train", "--data", str(data), *TINY, *options, "--out", str(folder)])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert train(data, folder, "--n-updates", "60") == 0
    return folder


def contents(path):
    """All arrays of a file, and the attributes that make out a run."""
    with h5py.File(path) as file:
        found = {name: file.attrs[name] for name in ("config", "leaves")}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_run(folder, expected):
    """The same files with the same bits."""
    names = [sorted(path.name for path in (each / "updates").iterdir()) for each in (folder, expected)]
    assert names[0] == names[1]
    for name in ("rbm.h5", *(f"updates/{name}" for name in names[0])):
        if name == "rbm.h5":
            found, target = ({"rbm": load_rbm(each / name)[0].weights} for each in (folder, expected))
        else:
            found, target = contents(folder / name), contents(expected / name)
        assert found.keys() == target.keys()
        for key in found:
            np.testing.assert_array_equal(found[key], target[key], err_msg=f"{name}: {key}")


def stop_after(monkeypatch, n_updates):
    """Let trainings look after every update, and end after so many of them as if by Ctrl-C."""
    real = loop.fit

    def fit(key, trainer, state, *args, **options):
        if state.step >= n_updates:
            raise KeyboardInterrupt
        return real(key, trainer, state, *args, **options)

    monkeypatch.setattr(loop, "fit", fit)
    monkeypatch.setattr(loop, "SECONDS_OF_A_CHUNK", 0.0)


@pytest.mark.parametrize("method", ["pcd", "ptt"])
def test_interrupted_training_goes_on_to_the_same_bits(data, finished, tmp_path, monkeypatch, capsys, method):
    whole, folder, options = finished, tmp_path / "run", ["--n-updates", "60"]
    if method == "ptt":
        whole, options = tmp_path / "whole", [*options, "--method", "ptt", "--n-rungs", "3"]
        assert train(data, whole, *options) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 58)
        assert train(data, folder, *options, "--save-every", "1e-9") == 130
    latest = latest_checkpoint(folder / "updates")
    assert latest.name == "00000058.interim.h5"
    assert load_rbm(latest)[1].shape[1] == 9
    assert not (folder / "rbm.h5").exists()
    assert run(["sample", str(folder), "--n-sweeps", "1", "--n-samples", "4"]) == 0
    (folder / "updates" / ".00000059-killed.h5").write_bytes(b"half")
    capsys.readouterr()
    # The command as it was, or what the run remembers of it.
    assert (train(data, folder, *options) if method == "pcd" else run(["train", "--resume", str(folder)])) == 0
    assert "has 58 of 60 updates: going on from there" in capsys.readouterr().out
    assert_same_run(folder, whole)
    assert run(["train", "--resume", str(folder)]) == 0
    assert "is finished, with 60 updates" in capsys.readouterr().out
    assert_same_run(folder, whole)


def test_rejected_updates_are_counted_and_reported(data, tmp_path, capsys):
    reckless = ["--method", "ptt", "--n-rungs", "3", "--learning-rate", "1000", "--n-updates", "12"]
    assert train(data, tmp_path, *reckless) == 0
    training = load_trajectory(tmp_path / "updates").rbms  # kept after each update, of which there are so few
    n_rejected = int((np.diff(training.weights, axis=0) == 0).all((1, 2)).sum())
    assert 0 < n_rejected <= 12
    captured = capsys.readouterr()
    assert f"{n_rejected} of 12 updates were rejected: the chains could not follow" in captured.out
    is_stuck = bool((training.weights[-1] == training.weights[-2]).all())
    assert ("no update was made at the end" in captured.err) == is_stuck


def test_finished_run_can_be_made_longer(data, finished, tmp_path, capsys):
    whole, folder = tmp_path / "whole", tmp_path / "longer"
    assert train(data, whole, "--n-updates", "80") == 0
    shutil.copytree(finished, folder)
    assert run(["train", "--resume", str(folder), "--n-updates", "80"]) == 0
    ends = [contents(latest_checkpoint(each / "updates")) for each in (whole, folder)]
    for name in ends[0]:
        np.testing.assert_array_equal(*(end[name] for end in ends), err_msg=name)
    assert set(saved_updates(finished / "updates")) < set(saved_updates(folder / "updates"))
    assert load_config(saved_updates(folder / "updates")[60])["n_updates"] == 80


def test_options_that_would_make_another_run_are_refused_by_name(data, finished, tmp_path, capsys):
    np.save(tmp_path / "other.npy", np.random.default_rng(1).random((40, 3, 3)))
    before = {path: path.read_bytes() for path in finished.rglob("*.h5")}
    options = {
        "n-hidden": "4", "n-chains": "7", "method": "cd", "units": "spin", "seed": "1", "learning-rate": "0.1",
        "n-sweeps": "2", "batch-size": "10", "threshold": "0.4", "l1": "0.1", "l2": "0.1", "order": "1", "n-rungs": "4",
        "data": str(tmp_path / "other.npy"), "n-updates": "59",
    }  # fmt: skip
    for name, value in options.items():
        arguments = ["train", "--resume", str(finished), f"--{name}", value]
        assert run(arguments) == 2, name
        assert f"--{name}" in capsys.readouterr().err, name
    assert train(data, finished, "--n-updates", "60", "--seed", "5") == 2
    message = capsys.readouterr().err
    assert f"--seed is 5, but {finished} holds a run with 0" in message
    assert f"--resume {finished}" in message
    assert run(["train", "--resume", str(finished), "--out", str(tmp_path)]) == 2
    assert "leave --out away" in capsys.readouterr().err
    assert run(["train", "--resume", str(tmp_path)]) == 2
    assert "no saved updates" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in finished.rglob("*.h5")}


def test_changed_data_are_refused_and_moved_ones_are_not(data, finished, tmp_path, capsys):
    folder, moved = tmp_path / "run", tmp_path / "moved.npy"
    shutil.copytree(finished, folder)
    shutil.copy(data, moved)
    assert run(["train", "--resume", str(folder), "--data", str(moved)]) == 0
    assert load_config(latest_checkpoint(folder / "updates"))["data"] == str(moved)
    np.save(moved, 1 - np.load(moved))
    capsys.readouterr()
    assert run(["train", "--resume", str(folder)]) == 2
    assert "are not those of the run" in capsys.readouterr().err
    moved.unlink()
    assert run(["train", "--resume", str(folder)]) == 2
    assert "there is no file or folder" in capsys.readouterr().err


def test_damaged_and_foreign_files_are_passed_over_by_name(data, finished, tmp_path, capsys):
    updates = tmp_path / "updates"
    updates.mkdir()
    for path in saved_updates(finished / "updates").values():
        (updates / path.name).write_bytes(path.read_bytes())
    (updates / "00000060.h5").write_bytes((updates / "00000060.h5").read_bytes()[:-1])
    assert run(["train", "--resume", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "warning: ignored" in captured.err
    assert "00000060.h5 is damaged" in captured.err
    assert "updates: going on from there" in captured.out
    assert_same_run(tmp_path, finished)
    for path in updates.iterdir():
        path.write_bytes(b"of another program")
    assert train(data, tmp_path, "--n-updates", "60") == 2
    assert "holds files that cannot be read" in capsys.readouterr().err


def test_divergence_stops_with_the_last_good_state(data, tmp_path, capsys):
    assert train(data, tmp_path, "--n-updates", "100000000", "--learning-rate", "3000") == 2
    message = capsys.readouterr().err
    assert "diverged" in message
    assert f"the last good state is in {tmp_path / 'updates'}" in message
    assert not (tmp_path / "rbm.h5").exists()
    files = list((tmp_path / "updates").iterdir())
    assert latest_checkpoint(tmp_path / "updates") in files
    assert all((abs(np.asarray(load_rbm(path)[0].weights)) < 1e3).all() for path in files)


def test_full_disk_is_one_line_and_leaves_the_run_as_it_was(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*.h5")}
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        assert run(["train", "--resume", str(folder), "--n-updates", "80"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capsys.readouterr().err
    assert "File too large" in message
    assert "Traceback" not in message
    assert before == {path: path.read_bytes() for path in folder.rglob("*.h5")}


def test_other_software_and_devices_are_told():
    was, now = {"jax": "0.1", "device": "cpu"}, {"jax": "0.2", "device": "cpu"}
    with pytest.warns(UserWarning, match=r"the run was with jax 0.1 \(now 0.2\): it may go on with other rounding"):
        training._warn_of_changes(was, now)
    training._warn_of_changes(now, now)


def test_files_say_what_wrote_them(finished):
    path = saved_updates(finished / "updates")[60]
    with h5py.File(path) as file:
        versions = json.loads(file.attrs["versions"])
    assert versions["jax"] == jax.__version__
    assert versions["device"] == jax.devices()[0].device_kind
    assert load_config(path)["method"] == "pcd"
    trajectory = load_trajectory(finished / "updates")
    np.testing.assert_allclose(trajectory.ts[-1], 3.0, rtol=1e-6)
    assert trajectory.observations["epochs"][-1] == 30
