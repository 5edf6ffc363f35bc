"""`rbm-jax train` and `sample`: make a run, and sample from one."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from jax.sharding import Mesh

from rbm_jax._checks import check_positive
from rbm_jax._optional import require
from rbm_jax._typing import Array
from rbm_jax.checkpoint import atomic_write, load_rbm, load_trajectories, save_rbm, save_trajectories
from rbm_jax.cli._common import (
    MODEL,
    TRAJECTORY,
    Data,
    Devices,
    LearningRate,
    Method,
    NChains,
    NHidden,
    NSteps,
    Order,
    Out,
    Run,
    Seed,
    Source,
    Threshold,
    UnitName,
    Units,
    collect_warnings,
    echo_warnings,
    in_run,
    make_estimator,
    make_mesh,
    prepare_folder,
    save_source,
)
from rbm_jax.cli._likelihood import some_rows
from rbm_jax.dynamics import mode_motion
from rbm_jax.estimators import keeps_equilibrium
from rbm_jax.ladder_health import ladder_health
from rbm_jax.penalties import penalize_weights
from rbm_jax.plotting import plot_images
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import RBM, init_rbm
from rbm_jax.sampling import (
    TrajectoryChains,
    init_chains,
    init_tempering,
    init_trajectory_chains,
    live_states,
    sample_gibbs,
    sample_tempering,
)
from rbm_jax.sharding import check_even, divide, place_state, replicate
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.training import TrainState, fit, init_train_state, log_spaced_updates
from rbm_jax.trajectory import Status, Trajectory

__all__ = ["Recipe", "sample", "train", "train_run"]

N_SAVES = 50
N_RUNGS = 10
"""Of the ladder of `ptt`."""
N_EXCHANGING = 20
"""RBMs along a training between which sampling exchanges states."""
NAMED_EPOCHS = (1, 10)
"""After which the RBM is kept too, so that pictures can show it then."""

NUpdates = Annotated[int, typer.Option(min=1, help="Updates.")]
MethodOption = Annotated[Method, typer.Option(help="How the model's averages are estimated.")]


def train(
    data: Data = "digits",
    n_hidden: NHidden = 64,
    method: MethodOption = Method.PCD,
    order: Order = 2,
    n_updates: NUpdates = 5000,
    learning_rate: LearningRate = 0.05,
    n_chains: NChains = 500,
    n_steps: NSteps = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a minibatch.")] = 500,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    l1: Annotated[float, typer.Option(min=0, help="Strength of the penalty l1 Σ|W|.")] = 0.0,
    l2: Annotated[float, typer.Option(min=0, help="Strength of the penalty l2 ΣW²/2.")] = 0.0,
    devices: Devices = None,
    seed: Seed = 0,
    out: Out = Path("run"),
) -> None:
    """Train an RBM by SGD and write it, its chains and its trajectory.

    Example: rbm-jax train --data digits --n-hidden 64 --out run
    """
    recipe = Recipe(
        n_hidden, method, order, n_updates, learning_rate, n_chains, n_steps, batch_size, seed, l1=l1, l2=l2
    )
    state, _ = train_run(out, Source(data, units, threshold), recipe, make_mesh(devices))
    leading = ", ".join(f"{value:.3g}" for value in svd_modes(state.rbm.weights).values[:5])
    typer.echo(
        f"leading singular values {leading}; effective temperature {effective_temperature(state.rbm.weights):.3g}"
    )
    typer.echo(f"wrote {out / MODEL} and {out / TRAJECTORY}")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to train."""

    n_hidden: int = 64
    method: Method = Method.PCD
    order: int = 2
    n_updates: int = 5000
    learning_rate: float = 0.05
    n_chains: int = 500
    n_steps: int = 5
    batch_size: int = 500
    seed: int = 0
    scale: float = 0.01
    l1: float = 0.0
    l2: float = 0.0


