"""Is this version slower than another one? Sampling, updates of PCD and annealing, timed in turn.

    git worktree add /tmp/other v0.1.0
    python -m benchmarks.against /tmp/other/src                  # some minutes
    python -m benchmarks.against /tmp/other/src --only gibbs pcd --out against.json

Each version runs in a process of its own, which compiles once and then waits to be asked for blocks of calls, so that
A B A B alternate within seconds and only one of them works at a time. A ratio is the time of this version over that of
the other in the block beside it: below 1, this version is faster. Its spread is over all rounds, of several pairs of
processes, since where arrays lie in memory can matter as well. On a machine that has other work, trust the CPU time.

The other version may be 0.1.0 or later, whose functions have other names. An update is that of `fit` in a call long
enough that what `fit` does before and after is small beside it; `fit, no updates` times that alone.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import Workload, describe_machine, repeats_for, spread, timed

__all__ = ["CASES", "TINY_CASES", "main"]

_ROOT = pathlib.Path(__file__).parents[1]
_CLOCKS = ("wall_s", "cpu_s")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, run, print and write JSON."""
    options = _parse(arguments)
    if options.worker:
        _serve(options.worker, options)
        return
    if not (options.path / "rbm_jax" / "__init__.py").is_file():
        raise SystemExit(f"PATH must be the folder that holds the package rbm_jax, such as src, got {options.path}")
    sources = {"this": _ROOT / "src", "other": options.path.resolve()}
    names = [name for name in _cases(options.tiny) if options.only is None or name.split(",")[0] in options.only]
    results = []
    print(f"{'':<34}{'ms, this':>10}{'ms, other':>11}{'ratio wall':>20}{'ratio cpu':>20}", flush=True)
    for name in names:
        results.append(_compare(name, sources, options))
        _print(results[-1])
    if options.out:
        report = {"machine": describe_machine(), "date": datetime.date.today().isoformat(), "results": results}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = sorted({name.split(",")[0] for name in CASES})
    parser.add_argument("path", type=pathlib.Path, metavar="PATH", help="src folder of the other version")
    parser.add_argument("--only", nargs="+", choices=kinds, help="what to time (default: all)")
    parser.add_argument("--rounds", type=int, default=8, help="alternations of a pair of processes (default 8)")
    parser.add_argument("--pairs", type=int, default=2, help="pairs of processes (default 2)")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a block is (default 0.5)")
    parser.add_argument("--tiny", action="store_true", help="tiny problems: only checks that everything runs")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file for all numbers")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _compare(name: str, sources: dict[str, pathlib.Path], options: argparse.Namespace) -> dict[str, Any]:
    """Alternate blocks of both versions; seconds per unit, and ratios within a round."""
    blocks = {version: [] for version in sources}
    versions = {}
    for _ in range(options.pairs):
        workers = {version: _start(name, source, options) for version, source in sources.items()}
        try:
            versions = {version: _ask(worker)["version"] for version, worker in workers.items()}
            for _ in range(options.rounds):
                for version, worker in workers.items():
                    blocks[version].append(_ask(worker))
        finally:
            for worker in workers.values():
                worker.communicate()
    summary = {"case": name, "unit": blocks["this"][0]["unit"], "versions": versions}
    for clock in _CLOCKS:
        this, other = ([block[clock] for block in blocks[version]] for version in ("this", "other"))
        ratios = [mine / theirs for mine, theirs in zip(this, other, strict=True)]
        summary[clock] = {"this": spread(this), "other": spread(other)}
        summary[clock.replace("_s", "_ratio")] = spread(ratios)
    return summary | {"blocks": blocks}


def _start(name: str, source: pathlib.Path, options: argparse.Namespace) -> subprocess.Popen:
    """A process in which `rbm_jax` is that of the source."""
    command = [sys.executable, "-m", "benchmarks.against", str(source), "--worker", name]
    command += ["--seconds", str(options.seconds)] + ["--tiny"] * options.tiny
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(_ROOT)])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=_ROOT, env=environment, **pipes)


def _ask(worker: subprocess.Popen) -> dict[str, Any]:
    """Have a worker do its next block, while the other one waits."""
    try:
        worker.stdin.write("next\n")  # pyright: ignore[reportOptionalMemberAccess]
        worker.stdin.flush()  # pyright: ignore[reportOptionalMemberAccess]
        return json.loads(worker.stdout.readline())  # pyright: ignore[reportOptionalMemberAccess]
    except (BrokenPipeError, json.JSONDecodeError) as error:
        raise SystemExit("a worker ended early; its message is above") from error


def _print(result: dict[str, Any]) -> None:
    times = [1e3 * result["wall_s"][version]["median"] for version in ("this", "other")]
    ratios = [
        f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]"
        for ratio in (result["wall_ratio"], result["cpu_ratio"])
    ]
    print(f"{result['case']:<34}{times[0]:>10.4g}{times[1]:>11.4g}{ratios[0]:>20}{ratios[1]:>20}", flush=True)


def _serve(name: str, options: argparse.Namespace) -> None:
    """In the worker: compile, then time a block for each line that is read."""
    import rbm_jax

    if not pathlib.Path(rbm_jax.__file__).is_relative_to(options.path):
        raise SystemExit(f"{options.path} must come first where Python looks for rbm_jax, which is {rbm_jax.__file__}")
    build, sizes = _cases(options.tiny)[name]
    workload = build(**sizes)
    seconds = 0.0 if options.tiny else options.seconds
    sys.stdin.readline()
    workload.call()
    repeats = repeats_for(workload.call, seconds)
    print(json.dumps({"version": rbm_jax.__version__}), flush=True)
    for _ in sys.stdin:
        time.sleep(0.05 if seconds else 0)  # threads of the other version's pool may spin a little on
        wall, cpu = timed(workload.call, repeats)
        n_units = repeats * workload.n_units
        block = {"unit": workload.unit, "wall_s": wall / n_units, "cpu_s": cpu / n_units}
        print(json.dumps(block), flush=True)


