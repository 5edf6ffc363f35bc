"""Archives of `rbms`, scikit-learn's BernoulliRBM, and tables: the same numbers on both sides."""

import importlib.util

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    Bernoulli,
    Gaussian,
    Potts,
    Spin,
    Status,
    Trajectory,
    hidden_free_energy,
    joint_energy,
    stack_rbms,
    visible_free_energy,
)
from rbm_jax.dynamics import Comparison
from rbm_jax.io.interop import (
    comparison_table,
    fixed_points_table,
    from_bernoulli_rbm,
    load_rbms_archive,
    save_rbms_archive,
    to_bernoulli_rbm,
    trajectory_table,
)
from rbm_jax.mean_field import FixedPoints
from rbm_jax.model import enumerate_states, exact_visible_probabilities
from rbm_jax.spectral import singular_values_along
from tests.helpers import reference_rbm

needs_rbms = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("rbms", "torch")),
    reason="rbms and torch come with the extra `bench`; the format itself is tested without them",
)
HYPERPARAMETERS = {"learning_rate": 0.05, "batch_size": 20, "n_sweeps": 2}
STATES = {n: np.asarray(enumerate_states(Bernoulli(), n)) for n in (3, 4)}


def write_archive(path, **changes):
    """An archive as `rbms` 0.5 writes it, of 4×3 units at updates 1, 2 and 10; `changes` replace datasets."""
    rng = np.random.default_rng(0)
    entries = {"model_type": "BBRBM", "parallel_chains": rng.integers(0, 2, (6, 4)).astype(np.float32)}
    for update in (1, 2, 10):
        parameters = {"weight_matrix": (4, 3), "vbias": 4, "hbias": 3}
        for name, shape in parameters.items():
            entries[f"update_{update}/params/{name}"] = rng.normal(size=shape).astype(np.float32)
        entries[f"update_{update}/time"] = 0.5 * update
    entries |= {"hyperparameters/learning_rate": 0.05, "learning_rate": np.full(10, 0.05)} | changes
    with h5py.File(path, "w") as file:
        for name, value in entries.items():
            if value is not None:
                file[name] = value
    return entries


def some_trajectory(time_step=1.0, observations=None, n_runs=None):
    rbms = stack_rbms([reference_rbm(4, 3, strength) for strength in (0.3, 0.5, 0.9)])
    ts = jnp.asarray(time_step * np.array([0, 1, 20]), rbms.dtype)
    trajectory = Trajectory(ts, rbms, jnp.asarray(Status.SUCCESS, jnp.int32), observations)
    if n_runs is None:
        return trajectory
    return jax.tree.map(lambda leaf: jnp.stack([leaf * (1 + run) for run in range(n_runs)]), trajectory)


def rbm_at(trajectory, index):
    return jax.tree.map(lambda leaf: leaf[index], trajectory.rbms)


