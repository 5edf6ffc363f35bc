"""Many RBMs, each trained on the same data from its own start and key.

The loop calls the compiled `fit` of one RBM, so it pays no retracing; `vmap` is a whole `fit` under it, in one program.
`fit_many` chooses its groups itself: on CPU, small RBMs together and large ones one after the other. With common
minibatches the RBMs do not draw their own, which is less work than the loop does. The unit is an update of one RBM.
What `fit_many` does before and after the updates (checks, saved RBMs), some milliseconds an RBM, is part of it.
"""

import jax
import numpy as np

from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit, fit_many, init_rbm

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_ALL = ("loop", "vmap", "fit_many", "same minibatches")


def _case(n_rbms, n_visible, n_hidden, batch_size, n_updates, contenders=_ALL) -> Case:
    options = {"n_rbms": n_rbms, "n_visible": n_visible, "n_hidden": n_hidden}
    options |= {"batch_size": batch_size, "n_updates": n_updates}
    return Case(f"{n_rbms} RBMs of {n_visible}x{n_hidden}, batch {batch_size}", contenders, options)


CASES = (_case(8, 64, 32, 100, 1_000), _case(64, 64, 32, 100, 200), _case(8, 784, 100, 100, 200))
TINY_CASES = (_case(4, 8, 4, 5, 3),)


_TRAINER = Trainer.euler(PCD(), 0.01)


def _builder(make_run, batch_key=None):
    """`make_run(keys, states, batches, n_updates)` gives the call that trains all."""

    def build(n_rbms, n_visible, n_hidden, batch_size, n_updates):
        data = np.random.default_rng(0).random((2_000, n_visible)) < 0.3
        batches = Batches(data.astype(np.float32), batch_size, key=batch_key)

        def start(key):
            return _TRAINER.init(key, init_rbm(key, n_visible, n_hidden), n_chains=batch_size)

        keys = jax.random.split(jax.random.key(0), n_rbms)
        run = make_run(keys, jax.vmap(start)(keys), batches, n_updates)
        return Workload(lambda: jax.block_until_ready(run()), n_rbms * n_updates, "update of one RBM")

    return build


def _loop(keys, states, batches, n_updates):
    train = jax.jit(lambda key, state: fit(key, _TRAINER, state, batches, n_updates=n_updates)[0])
    single = [(key, jax.tree.map(lambda leaf, r=r: leaf[r], states)) for r, key in enumerate(keys)]
    return lambda: [train(key, state) for key, state in single]


def _vmap(keys, states, batches, n_updates):
    train = jax.jit(jax.vmap(lambda key, state: fit(key, _TRAINER, state, batches, n_updates=n_updates)[0]))
    return lambda: train(keys, states)


def _fit_many(keys, states, batches, n_updates):
    return lambda: fit_many(keys, _TRAINER, states, batches, n_updates=n_updates)[0]


CONTENDERS = {
    "loop": _builder(_loop),
    "vmap": _builder(_vmap),
    "fit_many": _builder(_fit_many),
    "same minibatches": _builder(_fit_many, jax.random.key(1)),
}
