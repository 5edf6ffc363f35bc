"""`--json`: one JSON object on standard output and nothing else, with the library's numbers; also in test_cli.py."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import exact_log_likelihood, svd_modes
from rbm_jax.cli import run
from rbm_jax.cli._json import echo_json
from rbm_jax.data import binarize, load_digits
from rbm_jax.io import load_rbm
from rbm_jax.spectral import effective_temperature


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert run(["train", "--n-hidden", "3", "--n-chains", "20", "--n-updates", "10", "--out", str(folder)]) == 0
    return folder


def numbers_of(capsys, *arguments):
    """The report, and the text beside it."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    return json.loads(captured.out), captured.err


def test_what_json_lacks_is_null_and_arrays_are_lists(capsys):
    values = {"a": jnp.asarray([1.5, jnp.nan]), "b": {"c": np.inf, "d": np.int32(3)}, "e": [pathlib.Path("x/y"), None]}
    echo_json(values)
    expected = {"a": [1.5, None], "b": {"c": None, "d": 3}, "e": ["x/y", None]}
    assert json.loads(capsys.readouterr().out) == expected


def test_training_reports_what_it_ended_with(trained, capsys):
    report, text = numbers_of(capsys, "train", "--resume", trained)
    rbm, _ = load_rbm(trained / "rbm.h5")
    assert (report["n_updates"], report["time"]) == (10, pytest.approx(0.5))
    np.testing.assert_allclose(report["singular_values"], svd_modes(rbm.weights).values, rtol=1e-5)
    assert report["effective_temperature"] == pytest.approx(float(effective_temperature(rbm.weights)), rel=1e-5)
    assert report["files"] == [str(trained / "rbm.h5"), str(trained / "updates")]
    assert "leading singular values" in text


def test_sampling_reports_the_picture(trained, tmp_path, capsys):
    picture = tmp_path / "samples.png"
    report, _ = numbers_of(capsys, "sample", trained, "--n-sweeps", 2, "--out", picture)
    assert report == {"files": [str(picture)]}


def test_imputation_reports_root_mean_squares_over_missing_entries(trained, tmp_path, capsys):
    images = load_digits()[:30].astype(float)
    images[:, :20] = np.nan
    np.save(tmp_path / "lossy.npy", images)
    options = ["--n-sweeps", 4, "--n-burn-in", 1, "--out", tmp_path / "imputed.npz"]
    report, _ = numbers_of(capsys, "impute", trained, "--data", tmp_path / "lossy.npy", "--missing", "NaN", *options)
    assert (report["n_samples"], report["n_missing"]) == (30, 600)
    with np.load(tmp_path / "imputed.npz") as file:
        for name in ("std", "std_error"):
            assert report[name] == pytest.approx(np.sqrt(np.mean(file[name][:, :20] ** 2)), rel=1e-5)
    assert report["files"] == [str(tmp_path / f"imputed.{suffix}") for suffix in ("npz", "png")]


def test_enumerated_likelihood_has_no_estimate_of_log_z(trained, capsys):
    report, _ = numbers_of(capsys, "likelihood", trained)
    exact = float(exact_log_likelihood(load_rbm(trained / "rbm.h5")[0], binarize(load_digits())))
    assert report["log_z"] == {}
    assert report["log_likelihood"]["training data"]["value"] == pytest.approx(exact, rel=1e-5)


def test_mistakes_leave_standard_output_empty(tmp_path, capsys):
    assert run(["train", "--resume", str(tmp_path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no saved updates" in captured.err
