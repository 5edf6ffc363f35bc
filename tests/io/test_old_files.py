"""Files that version 0.1.0 wrote: they load to the numbers that it had, and its runs can be rewritten.

The files in `data/` are of `rbm-jax train` 0.1.0 on the digits, 20 updates by PCD and 3 by PTT, of `save_rbm` and of
`save_trajectories`; `expected-0.1.0.npz` has the arrays as 0.1.0 held them in memory.
"""

import json
import shutil
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, Gaussian, Potts, ReLU, Spin, exact_log_likelihood
from rbm_jax.cli import run
from rbm_jax.data import binarize, load_digits
from rbm_jax.io import (
    convert_run,
    latest_checkpoint,
    load_checkpoint,
    load_config,
    load_rbm,
    load_trajectories,
    load_trajectory,
    save_rbm,
    save_trajectories,
    saved_updates,
)
from rbm_jax.io.files import create_file
from tests.helpers import slow_but

OLD = Path(__file__).parent / "data"
EXPECTED = dict(np.load(OLD / "expected-0.1.0.npz"))
RUNS = [OLD / "run-0.1.0", OLD / "ptt-0.1.0"]


def assert_is(rbm, name):
    for field in ("weights", "visible_bias", "hidden_bias"):
        np.testing.assert_array_equal(getattr(rbm, field), EXPECTED[f"{name}/{field}"])


@pytest.fixture(params=["as it is", "converted"])
def folder(request, tmp_path):
    """All old files, or those that were made of them."""
    if request.param == "as it is":
        return OLD
    convert_run(OLD, tmp_path / "new")
    return tmp_path / "new"


def test_rbms_load_with_their_units_and_chains(folder):
    rbm, chains = load_rbm(folder / "rbm-0.1.0.h5")
    assert_is(rbm, "rbm")
    np.testing.assert_array_equal(chains, EXPECTED["rbm/chains"])
    assert repr((rbm.visible_units, rbm.hidden_units)) == repr((Gaussian(0.7), ReLU(1.3)))


def test_trajectories_load_with_their_observations(folder):
    trajectories = load_trajectories(folder / "trajectories-0.1.0.h5")
    assert set(trajectories) == {"a path"}
    path = trajectories["a path"]
    assert_is(path.rbms, "path")
    assert repr((path.rbms.visible_units, path.rbms.hidden_units)) == repr((Potts(3), Spin()))
    np.testing.assert_array_equal(path.ts, EXPECTED["path/ts"])
    assert path.observations["n"].tolist() == [0, 1, 2]


def test_runs_load_with_their_trajectory_chains_and_settings(folder):
    updates = folder / "run-0.1.0" / "updates"
    assert list(saved_updates(updates)) == [0, 10, 20]
    trajectory = load_trajectory(updates)
    assert_is(trajectory.rbms, "run-path")
    np.testing.assert_array_equal(trajectory.ts, EXPECTED["run-path/ts"])
    np.testing.assert_array_equal(trajectory.observations["epochs"], np.float32(EXPECTED["run-path/epochs"]))
    for path in (latest_checkpoint(updates), folder / "run-0.1.0" / "rbm.h5"):
        rbm, chains = load_rbm(path)
        assert_is(rbm, "run")
        np.testing.assert_array_equal(chains, EXPECTED["run/chains"])
    config = load_config(latest_checkpoint(updates))
    assert (config["data"], config["n_hidden"], config["learning_rate"], config["n_sweeps"]) == ("digits", 4, 0.05, 5)
    assert "n_steps" not in config


def test_chains_of_a_ladder_are_those_that_sample_the_rbm(folder):
    rbm, chains = load_rbm(latest_checkpoint(folder / "ptt-0.1.0" / "updates"))
    assert_is(rbm, "ptt")
    np.testing.assert_array_equal(chains, EXPECTED["ptt/chains"])


@pytest.mark.parametrize("old", RUNS, ids=lambda path: path.name)
def test_old_checkpoints_say_how_to_resume(old, unchecked):
    with pytest.raises(ValueError, match=r"rbm-jax convert or rbm_jax\.io\.convert_run"):
        load_checkpoint(latest_checkpoint(old / "updates"), None)


@pytest.mark.parametrize("old", RUNS, ids=lambda path: path.name)
def test_converted_checkpoints_have_the_leaves_of_a_present_state(tmp_path, old):
    files = convert_run(old, tmp_path / "new")
    assert files == [tmp_path / "new" / path.relative_to(old) for path in sorted(old.rglob("*.h5"))]
    before, after = (latest_checkpoint(folder / "updates") for folder in (old, tmp_path / "new"))
    with h5py.File(before) as source, h5py.File(after) as target:
        leaves = [leaf.replace("chains", "carry", 1) for leaf in json.loads(source.attrs["leaves"])]
        assert json.loads(target.attrs["leaves"]) == [*leaves, "n_rejected"]
        for leaf, old_leaf in zip(leaves, json.loads(source.attrs["leaves"]), strict=True):
            np.testing.assert_array_equal(target[leaf], source[old_leaf])
            assert dict(target[leaf].attrs) == dict(source[old_leaf].attrs)
        assert target["n_rejected"][()] == 0
        assert target["n_rejected"].dtype == source["step"].dtype
        np.testing.assert_array_equal(target["key"], source["key"])
        assert target.attrs["versions"] == source.attrs["versions"]


