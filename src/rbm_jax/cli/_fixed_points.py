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
from rbm_jax.cli._json import with_json
from rbm_jax.mean_field import FixedPoints, find_fixed_points, fixed_point_tree
from rbm_jax.plotting import plot_fixed_points, plot_images, plot_quantity, plot_tree
from rbm_jax.progress import progress_bar
from rbm_jax.rbm import RBM
from rbm_jax.spectral import project, svd_modes

__all__ = ["fixed_points"]

N_IMAGES = 48


@with_json
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
) -> dict[str, Any]:
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
    with progress_bar(len(rbms), "fixed points", unit="time") as progress:
        for rbm in rbms:
            along.append(find_fixed_points(rbm, data, **options))
            progress(1)
    with progress_bar(1, "tree of fixed points", unit="tree"):
        tree = fixed_point_tree(rbms, data, **options)
    ts = np.asarray(training.ts)
    numbers = _numbers(ts, rbms, along, tree)
    _print_table(numbers)
    with atomic_write(path) as temporary:
        _draw(temporary, dataset, data, ts, rbms[-1], along, tree)
    with atomic_write(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, **_results(ts, along, tree), rows=rows)
    typer.echo(f"wrote {path} and {path.with_suffix('.npz')}")
    return numbers | {"files": [path, path.with_suffix(".npz")]}


def _numbers(ts, rbms: list[RBM], along: list[FixedPoints], tree: list[FixedPoints]) -> dict[str, Any]:
    """Counts and the leading singular value at each time; sizes of basins and free energies of the last one."""
    return {
        "ts": ts,
        "singular_value": np.array([float(svd_modes(rbm.weights).values[0]) for rbm in rbms]),
        "n_points": np.array([len(points.sizes) for points in along]),
        "n_points_in_tree": np.array([len(points.sizes) for points in tree]),
        "largest_basin": np.array([points.sizes.max(initial=0) / len(points.labels) for points in along]),
        "n_not_converged": np.array([int((~points.converged).sum()) for points in along]),
        "sizes": along[-1].sizes,
        "free_energy": along[-1].free_energy,
        "tolerance": along[-1].tolerance,
    }


def _print_table(numbers: dict[str, Any]) -> None:
    typer.echo("\n       t  leading singular value  fixed points  in the tree  largest basin  starts not converged")
    columns = ("ts", "singular_value", "n_points", "n_points_in_tree", "largest_basin", "n_not_converged")
    for time, value, n_points, n_nodes, largest, n_lost in zip(*(numbers[name] for name in columns), strict=True):
        typer.echo(f"{time:8.3g} {value:23.3f} {n_points:13d} {n_nodes:12d} {largest:13.0%} {n_lost:20d}")
    typer.echo(f"\nEnd points closer than {numbers['tolerance']:g} in root mean square count as one.")


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
