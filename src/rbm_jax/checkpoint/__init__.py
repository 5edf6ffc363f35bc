"""RBMs, trajectories and checkpoints in HDF5 files: no pickles, written atomically, refused when damaged or foreign.

A folder of checkpoints has a file for each saved update, such as `00000123.h5`, from which training goes on bit by bit.
The RBM in it is read by `load_rbm` like any other, and the RBMs of all of them by `load_trajectory`.
"""

from rbm_jax._files import atomic_write
from rbm_jax.checkpoint.results import load_rbm, load_trajectories, save_rbm, save_trajectories
from rbm_jax.checkpoint.updates import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_config,
    load_trajectory,
    save_checkpoint,
    saved_updates,
    software_versions,
)

__all__ = [
    "Checkpoint",
    "atomic_write",
    "latest_checkpoint",
    "load_checkpoint",
    "load_config",
    "load_rbm",
    "load_trajectories",
    "load_trajectory",
    "save_checkpoint",
    "save_rbm",
    "save_trajectories",
    "saved_updates",
    "software_versions",
]
