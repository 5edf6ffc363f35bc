"""A run from Python: the same as from the command line, with one writer, its own data and its numbers."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from rbm_jax import pseudo_log_likelihood, visible_free_energy
from rbm_jax.cli import run
from rbm_jax.data import PROTEIN, Alignment, identity_clusters, write_fasta
from rbm_jax.runs import Recipe, Run, Source, loop, train_run
from rbm_jax.runs.folder import locked
from rbm_jax.runs.recipe import load_toml
from tests.helpers import same_bits

SMALL = Recipe(n_hidden=3, n_chains=6, batch_size=20, n_sweeps=1, n_updates=30)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).random((40, 3, 3)))
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_run(folder, Source(data), SMALL)
    return folder


def test_a_run_from_python_has_the_bits_of_one_from_the_command_line(data, finished, tmp_path):
    options = ["--n-hidden", "3", "--n-chains", "6", "--batch-size", "20", "--n-sweeps", "1", "--n-updates", "30"]
    assert run(["train", "--data", str(data), *options, "--out", str(tmp_path)]) == 0
    first, second = Run(finished), Run(tmp_path)
    same_bits(first.trajectory, second.trajectory)
    same_bits((first.rbm, first.chains), (second.rbm, second.chains))
    assert first.settings == second.settings
    assert first.recipe == SMALL


def test_a_run_knows_itself(data, finished):
    known = Run(finished)
    assert (known.n_updates, known.is_finished, known.held_out) == (30, True, None)
    assert known.source.data == str(data)
    assert known.dataset.samples.shape == (40, 9)
    assert max(known.updates) == 30
    early = Run(finished, update=1)
    same_bits(early.rbm, jax.tree.map(lambda leaf: leaf[1], known.trajectory.rbms))
    with pytest.raises(ValueError, match=r"update must be one that is saved in .*, got 31"):
        Run(finished, update=31)
    with pytest.raises(FileNotFoundError, match="no run folder"):
        Run(finished / "nothing")


def test_records_hold_the_numbers_of_each_saved_update(finished):
    known = Run(finished)
    records = known.records
    assert [record["update"] for record in records] == sorted(known.updates)
    last, rbm = records[-1], known.rbm
    energies = {"training": known.dataset.samples, "chains": known.chains}
    for name, samples in energies.items():
        expected = float(visible_free_energy(rbm, samples).mean())
        assert last["free_energy"][name] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(last["singular_values"], np.linalg.svd(rbm.weights)[1], rtol=1e-4)
    assert last["time"] == pytest.approx(30 * 0.05)
    assert last["epoch"] == 15
    assert last["updates_per_second"] > 0


def test_reports_come_as_they_are_written(data, tmp_path):
    found = []
    train_run(tmp_path, Source(data), dataclasses.replace(SMALL, n_updates=5), report=found.append)
    assert found == Run(tmp_path).records
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == len(found)


def test_records_of_work_that_is_done_again_are_dropped(data, tmp_path, monkeypatch):
    fit = loop.fit

    def stop(key, trainer, state, *args, **options):
        if state.step >= 20:
            raise OSError("the disk is gone")
        return fit(key, trainer, state, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "fit", stop)
        with pytest.raises(OSError, match="disk"):
            train_run(tmp_path, Source(data), SMALL)
    lines = (tmp_path / "records.jsonl").read_text()
    later = json.dumps({"update": 25, "time": 0.0})
    (tmp_path / "records.jsonl").write_text(lines + later + '\n{"update": 2')
    train_run(tmp_path, Source(data), SMALL)
    updates = [record["update"] for record in Run(tmp_path).records]
    assert updates == sorted(set(updates))
    assert updates[-1] == 30


def test_two_processes_cannot_write_one_run(data, finished, tmp_path, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*.h5")}
    with locked(finished):
        code = f"from rbm_jax.cli import run; raise SystemExit(run(['train', '--resume', {str(finished)!r}]))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"{finished} is in use: another process writes to it" in result.stderr
    assert before == {path: path.read_bytes() for path in finished.rglob("*.h5")}
    assert run(["train", "--resume", str(finished)]) == 0


def test_a_lock_is_gone_with_its_process(finished, tmp_path):
    code = f"""
