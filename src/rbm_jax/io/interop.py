"""RBMs of other packages, `rbms` and scikit-learn, to and from ours; and results as tables, for pandas and the like."""

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.files import atomic_write, check_contained
from rbm_jax._internal.optional import require
from rbm_jax._internal.typing import Array, Chains, Float, Shaped
from rbm_jax.dynamics import Comparison
from rbm_jax.mean_field import FixedPoints
from rbm_jax.model.rbm import RBM, stack_rbms
from rbm_jax.model.trajectory import Status, Trajectory
from rbm_jax.spectral import singular_values_along
from rbm_jax.units import AbstractUnits, Bernoulli, Potts

__all__ = [
    "comparison_table",
    "fixed_points_table",
    "from_bernoulli_rbm",
    "load_rbms_archive",
    "save_rbms_archive",
    "to_bernoulli_rbm",
    "trajectory_table",
]

Table = dict[str, Shaped[np.ndarray, " n_rows"]]

# Names of their models, and ours of the two layers. A visible layer with vector states takes their number.
_MODELS: dict[str, tuple[Any, Any]] = {"BBRBM": (Bernoulli, Bernoulli), "PBRBM": (Potts, Bernoulli)}


def load_rbms_archive(
    path: str | os.PathLike, *, updates: Sequence[int] | None = None, time_step: float = 1.0
) -> tuple[Trajectory, Array]:
    """Read an archive of the PyTorch package `rbms` (format of version 0.5): the RBMs at its saved updates, and chains.

    Their energy, -a·v - b·h - vᵀWh with states 0 and 1, is ours; parameters come as they are. Source: `rbms`,
    https://github.com/DsysDML/rbms.

    Args:
        path: the archive, of a Bernoulli-Bernoulli (BBRBM) or Potts-Bernoulli RBM (PBRBM).
        updates: the saved updates to read, increasing; None for all.
        time_step: time of one update. With the learning rate, time is the one of `rbm_jax.dynamics`, as long as their
            training did not clip the gradient.

    Returns:
        A `Trajectory` with `ts` = time_step × updates and observations {"seconds": elapsed time at each}, and the
        visible states of the chains, shape (n_chains, n_visible), which an archive holds for its last update only.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: h5py is not installed.
        ValueError: the file is damaged, not an archive of `rbms`, of another model, without one of the updates, or
            holds NaN or states that are none; the message names the file.
    """
    check_positive("time_step", time_step)
    chosen = None if updates is None else [check_count("updates", update, minimum=0) for update in updates]
    with _open_archive(path) as file:
        units, saved = _units_of(file), _saved_updates(file)
        chosen = saved if chosen is None else chosen
        if not chosen or chosen != sorted(set(chosen) & set(saved)):
            raise ValueError(f"updates must be some of those saved, increasing; got {chosen}, saved are {saved}")
        rbms = stack_rbms([_read_rbm(file[f"update_{update}/params"], *units) for update in chosen])
        seconds = np.array([float(file[f"update_{update}/time"][()]) for update in chosen])
        chains = _read_chains(file, rbms)
    ts = jnp.asarray(time_step * np.array(chosen), rbms.dtype)
    status = jnp.asarray(Status.SUCCESS, jnp.int32)
    return Trajectory(ts, rbms, status, {"seconds": jnp.asarray(seconds)}), chains


