"""`rbm-jax train`, `sample` and `spectrum`: make a run, and look at one."""

import math
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import optax
import typer

from rbm_jax._checks import check_positive
from rbm_jax._optional import require
from rbm_jax.checkpoint import atomic_write, load_rbm, load_trajectories, save_rbm, save_trajectories
from rbm_jax.cli._common import (
    MODEL,
    TRAJECTORY,
    Data,
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
    in_run,
    make_estimator,
    prepare_folder,
    save_source,
)
from rbm_jax.plotting import plot_images, plot_spectrum
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import init_rbm
from rbm_jax.sampling import init_chains, sample_gibbs
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.training import fit, init_train_state, log_spaced_updates
from rbm_jax.trajectory import Status, Trajectory

__all__ = ["sample", "spectrum", "train"]

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
    seed: Seed = 0,
    out: Out = Path("run"),
) -> None:
    """Train an RBM by SGD and write it, its chains and its trajectory.

    Example: rbm-jax train --data digits --n-hidden 64 --out run
    """
    check_positive("--learning-rate", learning_rate)
    source = Source(data, units, threshold)
    dataset = source.load()
    folder = prepare_folder(out)
    key_rbm, key_chains, key_run = jax.random.split(jax.random.key(seed), 3)
    n_samples, n_visible = dataset.samples.shape
    rbm = init_rbm(
        key_rbm,
        n_visible,
        n_hidden,
        visible_units=dataset.units,
        hidden_units=dataset.units,
        visible_mean=dataset.samples.mean(0),
    )
    optimizer = optax.sgd(learning_rate)
    state = init_train_state(key_chains, rbm, optimizer, n_chains=n_chains)
    with progress_bar(n_updates, method.value.upper()) as progress:
        state, trajectory = fit(
            key_run,
            state,
            dataset.samples,
            estimator=make_estimator(method, n_steps, order),
            optimizer=optimizer,
            n_updates=n_updates,
            batch_size=min(batch_size, n_samples),
            save_at=log_spaced_updates(n_updates, 50),
            time_step=learning_rate,
            progress=progress,
        )
    if trajectory.status != Status.SUCCESS:
        raise ValueError("training diverged (the weights are no longer finite): try a smaller --learning-rate")
    save_source(folder, source)
    save_rbm(folder / MODEL, state.rbm, chains=state.chains)
    save_trajectories(folder / TRAJECTORY, {"training": trajectory})
    leading = ", ".join(f"{value:.3g}" for value in svd_modes(state.rbm.weights).values[:5])
    typer.echo(
        f"leading singular values {leading}; effective temperature {effective_temperature(state.rbm.weights):.3g}"
    )
    typer.echo(f"wrote {folder / MODEL} and {folder / TRAJECTORY}")


def sample(
    run: Run,
    n_samples: Annotated[int, typer.Option(min=1, help="Samples to draw, one chain each.")] = 100,
    n_steps: Annotated[int, typer.Option(min=0, help="Gibbs sweeps of each chain.")] = 1000,
    seed: Seed = 0,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an image [default: it is a square].")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture to write [default: samples.png in the run].")] = None,
) -> None:
    """Sample a trained RBM and write a grid of images.

    The chains go on from those of the training where there are enough, and start from independent units otherwise.

    Example: rbm-jax sample run --n-samples 100 --out samples.png
    """
    rbm, chains = load_rbm(in_run(run, MODEL))
    key_start, key_run = jax.random.split(jax.random.key(seed))
    if chains is None or len(chains) < n_samples:
        chains = init_chains(key_start, rbm, n_samples)
    samples = sample_gibbs(key_run, rbm, chains[:n_samples], n_steps=n_steps)
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


def spectrum(
    run: Run,
    modes: Annotated[int, typer.Option(min=1, help="Leading modes to color and print.")] = 10,
    out: Annotated[Path | None, typer.Option(help="The picture to write [default: spectrum.png in the run].")] = None,
) -> None:
    """Singular values of W along a training: a picture, and a table of the leading ones.

    Example: rbm-jax spectrum run --modes 10
    """
    trajectories = load_trajectories(in_run(run, TRAJECTORY))
    if "training" not in trajectories:
        raise ValueError(f"{run / TRAJECTORY} holds no training, only {sorted(trajectories)}")
    training: Trajectory = trajectories["training"]
    values = np.asarray(jax.vmap(svd_modes)(training.rbms.weights).values)
    path = run / "spectrum.png" if out is None else out
    figure = require("matplotlib.figure").Figure(figsize=(6, 4), layout="constrained")
    later = training.ts > 0  # the start has no place on a logarithmic axis
    plot_spectrum(training.ts[later], values[later], n_modes=modes, ax=figure.add_subplot()).set_xscale("log")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png")
    shown = np.unique(np.linspace(0, len(values) - 1, 8).astype(int))
    typer.echo("       t   T_eff     singular values")
    for time in shown:
        temperature = float(effective_temperature(training.rbms.weights[time]))
        leading = " ".join(f"{value:8.4f}" for value in values[time, :modes])
        typer.echo(f"{float(training.ts[time]):8.3g} {temperature:8.3g}  {leading}")
    typer.echo(f"wrote {path}")
