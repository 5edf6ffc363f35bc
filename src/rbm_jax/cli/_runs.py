"""`rbm-jax train` and `sample`: make a run, and sample from one."""

import math
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax.sharding import Mesh

from rbm_jax._internal.typing import Array
from rbm_jax.cli._common import (
    MODEL,
    SWEEPS_OF_A_CHUNK,
    UPDATES,
    Devices,
    LearningRate,
    Method,
    NChains,
    NHidden,
    NSweeps,
    Order,
    Out,
    Run,
    Seed,
    from_settings,
    in_chunks,
    load_model,
    load_source,
    load_training,
    make_mesh,
    run_chains,
    run_settings,
    write_figure,
)
from rbm_jax.cli._datasets import Alphabet, Data, Identity, Missing, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.cli._training import Recipe, train_run
from rbm_jax.data import Alignment, states_of, write_fasta
from rbm_jax.io import saved_updates
from rbm_jax.model.rbm import RBM
from rbm_jax.plotting import new_figure, plot_images
from rbm_jax.sampling import init_chains, init_tempering, sample_tempering
from rbm_jax.sharding import check_even, divide, replicate
from rbm_jax.spectral import effective_temperature, svd_modes
from rbm_jax.units import Potts

__all__ = ["sample", "train"]

N_EXCHANGING = 20
"""RBMs along a training between which sampling exchanges states."""

NUpdates = Annotated[int, typer.Option(min=1, help="Updates.")]
MethodOption = Annotated[Method, typer.Option(help="How the model's averages are estimated.")]


@with_json
def train(
    context: typer.Context,
    data: Data = "digits",
    n_hidden: NHidden = Recipe.n_hidden,
    method: MethodOption = Recipe.method,
    order: Order = Recipe.order,
    n_updates: NUpdates = Recipe.n_updates,
    learning_rate: LearningRate = Recipe.learning_rate,
    n_chains: NChains = Recipe.n_chains,
    n_rungs: Annotated[int, typer.Option(min=3, help="Rungs of the ladder of ptt.")] = Recipe.n_rungs,
    n_sweeps: NSweeps = Recipe.n_sweeps,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of a minibatch.")] = Recipe.batch_size,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    missing: Missing = Source.missing,
    identity: Identity = Source.identity,
    alphabet: Alphabet = Source.alphabet,
    l1: Annotated[float, typer.Option(min=0, help="Strength of the penalty l1 Σ|W|.")] = Recipe.l1,
    l2: Annotated[float, typer.Option(min=0, help="Strength of the penalty l2 ΣW²/2.")] = Recipe.l2,
    devices: Devices = None,
    seed: Seed = Recipe.seed,
    out: Out = Path("run"),
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of a run to go on with, by its own options.")
    ] = None,
) -> dict[str, Any]:
    """Train an RBM by SGD and write it, its chains and its trajectory.

    With --missing it learns from what was observed, and nothing is filled in. Aligned sequences train Potts units;
    duplicates are left out, and similar ones share their weight.

    The same command on the same folder, or --resume, goes on with what an interruption left, to the same bits. A larger
    --n-updates goes on with a finished run.

    Example: rbm-jax train --data digits --n-hidden 64 --out run
    """
    settings = {name: value for name, value in context.params.items() if name not in ("out", "resume")}
    if resume is not None:
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
        if "out" in given:
            raise ValueError("--resume writes into the folder of the run: leave --out away")
        out, settings = resume, run_settings(resume) | {name: settings[name] for name in given & set(settings)}
        settings["devices"] = None if settings["devices"] == 1 else settings["devices"]
    source, recipe = from_settings(Source, settings), from_settings(Recipe, settings)
    state = train_run(out, source, recipe, make_mesh(settings["devices"]))
    values, temperature = svd_modes(state.rbm.weights).values, float(effective_temperature(state.rbm.weights))
    leading = ", ".join(f"{value:.3g}" for value in values[:5])
    typer.echo(f"leading singular values {leading}; effective temperature {temperature:.3g}")
    typer.echo(f"wrote {out / MODEL} and {out / UPDATES}")
    n_updates = int(state.step)
    return {
        "n_updates": n_updates,
        "time": recipe.learning_rate * n_updates,
        "singular_values": values,
        "effective_temperature": temperature,
        "n_rejected": int(state.n_rejected),
        "files": [out / MODEL, out / UPDATES],
    }


