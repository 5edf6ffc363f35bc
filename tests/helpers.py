"""RBMs with known parameters, and tolerances."""

import contextlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import RBM, AbstractUnits, Bernoulli, Gaussian, Spin

UNITS = (Bernoulli(), Spin(), Gaussian(0.7))
PAIRS = [(visible, hidden) for visible in UNITS for hidden in UNITS]
# every kind of units once in each layer, for what is long in all pairs
COVERING_PAIRS = [PAIRS[1], PAIRS[5], PAIRS[6]]
DISCRETE_PAIRS = [pair for pair in PAIRS if all(units.states is not None for units in pair)]


def reference_rbm(
    n_visible: int,
    n_hidden: int,
    strength: float,
    visible_units: AbstractUnits = UNITS[0],
    hidden_units: AbstractUnits | None = None,
    dtype=None,
) -> RBM:
    """The RBM of full rank, made without random numbers, that published check values refer to.

    W_ij = strength · sin(1 + i + 2j + ij), a_i = 0.2 cos i, b_j = 0.1 sin(1 + j).
    """
    i, j = np.arange(n_visible), np.arange(n_hidden)
    dtype = jnp.zeros((), dtype).dtype
    return RBM(
        jnp.asarray(strength * np.sin(1 + i[:, None] + 2 * j + i[:, None] * j), dtype),
        jnp.asarray(0.2 * np.cos(i), dtype),
        jnp.asarray(0.1 * np.sin(1 + j), dtype),
        visible_units,
        visible_units if hidden_units is None else hidden_units,
    )


def slow_but(quick: list, cases: list) -> list:
    """The cases as parameters, those that are not among the quick ones marked slow."""
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in cases]


# ("float32" or "float64", visible units, hidden units), for a test with `indirect=["dtype"]`: all pairs in float64,
# and in float32 those that cover the units
PRECISE_PAIRS = slow_but(
    [("float64", *pair) for pair in PAIRS] + [("float32", *pair) for pair in COVERING_PAIRS],
    [(name, *pair) for name in ("float64", "float32") for pair in PAIRS],
)


def tolerance(dtype) -> float:
    """Relative and absolute error that a well-conditioned result may have: 1e-10 in float64, 1e-5 in float32."""
    return 1e-10 if jnp.dtype(dtype) == jnp.float64 else 1e-5


def optimized(function, **options):
    """`jax.jit` for what computes longer than it compiles: with some of the optimizations that conftest turns off."""
    flags = os.environ.get("XLA_FLAGS", "")
    # The default of XLA is 3, whose programs are no faster here and take longer to compile.
    wanted = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": True}
    return jax.jit(function, compiler_options={name: on for name, on in wanted.items() if name in flags}, **options)


def assert_same(first, second) -> None:
    """Equal pytrees, bit for bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


_COMPILATIONS: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: _COMPILATIONS.append(event) if event.endswith("backend_compile_duration") else None
)


@contextlib.contextmanager
def compiles(at_most: int = 0):
    """Fail if more programs than this are compiled inside."""
    before = len(_COMPILATIONS)
    yield
    assert len(_COMPILATIONS) - before <= at_most


def same_bits(first, second) -> None:
    """Equal leaves, bit for bit, whatever holds them."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def close_leaves(first, second, error: float) -> None:
    """Leaves that agree within a relative and absolute error."""
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=error, atol=error)


def assert_reports(report, result):
    """Every number and word of a command's JSON is the field of the experiment's result that has its name."""
    if isinstance(report, dict):
        for name, each in report.items():
            assert_reports(each, result[name] if isinstance(result, dict) else getattr(result, name))
    elif (
        result is None
        or isinstance(result, str)
        or (isinstance(result, list) and result and isinstance(result[0], str))
    ):
        assert report == result
    else:
        values = np.asarray(result, float)
        np.testing.assert_array_equal(np.array(report, float), np.where(np.isfinite(values), values, np.nan))
