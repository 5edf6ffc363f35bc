"""How good an RBM of MNIST gets, and how soon: held-out likelihood against training time, beside `rbms`.

    python -m benchmarks.likelihood --data mnist_binarized.npz

The file holds the arrays `train` and `test`, one binarized image of 784 pixels a row, bit-packed or not. Training is
cut into stages. In each, ours does its share of the updates; then `rbms` (if it is installed) trains for as long as
ours took, in its own process, with the same learning rate, batch, chains, sweeps and penalty; its normalization of the
gradient is left out, as ours has none. Neither pays for compilation or for reading files. After each stage log Z is
annealed, the same for both and off the clock; in the end ours is bounded from both sides with many more temperatures.

Everything is kept in `--folder` after each stage, and a second call goes on from there.

What is not like for like: the learning rate of `rbms` is constant within a stage, that of the stage's middle; ours
falls through it. Ours multiplies in bfloat16 where the spins are exact. `rbms` cannot stop between updates more finely
than one, so its stages are longer than ours by up to one update.
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._timing import describe_machine
from rbm_jax import (
    PCD,
    RBM,
    Batches,
    Bernoulli,
    Centered,
    Trainer,
    TrainState,
    ais_log_z,
    fit,
    init_chains,
    init_rbm,
    log_likelihood,
)
from rbm_jax.io import atomic_write, save_rbm
from rbm_jax.likelihood import reverse_ais_log_z
from rbm_jax.model import independent_rbm
from rbm_jax.plotting import figure_style, new_figure
from rbm_jax.sampling import init_tempering, sample_tempering, temper_ladder
from rbm_jax.training import Optimizer, penalized_sgd

__all__ = ["Recipe", "main"]

_ROOT = pathlib.Path(__file__).parents[1]
_PUBLISHED = -86.35
"""Of CD-25 with 500 hidden units on this set, the test images of it. Source: Salakhutdinov & Murray (2008)."""
_LOG_Z_FIELDS = ("value", "std_error", "ess", "lower", "upper")
_OURS, _THEIRS = "rbm_jax", "rbms"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train: persistent chains, plain SGD with a learning rate that falls to zero linearly, weight decay."""

    n_hidden: int = 500
    n_updates: int = 30_000
    n_stages: int = 10
    learning_rate: float = 0.2
    batch_size: int = 250
    n_chains: int = 500
    n_sweeps: int = 5
    l2: float = 2e-4
    scale: float = 0.01
    quick_temperatures: int = 2_000
    final_temperatures: int = 10_000
    final_chains: int = 500
    seed: int = 0

    def updates_until(self, stage: int) -> int:
        """Updates of ours before this stage."""
        return round(stage * self.n_updates / self.n_stages)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run."""
    options = _parse(arguments)
    if options.worker:
        stage, seconds = int(options.worker[1]), float(options.worker[2])
        workers = {_OURS: _train_ours, _THEIRS: _train_theirs}
        print(json.dumps(workers[options.worker[0]](options.recipe, options.data, options.folder, stage, seconds)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / "stages.json"
    rows = json.loads(log.read_text()) if log.exists() else []
    if any(row["recipe"] != dataclasses.asdict(options.recipe) for row in rows):
        raise SystemExit(f"{options.folder} holds a run of another recipe: name another --folder, or remove it")
    contenders = [_OURS] if options.alone else [_OURS, _THEIRS]
    for stage in range(options.recipe.n_stages):
        for name in contenders:
            if any(row["stage"] == stage and row["contender"] == name for row in rows):
                continue
            pace = next((row["wall_s"] for row in rows if row["stage"] == stage), 0.0)
            row = _in_process(options, name, stage, pace)
            row |= {"stage": stage, "contender": name, "recipe": dataclasses.asdict(options.recipe)}
            if "absent" in row:
                print(f"{name} is absent: {row['absent']}", flush=True)
                continue
            rows.append(row | _quick_likelihood(options, name))
            with atomic_write(log) as path:
                path.write_text(json.dumps(rows, indent=1))
            print(_describe(rows[-1], rows), flush=True)
    final = _final_likelihood(options)
    report = {"machine": describe_machine(), "date": datetime.date.today().isoformat()}
    report |= {"recipe": dataclasses.asdict(options.recipe), "stages": rows, "final": final}
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    _draw(report, options.out.with_suffix(".png"))
    print(f"\nheld-out log-likelihood {final['test']} nats per image; written to {options.out}")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.likelihood",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help=".npz file with arrays train and test")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("out/likelihood"), help="checkpoints")
    parser.add_argument("--out", type=pathlib.Path, default=_ROOT / "benchmarks" / "results" / "likelihood.json")
    parser.add_argument("--alone", action="store_true", help="without rbms")
    parser.add_argument("--worker", nargs=3, metavar=("NAME", "STAGE", "SECONDS"), help=argparse.SUPPRESS)
    for field in dataclasses.fields(Recipe):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default {field.default}")
    options = parser.parse_args(arguments)
    options.recipe = Recipe(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe)})
    return options


def _load(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        train, test = file["train"], file["test"]
    if train.max() > 1:
        train, test = np.unpackbits(train, axis=1), np.unpackbits(test, axis=1)
    return train, test


def _in_process(options: argparse.Namespace, name: str, stage: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.likelihood", "--worker", name, str(stage), str(seconds)]
    command += ["--data", str(options.data), "--folder", str(options.folder)]
    for field in dataclasses.fields(Recipe):
        command += [f"--{field.name.replace('_', '-')}", str(getattr(options.recipe, field.name))]
    finished = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if finished.returncode != 0 and "ModuleNotFoundError" in finished.stderr:
        return {"absent": finished.stderr.splitlines()[-1]}
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def _train_ours(recipe: Recipe, data: pathlib.Path, folder: pathlib.Path, stage: int, _: float) -> dict[str, Any]:
    train, _ = _load(data)
    schedule = optax.linear_schedule(recipe.learning_rate, 0.0, recipe.n_updates)
    estimator = PCD(n_sweeps=recipe.n_sweeps, metric=Centered(), compute_dtype=jnp.bfloat16)
    trainer = Trainer(estimator, Optimizer(penalized_sgd, schedule, l2=recipe.l2), time_step=schedule)
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(recipe.seed), 3)
    rbm = init_rbm(key_rbm, train.shape[1], recipe.n_hidden, scale=recipe.scale, visible_mean=train.mean(0))
    state = trainer.init(key_chains, rbm, n_chains=recipe.n_chains)
    if stage > 0:
        rbm, chains = _load_state(folder, _OURS)
        step = jnp.asarray(recipe.updates_until(stage), jnp.int32)  # the schedule is read here; SGD has no memory
        state = TrainState(rbm, chains, state.opt_state, step, state.n_rejected)
    batches = Batches(train, recipe.batch_size)
    jax.block_until_ready(fit(key_run, trainer, state, batches, n_updates=1))
    n_updates = recipe.updates_until(stage + 1) - recipe.updates_until(stage)
    clock = time.perf_counter(), time.process_time()
    state, _ = jax.block_until_ready(fit(key_run, trainer, state, batches, n_updates=n_updates))
    spent = {"wall_s": time.perf_counter() - clock[0], "cpu_s": time.process_time() - clock[1]}
    _save_state(folder, _OURS, state.rbm, state.carry)
    return spent | {"n_updates": n_updates}


def _train_theirs(
    recipe: Recipe, data: pathlib.Path, folder: pathlib.Path, stage: int, seconds: float
) -> dict[str, Any]:
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM

    train = torch.from_numpy(_load(data)[0].astype(np.float32))
    weights, torch_rng = torch.ones(len(train)), torch.Generator().manual_seed(recipe.seed + stage)
    if stage > 0:
        rbm, chains = _load_state(folder, _THEIRS)
    else:
        key_rbm, key_chains = jax.random.split(jax.random.key(recipe.seed), 3)[:2]
        rbm = init_rbm(key_rbm, train.shape[1], recipe.n_hidden, scale=recipe.scale, visible_mean=train.numpy().mean(0))
        chains = init_chains(key_chains, rbm, recipe.n_chains)
    params = BBRBM(*(torch.from_numpy(np.array(leaf)) for leaf in jax.tree.leaves(rbm)))
    params.init_grad()
    share = (stage + 0.5) / recipe.n_stages
    optimizer = torch.optim.SGD(params.parameters(), lr=recipe.learning_rate * (1 - share), maximize=True)
    torch.manual_seed(recipe.seed + stage)
    states = params.init_chains(recipe.n_chains, start_v=torch.from_numpy(np.array(chains)))
    n_updates, clock = 0, (time.perf_counter(), time.process_time())
    with torch.no_grad():
        while time.perf_counter() - clock[0] < seconds:
            rows = torch.randint(len(train), (recipe.batch_size,), generator=torch_rng)
            optimizer.zero_grad(set_to_none=False)
            batch = params.init_chains(num_samples=recipe.batch_size, weights=weights[rows], start_v=train[rows])
            states = params.sample_state(chains=states, n_steps=recipe.n_sweeps, beta=1.0)
            params.compute_gradient(data=batch, chains=states, centered=True, lambda_l1=0.0, lambda_l2=recipe.l2)
            optimizer.step()
            n_updates += 1
    spent = {"wall_s": time.perf_counter() - clock[0], "cpu_s": time.process_time() - clock[1]}
    leaves = [np.array(leaf) for leaf in (params.weight_matrix, params.vbias, params.hbias)]
    _save_state(folder, _THEIRS, RBM(*map(jnp.asarray, leaves), Bernoulli(), Bernoulli()), states["visible"].numpy())
    return spent | {"n_updates": n_updates}


def _save_state(folder: pathlib.Path, name: str, rbm: RBM, chains) -> None:
    with atomic_write(folder / f"{name}.npz") as path:
        np.savez(path, weights=rbm.weights, visible=rbm.visible_bias, hidden=rbm.hidden_bias, chains=chains)


def _load_state(folder: pathlib.Path, name: str) -> tuple[RBM, jax.Array]:
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        leaves = [jnp.asarray(file[leaf]) for leaf in ("weights", "visible", "hidden")]
        return RBM(*leaves, Bernoulli(), Bernoulli()), jnp.asarray(file["chains"])


def _quick_likelihood(options: argparse.Namespace, name: str) -> dict[str, float]:
    train, test = _load(options.data)
    rbm, _ = _load_state(options.folder, name)
    log_z = _anneal(options.recipe, rbm, train, options.recipe.quick_temperatures)
    found = {which: log_likelihood(rbm, data, log_z) for which, data in (("train", train[:10_000]), ("test", test))}
    return {name: float(each.value) for name, each in found.items()} | {"std_error": float(log_z.std_error)}


def _anneal(recipe: Recipe, rbm: RBM, train: np.ndarray, n_temperatures: int):
    options = {"n_chains": recipe.final_chains, "n_temperatures": n_temperatures, "compute_dtype": jnp.bfloat16}
    return ais_log_z(jax.random.key(recipe.seed + 1), rbm, data=train, **options)


def _final_likelihood(options: argparse.Namespace) -> dict[str, Any]:
    """Both bounds, the way back from the chains of the training after they have exchanged states along a ladder."""
    recipe = options.recipe
    train, test = _load(options.data)
    rbm, chains = _load_state(options.folder, _OURS)
    save_rbm(options.folder / "rbm.h5", rbm, chains=chains)  # for rbm-jax sample and inpaint
    forward = _anneal(recipe, rbm, train, recipe.final_temperatures)
    key_start, key_run, key_back = jax.random.split(jax.random.key(recipe.seed + 2), 3)
    start = independent_rbm(rbm, train.mean(0))
    ladder = temper_ladder(start, rbm, jnp.linspace(0, 1, 24) ** 0.7)
    n_back = min(recipe.final_chains, len(chains))
    state = init_tempering(key_start, ladder, n_back)
    state = dataclasses.replace(state, chains=state.chains.at[-1].set(chains[:n_back]))
    state, info = sample_tempering(key_run, ladder, state, n_steps=200)
    back_options = {"n_temperatures": recipe.final_temperatures, "compute_dtype": jnp.bfloat16}
    backward = reverse_ais_log_z(key_back, rbm, data=train, samples=state.chains[-1], **back_options)
    result = {"least_acceptance": float(info.acceptance.min()), "returned": float((state.origin[-1] != 23).mean())}
    for name, estimate in (("log_z", forward), ("log_z_back", backward)):
        result[name] = {field: float(getattr(estimate, field)) for field in _LOG_Z_FIELDS}
    for name, data in (("train", train), ("test", test)):
        found = log_likelihood(rbm, data, forward, backward)
        result[name] = {field: round(float(getattr(found, field)), 3) for field in ("value", "lower", "upper")}
    return result


@figure_style()
def _draw(report: dict[str, Any], path: pathlib.Path) -> None:
    """Held-out likelihood against training time, the bounds on the last one, and the published value as a line."""
    figure = new_figure(4.5, 3)
    ax = figure.add_subplot()
    for name, marker in ((_OURS, "o"), (_THEIRS, "s")):
        rows = [row for row in report["stages"] if row["contender"] == name and "test" in row]
        if rows:
            minutes = np.cumsum([row["wall_s"] for row in rows]) / 60
            ax.plot(
                minutes, [row["test"] for row in rows], marker, ms=4, ls="-", lw=0.8, label=f"{name}, quick annealing"
            )
    final = report["final"]["test"]
    minutes = sum(row["wall_s"] for row in report["stages"] if row["contender"] == _OURS) / 60
    ends = [[final["value"] - final["lower"]], [final["upper"] - final["value"]]]
    bounded = {"fmt": "D", "ms": 3, "capsize": 3, "color": "k", "label": f"{_OURS}, bounded from both sides"}
    ax.errorbar([minutes], [final["value"]], ends, **bounded)
    ax.axhline(_PUBLISHED, color="0.4", ls="--", lw=1, label=f"CD-25, published: {_PUBLISHED}")
    ax.set_xlabel("training time (minutes)")
    ax.set_ylabel("held-out log-likelihood (nats per image)")
    ax.legend()
    figure.savefig(path, dpi=200)


def _describe(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    same = [each for each in rows if each["contender"] == row["contender"]]
    seconds, n_updates = (sum(each[name] for each in same) for name in ("wall_s", "n_updates"))
    found = f"test {row['test']:.2f}, train {row['train']:.2f} (log Z ± {row['std_error']:.2f})"
    return f"{row['contender']:<8} {seconds:7.0f} s {n_updates:7d} updates   {found}"


if __name__ == "__main__":
    main()
