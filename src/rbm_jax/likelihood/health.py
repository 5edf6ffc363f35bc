"""Can the states on a ladder of RBMs be trusted? What replica exchange hides if it is not asked."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import check_count, is_concrete
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, Bool, Chains, Float, PRNGKey
from rbm_jax.model.energies import free_energy_of_visible
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling import TemperingState, sample_tempering
from rbm_jax.spectral import svd_modes

__all__ = ["LadderHealth", "ladder_health"]

_LEAST_ACCEPTANCE = 0.1
"""Of swaps: a state crosses a ladder of n rungs in about n² / acceptance steps."""

_MOST_DEVIATION = 5.0
"""Standard errors: by chance one number of a million is beyond, so that rungs and repetitions raise no false alarm."""


class LadderHealth(eqx.Module):
    """Signs of trouble on a ladder.

    Attributes:
        acceptance: mean probability of a swap between neighbors, shape (n_rungs - 1,). Below about 0.1 states hardly
            cross the ladder.
        drift: change of the mean free energy of each rung's states while they ran on, in standard errors, shape
            (n_rungs,). It is a normal number in equilibrium, and large while states still relax.
        mass: fraction of each rung's states in the upper half along its leading mode, less that which the states of
            the rung below predict by their weights, in standard errors, shape (n_rungs - 1,). It is a normal number
            in equilibrium, and large where clusters have the wrong masses.
    """

    acceptance: Float[Array, " n_pairs"]
    drift: Float[Array, " n_rungs"]
    mass: Float[Array, " n_pairs"]

    @property
    def is_healthy(self) -> Bool[Array, ""]:
        """Whether none of the signs is beyond its bound (acceptance 0.1, deviations of 5 standard errors)."""
        acceptance, drift, mass = self._worst()
        return (acceptance >= _LEAST_ACCEPTANCE) & (drift <= _MOST_DEVIATION) & (mass <= _MOST_DEVIATION)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong and how to fix it, one sentence for each sign beyond its bound; of known values only."""
        acceptance, drift, mass = (float(worst) for worst in self._worst())
        # Negated, so that NaN counts as trouble.
        signs = {
            f"neighbors exchange too rarely (least acceptance {acceptance:.2g}): add rungs": (
                not acceptance >= _LEAST_ACCEPTANCE
            ),
            f"states still relax (drift of {drift:.0f} standard errors): run them longer": (
                not drift <= _MOST_DEVIATION
            ),
            f"clusters have masses that neighbors do not agree on (by {mass:.0f} standard errors): run longer, or add "
            "rungs": not mass <= _MOST_DEVIATION,
        }
        return tuple(message for message, is_bad in signs.items() if is_bad)

    def _worst(self) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """The least acceptance, and the largest deviations of drift and mass."""
        return jnp.nanmin(self.acceptance), jnp.abs(self.drift).max(), jnp.abs(self.mass).max()


def ladder_health(
    key: PRNGKey, ladder: RBM, state: TemperingState, *, n_steps: int = 100, reservoir: Chains | None = None
) -> tuple[TemperingState, LadderHealth]:
    """Continue replica exchange, and look for what should not happen in equilibrium.

    For the chains of `PTT` pass `chains.ladder` and `chains.tempering`.

    Args:
        key: a JAX key.
        ladder: RBMs with leaves that have a leading axis, of any pair of unit types.
        state: chains on its rungs.
        n_steps: steps to run; long against the autocorrelation time, or a slow drift goes unnoticed.
        reservoir: as in `tempering_step`.

    Returns:
        The state after these steps, and the signs.

    Raises:
        ValueError: shapes that do not fit, a single chain, or counts below 1.

    Warns:
        UserWarning: acceptance below 0.1, or a drift or mass beyond 5 standard errors. Not under `jit` or `vmap`.
    """
    n_steps = check_count("n_steps", n_steps)
    if state.chains.shape[1] < 2:
        raise ValueError(f"state must have at least two chains on a rung, got shape {state.chains.shape}")
    before = state.chains
    state, info = sample_tempering(
        stream_key(key, Stream.LADDER_HEALTH), ladder, state, n_steps=n_steps, reservoir=reservoir
    )
    health = LadderHealth(info.acceptance, *_deviations(ladder, before, state.chains))
    _warn(health)
    return state, health


@jax.jit
def _deviations(ladder: RBM, before, after):
    """Drift and mass of `LadderHealth`."""
    lower, upper = (jax.tree.map(lambda leaf, part=part: leaf[part], ladder) for part in (slice(-1), slice(1, None)))
    mass = jax.vmap(_mass_deviation)(lower, upper, after[:-1], after[1:])
    return jax.vmap(_drift)(ladder, before, after), mass


def _drift(rbm: RBM, before, after) -> Float[Array, ""]:
    energies = jnp.stack([free_energy_of_visible(rbm, states) for states in (before, after)])
    variance = energies.var(1, ddof=1).sum() / energies.shape[1]
    # Without weights all states have one energy, and nothing can drift.
    return (energies[1].mean() - energies[0].mean()) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))


def _mass_deviation(lower: RBM, upper: RBM, states, upper_states) -> Float[Array, ""]:
    direction = svd_modes(upper.weights).left[:, 0]
    along, upper_along = states @ direction, upper_states @ direction
    middle = (jnp.minimum(along.min(), upper_along.min()) + jnp.maximum(along.max(), upper_along.max())) / 2
    found = (upper_along > middle).mean()
    log_weights = free_energy_of_visible(lower, states) - free_energy_of_visible(upper, states)
    weights = jnp.exp(log_weights - logsumexp(log_weights))
    predicted = weights @ (along > middle)
    share = (found + predicted) / 2
    variance = share * (1 - share) * ((weights**2).sum() + 1 / len(upper_states))
    return (found - predicted) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))


def _warn(health: LadderHealth) -> None:
    if not is_concrete(health):
        return
    for message in health.warnings:
        warnings.warn(f"ladder of RBMs: {message}", stacklevel=3)
