"""Data with missing entries, which are NaN: how to train on them, and how to complete them."""

from rbm_jax.missing.data_terms import (
    clamped_enumeration,
    clamped_gibbs,
    clamped_mean_field,
    complete_samples,
    fill_in_means,
    observed_free_energy,
)
from rbm_jax.missing.imputation import Imputation, append_labels, class_probabilities, impute

__all__ = [
    "Imputation",
    "append_labels",
    "clamped_enumeration",
    "clamped_gibbs",
    "clamped_mean_field",
    "class_probabilities",
    "complete_samples",
    "fill_in_means",
    "impute",
    "observed_free_energy",
]