def _sampling(n_visible, n_hidden, n_chains, n_sweeps) -> Workload:
    from rbm_jax import init_chains, init_rbm, sample_gibbs

    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden, scale=0.05)
    v = init_chains(jax.random.key(1), rbm, n_chains)
    options = {"n_sweeps" if _is_present() else "n_steps": n_sweeps}

    def call():
        jax.block_until_ready(sample_gibbs(jax.random.key(2), rbm, v, **options))

    return Workload(call, n_sweeps, "sweep")


def _training(n_visible, n_hidden, batch_size, n_samples, n_updates) -> Workload:
    data = jnp.asarray(np.random.default_rng(0).random((n_samples, n_visible)) < 0.3, jnp.float32)
    train = (_present_fit if _is_present() else _old_fit)(n_visible, n_hidden, batch_size, data)
    unit = "update" if n_updates else "call"
    return Workload(lambda: jax.block_until_ready(train(n_updates)), max(1, n_updates), unit)


def _present_fit(n_visible, n_hidden, batch_size, data) -> Callable[[int], Any]:
    from rbm_jax import PCD, Batches, Trainer, fit, init_rbm

    trainer, batches = Trainer.euler(PCD(), 0.01), Batches(data, batch_size)
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden)
    state = trainer.init(jax.random.key(1), rbm, n_chains=batch_size)
    return lambda n_updates: fit(jax.random.key(2), trainer, state, batches, n_updates=n_updates)


def _old_fit(n_visible, n_hidden, batch_size, data) -> Callable[[int], Any]:
    """Of version 0.1."""
    import optax

    from rbm_jax import fit, init_rbm, init_train_state, pcd  # pyright: ignore[reportAttributeAccessIssue]

    optimizer: Any = optax.sgd(0.01)
    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden)
    state = init_train_state(jax.random.key(1), rbm, optimizer, n_chains=batch_size)
    options: Any = {"estimator": pcd, "optimizer": optimizer, "batch_size": batch_size}
    return lambda n_updates: fit(jax.random.key(2), state, data, n_updates=n_updates, **options)


def _annealing(n_visible, n_hidden, n_chains, n_temperatures) -> Workload:
    from rbm_jax import ais_log_z, init_rbm

    rbm = init_rbm(jax.random.key(0), n_visible, n_hidden, scale=0.05)
    options = {"data": jnp.stack([jnp.zeros(n_visible), jnp.ones(n_visible)]), "n_chains": n_chains}
    options |= {"positions": jnp.linspace(0, 1, n_temperatures + 1)}

    def call():
        jax.block_until_ready(ais_log_z(jax.random.key(1), rbm, **options).value)

    return Workload(call, n_temperatures, "temperature")


def _is_present() -> bool:
    """Whether the version has the names of this one."""
    import rbm_jax

    return hasattr(rbm_jax, "Trainer")


def _cases(tiny: bool) -> dict[str, tuple[Callable[..., Workload], dict[str, int]]]:
    return TINY_CASES if tiny else CASES


def _gibbs_sizes(n_visible, n_hidden, n_chains, n_sweeps) -> dict[str, int]:
    return {"n_visible": n_visible, "n_hidden": n_hidden, "n_chains": n_chains, "n_sweeps": n_sweeps}


def _fit_sizes(n_visible, n_hidden, batch_size, n_samples, n_updates) -> dict[str, int]:
    sizes = {"n_visible": n_visible, "n_hidden": n_hidden, "batch_size": batch_size}
    return sizes | {"n_samples": n_samples, "n_updates": n_updates}


def _annealing_sizes(n_visible, n_hidden, n_chains, n_temperatures) -> dict[str, int]:
    return {"n_visible": n_visible, "n_hidden": n_hidden, "n_chains": n_chains, "n_temperatures": n_temperatures}


CASES = {
    "gibbs, 64x64, 1000 chains": (_sampling, _gibbs_sizes(64, 64, 1000, 200)),
    "gibbs, 784x500, 500 chains": (_sampling, _gibbs_sizes(784, 500, 500, 20)),
    "pcd, 64x32, batch 100": (_training, _fit_sizes(64, 32, 100, 5_000, 3_000)),
    "pcd, 784x500, batch 500": (_training, _fit_sizes(784, 500, 500, 5_000, 60)),
    "fit, no updates, 60000x784": (_training, _fit_sizes(784, 16, 500, 60_000, 0)),
    "annealing, 784x500, 500 chains": (_annealing, _annealing_sizes(784, 500, 500, 20)),
}
TINY_CASES = {
    "gibbs, 16x8, 10 chains": (_sampling, _gibbs_sizes(16, 8, 10, 3)),
    "pcd, 16x8, batch 10": (_training, _fit_sizes(16, 8, 10, 50, 5)),
    "fit, no updates, 50x16": (_training, _fit_sizes(16, 8, 10, 50, 0)),
    "annealing, 16x8, 10 chains": (_annealing, _annealing_sizes(16, 8, 10, 5)),
}


if __name__ == "__main__":
    main()
