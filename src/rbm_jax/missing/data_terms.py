"""Data with missing entries, which are NaN, in other places in each sample.

The likelihood of what was observed, log P(v_o) = log Σ_{v_m, h} e^{-E} - log Z, has the gradient
⟨.⟩_{P(v_m, h | v_o)} - ⟨.⟩_model: nothing is filled in before training. The data terms `Clamped...` take the
first average; give one to an estimator as its `data_term`. They assume that whether an entry is missing does not depend
on its value. Source: Fissore, Decelle, Furtlehner & Han (2019), arXiv:1912.09382.
"""

import abc
import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_samples, check_count, check_order, check_sample_weights, remember_samples
from rbm_jax._internal.fields import count_field
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Bool, Float, PRNGKey, Sample, Shaped, Weighting
from rbm_jax.mean_field import mean_field_moments, solve_mean_field
from rbm_jax.mean_field.fluctuations import check_expansion
from rbm_jax.mean_field.sweep import init_magnetizations, mean_field_equations, sweep
from rbm_jax.model.energies import check_rbm, field_on_hidden, free_energy_of_visible
from rbm_jax.model.exact import exact_log_z, exact_moments
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments, average_product, conditional_moments
from rbm_jax.model.transforms import clamp
from rbm_jax.sampling.gibbs import run_gibbs

__all__ = [
    "AbstractDataTerm",
    "ClampedEnumeration",
    "ClampedGibbs",
    "ClampedMeanField",
    "Complete",
    "complete_samples",
    "fill_in_means",
    "observed_free_energy",
]

_N_AT_ONCE = 16
"""Samples whose states are enumerated together: each takes the memory of a chunk of states."""


class AbstractDataTerm(eqx.Module):
    """The data's half of the gradient: a frozen module, hashable by value, called as `term(key, rbm, v, ...)`.

    Attributes:
        takes_missing: whether NaN in the data stands for entries that were not observed.
    """

    takes_missing: ClassVar[bool]

    @abc.abstractmethod
    def __call__(
        self, key: PRNGKey | None, rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None
    ) -> Moments:
        """Averages over the data, and over what completes them.

        Args:
            key: a JAX key; None where the term is deterministic.
            rbm: any pair of unit types, unless the term says otherwise.
            v: shape (n_samples, n_visible). Values are not checked.
            sample_weights: non-negative sample weights, shape (n_samples,).
            compute_dtype: dtype of the matrix products, as in `conditional_moments`.
        """


class Complete(AbstractDataTerm):
    """Averages over complete data (`conditional_moments`): the term without a key."""

    takes_missing: ClassVar[bool] = False

    def __call__(self, key, rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None) -> Moments:
        """Each hidden unit at its conditional mean."""
        return conditional_moments(rbm, v, sample_weights, compute_dtype=compute_dtype)


class ClampedGibbs(AbstractDataTerm):
    """Averages over data and what completes them, from Gibbs chains with the observed units clamped.

    One chain for each sample (`complete_samples`). With nothing missing the result is that of `Complete()`, bit for
    bit.

    Attributes:
        n_sweeps: Gibbs sweeps of each chain.
    """

    n_sweeps: int = count_field("n_sweeps", 10)
    takes_missing: ClassVar[bool] = True

    def __call__(self, key, rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None) -> Moments:
        """`Complete` of the completed samples."""
        v = complete_samples(_required(key), rbm, v, n_sweeps=self.n_sweeps)
        return conditional_moments(rbm, v, sample_weights, compute_dtype=compute_dtype)


class ClampedMeanField(AbstractDataTerm):
    """Averages over data and what completes them, from the mean-field equations with the observed units clamped.

    Each sample starts with its missing entries at the means of the batch. It needs no key.

    Attributes:
        order: of the equations, 1 (naive), 2 (TAP) or 3; with Potts units 1 or 2.
        n_sweeps: sweeps of the equations.
    """

    order: int = eqx.field(static=True, default=2, converter=check_order)
    n_sweeps: int = count_field("n_sweeps", 10)
    takes_missing: ClassVar[bool] = True

    def __call__(self, key, rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None) -> Moments:
        """`mean_field_moments` after some sweeps."""
        init, observed = fill_in_means(rbm, v)
        equations = mean_field_equations(rbm, check_expansion(self.order, rbm))
        state = init_magnetizations(equations, init, observed)
        state = lax.fori_loop(0, self.n_sweeps, lambda _, state: sweep(state, equations, observed), state)
        return mean_field_moments(
            rbm, state.visible, state.hidden, order=self.order, sample_weights=sample_weights, clamp_mask=observed
        )


