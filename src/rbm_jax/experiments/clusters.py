"""The fixed points of an RBM in training as clusters of its data, and how they came about."""

import dataclasses
from typing import Any

import jax
import numpy as np

from rbm_jax._internal.checks import check_count, check_fraction, check_order
from rbm_jax.mean_field import FixedPoints, find_fixed_points, fixed_point_tree
from rbm_jax.model.rbm import RBM
from rbm_jax.plotting import figure_style, new_figure, plot_fixed_points, plot_images, plot_quantity, plot_tree
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset, Run
from rbm_jax.spectral import project, svd_modes

__all__ = [
    "FixedPointsRecipe",
    "FixedPointsResult",
    "fixed_points",
    "fixed_points_arrays",
    "fixed_points_figure",
    "fixed_points_table",
]

Figure = Any

N_IMAGES = 48


@dataclasses.dataclass(frozen=True)
class FixedPointsRecipe:
    """Where and how to look for fixed points.

    Attributes:
        n_samples: data to start from, evenly spaced in the data set.
        n_times: times along the training to look at, at most.
        order: of mean field: 1 naive, 2 TAP, 3.
        damping: share of the old value in a step.
        max_steps: sweeps at most from each start.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_samples: int = 500
    n_times: int = 16
    order: int = 2
    damping: float = 0.0
    max_steps: int = 2000

    def __post_init__(self):
        for name in ("n_samples", "max_steps"):
            check_count(name, getattr(self, name))
        check_count("n_times", self.n_times, minimum=2)
        check_order(self.order)
        check_fraction("damping", self.damping, below_one=True)


@dataclasses.dataclass(frozen=True)
class FixedPointsResult:
    """Fixed points of the mean field along a training.

    Attributes:
        dataset: the data.
        rows: of the data, that were started from.
        starts: these data, shape (n_starts, n_visible).
        ts: times, shape (n_times,).
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

    @property
    def singular_value(self) -> np.ndarray:
        """The leading one of W at each time."""
        return np.array([float(svd_modes(rbm.weights).values[0]) for rbm in self.rbms])

    @property
    def n_points(self) -> np.ndarray:
        """Fixed points at each time."""
        return np.array([len(points.sizes) for points in self.along])

    @property
    def n_points_in_tree(self) -> np.ndarray:
        """Fixed points at each time, from those that follow."""
        return np.array([len(points.sizes) for points in self.tree])

    @property
    def largest_basin(self) -> np.ndarray:
        """Share of the starts that lead to the same fixed point, at most, at each time."""
        return np.array([points.sizes.max(initial=0) / len(points.labels) for points in self.along])

    @property
    def n_not_converged(self) -> np.ndarray:
        """Starts at each time that led nowhere within max_steps."""
        return np.array([int((~points.converged).sum()) for points in self.along])

    @property
    def sizes(self) -> np.ndarray:
        """Starts that lead to each fixed point of the last time."""
        return np.asarray(self.along[-1].sizes)

    @property
    def free_energy(self) -> np.ndarray:
        """Of each fixed point of the last time, in units of k_BT."""
        return np.asarray(self.along[-1].free_energy)

    @property
    def merge_distance(self) -> float:
        """Root mean square distance below which end points count as one."""
        return float(self.along[-1].merge_distance)


