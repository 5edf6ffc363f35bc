"""Does PCD follow the deterministic trajectory of replica theory? A table of the singular values of both.

    python -m benchmarks.trajectory                    # two sizes, 8 runs each; some 20 minutes on two cores
    python -m benchmarks.trajectory --sizes 300 --runs 4

PCD moves B alone, on samples of the ensemble: N units in each layer, ±1 on both sides, data from 2 or 4 clusters, in
steps of 0.05 in τ. Every run has its own components and its own 2000 samples. For each time τ the table gives the mean
and standard deviation of the runs, the theory of the law of components and clusters, and the mean and standard error of
how far each run is from the theory of its own components and samples.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import describe_machine
from rbm_jax.experiments.projected import ProjectedRuns, instance_force, projected_training
from rbm_jax.replica import BernoulliDistribution, Clusters, GaussianDistribution
from rbm_jax.replica.learning import integrate_thermodynamic, thermodynamic_force

__all__ = ["main"]

_ONE_MODE = (np.array([[1.0], [-1.0]]), np.array([[0.3]]))
_TWO_MODES = (np.array([[1.2, 0], [-1.2, 0], [0, 0.9], [0, -0.9]]), np.array([[0.3, 0.05], [-0.02, 0.3]]))
_CASES = {
    "one mode, Gaussian components": (*_ONE_MODE, GaussianDistribution()),
    "one mode, Bernoulli components": (*_ONE_MODE, BernoulliDistribution()),
    "two modes, Gaussian components": (*_TWO_MODES, GaussianDistribution()),
}


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[300, 600], help="units in each layer")
    parser.add_argument("--runs", type=int, default=8, help="trainings of each case")
    parser.add_argument("--duration", type=float, default=20.0, help="length in τ")
    parser.add_argument("--cases", choices=list(_CASES), nargs="+", default=list(_CASES), help="default: all")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file for all numbers")
    options = parser.parse_args(arguments)
    results = []
    for name in options.cases:
        for size in options.sizes:
            results.append(_run(name, size, options.runs, options.duration))
            _print(results[-1])
    if options.out:
        options.out.write_text(json.dumps({"machine": describe_machine(), "results": results}, indent=1) + "\n")


def _run(name: str, size: int, n_runs: int, duration: float) -> dict:
    fields, matrix, law = _CASES[name]
    clusters = Clusters(jnp.asarray(fields))
    options = {"n_visible": size, "n_runs": n_runs, "duration": duration, "n_saves": 9}
    runs = projected_training(jax.random.key(size), clusters, matrix, law, **options)
    force = thermodynamic_force(clusters, n_visible=size, component_distribution=law)
    theory = integrate_thermodynamic(force, jnp.asarray(matrix), jnp.asarray(runs.ts)).singular_values
    own = runs.singular_values - _own_theory(runs)
    return {
        "case": name,
        "size": size,
        "n_runs": n_runs,
        "ts": runs.ts.tolist(),
        "mean": runs.singular_values.mean(0).tolist(),
        "deviation": runs.singular_values.std(0, ddof=1).tolist(),
        "theory": np.asarray(theory).tolist(),
        "mean_from_own_theory": own.mean(0).tolist(),
        "error_from_own_theory": (own.std(0, ddof=1) / n_runs**0.5).tolist(),
    }


def _own_theory(runs: ProjectedRuns) -> np.ndarray:
    """Singular values of each run's own theory, shape (n_runs, n_times, n_modes)."""
    ts, paths = jnp.asarray(runs.ts), []
    for index, matrices in enumerate(runs.matrices):
        instance = jax.tree.map(lambda leaf, index=index: leaf[index], runs.instances)
        paths.append(integrate_thermodynamic(instance_force(instance), jnp.asarray(matrices[0]), ts).singular_values)
    return np.stack(paths)


def _print(result: dict) -> None:
    print(f"\n{result['case']}, N = {result['size']}, {result['n_runs']} runs")
    print("    τ  mode    PCD      sd    theory    diff.   from its own theory", flush=True)
    columns = ("mean", "deviation", "theory", "mean_from_own_theory", "error_from_own_theory")
    for time, *rows in zip(result["ts"], *(result[name] for name in columns), strict=True):
        for mode, (mean, deviation, theory, own, error) in enumerate(zip(*rows, strict=True), 1):
            difference = f"{theory:9.4f} {mean - theory:+8.4f}  {own:+8.4f} ± {error:.4f}"
            print(f"{time:5.1f} {mode:5d} {mean:8.4f} {deviation:7.4f} {difference}", flush=True)


if __name__ == "__main__":
    main()
