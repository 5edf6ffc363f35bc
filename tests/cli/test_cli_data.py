"""The command line on data other than complete images: sequences, and missing entries."""

import numpy as np
import pytest

from rbm_jax import Bernoulli, Potts, exact_log_likelihood
from rbm_jax.cli import run
from rbm_jax.data import load_digits, load_fasta, one_hot, sequence_weights
from rbm_jax.io import load_rbm

FAST = ["--n-hidden", "4", "--n-chains", "50", "--n-updates", "40"]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A file of 40 sequences around two centers, and the folder of a run on them."""
    folder = tmp_path_factory.mktemp("family")
    rng = np.random.default_rng(0)
    centers = np.array([list("MKVLAT-GHE"), list("MRILSTAGQD")])
    with (folder / "family.fasta").open("w") as file:
        for number in range(40):
            letters = np.where(rng.random(10) < 0.2, rng.choice(list("ACDEFGHIKL"), 10), centers[number % 2])
            file.write(
                f">seq{number // 2 * 2 if number > 30 else number}\n{''.join(letters[:6])}\n{''.join(letters[6:])}\n"
            )
    assert run(["train", "--data", str(folder / "family.fasta"), *FAST, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """Digits of which 30 % of the pixels are -1, and the folder of a run on them."""
    folder = tmp_path_factory.mktemp("lossy")
    digits = load_digits()[:200]
    np.save(folder / "lossy.npy", np.where(np.random.default_rng(0).random(digits.shape) < 0.3, -1, digits))
    arguments = ["train", "--data", str(folder / "lossy.npy"), "--missing", "-1", *FAST, "--out", str(folder / "run")]
    assert run(arguments) == 0
    return folder


def test_sequences_train_potts_units_and_are_sampled_as_sequences(family, capsys):
    rbm, chains = load_rbm(family / "run" / "rbm.h5")
    assert (rbm.visible_units, rbm.hidden_units) == (Potts(21), Bernoulli())
    assert rbm.n_visible == 10 * 21
    assert chains is not None
    np.testing.assert_array_equal(chains.reshape(50, 10, 21).sum(-1), 1)
    assert run(["sample", str(family / "run"), "--n-samples", "7", "--n-sweeps", "3"]) == 0
    samples = load_fasta(family / "run" / "samples.fasta")
    assert samples.states.shape == (7, 10)
    capsys.readouterr()
    assert run(["likelihood", str(family / "run")]) == 0
    states = np.unique(load_fasta(family / "family.fasta").states, axis=0)
    expected = float(exact_log_likelihood(rbm, one_hot(states, 21), sequence_weights(states)))
    assert f"by enumeration: {expected:.3f}" in capsys.readouterr().out
    assert run(["fixed-points", str(family / "run"), "--n-times", "2", "--n-samples", "10"]) == 0
    (family / "one.fasta").write_text(">one\nMKVLAT-GHE\n")
    assert run(["likelihood", str(family / "run"), "--test", str(family / "one.fasta")]) == 0
    expected = float(exact_log_likelihood(rbm, one_hot(load_fasta(family / "one.fasta").states, 21)))
    assert f"test data, by enumeration: {expected:.3f}" in capsys.readouterr().out


def test_sequences_count_by_what_is_like_them(family, tmp_path):
    options = ["train", "--data", str(family / "family.fasta"), *FAST, "--n-updates", "2"]
    for identity in ("0", "0.5"):
        assert run([*options, "--identity", identity, "--out", str(tmp_path / identity)]) == 0
    plain, weighted = (load_rbm(tmp_path / identity / "rbm.h5")[0] for identity in ("0", "0.5"))
    assert (plain.visible_bias != weighted.visible_bias).any()


def test_missing_entries_are_learned_from_and_imputed(lossy, capsys):
    assert run(["impute", str(lossy / "run"), "--n-sweeps", "3", "--n-burn-in", "2"]) == 0
    assert (lossy / "run" / "imputed.png").read_bytes().startswith(b"\x89PNG")
    data = np.load(lossy / "lossy.npy")
    with np.load(lossy / "run" / "imputed.npz") as found:
        arrays = dict(found)
    assert set(arrays) == {"mean", "std", "std_error", "sample"}
    observed = data >= 0
    np.testing.assert_array_equal(arrays["mean"][observed], data[observed] >= 0.5)
    assert not arrays["std"][observed].any()
    assert np.isin(arrays["sample"], [0, 1]).all()
    assert ((arrays["mean"][~observed] > 0) & (arrays["mean"][~observed] < 1)).all()
    np.save(lossy / "one.npy", np.where(np.arange(64) < 32, -1, data[:1]))
    arguments = ["--data", str(lossy / "one.npy"), "--n-sweeps", "3", "--n-burn-in", "2"]  # has pixels in no sample
    assert run(["impute", str(lossy / "run"), *arguments, "--out", str(lossy / "one.npz")]) == 0
    capsys.readouterr()
    assert run(["likelihood", str(lossy / "run")]) == 2
    assert "--test" in capsys.readouterr().err
    assert run(["likelihood", str(lossy / "run"), "--test", "digits"]) == 0
    assert run(["fixed-points", str(lossy / "run"), "--n-times", "2", "--n-samples", "10"]) == 0


@pytest.mark.parametrize("method", ["cd", "emf", "exact"])
def test_every_method_takes_missing_entries(lossy, tmp_path, method):
    options = ["train", "--data", str(lossy / "lossy.npy"), "--missing", "-1", *FAST, "--method", method]
    assert run([*options, "--n-updates", "2", "--batch-size", "50", "--out", str(tmp_path)]) == 0


def test_nothing_missing_where_something_was_expected_is_said(tmp_path, capsys):
    assert run(["train", "--missing", "7", *FAST, "--n-updates", "1", "--out", str(tmp_path)]) == 0
    assert "no entry of the data is 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "lossy.npy", "--missing", "NaN"], "from -1"),
        (["train", "--data", "lossy.npy", "--missing", "none"], "--missing must be NaN or a number, got 'none'"),
        (["train", "--data", "never.npy", "--missing", "nan"], "1 of 4 pixels, such as 2, are in no sample"),
        (["train", "--data", "never.npy", "--missing", "0"], "hold NaN too"),
        (["train", "--data", "family.fasta", "--missing", "NaN"], "--missing does not go with sequences"),
        (["train", "--data", "family.fasta", "--alphabet", "ACGT"], "family.fasta"),
        (["train", "--data", "none.fasta"], "there is no file none.fasta"),
        (["compare", "--data", "family.fasta"], "must be complete binary data"),
        (["train", "--data", "never.npy"], "never.npy holds 2 NaN: remove them, or set missing to NaN"),
        (["impute", "run", "--out", "imputed.png"], "--out must be a .npz file"),
        (["fixed-points", "run", "--out", "points.npz"], "--out is the picture"),
        (["impute", "run"], "no entry is missing"),
        (["inpaint", "run", "--data", "wide.npy"], "--data: the samples are of Bernoulli() units, the RBM has Potts"),
        (["inpaint", "run", "--data", "never.npy"], "--data: never.npy holds 2 NaN"),
        (
            ["likelihood", "run", "--test", "wide.npy"],
            "--test: the samples are of Bernoulli() units, the RBM has Potts",
        ),
        (["likelihood", "run", "--test", "digits"], "--test: the samples have 64 values, the RBM 210 visible units"),
        (["sample", "run", "--exchange", "--n-sweeps", "0"], "--n-sweeps must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(family, lossy, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.save("never.npy", np.array([[0.0, 1.0, np.nan, 0.0], [1.0, 0.0, np.nan, 1.0]]))
    np.save("wide.npy", np.eye(3, 210))
    (tmp_path / "lossy.npy").write_bytes((lossy / "lossy.npy").read_bytes())
    (tmp_path / "family.fasta").write_bytes((family / "family.fasta").read_bytes())
    (tmp_path / "run").symlink_to(family / "run")
    assert run([*arguments, *([] if arguments[1] == "run" else ["--out", "new"])]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
