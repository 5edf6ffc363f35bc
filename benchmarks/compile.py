"""Seconds to trace, lower and compile one sweep or a training loop, and whether a second call compiles again.

The unit is one compilation from nothing (all caches of JAX are cleared before it; a persistent cache is not used).
`traces_on_second_call` counts what JAX traces when the public function is called again with other values of the same
shapes; it should be 0.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._naive import naive_pcd, naive_sweeps
from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit, init_chains, init_rbm, sample_gibbs

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_TRACE_EVENT = "/jax/core/compile/jaxpr_trace_duration"


def _case(name, contenders, n_visible, n_hidden, n_rows) -> Case:
    return Case(name, contenders, {"n_visible": n_visible, "n_hidden": n_hidden, "n_rows": n_rows})


_SWEEP = ("sweep", "sweep bfloat16", "sweep, naive JAX")
_PCD = ("fit with PCD-1", "PCD-1, naive JAX")
CASES = (_case("sweep", _SWEEP, 784, 500, 500), _case("PCD", _PCD, 784, 500, 500))
TINY_CASES = (_case("sweep", _SWEEP[:1], 8, 4, 5), _case("PCD", _PCD[:1], 8, 4, 5))


def _builder(make):
    """`make(n_visible, n_hidden, n_rows)` gives a function of a seed."""

    def build(**sizes):
        function = make(**sizes)
        jax.block_until_ready(function(0))
        n_traces = _count_traces(lambda: jax.block_until_ready(function(1)))
        stages = {}
        extra = {"traces_on_second_call": n_traces, "stages_s": stages}
        return Workload(lambda: stages.update(_stages(function)), 1, "compilation", extra=extra)

    return build


def _stages(function) -> dict[str, float]:
    """Trace, lower and compile; wall seconds of each."""
    jax.clear_caches()
    times = [time.perf_counter()]
    traced = jax.jit(function).trace(0)
    times.append(time.perf_counter())
    lowered = traced.lower()
    times.append(time.perf_counter())
    lowered.compile()
    times.append(time.perf_counter())
    return dict(zip(("trace", "lower", "compile"), np.diff(times).tolist(), strict=True))


def _count_traces(call) -> int:
    counting, traces = [True], []

    def listen(event, duration, **_):
        if counting[0] and event == _TRACE_EVENT:
            traces.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    call()
    counting[0] = False
    return len(traces)


def _problem(n_visible, n_hidden, n_rows):
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden)
    return rbm, init_chains(jax.random.key(1), rbm, n_rows)


def _sweep(compute_dtype=None):
    def make(**sizes):
        rbm, v = _problem(**sizes)
        options = {"n_sweeps": 1, "compute_dtype": compute_dtype}
        return lambda seed: sample_gibbs(jax.random.key(seed), rbm, v, **options)

    return _builder(make)


def _naive_sweep(**sizes):
    rbm, v = _problem(**sizes)
    return lambda seed: naive_sweeps(jax.random.key(seed), rbm, v, n_sweeps=1)


def _fit(n_visible, n_hidden, n_rows):
    trainer = Trainer.euler(PCD(), 0.01)
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden)
    state = trainer.init(jax.random.key(1), rbm, n_chains=n_rows)
    batches = Batches(np.zeros((2 * n_rows, n_visible), np.float32), n_rows)
    return lambda seed: fit(jax.random.key(seed), trainer, state, batches, n_updates=3)[0]


def _naive_pcd(n_visible, n_hidden, n_rows):
    rbm, v = _problem(n_visible, n_hidden, n_rows)
    data = jnp.zeros((2 * n_rows, n_visible))
    options = {"n_updates": 3, "n_sweeps": 1, "batch_size": n_rows}
    return lambda seed: naive_pcd(jax.random.key(seed), rbm, v, data, **options)


CONTENDERS = {
    "sweep": _sweep(),
    "sweep bfloat16": _sweep(jnp.bfloat16),
    "sweep, naive JAX": _builder(_naive_sweep),
    "fit with PCD-1": _builder(_fit),
    "PCD-1, naive JAX": _builder(_naive_pcd),
}
