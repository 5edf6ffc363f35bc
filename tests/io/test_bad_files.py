"""What is wrong in a command line, a file or a disk is named in a line: never a traceback, never a lost file."""

import errno
import os
import re
import resource
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Trajectory, data, stack_rbms
from rbm_jax.cli import run
from rbm_jax.io import load_rbm, load_trajectories, save_rbm, save_trajectories
from tests.helpers import reference_rbm

SMALL, LARGE = reference_rbm(4, 3, 0.3), reference_rbm(30, 30, 0.01)
TRAJECTORY = Trajectory(jnp.arange(2.0), stack_rbms([SMALL, SMALL]), jnp.zeros((), jnp.int32))
V = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]], np.uint8)


def command_lines(folder):
    """Command lines that cannot work, and what the message must name."""
    np.savez(folder / "two.npz", a=V, b=V)
    (folder / "cut.gz").write_bytes(b"\x1f\x8b\x08\x00")
    (folder / "cut-idx").write_bytes(b"\0\0\x08\x03\0\0")
    (folder / "table.csv").write_text("0,1")
    (folder / "words").write_text("hello")
    with h5py.File(folder / "empty.h5", "w"):
        pass
    for name, array in {
        "inf": np.where(np.arange(12).reshape(3, 4) == 6, np.inf, V),
        "none": V[:0],
        "one": V[:1],
        "text": np.full((3, 4), "a"),
        "complex": V * 1j,
        "negative": -1.0 * V,
    }.items():
        np.save(folder / f"{name}.npy", array)
    files = {
        "two.npz": "one of them must be named", "cut.gz": "gzip", "cut-idx": "truncated", "table.csv": "IDX",
        "words": "IDX", "empty.h5": "empty.h5 holds the arrays", "inf.npy": "inf.npy holds 1 values",
        "none.npy": "none.npy must have", "one.npy": "no pixel varies", "text.npy": "must hold numbers",
        "complex.npy": "must hold real", "negative.npy": "must be uint8 or in",
    }  # fmt: skip
    for name, message in files.items():
        yield ["train", "--data", str(folder / name)], message
    yield ["likelihood", str(folder / "no-run")], "no run folder"
    yield ["inpaint", str(folder / "no-run")], "no run folder"
    for command, message in (("sample", "rbm.h5"), ("likelihood", "rbm.h5"), ("inpaint", "no saved updates"),
                             ("spectrum", "no saved updates"), ("phase-diagram", "no saved updates")):  # fmt: skip
        for kind, content in {"empty": b"", "foreign": (folder / "empty.h5").read_bytes(), "text": b"hello"}.items():
            run_folder = folder / f"{command}-{kind}"
            run_folder.mkdir()
            (run_folder / "rbm.h5").write_bytes(content)
            arguments = [str(run_folder)] if command != "phase-diagram" else ["--trajectory", str(run_folder)]
            yield [command, *arguments], message
    options = {
        "--n-chains 0": "n-chains", "--batch-size 0": "batch-size", "--order 0": "order", "--method sgd": "method",
        "--learning-rate inf": "learning-rate", "--learning-rate 0": "learning-rate", "--threshold nan": "threshold",
        "--l1 nan": "l1", "--l2 -1": "l2", "--n-sweeps -1": "n-sweeps", "--seed 99999999999": "seed",
        "--n-updates 0": "n-updates", "--frobnicate": "frobnicate", "--units": "units", "--data": "data",
        "--out /proc/nowhere": "nowhere", f"--out {folder}/words/run": "words",
    }  # fmt: skip
    for option, message in options.items():
        yield ["train", *option.split()], message
    yield ["inpaint", str(folder), "--half", "middle"], "half"
    yield ["phase-diagram", "--ratio", "nan"], "ratio"
    yield ["phase-diagram", "--n-points", "5"], "n-points"
    yield ["phase-diagram", "--law", "cauchy"], "law"
    yield ["fixed-points", str(folder), "--max-steps", "0"], "max-steps"
    yield ["compare", "--n-modes", "0"], "n-modes"
    yield ["figures", "--n-updates", "0"], "n-updates"
    yield [""], "command"


def test_command_lines_that_cannot_work_get_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, named in command_lines(tmp_path):
        assert run(arguments) == 2, arguments
        captured = capsys.readouterr()
        assert captured.out == "", arguments
        assert captured.err.startswith("rbm-jax: "), arguments
        assert captured.err.count("\n") == 1, arguments
        assert "Traceback" not in captured.err, arguments
        assert named in captured.err, (arguments, captured.err)


@pytest.fixture
def full_disk():
    """No file may grow beyond 500 bytes: writes fail half-way, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


ALIGNMENT = data.Alignment(np.zeros((100, 50), np.uint8), ("name",) * 100, data.DNA)
WRITERS = {
    "rbm.h5": lambda path: save_rbm(path, LARGE),
    "trajectory.h5": lambda path: save_trajectories(path, {"training": TRAJECTORY}),
    "a.fasta": lambda path: data.write_fasta(path, ALIGNMENT),
}


@pytest.mark.parametrize("name", WRITERS)
def test_full_disk_leaves_the_old_file_and_no_other(tmp_path, name, request):
    path = tmp_path / name
    path.write_bytes(b"old")
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match=re.escape(str(path))):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_disk_that_is_full_at_the_end_leaves_the_old_file(tmp_path, name, monkeypatch):
    def replace(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    path = tmp_path / name
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_folders_that_are_not_there_or_cannot_be_written_are_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "nowhere", tmp_path / "file", Path("/proc/self")):
        with pytest.raises(OSError, match=re.escape(str(folder.name))):
            WRITERS[name](folder / name)


@pytest.mark.parametrize("load", [load_rbm, load_trajectories])
def test_files_of_other_contents_are_named(tmp_path, load):
    path = tmp_path / "file.h5"
    for change in ({"weights": np.ones((5, 3), int)}, {"weights": np.ones(3)}, {"visible_bias": np.ones(9)}):
        save_rbm(path, SMALL)
        save_trajectories(tmp_path / "path.h5", {"a": TRAJECTORY})
        path.write_bytes((path if load is load_rbm else tmp_path / "path.h5").read_bytes())
        with h5py.File(path, "a") as file:
            group = file["rbm" if load is load_rbm else "trajectories/a/rbms"]
            for name, values in change.items():
                del group[name]
                group[name] = values
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing.h5")
