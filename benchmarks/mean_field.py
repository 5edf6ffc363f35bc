"""Fixed points of the mean-field equations of ±1 RBMs from many starts at once.

The weights are 20 planted modes of different strength and noise, in the ordered phase; the starts are noisy patterns of
the modes, so that they need very different numbers of sweeps. The unit of work is the solution of all starts.

What is not like for like:

- `naive JAX` sweeps the whole batch until its slowest start has converged; it does the same sweeps on the same starts.
- %sgemm counts the products of the sweeps that each start needs by itself, 4·n_visible·n_hidden operations for each of
  the `order` powers of W, for both contenders.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._naive import naive_tap
from benchmarks._timing import Case, Workload
from rbm_jax import RBM, Spin, solve_mean_field

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_N_MODES, _NOISE = 20, 0.3
_MAX_STEPS = 1000


def _case(n_visible, n_hidden, n_starts, contenders=("rbm_jax", "rbm_jax order 1", "naive JAX")) -> Case:
    sizes = {"n_visible": n_visible, "n_hidden": n_hidden, "n_starts": n_starts}
    return Case(f"{n_visible}x{n_hidden}, {n_starts} starts", contenders, sizes)


CASES = (_case(64, 64, 1000), _case(784, 500, 1000))
TINY_CASES = (_case(30, 24, 70),)


def _problem(n_visible, n_hidden, n_starts):
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((n_visible, _N_MODES)))[0]
    right = np.linalg.qr(rng.standard_normal((n_hidden, _N_MODES)))[0]
    noise = _NOISE * rng.standard_normal((n_visible, n_hidden)) / (n_visible * n_hidden) ** 0.25
    weights = (left * np.linspace(1.1, 2.0, _N_MODES)) @ right.T + noise
    patterns = np.sign(left[:, rng.integers(_N_MODES, size=n_starts)].T)
    starts = np.where(rng.random(patterns.shape) < 0.2, -patterns, patterns)
    biases = jnp.zeros(n_visible, jnp.float32), jnp.zeros(n_hidden, jnp.float32)
    return RBM(jnp.asarray(weights, jnp.float32), *biases, Spin(), Spin()), jnp.asarray(starts, jnp.float32)


def _workload(solve, order, **sizes) -> Workload:
    steps = np.asarray(solve().n_steps, float)
    flops = 4.0 * order * sizes["n_visible"] * sizes["n_hidden"] * steps.sum()
    sweeps = {"median": float(np.median(steps)), "max": float(steps.max())}
    return Workload(lambda: jax.block_until_ready(solve()), 1, "solution", flops=flops, extra={"sweeps": sweeps})


def _rbm_jax(order):
    def build(**sizes):
        rbm, starts = _problem(**sizes)
        return _workload(functools.partial(solve_mean_field, rbm, init=starts, order=order), order, **sizes)

    return build


def _naive(**sizes):
    rbm, starts = _problem(**sizes)
    reference = _rbm_jax(2)(**sizes)
    call = functools.partial(naive_tap, rbm, starts, tol=1e-5, max_steps=_MAX_STEPS)
    return Workload(lambda: jax.block_until_ready(call()), 1, "solution", flops=reference.flops, extra=reference.extra)


CONTENDERS = {"rbm_jax": _rbm_jax(2), "rbm_jax order 1": _rbm_jax(1), "naive JAX": _naive}
