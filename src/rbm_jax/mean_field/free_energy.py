"""Variational free energies of magnetizations: the Plefka expansion to third order, for any pair of unit types.

On a bipartite graph the expansion in the couplings has one term per bond up to third order; the first neglected order
is W⁴. What a unit contributes is in its cumulants at a given mean. Units whose variance is free at a given mean, such
as Gaussian ones, have it at the stationary value, which sums a class of higher orders (Tramel et al. 2018).
"""

import jax
import jax.numpy as jnp
import optimistix as optx

from rbm_jax._internal.checks import as_means, check_mask, check_sample_weights
from rbm_jax._internal.math import max_norm, normalized_weights
from rbm_jax._internal.typing import Array, ArrayLike, Float, Shaped
from rbm_jax.mean_field.fluctuations import (
    Fluctuations,
    check_expansion,
    coupling,
    fluctuations,
    received_curvature,
)
from rbm_jax.model.energies import check_leading_axes, check_rbm, energy_of_both
from rbm_jax.model.rbm import RBM, rebuild
from rbm_jax.model.statistics import Moments, average_product
from rbm_jax.units import AbstractUnits

__all__ = [
    "Hidden",
    "Visible",
    "as_magnetizations",
    "broadcast_batch",
    "interaction_energy",
    "mean_field_free_energy",
    "mean_field_moments",
    "quadratic_free_energy",
]

Visible = Float[ArrayLike, "*#batch n_visible"]
Hidden = Float[ArrayLike, "*#batch n_hidden"]
ClampMask = Shaped[ArrayLike, "*#batch n_visible"] | None


def mean_field_free_energy(
    rbm: RBM,
    visible_magnetization: Visible,
    hidden_magnetization: Hidden,
    *,
    order: int = 2,
    clamp_mask: ClampMask = None,
) -> Float[Array, "..."]:
    """Free energy G(m_v, m_h) of given magnetizations, whose stationary values approximate -log Z.

    With S the `entropy` of the units, c and c₃ their variance and third cumulant at the given mean,

        G = -S(m_v) - S(m_h) - a·m_v - b·m_h - m_vᵀ W m_h      (order 1, naive)
            - ½ Σ W_ij² c_i c_j                                (order 2, Thouless-Anderson-Palmer)
            - ⅙ Σ W_ij³ c₃_i c₃_j                              (order 3)

    for units of two states. For Gaussian ones c is 1/(1/σ² - K) with K_j = Σ_i W_ij² c_i, and the term of order 2 is
    the Legendre form of Tramel et al. (2018); with one Gaussian layer it is ½ Σ_j log(1 - σ² K_j). For ReLU ones it is
    that form as well, with the variance of a truncated Gaussian at its mean. For Potts ones it is
    -½ Σ tr(W_ijᵀ C_i W_ij C_j), with W_ij the block of weights between two units and C = diag(m) - m mᵀ; there is no
    order 3.

    Order 1 is an upper bound of -log Z for all magnetizations (Gibbs and Bogoliubov); the others are no bounds. At a
    stationary point the error is of order W^(order + 1), and W⁴ if one layer has no third cumulant.

    Source: Georges & Yedidia (1991); Gabrié, Tramel & Krzakala (2015). Talks of Decelle, Fissore & Furtlehner print the
    second order with a plus sign, S with the opposite one, and leave out the constant at m = 0.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v, shape (*batch, n_visible), inside the support of the units or on its edge.
        hidden_magnetization: m_h, shape (*batch, n_hidden), with leading axes that broadcast against those of m_v.
        order: 1, 2 or 3; with Potts units 1 or 2.
        clamp_mask: True where a visible unit is held at its value in m_v, in a shape that broadcasts to that of m_v. It
            does not fluctuate, and G approximates -log of the sum over all other units.

    Returns:
        G in units of k_B T, shape (*batch,); NaN where the variance of a Gaussian or ReLU unit does not exist.
        Differentiable.

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, an RBM with NaN, or another order.

    Example:
        >>> import jax
        >>> from rbm_jax import exact_log_z, init_rbm, solve_mean_field
        >>> from rbm_jax.mean_field import mean_field_free_energy
        >>> rbm = init_rbm(jax.random.key(0), 8, 5, scale=0.5)
        >>> solution = solve_mean_field(rbm, order=2)
        >>> G = mean_field_free_energy(rbm, solution.visible, solution.hidden, order=2)
        >>> print(f"{-G:.2f} approximates {exact_log_z(rbm):.2f}")
        9.04 approximates 9.04
    """
    order = check_expansion(order, rbm)
    visible, hidden = as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    group_size = rbm.visible_units.group_size
    mask = check_mask("clamp_mask", clamp_mask, visible.shape, group_size)
    entropy = rbm.visible_units.entropy(visible)
    if mask is not None:
        entropy = jnp.where(mask[..., ::group_size], rbm.visible_units.log_base_measure(visible), entropy)
    entropy = entropy.sum(-1) + rbm.hidden_units.entropy(hidden).sum(-1)
    return interaction_energy(rbm, visible, hidden, order, mask) - entropy