def fixed_points(
    run: Run, recipe: FixedPointsRecipe = FixedPointsRecipe(), *, data: Dataset | None = None
) -> FixedPointsResult:
    """Mean-field fixed points of a run: clusters of its data, their number along training, how they split.

    Args:
        run: whose RBMs, up to its `update`.
        recipe: where and how to look.
        data: to start from, in the place of the run's.

    Raises:
        ValueError, OSError: data that are not those of the run, or a run without saved updates.
    """
    training = run.trajectory_of(_evenly(run.updates_passed, recipe.n_times))
    dataset = data or run.dataset
    dataset.check_fits(training.rbms)
    options = {"order": recipe.order, "damping": recipe.damping, "max_steps": recipe.max_steps}
    rows = np.linspace(0, len(dataset.samples) - 1, min(recipe.n_samples, len(dataset.samples))).astype(int)
    rbms = [jax.tree.map(lambda leaf, time=time: leaf[time], training.rbms) for time in range(len(training.ts))]
    starts = dataset.completed(rbms[-1]).samples[rows]
    along = []
    with progress_bar(len(rbms), "fixed points", unit="time") as progress:
        for rbm in rbms:
            along.append(find_fixed_points(rbm, starts, **options))
            progress(1)
    with progress_bar(1, "tree of fixed points", unit="tree"):
        tree = fixed_point_tree(rbms, starts, **options)
    return FixedPointsResult(dataset, rows, starts, np.asarray(training.ts), rbms, along, tree)


def _evenly(updates: list[int], n_times: int) -> list[int]:
    chosen = np.unique(np.linspace(0, len(updates) - 1, min(n_times, len(updates))).astype(int))
    return [updates[each] for each in chosen]


def fixed_points_table(result: FixedPointsResult) -> str:
    """Counts along the training, a time a row."""
    rows = ["\n       t  leading singular value  fixed points  in the tree  largest basin  starts not converged"]
    columns = (
        result.ts,
        result.singular_value,
        result.n_points,
        result.n_points_in_tree,
        result.largest_basin,
        result.n_not_converged,
    )
    for time, value, n_points, n_nodes, largest, n_lost in zip(*columns, strict=True):
        rows.append(f"{time:8.3g} {value:23.3f} {n_points:13d} {n_nodes:12d} {largest:13.0%} {n_lost:20d}")
    rows.append(f"\nEnd points closer than {result.merge_distance:g} in root mean square count as one.")
    return "\n".join(rows)


def fixed_points_arrays(result: FixedPointsResult) -> dict[str, Any]:
    """What an .npz file of the result holds: centroids, free energies, sizes and labels of the last time, counts."""
    last = result.along[-1]
    return {
        "ts": result.ts,
        "rows": result.rows,
        "n_points": result.n_points,
        "visible": np.asarray(last.visible),
        "hidden": np.asarray(last.hidden),
        "free_energy": result.free_energy,
        "sizes": result.sizes,
        "labels": np.asarray(last.labels),
        "tree_labels": np.stack([points.labels for points in result.tree]),
    }


@figure_style()
def fixed_points_figure(result: FixedPointsResult) -> Figure:
    """Fixed points of the TAP equations as centers of clusters of the data.

    What to see: in the plane of the two leading modes, data (gray) lie around the fixed points that they flow to (red).
    As training goes on their number grows, each splitting in turn, as the tree shows; the centroids are what the RBM
    takes for typical images.

    Source: the clustering of Decelle, Fissore and Furtlehner (2018); equations of Gabrié, Tramel and Krzakala (2015).
    """
    figure = new_figure(7, 6)
    axes = figure.subplots(2, 2)
    ts, along, tree = result.ts, result.along, result.tree
    modes, last = svd_modes(result.rbms[-1].weights), along[-1]
    plane = plot_fixed_points(
        project(result.starts, modes)[:, :2], project(last.visible, modes)[:, :2], last.sizes, ax=axes[0, 0]
    )
    plane.set_title(f"{len(last.sizes)} fixed points at $t={ts[-1]:.3g}$")
    shown = last.visible[:N_IMAGES]
    plot_images(shown, result.dataset.image_shape or (1, shown.shape[1]), ax=axes[0, 1])
    axes[0, 1].set_title("centroids, the largest basins first")
    later = ts > 0  # the start has no place on a logarithmic axis
    number = plot_quantity(
        {"from the data": (ts[later], result.n_points[later])},
        {"in the tree": (ts[later], result.n_points_in_tree[later])},
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
