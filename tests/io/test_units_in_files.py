"""Units in files: any type with its fixed numbers and its learned arrays, bit for bit."""

import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Bernoulli, Gaussian, Potts, ReLU, Spin, Trajectory, init_rbm, stack_rbms
from rbm_jax.io import load_rbm, load_trajectories, save_rbm, save_trajectories
from rbm_jax.io.files import create_file, open_file, write_array
from rbm_jax.io.units import read_units, unit_arrays, write_units
from rbm_jax.units import UNIT_TYPES, AbstractUnits
from tests.helpers import assert_same

LEARNED = np.array([0.3, 1.7, 0.9, 1.1], np.float32)
EXAMPLES = [
    Bernoulli(),
    Spin(),
    Potts(2),
    Gaussian(0.1 + 0.2),  # a number whose digits must all be kept
    ReLU(1 / 3),
    Gaussian(LEARNED),
    ReLU(LEARNED),
]


def rbm_with(visible_units):
    return init_rbm(jax.random.key(0), 4, 2, visible_units=visible_units, scale=0.3)


def test_every_unit_type_is_tried_here():
    assert {type(units) for units in EXAMPLES} == set(UNIT_TYPES.values())


@pytest.mark.parametrize("units", EXAMPLES, ids=repr)
def test_rbms_come_back_with_their_units(tmp_path, units):
    rbm = rbm_with(units)
    save_rbm(tmp_path / "rbm.h5", rbm)
    assert_same(load_rbm(tmp_path / "rbm.h5")[0], rbm)


@pytest.mark.parametrize("units", [Gaussian(LEARNED), ReLU(LEARNED)], ids=repr)
def test_trajectories_keep_the_learned_parameters_at_each_time(tmp_path, units):
    rbms = [rbm_with(units), jax.tree.map(lambda leaf: leaf + 0.7, rbm_with(units))]
    path = Trajectory(jnp.arange(2.0), stack_rbms(rbms), jnp.zeros((), jnp.int32))
    save_trajectories(tmp_path / "path.h5", {"a": path})
    assert_same(load_trajectories(tmp_path / "path.h5")["a"], path)


def test_arrays_lie_at_their_places_in_the_pytree(tmp_path):
    rbm = rbm_with(Gaussian(LEARNED))
    save_rbm(tmp_path / "rbm.h5", rbm)
    with h5py.File(tmp_path / "rbm.h5") as file:
        found = []
        file["rbm"].visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
        leaves = jax.tree_util.tree_leaves_with_path(rbm)
        assert set(found) == {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves}
        description = json.loads(file["rbm"].attrs["visible_units"])
    assert description == {"type": "Gaussian", "arguments": {"log_variance": {"array": "visible_units/log_variance"}}}


class Pair(AbstractUnits):
    """Units made of units, with a table of numbers, as only this test has them."""

    parts: tuple
    table: jax.Array
    name: str

    def config(self):
        return {"parts": self.parts, "table": self.table, "name": self.name}


def test_units_within_units_and_their_arrays_are_written_likewise(tmp_path, monkeypatch):
    concrete = dict.fromkeys(Pair.__abstractmethods__)
    kind = type("Pair", (Pair,), concrete)
    monkeypatch.setitem(UNIT_TYPES, "Pair", kind)
    pair = kind((Gaussian(LEARNED), Potts(3)), jnp.arange(6.0).reshape(2, 3), "two")
    with create_file(tmp_path / "units.h5") as file:
        write_units(file, "hidden_units", pair)
        for place, array in unit_arrays("hidden_units", pair).items():
            write_array(file, place, array)
    with open_file(tmp_path / "units.h5") as file:
        found = read_units(file, "hidden_units")
        assert set(file["hidden_units"]) == {"parts", "table"}
    assert (type(found), found.name) == (kind, "two")
    assert repr(found.parts) == repr(pair.parts)
    assert_same((found.parts[0].log_variance, found.table), (pair.parts[0].log_variance, pair.table))


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ({"type": "Neuron", "arguments": {}}, "'Neuron' is unknown; this version knows"),
        ({"type": "Gaussian", "arguments": {"slope": 1.0}}, "slope"),
        ({"type": "Gaussian", "arguments": {"variance": -1.0}}, "variance must be"),
        ({"type": "Gaussian", "arguments": {"log_variance": {"array": "nowhere"}}}, "nowhere"),
        (["Neuron"], "'Neuron' is unknown"),
    ],
)
def test_units_that_this_version_does_not_know_are_named(tmp_path, description, named):
    path = tmp_path / "rbm.h5"
    save_rbm(tmp_path / "good.h5", rbm_with(Gaussian()))
    with open_file(tmp_path / "good.h5") as good, create_file(path) as file:
        good.copy(good["rbm"], file, name="rbm")
        file["rbm"].attrs["visible_units"] = json.dumps(description)
    with pytest.raises(ValueError, match=rf"rbm\.h5 cannot be read: .*{named}"):
        load_rbm(path)
