"""Restricted Boltzmann Machines in JAX, with the ODEs and the statistical physics of how they learn.

Three kinds of things live here: pure functions of an `RBM` pytree, which compose under `jit`, `vmap` and `grad`;
training by any optax optimizer; and, in `rbm_jax.dynamics`, the continuous-time learning equations. The names that most
programs begin with stand in this module; all others stand in the packages. Both load when they are first used, so that
`import rbm_jax` imports nothing but the standard library.
"""

import importlib
from typing import TYPE_CHECKING

from rbm_jax._version import __version__ as __version__

if TYPE_CHECKING:
    from rbm_jax import cli as cli
    from rbm_jax import data as data
    from rbm_jax import dynamics as dynamics
    from rbm_jax import experiments as experiments
    from rbm_jax import io as io
    from rbm_jax import likelihood as likelihood
    from rbm_jax import mean_field as mean_field
    from rbm_jax import missing as missing
    from rbm_jax import model as model
    from rbm_jax import plotting as plotting
    from rbm_jax import progress as progress
    from rbm_jax import replica as replica
    from rbm_jax import runs as runs
    from rbm_jax import sampling as sampling
    from rbm_jax import sharding as sharding
    from rbm_jax import sklearn as sklearn
    from rbm_jax import spectral as spectral
    from rbm_jax import symmetry as symmetry
    from rbm_jax import training as training
    from rbm_jax import units as units
    from rbm_jax.dynamics import integrate as integrate
    from rbm_jax.likelihood import LogZEstimate as LogZEstimate
    from rbm_jax.likelihood import ais_log_z as ais_log_z
    from rbm_jax.likelihood import log_likelihood as log_likelihood
    from rbm_jax.likelihood import pseudo_log_likelihood as pseudo_log_likelihood
    from rbm_jax.mean_field import find_fixed_points as find_fixed_points
    from rbm_jax.mean_field import solve_mean_field as solve_mean_field
    from rbm_jax.model import RBM as RBM
    from rbm_jax.model import Centered as Centered
    from rbm_jax.model import Standardized as Standardized
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
    from rbm_jax.training import CD as CD
    from rbm_jax.training import EMF as EMF
    from rbm_jax.training import PCD as PCD
    from rbm_jax.training import PTT as PTT
    from rbm_jax.training import Batches as Batches
    from rbm_jax.training import Exact as Exact
    from rbm_jax.training import Trainer as Trainer
    from rbm_jax.training import TrainState as TrainState
    from rbm_jax.training import fit as fit
    from rbm_jax.training import fit_many as fit_many
    from rbm_jax.training import train_step as train_step
    from rbm_jax.units import AbstractUnits as AbstractUnits
    from rbm_jax.units import Bernoulli as Bernoulli
    from rbm_jax.units import Gaussian as Gaussian
    from rbm_jax.units import Potts as Potts
    from rbm_jax.units import ReLU as ReLU
    from rbm_jax.units import Spin as Spin

__all__ = [
    "CD",
    "EMF",
    "PCD",
    "PTT",
    "RBM",
    "AbstractUnits",
    "Batches",
    "Bernoulli",
    "Centered",
    "Exact",
    "Gaussian",
    "LogZEstimate",
    "Modes",
    "Potts",
    "ReLU",
    "Spin",
    "Standardized",
    "Status",
    "TrainState",
    "Trainer",
    "Trajectory",
    "ais_log_z",
    "exact_log_likelihood",
    "exact_log_z",
    "find_fixed_points",
    "fit",
    "fit_many",
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
    "runs",
    "experiments",
    "cli",
)

_HOMES = {
    name: package
    for package, names in {
        "units": "AbstractUnits Bernoulli Gaussian Potts ReLU Spin",
        "model": "RBM Centered Standardized Status Trajectory exact_log_likelihood exact_log_z hidden_field"
        " hidden_free_energy init_rbm joint_energy stack_rbms temper visible_field visible_free_energy",
        "spectral": "Modes svd_modes",
        "sampling": "gibbs_step init_chains sample_gibbs sample_hidden sample_visible",
        "mean_field": "find_fixed_points solve_mean_field",
        "likelihood": "LogZEstimate ais_log_z log_likelihood pseudo_log_likelihood",
        "training": "CD EMF Exact PCD PTT Batches TrainState Trainer fit fit_many train_step",
        "dynamics": "integrate",
    }.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # else type checkers would take every name for a public one

    def __getattr__(name: str):
        """Import the package that has the name, and keep the name here: this function is not called for it again."""
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