def test_names_in_a_config_that_is_no_run_of_the_command_line_stay(tmp_path):
    with h5py.File(OLD / "run-0.1.0" / "updates" / "00000020.h5") as old, create_file(tmp_path / "00000020.h5") as file:
        for name in old:
            old.copy(old[name], file, name=name)
        file.attrs.update(old.attrs)  # the old format too
        file.attrs["config"] = json.dumps({"n_steps": 3})
    assert load_config(tmp_path / "00000020.h5") == {"n_steps": 3}


def test_converting_leaves_out_what_is_not_ours_and_writes_into_no_folder_that_is_in_use(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    with pytest.raises(FileNotFoundError, match="no run folder"):
        convert_run(old, new)
    shutil.copytree(OLD / "run-0.1.0", old)
    (old / "samples.png").write_bytes(b"a picture")
    (old / "updates" / "00000010.h5").write_bytes(b"damage")
    (old / "updates" / ".00000030-killed.h5").write_bytes(b"cut short")
    with pytest.warns(UserWarning, match=r"ignored: .*00000010\.h5 is damaged"):
        files = convert_run(old, new)
    assert [path.name for path in files] == ["rbm.h5", "00000000.h5", "00000020.h5"]
    assert sorted(path.name for path in new.rglob("*.*")) == sorted(path.name for path in files)
    with pytest.raises(FileExistsError, match="holds nothing yet"):
        convert_run(old, new)
    (old / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="no files of rbm_jax"):
        convert_run(old / "nothing", tmp_path / "other")


def test_converting_twice_changes_nothing(tmp_path):
    convert_run(OLD, tmp_path / "once")
    files = sorted((tmp_path / "once").rglob("*.h5"))
    for once, twice in zip(files, convert_run(tmp_path / "once", tmp_path / "twice"), strict=True):
        with h5py.File(once) as first, h5py.File(twice) as second:
            assert dict(first.attrs) == dict(second.attrs)
            names = []
            first.visit(names.append)
            for name in names:
                assert dict(first[name].attrs) == dict(second[name].attrs)
                assert hasattr(first[name], "keys") or (first[name][()] == second[name][()]).all()


def test_the_command_converts_a_run(tmp_path, capsys):
    assert run(["convert", str(RUNS[0]), str(tmp_path / "new"), "--json"]) == 0
    report, text = capsys.readouterr()
    files = [str(tmp_path / "new" / path.relative_to(RUNS[0])) for path in sorted(RUNS[0].rglob("*.h5"))]
    assert json.loads(report) == {"files": files}
    assert "wrote 4 files" in text
    assert run(["convert", str(RUNS[0]), str(tmp_path / "new")]) == 2
    assert "holds nothing yet" in capsys.readouterr().err


def test_commands_read_an_old_run_as_it_is(tmp_path, capsys):
    assert run(["likelihood", str(RUNS[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["log_likelihood"]["training data"]["value"]
    rbm, _ = load_rbm(RUNS[0] / "rbm.h5")
    assert found == pytest.approx(float(exact_log_likelihood(rbm, binarize(load_digits()))), rel=1e-5)
    picture = tmp_path / "samples.png"
    assert run(["sample", str(RUNS[0]), "--n-samples", "4", "--n-sweeps", "2", "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("old", "n_updates"),
    slow_but([(RUNS[0], 20)], [(RUNS[0], 20), (RUNS[1], 3)]),  # a state of PTT has its leaves, as tested above
    ids=["PCD", "PTT"],
)
def test_a_converted_run_is_resumed_where_it_was(tmp_path, old, n_updates):
    new = tmp_path / old.name
    convert_run(old, new)
    assert run(["train", "--resume", str(new), "--n-updates", str(n_updates + 2)]) == 0
    done = saved_updates(new / "updates")
    assert max(done) == n_updates + 2
    before, after = load_rbm(done[n_updates])[0], load_rbm(done[n_updates + 2])[0]
    assert_is(before, old.name.partition("-")[0])
    assert 0 < np.abs(after.weights - before.weights).max() < 0.1  # two steps of a rate of 0.05
    assert load_config(done[n_updates + 2])["n_sweeps"] == 5


def test_files_say_their_format_and_later_ones_are_refused(tmp_path):
    rbm = RBM(jnp.ones((2, 3)), jnp.zeros(2), jnp.zeros(3), Gaussian(0.7), Potts(3))
    save_rbm(tmp_path / "rbm.h5", rbm)
    with h5py.File(tmp_path / "rbm.h5") as file:
        assert file.attrs["format"] == "rbm_jax 2"
        assert json.loads(file["rbm"].attrs["visible_units"]) == {"type": "Gaussian", "arguments": {"variance": 0.7}}
    with create_file(tmp_path / "later.h5") as file:
        file.attrs["format"] = "rbm_jax 3"
    with pytest.raises(ValueError, match=r"later\.h5 has the format 'rbm_jax 3'.*install a newer rbm_jax"):
        load_rbm(tmp_path / "later.h5")


def test_arrays_come_back_bit_for_bit_in_the_present_format(tmp_path):
    path = load_trajectories(OLD / "trajectories-0.1.0.h5")["a path"]
    save_trajectories(tmp_path / "path.h5", {"again": path})
    again = load_trajectories(tmp_path / "path.h5")["again"]
    assert jax.tree.structure(again) == jax.tree.structure(path)
    jax.tree.map(np.testing.assert_array_equal, again, path)
