"""The command line on real arguments: what it writes, and how it says no."""

import dataclasses
import gzip
import importlib
import json
import os
import signal
import struct
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax.__main__
from rbm_jax import exact_log_likelihood, svd_modes
from rbm_jax.cli import run
from rbm_jax.data import binarize, load_digits
from rbm_jax.dynamics import Comparison, compare_trajectories
from rbm_jax.experiments import SPECTRUM_FIGURES, Half, equation_figures
from rbm_jax.experiments.completions import inpaint_halves
from rbm_jax.io import latest_checkpoint, load_rbm, load_trajectories, load_trajectory, saved_updates
from rbm_jax.replica import locate
from rbm_jax.runs import Run
from tests.helpers import assert_reports, reference_rbm

FAST = ["--n-hidden", "4", "--n-chains", "50", "--n-updates", "40"]


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def report_of(monkeypatch, capsys):
    """A function that runs a command and returns its JSON, which agrees with the result of the experiment, and text."""

    def report_of(experiment, arguments):
        module, _, name = experiment.rpartition(".")
        home, results = importlib.import_module(f"rbm_jax.cli.{module}"), []
        function = getattr(home, name)
        monkeypatch.setattr(
            home, name, lambda *given, **options: results.append(function(*given, **options)) or results[0]
        )
        capsys.readouterr()
        assert run([*arguments, "--json"]) == 0
        output, text = capsys.readouterr()
        report = json.loads(output)
        assert_reports({name: each for name, each in report.items() if name != "files"}, results[0])
        return report, text

    return report_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert run(["train", *FAST, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    "options", [[], ["--units", "spin", "--no-centered", "--n-hidden", "14"]], ids=["exact", "spin"]
)
def test_compare_writes_picture_trajectories_and_table(tmp_path, report_of, options):
    report, table = report_of(
        "_compare.compare", ["compare", *FAST, *options, "--n-modes", "3", "--out", str(tmp_path)]
    )
    assert is_png(tmp_path / "compare.png")
    names = {"training", "linear theory", "Gaussian closure", "TAP closure"}
    names |= {"exact equations"} if not options else set()
    trajectories = load_trajectories(tmp_path / "compare.h5")
    assert set(trajectories) == names
    for trajectory in trajectories.values():
        np.testing.assert_allclose(trajectory.ts, trajectories["training"].ts, rtol=1e-5)
    expected = compare_trajectories(trajectories["training"], trajectories["TAP closure"], n_modes=3)
    found = report["comparisons"]["TAP closure"]
    np.testing.assert_allclose(found["continuous_values"], expected.continuous_values, rtol=1e-4)
    np.testing.assert_allclose(found["discrete_values"], expected.discrete_values, rtol=1e-4)
    assert [line.split()[0] for line in table.splitlines() if line.strip()[:1].isdigit()] == ["1", "2", "3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.h5", "compare.png"]


def test_a_theory_that_ended_early_is_compared_where_it_was_last():
    values = jnp.array([[1.0, 0.5], [2.0, 0.6], [jnp.nan, jnp.nan]])
    path = Comparison(jnp.arange(3.0), values + 1, values, values, values, values, *3 * [jnp.full(2, jnp.inf)])
    assert equation_figures._end(path) == 1
    assert equation_figures._end(dataclasses.replace(path, continuous_values=values + jnp.nan)) == -1


def test_trained_run_can_be_sampled_and_looked_at(trained, tmp_path, report_of):
    rbm, chains = load_rbm(trained / "rbm.h5")
    assert rbm.weights.shape == (64, 4)
    assert chains.shape == (50, 64)
    for n_samples in ("20", "60"):  # fewer than the chains of the training, and more
        picture = tmp_path / f"{n_samples}.png"
        assert run(["sample", str(trained), "--n-samples", n_samples, "--n-sweeps", "3", "--out", str(picture)]) == 0
        assert is_png(picture)
    assert run(["sample", str(trained), "--rows", "4", "--n-sweeps", "0", "--out", str(picture)]) == 0
    assert run(["sample", str(trained), "--rows", "5"]) == 2
    arguments = ["sample", str(trained), "--exchange", "--n-sweeps", "20", "--out", str(picture)]
    report, text = report_of("_samples.sample_run", arguments)
    assert f"swaps {min(report['acceptance']):.2f}; {report['fraction_from_earlier']:.0%} of the states came" in text
    assert run(["sample", str(trained), "--exchange", "--devices", "1"]) == 2


def test_likelihood_of_a_small_run_is_exact_and_of_test_data_too(trained, tmp_path, capsys):
    np.save(tmp_path / "test.npy", load_digits()[:100].reshape(-1, 8, 8))
    assert run(["likelihood", str(trained), "--test", str(tmp_path / "test.npy")]) == 0
    found = capsys.readouterr().out
    rbm, _ = load_rbm(trained / "rbm.h5")
    for name, data in (("training", binarize(load_digits())), ("test", binarize(load_digits()[:100]))):
        assert f"log-likelihood of the {name} data, by enumeration: {exact_log_likelihood(rbm, data):.3f} nats" in found
    np.save(tmp_path / "small.npy", np.ones((5, 4)) * [0, 1, 1, 0])
    assert run(["likelihood", str(trained), "--test", str(tmp_path / "small.npy")]) == 2


def test_larger_runs_are_bounded_from_both_sides_and_print_json(tmp_path, report_of, monkeypatch):
    monkeypatch.setattr("rbm_jax.experiments.bounds.ENUMERABLE", 3)
    options = ["--n-hidden", "4", "--n-chains", "50", "--n-updates", "20", "--l2", "0.001"]
    assert run(["train", *options, "--out", str(tmp_path)]) == 0
    assert load_rbm(tmp_path / "rbm.h5")[1].shape[1] == 64
    arguments = ["likelihood", str(tmp_path), "--n-chains", "50", "--n-temperatures", "100"]
    report, _ = report_of("_likelihood.bound_likelihood", arguments)
    bounds = report["log_likelihood"]["training data"]
    exact = float(exact_log_likelihood(load_rbm(tmp_path / "rbm.h5")[0], binarize(load_digits())))
    assert bounds["lower"] < exact < bounds["upper"]
    assert set(report) == {"log_z", "log_likelihood", "warnings"}
    assert set(report["log_z"]) == {"by annealing", "by annealing back"}


def test_other_data_are_named_on_purpose(tmp_path, capsys):
    images = (np.random.default_rng(0).random((60, 4, 4)) > 0.5).astype(float)
    data, folder = str(tmp_path / "images.npy"), str(tmp_path / "run")
    np.save(data, images)
    train = ["train", "--data", data, "--n-hidden", "3", "--n-updates", "20", "--held-out", "0.1", "--out", folder]
    assert run(train) == 0
    np.save(data, 1 - images)
    np.save(tmp_path / "other.npy", images[:30])
    few = ["--n-samples", "10", "--n-times", "2"]
    for command in (["likelihood"], ["fixed-points", *few], ["spectrum"], ["inpaint", "--n-sweeps", "2"]):
        arguments = [command[0], folder, *command[1:], "--update", "10"]
        capsys.readouterr()
        assert run(arguments) == 2
        assert f"--data: the samples of {data} are not those that the run" in capsys.readouterr().err
        assert run([*arguments, "--data", str(tmp_path / "other.npy")]) == 0
    capsys.readouterr()
    assert run(["inpaint", folder, "--threshold", "0.5"]) == 2
    assert "--threshold goes with --data" in capsys.readouterr().err
    assert run(["likelihood", folder, "--data", "digits", "--test", "nothing.npy"]) == 2
    assert "--test: there is no file or folder nothing.npy" in capsys.readouterr().err


def test_commands_look_at_a_training_up_to_an_update(trained, tmp_path):
    options = ["--update", "10", "--out", str(tmp_path / "out.png")]
    assert run(["fixed-points", str(trained), "--n-samples", "5", "--n-times", "3", *options]) == 0
    with np.load(tmp_path / "out.npz") as file:
        assert file["ts"][-1] == pytest.approx(10 * 0.05)
    assert Run(trained, 10).trajectory.ts[-1] == pytest.approx(0.5)


def test_half_images_are_completed(trained, tmp_path, capsys):
    for half in ("left", "bottom"):
        options = ["--half", half, "--n-sweeps", "5", "--n-images", "4", "--out", str(tmp_path / f"{half}.png")]
        assert run(["inpaint", str(trained), *options]) == 0
        assert is_png(tmp_path / f"{half}.png")
    np.save(tmp_path / "small.npy", np.ones((5, 4)) * [0, 1, 1, 0])
    assert run(["inpaint", str(trained), "--data", str(tmp_path / "small.npy")]) == 2


def test_known_half_stays_and_the_other_follows_it():
    rbm = reference_rbm(16, 6, 0.0)
    images = np.arange(48).reshape(3, 16) % 2
    missing = Half.RIGHT.mask((4, 4))
    assert missing.reshape(4, 4)[:, 2:].all()
    assert not missing.reshape(4, 4)[:, :2].any()
    completions = inpaint_halves(jax.random.key(0), rbm, images, missing, 3)
    np.testing.assert_array_equal(completions[:, :, ~missing], np.broadcast_to(images, (4, 3, 16))[:, :, ~missing])
    assert (completions[:, :, missing] != images[:, missing]).any()


PICTURES = {f"{name}.png" for name in SPECTRUM_FIGURES}


def test_spectrum_of_a_run_is_seven_pictures_and_a_table(trained, tmp_path, report_of):
    _, output = report_of("_spectrum.spectrum", ["spectrum", str(trained), "--n-modes", "2", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == PICTURES
    assert all(is_png(path) for path in tmp_path.iterdir())
    assert "T_eff" in output
    assert "log-likelihood (exact)" in output
    observations = load_trajectory(trained / "updates").observations
    total = sum(observations[name] for name in ("values_fraction", "rotation_fraction", "outside_fraction"))
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_spectrum_trains_on_data_if_asked(tmp_path, capsys):
    options = ["--data", "digits", "--n-hidden", "4", "--n-updates", "12", "--out", str(tmp_path)]
    assert run(["spectrum", *options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    weights = load_trajectory(tmp_path / "updates").rbms.weights
    np.testing.assert_allclose(report["singular_values"][-1], svd_modes(weights[-1]).values, rtol=1e-4)
    np.testing.assert_allclose(report["effective_temperature"], 1 / np.var(weights, axis=(1, 2)), rtol=1e-4)
    assert len(report["ts"]) == len(report["n_outliers"]) == len(report["log_likelihood"]) == len(weights)
    assert set(report["files"]) == {str(tmp_path / "spectrum" / name) for name in PICTURES}
    assert {path.name for path in (tmp_path / "spectrum").iterdir()} == PICTURES
    assert (tmp_path / "rbm.h5").is_file()


@pytest.mark.slow  # the Gaussian law is that of the path of a training below
@pytest.mark.parametrize("law", ["bernoulli", "laplace"])
def test_phase_diagram_of_each_law_is_drawn(tmp_path, law):
    picture = tmp_path / "phases.png"
    assert run(["phase-diagram", "--law", law, "--ratio", "0.5", "--n-points", "10", "--out", str(picture)]) == 0
    assert is_png(picture)


def test_phase_diagram_shows_the_path_of_a_training(tmp_path, report_of):
    spins = ["--units", "spin", "--n-hidden", "20", "--n-chains", "50", "--n-updates", "200"]
    assert run(["train", *spins, "--out", str(tmp_path)]) == 0
    picture = tmp_path / "phases.png"
    arguments = ["phase-diagram", "--trajectory", str(tmp_path), "--n-points", "10", "--out", str(picture)]
    report, table = report_of("_phase_diagram.draw_phases", arguments)
    path = report["path"]
    assert is_png(picture)
    training, last = load_trajectory(tmp_path / "updates"), len(path["ts"]) - 1
    end = locate(jax.tree.map(lambda leaf: leaf[last], training.rbms))
    assert path["t_end"] == pytest.approx(float(training.ts[last + 1]))
    assert path["noise"][-1] == pytest.approx(float(end.control.noise), rel=1e-5)
    assert path["bias"][-1] == pytest.approx(float(end.control.singular_values[0] / end.control.noise), rel=1e-5)
    assert (path["bias"][0], path["phase"][0]) == (None, "paramagnet")
    rows = [line.split() for line in table.splitlines() if line[:10].strip()[:1].isdigit()]
    assert float(rows[0][0]) == 0
    assert [rows[0][3], rows[0][-1]] == ["0", "paramagnet"]
    assert rows[-1][-1] == "ferromagnet"


def test_phase_diagram_says_what_is_wrong(trained, tmp_path, capsys, monkeypatch):
    assert run(["phase-diagram", "--ratio", "0"]) == 2
    assert "--ratio must be" in capsys.readouterr().err
    assert run(["phase-diagram", "--trajectory", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    monkeypatch.setattr("rbm_jax.experiments.phases._count_modes", lambda location: 3)  # of the four that there are
    assert run(["phase-diagram", "--trajectory", str(trained)]) == 2
    assert "no noise to place it by" in capsys.readouterr().err


@pytest.mark.parametrize("method", [["cd"], ["exact"], ["emf"], ["emf", "--order", "1"]], ids=" ".join)
def test_every_method_trains(tmp_path, method):
    assert run(["train", *FAST, "--method", *method, "--out", str(tmp_path)]) == 0
    assert saved_updates(tmp_path / "updates")[40].is_file()


def test_devices_divide_the_work_and_change_no_result(trained, tmp_path):
    out = str(tmp_path)
    code = f"""
from rbm_jax.cli import run
assert run(["train", *{FAST}, "--devices", "2", "--out", {out!r}]) == 0
assert run(["train", "--resume", {out!r}]) == 0
assert run(["sample", {out!r}, "--n-samples", "10", "--n-sweeps", "2", "--devices", "2"]) == 0
assert run(["sample", {out!r}, "--n-samples", "11", "--devices", "2"]) == 2
assert run(["train", "--n-chains", "11", "--devices", "2", "--out", {out!r}]) == 2
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    for option in ("--n-samples", "--n-chains"):
        assert f"rbm-jax: {option} must be a multiple of the number of devices, 2, got 11" in finished.stderr
    assert is_png(tmp_path / "samples.png")
    divided, whole = (load_rbm(folder / "rbm.h5") for folder in (tmp_path, trained))
    # A sum in another order may let a unit flip, which moves a weight by learning rate / n_chains.
    np.testing.assert_allclose(divided[0].weights, whole[0].weights, atol=5e-3)
    assert (np.asarray(divided[1]) != np.asarray(whole[1])).mean() < 0.01


def test_one_device_can_be_asked_for(trained, tmp_path):
    picture = tmp_path / "samples.png"
    assert run(["sample", str(trained), "--n-sweeps", "1", "--devices", "1", "--out", str(picture)]) == 0
    assert is_png(picture)


def test_tap_closure_can_be_left_out(tmp_path):
    assert run(["compare", *FAST, "--no-tap", "--out", str(tmp_path)]) == 0
    assert "TAP closure" not in load_trajectories(tmp_path / "compare.h5")


def test_compare_training_writes_picture_trajectories_and_tables(tmp_path, report_of):
    fast = ["--n-hidden", "4", "--n-chains", "20", "--n-updates", "12", "--n-sweeps", "1", "--n-modes", "3"]
    report, output = report_of("_methods.compare_training", ["compare-training", *fast, "--out", str(tmp_path)])
    assert is_png(tmp_path / "compare-training.png")
    trajectories = load_trajectories(tmp_path / "compare-training.h5")
    assert set(trajectories) == {"PCD", "PCD again", "EMF-1", "EMF-2", "EMF-3"}
    starts = np.stack([trajectory.rbms.weights[0] for trajectory in trajectories.values()])
    assert (starts == starts[0]).all()
    report = report["trainings"]["EMF-2"]
    exact = exact_log_likelihood(
        jax.tree.map(lambda leaf: leaf[-1], trajectories["EMF-2"].rbms), binarize(load_digits())
    )
    assert report["log_likelihood"][-1] == pytest.approx(float(exact), rel=1e-4)
    assert "log-likelihood (exact)" in output
    last_table = output.split("by more than 10 %")[1]
    assert [line.split()[0] for line in last_table.splitlines() if line.strip()[:1].isdigit()] == ["1", "2", "3"]


def test_fixed_points_of_a_run_are_drawn_and_kept(trained, tmp_path, report_of):
    picture = tmp_path / "points.png"
    options = ["--n-samples", "40", "--n-times", "3", "--out", str(picture)]
    report, text = report_of("_fixed_points.fixed_points", ["fixed-points", str(trained), *options])
    assert is_png(picture)
    with np.load(tmp_path / "points.npz") as file:
        results = dict(file)
    # an RBM that has hardly learned has one fixed point, to which all data flow
    assert results["n_points"].tolist() == [1, 1, 1]
    assert results["sizes"].tolist() == [40]
    assert results["visible"].shape == (1, 64)
    assert results["tree_labels"].shape == (3, 40)
    assert (report["n_points"], report["sizes"], report["largest_basin"]) == ([1, 1, 1], [40], [1, 1, 1])
    np.testing.assert_allclose(report["free_energy"], results["free_energy"], rtol=1e-5)
    assert "closer than 0.01" in text


def test_fixed_points_need_the_data_of_the_run(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((30, 4, 4)))
    folder = tmp_path / "run"
    fast = ["--n-hidden", "2", "--n-chains", "5", "--n-updates", "2"]
    assert run(["train", "--data", str(tmp_path / "images.npy"), *fast, "--out", str(folder)]) == 0
    (tmp_path / "images.npy").unlink()
    assert run(["fixed-points", str(folder)]) == 2
    assert "images.npy" in capsys.readouterr().err


def test_folder_of_mnist_format_and_array_files_are_read(tmp_path):
    images = (np.random.default_rng(0).random((30, 4, 4)) * 255).astype(np.uint8)
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, *images.shape)
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
    np.save(tmp_path / "images.npy", images)
    results = []
    for name, source in (("a", folder), ("b", tmp_path / "images.npy")):
        out = tmp_path / name
        assert run(["train", "--data", str(source), *FAST, "--out", str(out)]) == 0
        results.append(load_rbm(out / "rbm.h5")[0].weights)
    np.testing.assert_array_equal(*results)


def bad_command_lines(folder):
    text = folder / "text.npy"
    text.write_text("hello")
    nan = folder / "nan.npy"
    np.save(nan, np.full((3, 4), np.nan))
    labels = folder / "labels.npy"
    np.save(labels, np.arange(5))
    scores = folder / "scores.npy"
    np.save(scores, np.full((3, 4), 7.0))
    constant = folder / "constant.npy"
    np.save(constant, np.ones((3, 4), np.uint8))
    empty = folder / "empty"
    empty.mkdir()
    return {
        "unknown command": (["frobnicate"], "see rbm-jax --help"),
        "misspelled command": (["spctrum"], "Did you mean 'spectrum'?"),
        "unknown option": (["compare", "--frobnicate"], "frobnicate"),
        "no hidden unit": (["compare", "--n-hidden", "0"], "n-hidden"),
        "a word for a number": (["train", "--n-updates", "many"], "got 'many' (see rbm-jax train --help)"),
        "negative learning rate": (["train", "--learning-rate", "-1"], "learning-rate"),
        "learning rate that is no number": (["compare", "--learning-rate", "nan"], "learning-rate"),
        "negative seed": (["train", "--seed", "-1"], "seed"),
        "unknown units": (["train", "--units", "qubits"], "units"),
        "missing data": (["train", "--data", str(folder / "nothing.npy")], "nothing.npy"),
        "folder without images": (["compare", "--data", str(empty)], "train-images"),
        "damaged data": (["compare", "--data", str(text)], "text.npy"),
        "data with NaN": (["compare", "--data", str(nan)], "NaN"),
        "labels for images": (["compare", "--data", str(labels)], "labels.npy"),
        "no pixel that varies": (["train", "--data", str(constant)], "no pixel varies"),
        "threshold beyond 1": (["train", "--threshold", "2"], "threshold"),
        "values beyond 1": (["train", "--data", str(scores)], r"[0, 1]"),
        "a file where a folder goes": (["train", "--out", str(text)], "text.npy"),
        "no run": (["sample", str(folder / "run")], "no run folder"),
        "a folder that is no run": (["spectrum", str(empty)], "no saved updates"),
        "no run to find fixed points of": (["fixed-points", str(folder / "run")], "no run folder"),
        "damping of 1": (["fixed-points", str(empty), "--damping", "1"], "damping"),
        "fourth order": (["train", "--method", "emf", "--order", "4"], "order"),
        "missing argument": (["sample"], "argument"),
        "neither run nor data": (["spectrum"], "--data"),
        "a setting of a training beside a run": (["spectrum", str(empty), "--n-hidden", "3"], "--n-hidden goes with"),
        "more devices than there are": (["train", "--devices", "99"], "--devices"),
        "no device": (["sample", str(empty), "--devices", "0"], "devices"),
        "no samples": (["sample", str(empty), "--n-samples", "0"], "n-samples"),
    }


def test_mistakes_get_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case, (arguments, named) in bad_command_lines(tmp_path).items():
        assert run(arguments) == 2, case
        captured = capsys.readouterr()
        assert captured.out == "", case
        assert captured.err.startswith("rbm-jax: "), case
        assert captured.err.count("\n") == 1, case
        assert named in captured.err, case


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], *([name, "--help"] for name in ("compare", "train", "fixed-points"))]
)
def test_help_reads_as_a_table_of_contents(arguments, capsys):
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "Usage: rbm-jax" in text
    if arguments in ([], ["--help"]):
        assert all(command in text for command in ("compare", "train", "sample", "spectrum"))
    else:
        assert "Example: rbm-jax" in text


def test_version_and_completion_are_shown(capsys, monkeypatch):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"rbm-jax {rbm_jax.__version__}\n"
    for name, value in (("COMP_WORDS", "rbm-jax train --method p"), ("COMP_CWORD", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_RBM_JAX_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit, match="0"):  # what the shell calls ends here
        run([])
    assert capsys.readouterr().out.split() == ["pcd", "ptt"]


def test_missing_extra_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(["train", *FAST, "--out", str(tmp_path)]) == 2
    assert 'pip install "rbm-jax[app]"' in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.setattr(rbm_jax, "cli", rbm_jax.cli)  # importing it again sets this to another module
    for name in [name for name in sys.modules if name.startswith("rbm_jax.cli")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match=r"rbm-jax\[app\]"):
        rbm_jax.__main__.main()


def test_interrupt_leaves_finished_files_intact(tmp_path, interruptible):
    command = [sys.executable, "-m", "rbm_jax", "train", *FAST, "--n-updates", "100000000", "--out", str(tmp_path)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None and max(saved_updates(tmp_path / "updates"), default=0) < 100:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    updates = saved_updates(tmp_path / "updates")
    assert len(load_trajectory(tmp_path / "updates").ts) == len(updates)
    assert latest_checkpoint(tmp_path / "updates") == updates[max(updates)]