import pathlib, sys, time
from rbm_jax.runs.folder import locked
with locked(pathlib.Path({str(finished)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="is in use"), locked(finished):
            pass
        process.kill()
    with locked(finished):
        pass


def test_a_folder_that_mixes_two_runs_is_refused(data, finished, tmp_path):
    train_run(tmp_path, Source(data), SMALL)
    other = tmp_path / "other"
    train_run(other, Source(data), dataclasses.replace(SMALL, seed=1))
    path = other / "updates" / "00000030.h5"
    (tmp_path / "updates" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"mixes two runs: seed is 0 in 00000000.h5 and 1 in 00000030.h5"):
        train_run(tmp_path, Source(data), SMALL)


@pytest.mark.parametrize("command", ["likelihood", "fixed-points", "inpaint", "spectrum"])
def test_every_command_that_reads_the_data_knows_them_again(command, tmp_path, capsys):
    path = tmp_path / "images.npy"
    images = np.random.default_rng(0).random((40, 3, 3))
    np.save(path, images)
    folder = tmp_path / "run"
    train_run(folder, Source(path), SMALL)
    np.save(path, 1 - images)
    assert run([command, str(folder)]) == 2
    message = capsys.readouterr().err
    assert "are not those that the run" in message
    assert message.count("\n") == 1


def test_held_out_rows_are_never_trained_on(data, tmp_path):
    train_run(tmp_path, Source(data), dataclasses.replace(SMALL, held_out=0.25))
    known = Run(tmp_path)
    assert (len(known.dataset.samples), len(known.held_out.samples)) == (30, 10)
    both = np.concatenate([known.dataset.samples, known.held_out.samples])
    whole = Source(data).load().samples
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(whole, axis=0))
    last = known.records[-1]
    gap = last["free_energy"]["held_out"] - last["free_energy"]["training"]
    assert last["log_likelihood_gap"] == pytest.approx(gap, rel=1e-4, abs=1e-6)


def test_likelihood_of_held_out_data_is_told(data, tmp_path, capsys):
    train_run(tmp_path, Source(data), dataclasses.replace(SMALL, held_out=0.25))
    assert run(["likelihood", str(tmp_path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["log_likelihood"]) == {"training data", "held-out data"}


def test_test_data_of_their_own_are_held_out(data, tmp_path):
    other = tmp_path / "test.npy"
    np.save(other, np.random.default_rng(1).random((7, 3, 3)))
    train_run(tmp_path / "run", Source(data, test=other), SMALL)
    assert len(Run(tmp_path / "run").held_out.samples) == 7
    np.save(other, np.zeros((7, 3, 3)))
    with pytest.raises(ValueError, match="are not those that the run"):
        _ = Run(tmp_path / "run").held_out
    with pytest.raises(ValueError, match="held_out must be 0 where test names data"):
        train_run(tmp_path / "run", Source(data, test=other), dataclasses.replace(SMALL, held_out=0.5))


def family(n_families, n_members, length=20, seed=0):
    """Sequences that differ from the first one of their family in one site."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 21, (n_families, 1, length))
    states = np.repeat(parents, n_members, axis=1)
    for member in range(1, n_members):
        states[:, member, member % length] = (states[:, member, member % length] + 1) % 21
    return states.reshape(-1, length).astype(np.uint8)


def test_clusters_hang_together_by_pairs_that_are_alike():
    states = family(6, 5)
    order = np.random.default_rng(1).permutation(len(states))
    clusters = identity_clusters(states[order], identity=0.8)
    expected = np.repeat(np.arange(6), 5)[order]
    pairs = clusters[:, None] == clusters
    np.testing.assert_array_equal(pairs, expected[:, None] == expected)
    chain = np.array([[0] * 10, [0] * 9 + [1], [0] * 8 + [1, 1], [2] * 10], np.uint8)  # each like its neighbor alone
    assert identity_clusters(chain, identity=0.9).tolist() == [0, 0, 0, 1]


def test_clusters_are_the_same_whatever_the_blocks(monkeypatch):
    states = family(20, 4, seed=3)
    whole = identity_clusters(states)
    monkeypatch.setattr("rbm_jax.data.sequences._BLOCK_ELEMENTS", 7 * 20 * 21)
    np.testing.assert_array_equal(identity_clusters(states), whole)


def test_relatives_of_what_is_held_out_are_not_trained_on(tmp_path):
    states = family(10, 4)
    write_fasta(tmp_path / "family.fasta", Alignment(states, tuple(f"s{i}" for i in range(40)), PROTEIN))
    source = Source(tmp_path / "family.fasta")
    training_data, held_out = source.load_split(0.3, seed=0)
    assert len(held_out.samples) == 12
    agreement = held_out.samples.astype(int) @ training_data.samples.T.astype(int)
    assert agreement.max() < 0.8 * 20
    assert len(held_out.weights) == 12


def test_signals_wait_in_the_main_thread_alone():
    from rbm_jax.runs.signals import held_signals

    before = signal.getsignal(signal.SIGTERM)
    with held_signals() as came:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert came() == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    found = []

    def elsewhere():
        with held_signals() as came:
            found.append(came())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [0]


def test_a_toml_file_names_every_setting(data, tmp_path, capsys):
    config = tmp_path / "run.toml"
    config.write_text(
        f'data = "{data}"\nn_hidden = 3\nn_chains = 6\nbatch_size = 20\nn_updates = 12\noptimizer = "adam"\n'
        'schedule = "cosine"\nmetric = "plain"\nlearning_rate = 0.01\n\n[optimizer_options]\nb1 = 0.8\n'
    )
    assert run(["train", "--config", str(config), "--n-updates", "10", "--out", str(tmp_path / "run")]) == 0
    known = Run(tmp_path / "run")
    recipe = known.recipe
    assert (recipe.n_updates, recipe.optimizer, recipe.schedule, recipe.metric) == (10, "adam", "cosine", "plain")
    assert recipe.optimizer_options == {"b1": 0.8}
    resolved = load_toml(tmp_path / "run" / "recipe.toml")
    assert resolved["n_hidden"] == 3
    assert resolved["optimizer_options"] == {"b1": 0.8}
    assert Recipe(**{name: resolved[name] for name in resolved if hasattr(recipe, name)}) == recipe
    capsys.readouterr()
    assert run(["train", "--config", str(config), "--print-config"]) == 0
    printed = tmp_path / "printed.toml"
    printed.write_text(capsys.readouterr().out)
    assert load_toml(printed)["optimizer"] == "adam"
    config.write_text("n_hiden = 3\n")
    assert run(["train", "--config", str(config), "--out", str(tmp_path / "other")]) == 2
    assert "n_hiden, which is no setting" in capsys.readouterr().err


def test_a_schedule_cannot_be_made_longer(data, tmp_path):
    recipe = dataclasses.replace(SMALL, schedule="linear")
    train_run(tmp_path, Source(data), recipe)
    with pytest.raises(ValueError, match="n_updates must stay 30, got 40: the learning rate"):
        train_run(tmp_path, Source(data), dataclasses.replace(recipe, n_updates=40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_hidden": 0}, "n_hidden must be at least 1, got 0"),
        ({"method": "sgd"}, "method must be one of pcd, cd, ptt, emf, exact, got 'sgd'"),
        ({"order": 4}, "order must be at most 3, got 4"),
        ({"held_out": 1.0}, "held_out must be a share"),
        ({"learning_rate": -1.0}, "learning_rate must be"),
        ({"schedule": "exponential", "end_rate": 0.0}, "end_rate must be above 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"optimizer": "adam", "optimizer_options": {"beta": 1}}, "optimizer_options must be those of optax.adam"),
    ],
)
def test_recipes_that_cannot_be_are_named(changes, message, data, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        train_run(tmp_path, Source(data), dataclasses.replace(SMALL, **changes))


def test_records_of_sequences_count_them_with_their_weights(tmp_path):
    write_fasta(tmp_path / "family.fasta", Alignment(family(8, 5), tuple(f"s{i}" for i in range(40)), PROTEIN))
    train_run(tmp_path / "run", Source(tmp_path / "family.fasta"), dataclasses.replace(SMALL, n_updates=3))
    known = Run(tmp_path / "run")
    energies = visible_free_energy(known.rbm, known.dataset.samples)
    expected = np.average(energies, weights=known.dataset.weights)
    assert known.records[-1]["free_energy"]["training"] == pytest.approx(expected, rel=1e-5)
    expected = pseudo_log_likelihood(known.rbm, known.dataset.samples, known.dataset.weights)
    assert known.records[-1]["pseudo_log_likelihood"]["training"] == pytest.approx(float(expected), rel=1e-5)