def save_rbms_archive(
    path: str | os.PathLike,
    trajectory: Trajectory,
    chains: Chains,
    *,
    learning_rate: float,
    batch_size: int,
    n_sweeps: int,
    time_step: float = 1.0,
) -> None:
    """Write an archive that `rbms` 0.5 reads with its `load_model` and `load_params`, and plots.

    It holds no states of PyTorch's random numbers, without which `rbms` does not resume a training (`restore=True`).
    Elapsed times are the trajectory's observations "seconds", if it has some, or NaN.

    Args:
        path: the file; an older one of this name is replaced once the new one is complete.
        trajectory: of one Bernoulli-Bernoulli or Potts-Bernoulli RBM.
        chains: visible states at the last time, shape (n_chains, n_visible).
        learning_rate: a hyperparameter that `rbms` wants to know.
        batch_size: likewise.
        n_sweeps: likewise: Gibbs sweeps per update.
        time_step: time of one update, so that updates are `ts` / time_step; the one given to `fit`.

    Raises:
        ImportError: h5py is not installed.
        OSError: the folder does not exist or cannot be written.
        TypeError, ValueError: units that `rbms` does not have, several runs, times that are not whole updates, NaN,
            or chains that do not fit.
    """
    rbms = trajectory.rbms
    name = _name_of(rbms)
    updates = _updates_of(trajectory, time_step)
    for leaf in jax.tree.leaves(rbms):
        _check_finite("trajectory", leaf)
    visible = _as_theirs(_check_chains("chains", np.asarray(chains), rbms), rbms.visible_units)
    observed = trajectory.observations if isinstance(trajectory.observations, Mapping) else {}
    seconds = np.broadcast_to(np.asarray(observed.get("seconds", np.nan), float), len(updates))
    hyperparameters = {
        "num_visibles": visible.shape[1],
        "num_hiddens": rbms.n_hidden,
        "num_chains": visible.shape[0],
        "batch_size": check_count("batch_size", batch_size),
        "gibbs_steps": check_count("n_sweeps", n_sweeps),
        "learning_rate": check_positive("learning_rate", learning_rate),
        "L1": 0.0,
        "L2": 0.0,
    }
    h5py, buffer = require("h5py"), io.BytesIO()
    with atomic_write(path) as temporary:
        with h5py.File(buffer, "w") as file:  # in memory first: on a full disk HDF5 complains in ways not to be caught
            file["model_type"] = name
            file["parallel_chains"] = visible
            for key, value in hyperparameters.items():
                file[f"hyperparameters/{key}"] = value
            for index, update in enumerate(updates):
                group = file.create_group(f"update_{update}")
                group["time"] = seconds[index]
                group["flags/checkpoint"] = True
                for key, array in _their_parameters(jax.tree.map(lambda leaf, at=index: leaf[at], rbms)).items():
                    group[f"params/{key}"] = array
        temporary.write_bytes(buffer.getbuffer())


def from_bernoulli_rbm(model: Any) -> RBM:
    """The RBM of a fitted `sklearn.neural_network.BernoulliRBM`, with the same free energies.

    To continue in scikit-learn, see `rbm_jax.sklearn.RBMTransformer.from_rbm`.

    Raises:
        ImportError: scikit-learn is not installed.
        sklearn.exceptions.NotFittedError: the model is not fitted.
    """
    require("sklearn.utils.validation").check_is_fitted(model)
    weights, visible_bias, hidden_bias = (
        jnp.asarray(leaf) for leaf in (model.components_.T, model.intercept_visible_, model.intercept_hidden_)
    )
    return RBM(weights, visible_bias, hidden_bias, Bernoulli(), Bernoulli())


def to_bernoulli_rbm(rbm: RBM, **params: Any) -> Any:
    """A fitted `sklearn.neural_network.BernoulliRBM` with the same free energies.

    Its `partial_fit` starts with hidden chains at zero, as scikit-learn does. It does not check that data are 0 or 1.

    Args:
        rbm: a Bernoulli-Bernoulli RBM.
        params: arguments of `BernoulliRBM` beside n_components.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: other units, or a stack of RBMs.
    """
    if (type(rbm.visible_units), type(rbm.hidden_units)) != (Bernoulli, Bernoulli) or rbm.weights.ndim != 2:
        raise ValueError(
            f"rbm must be one Bernoulli-Bernoulli RBM, got {rbm.visible_units}-{rbm.hidden_units} with weights of "
            f"shape {rbm.weights.shape}; rbm_jax.model.spin_to_bernoulli maps spins to it"
        )
    model = require("sklearn.neural_network").BernoulliRBM(rbm.n_hidden, **params)
    model.components_ = np.array(rbm.weights.T, order="F")
    model.intercept_visible_, model.intercept_hidden_ = np.array(rbm.visible_bias), np.array(rbm.hidden_bias)
    model.n_features_in_, model._n_features_out = rbm.n_visible, rbm.n_hidden
    return model


