"""Many small RBMs, each trained on the same data from its own start and key: a whole `fit` under `vmap`, or one by one.

The loop calls one compiled function, so it pays no retracing; `lax.map` runs groups of eight under `vmap`, in one
program. The unit is an update of one RBM.
"""

import functools

import jax
import numpy as np
import optax
from jax import lax

from benchmarks._timing import Case, Workload
from rbm_jax import fit, init_rbm, init_train_state, pcd

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_ALL = ("loop", "vmap", "lax.map of 8")
_GROUP = 8


def _case(n_rbms, n_visible, n_hidden, batch_size, n_updates, contenders=_ALL) -> Case:
    options = {"n_rbms": n_rbms, "n_visible": n_visible, "n_hidden": n_hidden}
    options |= {"batch_size": batch_size, "n_updates": n_updates}
    return Case(f"{n_rbms} RBMs of {n_visible}x{n_hidden}, batch {batch_size}", contenders, options)


CASES = (_case(64, 64, 32, 100, 200),)
TINY_CASES = (_case(4, 8, 4, 5, 3, _ALL[:2]),)


def _builder(run_all):
    """`run_all(train, keys)` trains one RBM for each key; `train` is not compiled yet."""

    def build(n_rbms, n_visible, n_hidden, batch_size, n_updates):
        data = (np.random.default_rng(0).random((2_000, n_visible)) < 0.3).astype(np.float32)
        optimizer = optax.sgd(0.01)
        options = {"estimator": pcd, "optimizer": optimizer, "n_updates": n_updates, "batch_size": batch_size}

        def train(key):
            init_key, chain_key, run_key = jax.random.split(key, 3)
            rbm = init_rbm(init_key, n_visible, n_hidden)
            state = init_train_state(chain_key, rbm, optimizer, n_chains=batch_size)
            return fit(run_key, state, data, **options)[0]

        run = run_all(train)
        keys = jax.random.split(jax.random.key(0), n_rbms)
        return Workload(lambda: jax.block_until_ready(run(keys)), n_rbms * n_updates, "update of one RBM")

    return build


def _loop(train):
    train = jax.jit(train)
    return lambda keys: [train(key) for key in keys]


CONTENDERS = {
    "loop": _builder(_loop),
    "vmap": _builder(lambda train: jax.jit(jax.vmap(train))),
    "lax.map of 8": _builder(lambda train: jax.jit(functools.partial(lax.map, train, batch_size=_GROUP))),
}
