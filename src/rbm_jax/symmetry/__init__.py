"""RBMs with the symmetries of their data: weights tied by translations or by any group of permutations.

A `TiedRBM` holds the free parameters; `expand` makes the RBM that every other function works on, and `tie` goes back.
To train one, give a `Trainer` the estimator `Tied(PCD())`, or `FourierPCD()`, of `rbm_jax.training`.
"""

from rbm_jax.symmetry.fourier import (
    filters_on_lattice,
    fourier_growth_rates,
    fourier_singular_values,
    power_spectrum,
)
from rbm_jax.symmetry.tied import TiedRBM, expand, init_tied_rbm, tie
from rbm_jax.symmetry.tyings import (
    AbstractTying,
    PermutationGroup,
    Translations,
    generate_group,
    reflection,
    rotation,
    translation,
)

__all__ = [
    "AbstractTying",
    "PermutationGroup",
    "TiedRBM",
    "Translations",
    "expand",
    "filters_on_lattice",
    "fourier_growth_rates",
    "fourier_singular_values",
    "generate_group",
    "init_tied_rbm",
    "power_spectrum",
    "reflection",
    "rotation",
    "tie",
    "translation",
]
