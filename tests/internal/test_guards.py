"""The guard of configurations: what it takes, what it refuses, and that it looks once."""

import gc
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from rbm_jax import Bernoulli, Gaussian, Potts, ReLU, Spin, sample_gibbs, visible_free_energy
from rbm_jax._internal import arrays, support
from rbm_jax._internal.checks import as_means, as_samples, check_parameters, check_support
from tests.helpers import reference_rbm

V = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)


class Table:
    """What a pandas DataFrame is to the guard: `to_numpy`, with its options."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def to_numpy(self, dtype=None, na_value=None):
        if dtype is None:
            return self.values
        return np.array([[na_value if value is None else value for value in row] for row in self.values], dtype)


def guard(values, units=None, **options):
    return as_samples("v", values, Bernoulli() if units is None else units, 3, jnp.float32, **options)


@pytest.fixture
def looks(monkeypatch):
    """The arrays that were looked at."""
    seen = []
    original = support.SupportCheck.passes
    monkeypatch.setattr(
        support.SupportCheck, "passes", lambda self, values: seen.append(values) or original(self, values)
    )
    return seen


@pytest.mark.parametrize(
    "values",
    [V, V.astype(bool), V.tolist(), jnp.asarray(V), np.ma.masked_array(V), Table(V), Table(V.astype(object))],
    ids=["uint8", "bool", "list", "jax", "nothing masked", "table", "table of objects"],
)
def test_samples_of_any_kind_become_floats_of_the_dtype(values):
    found = guard(values)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, V)


@pytest.mark.parametrize(
    ("values", "units", "message"),
    [
        (
            2.0 * V - 1,
            Bernoulli(),
            r"v must be 0 or 1 for Bernoulli\(\) units, got -1.0 at row 0, column 0; .*0/1",
        ),
        (V, Spin(), r"v must be -1 or \+1 for Spin\(\) units, got 0"),
        (-1.0 * V, ReLU(), "v must be a finite number of at least 0 .* got -1.0 at row 0, column 1"),
        (V, Potts(3), "v must be one-hot in each group of 3 columns .* row 0, column 0; see rbm_jax.data.one_hot"),
        (np.where(V, np.nan, 0.0), Bernoulli(), "v holds 3 values that are NaN or infinite"),
        (np.where(V, np.inf, 0.0), Gaussian(), "v holds 3 values that are NaN or infinite"),
        (np.ma.masked_equal(V, 0), Bernoulli(), "v must have no masked entries here, got 3"),
        (V[:, :2], Bernoulli(), "v must have 3 units on its last axis"),
        (V[None], Bernoulli(), "v must have 2 axes"),
        (V[:1], Bernoulli(), "v must hold at least two samples"),
        (Table([[0, 1, None]] * 2), Bernoulli(), "v holds 2 values that are NaN"),
    ],
)
def test_what_is_wrong_with_samples_is_named(values, units, message):
    with pytest.raises(ValueError, match=message):
        guard(values, units, ndim=2, n_least=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (scipy.sparse.csr_matrix(V), r"v must be a dense array, got a sparse csr_matrix; pass v.toarray\(\)"),
        (Table([["a", "b", "c"]]), "v must be an array of real numbers"),
        (V * 1j, "v must be an array of real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(values, message):
    with pytest.raises(TypeError, match=message):
        guard(values)


def test_missing_entries_are_nan_where_they_are_allowed():
    lossy = np.array([[0, 1, np.nan], [np.nan, np.nan, np.nan]])
    masked = np.ma.masked_array(np.nan_to_num(lossy).astype(np.uint8), np.isnan(lossy))
    for values in (lossy, masked, Table([[0, 1, None], [None] * 3])):
        np.testing.assert_array_equal(guard(values, allow_missing=True), lossy)
    with pytest.raises(ValueError, match="v must miss all 3 components of a unit of Potts"):
        guard(lossy, Potts(3), allow_missing=True)
    with pytest.raises(ValueError, match="v must be 0 or 1"):
        guard(lossy + 1, allow_missing=True)


@pytest.mark.parametrize(
    ("units", "inside", "outside"),
    [(Bernoulli(), 0.3, -0.1), (Spin(), -0.9, 1.1), (Gaussian(), 1e3, np.inf), (ReLU(), 0.2, -1.0)],
)
def test_magnetizations_are_means_that_the_units_can_have(units, inside, outside):
    np.testing.assert_array_equal(as_means("m", [inside, inside], units, 2, jnp.float32), np.float32([inside] * 2))
    with pytest.raises(ValueError, match=r"m (must be|holds)"):
        as_means("m", [inside, outside], units, 2, jnp.float32)


def test_an_array_of_jax_is_looked_at_once_and_one_of_numpy_each_time(looks):
    data = jnp.asarray(V)
    first = guard(data)
    assert len(looks) == 1
    for values in (data, first):  # what it was cast to is known as well
        guard(values)
        check_support("v", values, Bernoulli())
    assert len(looks) == 1
    guard(data, Gaussian())  # other units ask for something else
    assert len(looks) == 2
    guard(V)
    guard(V)
    assert len(looks) == 4


def test_a_look_is_forgotten_with_its_array(looks):
    data = jnp.asarray(V)
    check_support("v", data, Bernoulli())
    n_known = len(arrays._seen)
    del data
    looks.clear()
    gc.collect()
    assert len(arrays._seen) < n_known


def test_states_that_a_sampler_drew_are_not_looked_at(looks):
    rbm = reference_rbm(3, 2, 0.5)
    v = sample_gibbs(jax.random.key(0), rbm, V, n_sweeps=2)
    assert len(looks) == 1
    v = sample_gibbs(jax.random.key(1), rbm, v, n_sweeps=2)
    visible_free_energy(rbm, v)
    assert len(looks) == 1


def test_values_under_jit_and_vmap_pass_and_known_ones_are_looked_at():
    rbm = reference_rbm(3, 2, 0.5)
    assert jnp.isfinite(jax.jit(visible_free_energy)(rbm, jnp.full(3, 0.5)))
    with pytest.raises(ValueError, match="v must be 0 or 1"):
        jax.jit(lambda rbm: visible_free_energy(rbm, np.full(3, 0.5)))(rbm)


def test_a_look_at_large_data_takes_little_memory():
    data = np.zeros((20_000, 784), np.uint8)  # 16 MB; eager comparisons made three arrays of that size
    tracemalloc.start()
    check_support("v", data, Bernoulli())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_the_program_for_other_devices_finds_the_same_row(monkeypatch):
    monkeypatch.setattr(support, "is_on_host", lambda values: False)
    check_support("v", jnp.asarray(V), Bernoulli())
    bad = jnp.asarray(V).at[1, 0].set(2)
    with pytest.raises(ValueError, match="got 2 at row 1, column 0"):
        check_support("v", bad, Bernoulli())


def test_rows_have_the_names_that_the_caller_gives():
    with pytest.raises(ValueError, match="at row 17, column 1"):
        check_support("source", 2 * V, Bernoulli(), rows=np.array([17, 4]))


def test_nan_parameters_are_refused_by_name_and_looked_at_once():
    rbm = reference_rbm(3, 2, 0.5)
    check_parameters(rbm)
    broken = jax.tree.map(lambda leaf: leaf.at[..., 0].set(jnp.nan), rbm)
    with pytest.raises(ValueError, match=r"rbm\.weights holds 3 values that are NaN"):
        visible_free_energy(broken, V)
    assert all(arrays.is_known(leaf, "parameter") for leaf in jax.tree.leaves(rbm))
