"""The deterministic learning trajectory of the thermodynamic limit, for ±1 units and data in clusters.

The weights are W = Σ_αβ u_α B_αβ v_βᵀ + r with fixed directions u_α = û_α/√n_visible and v_β = v̂_β/√n_hidden. In large
layers the gradient along them is L = √(n_visible n_hidden) times a difference of order parameters, so that in the time
τ = L t the n_modes × n_modes matrix B follows dB/dτ = ⟨m m̄ᵀ⟩_data - ⟨m m̄ᵀ⟩_model, whatever the sample of weights and
whatever the training procedure; r does not move. Singular values of W above the noise are those of B.

Source: Decelle, Fissore & Furtlehner (2018), Section 5. The matrix B in place of singular values and rotations is this
library's choice: the rotations diverge where two singular values lock together.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Int
from rbm_jax.dynamics.ode import check_times, solve_ode
from rbm_jax.replica.averages import Layer, free_log_partition, free_magnetization, respond
from rbm_jax.replica.clusters import Clusters, cluster_magnetizations
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.replica.saddle import Control, solve_saddle
from rbm_jax.units import Spin

__all__ = [
    "AbstractThermodynamicForce",
    "FiniteLayersForce",
    "InfiniteLayersForce",
    "OrderMoments",
    "ThermodynamicTrajectory",
    "integrate_thermodynamic",
    "thermodynamic_force",
]

_GAUSSIAN, _SPIN = GaussianDistribution(), Spin()
_REACH = 5.0
"""Largest field of the grid, in which ±1 units are magnetized to 0.9999."""
_SPACING = 1.2
"""Of the grid of fields, over 1/√n_visible: the width of the narrowest state."""
_MAX_POINTS = 3_000_000
"""Of the grid, which has as many for three modes of 290 visible units: every step averages over all, with 121
quadrature nodes each."""
_BATCH = 4096
"""Points averaged side by side, with 121 quadrature nodes each: a few megabytes, which stay in the cache."""


class OrderMoments(eqx.Module):
    """Second moments of order parameters, which learning makes equal.

    Attributes:
        data: ⟨m_α m̄_β⟩ over the clusters, with the hidden layer's answer to them.
        data_visible: ⟨m_α m_β⟩ over the clusters.
        model: ⟨m_α m̄_β⟩ over the model's states.
        model_visible: ⟨m_α m_β⟩ over the model's states.
    """

    data: Float[Array, "*times n_modes n_modes"]
    data_visible: Float[Array, "*times n_modes n_modes"]
    model: Float[Array, "*times n_modes n_modes"]
    model_visible: Float[Array, "*times n_modes n_modes"]


class AbstractThermodynamicForce(eqx.Module):
    """dB/dτ as a function (τ, B, args) of data in clusters, made by `thermodynamic_force`.

    Attributes:
        data: magnetizations of the clusters, shape (n_clusters, n_modes).
        data_weights: their probabilities, shape (n_clusters,).
    """

    data: eqx.AbstractVar[Float[Array, "n_clusters n_modes"]]
    data_weights: eqx.AbstractVar[Float[Array, " n_clusters"]]

    @abc.abstractmethod
    def moments(self, matrix: Float[ArrayLike, "n_modes n_modes"]) -> OrderMoments:
        """The order parameters that learning compares, at one B.

        Args:
            matrix: B.
        """

    def __call__(self, t, matrix: Float[Array, "n_modes n_modes"], args=None) -> Float[Array, "n_modes n_modes"]:
        """Difference of the two averages."""
        moments = self.moments(matrix)
        return moments.data - moments.model


class InfiniteLayersForce(AbstractThermodynamicForce):
    """The limit of infinite layers, for one mode: the model's average runs over its pure states ±m, if it condenses.

    Attributes:
        data: magnetizations of the clusters, shape (n_clusters, 1).
        data_weights: their probabilities, shape (n_clusters,).
        noise: σ of the random part of the weights.
        ratio: κ = n_hidden / n_visible.
        component_distribution: distribution of û and v̂.
    """

    data: Float[Array, "n_clusters n_modes"]
    data_weights: Float[Array, " n_clusters"]
    noise: Float[Array, ""]
    ratio: Float[Array, ""]
    component_distribution: AbstractDistribution = eqx.field(static=True)

    def moments(self, matrix: Float[ArrayLike, "n_modes n_modes"]) -> OrderMoments:
        """The order parameters that learning compares, at one B; the model's are those of `solve_saddle`."""
        matrix = jnp.asarray(matrix).astype(self.data.dtype)
        root, one = jnp.sqrt(self.ratio), jnp.ones_like(self.ratio)

        def answer(m):
            """Hidden magnetizations given a configuration of magnetizations m: its overlap with itself is 1."""
            along, strength = matrix.T @ m / root, self.noise**2 / root
            return respond(self.component_distribution, _SPIN, along, strength, Layer(m, one, one)).layer.m

        control = Control(jnp.abs(matrix[0]), noise=self.noise, ratio=self.ratio)
        state = solve_saddle(control, component_distribution=self.component_distribution)
        model = jnp.sign(matrix[0, 0]) * jnp.outer(state.m_visible, state.m_hidden)
        model_visible = jnp.outer(state.m_visible, state.m_visible)
        return OrderMoments(*_data_moments(self, answer), model, model_visible)