@with_json
def sample(
    run: Run,
    n_samples: Annotated[int, typer.Option(min=1, help="Samples to draw, one chain each.")] = 100,
    n_sweeps: Annotated[int, typer.Option(min=0, help="Gibbs sweeps of each chain.")] = 1000,
    exchange: Annotated[bool, typer.Option("--exchange", help="Exchange states with RBMs along the training.")] = False,
    devices: Devices = None,
    seed: Seed = 0,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows of an image [default: it is a square].")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write [default: samples.png or samples.fasta in the run].")
    ] = None,
) -> dict[str, Any]:
    """Sample a trained RBM and write a grid of images, or a FASTA file of sequences.

    The chains go on from those of the training, each several times if there are not enough. With --exchange they start
    fresh, and reach every cluster of the data through the RBMs that the training has passed.

    Example: rbm-jax sample run --n-samples 100 --out samples.png
    """
    if exchange and (devices is not None or n_sweeps == 0):
        raise ValueError("--exchange needs --n-sweeps of at least 1, and does not go with --devices")
    mesh = make_mesh(devices)
    rbm, chains = load_model(run)
    key, numbers = jax.random.key(seed), {}
    if exchange:
        samples, numbers = _sample_along_training(key, run, n_samples, n_sweeps)
    else:
        samples = _sample_on(mesh, key, rbm, chains, n_samples, n_sweeps)
    if isinstance(rbm.visible_units, Potts):
        path = run / "samples.fasta" if out is None else out
        _write_sequences(path, run, samples)
        return numbers | {"files": [path]}
    if rows is None:
        side = math.isqrt(rbm.n_visible)
        rows = side if side**2 == rbm.n_visible else 1
    if rbm.n_visible % rows:
        raise ValueError(f"--rows must divide the {rbm.n_visible} visible units, got {rows}")
    shape = (rows, rbm.n_visible // rows)
    path = run / "samples.png" if out is None else out
    figure = new_figure(5, 5)
    plot_images(samples, shape, ax=figure.add_subplot())
    write_figure(path, figure)
    typer.echo(f"wrote {path}")
    return numbers | {"files": [path]}


def _write_sequences(path: Path, run: Path, samples) -> None:
    alphabet = load_source(run).alphabet
    if alphabet is None:
        raise ValueError(f"{run} does not say which letters its states are: it was not trained on sequences")
    names = tuple(f"sample {number + 1}" for number in range(len(samples)))
    write_fasta(path, Alignment(states_of(samples, len(alphabet)), names, alphabet))
    typer.echo(f"wrote {path}")


def _sample_on(mesh: Mesh | None, key, rbm: RBM, chains: Array | None, n_samples: int, n_sweeps: int) -> Array:
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
    return run_chains(key_run, rbm, chains, n_sweeps)


def _sample_along_training(key, run: Path, n_samples: int, n_sweeps: int) -> tuple[Array, dict[str, Any]]:
    """States of the last RBM from replica exchange along the saved ones; says how well states got through."""
    key_start, key_run = jax.random.split(key)
    updates = list(saved_updates(run / UPDATES))
    rungs = np.unique(np.linspace(0, len(updates) - 1, N_EXCHANGING).astype(int))
    ladder = load_training(run, [updates[rung] for rung in rungs]).rbms
    state = init_tempering(key_start, ladder, n_samples)
    acceptances = []
    for steps in in_chunks(n_sweeps, SWEEPS_OF_A_CHUNK, "replica exchange", "step"):
        state, info = sample_tempering(key_run, ladder, state, n_steps=steps.stop - steps.start)
        acceptances.append(np.asarray(info.acceptance))
    acceptance = jnp.nanmean(jnp.stack(acceptances), axis=0)
    moved = float((state.origin[-1] != len(rungs) - 1).mean())
    least = float(jnp.nanmin(acceptance))
    typer.echo(f"least acceptance of swaps {least:.2f}; {moved:.0%} of the states came from earlier RBMs")
    return state.chains[-1], {"acceptance": acceptance, "share_from_earlier": moved}
