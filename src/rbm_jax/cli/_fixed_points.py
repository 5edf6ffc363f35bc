"""`rbm-jax fixed-points`: the fixed points of a trained RBM as clusters of its data, and how they came about."""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from rbm_jax._optional import require
from rbm_jax.checkpoint import atomic_write, saved_updates
from rbm_jax.cli._common import UPDATES, Order, Run, load_source, load_training
from rbm_jax.cli._datasets import Dataset
from rbm_jax.mean_field import FixedPoints, find_fixed_points, fixed_point_tree
from rbm_jax.plotting import plot_fixed_points, plot_images, plot_quantity, plot_tree
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import RBM
from rbm_jax.spectral import project, svd_modes

__all__ = ["fixed_points"]

N_IMAGES = 48


def fixed_points(
    run: Run,
    n_samples: Annotated[int, typer.Option(min=1, help="Data to start from, evenly spaced in the data set.")] = 500,
    n_times: Annotated[int, typer.Option(min=2, help="Times along the training to look at, at most.")] = 16,
    order: Order = 2,
    damping: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the old value in a step.")] = 0.0,
    max_steps: Annotated[int, typer.Option(min=1, help="Sweeps at most from each start.")] = 2000,
    out: Annotated[
        Path | None, typer.Option(help="The picture to write [default: fixed-points.png in the run].")
    ] = None,
) -> None:
    """Mean-field fixed points of a run: clusters of its data, their number along training, how they split.

    Writes the picture and, beside it, an .npz file with centroids, free energies, labels and counts.

    Example: rbm-jax fixed-points run
    """
    path = run / "fixed-points.png" if out is None else out
    if path.suffix == ".npz":
        raise ValueError(f"--out is the picture, and its .npz file goes beside it: give another suffix than {path} has")
    dataset = load_source(run).load()
    updates = list(saved_updates(run / UPDATES))
    chosen = np.unique(np.linspace(0, len(updates) - 1, min(n_times, len(updates))).astype(int))
    training = load_training(run, [updates[each] for each in chosen])
    dataset.check_fits(training.rbms)
    rows = np.linspace(0, len(dataset.samples) - 1, min(n_samples, len(dataset.samples))).astype(int)
    rbms = [jax.tree.map(lambda leaf, time=time: leaf[time], training.rbms) for time in range(len(chosen))]
    data = dataset.completed(rbms[-1]).samples[rows]
    options = {"order": order, "damping": damping, "max_steps": max_steps}
    along = []
    with progress_bar(len(rbms), "fixed points") as progress:
        for rbm in rbms:
            along.append(find_fixed_points(rbm, data, **options))
            progress(1)
    tree = fixed_point_tree(rbms, data, **options)
    ts = np.asarray(training.ts)
    _print_table(ts, rbms, along, tree)
    with atomic_write(path) as temporary:
        _draw(temporary, dataset, data, ts, rbms[-1], along, tree)
    with atomic_write(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, **_results(ts, along, tree), rows=rows)
    typer.echo(f"wrote {path} and {path.with_suffix('.npz')}")


def _print_table(ts, rbms: list[RBM], along: list[FixedPoints], tree: list[FixedPoints]) -> None:
    typer.echo("\n       t  leading singular value  fixed points  in the tree  largest basin  starts not converged")
    for time, rbm, points, nodes in zip(ts, rbms, along, tree, strict=True):
        value = float(svd_modes(rbm.weights).values[0])
        largest = float(points.sizes.max(initial=0)) / len(points.labels)
        n_lost = int((~points.converged).sum())
        typer.echo(
            f"{time:8.3g} {value:23.3f} {len(points.sizes):13d} {len(nodes.sizes):12d} {largest:13.0%} {n_lost:20d}"
        )
    typer.echo(f"\nEnd points closer than {along[-1].tolerance:g} in root mean square count as one.")


def _results(ts, along: list[FixedPoints], tree: list[FixedPoints]) -> dict[str, Any]:
    last = along[-1]
    return {
        "ts": ts,
        "n_points": np.array([len(points.sizes) for points in along]),
        "visible": np.asarray(last.visible),
        "hidden": np.asarray(last.hidden),
        "free_energy": np.asarray(last.free_energy),
        "sizes": np.asarray(last.sizes),
        "labels": np.asarray(last.labels),
        "tree_labels": np.stack([points.labels for points in tree]),
    }


def _draw(path: Path, dataset: Dataset, data, ts, rbm: RBM, along: list[FixedPoints], tree: list[FixedPoints]) -> None:
    figure = require("matplotlib.figure").Figure(figsize=(10, 8.5), layout="constrained")
    axes = figure.subplots(2, 2)
    modes, last = svd_modes(rbm.weights), along[-1]
    plane = plot_fixed_points(
        project(data, modes)[:, :2], project(last.visible, modes)[:, :2], last.sizes, ax=axes[0, 0]
    )
    plane.set_title(
        f"{len(last.sizes)} fixed points at t = {ts[-1]:.3g}, in the plane of the leading modes", fontsize="medium"
    )
    shown = last.visible[:N_IMAGES]
    plot_images(shown, dataset.image_shape or (1, shown.shape[1]), ax=axes[0, 1])
    axes[0, 1].set_title("centroids, the largest basins first", fontsize="medium")
    later = ts > 0  # the start has no place on a logarithmic axis
    counts = np.array([len(points.sizes) for points in along])
    nodes = np.array([len(points.sizes) for points in tree])
    number = plot_quantity(
        {"from the data": (ts[later], counts[later])},
        {"in the tree": (ts[later], nodes[later])},
        label="number of fixed points",
        ax=axes[1, 0],
    )
    number.set_xscale("log")
    number.set_yscale("log", base=2)
    number.yaxis.set_major_formatter("{x:g}")
    labels = np.stack([points.labels for points in tree])
    plot_tree(ts[later], labels[later], ax=axes[1, 1]).set_xscale("log")
    axes[1, 1].set_title("how the clusters split as training goes on", fontsize="medium")
    figure.savefig(path, dpi=160, format="png")
