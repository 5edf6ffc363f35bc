"""Restricted Boltzmann Machines in JAX, with the ODEs and the statistical physics of how they learn.

Three kinds of things live here: pure functions of an `RBM` pytree, which compose under `jit`, `vmap` and `grad`;
training by any optax optimizer; and, in `rbm_jax.dynamics`, the continuous-time learning equations. The names that most
programs start from stand in this module; all others in the packages, which load when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

from rbm_jax._version import __version__ as __version__

if TYPE_CHECKING:
    from rbm_jax.dynamics import integrate as integrate
    from rbm_jax.likelihood import LogZEstimate as LogZEstimate
    from rbm_jax.likelihood import ais_log_z as ais_log_z
    from rbm_jax.likelihood import log_likelihood as log_likelihood
    from rbm_jax.likelihood import pseudo_log_likelihood as pseudo_log_likelihood
    from rbm_jax.mean_field import find_fixed_points as find_fixed_points
    from rbm_jax.mean_field import solve_mean_field as solve_mean_field
    from rbm_jax.model import RBM as RBM
    from rbm_jax.model import Status as Status
    from rbm_jax.model import Trajectory as Trajectory
    from rbm_jax.model import exact_log_likelihood as exact_log_likelihood
    from rbm_jax.model import exact_log_z as exact_log_z
    from rbm_jax.model import hidden_field as hidden_field
    from rbm_jax.model import hidden_free_energy as hidden_free_energy
    from rbm_jax.model import init_rbm as init_rbm
    from rbm_jax.model import joint_energy as joint_energy
    from rbm_jax.model import stack_rbms as stack_rbms
    from rbm_jax.model import temper as temper
    from rbm_jax.model import visible_field as visible_field
    from rbm_jax.model import visible_free_energy as visible_free_energy
    from rbm_jax.sampling import gibbs_step as gibbs_step
    from rbm_jax.sampling import init_chains as init_chains
    from rbm_jax.sampling import sample_gibbs as sample_gibbs
    from rbm_jax.sampling import sample_hidden as sample_hidden
    from rbm_jax.sampling import sample_visible as sample_visible
    from rbm_jax.spectral import Modes as Modes
    from rbm_jax.spectral import svd_modes as svd_modes
    from rbm_jax.training import TrainState as TrainState
    from rbm_jax.training import fit as fit
    from rbm_jax.training import train_step as train_step
    from rbm_jax.units import AbstractUnits as AbstractUnits
    from rbm_jax.units import Bernoulli as Bernoulli
    from rbm_jax.units import Gaussian as Gaussian
    from rbm_jax.units import Potts as Potts
    from rbm_jax.units import ReLU as ReLU
    from rbm_jax.units import Spin as Spin

__all__ = [
    "RBM",
    "AbstractUnits",
    "Bernoulli",
    "Centered",
    "Gaussian",
    "LogZEstimate",
    "Modes",
    "Potts",
    "ReLU",
    "Spin",
    "Standardized",
    "Status",
    "TrainState",
    "Trajectory",
    "ais_log_z",
    "exact_log_likelihood",
    "exact_log_z",
    "find_fixed_points",
    "fit",
    "gibbs_step",
    "hidden_field",
    "hidden_free_energy",
    "init_chains",
    "init_rbm",
    "integrate",
    "joint_energy",
    "log_likelihood",
    "pseudo_log_likelihood",
    "sample_gibbs",
    "sample_hidden",
    "sample_visible",
    "solve_mean_field",
    "stack_rbms",
    "svd_modes",
    "temper",
    "train_step",
    "visible_field",
    "visible_free_energy",
]

_HOMES = {
    name: package
    for package, names in {
        "units": "AbstractUnits Bernoulli Gaussian Potts ReLU Spin",
        "model": "RBM init_rbm stack_rbms joint_energy visible_free_energy hidden_free_energy visible_field hidden_field"
        " temper Trajectory Status exact_log_z exact_log_likelihood Centered Standardized",
        "sampling": "gibbs_step init_chains sample_gibbs sample_hidden sample_visible",
        "training": "PCD CD EMF PTT Exact Trainer TrainState Batches fit fit_many train_step",
        "dynamics": "integrate",
        "likelihood": "LogZEstimate ais_log_z log_likelihood pseudo_log_likelihood",
        "spectral": "Modes svd_modes",
        "mean_field": "find_fixed_points solve_mean_field",
    }.items()
    for name in names.split()
}
_PACKAGES = (
    "data",
    "units",
    "model",
    "spectral",
    "sampling",
    "mean_field",
    "missing",
    "symmetry",
    "likelihood",
    "training",
    "dynamics",
    "replica",
    "sharding",
    "progress",
    "io",
    "plotting",
    "sklearn",
    "cli",
)

if not TYPE_CHECKING:  # pyright shall not take every name for a public one

    def __getattr__(name: str):
        """Import the package that has the name, and keep the name here."""
        if name in _HOMES:
            value = getattr(importlib.import_module(f"rbm_jax.{_HOMES[name]}"), name)
        elif name in _PACKAGES:
            value = importlib.import_module(f"rbm_jax.{name}")
        else:
            raise AttributeError(f"module 'rbm_jax' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES, "__version__"])
