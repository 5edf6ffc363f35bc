"""Updates of tied RBMs on a 28×28 torus against untied ones of the same expanded size.

All do PCD-1 with plain SGD and chains as many as the batch; `untied` is `pcd` on the expanded RBM, with all its weights
free. `tied` is the same estimator through the expansion, `tied Fourier` is `fourier_pcd`, which never expands. A filter
is placed at all 784 sites, so each channel has 784 hidden units.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._timing import Case, Workload
from rbm_jax import fit
from rbm_jax.symmetry import Translations, expand, init_tied_rbm
from rbm_jax.training import init_train_state, pcd
from rbm_jax.training.tied import fourier_pcd, tied_estimator

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]


def _case(side, n_channels, batch_size, n_updates) -> Case:
    options = {"side": side, "n_channels": n_channels, "batch_size": batch_size, "n_updates": n_updates}
    return Case(f"PCD-1, {side}x{side}, {n_channels} channels, batch {batch_size}", tuple(CONTENDERS), options)


def _build(estimator, is_tied):
    def build(*, side, n_channels, batch_size, n_updates):
        rng = np.random.default_rng(0)
        data = jnp.asarray((rng.random((10 * batch_size, side**2)) < 0.3).astype(np.float32))
        rbm = init_tied_rbm(jax.random.key(0), Translations((side, side)), n_channels)
        rbm = rbm if is_tied else expand(rbm)
        optimizer = optax.sgd(0.01)
        state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=batch_size)
        options = {"estimator": estimator, "optimizer": optimizer, "n_updates": n_updates, "batch_size": batch_size}

        def call():
            # The end alone is kept: expanding what is saved is not part of an update.
            jax.block_until_ready(fit(jax.random.key(2), state, data, save_at=(n_updates,), **options)[0])

        return Workload(call, n_updates, "update")

    return build


CONTENDERS = {
    "untied": _build(pcd, False),
    "tied": _build(tied_estimator(pcd), True),
    "tied Fourier": _build(fourier_pcd, True),
}
CASES = (_case(28, 1, 500, 60), _case(28, 4, 500, 20))
TINY_CASES = (_case(4, 1, 10, 3),)
