"""Replica-symmetric equations of the ensemble, for any pair of unit types.

Averages over W leave single units in random fields, with standard normal x and y: H_v = Σ_α (√κ w_α m̄_α + â_α) û_α +
κ^{1/4} σ √q̄ x on visible ones and H_h = Σ_α (κ^{-1/2} w_α m_α + b̂_α) v̂_α + κ^{-1/4} σ √q y on hidden ones. The other
layer's fluctuations add the curvatures √κ σ² (Q̄ - q̄) and κ^{-1/2} σ² (Q - q). The order parameters are m_α =
E[û_α ⟨s⟩], q = E[⟨s⟩²] and Q = E[⟨s²⟩], with a bar for hidden ones. For ±1 units Q = 1, and the equations are those of
Decelle, Fissore & Furtlehner (2018) but for the sign of their fields and their magnetizations' normalization by √L.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax._internal.typing import Array, ArrayLike, Float, FloatLike, Shaped
from rbm_jax.replica.averages import Averages, Layer, respond
from rbm_jax.replica.distributions import AbstractDistribution, GaussianDistribution
from rbm_jax.replica.ensemble import as_mode_fields, as_strengths
from rbm_jax.units import AbstractUnits, Spin, check_fixed_units, check_scalar_units

__all__ = ["Control", "OrderParameters", "almeida_thouless", "replica_free_energy", "solve_saddle"]

_N_SWEEPS = 50
"""Plain iterations before Newton steps. They find the basin, while Newton steps from far away may lead to another
solution; away from phase boundaries fifty of them get close to it."""
_SPIN = Spin()
_GAUSSIAN = GaussianDistribution()


class Control(eqx.Module):
    """A point of the ensemble.

    `Control(singular_values, noise=0.0, ratio=1.0, visible_field=None, hidden_field=None)`; fields are zero by default.

    Attributes:
        singular_values: planted w_α, shape (n_modes,).
        noise: σ.
        ratio: κ = n_hidden / n_visible.
        visible_field: â_α; visible biases are Σ_α â_α û_iα, shape (n_modes,).
        hidden_field: b̂_α, shape (n_modes,).

    Raises:
        TypeError: values that are not numbers.
        ValueError: strengths or fields that are not finite vectors of one length, negative noise, or a ratio that is
            not positive.
    """

    singular_values: Float[Array, "*points n_modes"]
    noise: Float[Array, "*points"]
    ratio: Float[Array, "*points"]
    visible_field: Float[Array, "*points n_modes"]
    hidden_field: Float[Array, "*points n_modes"]

    def __init__(
        self,
        singular_values: Float[ArrayLike, " n_modes"],
        *,
        noise: FloatLike = 0.0,
        ratio: FloatLike = 1.0,
        visible_field: Float[ArrayLike, " n_modes"] | None = None,
        hidden_field: Float[ArrayLike, " n_modes"] | None = None,
    ):
        self.singular_values = w = as_strengths(singular_values)
        check_positive("noise", noise, or_zero=True)
        check_positive("ratio", ratio)
        self.noise, self.ratio = (jnp.asarray(value).astype(w.dtype) for value in (noise, ratio))
        self.visible_field = as_mode_fields("visible_field", visible_field, w)
        self.hidden_field = as_mode_fields("hidden_field", hidden_field, w)


class OrderParameters(eqx.Module):
    """A solution of the replica-symmetric equations.

    Attributes:
        m_visible: magnetization m_α = E[û_α ⟨s⟩] along each mode, shape (n_modes,).
        m_hidden: m̄_α = E[v̂_α ⟨h⟩], shape (n_modes,).
        q_visible: overlap q = E[⟨s⟩²].
        q_hidden: q̄.
        second_moment_visible: Q = E[⟨s²⟩]; 1 for ±1 units.
        second_moment_hidden: Q̄.
        free_energy: f = -lim E[log Z] / L in units of k_BT, L = √(n_visible n_hidden).
        stability: de Almeida and Thouless' Λ; replica symmetry holds below 1.
        converged: whether the equations are fulfilled to the tolerance.
    """

    m_visible: Float[Array, "*points n_modes"]
    m_hidden: Float[Array, "*points n_modes"]
    q_visible: Float[Array, "*points"]
    q_hidden: Float[Array, "*points"]
    second_moment_visible: Float[Array, "*points"]
    second_moment_hidden: Float[Array, "*points"]
    free_energy: Float[Array, "*points"]
    stability: Float[Array, "*points"]
    converged: Shaped[Array, "*points"]


class _Model(NamedTuple):
    """What does not change along a solution."""

    distribution: AbstractDistribution
    visible_units: AbstractUnits
    hidden_units: AbstractUnits


@functools.partial(
    jax.jit,
    static_argnames=("component_distribution", "tol", "max_steps"),
    inline=True,
)
def solve_saddle(
    control: Control,
    *,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
    m_init: Float[ArrayLike, " n_modes"] | None = None,
    q_init: FloatLike | None = None,
    tol: float | None = None,
    max_steps: int = 30,
) -> OrderParameters:
    """Solve the saddle-point equations from an initial point, for thousands of control points under `vmap`.

    Fifty sweeps find the basin; then come Newton steps, or sweeps where these do not reduce the residual. Which
    solution is found depends on the initial point: the default, a magnetization of 0.9 along the strongest mode, leads
    to the ferromagnet where there is one and decays to the spin glass or the paramagnet elsewhere. Where several
    solutions are locally stable, compare their free energies.

    Args:
        control: where in the ensemble.
        component_distribution: distribution of û and v̂. Gaussian components take any number of modes; others up to two
            or three, as they are averaged on a product grid.
        visible_units: any type but Potts; ±1 by default.
        hidden_units: any type but Potts; ±1 by default.
        m_init: initial visible magnetizations, shape (n_modes,); zeros for the paramagnet and the spin glass.
        q_init: initial visible overlap; by default 0.9, or 0.9 of the units' second moment.
        tol: largest change of a visible order parameter in a sweep; None for 1e-12 in float64, 1e-6 in float32.
        max_steps: Newton steps at most.

    Returns:
        The solution. Its derivatives with respect to the control are those of the implicit function theorem; at phase
        boundaries they do not exist.

    Raises:
        ValueError: an initial point of another shape, max_steps below 1, or Potts units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from rbm_jax.replica import Control, solve_saddle
        >>> strengths = jnp.linspace(0.5, 2.0, 4)
        >>> solutions = jax.vmap(lambda w: solve_saddle(Control(w[None], noise=0.5)))(strengths)
        >>> solutions.m_visible[:, 0] > 0.1
        Array([False, False,  True,  True], dtype=bool)
    """
    model = _model(component_distribution, visible_units, hidden_units)
    dtype, n_modes = control.singular_values.dtype, control.singular_values.shape[0]
    if tol is None:
        tol = 1e-12 if jnp.finfo(dtype).bits == 64 else 1e-6
    max_steps = check_count("max_steps", max_steps)
    init = _initial_layer(model, control, m_init, q_init)

    def sweep(vector):
        return _pack(_visible_from(model, control, _hidden_from(model, control, _unpack(vector, n_modes)).layer).layer)

    def find(_, init):
        return _find_root(sweep, init, n_modes, tol, max_steps)

    vector, residual = lax.custom_root(
        lambda vector: sweep(vector) - vector, _pack(init), find, _solve_linear, has_aux=True
    )
    visible = _unpack(vector, n_modes)
    hidden = _hidden_from(model, control, visible)
    again = _visible_from(model, control, hidden.layer)
    return OrderParameters(
        m_visible=visible.m,
        m_hidden=hidden.layer.m,
        q_visible=visible.q,
        q_hidden=hidden.layer.q,
        second_moment_visible=visible.second,
        second_moment_hidden=hidden.layer.second,
        free_energy=_free_energy(control, visible, hidden.layer, again.log_partition, hidden.log_partition),
        stability=control.noise**4 * again.squared_variance * hidden.squared_variance,
        converged=residual <= tol,
    )


def replica_free_energy(
    order_parameters: OrderParameters,
    control: Control,
    *,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
) -> Float[Array, ""]:
    """The free energy as a function of the order parameters, stationary in all of them at a solution.

    f = Σ w_α m_α m̄_α + ½σ² (Q Q̄ - q q̄) - κ^{-1/2} E[log Z_v(H_v)] - κ^{1/2} E[log Z_h(H_h)], with the partition
    function of one unit in its field and curvature. Its extremum is -lim E[log Z] / L. For ±1 units the terms in σ²
    combine to -½σ² (1 - q)(1 - q̄).

    Args:
        order_parameters: any; their free energy, stability and convergence are not read.
        control: where in the ensemble.
        component_distribution: as in `solve_saddle`.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
    """
    model = _model(component_distribution, visible_units, hidden_units)
    visible, hidden = _layers(order_parameters)
    log_visible = _visible_from(model, control, hidden).log_partition
    log_hidden = _hidden_from(model, control, visible).log_partition
    return _free_energy(control, visible, hidden, log_visible, log_hidden)


def almeida_thouless(
    order_parameters: OrderParameters,
    control: Control,
    *,
    component_distribution: AbstractDistribution = _GAUSSIAN,
    visible_units: AbstractUnits = _SPIN,
    hidden_units: AbstractUnits = _SPIN,
) -> Float[Array, ""]:
    """Λ = σ⁴ E[var(s)²] E[var(h)²]: replica symmetry is stable for Λ < 1 (de Almeida & Thouless 1978).

    Args:
        order_parameters: usually those of a solution.
        control: where in the ensemble.
        component_distribution: as in `solve_saddle`.
        visible_units: as in `solve_saddle`.
        hidden_units: as in `solve_saddle`.
    """
    model = _model(component_distribution, visible_units, hidden_units)
    visible, hidden = _layers(order_parameters)
    on_visible, on_hidden = _visible_from(model, control, hidden), _hidden_from(model, control, visible)
    return control.noise**4 * on_visible.squared_variance * on_hidden.squared_variance


def _model(
    component_distribution: AbstractDistribution, visible_units: AbstractUnits, hidden_units: AbstractUnits
) -> _Model:
    check_scalar_units("replica theory", visible_units, hidden_units)
    check_fixed_units("replica theory", visible_units, hidden_units)
    return _Model(component_distribution, visible_units, hidden_units)


def _layers(solution: OrderParameters) -> tuple[Layer, Layer]:
    visible = Layer(solution.m_visible, solution.q_visible, solution.second_moment_visible)
    return visible, Layer(solution.m_hidden, solution.q_hidden, solution.second_moment_hidden)


def _initial_layer(model: _Model, control: Control, m_init, q_init) -> Layer:
    w = control.singular_values
    _, second, _ = model.visible_units.curved_moments(jnp.zeros_like(w[:1]), 0.0)
    scale = second[0]
    if m_init is None:
        # Close to saturation, from where sweeps decay to the ferromagnet rather than pass it on the way up.
        m_init = jnp.zeros_like(w).at[jnp.argmax(w)].set(0.9 * jnp.sqrt(scale))
    m_init = jnp.asarray(m_init).astype(w.dtype)
    if m_init.shape != w.shape:
        raise ValueError(f"m_init must have the shape {w.shape} of singular_values, got {m_init.shape}")
    q = 0.9 * scale if q_init is None else jnp.asarray(q_init).astype(w.dtype)
    return Layer(m_init, q, scale)


def _visible_from(model: _Model, control: Control, hidden: Layer) -> Averages:
    root = jnp.sqrt(control.ratio)
    along = root * control.singular_values * hidden.m + control.visible_field
    return respond(model.distribution, model.visible_units, along, root * control.noise**2, hidden)


def _hidden_from(model: _Model, control: Control, visible: Layer) -> Averages:
    root = jnp.sqrt(control.ratio)
    along = control.singular_values * visible.m / root + control.hidden_field
    return respond(model.distribution, model.hidden_units, along, control.noise**2 / root, visible)


def _free_energy(control: Control, visible: Layer, hidden: Layer, log_visible, log_hidden):
    root = jnp.sqrt(jnp.sqrt(control.ratio))
    coupling = (control.singular_values * visible.m * hidden.m).sum()
    reaction = control.noise**2 * (visible.second * hidden.second - visible.q * hidden.q) / 2
    return coupling + reaction - log_visible / root**2 - log_hidden * root**2


def _pack(layer: Layer) -> Array:
    return jnp.concatenate([layer.m, jnp.stack([layer.q, layer.second])])


def _unpack(vector: Array, n_modes: int) -> Layer:
    return Layer(vector[:n_modes], vector[n_modes], vector[n_modes + 1])


def _find_root(sweep, init, n_modes: int, tol: float, max_steps: int):
    """The fixed point of a sweep, and its residual."""
    identity = jnp.eye(init.shape[0], dtype=init.dtype)

    def swept(state):
        n_steps, _, image = state
        return n_steps + 1, image, sweep(image)

    def newton(state):
        n_steps, vector, image = state
        guess = vector + jnp.linalg.solve(identity - jax.jacfwd(sweep)(vector), image - vector)
        m, q, second = _unpack(guess, n_modes)
        second = jnp.maximum(second, 0)
        guess = _pack(Layer(m, jnp.clip(q, 0, second), second))
        guess = jnp.where(jnp.isfinite(guess).all(), guess, image)
        # Two sweeps from either candidate, side by side: the first makes q follow m before the two are compared.
        _, (first, second) = lax.scan(lambda at, _: (jax.vmap(sweep)(at),) * 2, jnp.stack([guess, image]), length=2)
        better = jnp.abs(second[0] - first[0]).max() < jnp.abs(image - vector).max()
        return n_steps + 1, jnp.where(better, first[0], image), jnp.where(better, second[0], first[1])

    def unfinished(limit, state):
        n_steps, vector, image = state
        residual = jnp.abs(image - vector).max()
        return (n_steps < limit) & (residual > tol)

    # From infinity the first sweep's image is the initial point: one place that sweeps is one to compile.
    start = (-1, jnp.where(jnp.isnan(init), init, jnp.inf), init)
    _, vector, image = lax.while_loop(functools.partial(unfinished, _N_SWEEPS), swept, start)
    _, vector, image = lax.while_loop(functools.partial(unfinished, max_steps), newton, (0, vector, image))
    return vector, jnp.abs(image - vector).max()


def _solve_linear(matrix_product, right_side):
    """Least squares, so that directions along a manifold of solutions are left alone."""
    matrix = jax.jacfwd(matrix_product)(jnp.zeros_like(right_side))
    return jnp.linalg.pinv(matrix, rtol=float(jnp.finfo(matrix.dtype).eps) ** 0.5) @ right_side
