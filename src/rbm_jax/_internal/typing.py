"""Array types with their shapes, as used in public signatures.

Dimension names are those of the mathematics: ``n_visible``, ``n_hidden``, ``n_samples``, ``n_modes``, ``n_times``;
``*batch`` stands for any leading axes. Configurations may rest in any numeric or boolean dtype (``Shaped``) and
are cast to the dtype of the weights where they are used.
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt32

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Chains",
    "Float",
    "FloatLike",
    "Int",
    "Key",
    "PRNGKey",
    "Sample",
    "Shaped",
    "UInt32",
    "Weighting",
]

ArrayLike = Array | np.ndarray
FloatLike = float | Float[ArrayLike, ""]

PRNGKey = Key[Array, ""] | UInt32[Array, "_"]
"""A typed JAX key or a legacy one (a vector of uint32)."""

Sample = Shaped[ArrayLike, "n_samples n_units"]
"""A data set: one configuration a row."""

Chains = Shaped[ArrayLike, "n_chains n_units"]
"""Visible states of Markov chains, one a row."""

Weighting = Shaped[ArrayLike, " n_samples"] | None
"""Non-negative sample weights, normalized inside; None weighs all samples alike."""
