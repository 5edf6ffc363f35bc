"""Every test runs with the annotated shapes and types checked at run time."""

import contextlib
import functools
import gc
import importlib
import math
import os
import pathlib
import signal
from importlib.metadata import version

# LAPACK threads spin against each other and against the tests' processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# Most of the time goes into compiling small programs that run once. RBM_JAX_OPTIMIZED=1 compiles as users do; further
# XLA_FLAGS, such as --xla_cpu_max_isa=SSE4_2, are kept.
if not os.environ.get("RBM_JAX_OPTIMIZED"):
    os.environ["XLA_FLAGS"] = (
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        # The older emitters compile in two thirds of the time, programs in one piece in some per cent less; a release
        # that lacks a flag would stop the process.
        + (
            " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
            if version("jaxlib").startswith("0.10.")
            else ""
        )
        + " "
        + os.environ.get("XLA_FLAGS", "")
    )

import jaxtyping

# A worker of pytest-xdist stays on a core of its own, where one thread compiles and runs: a fifth faster than workers
# whose threads take turns on all cores.
if hasattr(os, "sched_setaffinity") and "PYTEST_XDIST_WORKER" in os.environ:
    _cores, _worker = sorted(os.sched_getaffinity(0)), int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    if len(_cores) >= int(os.environ["PYTEST_XDIST_WORKER_COUNT"]):
        os.sched_setaffinity(0, {_cores[_worker]})

# The root loads its packages when they are first used: here, so that all are under the hook.
with jaxtyping.install_import_hook("rbm_jax", "tests.checked"):
    for _name in ("data", "dynamics", "likelihood", "missing", "replica", "sharding", "symmetry", "training"):
        importlib.import_module(f"rbm_jax.{_name}")

import hypothesis
import jax
import jax.numpy as jnp
import pytest

hypothesis.settings.register_profile("fuzz", max_examples=4000)
# Tracing makes many small objects that live on, over which a collector at its usual pace goes again and again.
gc.freeze()
gc.set_threshold(50_000, 10, 10)
# JAX sets up an MLIR context for every program, a third of the time that a small one takes. Here the programs of a
# module share one, but for those that are made while another is. It is no public part of JAX: with a release that has
# another name for it the tests are slower, and nothing else.
_common_context = functools.cache(lambda: None)
with contextlib.suppress(ImportError, AttributeError):
    from jax._src.interpreters import mlir
    from jax._src.lib.mlir import ir

    _new_context = mlir.make_ir_context
    _common_context = functools.cache(_new_context)
    mlir.make_ir_context = lambda: _common_context() if ir.Context.current is None else _new_context()


@pytest.fixture(autouse=True)
def _default_precision():
    """Leave every test with x64 off, whatever it set."""
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs():
    """Drop compiled programs in time: each holds memory maps, of which Linux grants a process 65530, and memory.

    A process with 13,600 maps was seen to hold 3.8 GB.
    """
    yield
    _common_context.cache_clear()
    if _n_memory_maps() > 15_000:
        jax.clear_caches()


def _n_memory_maps() -> float:
    """Memory maps of this process; infinite where that is not known."""
    maps = pathlib.Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else math.inf


@pytest.fixture
def unchecked():
    """Run the test as users do, without run-time shape checks, so that the library's own errors are seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64(_default_precision):
    """Run the test in double precision."""
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(params=["float32", "float64"])
def dtype(request, _default_precision):
    """Run the test once in float32 with x64 off, and once in float64."""
    jax.config.update("jax_enable_x64", request.param == "float64")
    return jnp.dtype(request.param)


@pytest.fixture
def interruptible():
    """A shell's background jobs ignore interrupts, and so would their children."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
