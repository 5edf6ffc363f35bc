"""Variational free energies of magnetizations: the Plefka expansion to third order, for any pair of unit types.

On a bipartite graph the expansion in the couplings has one term per bond up to third order; the first neglected order
is W⁴. What a unit contributes is in its cumulants at a given mean. Units whose variance is free at a given mean, such
as Gaussian ones, have it at the stationary value, which sums a class of higher orders (Tramel et al. 2018).
"""

import jax
import jax.numpy as jnp
import optimistix as optx

from rbm_jax._checks import as_configurations, check_mask, check_order, check_sample_weights
from rbm_jax._math import max_norm, normalized_weights
from rbm_jax._typing import Array, ArrayLike, Float, Shaped
from rbm_jax.energies import joint_energy
from rbm_jax.moments import Moments, average_product
from rbm_jax.rbm import RBM
from rbm_jax.units import AbstractUnits

__all__ = [
    "mean_field_covariance",
    "mean_field_free_energy",
    "mean_field_hessian",
    "mean_field_moments",
    "mean_field_stability",
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
    the Legendre form of Tramel et al. (2018); with one Gaussian layer it is ½ Σ_j log(1 - σ² K_j). Order 1 is an upper
    bound of -log Z for all magnetizations (Gibbs and Bogoliubov); the others are no bounds. At a stationary point the
    error is of order W^(order + 1), and W⁴ if one layer has no third cumulant.

    Source: Georges & Yedidia (1991); Gabrié, Tramel & Krzakala (2015). Talks of Decelle, Fissore & Furtlehner print the
    second order with a plus sign, S with the opposite one, and leave out the constant at m = 0.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v, shape (*batch, n_visible), inside the support of the units or on its edge.
        hidden_magnetization: m_h, shape (*batch, n_hidden), with leading axes that broadcast against those of m_v.
        order: 1, 2 or 3.
        clamp_mask: True where a visible unit is held at its value in m_v, in a shape that broadcasts to that of m_v. It
            does not fluctuate, and G approximates -log of the sum over all other units.

    Returns:
        G in units of k_B T, shape (*batch,); NaN where the variance of a Gaussian unit does not exist. Differentiable.

    Raises:
        ValueError: shapes that do not fit, or another order.

    Example:
        >>> import jax
        >>> from rbm_jax import exact_log_z, init_rbm, mean_field_free_energy, solve_mean_field
        >>> rbm = init_rbm(jax.random.key(0), 8, 5, scale=0.5)
        >>> solution = solve_mean_field(rbm, order=2)
        >>> G = mean_field_free_energy(rbm, solution.visible, solution.hidden, order=2)
        >>> print(f"{-G:.2f} approximates {exact_log_z(rbm):.2f}")
        10.47 approximates 10.47
    """
    order, visible, hidden = check_order(order), *_as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    mask = check_mask("clamp_mask", clamp_mask, visible.shape)
    entropy = rbm.visible_units.entropy(visible)
    if mask is not None:
        entropy = jnp.where(mask, rbm.visible_units.log_base_measure(visible), entropy)
    entropy = entropy.sum(-1) + rbm.hidden_units.entropy(hidden).sum(-1)
    return _interaction(rbm, visible, hidden, order, mask) - entropy


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
        ValueError: shapes that do not fit.
    """
    visible, hidden = _as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    entropy = _quadratic_entropy(rbm.visible_units, visible) + _quadratic_entropy(rbm.hidden_units, hidden)
    return joint_energy(rbm, visible, hidden) - entropy


def mean_field_moments(
    rbm: RBM,
    visible_magnetization: Visible,
    hidden_magnetization: Hidden,
    *,
    order: int = 2,
    weights: Shaped[ArrayLike, " n_points"] | None = None,
    clamp_mask: ClampMask = None,
) -> Moments:
    """The model's ⟨v⟩, ⟨h⟩ and ⟨vhᵀ⟩ as derivatives -∂G/∂a, -∂G/∂b, -∂G/∂W of `mean_field_free_energy`.

    ⟨vhᵀ⟩_ij = m_i m_j + W_ij c_i c_j + ½ W_ij² c₃_i c₃_j, up to the term of the given order, averaged over points. The
    magnetizations are held constant, which is right where G is stationary in them (the envelope theorem).

    Args:
        rbm: any pair of unit types.
        visible_magnetization: one point of shape (n_visible,), or several, shape (n_points, n_visible).
        hidden_magnetization: the same for the hidden layer.
        order: 1, 2 or 3.
        weights: non-negative weights of the points, shape (n_points,), normalized here; None for equal ones.
        clamp_mask: True where a visible unit is held at its value in m_v, as in `mean_field_free_energy`.

    Raises:
        ValueError: shapes that do not fit, or another order.
    """
    order, visible, hidden = check_order(order), *_as_magnetizations(rbm, visible_magnetization, hidden_magnetization)
    visible, hidden = jnp.atleast_2d(visible), jnp.atleast_2d(hidden)
    check_sample_weights(weights, len(visible))
    mask = check_mask("clamp_mask", clamp_mask, visible.shape)
    share = normalized_weights(weights, len(visible), rbm.dtype)
    moments = average_product(visible, hidden, weights)
    product = moments.product
    if order >= 2:
        variance_v, variance_h = _variances(rbm, visible, hidden, mask)
        product += rbm.weights * ((share[:, None] * variance_v).T @ variance_h)
    if order == 3:
        third_v, third_h = _third_cumulants(rbm, visible, hidden, mask)
        product += rbm.weights**2 * ((share[:, None] * third_v).T @ third_h) / 2
    return moments._replace(product=product)


def mean_field_hessian(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch n_units n_units"]:
    """Second derivatives of `mean_field_free_energy` in all magnetizations, visible before hidden.

    At a solution its inverse is the susceptibility ∂m/∂(field), the mean-field covariance of the units.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v, shape (*batch, n_visible); on the edge of the support the Hessian is infinite.
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3.

    Returns:
        Shape (*batch, n_visible + n_hidden, n_visible + n_hidden).

    Raises:
        ValueError: shapes that do not fit, or another order.
    """
    curvature, variances = _hessian_parts(rbm, visible_magnetization, hidden_magnetization, order)
    return curvature + jnp.eye(curvature.shape[-1], dtype=rbm.dtype) / variances[..., None]


def mean_field_stability(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch"]:
    """Lowest eigenvalue of √c H √c, with H of `mean_field_hessian` and c the units' variances: is the phase stable?

    It is 1 without couplings and negative if and only if H has a negative eigenvalue, so that the point is no minimum
    of G. The scaling by c makes it finite and accurate for saturated units too. Derivatives exist while the eigenvalue
    is simple.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v at a solution, shape (*batch, n_visible).
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3.

    Raises:
        ValueError: shapes that do not fit, or another order.
    """
    scaled, _ = _scaled_hessian(rbm, visible_magnetization, hidden_magnetization, order)
    return jnp.linalg.eigvalsh(scaled)[..., 0]


def mean_field_covariance(
    rbm: RBM, visible_magnetization: Visible, hidden_magnetization: Hidden, *, order: int = 2
) -> Float[Array, "*batch n_units n_units"]:
    """Linear-response covariance of all units, the inverse of `mean_field_hessian`, visible before hidden.

    It is the susceptibility ∂m/∂(field) at a solution. Computed as √c (√c H √c)^{-1} √c, which is finite for saturated
    units. At order 1 its block between the layers is (Σ_v^{-1} - W Σ_h Wᵀ)^{-1} W Σ_h, exact for Gaussian units.

    Args:
        rbm: any pair of unit types.
        visible_magnetization: m_v at a solution, shape (*batch, n_visible).
        hidden_magnetization: m_h, shape (*batch, n_hidden).
        order: 1, 2 or 3.

    Raises:
        ValueError: shapes that do not fit, or another order.
    """
    scaled, root = _scaled_hessian(rbm, visible_magnetization, hidden_magnetization, order)
    return root[..., :, None] * jnp.linalg.inv(scaled) * root[..., None, :]


def _as_magnetizations(rbm: RBM, visible, hidden) -> tuple[Array, Array]:
    return (
        as_configurations("visible_magnetization", visible, rbm.n_visible, rbm.dtype),
        as_configurations("hidden_magnetization", hidden, rbm.n_hidden, rbm.dtype),
    )


def _interaction(rbm: RBM, visible, hidden, order: int, mask) -> Float[Array, "..."]:
    """`mean_field_free_energy` without the entropies: finite derivatives on the edge of the support too."""
    energy = joint_energy(rbm, visible, hidden)
    if order == 1:
        return energy
    squares = rbm.weights**2
    variance_v, variance_h = _variances(rbm, visible, hidden, mask)
    curvature_v, curvature_h = variance_h @ squares.T, variance_v @ squares
    gain_v = _unless_clamped(mask, rbm.visible_units.fluctuation_entropy(visible, curvature_v))
    gain_h = rbm.hidden_units.fluctuation_entropy(hidden, curvature_h)
    energy = energy - gain_v.sum(-1) - gain_h.sum(-1) + (curvature_h * variance_h).sum(-1) / 2
    if order == 3:
        third_v, third_h = _third_cumulants(rbm, visible, hidden, mask)
        energy = energy - (third_v @ rbm.weights**3 * third_h).sum(-1) / 6
    return energy


def _variances(rbm: RBM, visible, hidden, mask) -> tuple[Array, Array]:
    """Variances of both layers, each at the curvature that the other layer's variances make."""
    units_v, units_h, squares = rbm.visible_units, rbm.hidden_units, rbm.weights**2

    def of_hidden(variance_v, hidden):
        return units_h.variance_at_mean(hidden, variance_v @ squares)

    def of_visible(variance_v, visible, hidden, mask):
        curvature = of_hidden(variance_v, hidden) @ squares.T
        return _unless_clamped(mask, units_v.variance_at_mean(visible, curvature))

    variance_v = _unless_clamped(mask, units_v.variance_at_mean(visible))
    if not units_v.variance_is_free:
        return variance_v, of_hidden(variance_v, hidden)
    if not units_h.variance_is_free:
        variance_v = of_visible(variance_v, visible, hidden, mask)
        return variance_v, of_hidden(variance_v, hidden)

    def solve(start, visible, hidden, mask):
        solver = optx.FixedPointIteration(rtol=4 * float(jnp.finfo(rbm.dtype).eps), atol=0.0, norm=max_norm)
        point = (visible, hidden, mask)
        solution = optx.fixed_point(
            lambda variance, point: of_visible(variance, *point), solver, start, args=point, max_steps=1000, throw=False
        )
        return solution.value

    mask = jnp.zeros(visible.shape, bool) if mask is None else mask
    variance_v = jnp.vectorize(solve, signature="(v),(v),(h),(v)->(v)")(variance_v, visible, hidden, mask)
    return variance_v, of_hidden(variance_v, hidden)


def _third_cumulants(rbm: RBM, visible, hidden, mask) -> tuple[Array, Array]:
    third_v = _unless_clamped(mask, rbm.visible_units.third_cumulant_at_mean(visible))
    return third_v, rbm.hidden_units.third_cumulant_at_mean(hidden)


def _unless_clamped(mask, values: Array) -> Array:
    return values if mask is None else jnp.where(mask, 0, values)


def _quadratic_entropy(units: AbstractUnits, mean: Array) -> Array:
    field = jnp.zeros_like(mean)
    at_rest = units.mean(field)
    return (units.entropy(at_rest) - (mean - at_rest) ** 2 / (2 * units.variance(field))).sum(-1)


def _hessian_parts(rbm: RBM, visible, hidden, order: int) -> tuple[Array, Array]:
    """The Hessian of the interaction, and the variances whose inverses are that of the entropies."""
    order, visible, hidden = check_order(order), *_as_magnetizations(rbm, visible, hidden)
    n_visible = rbm.n_visible

    def interaction(magnetization):
        return _interaction(rbm, magnetization[:n_visible], magnetization[n_visible:], order, None)

    magnetization = jnp.concatenate(_broadcast_batch(visible, hidden), axis=-1)
    units_v, units_h = rbm.visible_units, rbm.hidden_units
    variances = jnp.concatenate(
        [
            units_v.variance_at_mean(magnetization[..., :n_visible]),
            units_h.variance_at_mean(magnetization[..., n_visible:]),
        ],
        axis=-1,
    )
    return jnp.vectorize(jax.hessian(interaction), signature="(n)->(n,n)")(magnetization), variances


def _scaled_hessian(rbm: RBM, visible, hidden, order: int) -> tuple[Array, Array]:
    """√c H √c and √c, with c the variances that the entropies alone give."""
    curvature, variances = _hessian_parts(rbm, visible, hidden, order)
    root = jnp.sqrt(variances)
    return jnp.eye(root.shape[-1], dtype=rbm.dtype) + root[..., :, None] * curvature * root[..., None, :], root


def _broadcast_batch(visible: Array, hidden: Array) -> tuple[Array, Array]:
    batch = jnp.broadcast_shapes(visible.shape[:-1], hidden.shape[:-1])
    return jnp.broadcast_to(visible, (*batch, visible.shape[-1])), jnp.broadcast_to(hidden, (*batch, hidden.shape[-1]))
