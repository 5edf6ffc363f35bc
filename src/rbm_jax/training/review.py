"""Reviews of updates: `review(before, after) -> TrainState`, which may shorten or reject an update and counts it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_configurations
from rbm_jax._internal.fields import count_field, fraction_field
from rbm_jax._internal.typing import Array, Bool
from rbm_jax.model.energies import free_energy_of_visible
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling import TrajectoryChains, live_rungs
from rbm_jax.training.trainer import TrainState, expanded

__all__ = ["KeepsEquilibrium", "KeepsFiniteZ"]


class KeepsEquilibrium(eqx.Module):
    """Reject an update after which the chains' states, reweighted, no longer stand for the RBM.

    The effective number of the states, (Σw)²/Σw² with w = `P*_after / P*_before`, must be at least this fraction of
    them. An update to an RBM that is not finite is rejected as well. The RBM and the optimizer's state then stay as
    they were, and chains and step go on.

    Attributes:
        min_fraction: least effective fraction of the states. Below about a third, a few states carry the averages of
            the next update.
    """

    min_fraction: float = fraction_field("min_fraction", 0.3)

    def __call__(self, before: TrainState, after: TrainState) -> TrainState:
        """The state after, or the one before with the new chains."""
        rbm, new = expanded(before.rbm), expanded(after.rbm)
        if isinstance(after.carry, TrajectoryChains):
            states, live = after.carry.tempering.chains, live_rungs(after.carry)[:, None]
        else:
            states, live = as_configurations("carry", after.carry, rbm.n_visible, rbm.dtype), True
        gain = jnp.where(live, free_energy_of_visible(rbm, states) - free_energy_of_visible(new, states), -jnp.inf)
        n_states = jnp.broadcast_to(live, gain.shape).sum()
        log_ess = 2 * logsumexp(gain) - logsumexp(2 * gain)
        return _unless(_is_finite(new) & (log_ess >= jnp.log(self.min_fraction * n_states)), before, after)


class KeepsFiniteZ(eqx.Module):
    """Shorten an update that would leave the RBMs with a partition function, where both layers are continuous.

    A step of finite size can cross the border that the exact flow never reaches. The update is halved until every
    singular value of S_v^{1/2} W S_h^{1/2} is below 1, with S the variances of the units at zero field and no
    truncation, and rejected if max_halvings are not enough. For Gaussian layers the border is exact; for ReLU units,
    of which only the positive side counts, it is on the safe side. RBMs with a discrete layer are left alone.

    Attributes:
        max_halvings: most halvings of one update; ten leave a thousandth of it.
    """

    max_halvings: int = count_field("max_halvings", 10, minimum=0)

    def __call__(self, before: TrainState, after: TrainState) -> TrainState:
        """The state after an update of the largest fraction that keeps Z finite."""
        rbm = expanded(before.rbm)
        if rbm.visible_units.states is not None or rbm.hidden_units.states is not None:
            return after
        fractions = 0.5 ** jnp.arange(self.max_halvings + 1, dtype=rbm.dtype)

        def part(fraction):
            return jax.tree.map(lambda old, new: old + fraction * (new - old), before.rbm, after.rbm)

        is_allowed = jax.lax.map(lambda fraction: _has_finite_z(expanded(part(fraction))), fractions)
        first = jnp.argmax(is_allowed)
        shortened = dataclasses.replace(
            after,
            rbm=jax.tree.map(lambda new, short: jnp.where(first == 0, new, short), after.rbm, part(fractions[first])),
            n_rejected=after.n_rejected + (first > 0),
        )
        return _unless(is_allowed.any(), before, shortened)


def _unless(is_kept: Bool[Array, ""], before: TrainState, after: TrainState) -> TrainState:
    """The state after; where it is not kept, RBM and optimizer of the one before, and the update is counted."""
    rbm, opt_state = jax.tree.map(
        lambda new, old: jnp.where(is_kept, new, old), (after.rbm, after.opt_state), (before.rbm, before.opt_state)
    )
    n_rejected = jnp.where(is_kept, after.n_rejected, before.n_rejected + 1)
    return dataclasses.replace(after, rbm=rbm, opt_state=opt_state, n_rejected=n_rejected)


def _is_finite(rbm: RBM) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(rbm)]).all()


def _has_finite_z(rbm: RBM) -> Bool[Array, ""]:
    """Whether 1 - MᵀM is positive definite, with M = S_v^{1/2} W S_h^{1/2}."""
    scales = [
        1 / jnp.sqrt(-2 * units.log_base_measure(jnp.ones_like(bias)))  # log ρ(s) = -s²/2σ² at s = 1
        for units, bias in ((rbm.visible_units, rbm.visible_bias), (rbm.hidden_units, rbm.hidden_bias))
    ]
    scaled = scales[0][:, None] * rbm.weights * scales[1]
    scaled = scaled if rbm.n_hidden <= rbm.n_visible else scaled.T
    # NaN where it is not; cheaper than singular values.
    return jnp.isfinite(jnp.linalg.cholesky(jnp.eye(scaled.shape[1], dtype=rbm.dtype) - scaled.T @ scaled)).all()
