"""Checkpoints: nothing is lost or altered in a file, and what is not whole is not read."""

import dataclasses
import json
import resource

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import PCD, PTT, Batches, Bernoulli, Gaussian, Spin, Trainer, fit, init_rbm, stack_rbms
from rbm_jax.io import (
    latest_checkpoint,
    load_checkpoint,
    load_config,
    load_rbm,
    load_trajectory,
    save_checkpoint,
    saved_updates,
    software_versions,
)
from rbm_jax.io.files import is_key
from rbm_jax.sampling import live_states
from tests.helpers import assert_same, slow_but

UNITS = Bernoulli()
DATA = np.random.default_rng(0).integers(0, 2, (12, 5)).astype(np.uint8)
ESTIMATORS = {"array": (PCD(), 4), "ladder": (PTT(n_rungs=3), 2)}
"""By what they carry, with a number of chains."""
KEY = jax.random.key(3)


def some_state(optimizer, chains="array", n_hidden=3, units=UNITS, hidden_units=None):
    hidden_units = units if hidden_units is None else hidden_units
    rbm = init_rbm(jax.random.key(0), 5, n_hidden, scale=0.3, visible_units=units, hidden_units=hidden_units)
    estimator, n_chains = ESTIMATORS[chains]
    return Trainer(estimator, optimizer).init(jax.random.key(1), rbm, n_chains=n_chains)


def save(folder, state, **options):
    return save_checkpoint(folder, state, key=KEY, **options)


