"""The pseudo-likelihood: a tractable substitute of the likelihood, exact over all sites."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_samples, check_sample_weights, unsupported_units
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Float, Sample, Weighting
from rbm_jax.model.energies import check_rbm, field_on_hidden
from rbm_jax.model.rbm import RBM

__all__ = ["pseudo_log_likelihood"]

_CHUNK_ELEMENTS = 2**22
"""Weights times samples that are worked on together: 16 MB in float32, beyond which nothing becomes faster."""


def pseudo_log_likelihood(rbm: RBM, data: Sample, sample_weights: Weighting = None) -> Float[Array, ""]:
    """Mean pseudo-log-likelihood per sample, ⟨Σ_i log P(v_i | all other visible units)⟩_data, in nats.

    Each conditional comes from the change of the free energy when unit i takes another state, with the hidden fields
    updated by one row of W. Samples go through in chunks, so the memory is bounded. Source: Besag (1975).

    Args:
        rbm: discrete visible units; any hidden units.
        data: configurations, shape (n_samples, n_visible).
        sample_weights: non-negative sample weights, shape (n_samples,); None for equal ones.

    Returns:
        A scalar; the log-likelihood itself where visible units are independent. Differentiable.

    Raises:
        ValueError: continuous visible units, shapes that do not fit, values outside the support of the units, or an RBM
            with NaN.

    Example:
        >>> import jax
        >>> from rbm_jax import init_rbm, pseudo_log_likelihood
        >>> from rbm_jax.data import bars_and_stripes
        >>> rbm = init_rbm(jax.random.key(0), 16, 8, scale=1e-6)
        >>> print(f"{pseudo_log_likelihood(rbm, bars_and_stripes(4)):.4f} = -16 log 2")
        -11.0904 = -16 log 2
    """
    check_rbm(rbm)
    units = rbm.visible_units
    if units.states is None:
        raise unsupported_units("pseudo_log_likelihood", f"{units} visible units", "discrete visible units")
    data = as_samples("data", data, units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)
    check_sample_weights(sample_weights, len(data))
    batch_size = max(1, min(len(data), _CHUNK_ELEMENTS // rbm.weights.size))
    return normalized_weights(sample_weights, len(data), rbm.dtype) @ _of_each(rbm, data, batch_size=batch_size)


@functools.partial(jax.jit, static_argnames="batch_size")
def _of_each(rbm: RBM, data: Array, *, batch_size: int) -> Array:
    return lax.map(jax.checkpoint(lambda v: _of_one(rbm, v)), data, batch_size=batch_size)


def _of_one(rbm: RBM, v: Array) -> Array:
    """Σ_i log P(v_i | rest) of one configuration: minus log of 1 + Σ over other states of the probability ratio."""
    units = rbm.visible_units
    size = units.group_size
    states = jnp.asarray(units.states, rbm.dtype)
    current, bias = v.reshape(-1, size), rbm.visible_bias.reshape(-1, size)
    couplings = rbm.weights.reshape(-1, size, rbm.n_hidden)
    number = jnp.abs(current[:, None] - states).sum(-1).argmin(-1)
    field = field_on_hidden(rbm, v)
    at_rest = rbm.hidden_units.log_partition(field).sum()
    log_ratios = [jnp.zeros(len(current), rbm.dtype)]
    for step in range(1, len(states)):
        change = states[(number + step) % len(states)] - current
        moved = rbm.hidden_units.log_partition(field + (change[:, :, None] * couplings).sum(1)).sum(-1)
        log_ratios.append((change * bias).sum(-1) + moved - at_rest)
    return -logsumexp(jnp.stack(log_ratios), axis=0).sum()
