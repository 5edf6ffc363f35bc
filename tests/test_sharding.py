"""Chains, data and ensembles over devices and processes: the same numbers, and the work divided."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import tests.on_devices as problem
from rbm_jax import init_chains, init_rbm
from rbm_jax.sharding import device_mesh, divide, place_state, replicate, start_processes, to_host, virtual_devices

ROOT = pathlib.Path(__file__).parents[1]


def start(*arguments):
    command = [sys.executable, "-m", "tests.on_devices", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)


def finish(processes):
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Results on eight virtual devices, and on one of them."""
    path = tmp_path_factory.mktemp("devices") / "results.npz"
    finish([start(path)])
    return dict(np.load(path))


def test_chains_are_the_same_bits_on_any_number_of_devices(eight):
    for n_devices in (1, 2, 4, 8):
        np.testing.assert_array_equal(eight[f"gibbs/{n_devices}"], eight["gibbs/1"])
    assert 0.1 < eight["gibbs/1"].mean() < 0.9


def test_each_device_holds_its_share_of_the_chains(eight):
    for n_devices in (1, 2, 4, 8):
        assert eight[f"gibbs/{n_devices}/shards"].tolist() == [48 // n_devices] * n_devices
    for name in ("train/8", "train-uneven/8", "train-weighted/8", "tempering/8"):
        assert eight[f"{name}/shards"].tolist() == [6] * 8
    assert eight["ensemble/8/shards"].tolist() == [2] * 8


@pytest.mark.parametrize("run", ["train", "train-uneven", "train-weighted", "ensemble"])
def test_training_on_eight_devices_is_that_on_one_up_to_rounding(eight, run):
    for leaf in ("weights", "visible_bias", "hidden_bias"):
        np.testing.assert_allclose(eight[f"{run}/8/{leaf}"], eight[f"{run}/1/{leaf}"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(eight[f"{run}/8/chains"], eight[f"{run}/1/chains"])


def test_estimates_of_log_z_agree_up_to_rounding(eight):
    np.testing.assert_allclose(eight["ais/8"], eight["ais/1"], rtol=1e-10)
    assert np.isfinite(eight["ais/8"]).all()


def test_replica_exchange_goes_the_same_way(eight):
    np.testing.assert_array_equal(eight["tempering/8"], eight["tempering/1"])
    np.testing.assert_allclose(eight["acceptance/8"], eight["acceptance/1"], rtol=1e-10)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("sampling", []),
        ("ensemble", []),
        ("update", ["all-reduce"]),
        # the mean of all data is the same in each update, and is taken once before the loop of them
        ("full update", ["all-reduce", "all-reduce"]),
        # mean and variance of the gain of each temperature, two numbers
        ("annealing", ["all-reduce", "all-reduce"]),
    ],
)
def test_programs_communicate_as_little_as_is_claimed(eight, program, expected):
    assert eight[f"collectives/{program}"].tolist() == expected


@pytest.mark.parametrize("program", ["sampling", "update", "full update", "annealing"])
def test_no_device_computes_all_chains_or_all_rows(eight, program):
    assert eight[f"whole/{program}"].tolist() == []


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        ("device_mesh", "ValueError: n_devices must be at most the number of devices, 8 of kind cpu, got 9"),
        ("divide", "ValueError: axis 0 of tree['chains'] must be a multiple of the number of devices, 8, got 50"),
        ("axis", "ValueError: tree[0] must have an axis 1 to divide, got shape (8,); replicate it"),
        ("place_state", "ValueError: n_chains must be a multiple of the number of devices, 8, got 50; take 48"),
        ("virtual_devices", "RuntimeError: n_devices=4 virtual devices must be made before"),
    ],
)
def test_impossible_placements_are_named(eight, attempt, message):
    assert message in str(eight[f"error/{attempt}"])


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Results of both of two processes, with two virtual devices each."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    paths = [folder / f"{process_id}.npz" for process_id in range(2)]
    finish([start(path, address, process_id) for process_id, path in enumerate(paths)])
    return [dict(np.load(path)) for path in paths]


def test_two_processes_train_as_one_does(two_processes, x64):
    even = {"place_data": lambda data, mesh: data[:64], "n_updates": 10}
    references = {"replicated": problem.train(), "divided": problem.train(device_mesh(), **even)}
    for name, state in references.items():
        expected = problem.leaves_of(state, name)
        for results in two_processes:
            for leaf in ("weights", "visible_bias", "hidden_bias"):
                np.testing.assert_allclose(results[f"{name}/{leaf}"], expected[f"{name}/{leaf}"], rtol=0, atol=1e-12)
            np.testing.assert_array_equal(results[f"{name}/chains"], expected[f"{name}/chains"])
            assert results[f"{name}/shards"].tolist() == [12, 12]  # half of 48, on two devices


def test_data_on_several_processes_are_checked_on_each(two_processes):
    for results in two_processes:
        assert "got 2 at row 50, column 0" in str(results["error"])


def test_typed_keys_are_placed_over_processes(two_processes, x64):
    expected = jax.random.bits(jax.random.split(jax.random.key(0), 4)[3], (2,))
    for results in two_processes:
        np.testing.assert_array_equal(results["bits"], expected)


def test_one_device_is_a_mesh_too():
    mesh = device_mesh()
    virtual_devices(mesh.size)  # as it is already
    keys = divide(jax.random.split(jax.random.key(0), 4), mesh)
    np.testing.assert_array_equal(
        jax.random.key_data(keys), jax.random.key_data(jax.random.split(jax.random.key(0), 4))
    )
    rbm = replicate(init_rbm(jax.random.key(0), 3, 2), mesh)
    np.testing.assert_array_equal(to_host(init_chains(jax.random.key(1), rbm, 5)).shape, (5, 3))
    state = problem.train(mesh, n_updates=0)
    assert jax.tree.structure(place_state(state, mesh)) == jax.tree.structure(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1:1", 2, None), "given together or not at all, got '127.0.0.1:1', 2 and None"),
        (("127.0.0.1:1", 2, 2), "process_id must be below n_processes=2, got 2"),
        (("127.0.0.1:1", 0, 0), "n_processes must be at least 1, got 0"),
        (("127.0.0.1:1", 2, -1), "process_id must be at least 0, got -1"),
    ],
)
def test_processes_that_do_not_fit_together_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        start_processes(*arguments)


def test_processes_cannot_be_joined_after_work_has_begun():
    jax.devices()
    with pytest.raises(RuntimeError, match="before"):
        start_processes("127.0.0.1:1", 1, 0)
