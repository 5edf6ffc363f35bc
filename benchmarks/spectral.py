"""What it costs to watch the spectrum while training: PCD-1 with observations at log-spaced updates.

Data of MNIST's size (60,000 samples, synthesized, since MNIST does not ship with the project), ten epochs, and the
spectrum at 100 times. The unit of work is the whole training; every contender also keeps the RBM at these times.

- `unobserved` is the training alone;
- `leading 10` finds the ten leading modes by subspace iteration, each time from nothing;
- `all values` computes all singular values;
- `all modes` computes all singular values and vectors.
"""

import jax
import numpy as np

from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit, init_rbm, svd_modes
from rbm_jax.spectral import leading_modes
from rbm_jax.training import log_spaced_updates

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_ALL = ("unobserved", "leading 10", "all values", "all modes")


def _case(n_visible, n_hidden, n_samples, batch_size, n_epochs, n_times) -> Case:
    options = {"n_visible": n_visible, "n_hidden": n_hidden, "n_samples": n_samples}
    options |= {"batch_size": batch_size, "n_epochs": n_epochs, "n_times": n_times}
    return Case(f"{n_visible}x{n_hidden}, {n_epochs} epochs, {n_times} times", _ALL, options)


CASES = (_case(784, 500, 60_000, 500, 10, 100),)
TINY_CASES = (_case(30, 24, 100, 20, 2, 4),)


def _builder(observe):
    def build(n_visible, n_hidden, n_samples, batch_size, n_epochs, n_times):
        data = _clusters(n_samples, n_visible)
        trainer, batches = Trainer.euler(PCD(), 0.05), Batches(data, batch_size)
        rbm = init_rbm(jax.random.key(0), n_visible, n_hidden, visible_mean=data.mean(0))
        state = trainer.init(jax.random.key(1), rbm, n_chains=batch_size)
        n_updates = n_epochs * n_samples // batch_size
        options = {"n_updates": n_updates, "save_at": log_spaced_updates(n_updates, n_times), "observe": observe}

        def call():
            jax.block_until_ready(fit(jax.random.key(2), trainer, state, batches, **options))

        return Workload(call, 1, "training")

    return build


def _clusters(n_samples, n_visible):
    """0/1 data with a few strong modes, as images have."""
    rng = np.random.default_rng(0)
    centers = rng.random((20, n_visible)) ** 3
    return (rng.random((n_samples, n_visible)) < centers[rng.integers(20, size=n_samples)]).astype(np.uint8)


def _leading(state):
    return leading_modes(state.rbm.weights, 10).values


def _all_values(state):
    return jax.numpy.linalg.svd(state.rbm.weights, compute_uv=False)


def _all_modes(state):
    return svd_modes(state.rbm.weights)


CONTENDERS = {
    "unobserved": _builder(None),
    "leading 10": _builder(_leading),
    "all values": _builder(_all_values),
    "all modes": _builder(_all_modes),
}