def bits(tree):
    """The same pytree with the data of keys in their place."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def noisy_adam():
    """An optimizer with all that states are made of: moments, some in bfloat16, a schedule, hyperparameters, a key."""
    adam = optax.inject_hyperparams(optax.adam, static_args="mu_dtype")
    schedule = optax.linear_schedule(0.1, 0.01, 9)
    return optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(5)), adam(schedule, mu_dtype=jnp.bfloat16))


@pytest.mark.parametrize(
    ("chains", "dtype"),
    slow_but(
        [("array", "float64"), ("ladder", "float32")],
        [("array", "float32"), ("array", "float64"), ("ladder", "float32")],
    ),
)
def test_training_from_a_file_has_the_bits_of_training_in_one_go(tmp_path, chains, dtype):
    jax.config.update("jax_enable_x64", dtype == "float64")
    optimizer = noisy_adam() if chains == "array" else optax.sgd(0.1, momentum=0.9)
    state, batches = some_state(optimizer, chains), Batches(DATA, batch_size=5)
    trainer = Trainer(ESTIMATORS[chains][0], optimizer)

    def train(state, n_updates):
        return fit(KEY, trainer, state, batches, n_updates=n_updates)

    whole, _ = train(state, n_updates=6)
    half, _ = train(state, n_updates=3)
    path = save(tmp_path, half, config={"name": "a run"})
    assert path.name == "00000003.h5"
    read = load_checkpoint(latest_checkpoint(tmp_path), state)
    assert_same(bits(read.state), bits(half))
    assert (read.config, read.versions) == (load_config(path), software_versions())
    assert read.config == {"name": "a run"}
    assert_same(bits(read.key), bits(KEY))
    assert_same(bits(train(read.state, n_updates=3)[0]), bits(whole))


def test_learned_parameters_of_units_are_in_a_checkpoint_with_their_momenta(tmp_path):
    adam = optax.adam(0.1)
    states = [
        some_state(adam, units=Gaussian(np.float32([1, 2, 3, 4, scale])), hidden_units=Bernoulli()) for scale in (5, 6)
    ]
    moved = jax.tree.map(lambda leaf: leaf + 1, states[0])
    path = save(tmp_path, moved)
    assert_same(load_checkpoint(path, states[1]).state, moved)
    assert_same(load_rbm(path)[0], moved.rbm)
    with h5py.File(path) as file:
        assert {"rbm/visible_units/log_variance", "opt_state/0/nu/visible_units/log_variance"} <= set(
            json.loads(file.attrs["leaves"])
        )
    fixed = some_state(adam, units=Gaussian(2.0), hidden_units=Bernoulli())
    with pytest.raises(ValueError, match="visible_units/log_variance"):
        load_checkpoint(path, fixed)


@pytest.mark.parametrize("key", [jax.random.key(1), jax.random.key(2, impl="rbg"), jax.random.PRNGKey(3)])
def test_keys_of_any_kind_come_back(tmp_path, key):
    state = some_state(optax.sgd(0.1))
    read = load_checkpoint(save_checkpoint(tmp_path, state, key=key), state).key
    assert read.dtype == key.dtype
    np.testing.assert_array_equal(jax.random.bits(read, (3,)), jax.random.bits(key, (3,)))


def test_weakly_typed_numbers_stay_so(tmp_path):
    """Their type gives way to that of other operands, which decides how results are rounded."""
    state = dataclasses.replace(
        some_state(optax.sgd(0.1)), opt_state=(jnp.asarray(0.3), jnp.float32(0.3), 1.5 * jnp.asarray([1, 2]))
    )
    scalar, strong, vector = load_checkpoint(save(tmp_path, state), state).state.opt_state
    assert [leaf.weak_type for leaf in (scalar, strong, vector)] == [leaf.weak_type for leaf in state.opt_state]
    assert_same((scalar, strong, vector), state.opt_state)


def test_states_that_do_not_fit_are_refused_by_name(tmp_path):
    state = some_state(optax.sgd(0.1, momentum=0.9))
    path = save(tmp_path, state)
    others = {
        "opt_state/0/mu/weights": some_state(optax.adam(0.1)),
        r"rbm/weights of shape \(5, 3\)": some_state(optax.sgd(0.1, momentum=0.9), n_hidden=2),
        "carry/ladder/weights": some_state(optax.sgd(0.1, momentum=0.9), "ladder"),
        "visible_units": some_state(optax.sgd(0.1, momentum=0.9), units=Spin()),
        "bfloat16": jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), state),
    }
    for named, like in others.items():
        with pytest.raises(ValueError, match=named):
            load_checkpoint(path, like)
    jax.config.update("jax_enable_x64", True)
    with pytest.raises(ValueError, match=r"dtype float32, and like has .* float64"):
        load_checkpoint(path, some_state(optax.sgd(0.1, momentum=0.9)))
    with pytest.raises(TypeError, match="JSON"):
        save(tmp_path, state, config={"a set": {1}})


def test_trained_states_of_the_rbm_are_read_from_its_checkpoint(tmp_path):
    for chains in ("array", "ladder"):
        state = some_state(optax.sgd(0.1), chains)
        expected = state.carry if chains == "array" else live_states(state.carry)
        assert_same(load_rbm(save(tmp_path, state)), (state.rbm, expected))


def states_along(n_saves):
    """A state at updates 0, 10, 20, ... whose weights count the saves."""
    state = some_state(optax.sgd(0.1), units=Gaussian(0.5))
    for index in range(n_saves):
        moved = jax.tree.map(lambda leaf, index=index: jnp.full_like(leaf, 10 * index), state)
        yield moved


def test_trajectory_is_read_from_the_files_whole_or_in_part(tmp_path):
    states = list(states_along(4))
    for index, state in enumerate(states):
        save(tmp_path, state, time=0.5 * index, observations={"square": jnp.array([index, index**2])})
    assert list(saved_updates(tmp_path)) == [0, 10, 20, 30]
    whole = load_trajectory(tmp_path)
    assert_same(whole.rbms, stack_rbms([state.rbm for state in states]))
    assert whole.ts.tolist() == [0, 0.5, 1, 1.5]
    assert whole.observations["square"].tolist() == [[0, 0], [1, 1], [2, 4], [3, 9]]
    part = load_trajectory(tmp_path, updates=[10, 30])
    assert_same(part, jax.tree.map(lambda leaf: leaf[jnp.array([1, 3])] if leaf.ndim else leaf, whole))
    with pytest.raises(ValueError, match=r"no saved updates \[11\]"):
        load_trajectory(tmp_path, updates=[10, 11])
    saved_updates(tmp_path)[20].write_bytes(b"hello")
    with pytest.warns(UserWarning, match=r"00000020\.h5 is damaged"):
        assert load_trajectory(tmp_path).ts.tolist() == [0, 0.5, 1.5]
    with pytest.raises(ValueError, match=r"00000020\.h5 is damaged"):
        load_trajectory(tmp_path, updates=[20])
    save(tmp_path, states[2])  # without observations
    assert load_trajectory(tmp_path).observations is None
    with pytest.raises(ValueError, match="no checkpoints"):
        load_trajectory(tmp_path / "empty")


def test_files_that_are_not_to_be_kept_go_with_the_next(tmp_path):
    names = []
    for state, keep in zip(states_along(5), (True, False, False, True, False), strict=True):
        path = save(tmp_path, state, keep=keep)
        assert latest_checkpoint(tmp_path) == path
        names.append(sorted(file.name for file in tmp_path.iterdir()))
    assert names == [
        ["00000000.h5"],
        ["00000000.h5", "00000010.interim.h5"],
        ["00000000.h5", "00000020.interim.h5"],
        ["00000000.h5", "00000030.h5"],
        ["00000000.h5", "00000030.h5", "00000040.interim.h5"],
    ]
    assert list(saved_updates(tmp_path)) == [0, 30]


def test_latest_is_the_last_that_is_whole(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "notes.h5").write_text("not a checkpoint by its name")
    paths = [save(tmp_path, state) for state in states_along(3)]
    (tmp_path / ".00000030-killed.h5").write_bytes(paths[2].read_bytes()[:500])
    assert latest_checkpoint(tmp_path) == paths[2]
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    with h5py.File(paths[1], "w") as file:
        file["weights"] = np.zeros(3)
    with (
        pytest.warns(UserWarning, match=r"00000020\.h5 is damaged"),
        pytest.warns(UserWarning, match=r"00000010\.h5 is an HDF5 file, but not one that rbm_jax wrote"),
    ):
        assert latest_checkpoint(tmp_path) == paths[0]


def test_no_damage_goes_unnoticed(tmp_path):
    state = some_state(optax.adam(0.1))
    path = save(tmp_path, state, config={"seed": 0})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for position in [600, *rng.integers(600, len(whole), 60)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=path.name):
            load_checkpoint(path, state)
    for length in rng.integers(0, len(whole), 30):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=path.name):
            load_checkpoint(path, state)


def test_full_disk_is_an_error_and_leaves_older_files_as_they_were(tmp_path):
    state = some_state(optax.adam(0.1))
    path = save(tmp_path, state)
    before = path.read_bytes()
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large.*00000000\.h5"):
            save(tmp_path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="nowhere"):
        save(tmp_path / "nowhere", state)
