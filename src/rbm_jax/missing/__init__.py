"""Data with missing entries, which are NaN: how to train on them, and how to complete them."""

from rbm_jax.missing.data_terms import (
    AbstractDataTerm,
    ClampedEnumeration,
    ClampedGibbs,
    ClampedMeanField,
    Complete,
    complete_samples,
    fill_in_means,
    observed_free_energy,
)
from rbm_jax.missing.imputation import Imputation, append_labels, class_probabilities, impute

__all__ = [
    "Imputation",
    "append_labels",
    "AbstractDataTerm",
    "ClampedEnumeration",
    "ClampedGibbs",
    "ClampedMeanField",
    "Complete",
    "class_probabilities",
    "complete_samples",
    "fill_in_means",
    "impute",
    "observed_free_energy",
]
