"""The singular value decomposition of the weights, W = Σ_α u_α σ_α v_αᵀ, and its statistics.

`modes` decomposes and follows; `along` does it for a trajectory; `statistics` describes the vectors' components; `bulk`
tells learned modes from a random matrix.
"""

from rbm_jax.spectral.along import follow_modes, modes_along, singular_values_along
from rbm_jax.spectral.bulk import (
    Bulk,
    SpikedOverlaps,
    marchenko_pastur_density,
    marchenko_pastur_edges,
    marchenko_pastur_quantile,
    spiked_outlier,
    spiked_overlaps,
    spiked_value,
    split_bulk,
)
from rbm_jax.spectral.modes import Modes, align_modes, leading_modes, project, svd_modes
from rbm_jax.spectral.statistics import ModeStatistics, effective_temperature, mode_statistics

__all__ = [
    "Bulk",
    "ModeStatistics",
    "Modes",
    "SpikedOverlaps",
    "align_modes",
    "effective_temperature",
    "follow_modes",
    "leading_modes",
    "marchenko_pastur_density",
    "marchenko_pastur_edges",
    "marchenko_pastur_quantile",
    "mode_statistics",
    "modes_along",
    "project",
    "singular_values_along",
    "spiked_outlier",
    "spiked_overlaps",
    "spiked_value",
    "split_bulk",
    "svd_modes",
]
