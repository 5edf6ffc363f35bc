"""Units of several states, as one-hot vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import entr, logsumexp

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.typing import Array, FloatLike
from rbm_jax.units.abstract import AbstractUnits, Field, PerUnit

__all__ = ["Potts"]

_HIGHEST = lax.Precision.HIGHEST


class Potts(AbstractUnits):
    """Units of q states, each a one-hot vector of q neighbouring components: log_partition(x) = log Σ_k e^{x_k}.

    A layer of n sites has n q components, site after site. Means are the probabilities p_k of the states; `variance`
    and `third_cumulant` are those of each component by itself, while the covariance of a unit is diag(p) - p pᵀ. A
    constant added to all fields of a unit changes nothing but `log_partition`; `field_at_mean` is the field whose sum
    over the unit is zero. `Potts(2)` is a 0/1 unit with a field on each of the two states.

    Attributes:
        n_states: q, at least 2.
    """

    n_states: int = eqx.field(static=True)

    def __post_init__(self):
        self.n_states = check_count("n_states", self.n_states, minimum=2)

    @property
    def group_size(self) -> int:
        """The number of states."""
        return self.n_states

    @property
    def support(self) -> str:
        """Groups of one 1 and zeros."""
        return f"one-hot in each group of {self.n_states} columns (a single 1, the others 0)"

    @property
    def mean_support(self) -> str:
        """Probabilities."""
        return f"probabilities that sum to 1 in each group of {self.n_states} components"

    @property
    def states(self) -> np.ndarray:
        """The q unit vectors."""
        return np.eye(self.n_states)

    def log_partition(self, field: Field) -> PerUnit:
        """The logarithm of Σ_k e^{x_k}, one number per unit."""
        return logsumexp(self._grouped(field), axis=-1)

    def mean(self, field: Field) -> Field:
        """Probabilities of the states, e^{x_k} / Σ_l e^{x_l}."""
        return jax.nn.softmax(self._grouped(field), axis=-1).reshape(field.shape)

    def variance(self, field: Field) -> Field:
        """Variance p (1 - p) of each component, accurate in both tails."""
        p = self._grouped(self.mean(field))
        return (p * self._of_others(p)).reshape(field.shape)

    def third_cumulant(self, field: Field) -> Field:
        """Third cumulant p (1 - p) (1 - 2p) of each component."""
        p = self._grouped(self.mean(field))
        others = self._of_others(p)
        return (p * others * (others - p)).reshape(field.shape)

    def field_at_mean(self, mean: Field) -> Field:
        """The logarithm of p, shifted to a zero sum over each unit; infinite where a state has no probability."""
        p = self._grouped(mean)
        is_edge = (p == 0).any(-1, keepdims=True)
        log_p = jnp.log(jnp.where(is_edge, 1, p))
        on_edge = jnp.where(p == 0, -jnp.inf, jnp.inf).astype(p.dtype)
        return jnp.where(is_edge, on_edge, log_p - log_p.mean(-1, keepdims=True)).reshape(mean.shape)

    def entropy(self, mean: Field) -> PerUnit:
        """-Σ_k p_k log p_k, one number per unit."""
        return entr(self._grouped(mean)).sum(-1)

    def variance_at_mean(self, mean: Field, curvature: Field | float = 0.0) -> Field:
        """Variance p (1 - p) of each component, whatever the curvature."""
        return mean * (1 - mean)

    def third_cumulant_at_mean(self, mean: Field) -> Field:
        """Third cumulant p (1 - p) (1 - 2p) of each component."""
        return mean * (1 - mean) * (1 - 2 * mean)

    def fluctuation_entropy(self, mean: Field, curvature: Field) -> PerUnit:
        """½ tr K (diag(p) - p pᵀ) for a curvature K that is diagonal, given by its diagonal; one number per unit."""
        return (self._grouped(curvature * self.variance_at_mean(mean)) / 2).sum(-1)

    def curved_log_partition(self, field: Field, curvature: Field | FloatLike) -> PerUnit:
        """The logarithm of Σ_k e^{x_k + K_k/2}: of a one-hot state, sᵀKs is an element of the diagonal."""
        return self.log_partition(field + curvature / 2)

    def curved_moments(self, field: Field, curvature: Field | FloatLike) -> tuple[Field, Field, Field]:
        """p, p and p (1 - p) of each component at the field x + K/2."""
        field = field + curvature / 2
        return self.mean(field), self.mean(field), self.variance(field)

    def log_base_measure(self, states: Field) -> PerUnit:
        """Zero: counting measure."""
        return jnp.zeros_like(states[..., :: self.n_states])

    def contains(self, states):
        """True for all components of a unit of which one is 1 and the others are 0."""
        groups = states.reshape(*states.shape[:-1], -1, self.n_states)
        is_one_hot = ((groups == 0) | (groups == 1)).all(-1) & ((groups == 1).sum(-1) == 1)
        return (is_one_hot[..., None] & (groups == groups)).reshape(states.shape)

    def contains_mean(self, mean):
        """True for all components of a unit that are probabilities and sum to 1, up to rounding."""
        groups = mean.reshape(*mean.shape[:-1], -1, self.n_states)
        rounding = 1e-3 if jnp.finfo(mean.dtype).bits <= 32 else 1e-6
        is_distribution = (groups >= 0).all(-1) & (abs(groups.sum(-1) - 1) <= rounding)
        return is_distribution.repeat(self.n_states, axis=-1)

    def interior_mean(self, mean: Field, margin: float) -> Field:
        """Probabilities of at least margin: raised where they are below it, at the cost of those above."""
        margin = min(margin, 1 / (2 * self.n_states))
        above = jnp.maximum(self._grouped(mean) - margin, 0)
        scaled = above * ((1 - self.n_states * margin) / above.sum(-1, keepdims=True))
        return (scaled + margin).reshape(mean.shape)

    def sample_from_uniform(self, field: Field, uniform: Field) -> Field:
        """The state in whose interval of (0, 1) the first uniform number of each unit lies; the others are not used."""
        groups = self._grouped(field)
        weights = jnp.exp(groups - groups.max(-1, keepdims=True))
        # Cumulative sums as a matrix product, which XLA on CPU does faster than a scan.
        drawn = jnp.matmul(weights, jnp.triu(jnp.ones_like(weights, shape=(self.n_states,) * 2)), precision=_HIGHEST)
        threshold = uniform[..., :: self.n_states, None] * drawn[..., -1:]
        # A count, so that exactly one state is chosen, however sums are rounded.
        chosen = (drawn[..., :-1] <= threshold).sum(-1, keepdims=True)
        return (chosen == jnp.arange(self.n_states)).reshape(field.shape).astype(field.dtype)

    def _grouped(self, values: Array) -> Array:
        return values.reshape(*values.shape[:-1], -1, self.n_states)

    def _of_others(self, p: Array) -> Array:
        """1 - p as the sum over the other states, which does not cancel."""
        others = 1 - jnp.eye(self.n_states, dtype=p.dtype)
        return jnp.matmul(p, others, precision=_HIGHEST)
