"""Data sets: from files (arrays, images, alignments), from scikit-learn, or synthesized."""

from rbm_jax.data.datasets import binarize, intensities, load_array, load_digits, load_idx, open_array
from rbm_jax.data.fasta import DNA, PROTEIN, RNA, load_fasta, write_fasta
from rbm_jax.data.sequences import (
    Alignment,
    identity_clusters,
    one_hot,
    remove_duplicates,
    sequence_weights,
    states_of,
)
from rbm_jax.data.synthetic import bars_and_stripes, gaussian_data, ising_chain, planted_clusters

__all__ = [
    "DNA",
    "PROTEIN",
    "RNA",
    "Alignment",
    "bars_and_stripes",
    "binarize",
    "gaussian_data",
    "identity_clusters",
    "intensities",
    "ising_chain",
    "load_array",
    "load_digits",
    "load_fasta",
    "load_idx",
    "one_hot",
    "open_array",
    "planted_clusters",
    "remove_duplicates",
    "sequence_weights",
    "states_of",
    "write_fasta",
]