class FiniteLayersForce(AbstractThermodynamicForce):
    """Finite layers without noise, up to three modes: the model's average is an integral over all magnetizations.

    Attributes:
        data: magnetizations of the clusters, shape (n_clusters, n_modes).
        data_weights: their probabilities, shape (n_clusters,).
        states: visible magnetizations that the integral runs over, shape (n_states, n_modes).
        log_density: log of their density before hidden units answer, shape (n_states,).
        n_hidden: number of hidden units.
        ratio: κ = n_hidden / n_visible.
        hidden_component_distribution: distribution of v̂.
    """

    data: Float[Array, "n_clusters n_modes"]
    data_weights: Float[Array, " n_clusters"]
    states: Float[Array, "n_states n_modes"]
    log_density: Float[Array, " n_states"]
    n_hidden: Float[Array, ""]
    ratio: Float[Array, ""]
    hidden_component_distribution: AbstractDistribution = eqx.field(static=True)

    def moments(self, matrix: Float[ArrayLike, "n_modes n_modes"]) -> OrderMoments:
        """The order parameters that learning compares, at one B; the model's are those of the integral."""
        matrix = jnp.asarray(matrix).astype(self.data.dtype)
        hidden_distribution, root = self.hidden_component_distribution, jnp.sqrt(self.ratio)

        def answer(m):
            return free_magnetization(hidden_distribution, matrix.T @ m / root)

        def evidence(m):
            return free_log_partition(hidden_distribution, matrix.T @ m / root)

        log_weights = self.log_density + self.n_hidden * lax.map(evidence, self.states, batch_size=_BATCH)
        weighted = jax.nn.softmax(log_weights)[:, None] * self.states
        model = weighted.T @ lax.map(answer, self.states, batch_size=_BATCH)
        return OrderMoments(*_data_moments(self, answer), model, weighted.T @ self.states)


class ThermodynamicTrajectory(eqx.Module):
    """A solution.

    Attributes:
        ts: times τ = L t, with t = learning rate × updates, shape (n_times,).
        matrix: B, shape (n_times, n_modes, n_modes).
        singular_values: of B, decreasing, shape (n_times, n_modes).
        moments: order parameters of data and model.
        status: a `Status`.
    """

    ts: Float[Array, " n_times"]
    matrix: Float[Array, "n_times n_modes n_modes"]
    singular_values: Float[Array, "n_times n_modes"]
    moments: OrderMoments
    status: Int[Array, ""]


def thermodynamic_force(
    clusters: Clusters,
    *,
    n_visible: int | None = None,
    ratio: FloatLike = 1.0,
    noise: FloatLike = 0.0,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    hidden_component_distribution: AbstractDistribution | None = None,
) -> InfiniteLayersForce | FiniteLayersForce:
    """The learning equation for data in clusters.

    For infinite layers (one mode) the model's average runs over its pure states ±m, found by `solve_saddle`. For finite
    ones without noise (up to three modes) it is the integral over all magnetizations with their large-deviation weight,
    exp(n_visible [Ψ(λ) - λ·m(λ)] + n_hidden Ψ̄(κ^{-1/2} Bᵀm)) det(∂m/∂λ)^{1/2} dλ with Ψ(λ) = E[log 2cosh(λ·û)] and
    m(λ) = ∂Ψ/∂λ. It decides how much weight each of several condensed modes gets, on which infinite layers depend
    discontinuously.

    Args:
        clusters: the data model, in the span of the modes.
        n_visible: size of the visible layer; None for the limit of infinite layers.
        ratio: κ = n_hidden / n_visible.
        noise: σ of the random part r of the weights; 0 for finite layers.
        component_distribution: distribution of û; of v̂ too for infinite layers.
        hidden_component_distribution: distribution of v̂ for finite layers; None for the same. `EmpiricalDistribution`
            takes the components of one RBM.

    Raises:
        ValueError: infinite layers with several modes or another distribution of v̂, finite ones with noise, or too
            many points to integrate over.
    """
    noise, ratio = check_positive("noise", noise, or_zero=True), check_positive("ratio", ratio)
    n_modes = clusters.fields.shape[1]
    hidden = component_distribution if hidden_component_distribution is None else hidden_component_distribution
    if n_visible is None:
        if n_modes > 1:
            raise ValueError(
                f"n_visible must be given for several modes (there are {n_modes}): their weights depend on it"
            )
        if hidden != component_distribution:
            raise ValueError(
                "hidden_component_distribution must be that of the visible layer where layers are infinite; give "
                "n_visible for two distributions"
            )
        data = cluster_magnetizations(clusters, component_distribution=component_distribution)
        noise, ratio = jnp.asarray(noise, data.dtype), jnp.asarray(ratio, data.dtype)
        return InfiniteLayersForce(data, clusters.weights, noise, ratio, component_distribution)
    n_visible = check_count("n_visible", n_visible)
    if float(noise) != 0:
        raise ValueError("noise must be 0 for layers of finite size; leave n_visible out for infinite ones")
    per_axis = _points_per_axis(n_visible, n_modes)
    data = cluster_magnetizations(clusters, component_distribution=component_distribution)
    ratio = jnp.asarray(ratio, data.dtype)
    states, log_density = _visible_states(component_distribution, n_visible, n_modes, per_axis, data.dtype)
    return FiniteLayersForce(data, clusters.weights, states, log_density, n_visible * ratio, ratio, hidden)