def train_run(folder: Path, source: Source, recipe: Recipe, mesh: Mesh | None = None) -> tuple[TrainState, Trajectory]:
    """Train as the recipe says, on the devices of the mesh if there is one, and write the run into the folder.

    The trajectory's observations are the epochs done and the fields of `dynamics.ModeMotion` for the estimator's step.

    Raises:
        ValueError, OSError: a training that diverged, data that cannot be read, a folder that cannot be written, or
            chains that the devices cannot share evenly.
    """
    learning_rate = check_positive("--learning-rate", recipe.learning_rate)
    if mesh is not None:
        check_even("--n-chains", recipe.n_chains, mesh)
    n_devices = 1 if mesh is None else mesh.size
    dataset = source.load()
    prepare_folder(folder)
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(recipe.seed), 3)
    n_samples, n_visible = dataset.samples.shape
    options = {"visible_units": dataset.units, "hidden_units": dataset.units, "visible_mean": dataset.samples.mean(0)}
    rbm = init_rbm(key_rbm, n_visible, recipe.n_hidden, scale=recipe.scale, **options)
    optimizer = optax.chain(penalize_weights(l1=recipe.l1, l2=recipe.l2), optax.sgd(learning_rate))
    state = init_train_state(key_chains, rbm, optimizer, chains=_start(key_chains, rbm, recipe, n_devices))
    samples = dataset.samples
    if mesh is not None:
        state, samples = place_state(state, mesh), replicate(samples, mesh)
    estimator = make_estimator(recipe.method, recipe.n_steps, recipe.order)
    batch_size, n_updates = min(recipe.batch_size, n_samples), recipe.n_updates
    epochs = [round(epoch * n_samples / batch_size) for epoch in NAMED_EPOCHS]
    saves = np.union1d(log_spaced_updates(n_updates, N_SAVES), [update for update in epochs if update <= n_updates])
    with progress_bar(n_updates, recipe.method.value.upper()) as progress:
        state, trajectory = fit(
            key_run,
            state,
            samples,
            estimator=estimator,
            accept=keeps_equilibrium if recipe.method == Method.PTT else None,
            optimizer=optimizer,
            n_updates=n_updates,
            batch_size=batch_size,
            save_at=saves,
            observe=functools.partial(_observe_step, estimator, jnp.asarray(some_rows(dataset.samples, 2000))),
            time_step=learning_rate,
            progress=progress,
        )
    if trajectory.status != Status.SUCCESS:
        raise ValueError("training diverged (the weights are no longer finite): try a smaller --learning-rate")
    if not (trajectory.rbms.weights[-1] != trajectory.rbms.weights[-2]).any():
        echo_warnings(["no update was made at the end, for the chains could not follow: try a smaller --learning-rate"])
    observations = {"epochs": saves * batch_size / n_samples, **trajectory.observations}
    trajectory = dataclasses.replace(trajectory, observations=observations)
    save_source(folder, source)
    save_rbm(folder / MODEL, state.rbm, chains=_check_chains(key_chains, state.chains))
    save_trajectories(folder / TRAJECTORY, {"training": trajectory})
    return state, trajectory


