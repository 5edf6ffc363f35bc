"""Gibbs sweeps v → h → v of binary RBMs.

What is not like for like:

- `thrml` samples ±1 units of a general graph, given as a list of edges, so it knows nothing of the two dense layers. It
  is asked for the last state only. Its graph is built outside the timed region.
- `rbms` and scikit-learn return float and boolean states; theirs is the public sampling method, called in a Python
  loop. `rbms` keeps the conditional means as well, and draws the hidden layer once more after the last sweep.
- `bfloat16` rounds the weights once: it samples the RBM with rounded weights.

%sgemm counts 4·n_visible·n_hidden·n_chains operations a sweep.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._naive import naive_sweeps
from benchmarks._timing import Case, Workload
from rbm_jax import init_chains, init_rbm, sample_gibbs

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_ALL = ("rbm_jax", "rbm_jax bfloat16", "naive JAX", "rbms", "scikit-learn")


def _case(n_visible, n_hidden, n_chains, n_sweeps, contenders=_ALL) -> Case:
    sizes = {"n_visible": n_visible, "n_hidden": n_hidden, "n_chains": n_chains, "n_sweeps": n_sweeps}
    return Case(f"{n_visible}x{n_hidden}, {n_chains} chains", contenders, sizes)


CASES = (
    _case(64, 64, 1000, 200),
    _case(784, 500, 500, 20),
    _case(784, 1024, 2000, 4),
    _case(4096, 1024, 1000, 2),
    _case(784, 500, 20, 20, ("rbm_jax", "naive JAX", "thrml")),
)
TINY_CASES = (_case(16, 8, 10, 3, ("rbm_jax", "rbm_jax bfloat16", "naive JAX")),)


def _problem(n_visible, n_hidden, n_chains):
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden, scale=0.05)
    return rbm, init_chains(jax.random.key(1), rbm, n_chains)


def _workload(call, n_visible, n_hidden, n_chains, n_sweeps) -> Workload:
    return Workload(call, n_sweeps, "sweep", flops=4.0 * n_visible * n_hidden * n_chains)


def _rbm_jax(compute_dtype=None):
    def build(n_sweeps, **sizes):
        rbm, v = _problem(**sizes)
        options = {"n_sweeps": n_sweeps, "compute_dtype": compute_dtype}

        def call():
            jax.block_until_ready(sample_gibbs(jax.random.key(2), rbm, v, **options))

        return _workload(call, n_sweeps=n_sweeps, **sizes)

    return build


def _naive(n_sweeps, **sizes):
    rbm, v = _problem(**sizes)

    def call():
        jax.block_until_ready(naive_sweeps(jax.random.key(2), rbm, v, n_sweeps=n_sweeps))

    return _workload(call, n_sweeps=n_sweeps, **sizes)


def _rbms(n_sweeps, **sizes):
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM

    rbm, v = _problem(**sizes)
    w, a, b, v = (torch.from_numpy(np.array(x)) for x in (rbm.weights, rbm.visible_bias, rbm.hidden_bias, v))
    params = BBRBM(w, a, b)
    chains = params.init_chains(len(v), start_v=v)

    def call():
        with torch.no_grad():
            params.sample_state(chains=chains, n_steps=n_sweeps)

    return _workload(call, n_sweeps=n_sweeps, **sizes)


def _scikit_learn(n_sweeps, **sizes):
    from sklearn.neural_network import BernoulliRBM

    rbm, v = _problem(**sizes)
    model = BernoulliRBM(sizes["n_hidden"], random_state=0)
    model.components_ = np.asarray(np.array(rbm.weights).T, order="F")
    model.intercept_visible_, model.intercept_hidden_ = np.array(rbm.visible_bias), np.array(rbm.hidden_bias)
    start = np.array(v)

    def call():
        state = start
        for _ in range(n_sweeps):
            state = model.gibbs(state)

    return _workload(call, n_sweeps=n_sweeps, **sizes)


def _thrml(n_sweeps, **sizes):
    import thrml
    from thrml.models import IsingEBM, IsingSamplingProgram

    rbm, v = _problem(**sizes)
    visible = [thrml.SpinNode() for _ in range(sizes["n_visible"])]
    hidden = [thrml.SpinNode() for _ in range(sizes["n_hidden"])]
    edges = [(i, j) for i in visible for j in hidden]
    biases = jnp.concatenate([rbm.visible_bias, rbm.hidden_bias])
    model = IsingEBM(visible + hidden, edges, biases, rbm.weights.ravel(), jnp.array(1.0))
    blocks = [thrml.Block(hidden), thrml.Block(visible)]
    program = IsingSamplingProgram(model, blocks, [])
    schedule = thrml.SamplingSchedule(n_warmup=n_sweeps, n_samples=1, steps_per_sample=1)

    @jax.jit
    def sample(keys, h, v):
        def sample_chain(key, h, v):
            return thrml.sample_states(key, program, schedule, [h, v], [], [blocks[1]])

        return jax.vmap(sample_chain)(keys, h, v)

    keys = jax.random.split(jax.random.key(2), sizes["n_chains"])
    h = jnp.zeros((sizes["n_chains"], sizes["n_hidden"]), bool)
    v = v.astype(bool)
    return _workload(lambda: jax.block_until_ready(sample(keys, h, v)), n_sweeps=n_sweeps, **sizes)


CONTENDERS = {
    "rbm_jax": _rbm_jax(),
    "rbm_jax bfloat16": _rbm_jax(jnp.bfloat16),
    "naive JAX": _naive,
    "rbms": _rbms,
    "scikit-learn": _scikit_learn,
    "thrml": _thrml,
}
