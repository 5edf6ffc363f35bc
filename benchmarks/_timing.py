"""How things are timed: workloads, a matrix-multiply probe beside them, and the spread of both.

Wall time on a shared machine can double from one minute to the next. So every block of a workload is followed by a
block of the probe (a float32 matrix product in JAX), results are reported relative to it or to another contender of
the same round, and the CPU time of all threads stands beside the wall time.
"""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Case", "Workload", "describe_machine", "measure", "repeats_for", "spread", "timed"]

_PROBE_SHAPE = (2000, 784, 1024)
_PACKAGES = ("jax", "jaxlib", "rbm-jax", "optax", "numpy", "torch", "rbms", "scikit-learn", "thrml")
_ENVIRONMENT = ("XLA_FLAGS", "JAX_PLATFORMS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE")


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem, and who solves it.

    Attributes:
        name: unique in its suite.
        contenders: names in the suite's CONTENDERS; the first is what the others are compared with.
        options: sizes, as the suite's builders read them.
    """

    name: str
    contenders: tuple[str, ...]
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Workload:
    """Something to time.

    Attributes:
        call: does `n_units` units of work and returns when they are done.
        n_units: sweeps, updates, ... in one call; not a whole number where the unit is that of another size.
        unit: what one is called.
        flops: floating-point operations in the matrix products that one unit needs; None leaves out %sgemm.
        extra: further results, put into the record as they are.
    """

    call: Callable[[], Any]
    n_units: float
    unit: str
    flops: float | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure(workload: Workload, *, n_blocks: int, block_seconds: float, probe: bool) -> dict[str, Any]:
    """Time blocks of calls, each followed by a block of the probe.

    Args:
        workload: what to time.
        n_blocks: number of blocks of each.
        block_seconds: least duration of a block, about; 0 for one call.
        probe: whether to time the probe; not where another library's threads would slow it down.

    Returns:
        Seconds per unit (wall, and CPU over all threads) as spreads over blocks, the first call's seconds apart (it
        compiles), and the percentages of the probe's rate.
    """
    first_call = timed(workload.call, 1)
    repeats = repeats_for(workload.call, block_seconds)
    gemm, gemm_flops = _make_probe() if probe else (None, 0)
    gemm_repeats = repeats_for(gemm, block_seconds / 2) if probe else 0
    walls, cpus, probe_walls, probe_cpus = [], [], [], []
    for _ in range(n_blocks):
        wall, cpu = timed(workload.call, repeats)
        walls.append(wall / (repeats * workload.n_units))
        cpus.append(cpu / (repeats * workload.n_units))
        if probe:
            wall, cpu = timed(gemm, gemm_repeats)
            probe_walls.append(wall / gemm_repeats)
            probe_cpus.append(cpu / gemm_repeats)
    record = {"unit": workload.unit, "first_call_s": first_call[0], "n_units_per_block": repeats * workload.n_units}
    record |= {"wall_s": spread(walls), "cpu_s": spread(cpus)} | workload.extra
    if probe:
        record["probe_gflops"] = spread([gemm_flops / seconds / 1e9 for seconds in probe_walls])
        if workload.flops is not None:
            record["flops_per_unit"] = workload.flops
            work = workload.flops / gemm_flops
            record["percent_sgemm_wall"] = spread([100 * work * p / w for p, w in zip(probe_walls, walls, strict=True)])
            record["percent_sgemm_cpu"] = spread([100 * work * p / c for p, c in zip(probe_cpus, cpus, strict=True)])
    return record


def describe_machine() -> dict[str, Any]:
    """Device, dtype, versions and the environment variables that change timings."""
    device = jax.devices()[0]
    return {
        "device": device.platform if device.platform == "cpu" else device.device_kind,
        "cpu": _cpu_model(),
        "n_cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "default_dtype": str(jnp.zeros(()).dtype),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return time.perf_counter() - wall, time.process_time() - cpu


def repeats_for(call: Callable[[], Any], seconds: float) -> int:
    """Calls that take so many seconds, about; 1 for 0."""
    return 1 if seconds == 0 else max(1, round(seconds / max(timed(call, 1)[0], 1e-9)))


def _make_probe() -> tuple[Callable[[], Any], float]:
    rows, inner, columns = _PROBE_SHAPE
    rng = np.random.default_rng(0)
    left, right = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in ((rows, inner), (inner, columns)))
    product = jax.jit(jnp.matmul)
    product(left, right)
    return lambda: jax.block_until_ready(product(left, right)), 2.0 * rows * inner * columns


def _cpu_model() -> dict[str, Any]:
    path = pathlib.Path("/proc/cpuinfo")
    if not path.exists():
        return {"name": platform.processor()}
    fields = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", path.read_text(), re.MULTILINE))
    vectors = [flag for flag in fields.get("flags", "").split() if re.match(r"avx2$|avx512f|avx512_bf16|amx", flag)]
    keys = {"name": "model name", "family": "cpu family", "model": "model"}
    return {short: fields.get(long, "") for short, long in keys.items()} | {"vector_extensions": vectors}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
