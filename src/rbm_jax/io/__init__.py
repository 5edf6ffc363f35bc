"""RBMs, trajectories and checkpoints in HDF5 files: no pickles, written atomically, refused when damaged or foreign.

A folder of checkpoints has a file for each saved update, such as `00000123.h5`; resuming from one is bit-identical to
an uninterrupted training. The RBM in it is read by `load_rbm` like any other, and the RBMs of all of them by
`load_trajectory`. Files carry a format number. Those of version 0.1 are read too; to resume such a run, rewrite it with
`convert_run`. A file with links, or with numbers that lie in other files, is refused.
"""

from rbm_jax._internal.files import atomic_write
from rbm_jax.io.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    load_config,
    load_trajectory,
    save_checkpoint,
    saved_updates,
    software_versions,
)
from rbm_jax.io.convert import convert_run
from rbm_jax.io.interop import (
    comparison_table,
    fixed_points_table,
    from_bernoulli_rbm,
    load_rbms_archive,
    save_rbms_archive,
    to_bernoulli_rbm,
    trajectory_table,
)
from rbm_jax.io.results import load_rbm, load_trajectories, save_rbm, save_trajectories

__all__ = [
    "Checkpoint",
    "atomic_write",
    "comparison_table",
    "convert_run",
    "fixed_points_table",
    "from_bernoulli_rbm",
    "latest_checkpoint",
    "load_checkpoint",
    "load_config",
    "load_rbm",
    "load_rbms_archive",
    "load_trajectories",
    "load_trajectory",
    "save_checkpoint",
    "save_rbm",
    "save_rbms_archive",
    "save_trajectories",
    "saved_updates",
    "software_versions",
    "to_bernoulli_rbm",
    "trajectory_table",
]
