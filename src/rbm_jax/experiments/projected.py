"""The deterministic learning trajectory on trial: PCD that moves a few planted modes only, on several samples."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax.experiments.instances import orthogonalize
from rbm_jax.model import RBM
from rbm_jax.replica import AbstractDistribution, Clusters, EmpiricalDistribution, sample_clusters
from rbm_jax.replica.learning import AbstractThermodynamicForce, thermodynamic_force
from rbm_jax.training import PCD, Batches, Trainer, TrainState, fit, project_updates
from rbm_jax.units import Spin

__all__ = ["Instance", "ProjectedRuns", "instance_force", "projected_training"]


class Instance(eqx.Module):
    """What one training started from.

    Attributes:
        left: û, shape (n_visible, n_modes), with orthogonal columns of length √n_visible.
        right: v̂ likewise, shape (n_hidden, n_modes).
        data: samples, shape (n_samples, n_visible).
    """

    left: jax.Array
    right: jax.Array
    data: jax.Array


@dataclasses.dataclass(frozen=True)
class ProjectedRuns:
    """Trainings of several samples, side by side.

    Attributes:
        ts: times τ = L × learning rate × updates, shape (n_times,).
        matrices: B, shape (n_runs, n_times, n_modes, n_modes).
        chain_moments: ⟨m mᵀ⟩ over the Markov chains, of the same shape.
        instances: what each started from, stacked.
    """

    ts: np.ndarray
    matrices: np.ndarray
    chain_moments: np.ndarray
    instances: Instance

    @property
    def singular_values(self) -> np.ndarray:
        """Of B, shape (n_runs, n_times, n_modes)."""
        return np.linalg.svd(self.matrices, compute_uv=False)


def projected_training(
    key,
    clusters: Clusters,
    matrix,
    law: AbstractDistribution,
    *,
    n_visible: int = 300,
    n_hidden: int | None = None,
    n_samples: int = 2000,
    n_chains: int = 500,
    n_sweeps: int = 10,
    duration: float = 20.0,
    time_step: float = 0.05,
    n_saves: int = 21,
    n_runs: int = 8,
) -> ProjectedRuns:
    """PCD that moves B alone, with chains that start from samples, as they do not hop between states later.

    Near w = 1 chains take some √N sweeps to answer to a change of the weights: with one sweep an update, of 0.05 in τ,
    their lag is seen.
    """
    n_hidden = n_visible if n_hidden is None else n_hidden
    n_updates, size = round(duration / time_step), np.sqrt(n_visible * n_hidden)
    saves = np.unique(np.linspace(0, n_updates, n_saves).astype(int))
    optimizer = optax.chain(project_updates(len(matrix)), optax.sgd(time_step / size))
    trainer = Trainer(PCD(n_sweeps=n_sweeps), optimizer, time_step=time_step)
    matrix = jnp.asarray(matrix, float)

    @jax.jit
    def train(key):
        key_left, key_right, key_data, key_chains, key_run = jax.random.split(key, 5)
        left = orthogonalize(law.sample(key_left, (n_visible, len(matrix)), matrix.dtype))
        right = orthogonalize(law.sample(key_right, (n_hidden, len(matrix)), matrix.dtype))
        data = sample_clusters(key_data, n_samples, clusters, left)
        rbm = RBM(left @ matrix @ right.T / size, jnp.zeros(n_visible), jnp.zeros(n_hidden), Spin(), Spin())
        state = trainer.init(key_chains, rbm, carry=data[:n_chains])
        options = {"n_updates": n_updates, "save_at": saves, "observe": lambda state: _chain_moments(left, state)}
        _, path = fit(key_run, trainer, state, Batches(data), **options)
        matrices = jnp.einsum("ia,tij,jb->tab", left, path.rbms.weights, right) / size
        return path.ts, matrices, path.observations, Instance(left, right, data)

    # One after another: a run fills the cores, and all at once would hold n_runs times the chains.
    ts, matrices, moments, instances = jax.lax.map(train, jax.random.split(key, n_runs))
    return ProjectedRuns(np.asarray(ts[0]), np.asarray(matrices), np.asarray(moments), instances)


def instance_force(instance: Instance) -> AbstractThermodynamicForce:
    """The theory for one sample: its own components, and every row of its data a cluster."""
    n_visible, n_modes = instance.left.shape
    force = thermodynamic_force(
        Clusters(jnp.zeros((1, n_modes))),
        n_visible=n_visible,
        ratio=len(instance.right) / n_visible,
        component_distribution=EmpiricalDistribution(np.asarray(instance.left)),
        hidden_component_distribution=EmpiricalDistribution(np.asarray(instance.right)),
    )
    magnetizations = instance.data @ instance.left / n_visible
    weights = jnp.full(len(magnetizations), 1 / len(magnetizations), magnetizations.dtype)
    return dataclasses.replace(force, data=magnetizations, data_weights=weights)


def _chain_moments(left, state: TrainState):
    magnetizations = state.carry @ left / len(left)
    return magnetizations.T @ magnetizations / len(magnetizations)