def quadratic_free_energy(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden
) -> Float[Array, "..."]:
    """Naive `mean_field_free_energy` to second order around the magnetizations m₀ of free units.

    G = Σ [(m - m₀)² / 2c₀ - S(m₀)] - a·m_v - b·m_h - m_vᵀ W m_h, with c₀ the variance at no field. For ±1 units it is
    the form with ½ Σ m² of Decelle, Fissore & Furtlehner (2017), up to their sign of the fields and a constant; exact
    for Gaussian units.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v, shape (*batch, n_visible).
        hidden_magnetization: m_h, shape (*batch, n_hidden).

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, or an RBM with NaN.
    """
    visible, hidden = as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    entropy = _quadratic_entropy(rbm.visible_units, visible) + _quadratic_entropy(rbm.hidden_units, hidden)
    return energy_of_both(rbm, visible, hidden) - entropy


def mean_field_moments(
    rbm: RBM,
    visible_magnetization: Visible,
    hidden_magnetization: Hidden,
    *,
    order: int = 2,
    sample_weights: Shaped[ArrayLike, " n_points"] | None = None,
    clamp_mask: ClampMask = None,
) -> Moments:
    """The model's ⟨v⟩, ⟨h⟩ and ⟨vhᵀ⟩ as derivatives -∂G/∂a, -∂G/∂b, -∂G/∂W of `mean_field_free_energy`.

    The derivatives for learned parameters of units are -∂G/∂λ.

    ⟨vhᵀ⟩_ij = m_i m_j + W_ij c_i c_j + ½ W_ij² c₃_i c₃_j, up to the term of the given order, averaged over points. The
    magnetizations are held constant, which is right where G is stationary in them (the envelope theorem).

    Args:
        rbm: any pair of unit types.
        visible_magnetization: one point of shape (n_visible,), or several, shape (n_points, n_visible).
        hidden_magnetization: the same for the hidden layer.
        order: 1, 2 or 3; with Potts units 1 or 2.
        sample_weights: non-negative weights of the points, shape (n_points,), normalized here; None for equal ones.
        clamp_mask: True where a visible unit is held at its value in m_v, as in `mean_field_free_energy`.

    Raises:
        ValueError: shapes that do not fit, values that cannot be means of the units, an RBM with NaN, or another order.
    """
    order = check_expansion(order, rbm)
    visible, hidden = as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    visible, hidden = jnp.atleast_2d(visible), jnp.atleast_2d(hidden)
    check_sample_weights(sample_weights, len(visible))
    mask = check_mask("clamp_mask", clamp_mask, visible.shape)
    share = normalized_weights(sample_weights, len(visible), rbm.dtype)
    moments = average_product(visible, hidden, sample_weights)
    product = moments.product
    if order >= 2:
        layers = _fluctuations(rbm, visible, hidden, mask)
        product += _covariance_between(rbm.weights, share, *layers)
    if order == 3:
        third_v, third_h = _third_cumulants(rbm, visible, hidden, mask)
        product += rbm.weights**2 * ((share[:, None] * third_v).T @ third_h) / 2
    units = _units_derivative(rbm, visible, hidden, order, share, mask)
    return Moments(moments.visible, moments.hidden, product, *units)


def _units_derivative(rbm: RBM, visible, hidden, order: int, share, mask) -> tuple[AbstractUnits, AbstractUnits]:
    """-∂G/∂λ at fixed magnetizations for the learned parameters of both layers, averaged over points."""
    units = rbm.visible_units, rbm.hidden_units
    if not jax.tree.leaves(units):
        return units

    def log_z(units):
        at_units = rebuild(rbm, visible_units=units[0], hidden_units=units[1])
        return -share @ mean_field_free_energy(at_units, visible, hidden, order=order, clamp_mask=mask)

    return jax.grad(log_z)(units)


def as_magnetizations(rbm: RBM, visible, hidden) -> tuple[Array, Array]:
    """Both layers' magnetizations in the RBM's dtype, or an error: last axes, means that the units cannot have, NaN."""
    check_rbm(rbm)
    visible = as_means("visible_magnetization", visible, rbm.visible_units, rbm.n_visible, rbm.dtype)
    hidden = as_means("hidden_magnetization", hidden, rbm.hidden_units, rbm.n_hidden, rbm.dtype)
    check_leading_axes(visible_magnetization=visible, hidden_magnetization=hidden)
    return visible, hidden


