"""MNIST with pixels missing at random: training on what was observed against training on filled-in means.

    python -m benchmarks.missing --data mnist_binarized.npz

The file holds the arrays `train` and `test`, one binarized image of 784 pixels a row, bit-packed or not. At each
fraction of missing pixels one RBM is trained on what is left (`ClampedGibbs`) and one on data whose missing pixels are
the means of those observed; both see the same minibatches. The likelihood of the whole test images is bounded from both
sides, by annealing and back. Pixels of test images are reconstructed from the half of them that is shown.
"""

import argparse
import datetime
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._timing import describe_machine
from rbm_jax import PCD, Batches, Centered, Trainer, ais_log_z, fit, init_rbm, log_likelihood
from rbm_jax.data import load_array
from rbm_jax.likelihood import reverse_ais_log_z
from rbm_jax.missing import ClampedGibbs, Complete, impute

__all__ = ["main"]

_N_HIDDEN, _N_SWEEPS, _BATCH, _N_CHAINS = 200, 5, 500, 500
_OBSERVED, _FILLED = "what was observed", "filled in by means"


def main() -> None:
    """Read the command line, train, print and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.missing", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="binarized MNIST, .npz")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--n-updates", type=int, default=3000)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the JSON file to write")
    options = parser.parse_args()
    train, test = (_images(options.data, name) for name in ("train", "test"))
    results = []
    print(f"{'missing':>8} {'training':>20} {'test log-likelihood between':>30} {'r.m.s. error':>13} {'seconds':>8}")
    for fraction in options.fractions:
        hidden = np.random.default_rng(0).random(train.shape, np.float32) < fraction
        lossy = np.where(hidden, np.nan, train).astype(np.float32)
        for name in (_OBSERVED, _FILLED):
            results.append({"fraction": fraction, "training": name} | _study(lossy, test, name, options.n_updates))
            row = results[-1]
            bounds = f"{row['lower']:.2f} and {row['upper']:.2f}"
            print(f"{fraction:>8.0%} {name:>20} {bounds:>30} {row['error']:>13.4f} {row['seconds']:>8.0f}", flush=True)
            report = {"machine": describe_machine(), "date": datetime.date.today().isoformat()}
            report |= {"n_hidden": _N_HIDDEN, "n_updates": options.n_updates, "results": results}
            options.out.write_text(json.dumps(report, indent=1) + "\n")


def _images(path: pathlib.Path, name: str) -> np.ndarray:
    array = load_array(path, name=name)
    return np.unpackbits(array, axis=1, count=784) if array.shape[1] == 98 else array


def _study(lossy: np.ndarray, test: np.ndarray, name: str, n_updates: int) -> dict[str, float]:
    mean = np.nanmean(lossy, axis=0)
    rbm = init_rbm(jax.random.key(0), lossy.shape[1], _N_HIDDEN, visible_mean=mean)
    term = ClampedGibbs(n_sweeps=10) if name == _OBSERVED else Complete()
    estimator = PCD(n_sweeps=_N_SWEEPS, metric=Centered(), data_term=term)
    trainer = Trainer.euler(estimator, optax.linear_schedule(0.05, 0.0, n_updates))
    state = trainer.init(jax.random.key(1), rbm, n_chains=_N_CHAINS)

    def train(data, *, allow_missing=False):
        batches = Batches(data, _BATCH, allow_missing=allow_missing)
        return fit(jax.random.key(2), trainer, state, batches, n_updates=n_updates)[0]

    started = time.perf_counter()
    if term.takes_missing:
        state = train(lossy, allow_missing=True)
    else:
        # Traced, since means are no states of the units, which `fit` would refuse.
        state = jax.jit(train)(np.where(np.isnan(lossy), mean, lossy))
    jax.block_until_ready(state.rbm)
    seconds = time.perf_counter() - started
    annealing = {"data": jnp.asarray(test), "n_chains": 200, "n_temperatures": 2000}
    ways = [way(jax.random.key(3), state.rbm, **annealing) for way in (ais_log_z, reverse_ais_log_z)]
    bound = log_likelihood(state.rbm, test, *ways)
    shown = np.where(np.random.default_rng(1).random((500, 784)) < 0.5, np.nan, test[:500])
    found = impute(jax.random.key(4), state.rbm, shown)
    error = np.sqrt(((np.asarray(found.mean) - test[:500])[np.isnan(shown)] ** 2).mean())
    numbers = {"lower": bound.lower, "upper": bound.upper, "error": error, "seconds": seconds}
    return {name: float(value) for name, value in numbers.items()}


if __name__ == "__main__":
    main()
