"""Annealed importance sampling of binary RBMs: log Z from independent units, on an even ladder of temperatures.

What is not like for like:

- `rbms` has five matrix products a temperature where two are needed: the hidden fields for both energies, those of the
  sweep, and a draw of the hidden layer that the next sweep does not use; it copies the weights at each. `naive JAX`
  has four.
- All start from units of mean 1/2 and go along an even ladder: no pilot run places our temperatures. Checks, the start
  and the last sum are in the timed region.
- `rbm_jax bfloat16` rounds the weights on the way, and ends with a step in float32.

The unit is one temperature for all chains. %sgemm counts the two products of a sweep, 4·n_visible·n_hidden·n_chains
operations. `log_z` is there to see that all estimate the same.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._naive import naive_ais
from benchmarks._timing import Case, Workload
from rbm_jax import ais_log_z, init_rbm

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_ALL = ("rbm_jax", "rbm_jax bfloat16", "naive JAX", "rbms")


def _case(n_visible, n_hidden, n_chains, n_temperatures, contenders=_ALL) -> Case:
    options = {"n_visible": n_visible, "n_hidden": n_hidden, "n_chains": n_chains, "n_temperatures": n_temperatures}
    return Case(f"{n_visible}x{n_hidden}, {n_chains} chains, {n_temperatures} temperatures", contenders, options)


CASES = (_case(784, 500, 1000, 40), _case(64, 64, 1000, 200))
TINY_CASES = (_case(16, 8, 10, 5, _ALL[:3]),)


def _problem(n_visible, n_hidden):
    return init_rbm(jax.random.key(0), n_visible, n_hidden, scale=0.05)


def _workload(run, n_visible, n_hidden, n_chains, n_temperatures) -> Workload:
    """`run` returns log Z."""
    extra = {}

    def call():
        extra["log_z"] = float(run())

    flops = 4.0 * n_visible * n_hidden * n_chains
    return Workload(call, n_temperatures, "temperature", flops, extra)


def _rbm_jax(compute_dtype=None):
    def build(**case):
        rbm = _problem(case["n_visible"], case["n_hidden"])
        data = jnp.stack([jnp.zeros(case["n_visible"]), jnp.ones(case["n_visible"])])  # of mean 1/2
        options = {"data": data, "n_chains": case["n_chains"]}
        options |= {"positions": jnp.linspace(0, 1, case["n_temperatures"] + 1), "compute_dtype": compute_dtype}
        return _workload(lambda: ais_log_z(jax.random.key(1), rbm, **options).value, **case)

    return build


def _naive(**case):
    rbm = _problem(case["n_visible"], case["n_hidden"])
    positions = jnp.linspace(0, 1, case["n_temperatures"] + 1)
    return _workload(lambda: naive_ais(jax.random.key(1), rbm, positions, n_chains=case["n_chains"]), **case)


def _rbms(**case):
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.partition_function.ais import compute_partition_function_ais

    rbm = _problem(case["n_visible"], case["n_hidden"])
    leaves = (rbm.weights, rbm.visible_bias, rbm.hidden_bias)
    params = BBRBM(*(torch.from_numpy(np.array(leaf)) for leaf in leaves))

    def run():
        with torch.no_grad():
            return compute_partition_function_ais(case["n_chains"], case["n_temperatures"] + 1, params)

    return _workload(run, **case)


CONTENDERS = {
    "rbm_jax": _rbm_jax(),
    "rbm_jax bfloat16": _rbm_jax(jnp.bfloat16),
    "naive JAX": _naive,
    "rbms": _rbms,
}
