"""Parts of samples that are not there, drawn from the RBM of a run given the rest."""

import dataclasses
import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_choice, check_count
from rbm_jax.experiments.samples import run_chains
from rbm_jax.missing.imputation import Imputation, impute
from rbm_jax.model.rbm import RBM
from rbm_jax.plotting import figure_style, new_figure, plot_images, plot_imputation
from rbm_jax.progress import in_chunks
from rbm_jax.runs import Dataset
from rbm_jax.runs.records import some_rows

__all__ = [
    "Half",
    "ImputationResult",
    "ImputeRecipe",
    "InpaintRecipe",
    "Inpainting",
    "impute_data",
    "imputation_figure",
    "inpaint",
    "inpaint_halves",
    "inpainting_figure",
]

Figure = Any

N_COMPLETIONS = 4
CHUNK_ROWS = 500


class Half(enum.StrEnum):
    """The part of an image that is left out."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """True at the pixels that are left out, shape (rows × columns,)."""
        rows, columns = np.indices(shape)
        return {
            Half.LEFT: columns < shape[1] // 2,
            Half.RIGHT: columns >= shape[1] // 2,
            Half.TOP: rows < shape[0] // 2,
            Half.BOTTOM: rows >= shape[0] // 2,
        }[self].ravel()


@dataclasses.dataclass(frozen=True)
class InpaintRecipe:
    """Which halves of which images to complete, and how.

    Attributes:
        half: the half to leave out.
        n_images: images to complete, evenly spaced in the data.
        n_sweeps: Gibbs sweeps with the known half held fixed.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    half: Half = Half.RIGHT
    n_images: int = 10
    n_sweeps: int = 1000
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "half", check_choice("half", Half, self.half))
        for name in ("n_images", "n_sweeps"):
            check_count(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class Inpainting:
    """Images and their completions.

    Attributes:
        images: shape (n_images, n_visible).
        missing: True at the pixels that were left out, shape (n_visible,).
        completions: shape (4, n_images, n_visible).
        image_shape: rows and columns.
    """

    images: np.ndarray
    missing: np.ndarray
    completions: np.ndarray
    image_shape: tuple[int, int]


def inpaint(rbm: RBM, dataset: Dataset, recipe: InpaintRecipe = InpaintRecipe()) -> Inpainting:
    """Complete half-images by sampling the RBM with the known half held fixed.

    Raises:
        ValueError: samples that are no images, or not of the RBM's units.
    """
    dataset.check_fits(rbm)
    if dataset.image_shape is None:
        raise ValueError("data: the samples must be images, with pixels in rows and columns")
    images = some_rows(dataset.completed(rbm).samples, recipe.n_images)
    missing = recipe.half.mask(dataset.image_shape)
    completions = inpaint_halves(jax.random.key(recipe.seed), rbm, images, missing, recipe.n_sweeps)
    return Inpainting(images, missing, completions, dataset.image_shape)


def inpaint_halves(key, rbm: RBM, images, missing: np.ndarray, n_sweeps: int) -> np.ndarray:
    """Completions of the missing pixels, shape (4, n_images, n_visible).

    Chains start from independent random pixels in the missing half.
    """
    key_start, key_run = jax.random.split(key)
    start = np.broadcast_to(images, (N_COMPLETIONS, *images.shape))
    noise = rbm.visible_units.sample(key_start, jnp.broadcast_to(rbm.visible_bias, start.shape))
    return np.asarray(run_chains(key_run, rbm, np.where(missing, noise, start), n_sweeps, clamp_mask=~missing))


@figure_style()
def inpainting_figure(result: Inpainting) -> Figure:
    """Images, their known halves, and completions below them."""
    images = result.images
    known = np.where(result.missing, (images.min() + images.max()) / 2, images)
    labels = ["image", "known half", *[f"completion {number + 1}" for number in range(len(result.completions))]]
    figure = new_figure(0.6 * len(images) + 1.3, 3.8)
    grid = np.concatenate([images, known, *result.completions])
    plot_images(grid, result.image_shape, n_columns=len(images), row_labels=labels, ax=figure.add_subplot())
    return figure


@dataclasses.dataclass(frozen=True)
class ImputeRecipe:
    """How to draw missing entries.

    Attributes:
        n_sweeps: Gibbs sweeps that are averaged over.
        n_burn_in: Gibbs sweeps before.
        n_chains: chains for each sample.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    n_sweeps: int = 100
    n_burn_in: int = 50
    n_chains: int = 4
    seed: int = 0

    def __post_init__(self):
        for name in ("n_sweeps", "n_burn_in"):
            check_count(name, getattr(self, name))
        check_count("n_chains", self.n_chains, minimum=2)


@dataclasses.dataclass(frozen=True)
class ImputationResult:
    """Missing entries as the RBM sees them, with how sure it is.

    Attributes:
        observed: the samples, NaN where an entry is missing, shape (n_samples, n_visible).
        found: mean, deviation, error of the mean and a sample of each entry, each of that shape.
        image_shape: rows and columns, if samples can be drawn as images.
    """

    observed: np.ndarray
    found: Imputation
    image_shape: tuple[int, int] | None

    @property
    def n_samples(self) -> int:
        """Samples."""
        return len(self.observed)

    @property
    def n_missing(self) -> int:
        """Missing entries."""
        return int(np.isnan(self.observed).sum())

    @property
    def std(self) -> float:
        """Deviation of a missing entry given what was observed, as a root mean square over them."""
        return self._root_mean_square(self.found.std)

    @property
    def std_error(self) -> float:
        """Standard error of the mean of a missing entry, as a root mean square over them."""
        return self._root_mean_square(self.found.std_error)

    def _root_mean_square(self, values) -> float:
        return float(np.sqrt(np.mean(np.asarray(values)[np.isnan(self.observed)] ** 2)))


def impute_data(rbm: RBM, dataset: Dataset, recipe: ImputeRecipe = ImputeRecipe()) -> ImputationResult:
    """Complete data with missing entries by sampling the RBM given what was observed, in parts, with a progress bar.

    Raises:
        ValueError: no entry is missing, or data of other units than the RBM's.
    """
    if not dataset.is_lossy:
        raise ValueError("data: no entry is missing; say what stands for such entries with missing, NaN or a number")
    dataset.check_fits(rbm)
    key, parts = jax.random.key(recipe.seed), []
    options = {"n_sweeps": recipe.n_sweeps, "n_burn_in": recipe.n_burn_in, "n_chains": recipe.n_chains}
    for rows in in_chunks(len(dataset.samples), CHUNK_ROWS, "imputation", "sample"):
        part = impute(jax.random.fold_in(key, rows.start), rbm, dataset.samples[rows], **options)
        parts.append(jax.tree.map(np.asarray, part))
    found = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return ImputationResult(dataset.samples, found, dataset.image_shape)


@figure_style()
def imputation_figure(result: ImputationResult) -> Figure:
    """The first images: what was observed, mean, deviation and a sample.

    Raises:
        ValueError: samples that are no images.
    """
    if result.image_shape is None:
        raise ValueError("result must be of images, got samples without rows and columns")
    figure = new_figure(7, 2.9)
    plot_imputation(result.observed, result.found, result.image_shape, ax=figure.add_subplot())
    return figure