def trajectory_table(trajectory: Trajectory, *, n_modes: int | None = None) -> Table:
    """A trajectory as columns of equal length, one row per saved time: `pandas.DataFrame(trajectory_table(...))`.

    Columns are "run" (its number, if there is a leading axis of runs, as from `fit_many`), "t", "sigma_1",
    "sigma_2", ... (singular values of W, decreasing), "status" (the name of the run's `Status`), and the observations:
    a number at each time under its name ("observation" if it has none), a vector as "name_1", "name_2", ...; arrays
    with more axes have no place in a table and are left out.

    Args:
        trajectory: of one RBM or of several.
        n_modes: leading singular values; None for all.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax import Bernoulli, RBM, Trajectory
        >>> from rbm_jax.io.interop import trajectory_table
        >>> rbms = RBM(jnp.ones((3, 2, 2)), jnp.zeros((3, 2)), jnp.zeros((3, 2)), Bernoulli(), Bernoulli())
        >>> table = trajectory_table(Trajectory(jnp.arange(3.0), rbms, jnp.asarray(0)), n_modes=1)
        >>> list(table), table["sigma_1"].round(3).tolist()
        (['t', 'sigma_1', 'status'], [2.0, 2.0, 2.0])
    """
    if np.ndim(trajectory.ts) == 1:
        return _table_of_run(trajectory, n_modes)
    n_runs, n_times = np.shape(trajectory.ts)
    runs = [_table_of_run(jax.tree.map(lambda leaf, at=run: leaf[at], trajectory), n_modes) for run in range(n_runs)]
    columns = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    return {"run": np.repeat(np.arange(n_runs), n_times)} | columns


def comparison_table(comparison: Comparison) -> Table:
    """A comparison of two trajectories as columns, one row per time.

    Columns are "t" and, for each mode α from 1 on, "discrete_values_α", "continuous_values_α", "deviation_α",
    "left_overlap_α" and "right_overlap_α".
    """
    names = ("discrete_values", "continuous_values", "deviation", "left_overlap", "right_overlap")
    table = {"t": np.asarray(comparison.ts)}
    for name in names:
        table |= _columns(name, getattr(comparison, name))
    return table


def fixed_points_table(points: FixedPoints) -> Table:
    """Fixed points as columns, one row each: "size" (data in the basin), "fraction" (of all data) and "free_energy"."""
    sizes = np.asarray(points.sizes)
    return {"size": sizes, "fraction": sizes / len(points.labels), "free_energy": np.asarray(points.free_energy)}


