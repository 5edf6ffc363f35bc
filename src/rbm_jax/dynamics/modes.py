"""The learning equations on the singular value decomposition of the weights.

For W = U diag(σ) Vᵀ and any dW/dt, with A = Uᵀ (dW/dt) V: dσ_α/dt = A_αα, and both bases rotate,
Ω^v_αβ = (du_α/dt)·u_β, Ω^h_αβ = (dv_α/dt)·v_β (equations 6 to 8).
"""

import equinox as eqx
import jax.numpy as jnp

from rbm_jax._internal.typing import Array, Float, Shaped
from rbm_jax.spectral import Modes

__all__ = [
    "ModeMotion",
    "ModeVelocity",
    "mode_motion",
    "mode_velocity",
    "modes_derivative",
    "rebuild_velocity",
    "split_degenerate",
]

_ROUNDING = 100
"""Times the rounding error: what a decomposition of matrices of some hundred units leaves between equal values."""


class ModeVelocity(eqx.Module):
    """How singular values and vectors move.

    Attributes:
        values: dσ_α/dt, shape (n_modes,).
        left_rotation: Ω^v_αβ = (du_α/dt)·u_β, antisymmetric, shape (n_modes, n_modes).
        right_rotation: Ω^h_αβ = (dv_α/dt)·v_β, antisymmetric, shape (n_modes, n_modes).
        left_outside: the part of du_α/dt outside the span of the u's, in column α, shape (n_visible, n_modes).
        right_outside: the part of dv_α/dt outside the span of the v's, shape (n_hidden, n_modes).
        degenerate: True at (α, β) where something is not defined and was set to zero, shape (n_modes, n_modes): off the
            diagonal, the rotation of pairs whose σ_α and σ_β coincide; on it, the outside parts for σ_α = 0.
    """

    values: Float[Array, " n_modes"]
    left_rotation: Float[Array, "n_modes n_modes"]
    right_rotation: Float[Array, "n_modes n_modes"]
    left_outside: Float[Array, "n_visible n_modes"]
    right_outside: Float[Array, "n_hidden n_modes"]
    degenerate: Shaped[Array, "n_modes n_modes"]


def mode_velocity(
    modes: Modes, dW: Float[Array, "n_visible n_hidden"], *, degeneracy_tol: float | None = None
) -> ModeVelocity:
    """Velocities of the singular values and rotation generators of the singular vectors, from any dW/dt.

    With S and D the symmetric and antisymmetric parts of A = Uᵀ (dW/dt) V,
    Ω^v = S/(σ_α - σ_β) - D/(σ_α + σ_β) and Ω^h = S/(σ_α - σ_β) + D/(σ_α + σ_β); outside the spans
    du_α/dt gains (1 - UUᵀ)(dW/dt) v_α / σ_α, and dv_α/dt likewise.

    A fast rotation of two close modes is genuine. Where |σ_α - σ_β| is within the tolerance the S part has no limit, as
    the vectors are not determined, and is set to zero; so is the D part where both values are zero, and the outside
    part where σ_α is.

    Args:
        modes: all modes of the weights, from `svd_modes`.
        dW: a time derivative of the weights, such as `force(t, rbm, args).weights`.
        degeneracy_tol: distance within which two singular values, or one and zero, are taken for equal, relative to the
            largest one; None for 100 times the rounding error of the dtype.

    Raises:
        ValueError: dW does not have the shape of the weights, or some modes are missing.
    """
    dW = jnp.asarray(dW)  # noqa: N806
    shape = (modes.left.shape[0], modes.right.shape[0])
    if dW.shape != shape:
        raise ValueError(f"dW must have the shape {shape} of the weights, got {dW.shape}")
    if modes.values.shape[0] != min(shape):
        raise ValueError(
            f"modes must be all {min(shape)} modes of the weights, got {modes.values.shape[0]}: "
            "the vectors of leading modes rotate into the others"
        )
    left, values, right = modes.left, modes.values, modes.right
    threshold = _degeneracy_distance(values, degeneracy_tol)
    moved_right, moved_left = dW @ right, dW.T @ left
    a = left.T @ moved_right
    symmetric, antisymmetric = (a + a.T) / 2, (a - a.T) / 2
    twist = _guarded_ratio(antisymmetric, values[:, None] + values, threshold)
    turn = _guarded_ratio(symmetric, values[:, None] - values, threshold)
    off_diagonal = ~jnp.eye(len(values), dtype=bool)
    close = off_diagonal & (jnp.abs(values[:, None] - values) <= threshold)
    return ModeVelocity(
        values=jnp.diagonal(a),
        left_rotation=turn - twist,
        right_rotation=turn + twist,
        left_outside=_guarded_ratio(moved_right - left @ a, values, threshold),
        right_outside=_guarded_ratio(moved_left - right @ a.T, values, threshold),
        degenerate=close | (jnp.diag(values <= threshold)),
    )


class ModeMotion(eqx.Module):
    """What a change of the weights does: to singular values, to directions within the spans, and outside of them.

    The first three are fractions of |dW|², which add up to 1.

    Attributes:
        values_fraction: Σ_α A_αα², of the changes of singular values.
        rotation_fraction: Σ_α≠β A_αβ², of the rotations of both bases within their spans.
        outside_fraction: of the parts outside the spans of the u's or of the v's, none for the smaller layer's.
        value_velocity: dσ_α/dt, shape (n_modes,).
        left_speed: |du_α/dt|, the angular speed of a left vector, shape (n_modes,).
        right_speed: |dv_α/dt|, shape (n_modes,).
    """

    values_fraction: Float[Array, "*times"]
    rotation_fraction: Float[Array, "*times"]
    outside_fraction: Float[Array, "*times"]
    value_velocity: Float[Array, "*times n_modes"]
    left_speed: Float[Array, "*times n_modes"]
    right_speed: Float[Array, "*times n_modes"]


