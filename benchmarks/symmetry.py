"""Updates of tied RBMs on a 28×28 torus against untied ones of the same expanded size.

All do PCD-1 with plain SGD and chains as many as the batch; `untied` is `PCD` on the expanded RBM, with all its weights
free. `tied` is the same estimator through the expansion, `tied Fourier` is `FourierPCD`, which never expands. A filter
is placed at all 784 sites, so each channel has 784 hidden units.
"""

import jax
import numpy as np

from benchmarks._timing import Case, Workload
from rbm_jax import PCD, Batches, Trainer, fit
from rbm_jax.symmetry import Translations, expand, init_tied_rbm
from rbm_jax.training import FourierPCD, Tied

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]


def _case(side, n_channels, batch_size, n_updates) -> Case:
    options = {"side": side, "n_channels": n_channels, "batch_size": batch_size, "n_updates": n_updates}
    return Case(f"PCD-1, {side}x{side}, {n_channels} channels, batch {batch_size}", tuple(CONTENDERS), options)


def _build(estimator, is_tied):
    def build(*, side, n_channels, batch_size, n_updates):
        rng = np.random.default_rng(0)
        batches = Batches((rng.random((10 * batch_size, side**2)) < 0.3).astype(np.float32), batch_size)
        rbm = init_tied_rbm(jax.random.key(0), Translations((side, side)), n_channels)
        rbm = rbm if is_tied else expand(rbm)
        trainer = Trainer.euler(estimator, 0.01)
        state = trainer.init(jax.random.key(1), rbm, n_chains=batch_size)
        options = {"n_updates": n_updates, "save_at": (n_updates,)}  # expanding what is saved is no part of an update

        def call():
            jax.block_until_ready(fit(jax.random.key(2), trainer, state, batches, **options)[0])

        return Workload(call, n_updates, "update")

    return build


CONTENDERS = {
    "untied": _build(PCD(), False),
    "tied": _build(Tied(PCD()), True),
    "tied Fourier": _build(FourierPCD(), True),
}
CASES = (_case(28, 1, 500, 60), _case(28, 4, 500, 20))
TINY_CASES = (_case(4, 1, 10, 3),)
