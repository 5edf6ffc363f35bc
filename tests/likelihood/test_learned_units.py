"""Log Z and sampling of visible units that learn their variance, also along ladders on which it changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Gaussian, ReLU, Spin, ais_log_z, exact_log_z, stack_rbms
from rbm_jax.likelihood import log_z_along
from rbm_jax.model import exact_moments
from rbm_jax.sampling import init_tempering, sample_tempering
from tests.helpers import reference_rbm


def learned_rbm(kind, scale=1.0):
    return reference_rbm(5, 3, 0.4, kind(jnp.asarray(scale * (0.6 + 0.2 * np.arange(5)))), Spin())


@pytest.mark.parametrize("kind", [Gaussian, ReLU])
def test_annealing_gives_log_z(kind):
    @jax.jit
    def estimate_and_exact(key, rbm):
        options = {"data": exact_moments(rbm).visible[None], "n_chains": 200, "positions": np.linspace(0, 1, 60)}
        return ais_log_z(key, rbm, **options), exact_log_z(rbm)

    estimate, exact = estimate_and_exact(jax.random.key(0), learned_rbm(kind))
    assert abs(estimate.value - exact) < 5 * estimate.std_error
    assert estimate.std_error < 0.05


def test_rungs_of_different_variances_exchange_states_and_give_log_z():
    """Swaps and log ratios know the base measures, which do not cancel here."""
    ladder = stack_rbms([learned_rbm(Gaussian, scale) for scale in (1.0, 1.2, 1.5)])
    n_chains = 2000

    @jax.jit
    def sampled(ladder):
        state = init_tempering(jax.random.key(1), ladder, n_chains)
        state, info = sample_tempering(jax.random.key(2), ladder, state, n_steps=30)
        return state.chains, info.acceptance, log_z_along(jax.random.key(3), ladder, state.chains)

    chains, acceptance, estimates = jax.device_get(sampled(ladder))
    assert (acceptance < 0.99).all()
    moments, exact = jax.device_get(jax.jit(jax.vmap(lambda rbm: (exact_moments(rbm), exact_log_z(rbm))))(ladder))
    squares = chains**2 / (2 * np.exp(ladder.visible_units.log_variance)[:, None])
    error = squares.std(1) / np.sqrt(n_chains)
    assert (abs(squares.mean(1) - moments.visible_units.log_variance) < 5 * error).all()
    assert (abs(estimates.value - exact) < 5 * estimates.std_error).all()
    assert (estimates.std_error < 0.1).all()