def mode_motion(
    modes: Modes, dW: Float[Array, "n_visible n_hidden"], *, degeneracy_tol: float | None = None
) -> ModeMotion:
    """How a change of the weights divides among singular values and rotations, for a force or for a step of training.

    For a step of training, dW is minus the gradient that the estimator returns; as an observer of `fit`:

        def observe(state):
            gradient, _ = estimator(key, state.rbm, data, state.chains)
            return mode_motion(svd_modes(state.rbm.weights), -gradient.weights)

    Args:
        modes: all modes of the weights, from `svd_modes`.
        dW: a time derivative of the weights.
        degeneracy_tol: as in `mode_velocity`; it affects only the speeds.

    Raises:
        ValueError: as `mode_velocity`.
    """
    velocity = mode_velocity(modes, dW, degeneracy_tol=degeneracy_tol)
    a = modes.left.T @ dW @ modes.right
    total = (dW**2).sum()
    total = jnp.where(total > 0, total, 1)
    inside, diagonal = (a**2).sum(), (velocity.values**2).sum()
    return ModeMotion(
        values_fraction=diagonal / total,
        rotation_fraction=(inside - diagonal) / total,
        outside_fraction=((dW**2).sum() - inside) / total,
        value_velocity=velocity.values,
        left_speed=jnp.sqrt((velocity.left_rotation**2).sum(1) + (velocity.left_outside**2).sum(0)),
        right_speed=jnp.sqrt((velocity.right_rotation**2).sum(1) + (velocity.right_outside**2).sum(0)),
    )


def split_degenerate(
    modes: Modes, dW: Float[Array, "n_visible n_hidden"], *, degeneracy_tol: float | None = None
) -> Modes:
    """Choose the vectors of equal singular values so that dW does not mix them.

    The vectors of a block of equal σ > 0 are determined up to one rotation of its u's and v's together. With the one
    that makes the symmetric part of A = Uᵀ (dW) V diagonal in the block, the singular values split at the rates A_αα
    and no rotation is singular: `mode_velocity` then describes dW completely (degenerate perturbation theory).

    Args:
        modes: all modes of the weights, by decreasing singular value, from `svd_modes`.
        dW: a time derivative of the weights.
        degeneracy_tol: values within it of their neighbor are one block; relative to the largest one, as in
            `mode_velocity`.

    Returns:
        Modes of the same weights. In a block of σ = 0, u's and v's can rotate apart; there only this common rotation is
        made.
    """
    left, values, right = modes.left, modes.values, modes.right
    is_new = jnp.diff(values, prepend=jnp.inf) < -_degeneracy_distance(values, degeneracy_tol)
    block = jnp.cumsum(is_new)
    a = left.T @ jnp.asarray(dW) @ right
    within = jnp.where(block[:, None] == block, (a + a.T) / 2, 0)
    # Far apart on the diagonal, blocks keep their eigenvectors to themselves.
    spacing = 2 * jnp.linalg.norm(within) + 1
    _, rotation = jnp.linalg.eigh(within - jnp.diag(block * spacing).astype(values.dtype))
    rotation = rotation[:, ::-1]
    largest = jnp.take_along_axis(rotation, jnp.abs(rotation).argmax(0)[None], axis=0)
    rotation = rotation * jnp.where(largest < 0, -1, 1)  # modes alone in their block stay as they are
    return Modes(left @ rotation, values, right @ rotation)


def modes_derivative(
    modes: Modes, dW: Float[Array, "n_visible n_hidden"], *, degeneracy_tol: float | None = None
) -> Modes:
    """The time derivative of (U, σ, V) as a `Modes`, ready for an ODE solver.

    Args:
        modes: the modes, distinct and positive; see `mode_velocity` for those that are not.
        dW: the time derivative of the weights.
        degeneracy_tol: as in `mode_velocity`.
    """
    velocity = mode_velocity(modes, dW, degeneracy_tol=degeneracy_tol)
    return Modes(
        modes.left @ velocity.left_rotation.T + velocity.left_outside,
        velocity.values,
        modes.right @ velocity.right_rotation.T + velocity.right_outside,
    )


def rebuild_velocity(modes: Modes, velocity: ModeVelocity) -> Float[Array, "n_visible n_hidden"]:
    """dW/dt from the motion of the modes: U diag(dσ/dt) Vᵀ + (dU/dt) diag(σ) Vᵀ + U diag(σ) (dV/dt)ᵀ.

    It is the dW/dt that `mode_velocity` was given, to rounding, if `modes` are all modes and none are degenerate. For
    weights with equal singular values, `split_degenerate` makes it so.

    Args:
        modes: those that `velocity` was computed for.
        velocity: from `mode_velocity`.
    """
    left_velocity = modes.left @ velocity.left_rotation.T + velocity.left_outside
    right_velocity = modes.right @ velocity.right_rotation.T + velocity.right_outside
    return (
        (modes.left * velocity.values) @ modes.right.T
        + (left_velocity * modes.values) @ modes.right.T
        + (modes.left * modes.values) @ right_velocity.T
    )


def _degeneracy_distance(values, degeneracy_tol: float | None):
    if degeneracy_tol is None:
        degeneracy_tol = _ROUNDING * float(jnp.finfo(values.dtype).eps)
    return degeneracy_tol * jnp.abs(values).max()


def _guarded_ratio(numerator, denominator, threshold):
    """Numerator / denominator, and zero where the denominator is within the threshold."""
    small = jnp.abs(denominator) <= threshold
    return jnp.where(small, 0, numerator / jnp.where(small, 1, denominator))