def integrate_thermodynamic(
    force: AbstractThermodynamicForce,
    matrix: Float[ArrayLike, "n_modes n_modes"],
    ts: Float[ArrayLike, " n_times"],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 4096,
) -> ThermodynamicTrajectory:
    """Integrate dB/dτ with adaptive steps.

    Args:
        force: from `thermodynamic_force`.
        matrix: B at ts[0].
        ts: increasing times τ = √(n_visible n_hidden) × learning rate × updates.
        rtol: relative tolerance of a step; None for 1e-4 in float32 and 1e-7 in float64. The force has a kink where a
            mode condenses: 1e-4 gives singular values to about 1e-3.
        atol: absolute tolerance of a step; None for a hundredth of rtol.
        max_steps: solver steps at most.

    Raises:
        ValueError: a matrix that does not fit the data's modes, or times that do not increase.

    Example:
        >>> import jax.numpy as jnp
        >>> from rbm_jax.replica import BernoulliDistribution, Clusters, integrate_thermodynamic, thermodynamic_force
        >>> clusters = Clusters(jnp.array([[1.0], [-1.0]]))
        >>> force = thermodynamic_force(clusters, component_distribution=BernoulliDistribution())
        >>> path = integrate_thermodynamic(force, jnp.array([[0.3]]), jnp.array([0.0, 5.0, 40.0]))
        >>> [f"{w:.2f}" for w in path.singular_values[:, 0]]
        ['0.30', '1.29', '1.31']
    """
    check_times(ts)
    n_modes = force.data.shape[1]
    matrix = jnp.asarray(matrix).astype(force.data.dtype)
    if matrix.shape != (n_modes, n_modes):
        raise ValueError(f"matrix must have shape {(n_modes, n_modes)}, one row a mode of the data, got {matrix.shape}")
    ts = jnp.asarray(ts).astype(matrix.dtype)
    path, status = solve_ode(force, matrix, ts, rtol=rtol, atol=atol, max_steps=max_steps)
    moments = lax.map(force.moments, path)
    return ThermodynamicTrajectory(ts, path, jnp.linalg.svd(path, compute_uv=False), moments, status)


def _data_moments(force: AbstractThermodynamicForce, answer) -> tuple[Array, Array]:
    """⟨m m̄ᵀ⟩ and ⟨m mᵀ⟩ over the clusters, given how hidden units answer."""
    weighted = force.data_weights[:, None] * force.data
    return weighted.T @ jax.vmap(answer)(force.data), weighted.T @ force.data


def _points_per_axis(n_visible: int, n_modes: int) -> int:
    """Of the grid of fields; an error before anything is computed if it were too large."""
    per_axis = 2 * math.ceil(_REACH * math.sqrt(n_visible) / _SPACING) + 1
    if per_axis**n_modes > _MAX_POINTS:
        raise ValueError(
            f"n_visible is too large for {n_modes} modes: the average would take {per_axis**n_modes:.2g} points, "
            f"at most {_MAX_POINTS:.2g} are supported"
        )
    return per_axis


def _visible_states(distribution: AbstractDistribution, n_visible: int, n_modes: int, per_axis: int, dtype):
    """Magnetizations m(λ) on a grid of fields λ, and the log density of visible configurations there."""
    axis = jnp.linspace(-_REACH, _REACH, per_axis, dtype=dtype)
    fields = jnp.stack(jnp.meshgrid(*[axis] * n_modes, indexing="ij"), axis=-1).reshape(-1, n_modes)

    def density(field):
        m = free_magnetization(distribution, field)
        volume = jnp.linalg.slogdet(jax.jacfwd(lambda field: free_magnetization(distribution, field))(field))[1]
        return m, n_visible * (free_log_partition(distribution, field) - field @ m) + volume / 2

    return jax.jit(lambda fields: lax.map(density, fields, batch_size=_BATCH))(fields)
