"""A training on the singular value decomposition of its weights."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count
from rbm_jax.dynamics import data_statistics
from rbm_jax.experiments.quality import log_likelihood_along
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.runs import Dataset
from rbm_jax.spectral import Modes, effective_temperature, modes_along, split_bulk

__all__ = ["SpectrumResult", "spectrum", "spectrum_table"]


@dataclasses.dataclass(frozen=True)
class SpectrumResult:
    """What the pictures are drawn from; times run along the first axis.

    Attributes:
        dataset: the data.
        training: the trajectory.
        modes: of W, at each time, by decreasing singular value.
        data_modes: principal axes of the data in the columns, by decreasing variance.
        noise: σ of the weights at the start.
        ratio: κ = n_hidden / n_visible.
        log_likelihood: per sample, in nats, shape (n_times,).
        log_likelihood_by: how it was found.
        effective_temperature: 1/Var(W), shape (n_times,).
        n_outliers: singular values beyond the bulk, shape (n_times,).
        n_modes: leading modes to color and show.
    """

    dataset: Dataset
    training: Trajectory
    modes: Modes
    data_modes: np.ndarray
    noise: float
    ratio: float
    log_likelihood: np.ndarray
    log_likelihood_by: str
    effective_temperature: np.ndarray
    n_outliers: np.ndarray
    n_modes: int

    @property
    def ts(self) -> np.ndarray:
        """Times."""
        return np.asarray(self.training.ts)

    @property
    def singular_values(self) -> np.ndarray:
        """Of W, by decreasing value, shape (n_times, n_modes)."""
        return np.asarray(self.modes.values)

    @property
    def motion(self) -> dict[str, Any] | None:
        """How W moves, if the training has been watched: fields of `dynamics.ModeMotion`."""
        observations = self.training.observations
        if not isinstance(observations, dict):
            return None
        # Runs of 0.1.0 have these records under "values_share" and so on.
        motion = {name.replace("_share", "_fraction"): record for name, record in observations.items()}
        return motion if "values_fraction" in motion else None

    @property
    def later(self) -> np.ndarray:
        """False at the start, which has no place on a logarithmic axis."""
        return self.ts > 0

    def overlaps(self, n_modes: int) -> np.ndarray:
        """|u_α · data mode α| at each time."""
        left = np.asarray(self.modes.left)[:, :, :n_modes]
        return np.abs(np.einsum("tia,ia->ta", left, self.data_modes[:, :n_modes]))


def spectrum(training: Trajectory, dataset: Dataset, n_modes: int = 10) -> SpectrumResult:
    """Decompose the weights along a training.

    Args:
        training: RBMs along time, such as `runs.Run(folder).trajectory`.
        dataset: its data. Missing entries are drawn from the last RBM, given what was observed.
        n_modes: leading modes to color and show.

    Raises:
        ValueError: data and training of different widths.
    """
    check_count("n_modes", n_modes)
    n_visible, n_hidden = training.rbms.weights.shape[1:]
    if dataset.samples.shape[1] != n_visible:
        raise ValueError(f"data: the samples have {dataset.samples.shape[1]} pixels, the RBM of the run {n_visible}")
    whole = dataset.completed(jax.tree.map(lambda leaf: leaf[-1], training.rbms))
    covariance = np.asarray(data_statistics(whole.samples, whole.weights).covariance)
    likelihood, how = log_likelihood_along(training, whole)
    weights = training.rbms.weights
    return SpectrumResult(
        dataset=whole,
        training=training,
        modes=modes_along(training),
        data_modes=np.linalg.eigh(covariance)[1][:, ::-1],
        noise=float(jnp.std(weights[0])) * math.sqrt(math.sqrt(weights[0].size)),
        ratio=n_hidden / n_visible,
        log_likelihood=likelihood,
        log_likelihood_by=f"{how}, of completed data" if dataset.is_lossy else how,
        effective_temperature=np.asarray(jax.vmap(effective_temperature)(weights)),
        n_outliers=np.asarray(jax.jit(jax.vmap(split_bulk))(weights).is_outlier).sum(axis=1),
        n_modes=n_modes,
    )


def spectrum_table(result: SpectrumResult) -> str:
    """Temperature, likelihood, outliers and the leading singular values at up to eight times."""
    values = result.singular_values
    rows = [f"       t   T_eff  log-likelihood ({result.log_likelihood_by})  outliers  singular values"]
    for time in np.unique(np.linspace(0, len(values) - 1, 8).astype(int)):
        leading = " ".join(f"{value:8.4f}" for value in values[time, : result.n_modes])
        rows.append(
            f"{result.ts[time]:8.3g} {result.effective_temperature[time]:7.3g} {result.log_likelihood[time]:29.3f} "
            f"{result.n_outliers[time]:9d}  {leading}"
        )
    return "\n".join(rows)