def interaction_energy(rbm: RBM, visible, hidden, order: int, mask) -> Float[Array, "..."]:
    """`mean_field_free_energy` without the entropies: finite derivatives on the edge of the support too."""
    energy = energy_of_both(rbm, visible, hidden)
    if order == 1:
        return energy
    squares = rbm.weights**2
    layer_v, layer_h = _fluctuations(rbm, visible, hidden, mask)
    half = coupling(rbm.weights, squares, layer_v, layer_h) / 2
    # The Legendre form, in which what a unit of fixed variance gains is half the coupling.
    gain_v = gain_h = half
    if rbm.visible_units.variance_is_free:
        curvature = received_curvature(layer_h, rbm.weights.T, squares.T)
        gain_v = _unless_clamped(mask, rbm.visible_units.fluctuation_entropy(visible, curvature)).sum(-1)
    if rbm.hidden_units.variance_is_free:
        curvature = received_curvature(layer_v, rbm.weights, squares)
        gain_h = rbm.hidden_units.fluctuation_entropy(hidden, curvature).sum(-1)
    energy = energy - gain_v - gain_h + half
    if order == 3:
        third_v, third_h = _third_cumulants(rbm, visible, hidden, mask)
        energy = energy - (third_v @ rbm.weights**3 * third_h).sum(-1) / 6
    return energy


def _fluctuations(rbm: RBM, visible, hidden, mask) -> tuple[Fluctuations, Fluctuations]:
    """Those of both layers, each at the curvature that the other layer's make."""
    units_v, units_h, weights, squares = rbm.visible_units, rbm.hidden_units, rbm.weights, rbm.weights**2

    def of_hidden(layer_v, hidden):
        return fluctuations(units_h, hidden, received_curvature(layer_v, weights, squares))

    def of_visible(layer_h, visible, mask):
        return fluctuations(units_v, visible, received_curvature(layer_h, weights.T, squares.T), mask)

    layer_v = fluctuations(units_v, visible, mask=mask)
    if not units_v.variance_is_free:
        return layer_v, of_hidden(layer_v, hidden)
    if not units_h.variance_is_free:
        layer_h = fluctuations(units_h, hidden)
        return of_visible(layer_h, visible, mask), layer_h

    def improve(variance, point):
        visible, hidden, mask = point
        return of_visible(of_hidden(Fluctuations(variance, None), hidden), visible, mask).diagonal

    def solve(start, *point):
        solver = optx.FixedPointIteration(rtol=4 * float(jnp.finfo(rbm.dtype).eps), atol=0.0, norm=max_norm)
        return optx.fixed_point(improve, solver, start, args=point, max_steps=1000, throw=False).value

    mask = jnp.zeros(visible.shape, bool) if mask is None else mask
    variance = jnp.vectorize(solve, signature="(v),(v),(h),(v)->(v)")(layer_v.diagonal, visible, hidden, mask)
    layer_v = Fluctuations(variance, None)
    return layer_v, of_hidden(layer_v, hidden)


def _covariance_between(weights, share, layer_v: Fluctuations, layer_h: Fluctuations) -> Array:
    """C W C between the layers, averaged over points: the derivative of half the coupling in W."""
    if layer_v.outer is None and layer_h.outer is None:
        return weights * ((share[:, None] * layer_v.diagonal).T @ layer_h.diagonal)
    return jax.grad(lambda w: share @ coupling(w, w**2, layer_v, layer_h) / 2)(weights)


def _third_cumulants(rbm: RBM, visible, hidden, mask) -> tuple[Array, Array]:
    third_v = _unless_clamped(mask, rbm.visible_units.third_cumulant_at_mean(visible))
    return third_v, rbm.hidden_units.third_cumulant_at_mean(hidden)


def _unless_clamped(mask, values: Array) -> Array:
    return values if mask is None else jnp.where(mask, 0, values)


def _quadratic_entropy(units: AbstractUnits, mean: Array) -> Array:
    field = jnp.zeros_like(mean)
    at_rest = units.mean(field)
    spread = (mean - at_rest) ** 2 / (2 * fluctuations(units, at_rest).diagonal)
    return units.entropy(at_rest).sum(-1) - spread.sum(-1)


def broadcast_batch(visible: Array, hidden: Array) -> tuple[Array, Array]:
    """Both layers' magnetizations with the same leading axes."""
    batch = jnp.broadcast_shapes(visible.shape[:-1], hidden.shape[:-1])
    return jnp.broadcast_to(visible, (*batch, visible.shape[-1])), jnp.broadcast_to(hidden, (*batch, hidden.shape[-1]))
