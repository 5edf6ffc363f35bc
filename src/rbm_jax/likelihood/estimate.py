"""What an estimate of log Z says, and the likelihood that follows from it."""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_configurations, check_count, check_finite, check_sample_weights, is_concrete
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Float, Sample, Weighting
from rbm_jax.mean_field import log_z_mean_field, solve_mean_field
from rbm_jax.mean_field.clustering import polarized_start
from rbm_jax.model.energies import visible_free_energy
from rbm_jax.model.exact import exact_log_z
from rbm_jax.model.rbm import RBM

__all__ = [
    "LikelihoodEstimate",
    "LogZEstimate",
    "independent_log_z",
    "log_likelihood",
    "make_estimate",
    "tap_log_z",
    "warn_if_poor",
]

_TWO_SIDED = 1.96
"""Standard errors on each side of an interval that covers the truth in 95 % of cases."""


class LogZEstimate(NamedTuple):
    """An estimate of log Z.

    Attributes:
        value: in nats.
        std_error: of `value`, by the spread of independent chains; NaN if there is nothing to tell it from.
        ess: effective number of samples behind it; an estimate that hangs on a few of them cannot be trusted.
        lower: end of the interval that should hold log Z in 95 % of cases.
        upper: the other end.
    """

    value: Float[Array, "*rungs"]
    std_error: Float[Array, "*rungs"]
    ess: Float[Array, "*rungs"]
    lower: Float[Array, "*rungs"]
    upper: Float[Array, "*rungs"]


class LikelihoodEstimate(NamedTuple):
    """A mean log-likelihood per sample in nats, with an interval for the uncertainty of log Z alone.

    Attributes:
        value: the estimate.
        lower: end of the interval.
        upper: the other end.
    """

    value: Float[Array, ""]
    lower: Float[Array, ""]
    upper: Float[Array, ""]


def log_likelihood(
    rbm: RBM, data: Sample, *log_z: LogZEstimate, sample_weights: Weighting = None
) -> LikelihoodEstimate:
    """Mean log-likelihood per sample, with an interval that spans all the estimates of log Z.

    Args:
        rbm: any pair of unit types.
        data: shape (n_samples, n_visible). Checked for NaN alone.
        *log_z: estimates of the same log Z, best one from below and one from above: `ais_log_z` and
            `reverse_ais_log_z`. None at all: log Z by enumeration (`exact_log_z`).
        sample_weights: non-negative sample weights, shape (n_samples,); None for equal ones.

    Returns:
        The value at the mean of the estimates, and the interval from the lowest of their `lower` to the highest of
        their `upper`.

    Raises:
        TypeError: something else than estimates of log Z.
        ValueError: shapes that do not fit, estimates of many RBMs, or no estimate for an RBM too large to enumerate.

    Example:
        >>> import jax
        >>> from rbm_jax import ais_log_z, init_rbm, log_likelihood
        >>> from rbm_jax.likelihood import reverse_ais_log_z
        >>> from rbm_jax.data import bars_and_stripes
        >>> rbm, data = init_rbm(jax.random.key(0), 16, 8, scale=0.3), bars_and_stripes(4)
        >>> sizes = {"n_chains": 200, "n_temperatures": 100}
        >>> estimates = ais_log_z(jax.random.key(1), rbm, **sizes), reverse_ais_log_z(jax.random.key(2), rbm, **sizes)
        >>> bounded, exact = log_likelihood(rbm, data, *estimates), log_likelihood(rbm, data)
        >>> bool(bounded.lower < exact.value < bounded.upper)
        True
    """
    data = as_configurations("data", data, rbm.n_visible, rbm.dtype, ndim=2)
    if len(data) == 0:
        raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
    check_finite("data", data)
    check_sample_weights(sample_weights, len(data))
    energy = normalized_weights(sample_weights, len(data), rbm.dtype) @ visible_free_energy(rbm, data)
    if not log_z:
        value = -energy - exact_log_z(rbm)
        return LikelihoodEstimate(value, value, value)
    for each in log_z:
        if not isinstance(each, LogZEstimate):
            raise TypeError(f"log_z must be estimates of log Z, given one by one, got {type(each).__name__}")
        if jnp.ndim(each.value):
            raise ValueError(
                f"log_z must be of this RBM alone, got shape {each.value.shape}; "
                "take jax.tree.map(lambda leaf: leaf[-1], estimate) for the last of a training"
            )
    value, lower, upper = (jnp.stack([getattr(each, end) for each in log_z]) for end in ("value", "lower", "upper"))
    return LikelihoodEstimate(-energy - value.mean(), -energy - upper.max(), -energy - lower.min())


def tap_log_z(rbm: RBM, *, data: Sample | None = None, n_starts: int = 200) -> LogZEstimate:
    """Log Z as a sum over TAP fixed points (`log_z_mean_field`), with the naive mean-field bound below it.

    Args:
        rbm: any pair of unit types.
        data: samples from which the fixed points are found, shape (n_samples, n_visible). None: both ends of every
            singular mode.
        n_starts: samples to start from, evenly spaced in the data.

    Returns:
        The estimate, whose error is not known: `std_error` and `ess` are NaN. `lower` is the naive mean-field bound
        of Gibbs and Bogoliubov, which holds always; `upper` is infinite.

    Raises:
        ValueError: data that do not fit, or n_starts below 1.
    """
    starts = None
    if data is not None:
        data = as_configurations("data", data, rbm.n_visible, rbm.dtype, ndim=2)
        check_finite("data", data)
        n_starts = min(check_count("n_starts", n_starts), len(data))
        if n_starts == 0:
            raise ValueError(f"data must hold at least one sample, got shape {data.shape}")
        starts = data[np.linspace(0, len(data) - 1, n_starts).astype(int)]
    value = log_z_mean_field(rbm, init=starts)
    naive = solve_mean_field(rbm, init=polarized_start(rbm) if starts is None else starts, order=1)
    lower = jnp.where(naive.converged, -naive.free_energy, -jnp.inf).max()
    unknown = jnp.full_like(value, jnp.nan)
    return LogZEstimate(value, unknown, unknown, lower, jnp.full_like(value, jnp.inf))


def independent_log_z(rbm: RBM) -> Float[Array, ""]:
    """Log Z of an RBM without weights."""
    visible = rbm.visible_units.log_partition(rbm.visible_bias).sum()
    return visible + rbm.hidden_units.log_partition(rbm.hidden_bias).sum()


def make_estimate(value, std_error, ess) -> LogZEstimate:
    """The estimate with its interval."""
    margin = _TWO_SIDED * std_error
    return LogZEstimate(value, std_error, ess, value - margin, value + margin)


def warn_if_poor(estimate: LogZEstimate, n_samples: int, share: float = 0.1) -> None:
    """Warn if the effective number of samples is below this share of them; traced estimates pass."""
    if is_concrete(estimate) and not float(estimate.ess) > share * n_samples:
        warnings.warn(
            f"the estimate of log Z hangs on few of {n_samples} samples (effective number {float(estimate.ess):.1f}), "
            "and its standard error cannot be trusted: use more temperatures or rungs",
            stacklevel=3,
        )
