"""No HDF5 file shows what another file holds: links are not followed, and numbers that lie elsewhere are not read."""

import re

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Trajectory, stack_rbms
from rbm_jax.data import load_array, open_array
from rbm_jax.io import load_rbm, load_rbms_archive, load_trajectories, save_rbm, save_rbms_archive, save_trajectories
from rbm_jax.io.files import create_file, open_file
from tests.helpers import reference_rbm

SECRET = np.arange(12.0, dtype=np.float32).reshape(4, 3)
RBM = reference_rbm(4, 3, 0.3)
TRAJECTORY = Trajectory(jnp.arange(2.0), stack_rbms([RBM, RBM]), jnp.zeros((), jnp.int32))


@pytest.fixture
def secret(tmp_path):
    """A folder with the numbers of somebody else, as an HDF5 file and as bytes."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = SECRET
    SECRET.tofile(tmp_path / "secret.bin")
    return tmp_path


def soft_link(group, name, folder):
    group[name] = h5py.SoftLink("/")


def external_link(group, name, folder):
    group[name] = h5py.ExternalLink(str(folder / "secret.h5"), "x")


def external_numbers(group, name, folder):
    external = [(str(folder / "secret.bin"), 0, SECRET.nbytes)]
    group.create_dataset(name, shape=SECRET.shape, dtype=SECRET.dtype, external=external)


def virtual_numbers(group, name, folder):
    layout = h5py.VirtualLayout(SECRET.shape, SECRET.dtype)
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", SECRET.shape)
    group.create_virtual_dataset(name, layout)


WAYS_OUT = [soft_link, external_link, external_numbers, virtual_numbers]
REFUSALS = "is a link to|keeps its numbers in other files"


@pytest.mark.parametrize("leads_out", WAYS_OUT)
@pytest.mark.parametrize("load", [load_rbm, load_trajectories])
def test_files_of_ours_that_lead_elsewhere_are_refused(secret, leads_out, load):
    save_rbm(secret / "good.h5", RBM) if load is load_rbm else save_trajectories(secret / "good.h5", {"a": TRAJECTORY})
    path = secret / "sent.h5"
    with open_file(secret / "good.h5") as good, create_file(path) as file:
        for name in good:
            good.copy(good[name], file, name=name)
        group = file["rbm" if load is load_rbm else "trajectories/a/rbms"]
        del group["weights"]
        leads_out(group, "weights", secret)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} cannot be read: .*({REFUSALS})"):
        load(path)


@pytest.mark.parametrize("leads_out", WAYS_OUT)
def test_archives_of_rbms_that_lead_elsewhere_are_refused(secret, leads_out):
    path = secret / "archive.h5"
    save_rbms_archive(path, TRAJECTORY, np.zeros((5, 4)), learning_rate=0.1, batch_size=2, n_sweeps=1)
    load_rbms_archive(path)
    with h5py.File(path, "a") as file:
        del file["update_1/params/weight_matrix"]
        leads_out(file["update_1/params"], "weight_matrix", secret)
    with pytest.raises(ValueError, match=f"archive.*({REFUSALS})"):
        load_rbms_archive(path)


@pytest.mark.parametrize("leads_out", WAYS_OUT)
@pytest.mark.parametrize("load", [load_array, open_array])
def test_data_that_lie_elsewhere_are_not_read(secret, leads_out, load):
    path = secret / "data.h5"
    with h5py.File(path, "w") as file:
        file["mine"] = SECRET + 1
        leads_out(file, "other", secret)
    np.testing.assert_array_equal(np.asarray(load(path, name="mine")), SECRET + 1)
    with pytest.raises(ValueError, match=r"keeps its numbers in other files|there is no 'other'"):
        load(path, name="other")


def test_a_group_within_itself_ends_no_search(tmp_path):
    with create_file(tmp_path / "loop.h5") as file:
        file["numbers"] = np.arange(3)
        file["group/loop"] = file["/"]
    with open_file(tmp_path / "loop.h5") as file:
        assert file["numbers"][()].tolist() == [0, 1, 2]
