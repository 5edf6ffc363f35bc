"""The same chains on one device and divided over several: what the division itself costs, or gains.

On a CPU the devices are virtual ones, which share its cores: ratios above 1 are overhead, and none can be far below 1.
The work in all is the same whatever the number of devices.
"""

import functools

import jax
import numpy as np

from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit, init_chains, init_rbm, sample_gibbs
from rbm_jax.sharding import device_mesh, place_state, replicate, virtual_devices

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_NUMBERS = {f"{n} device{'s' if n > 1 else ''}": n for n in (1, 2, 4, 8)}


def _case(task, n_visible, n_hidden, n_chains, n_units, contenders=tuple(_NUMBERS)) -> Case:
    options = {"task": task, "n_visible": n_visible, "n_hidden": n_hidden, "n_chains": n_chains, "n_units": n_units}
    return Case(f"{task}, {n_visible}x{n_hidden}, {n_chains} chains", contenders, options)


CASES = (_case("Gibbs", 784, 500, 2000, 5), _case("PCD-1", 784, 500, 2000, 10))
TINY_CASES = (_case("Gibbs", 16, 8, 10, 3, ("1 device",)), _case("PCD-1", 16, 8, 10, 3, ("1 device",)))


def _sample(mesh, *, n_visible, n_hidden, n_chains, n_units):
    rbm = replicate(init_rbm(jax.random.key(0), n_visible, n_hidden, scale=0.05), mesh)
    v = init_chains(jax.random.key(1), rbm, n_chains)
    return lambda: jax.block_until_ready(sample_gibbs(jax.random.key(2), rbm, v, n_sweeps=n_units))


def _train(mesh, *, n_visible, n_hidden, n_chains, n_units):
    """Minibatches have as many rows as there are chains."""
    trainer = Trainer.euler(PCD(), 0.01)
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden)
    state = place_state(trainer.init(jax.random.key(1), rbm, n_chains=n_chains), mesh)
    data = np.random.default_rng(0).integers(0, 2, (5 * n_chains, n_visible), np.uint8)
    batches = Batches(data, n_chains, mesh=mesh)
    return lambda: jax.block_until_ready(fit(jax.random.key(2), trainer, state, batches, n_updates=n_units))


def _workload(n_devices: int, *, task: str, **case) -> Workload:
    virtual_devices(n_devices)
    build, unit, n_products = {"Gibbs": (_sample, "sweep", 2), "PCD-1": (_train, "update", 5)}[task]
    flops = 2.0 * n_products * case["n_visible"] * case["n_hidden"] * case["n_chains"]
    return Workload(build(device_mesh(n_devices), **case), case["n_units"], unit, flops)


CONTENDERS = {name: functools.partial(_workload, n) for name, n in _NUMBERS.items()}