def test_archive_gives_the_rbms_of_its_updates_in_order_and_the_chains(tmp_path):
    entries = write_archive(tmp_path / "run.h5")
    trajectory, chains = load_rbms_archive(tmp_path / "run.h5", time_step=0.05)
    np.testing.assert_allclose(trajectory.ts, [0.05, 0.1, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(trajectory.observations["seconds"], [0.5, 1, 5])
    np.testing.assert_array_equal(chains, entries["parallel_chains"])
    assert trajectory.status == Status.SUCCESS
    for index, update in enumerate((1, 2, 10)):
        rbm = rbm_at(trajectory, index)
        np.testing.assert_array_equal(rbm.weights, entries[f"update_{update}/params/weight_matrix"])
        np.testing.assert_array_equal(rbm.visible_bias, entries[f"update_{update}/params/vbias"])
        np.testing.assert_array_equal(rbm.hidden_bias, entries[f"update_{update}/params/hbias"])
    few, _ = load_rbms_archive(tmp_path / "run.h5", updates=[1, 10])
    np.testing.assert_array_equal(few.ts, [1, 10])
    np.testing.assert_array_equal(few.rbms.weights, trajectory.rbms.weights[::2])


def test_probabilities_of_an_archive_are_those_of_its_energy_over_all_states(tmp_path, x64):
    entries = write_archive(tmp_path / "run.h5")
    rbm = rbm_at(load_rbms_archive(tmp_path / "run.h5", updates=[10])[0], 0)
    weights, vbias, hbias = (
        entries[f"update_10/params/{name}"].astype(float) for name in ("weight_matrix", "vbias", "hbias")
    )
    v, h = STATES[4], STATES[3]
    energy = -(v @ vbias)[:, None] - h @ hbias - v @ weights @ h.T
    weight = np.exp(-energy).sum(1)
    np.testing.assert_allclose(joint_energy(rbm, v[:, None], h), energy, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(exact_visible_probabilities(rbm), weight / weight.sum(), rtol=1e-5)


def test_archive_comes_back_as_it_went(tmp_path, dtype):
    trajectory, chains = some_trajectory(0.05, {"seconds": jnp.arange(3.0)}), jnp.asarray(STATES[4], dtype)
    save_rbms_archive(tmp_path / "run.h5", trajectory, chains, time_step=0.05, **HYPERPARAMETERS)
    found = load_rbms_archive(tmp_path / "run.h5", time_step=0.05)
    assert jax.tree.structure(found) == jax.tree.structure((trajectory, chains))
    for leaf, expected in zip(jax.tree.leaves(found), jax.tree.leaves((trajectory, chains)), strict=True):
        np.testing.assert_array_equal(leaf, expected)
        assert leaf.dtype == expected.dtype


BAD_ARCHIVES = {
    "another model": ({"model_type": "PGRBM"}, "PGRBM"),
    "no model": ({"model_type": None}, "no model_type"),
    "no bias": ({"update_2/params/vbias": None}, "vbias"),
    "no chains": ({"parallel_chains": None}, "parallel_chains"),
    "other shape": ({"update_2/params/vbias": np.zeros(5, np.float32)}, "do not fit"),
    "three axes": ({"update_2/params/weight_matrix": np.zeros((4, 2, 3), np.float32)}, "do not fit"),
    "NaN": ({"update_1/params/hbias": np.full(3, np.nan, np.float32)}, "hbias holds 3 values"),
    "text": ({"update_1/params/hbias": "zero"}, "not floating"),
    "group": ({"update_1/params/hbias": None, "update_1/params/hbias/x": 1.0}, "group"),
    "spins": ({"parallel_chains": -np.ones((6, 4), np.float32)}, "parallel_chains must be 0 or 1"),
    "narrow chains": ({"parallel_chains": np.ones((6, 3), np.float32)}, "parallel_chains must have shape"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_damaged_and_foreign_archives_are_refused_by_name(tmp_path, unchecked, kind):
    changes, message = BAD_ARCHIVES[kind]
    write_archive(tmp_path / "bad.h5", **changes)
    with pytest.raises(ValueError, match=rf"bad\.h5.*{message}"):
        load_rbms_archive(tmp_path / "bad.h5")


def test_other_files_are_refused_by_name(tmp_path):
    write_archive(tmp_path / "good.h5")
    good = (tmp_path / "good.h5").read_bytes()
    for name, content in {"cut.h5": good[: len(good) // 2], "empty.h5": b"", "text.h5": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_rbms_archive(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.h5"):
        load_rbms_archive(tmp_path / "missing.h5")
    for updates in ([3], [10, 1], []):
        with pytest.raises(ValueError, match=r"saved are \[1, 2, 10\]"):
            load_rbms_archive(tmp_path / "good.h5", updates=updates)


def test_what_rbms_has_no_place_for_is_not_written(tmp_path, unchecked):
    path, trajectory, chains = tmp_path / "run.h5", some_trajectory(), STATES[4]
    save_rbms_archive(path, trajectory, chains, **HYPERPARAMETERS)
    before = path.read_bytes()
    spins = stack_rbms([reference_rbm(4, 3, 0.3, Spin())])
    diverged = jax.tree.map(lambda leaf: leaf * jnp.nan, trajectory.rbms)
    bad = {
        "Bernoulli-Bernoulli": (Trajectory(jnp.zeros(1), spins, trajectory.status), chains),
        "must be of one RBM": (some_trajectory(n_runs=2), chains),
        "set time_step": (some_trajectory(0.05), chains),
        "NaN": (Trajectory(trajectory.ts, diverged, trajectory.status), chains),
        "chains must be 0 or 1": (trajectory, 2 * chains - 1),
        "chains must have shape": (trajectory, chains[:, :3]),
    }
    for message, (path_taken, states) in bad.items():
        with pytest.raises(ValueError, match=message):
            save_rbms_archive(path, path_taken, states, **HYPERPARAMETERS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def assert_same_energies(rbm, v, h, model, their_v):
    """Energies of all pairs of states, and free energies of both layers, are those by the methods of `rbms`."""
    import torch

    theirs_v, theirs_h = torch.tensor(their_v, dtype=model.dtype), torch.tensor(h, dtype=model.dtype)
    pairs = model.compute_energy(theirs_v.repeat_interleave(len(h), 0), theirs_h.repeat(len(v), 1))
    theirs = pairs.reshape(len(v), -1), model.compute_energy_visibles(theirs_v), model.compute_energy_hiddens(theirs_h)
    ours = joint_energy(rbm, v[:, None], h), visible_free_energy(rbm, v), hidden_free_energy(rbm, h)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), rtol=2e-5, atol=2e-5)


@needs_rbms
@pytest.mark.filterwarnings("ignore")
def test_archive_of_a_training_by_rbms_has_the_energies_and_states_that_rbms_sees(tmp_path):
    import torch
    from rbms.dataset.dataset_class import RBMDataset
    from rbms.io import load_model
    from rbms.training.pcd import train

    torch.manual_seed(0)
    data = np.repeat(STATES[4][[0, 3, 12, 15]], 10, axis=0).astype(np.float32)
    rows = np.arange(len(data))
    dataset = RBMDataset(data, rows, np.ones(len(data)), rows, "states", True, device="cpu")
    path = tmp_path / "rbms.h5"
    sizes = {"num_hiddens": 3, "batch_size": 20, "num_chains": 12, "gibbs_steps": 2, "num_updates": 100}
    options = {"learning_rate": 0.5, "beta": 1.0, "seed": 0, "L1": 0.0, "L2": 0.0, "train_size": 0.9, "test_size": None}
    switches = {"restore": False, "overwrite": True, "no_center": False, "log": False, "training_type": "pcd"}
    arguments = {"filename": str(path), "device": "cpu", "dtype": torch.float32, **sizes, **options, **switches}
    train(dataset, None, "BBRBM", arguments, torch.float32, checkpoints=np.array([10, 100]))

    trajectory, chains = load_rbms_archive(path)
    np.testing.assert_array_equal(trajectory.ts, [1, 10, 100])
    assert (np.diff(trajectory.observations["seconds"]) > 0).all()
    for index, update in enumerate((1, 10, 100)):
        model, their_chains, *_ = load_model(str(path), update, torch.device("cpu"), torch.float32)
        np.testing.assert_array_equal(chains, their_chains["visible"].numpy())
        assert_same_energies(rbm_at(trajectory, index), STATES[4], STATES[3], model, STATES[4])
    assert abs(trajectory.rbms.weights[-1]).max() > 0.1  # it has learned something


@needs_rbms
@pytest.mark.filterwarnings("ignore")
def test_rbms_reads_our_archive_with_the_same_energies_states_and_spectrum(tmp_path):
    import torch
    from rbms.io import load_model
    from rbms.utils import get_eigenvalues_history, get_flagged_updates, get_saved_updates

    path, trajectory = tmp_path / "ours.h5", some_trajectory(0.05)
    save_rbms_archive(path, trajectory, STATES[4], time_step=0.05, **HYPERPARAMETERS)
    np.testing.assert_array_equal(get_saved_updates(path), [0, 1, 20])
    np.testing.assert_array_equal(get_flagged_updates(path, "checkpoint"), [0, 1, 20])
    np.testing.assert_allclose(get_eigenvalues_history(path)[1], singular_values_along(trajectory), rtol=1e-5)
    for index, update in enumerate((0, 1, 20)):
        model, chains, _, hyperparameters = load_model(path, update, torch.device("cpu"), torch.float32)
        assert_same_energies(rbm_at(trajectory, index), STATES[4], STATES[3], model, STATES[4])
    np.testing.assert_array_equal(chains["visible"].numpy(), STATES[4])
    assert hyperparameters == {"learning_rate": 0.05, "batch_size": 20, "gibbs_steps": 2, "L1": 0.0, "L2": 0.0}


POTTS_NUMBERS = np.array([[0, 0], [2, 1], [1, 2], [0, 1]])
POTTS_STATES = np.eye(3)[POTTS_NUMBERS].reshape(4, 6)


def save_potts_archive(path):
    """An RBM of two visible Potts units with three states, saved with four states as its chains."""
    rbm = reference_rbm(6, 3, 0.5, Potts(3), Bernoulli())
    trajectory = Trajectory(jnp.ones(1), stack_rbms([rbm]), jnp.asarray(0, jnp.int32))
    save_rbms_archive(path, trajectory, POTTS_STATES, **HYPERPARAMETERS)
    return rbm


def test_archive_of_a_potts_rbm_has_a_site_an_axis_and_comes_back(tmp_path):
    rbm = save_potts_archive(tmp_path / "potts.h5")
    with h5py.File(tmp_path / "potts.h5") as file:
        np.testing.assert_array_equal(file["parallel_chains"], POTTS_NUMBERS)
        params = file["update_1/params"]
        np.testing.assert_array_equal(params["weight_matrix"], np.reshape(rbm.weights, (2, 3, 3)))
        np.testing.assert_array_equal(params["vbias"], np.reshape(rbm.visible_bias, (2, 3)))
    found, chains = load_rbms_archive(tmp_path / "potts.h5")
    np.testing.assert_array_equal(chains, POTTS_STATES)
    np.testing.assert_array_equal(found.rbms.weights[0], rbm.weights)
    assert (found.rbms.visible_units, found.rbms.hidden_units) == (rbm.visible_units, rbm.hidden_units)


@needs_rbms
@pytest.mark.filterwarnings("ignore")
def test_archive_of_a_potts_rbm_has_the_energies_that_rbms_sees(tmp_path):
    import torch
    from rbms.io import load_model

    rbm = save_potts_archive(tmp_path / "potts.h5")
    model, chains, *_ = load_model(tmp_path / "potts.h5", 1, torch.device("cpu"), torch.float32)
    np.testing.assert_array_equal(chains["visible"].numpy(), POTTS_NUMBERS)
    assert_same_energies(rbm, POTTS_STATES, STATES[3], model, POTTS_NUMBERS)


def test_bernoulli_rbm_of_scikit_learn_has_our_free_energies_and_comes_back(dtype):
    rbm = reference_rbm(4, 3, 0.7)
    model = to_bernoulli_rbm(rbm, random_state=0, batch_size=4)
    error = 1e-12 if dtype == jnp.float64 else 1e-6
    np.testing.assert_allclose(model._free_energy(STATES[4]), visible_free_energy(rbm, STATES[4]), error, error)
    back = from_bernoulli_rbm(model)
    for leaf, expected in zip(jax.tree.leaves(back), jax.tree.leaves(rbm), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    assert (back.visible_units, back.hidden_units) == (Bernoulli(), Bernoulli())
    assert list(model.get_feature_names_out()) == ["bernoullirbm0", "bernoullirbm1", "bernoullirbm2"]
    assert model.transform(STATES[4]).shape == (16, 3)
    model.partial_fit(STATES[4][:4].astype(float))  # theirs, and in place: ours stays
    np.testing.assert_array_equal(back.weights, rbm.weights)


def test_rbm_of_a_bernoulli_rbm_that_scikit_learn_trained_has_its_free_energies():
    from sklearn.exceptions import NotFittedError
    from sklearn.neural_network import BernoulliRBM

    with pytest.raises(NotFittedError):
        from_bernoulli_rbm(BernoulliRBM())
    model = BernoulliRBM(3, random_state=0, n_iter=2).fit(STATES[4])
    expected = model._free_energy(STATES[4])
    np.testing.assert_allclose(visible_free_energy(from_bernoulli_rbm(model), STATES[4]), expected, rtol=1e-5)


def test_bernoulli_rbm_is_refused_other_units():
    for units in (Spin(), Gaussian()):
        with pytest.raises(ValueError, match="Bernoulli-Bernoulli"):
            to_bernoulli_rbm(reference_rbm(4, 3, 0.3, units))
    with pytest.raises(ValueError, match="must be one"):
        to_bernoulli_rbm(some_trajectory().rbms)


def assert_columns(table, n_rows):
    for name, column in table.items():
        assert isinstance(column, np.ndarray), name
        assert column.shape == (n_rows,), name


def test_table_of_a_trajectory_has_a_row_per_time_and_a_column_per_number():
    observations = {"loss": jnp.arange(3.0), "at": [jnp.ones((3, 2)), jnp.ones((3, 2, 2))], "n": jnp.arange(3)}
    trajectory = some_trajectory(0.5, observations)
    table = trajectory_table(trajectory)
    assert_columns(table, 3)
    names = ["t", "sigma_1", "sigma_2", "sigma_3", "status", "at_0_1", "at_0_2", "loss", "n"]
    assert list(table) == names
    np.testing.assert_allclose(table["t"], [0, 0.5, 10])
    np.testing.assert_allclose(table["sigma_2"], singular_values_along(trajectory)[:, 1])
    assert list(table["status"]) == ["SUCCESS"] * 3
    assert list(trajectory_table(some_trajectory(observations=jnp.arange(3.0)), n_modes=1)) == [
        "t",
        "sigma_1",
        "status",
        "observation",
    ]


def test_table_of_several_runs_is_long():
    trajectory = some_trajectory(n_runs=2, observations=jnp.arange(3.0))
    table = trajectory_table(trajectory)
    assert_columns(table, 6)
    np.testing.assert_array_equal(table["run"], [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(table["sigma_1"][3:], 2 * table["sigma_1"][:3], rtol=1e-5)
    np.testing.assert_allclose(table["observation"], [0, 1, 2, 0, 2, 4])


def test_tables_of_comparisons_and_fixed_points_hold_their_numbers():
    numbers = jnp.arange(30.0).reshape(5, 3, 2)
    table = comparison_table(Comparison(jnp.arange(3.0), *numbers, *3 * [jnp.zeros(2)]))
    assert_columns(table, 3)
    assert len(table) == 11
    np.testing.assert_array_equal(table["discrete_values_1"], numbers[0, :, 0])
    np.testing.assert_array_equal(table["right_overlap_2"], numbers[4, :, 1])
    labels = jnp.array([0, 0, 0, 1, -1])
    points = FixedPoints(
        jnp.zeros((2, 4)), jnp.zeros((2, 3)), jnp.array([-1.0, -2.0]), jnp.array([3, 1]), labels, labels >= 0, 0.01
    )
    table = fixed_points_table(points)
    assert_columns(table, 2)
    np.testing.assert_allclose(table["fraction"], [0.6, 0.2])
    np.testing.assert_array_equal(table["free_energy"], [-1, -2])
