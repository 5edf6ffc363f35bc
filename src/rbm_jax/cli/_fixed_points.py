"""`rbm-jax fixed-points`: the fixed points of a trained RBM as clusters of its data, and how they came about."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer

from rbm_jax.cli._common import UPDATES, Order, Run, load_source, load_training, write_figure
from rbm_jax.cli._datasets import Dataset
from rbm_jax.cli._json import with_json
from rbm_jax.io import atomic_write, saved_updates
from rbm_jax.mean_field import FixedPoints, find_fixed_points, fixed_point_tree
from rbm_jax.model.rbm import RBM
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.plotting import figure_style, new_figure, plot_fixed_points, plot_images, plot_quantity, plot_tree
from rbm_jax.progress import progress_bar
from rbm_jax.spectral import project, svd_modes

__all__ = ["PointsAlong", "fixed_points", "fixed_points_figure", "points_along", "training_at"]

Figure = Any

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
    training = training_at(run, n_times)
    dataset.check_fits(training.rbms)
    found = points_along(training, dataset, n_samples, order=order, damping=damping, max_steps=max_steps)
    numbers = _numbers(found)
    _print_table(numbers)
    write_figure(path, fixed_points_figure(found))
    with atomic_write(path.with_suffix(".npz")) as temporary:
        np.savez(temporary, **_results(found))
    typer.echo(f"wrote {path} and {path.with_suffix('.npz')}")
    return numbers | {"files": [path, path.with_suffix(".npz")]}


@dataclasses.dataclass(frozen=True)
class PointsAlong:
    """Fixed points of the mean field along a training.

    Attributes:
        dataset: the data.
        rows: of the data, that were started from.
        starts: these data, shape (n_starts, n_visible).
        ts: times.
        rbms: the RBM at each.
        along: fixed points at each, from the starts.
        tree: fixed points at each, from those that follow.
    """

    dataset: Dataset
    rows: np.ndarray
    starts: np.ndarray
    ts: np.ndarray
    rbms: list[RBM]
    along: list[FixedPoints]
    tree: list[FixedPoints]


def training_at(run: Path, n_times: int) -> Trajectory:
    """The training of a run at n_times of its saved updates, or at all of them if these are fewer."""
    updates = list(saved_updates(run / UPDATES))
    chosen = np.unique(np.linspace(0, len(updates) - 1, min(n_times, len(updates))).astype(int))
    return load_training(run, [updates[each] for each in chosen])


def points_along(training: Trajectory, dataset: Dataset, n_samples: int, **options) -> PointsAlong:
    """Fixed points from data at all times of a training; options are those of `find_fixed_points`."""
    rows = np.linspace(0, len(dataset.samples) - 1, min(n_samples, len(dataset.samples))).astype(int)
    rbms = [jax.tree.map(lambda leaf, time=time: leaf[time], training.rbms) for time in range(len(training.ts))]
    starts = dataset.completed(rbms[-1]).samples[rows]
    along = []
    with progress_bar(len(rbms), "fixed points", unit="time") as progress:
        for rbm in rbms:
            along.append(find_fixed_points(rbm, starts, **options))
            progress(1)
    with progress_bar(1, "tree of fixed points", unit="tree"):
        tree = fixed_point_tree(rbms, starts, **options)
    return PointsAlong(dataset, rows, starts, np.asarray(training.ts), rbms, along, tree)


def _numbers(found: PointsAlong) -> dict[str, Any]:
    """Counts and the leading singular value at each time; sizes of basins and free energies of the last one."""
    along, last = found.along, found.along[-1]
    return {
        "ts": found.ts,
        "singular_value": np.array([float(svd_modes(rbm.weights).values[0]) for rbm in found.rbms]),
        "n_points": np.array([len(points.sizes) for points in along]),
        "n_points_in_tree": np.array([len(points.sizes) for points in found.tree]),
        "largest_basin": np.array([points.sizes.max(initial=0) / len(points.labels) for points in along]),
        "n_not_converged": np.array([int((~points.converged).sum()) for points in along]),
        "sizes": last.sizes,
        "free_energy": last.free_energy,
        "tolerance": last.merge_distance,
    }


def _print_table(numbers: dict[str, Any]) -> None:
    typer.echo("\n       t  leading singular value  fixed points  in the tree  largest basin  starts not converged")
    columns = ("ts", "singular_value", "n_points", "n_points_in_tree", "largest_basin", "n_not_converged")
    for time, value, n_points, n_nodes, largest, n_lost in zip(*(numbers[name] for name in columns), strict=True):
        typer.echo(f"{time:8.3g} {value:23.3f} {n_points:13d} {n_nodes:12d} {largest:13.0%} {n_lost:20d}")
    typer.echo(f"\nEnd points closer than {numbers['tolerance']:g} in root mean square count as one.")


def _results(found: PointsAlong) -> dict[str, Any]:
    last = found.along[-1]
    return {
        "ts": found.ts,
        "rows": found.rows,
        "n_points": np.array([len(points.sizes) for points in found.along]),
        "visible": np.asarray(last.visible),
        "hidden": np.asarray(last.hidden),
        "free_energy": np.asarray(last.free_energy),
        "sizes": np.asarray(last.sizes),
        "labels": np.asarray(last.labels),
        "tree_labels": np.stack([points.labels for points in found.tree]),
    }


@figure_style()
def fixed_points_figure(found: PointsAlong) -> Figure:
    """Fixed points of the TAP equations as centers of clusters of the data.

    What to see: in the plane of the two leading modes, data (gray) lie around the fixed points that they flow to (red).
    As training goes on their number grows, each splitting in turn, as the tree shows; the centroids are what the RBM
    takes for typical images.

    Source: the clustering of Decelle, Fissore and Furtlehner (2018); equations of Gabrié, Tramel and Krzakala (2015).
    """
    figure = new_figure(7, 6)
    axes = figure.subplots(2, 2)
    ts, along, tree = found.ts, found.along, found.tree
    modes, last = svd_modes(found.rbms[-1].weights), along[-1]
    plane = plot_fixed_points(
        project(found.starts, modes)[:, :2], project(last.visible, modes)[:, :2], last.sizes, ax=axes[0, 0]
    )
    plane.set_title(f"{len(last.sizes)} fixed points at $t={ts[-1]:.3g}$")
    shown = last.visible[:N_IMAGES]
    plot_images(shown, found.dataset.image_shape or (1, shown.shape[1]), ax=axes[0, 1])
    axes[0, 1].set_title("centroids, the largest basins first")
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
    axes[1, 1].set_title("how the clusters split as training goes on")
    return figure
