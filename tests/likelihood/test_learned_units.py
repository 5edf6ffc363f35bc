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
    rbm, positions = learned_rbm(kind), np.linspace(0, 1, 60)
    data = jnp.broadcast_to(exact_moments(rbm).visible, (2, 5))
    estimate = ais_log_z(jax.random.key(0), rbm, data=data, n_chains=200, positions=positions)
    assert abs(estimate.value - exact_log_z(rbm)) < 5 * estimate.std_error
    assert estimate.std_error < 0.05


def test_rungs_of_different_variances_exchange_states_and_give_log_z():
    """Swaps and log ratios know the base measures, which do not cancel here."""
    ladder = stack_rbms([learned_rbm(Gaussian, scale) for scale in (1.0, 1.2, 1.5)])
    n_chains = 2000
    state = init_tempering(jax.random.key(1), ladder, n_chains)
    state, info = sample_tempering(jax.random.key(2), ladder, state, n_steps=30)
    assert (info.acceptance < 0.99).all()
    exact = jax.vmap(exact_moments)(ladder).visible_units.log_variance
    variance = jnp.exp(ladder.visible_units.log_variance)
    squares = state.chains**2 / (2 * variance[:, None])
    error = squares.std(1) / np.sqrt(n_chains)
    assert (abs(squares.mean(1) - exact) < 5 * error).all()
    estimates = log_z_along(jax.random.key(3), ladder, state.chains)
    exact = jax.vmap(exact_log_z)(ladder)
    assert (abs(estimates.value - exact) < 5 * estimates.std_error).all()
    assert (estimates.std_error < 0.1).all()
