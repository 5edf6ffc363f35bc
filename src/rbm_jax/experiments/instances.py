"""Replica theory on trial: TAP and Monte Carlo on RBMs drawn from the ensemble."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rbm_jax.mean_field import solve_mean_field
from rbm_jax.model.energies import joint_energy
from rbm_jax.model.rbm import RBM
from rbm_jax.model.transforms import temper
from rbm_jax.replica import AbstractDistribution, GaussianDistribution, SpikedEnsemble
from rbm_jax.sampling import sample_gibbs, sample_hidden
from rbm_jax.spectral import Modes
from rbm_jax.units import AbstractUnits, Spin

__all__ = [
    "InstanceOrder",
    "annealed_free_energy",
    "gibbs_order",
    "measure_phases",
    "orthogonalize",
    "sample_instances",
    "tap_order",
]

_GAUSSIAN, _SPIN = GaussianDistribution(), Spin()


class InstanceOrder(eqx.Module):
    """Order parameters of one RBM.

    Attributes:
        m_visible: û_α·⟨v⟩ / n_visible, shape (n_modes,).
        m_hidden: v̂_α·⟨h⟩ / n_hidden, shape (n_modes,).
        q_visible: |⟨v⟩|² / n_visible.
        q_hidden: |⟨h⟩|² / n_hidden.
    """

    m_visible: jax.Array
    m_hidden: jax.Array
    q_visible: jax.Array
    q_hidden: jax.Array


def sample_instances(
    key,
    n_instances: int,
    n_visible: int,
    n_hidden: int,
    singular_values,
    noise: float,
    *,
    law: AbstractDistribution = _GAUSSIAN,
    units: tuple[AbstractUnits, AbstractUnits] = (_SPIN, _SPIN),
) -> tuple[RBM, Modes]:
    """RBMs of the ensemble and their modes, stacked."""
    ensemble = SpikedEnsemble(np.asarray(singular_values), noise=noise, component_distribution=law)

    def sample(key):
        return ensemble.sample(key, n_visible, n_hidden, visible_units=units[0], hidden_units=units[1])

    return jax.vmap(sample)(jax.random.split(key, n_instances))


def orthogonalize(components):
    """The nearest orthogonal columns of length √n, as those of large samples are."""
    left, _, right = jnp.linalg.svd(components, full_matrices=False)
    return math.sqrt(len(components)) * left @ right


def tap_order(rbm: RBM, modes: Modes, *, max_steps: int = 2000):
    """Order, free energy over L and convergence of the TAP fixed point that a start along the first mode leads to."""
    components = modes.left[:, 0] * math.sqrt(rbm.n_visible)
    solution = solve_mean_field(rbm, init=rbm.visible_units.mean(components), max_steps=max_steps)
    order = _order(modes, solution.visible, solution.hidden)
    return order, solution.free_energy / _size(rbm), solution.converged


def gibbs_order(
    key, rbm: RBM, modes: Modes, *, n_chains: int = 20, n_burn: int = 200, n_samples: int = 100, n_sweeps: int = 2
) -> InstanceOrder:
    """Order from Gibbs chains that start along the first mode; overlaps are those of different chains.

    For ±1 units without biases: a state is counted with the sign that makes its first magnetization positive.
    """
    key_start, key_burn, key_run = jax.random.split(key, 3)
    field = jnp.broadcast_to(modes.left[:, 0] * math.sqrt(rbm.n_visible), (n_chains, rbm.n_visible))
    start = sample_gibbs(key_burn, rbm, rbm.visible_units.sample(key_start, field), n_sweeps=n_burn)

    def measure(chains, key):
        key_chains, key_hidden = jax.random.split(key)
        chains = sample_gibbs(key_chains, rbm, chains, n_sweeps=n_sweeps)
        sign = jnp.sign(chains @ modes.left[:, :1])
        visible, hidden = sign * chains, sign * sample_hidden(key_hidden, rbm, chains)
        order = _order(modes, visible.mean(0), hidden.mean(0))
        return chains, dataclasses.replace(order, q_visible=_overlap(visible), q_hidden=_overlap(hidden))

    _, orders = lax.scan(measure, start, jax.random.split(key_run, n_samples))
    return jax.tree.map(lambda leaf: leaf.mean(0), orders)


def annealed_free_energy(
    key, rbm: RBM, *, n_chains: int = 20, n_temperatures: int = 41, n_burn: int = 20, n_samples: int = 40
):
    """-log Z / L of ±1 units, by thermodynamic integration from free units: the trapezoid rule for ∫ ⟨E⟩_β dβ."""
    key_start, key_run = jax.random.split(key)
    n_units = rbm.n_visible + rbm.n_hidden
    start = rbm.visible_units.sample(key_start, jnp.zeros((n_chains, rbm.n_visible), rbm.dtype))

    def at_temperature(chains, state):
        key, beta = state
        key_burn, key_samples = jax.random.split(key)
        tempered = temper(rbm, beta)
        chains = sample_gibbs(key_burn, tempered, chains, n_sweeps=n_burn)

        def measure(chains, key):
            key_chains, key_hidden = jax.random.split(key)
            chains = sample_gibbs(key_chains, tempered, chains, n_sweeps=1)
            return chains, joint_energy(rbm, chains, sample_hidden(key_hidden, tempered, chains)).mean()

        chains, energies = lax.scan(measure, chains, jax.random.split(key_samples, n_samples))
        return chains, energies.mean()

    betas = jnp.linspace(0, 1, n_temperatures, dtype=rbm.dtype)
    _, energies = lax.scan(at_temperature, start, (jax.random.split(key_run, n_temperatures), betas))
    return (jnp.trapezoid(energies, betas) - n_units * math.log(2)) / _size(rbm)


def measure_phases(
    key, noise, strength, *, n_units: int = 200, n_instances: int = 2, n_chains: int = 24, n_sweeps: int = 400
):
    """Root mean square magnetization of Gibbs chains and their overlap with themselves n_sweeps later.

    The chains start at random and are cooled to each of the points in twenty steps.

    Args:
        key: a JAX key.
        noise: σ of the points, shape (n_points,).
        strength: w of the points, shape (n_points,).
        n_units: in each layer.
        n_instances: samples of modes and noise, each at all points.
        n_chains: per instance and point.
        n_sweeps: sweeps of the cooling, before the first measurement of overlaps, and until each.

    Returns:
        Magnetizations and overlaps, shape (n_points,). Zero shows as about √(1/n_units).
    """

    def run_point(key, modes, random, noise, strength):
        weights = strength * modes.left @ modes.right.T + noise * random
        nothing = jnp.zeros(n_units)
        rbm = RBM(weights, nothing, nothing, _SPIN, _SPIN)
        keys = jax.random.split(key, 61)
        chains = 2 * jax.random.bernoulli(keys[0], shape=(n_chains, n_units)).astype(weights.dtype) - 1

        def cool(chains, state):
            key, beta = state
            return sample_gibbs(key, temper(rbm, beta), chains, n_sweeps=n_sweeps // 20), None

        def measure(history, key):
            chains = sample_gibbs(key, rbm, history[-1], n_sweeps=n_sweeps // 20)
            overlap = ((chains * history[0]).mean(1) ** 2).mean()
            magnetization = ((chains @ modes.left[:, 0]) ** 2).mean() / n_units
            return jnp.concatenate([history[1:], chains[None]]), jnp.stack([magnetization, overlap])

        # In equal steps of 1/temperature, from where σ and w are small.
        chains, _ = lax.scan(cool, chains, (keys[1:21], jnp.linspace(0.05, 1, 20)))
        history = jnp.broadcast_to(chains, (20, *chains.shape))
        return lax.scan(measure, history, keys[21:])[1][20:].mean(0)

    def run_instance(key):
        key_instance, key_points = jax.random.split(key)
        plain, modes = SpikedEnsemble(np.ones(1), noise=1.0).sample(key_instance, n_units, n_units)
        random = plain.weights - modes.left @ modes.right.T
        keys = jax.random.split(key_points, len(noise))
        return jax.vmap(lambda *point: run_point(point[0], modes, random, *point[1:]))(keys, noise, strength)

    noise, strength = jnp.asarray(noise), jnp.asarray(strength)
    squares = jax.jit(lambda keys: lax.map(run_instance, keys))(jax.random.split(key, n_instances))
    magnetization, overlap = np.sqrt(np.asarray(squares.mean(0))).T
    return magnetization, overlap


def _order(modes: Modes, visible, hidden) -> InstanceOrder:
    n_visible, n_hidden = len(visible), len(hidden)
    return InstanceOrder(
        visible @ modes.left / math.sqrt(n_visible),
        hidden @ modes.right / math.sqrt(n_hidden),
        (visible**2).mean(),
        (hidden**2).mean(),
    )


def _overlap(states):
    """Mean over pairs of different chains."""
    n_chains, n_units = states.shape
    return ((states.sum(0) ** 2).sum() - (states**2).sum()) / (n_chains * (n_chains - 1) * n_units)


def _size(rbm: RBM) -> float:
    return math.sqrt(rbm.n_visible * rbm.n_hidden)
