"""Exact results for small RBMs, by enumeration of one layer; closed form for two Gaussian layers.

Whichever discrete layer has fewer states is enumerated in chunks, the other is summed out unit by unit. The memory is
that of one chunk; the time is proportional to the number of states: 20 binary units are about a million.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_samples, check_count, check_sample_weights, unsupported_units
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Float, Int, Sample, Weighting
from rbm_jax.model.energies import check_rbm, field_on_hidden, free_energy_of_visible
from rbm_jax.model.gaussian import gaussian_log_z, gaussian_moments
from rbm_jax.model.metrics import AbstractMetric, Plain
from rbm_jax.model.rbm import RBM, check_layer_size
from rbm_jax.model.statistics import Moments, conditional_moments, swap_layers
from rbm_jax.model.transforms import transpose
from rbm_jax.units import AbstractUnits, Gaussian

__all__ = [
    "enumerate_states",
    "exact_gradient",
    "exact_log_likelihood",
    "exact_log_z",
    "exact_moments",
    "exact_visible_probabilities",
]

MAX_STATES = 2**24
"""Most states that are enumerated: 24 binary units."""

_CHUNK_ELEMENTS = 2**22
_PLAIN = Plain()


def enumerate_states(units: AbstractUnits, size: int) -> Float[np.ndarray, "n_states size"]:
    """All configurations of a layer, one a row, in lexicographic order (the last unit changes fastest).

    Args:
        units: a discrete unit type.
        size: number of components of the layer.

    Raises:
        ValueError: continuous units, or more than `MAX_STATES` configurations.

    Example:
        >>> from rbm_jax import Spin
        >>> from rbm_jax.model import enumerate_states
        >>> enumerate_states(Spin(), 2)
        array([[-1., -1.], [-1.,  1.], [ 1., -1.], [ 1.,  1.]])
    """
    size = check_count("size", size)
    check_layer_size("size", size, units)
    states = _unit_states(units, "enumerate_states")
    _check_enumerable(_n_states(units, size), f"{size} {units} units")
    n_groups = size // units.group_size
    digits = np.indices((len(states),) * n_groups, dtype=np.min_scalar_type(len(states) - 1)).reshape(n_groups, -1).T
    return states[digits].reshape(len(digits), size)


def exact_log_z(rbm: RBM) -> Float[Array, ""]:
    """Log Z = log Σ_{v,h} ρ_v(v) ρ_h(h) e^{-E(v,h)}, with integrals in place of sums for Gaussian and ReLU units.

    Works for every pair of unit types but ReLU with ReLU or Gaussian ones. Differentiable: the gradient recomputes the
    chunks instead of storing them.

    Args:
        rbm: at most 24 binary units (2^24 states) in its smaller discrete layer; any size if both layers are Gaussian.

    Returns:
        A scalar; +inf if both layers are Gaussian and a singular value of W is beyond 1 / (σ_v σ_h).

    Raises:
        ValueError: too many states, two continuous layers of which one is ReLU, or an RBM with NaN.

    Example:
        >>> import jax
        >>> from rbm_jax import exact_log_z, init_rbm
        >>> rbm = init_rbm(jax.random.key(0), 4, 3, scale=1e-6)
        >>> print(f"{exact_log_z(rbm):.4f} = 7 log 2")
        4.8520 = 7 log 2
    """
    check_rbm(rbm)
    return _log_z(rbm)


@jax.jit
def _log_z(rbm: RBM) -> Float[Array, ""]:
    if _is_gaussian(rbm):
        return gaussian_log_z(rbm, *_base_variances(rbm))
    enumerated, _ = _orient(rbm, "exact_log_z")

    def add_chunk(log_z, chunk):
        states = _chunk_states(enumerated, chunk)
        return jnp.logaddexp(log_z, logsumexp(-free_energy_of_visible(enumerated, states))), None

    log_z = jnp.asarray(-jnp.inf, rbm.dtype)
    return lax.scan(jax.checkpoint(add_chunk), log_z, jnp.arange(_n_chunks(enumerated)))[0]


def exact_moments(rbm: RBM) -> Moments:
    """⟨v⟩, ⟨h⟩ and ⟨vhᵀ⟩ of the model, and the averages of what unit parameters have as derivatives.

    Args:
        rbm: as for `exact_log_z`.

    Returns:
        The moments, of shapes (n_visible,), (n_hidden,), (n_visible, n_hidden).

    Raises:
        ValueError: as `exact_log_z`.
    """
    check_rbm(rbm)
    return _moments(rbm)


@jax.jit
def _moments(rbm: RBM) -> Moments:
    if _is_gaussian(rbm):
        return gaussian_moments(rbm, *_base_variances(rbm))
    enumerated, is_transposed = _orient(rbm, "exact_moments")

    def add_chunk(carry, chunk):
        log_z, moments = carry
        states = _chunk_states(enumerated, chunk)
        log_weights = -free_energy_of_visible(enumerated, states)
        chunk_log_z = logsumexp(log_weights)
        probabilities = jnp.exp(log_weights - chunk_log_z)
        chunk_moments = _weighted_moments(enumerated, states, probabilities)
        log_z = jnp.logaddexp(log_z, chunk_log_z)
        fraction = jnp.exp(chunk_log_z - log_z)
        moments = jax.tree.map(lambda old, new: old + fraction * (new - old), moments, chunk_moments)
        return (log_z, moments), None

    empty = jax.tree.map(jnp.zeros_like, enumerated)
    zero = Moments(empty.visible_bias, empty.hidden_bias, empty.weights, empty.visible_units, empty.hidden_units)
    start = (jnp.asarray(-jnp.inf, rbm.dtype), zero)
    (_, moments), _ = lax.scan(jax.checkpoint(add_chunk), start, jnp.arange(_n_chunks(enumerated)))
    return swap_layers(moments) if is_transposed else moments


def exact_log_likelihood(rbm: RBM, data: Sample, sample_weights: Weighting = None) -> Float[Array, ""]:
    """Mean log-likelihood per sample, ⟨log P(v)⟩_data, in nats (a density for Gaussian visible units).

    Args:
        rbm: as for `exact_log_z`.
        data: configurations, shape (n_samples, n_visible).
        sample_weights: non-negative sample weights, shape (n_samples,); None for equal ones.

    Raises:
        ValueError: too many states, shapes that do not fit, or values outside the support of the units.
    """
    data = as_samples("data", data, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, n_least=1)
    check_sample_weights(sample_weights, len(data))
    share = normalized_weights(sample_weights, len(data), rbm.dtype)
    return -(share @ free_energy_of_visible(rbm, data)) - exact_log_z(rbm)


def exact_gradient(rbm: RBM, data: Sample, sample_weights: Weighting = None, *, metric: AbstractMetric = _PLAIN) -> RBM:
    """Gradient of the **negative** log-likelihood per sample, ⟨.⟩_model - ⟨.⟩_data, as an RBM.

    Args:
        rbm: as for `exact_log_z`.
        data: configurations, shape (n_samples, n_visible).
        sample_weights: non-negative sample weights, shape (n_samples,); None for equal ones.
        metric: geometry of the gradient, such as `Centered()`.

    Raises:
        ValueError: too many states, shapes that do not fit, or values outside the support of the units.
    """
    return metric(rbm, conditional_moments(rbm, data, sample_weights), exact_moments(rbm))


def exact_visible_probabilities(rbm: RBM) -> Float[Array, " n_states"]:
    """P(v) of every visible configuration, in the order of `enumerate_states(rbm.visible_units, rbm.n_visible)`.

    Args:
        rbm: discrete visible units, at most 24 binary ones; any hidden units.

    Raises:
        ValueError: continuous visible units, or too many states.
    """
    check_rbm(rbm)
    return _visible_probabilities(rbm)


@jax.jit
def _visible_probabilities(rbm: RBM) -> Float[Array, " n_states"]:
    _unit_states(rbm.visible_units, "exact_visible_probabilities")
    _check_enumerable(_n_states(rbm.visible_units, rbm.n_visible), f"{rbm.n_visible} {rbm.visible_units} visible units")
    free_energy = lax.map(
        lambda chunk: free_energy_of_visible(rbm, _chunk_states(rbm, chunk)), jnp.arange(_n_chunks(rbm))
    )
    return jax.nn.softmax(-free_energy.reshape(-1))


def _weighted_moments(rbm: RBM, states: Array, probabilities: Array) -> Moments:
    """Averages over visible states with these probabilities, which sum to one."""
    field = field_on_hidden(rbm, states)
    other = rbm.hidden_units.mean(field)
    units = rbm.visible_units.base_measure_derivative(states), rbm.hidden_units.log_partition_derivative(field)
    units = jax.tree.map(lambda values: probabilities @ values, units)
    return Moments(probabilities @ states, probabilities @ other, (probabilities[:, None] * states).T @ other, *units)


def _is_gaussian(rbm: RBM) -> bool:
    return isinstance(rbm.visible_units, Gaussian) and isinstance(rbm.hidden_units, Gaussian)


def _base_variances(rbm: RBM) -> tuple[Array, Array]:
    """Variances of uncoupled Gaussian layers."""
    visible = rbm.visible_units.variance(jnp.zeros_like(rbm.visible_bias))
    return visible, rbm.hidden_units.variance(jnp.zeros_like(rbm.hidden_bias))


def _unit_states(units: AbstractUnits, function: str = "enumeration") -> np.ndarray:
    if units.states is None:
        raise unsupported_units(function, f"{units} units", "discrete units: others have a continuum of states")
    return units.states


def _n_states(units: AbstractUnits, size: int) -> int | float:
    """Number of configurations of a layer; infinite for continuous units."""
    return math.inf if units.states is None else len(units.states) ** (size // units.group_size)


def _check_enumerable(n_states: int | float, what: str) -> None:
    if n_states > MAX_STATES:
        raise ValueError(
            f"{what} have more than {MAX_STATES} states (24 binary units), too many to enumerate; "
            "use a smaller RBM, or sampling"
        )


def _orient(rbm: RBM, function: str = "enumeration") -> tuple[RBM, bool]:
    """The RBM with the layer to enumerate as its visible layer, and whether that took a transposition."""
    if rbm.visible_units.states is None and rbm.hidden_units.states is None:
        pair = f"{rbm.visible_units}-{rbm.hidden_units} RBMs"
        raise unsupported_units(
            function, pair, "a discrete layer, or two Gaussian ones; estimate by ais_log_z, or sample"
        )
    n_visible = _n_states(rbm.visible_units, rbm.n_visible)
    n_hidden = _n_states(rbm.hidden_units, rbm.n_hidden)
    what = (
        f"both the {rbm.n_visible} {rbm.visible_units} visible and the {rbm.n_hidden} {rbm.hidden_units} hidden units"
    )
    _check_enumerable(min(n_visible, n_hidden), what)
    return (transpose(rbm), True) if n_hidden < n_visible else (rbm, False)


def _chunk_groups(rbm: RBM) -> int:
    """How many of the last visible units vary within a chunk."""
    base = len(_unit_states(rbm.visible_units))
    budget = max(base, _CHUNK_ELEMENTS // (rbm.n_visible + rbm.n_hidden))
    return min(rbm.n_visible // rbm.visible_units.group_size, int(math.log(budget, base)))


def _n_chunks(rbm: RBM) -> int:
    n_groups = rbm.n_visible // rbm.visible_units.group_size
    return len(_unit_states(rbm.visible_units)) ** (n_groups - _chunk_groups(rbm))


def _chunk_states(rbm: RBM, chunk: Int[Array, ""]) -> Float[Array, "chunk_size n_visible"]:
    """Visible configurations of one chunk: its number, in the base of the unit's states, fixes the first units."""
    units, n_low = rbm.visible_units, _chunk_groups(rbm)
    states = jnp.asarray(_unit_states(units), rbm.dtype)
    base, n_high = len(states), rbm.n_visible // units.group_size - n_low
    low = jnp.asarray(enumerate_states(units, n_low * units.group_size), rbm.dtype)
    digits = chunk // base ** np.arange(n_high)[::-1] % base
    high = states[digits].reshape(-1)
    return jnp.concatenate([jnp.broadcast_to(high, (len(low), high.size)), low], axis=1)
