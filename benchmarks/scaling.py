"""How the time of a Gibbs sweep grows with units, chains, sweeps and RBMs.

A perfect multiple of the reference takes time in proportion to n_visible·n_hidden·n_chains·n_sweeps·n_rbms. The unit is
a part of the work that holds as many operations as one sweep of the reference, 784×512 units, 512 chains, eight
sweeps a call; so the ratio to the reference is 1 where the growth is linear. As everywhere, ratios are taken within a
round, one size after the other.

Many RBMs are sampled under `vmap`: of the reference's size, with its chains divided among them or as many each, and of
an eighth of its units in each layer with a quarter of its chains.
"""

import jax

from benchmarks._timing import Case, Workload
from rbm_jax import init_chains, init_rbm, sample_gibbs

__all__ = ["CASES", "CONTENDERS", "TINY_CASES"]

_FULL = {"n_visible": 784, "n_hidden": 512, "n_chains": 512, "n_sweeps": 8, "n_rbms": 1}
_TINY = {"n_visible": 12, "n_hidden": 8, "n_chains": 8, "n_sweeps": 2, "n_rbms": 1}

_UNITS = {f"units x {f}": {"n_visible": f, "n_hidden": f} for f in (0.25, 0.5, 2, 4)}
_CHAINS = {f"chains x {f}": {"n_chains": f} for f in (0.125, 0.5, 2, 4)}
_SWEEPS = {f"sweeps x {f}": {"n_sweeps": f} for f in (0.125, 0.5, 4, 16)}
_SHARED = {f"{n} RBMs, chains shared": {"n_rbms": n, "n_chains": 1 / n} for n in (2, 8, 32)}
_RBMS = {f"{n} RBMs": {"n_rbms": n} for n in (2, 8)}
_SMALL = {
    f"{n} RBMs of 1/8": {"n_rbms": n, "n_visible": 0.125, "n_hidden": 0.125, "n_chains": 0.25} for n in (1, 8, 64)
}
_FACTORS = {"reference": {}, **_UNITS, **_CHAINS, **_SWEEPS, **_SHARED, **_RBMS, **_SMALL}


def _case(name: str, factors: dict, sizes: dict) -> Case:
    return Case(name, ("reference", *factors), {"sizes": sizes})


CASES = (
    _case("units", _UNITS, _FULL),
    _case("chains", _CHAINS, _FULL),
    _case("sweeps", _SWEEPS, _FULL),
    _case("RBMs under vmap", _SHARED | _RBMS | _SMALL, _FULL),
)
TINY_CASES = (
    _case("units", {"units x 2": _UNITS["units x 2"]}, _TINY),
    _case("RBMs under vmap", {"2 RBMs": _RBMS["2 RBMs"]}, _TINY),
)


def _builder(factors):
    def build(sizes):
        scaled = {name: round(size * factors.get(name, 1)) for name, size in sizes.items()}
        share = _n_operations(scaled) / _n_operations(sizes)
        keys = jax.random.split(jax.random.key(0), scaled["n_rbms"])
        rbms = jax.vmap(lambda key: init_rbm(key, scaled["n_visible"], scaled["n_hidden"], scale=0.05))(keys)
        chains = jax.vmap(lambda key, rbm: init_chains(key, rbm, scaled["n_chains"]))(keys, rbms)

        def run(key, rbm, v):
            return sample_gibbs(key, rbm, v, n_sweeps=scaled["n_sweeps"])

        if scaled["n_rbms"] == 1:
            keys, rbms, chains = jax.tree.map(lambda leaf: leaf[0], (keys, rbms, chains))
        else:
            run = jax.jit(jax.vmap(run))
        n_units = share * sizes["n_sweeps"]
        flops = _n_operations(sizes) / sizes["n_sweeps"]
        return Workload(lambda: jax.block_until_ready(run(keys, rbms, chains)), n_units, "reference sweep", flops)

    return build


def _n_operations(sizes) -> float:
    product = 4.0
    for size in sizes.values():
        product *= size
    return product


CONTENDERS = {name: _builder(factors) for name, factors in _FACTORS.items()}
