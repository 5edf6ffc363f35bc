"""Updates of persistent contrastive divergence with plain SGD, minibatches drawn from data in memory.

What is not like for like:

- `rbms` is the body of its training loop without the logging to disk: centered gradient, normalized to unit length, a
  random permutation of all the data at every update (we permute only the rows that the minibatch needs), a sample of
  the hidden layer for the data too, and one more after the last sweep. Ours is the plain gradient, its default.
- scikit-learn's `fit` takes the batches in order, unshuffled, always does one sweep (its chains are hidden states,
  one matrix product less than ours), and is given float32.
- `naive JAX` draws minibatches with replacement and differentiates free energies.
- A call is a whole `fit` on `Batches` that were built before. `fit_overhead_s` says how long a `fit` of no updates
  takes, which is part of the time of an update.

%sgemm counts the 2k + 3 products of k sweeps, the hidden means of the data and the two ⟨vhᵀ⟩,
2·n_visible·n_hidden·batch_size operations each; the hidden means of the chains, which we compute too, do not count.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._naive import naive_pcd
from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit, init_rbm

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_LEARNING_RATE = 0.01
_ALL = ("rbm_jax", "rbm_jax bfloat16", "naive JAX", "rbms", "scikit-learn")


def _case(n_sweeps, n_visible, n_hidden, batch_size, n_samples, n_updates, contenders=_ALL) -> Case:
    options = {"n_sweeps": n_sweeps, "n_visible": n_visible, "n_hidden": n_hidden, "batch_size": batch_size}
    options |= {"n_samples": n_samples, "n_updates": n_updates}
    return Case(f"PCD-{n_sweeps}, {n_visible}x{n_hidden}, batch {batch_size}", contenders, options)


CASES = (
    _case(1, 784, 500, 500, 60_000, 120),
    _case(10, 784, 500, 500, 60_000, 40, _ALL[:-1]),
    _case(1, 64, 32, 100, 60_000, 3_000),
)
TINY_CASES = (_case(2, 16, 8, 10, 50, 5, ("rbm_jax", "naive JAX")),)


def _data(n_samples, n_visible) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((n_samples, n_visible), dtype=np.float32) < rng.random(n_visible)).astype(np.float32)


def _workload(call, *, n_sweeps, n_visible, n_hidden, batch_size, n_updates, extra=None, **_) -> Workload:
    flops = 2.0 * (2 * n_sweeps + 3) * n_visible * n_hidden * batch_size
    return Workload(call, n_updates, "update", flops, extra or {})


def _overhead(train) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        train(0)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _rbm_jax(compute_dtype=None):
    def build(**case):
        trainer = Trainer.euler(PCD(n_sweeps=case["n_sweeps"], compute_dtype=compute_dtype), _LEARNING_RATE)
        batches = Batches(_data(case["n_samples"], case["n_visible"]), case["batch_size"])
        rbm = init_rbm(jax.random.key(0), case["n_visible"], case["n_hidden"])
        state = trainer.init(jax.random.key(1), rbm, n_chains=case["batch_size"])

        def train(n_updates):
            jax.block_until_ready(fit(jax.random.key(2), trainer, state, batches, n_updates=n_updates))

        overhead = _overhead(train)
        return _workload(lambda: train(case["n_updates"]), extra={"fit_overhead_s": overhead}, **case)

    return build


def _naive(**case):
    rbm = init_rbm(jax.random.key(0), case["n_visible"], case["n_hidden"])
    data = jnp.asarray(_data(case["n_samples"], case["n_visible"]))
    v = data[: case["batch_size"]]
    options = {name: case[name] for name in ("n_updates", "n_sweeps", "batch_size")}

    def call():
        jax.block_until_ready(naive_pcd(jax.random.key(2), rbm, v, data, learning_rate=_LEARNING_RATE, **options))

    return _workload(call, **case)


def _rbms(**case):
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.training.pcd import fit_batch_pcd

    data = torch.from_numpy(_data(case["n_samples"], case["n_visible"]))
    weights = torch.ones(len(data))
    w = 0.01 * torch.randn(case["n_visible"], case["n_hidden"])
    params = BBRBM(w, torch.zeros(case["n_visible"]), torch.zeros(case["n_hidden"]))
    params.init_grad()
    optimizer = torch.optim.SGD(params.parameters(), lr=_LEARNING_RATE, maximize=True)

    def call():
        chains = params.init_chains(case["batch_size"])
        with torch.no_grad():
            for _ in range(case["n_updates"]):
                rows = torch.randperm(len(data))[: case["batch_size"]]
                optimizer.zero_grad(set_to_none=False)
                batch = (data[rows], weights[rows])
                chains, _ = fit_batch_pcd(batch, chains, params, gibbs_steps=case["n_sweeps"], beta=1.0)
                optimizer.step()

    return _workload(call, **case)


def _scikit_learn(**case):
    from sklearn.neural_network import BernoulliRBM

    n_epochs, rest = divmod(case["n_updates"] * case["batch_size"], case["n_samples"])
    if rest:
        raise ValueError("scikit-learn does whole epochs: n_updates x batch_size must be a multiple of n_samples")
    data = _data(case["n_samples"], case["n_visible"])
    options = {"batch_size": case["batch_size"], "n_iter": n_epochs, "learning_rate": _LEARNING_RATE, "random_state": 0}
    return _workload(lambda: BernoulliRBM(case["n_hidden"], **options).fit(data), **case)


CONTENDERS = {
    "rbm_jax": _rbm_jax(),
    "rbm_jax bfloat16": _rbm_jax(jnp.bfloat16),
    "naive JAX": _naive,
    "rbms": _rbms,
    "scikit-learn": _scikit_learn,
}