class ClampedEnumeration(AbstractDataTerm):
    """Averages over data and what completes them, exactly: one enumeration for each sample (`exact_moments`).

    For RBMs that are small enough to enumerate, or have two Gaussian layers. It needs no key.
    """

    takes_missing: ClassVar[bool] = True

    def __call__(self, key, rbm: RBM, v: Sample, sample_weights: Weighting = None, *, compute_dtype=None) -> Moments:
        """`exact_moments` of the clamped RBM of each sample."""
        v, observed = _observed(rbm, v)
        check_sample_weights(sample_weights, len(v))
        rest = _for_each(lambda v, mask: exact_moments(clamp(rbm, v, mask)), v, observed)
        complete, filled = observed.all(-1, keepdims=True), jnp.where(observed, v, 0)
        field = field_on_hidden(rbm, filled)
        moments = average_product(
            filled,
            jnp.where(complete, rbm.hidden_units.mean(field), rest.hidden),
            sample_weights,
            visible_units=_select(observed, rbm.visible_units.base_measure_derivative(filled), rest.visible_units),
            hidden_units=_select(complete, rbm.hidden_units.log_partition_derivative(field), rest.hidden_units),
        )
        fraction = normalized_weights(sample_weights, len(v), rbm.dtype)
        return Moments(
            moments.visible + fraction @ jnp.where(observed, 0, rest.visible),
            moments.hidden,
            moments.product + jnp.tensordot(fraction, jnp.where(observed[:, :, None], 0, rest.product), 1),
            moments.visible_units,
            moments.hidden_units,
        )


def observed_free_energy(rbm: RBM, v: Sample, *, order: int | None = None) -> Float[Array, " n_samples"]:
    """F(v_o) = -log Σ_{v_m, h} ρ_v ρ_h e^{-E}, so that log P(v_o) = -F(v_o) - log Z.

    Where nothing is missing it is `visible_free_energy`.

    Args:
        rbm: any pair of unit types; for order None small enough to enumerate.
        v: shape (n_samples, n_visible), NaN where an entry is missing.
        order: None for the exact sum, 1 (naive, an upper bound), 2 (TAP) or 3 for the clamped mean-field free energy.

    Returns:
        Shape (n_samples,); for an order NaN where the mean-field equations did not converge.

    Raises:
        ValueError: data that do not fit, another order, or an RBM too large to enumerate.
    """
    if order is None:
        v, observed = _observed(rbm, v)
        exact = _for_each(functools.partial(_exact_free_energy, rbm), v, observed)
        return jnp.where(observed.all(-1), free_energy_of_visible(rbm, jnp.where(observed, v, 0)), exact)
    start, observed = fill_in_means(rbm, v)
    solution = solve_mean_field(rbm, init=start, order=order, clamp_mask=observed)
    return jnp.where(solution.converged, solution.free_energy, jnp.nan)


def complete_samples(
    key: PRNGKey, rbm: RBM, v: Shaped[ArrayLike, "*batch n_visible"], *, n_sweeps: int = 10
) -> Float[Array, "*batch n_visible"]:
    """Samples with their missing entries drawn from P(v_m | v_o), by Gibbs chains that start at the batch's means.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: shape (*batch, n_visible), NaN where an entry is missing.
        n_sweeps: sweeps of each chain.

    Raises:
        ValueError: data that do not fit, or n_sweeps below 1.
    """
    start, observed = fill_in_means(rbm, v)
    key, n_sweeps = stream_key(key, Stream.COMPLETION), check_count("n_sweeps", n_sweeps)
    return remember_samples(run_gibbs(key, rbm, start, n_sweeps=n_sweeps, clamp_mask=observed), rbm.visible_units)


def fill_in_means(
    rbm: RBM, v: Shaped[ArrayLike, "*batch n_visible"]
) -> tuple[Float[Array, "*batch n_visible"], Bool[Array, "*batch n_visible"]]:
    """Samples with each missing entry at the mean of what the batch has there, and which entries were observed.

    Where the batch has nothing, it is the mean of the unit in its bias.

    Args:
        rbm: any pair of unit types.
        v: shape (*batch, n_visible), NaN where an entry is missing, in all components of a Potts unit or in none.

    Raises:
        ValueError: data that do not fit, or an RBM with NaN.
    """
    v, observed = _observed(rbm, v)
    axes = tuple(range(v.ndim - 1))
    count = observed.sum(axes)
    mean = jnp.where(observed, v, 0).sum(axes) / jnp.maximum(count, 1)
    mean = jnp.where(count > 0, mean, rbm.visible_units.mean(rbm.visible_bias))
    return jnp.where(observed, v, mean), observed


def _observed(rbm: RBM, v) -> tuple[Array, Array]:
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype, allow_missing=True)
    return v, ~jnp.isnan(v)


def _select(where: Array, seen: Any, free: Any) -> Any:
    """The derivatives in unit parameters at what was observed, and their averages elsewhere."""
    return jax.tree.map(lambda first, second: jnp.where(where, first, second), seen, free)


def _for_each(function, v: Array, observed: Array):
    """A function of each sample and its mask, for several at a time."""
    if v.ndim != 2 or len(v) == 0:
        raise ValueError(f"v must hold samples in rows, at least one, got shape {v.shape}")
    return lax.map(lambda pair: function(*pair), (v, observed), batch_size=min(_N_AT_ONCE, len(v)))


def _exact_free_energy(rbm: RBM, v: Array, mask: Array) -> Array:
    """The clamped RBM's log Z has the sum over each held unit in place of its value."""
    units, size = rbm.visible_units, rbm.visible_units.group_size
    values = jnp.where(mask, v, 0)
    held = units.log_base_measure(values) + (values * rbm.visible_bias).reshape(-1, size).sum(-1)
    excess = jnp.where(mask[::size], held - units.log_partition(rbm.visible_bias), 0)
    return -(exact_log_z(clamp(rbm, v, mask)) + excess.sum())


def _required(key: PRNGKey | None) -> PRNGKey:
    if key is None:
        raise ValueError("key must be given: ClampedGibbs draws what is missing; ClampedMeanField and others need none")
    return key