def _table_of_run(trajectory: Trajectory, n_modes: int | None) -> Table:
    n_times = len(trajectory.ts)
    table = {"t": np.asarray(trajectory.ts)}
    table |= _columns("sigma", singular_values_along(trajectory, n_modes=n_modes))
    table["status"] = np.full(n_times, Status(int(trajectory.status)).name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(trajectory.observations):
        table |= _columns(jax.tree_util.keystr(path, simple=True, separator="_") or "observation", leaf)
    return table


def _columns(name: str, values: Any) -> Table:
    values = np.asarray(values)
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{column + 1}": values[:, column] for column in range(values.shape[1])} if values.ndim == 2 else {}


@contextlib.contextmanager
def _open_archive(path: str | os.PathLike) -> Iterator[Any]:
    """Open an archive, and name the file in whatever is wrong with it."""
    h5py = require("h5py")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            check_contained(file)
            yield file
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an archive of rbms 0.5: {error}") from error


def _units_of(file: Any) -> tuple[Any, Any]:
    if "model_type" not in file:
        raise ValueError(f"it has no model_type; its entries are {sorted(file)[:5]}")
    name = file["model_type"][()].decode()
    if name not in _MODELS:
        raise ValueError(f"its model is {name!r}, but only {sorted(_MODELS)} have units of ours")
    return _MODELS[name]


def _saved_updates(file: Any) -> list[int]:
    return sorted(int(name[1]) for name in (re.fullmatch(r"update_(\d+)", key) for key in file) if name)


def _read_rbm(group: Any, visible: Any, hidden: Any) -> RBM:
    weights, visible_bias, hidden_bias = (_read(group, name) for name in ("weight_matrix", "vbias", "hbias"))
    grouped = visible is not Bernoulli
    if visible_bias.ndim != 1 + grouped or weights.shape != (*visible_bias.shape, *hidden_bias.shape):
        raise ValueError(
            f"weight_matrix, vbias and hbias of {group.name} have shapes {weights.shape}, {visible_bias.shape} and "
            f"{hidden_bias.shape}, which do not fit"
        )
    units = (visible(visible_bias.shape[1]) if grouped else visible()), hidden()
    weights = weights.reshape(-1, len(hidden_bias))
    return RBM(jnp.asarray(weights), jnp.asarray(visible_bias.reshape(-1)), jnp.asarray(hidden_bias), *units)


def _read(group: Any, name: str) -> Shaped[np.ndarray, "..."]:
    values = np.asarray(group[name][()])
    if values.dtype.kind != "f":
        raise ValueError(f"{group.name}/{name} is of dtype {values.dtype}, not floating")
    _check_finite(f"{group.name}/{name}", values)
    return values


def _read_chains(file: Any, rbms: RBM) -> Float[Array, "n_chains n_visible"]:
    visible, n_states = _read(file, "parallel_chains"), rbms.visible_units.group_size
    if n_states > 1:
        one_hot = visible[..., None] == np.arange(n_states)
        if not one_hot.any(-1).all():
            raise ValueError(f"parallel_chains must be states from 0 to {n_states - 1}")
        visible = one_hot.reshape(len(visible), -1)
    return jnp.asarray(_check_chains("parallel_chains", visible, rbms), rbms.dtype)


def _check_finite(name: str, values: Any) -> None:
    n_bad = int((~np.isfinite(np.asarray(values))).sum())
    if n_bad:
        raise ValueError(f"{name} holds {n_bad} values that are NaN or infinite")


def _check_chains(name: str, states: Shaped[np.ndarray, "..."], rbms: RBM) -> Shaped[np.ndarray, "..."]:
    if states.ndim != 2 or states.shape[1] != rbms.n_visible:
        raise ValueError(f"{name} must have shape (n_chains, {rbms.n_visible}), got {states.shape}")
    if not rbms.visible_units.contains(states).all():
        raise ValueError(f"{name} must be {rbms.visible_units.support} for {rbms.visible_units}")
    return states


def _name_of(rbms: RBM) -> str:
    if rbms.weights.ndim != 3:
        raise ValueError(f"trajectory must be of one RBM, with weights of 3 axes, got {rbms.weights.shape}")
    pair = type(rbms.visible_units), type(rbms.hidden_units)
    for name, units in _MODELS.items():
        if units == pair:
            return name
    known = ", ".join(f"{visible.__name__}-{hidden.__name__}" for visible, hidden in _MODELS.values())
    raise ValueError(f"rbms knows {known} of our units, got {rbms.visible_units}-{rbms.hidden_units}")


def _updates_of(trajectory: Trajectory, time_step: float) -> list[int]:
    """Numbers of the saved updates, from the times; whole within what rounding of the times allows."""
    exact = np.asarray(trajectory.ts, float) / check_positive("time_step", time_step)
    updates = np.round(exact)
    error = 2 * float(jnp.finfo(trajectory.ts.dtype).eps) * np.maximum(1, abs(exact))
    whole = (abs(exact - updates) <= error) & (error < 0.5) & (updates >= 0)
    if not whole.all() or (np.diff(updates) <= 0).any():
        raise ValueError(
            f"ts / time_step must be increasing whole numbers of updates, got {exact[:5]}...; set time_step"
        )
    return [int(update) for update in updates]


def _as_theirs(states: Shaped[np.ndarray, "n_chains n_visible"], units: AbstractUnits) -> Shaped[np.ndarray, "..."]:
    """Their chains hold the number of a vector state."""
    if units.group_size > 1:
        states = states.reshape(len(states), -1, units.group_size).argmax(-1)
    return states.astype(np.float32)


def _their_parameters(rbm: RBM) -> dict[str, Shaped[np.ndarray, "..."]]:
    size = rbm.visible_units.group_size
    shape = (-1,) if size == 1 else (-1, size)
    return {
        "weight_matrix": np.asarray(rbm.weights).reshape(*shape, rbm.n_hidden),
        "vbias": np.asarray(rbm.visible_bias).reshape(shape),
        "hbias": np.asarray(rbm.hidden_bias),
    }