def _start(key, rbm: RBM, recipe: Recipe, n_devices: int) -> Array | TrajectoryChains:
    """What the estimator carries along: chains, for `ptt` shared out among the rungs of a ladder."""
    if recipe.method != Method.PTT:
        return init_chains(key, rbm, recipe.n_chains)
    per_device = -(-recipe.n_chains // (N_RUNGS * n_devices))
    return init_trajectory_chains(key, rbm, per_device * n_devices, n_rungs=N_RUNGS)


def _check_chains(key, chains) -> Array:
    """States of the trained RBM; those of a ladder after a look at its health."""
    if not isinstance(chains, TrajectoryChains):
        return chains
    with collect_warnings() as messages:
        ladder_health(key, chains.ladder, chains.tempering)
    echo_warnings(messages)
    return live_states(chains)


def _observe_step(estimator, data, state: TrainState) -> dict[str, jax.Array]:
    """What the estimator's next step would do to the modes."""
    gradient, _ = estimator(jax.random.fold_in(jax.random.key(0), state.step), state.rbm, data, state.chains)
    return vars(mode_motion(svd_modes(state.rbm.weights), -gradient.weights))


def sample(
    run: Run,
    n_samples: Annotated[int, typer.Option(min=1, help="Samples to draw, one chain each.")] = 100,
    n_steps: Annotated[int, typer.Option(min=0, help="Gibbs sweeps of each chain.")] = 1000,
    exchange: Annotated[bool, typer.Option("--exchange", help="Exchange states with RBMs along the training.")] = False,
    devices: Devices = None,
    seed: Seed = 0,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an image [default: it is a square].")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture to write [default: samples.png in the run].")] = None,
) -> None:
    """Sample a trained RBM and write a grid of images.

    The chains go on from those of the training, each several times if there are not enough. With --exchange they start
    fresh, and reach every cluster of the data through the RBMs that the training has passed.

    Example: rbm-jax sample run --n-samples 100 --out samples.png
    """
    if exchange and (devices is not None or n_steps == 0):
        raise ValueError("--exchange needs --n-steps of at least 1, and does not go with --devices")
    mesh = make_mesh(devices)
    rbm, chains = load_rbm(in_run(run, MODEL))
    key = jax.random.key(seed)
    if exchange:
        samples = _sample_along_training(key, run, n_samples, n_steps)
    else:
        samples = _sample_on(mesh, key, rbm, chains, n_samples, n_steps)
    if rows is None:
        side = math.isqrt(rbm.n_visible)
        rows = side if side**2 == rbm.n_visible else 1
    if rbm.n_visible % rows:
        raise ValueError(f"--rows must divide the {rbm.n_visible} visible units, got {rows}")
    shape = (rows, rbm.n_visible // rows)
    path = run / "samples.png" if out is None else out
    figure = require("matplotlib.figure").Figure(figsize=(6, 6), layout="constrained")
    plot_images(samples, shape, ax=figure.add_subplot())
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")
    typer.echo(f"wrote {path}")


def _sample_on(mesh: Mesh | None, key, rbm: RBM, chains: Array | None, n_samples: int, n_steps: int) -> Array:
    """States of Gibbs chains, which go on from given ones if these are enough."""
    key_start, key_run = jax.random.split(key)
    if chains is None:
        chains = init_chains(key_start, rbm, n_samples)
    elif len(chains) < n_samples:
        chains = chains[jax.random.randint(key_start, (n_samples,), 0, len(chains))]
    chains = chains[:n_samples]
    if mesh is not None:
        check_even("--n-samples", n_samples, mesh)
        rbm, chains = replicate(rbm, mesh), divide(chains, mesh)
    return sample_gibbs(key_run, rbm, chains, n_steps=n_steps)


def _sample_along_training(key, run: Path, n_samples: int, n_steps: int) -> Array:
    """States of the last RBM from replica exchange along the saved ones; says how well states got through."""
    key_start, key_run = jax.random.split(key)
    rbms = load_trajectories(in_run(run, TRAJECTORY))["training"].rbms
    rungs = np.unique(np.linspace(0, len(rbms.weights) - 1, N_EXCHANGING).astype(int))
    ladder = jax.tree.map(lambda leaf: leaf[rungs], rbms)
    state = init_tempering(key_start, ladder, n_samples)
    state, info = sample_tempering(key_run, ladder, state, n_steps=n_steps)
    moved = float((state.origin[-1] != len(rungs) - 1).mean())
    least = float(jnp.nanmin(info.acceptance))
    typer.echo(f"least acceptance of swaps {least:.2f}; {moved:.0%} of the states came from earlier RBMs")
    return state.chains[-1]
