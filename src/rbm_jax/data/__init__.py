"""Data sets: from files, from scikit-learn, or synthesized."""

from rbm_jax.data.datasets import binarize, intensities, load_array, load_digits, load_idx, open_array
from rbm_jax.data.synthetic import bars_and_stripes, gaussian_data, ising_chain, planted_clusters

__all__ = [
    "bars_and_stripes",
    "gaussian_data",
    "binarize",
    "intensities",
    "ising_chain",
    "load_array",
    "load_digits",
    "load_idx",
    "open_array",
    "planted_clusters",
]
