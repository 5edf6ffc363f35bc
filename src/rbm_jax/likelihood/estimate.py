"""What an estimate of log Z says, and the likelihood that follows from it."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp

from rbm_jax._internal.checks import as_samples, check_sample_weights, is_concrete
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Bool, Float, Sample, Weighting
from rbm_jax.model.energies import check_rbm, free_energy_of_visible
from rbm_jax.model.exact import exact_log_z
from rbm_jax.model.rbm import RBM

__all__ = [
    "LikelihoodEstimate",
    "LogZEstimate",
    "enumeration_log_z",
    "independent_log_z",
    "log_likelihood",
    "make_estimate",
    "warn_if_poor",
]

_TWO_SIDED = 1.96
"""Standard errors on each side of an interval that covers the truth in 95 % of cases."""


class LogZEstimate(eqx.Module):
    """An estimate of log Z, by whatever method.

    Attributes:
        value: in nats.
        std_error: of `value`, by the spread of independent chains; 0 by enumeration, and NaN if there is nothing to
            tell it from.
        ess: effective number of samples behind it; an estimate that few of them dominate cannot be trusted. Infinite by
            enumeration, and NaN without samples.
        lower: end of the interval that should hold log Z in 95 % of cases.
        upper: the other end.
        converged: False where few samples dominate the estimate, or no mean-field iteration converged.
        method: the name of the method, such as "annealing".
    """

    value: Float[Array, "*rungs"]
    std_error: Float[Array, "*rungs"]
    ess: Float[Array, "*rungs"]
    lower: Float[Array, "*rungs"]
    upper: Float[Array, "*rungs"]
    converged: Bool[Array, "*rungs"]
    method: str = eqx.field(static=True)


class LikelihoodEstimate(eqx.Module):
    """A mean log-likelihood per sample in nats, with an interval for the uncertainty of log Z alone.

    Attributes:
        value: the estimate.
        std_error: of `value`, from the standard errors of the estimates of log Z, which are taken as independent.
        lower: end of the interval.
        upper: the other end.
        converged: whether all estimates of log Z are.
        methods: how log Z was found, one name for each estimate; ("enumeration",) where none was given.
    """

    value: Float[Array, ""]
    std_error: Float[Array, ""]
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    converged: Bool[Array, ""]
    methods: tuple[str, ...] = eqx.field(static=True)


def log_likelihood(
    rbm: RBM, data: Sample, *log_z: LogZEstimate, sample_weights: Weighting = None
) -> LikelihoodEstimate:
    """Mean log-likelihood per sample, with an interval that spans all the estimates of log Z.

    Args:
        rbm: any pair of unit types.
        data: configurations, shape (n_samples, n_visible).
        *log_z: estimates of the same log Z, best one from below and one from above: `ais_log_z` and
            `reverse_ais_log_z`. None at all: log Z by enumeration (`enumeration_log_z`), as `methods` of the result
            says.
        sample_weights: non-negative sample weights, shape (n_samples,); None for equal ones.

    Returns:
        The value at the mean of the estimates, and the interval from the lowest of their `lower` to the highest of
        their `upper`.

    Raises:
        TypeError: something else than estimates of log Z.
        ValueError: shapes that do not fit, values outside the support of the units, an RBM with NaN, estimates of many
            RBMs, or no estimate for an RBM too large to enumerate.

    Example:
        >>> import jax
        >>> from rbm_jax import ais_log_z, init_chains, init_rbm, log_likelihood, sample_gibbs
        >>> from rbm_jax.likelihood import reverse_ais_log_z
        >>> from rbm_jax.data import bars_and_stripes
        >>> rbm, data = init_rbm(jax.random.key(0), 16, 8, scale=0.3), bars_and_stripes(4)
        >>> chains = sample_gibbs(jax.random.key(1), rbm, init_chains(jax.random.key(2), rbm, 200), n_sweeps=200)
        >>> there = ais_log_z(jax.random.key(3), rbm, n_chains=200, n_temperatures=100)
        >>> back = reverse_ais_log_z(jax.random.key(4), rbm, samples=chains, n_temperatures=100)
        >>> bounded, exact = log_likelihood(rbm, data, there, back), log_likelihood(rbm, data)
        >>> bool(bounded.lower < exact.value < bounded.upper)
        True
    """
    check_rbm(rbm)
    data = as_samples("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)
    check_sample_weights(sample_weights, len(data))
    energy = normalized_weights(sample_weights, len(data), rbm.dtype) @ free_energy_of_visible(rbm, data)
    estimates = log_z or (enumeration_log_z(rbm),)
    for each in estimates:
        if not isinstance(each, LogZEstimate):
            raise TypeError(f"log_z must be estimates of log Z, given one by one, got {type(each).__name__}")
        if jnp.ndim(each.value):
            raise ValueError(
                f"log_z must be of this RBM alone, got shape {each.value.shape}; "
                "take jax.tree.map(lambda leaf: leaf[-1], estimate) for the last of a training"
            )
    value, std_error, lower, upper, converged = (
        jnp.stack([getattr(each, name) for each in estimates])
        for name in ("value", "std_error", "lower", "upper", "converged")
    )
    return LikelihoodEstimate(
        -energy - value.mean(),
        jnp.sqrt((std_error**2).sum()) / len(estimates),
        -energy - upper.max(),
        -energy - lower.min(),
        converged.all(),
        tuple(each.method for each in estimates),
    )


def enumeration_log_z(rbm: RBM) -> LogZEstimate:
    """Log Z of a small RBM without error, by enumeration of one layer (`exact_log_z`).

    Args:
        rbm: as for `exact_log_z`.

    Returns:
        The value, with an interval of no width; `converged` is False where log Z is infinite.

    Raises:
        ValueError: as `exact_log_z`.
    """
    value = exact_log_z(rbm)
    zero, infinite = jnp.zeros_like(value), jnp.full_like(value, jnp.inf)
    return LogZEstimate(value, zero, infinite, value, value, jnp.isfinite(value), "enumeration")


@jax.jit
def independent_log_z(rbm: RBM) -> Float[Array, ""]:
    """Log Z of an RBM without weights."""
    visible = rbm.visible_units.log_partition(rbm.visible_bias).sum()
    return visible + rbm.hidden_units.log_partition(rbm.hidden_bias).sum()


def make_estimate(value, std_error, ess, least_ess: float, method: str) -> LogZEstimate:
    """The estimate with its interval; it has converged where the effective number of samples exceeds `least_ess`."""
    margin = _TWO_SIDED * std_error
    return LogZEstimate(value, std_error, ess, value - margin, value + margin, ess > least_ess, method)


def warn_if_poor(estimate: LogZEstimate, n_samples: int) -> None:
    """Warn if an estimate from so many samples has not converged; traced estimates pass."""
    if is_concrete(estimate) and not bool(estimate.converged):
        warnings.warn(
            "few samples dominate the estimate of log Z (effective sample size "
            f"{float(estimate.ess):.1f} of {n_samples}), and its standard error cannot be trusted; use more "
            "temperatures or rungs",
            stacklevel=3,
        )
