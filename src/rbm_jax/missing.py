"""Data with missing entries, which are NaN, in other places in each sample.

The likelihood of what was observed, log P(v_o) = log Σ_{v_m, h} e^{-E} - log Z, has the gradient
⟨.⟩_{P(v_m, h | v_o)} - ⟨.⟩_model: nothing is filled in before training. The functions `clamped_...` take the first
average; give one to an estimator as its `data_term`. They assume that whether an entry is missing does not depend on
its value. Source: Fissore, Decelle, Furtlehner & Han (2019), arXiv:1912.09382.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._checks import as_configurations, check_count, check_order, check_sample_weights, is_concrete
from rbm_jax._math import normalized_weights
from rbm_jax._typing import Array, ArrayLike, Bool, Float, Int, PRNGKey, Sample, Shaped, Weighting
from rbm_jax.energies import hidden_field, visible_field, visible_free_energy
from rbm_jax.exact import exact_log_z, exact_moments
from rbm_jax.mean_field import mean_field_moments, solve_mean_field
from rbm_jax.mean_field.sweep import mean_field_equations, start_magnetizations, sweep
from rbm_jax.moments import Moments, average_product, conditional_moments
from rbm_jax.rbm import RBM
from rbm_jax.sampling import sample_gibbs, sample_hidden
from rbm_jax.transforms import clamp
from rbm_jax.units import AbstractUnits

__all__ = [
    "Imputation",
    "append_labels",
    "clamped_enumeration",
    "clamped_gibbs",
    "clamped_mean_field",
    "class_probabilities",
    "complete_samples",
    "fill_in_means",
    "impute",
    "observed_free_energy",
]

_N_AT_ONCE = 16
"""Samples whose states are enumerated together."""


def clamped_gibbs(key: PRNGKey, rbm: RBM, v: Sample, weights: Weighting = None, *, n_steps: int = 10) -> Moments:
    """Averages over data and what completes them, from Gibbs chains with the observed units clamped.

    One chain for each sample (`complete_samples`). With nothing missing the result is that of `conditional_moments`,
    bit for bit.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: shape (n_samples, n_visible), NaN where an entry is missing. Other values are not checked.
        weights: non-negative sample weights, shape (n_samples,).
        n_steps: sweeps of each chain.

    Raises:
        ValueError: shapes that do not fit, or n_steps below 1.
    """
    return conditional_moments(rbm, complete_samples(key, rbm, v, n_steps=n_steps), weights)


def clamped_mean_field(
    key: PRNGKey | None, rbm: RBM, v: Sample, weights: Weighting = None, *, order: int = 2, n_steps: int = 10
) -> Moments:
    """Averages over data and what completes them, from the mean-field equations with the observed units clamped.

    Args:
        key: not used.
        rbm: any pair of unit types.
        v: shape (n_samples, n_visible), NaN where an entry is missing. Other values are not checked.
        weights: non-negative sample weights, shape (n_samples,).
        order: of the equations, 1 (naive), 2 (TAP) or 3.
        n_steps: sweeps; each sample starts with its missing entries at the means of the batch.

    Raises:
        ValueError: shapes that do not fit, n_steps below 1, or another order.
    """
    order, n_steps = check_order(order), check_count("n_steps", n_steps)
    start, observed = fill_in_means(rbm, v)
    equations = mean_field_equations(rbm, order)
    state = start_magnetizations(equations, start, observed)
    state = lax.fori_loop(0, n_steps, lambda _, state: sweep(state, equations, observed), state)
    return mean_field_moments(rbm, state.visible, state.hidden, order=order, weights=weights, clamp_mask=observed)


def clamped_enumeration(key: PRNGKey | None, rbm: RBM, v: Sample, weights: Weighting = None) -> Moments:
    """Averages over data and what completes them, exactly: one enumeration for each sample (`exact_moments`).

    Args:
        key: not used.
        rbm: small enough to enumerate, or with two Gaussian layers.
        v: shape (n_samples, n_visible), NaN where an entry is missing. Other values are not checked.
        weights: non-negative sample weights, shape (n_samples,).

    Raises:
        ValueError: an RBM too large to enumerate, or shapes that do not fit.
    """
    v, observed = _observed(rbm, v)
    check_sample_weights(weights, len(v))
    rest = _for_each(lambda v, mask: exact_moments(clamp(rbm, v, mask)), v, observed)
    complete = observed.all(-1, keepdims=True)
    hidden = jnp.where(complete, rbm.hidden_units.mean(hidden_field(rbm, jnp.where(observed, v, 0))), rest.hidden)
    moments = average_product(jnp.where(observed, v, 0), hidden, weights)
    share = normalized_weights(weights, len(v), rbm.dtype)
    return Moments(
        moments.visible + share @ jnp.where(observed, 0, rest.visible),
        moments.hidden,
        moments.product + jnp.tensordot(share, jnp.where(observed[:, :, None], 0, rest.product), 1),
    )


def observed_free_energy(rbm: RBM, v: Sample, *, order: int | None = None) -> Float[Array, " n_samples"]:
    """F(v_o) = -log Σ_{v_m, h} ρ_v ρ_h e^{-E}, so that log P(v_o) = -F(v_o) - log Z.

    Where nothing is missing it is `visible_free_energy`.

    Args:
        rbm: any pair of unit types; for order None small enough to enumerate.
        v: shape (n_samples, n_visible), NaN where an entry is missing. Other values are not checked.
        order: None for the exact sum, 1 (naive, an upper bound), 2 (TAP) or 3 for the clamped mean-field free energy.

    Returns:
        Shape (n_samples,); for an order NaN where the mean-field equations did not converge.

    Raises:
        ValueError: shapes that do not fit, another order, or an RBM too large to enumerate.
    """
    if order is None:
        v, observed = _observed(rbm, v)
        exact = _for_each(functools.partial(_exact_free_energy, rbm), v, observed)
        return jnp.where(observed.all(-1), visible_free_energy(rbm, jnp.where(observed, v, 0)), exact)
    start, observed = fill_in_means(rbm, v)
    solution = solve_mean_field(rbm, init=start, order=order, clamp_mask=observed)
    return jnp.where(solution.converged, solution.free_energy, jnp.nan)


def complete_samples(
    key: PRNGKey, rbm: RBM, v: Shaped[ArrayLike, "*batch n_visible"], *, n_steps: int = 10
) -> Float[Array, "*batch n_visible"]:
    """Samples with their missing entries drawn from P(v_m | v_o), by Gibbs chains that start at the batch's means.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: shape (*batch, n_visible), NaN where an entry is missing. Other values are not checked.
        n_steps: sweeps of each chain.

    Raises:
        ValueError: shapes that do not fit, or n_steps below 1.
    """
    start, observed = fill_in_means(rbm, v)
    return sample_gibbs(key, rbm, start, n_steps=check_count("n_steps", n_steps), clamp_mask=observed)


def fill_in_means(
    rbm: RBM, v: Shaped[ArrayLike, "*batch n_visible"]
) -> tuple[Float[Array, "*batch n_visible"], Bool[Array, "*batch n_visible"]]:
    """Samples with each missing entry at the mean of what the batch has there, and which entries were observed.

    Where the batch has nothing, it is the mean of the unit in its bias.
    """
    v, observed = _observed(rbm, v)
    axes = tuple(range(v.ndim - 1))
    count = observed.sum(axes)
    mean = jnp.where(observed, v, 0).sum(axes) / jnp.maximum(count, 1)
    mean = jnp.where(count > 0, mean, rbm.visible_units.mean(rbm.visible_bias))
    return jnp.where(observed, v, mean), observed


class Imputation(NamedTuple):
    """What the observed entries of each sample tell about the missing ones.

    Observed entries have their value as mean and sample, and no deviation.

    Attributes:
        mean: ⟨v_m⟩ given v_o, shape (n_samples, n_visible).
        std: standard deviation of v_m given v_o: what the RBM leaves open, shape (n_samples, n_visible).
        std_error: standard error of the mean, from the differences between chains, shape (n_samples, n_visible).
        sample: one draw of v_m given v_o, all entries of a sample together, shape (n_samples, n_visible).
    """

    mean: Float[Array, "n_samples n_visible"]
    std: Float[Array, "n_samples n_visible"]
    std_error: Float[Array, "n_samples n_visible"]
    sample: Float[Array, "n_samples n_visible"]


def impute(
    key: PRNGKey, rbm: RBM, v: Sample, *, n_steps: int = 100, n_burn_in: int = 50, n_chains: int = 4
) -> Imputation:
    """Mean, deviation and a sample of the missing entries given the observed ones, by clamped Gibbs sampling.

    The averages are of the conditional moments in each sweep, whose variance is below that of the states.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: shape (n_samples, n_visible), NaN where an entry is missing. Other values are not checked.
        n_steps: sweeps that are averaged over.
        n_burn_in: sweeps before.
        n_chains: chains for each sample, at least 2.

    Raises:
        ValueError: shapes that do not fit, or a count that is too small.
    """
    n_steps, n_burn_in = check_count("n_steps", n_steps), check_count("n_burn_in", n_burn_in)
    n_chains = check_count("n_chains", n_chains, minimum=2)
    start, observed = fill_in_means(rbm, as_configurations("v", v, rbm.n_visible, rbm.dtype, ndim=2))
    return _impute(key, rbm, start, observed, n_steps=n_steps, n_burn_in=n_burn_in, n_chains=n_chains)


@functools.partial(jax.jit, static_argnames=("n_steps", "n_burn_in", "n_chains"))
def _impute(key, rbm: RBM, start, observed, *, n_steps: int, n_burn_in: int, n_chains: int) -> Imputation:
    states = jnp.broadcast_to(start, (n_chains, *start.shape))
    states = sample_gibbs(jax.random.fold_in(key, n_steps), rbm, states, n_steps=n_burn_in, clamp_mask=observed)

    def step(carry, number):
        states, means, squares = carry
        key_h, key_v = jax.random.split(jax.random.fold_in(key, number))
        field = visible_field(rbm, sample_hidden(key_h, rbm, states))
        mean = rbm.visible_units.mean(field)
        states = jnp.where(observed, start, rbm.visible_units.sample(key_v, field))
        return (states, means + mean, squares + rbm.visible_units.variance(field) + mean**2), None

    empty = jnp.zeros_like(states)
    (states, means, squares), _ = lax.scan(step, (states, empty, empty), jnp.arange(n_steps))
    chain_means = means / n_steps
    mean = chain_means.mean(0)
    variance = (squares / n_steps).mean(0) - mean**2
    error = chain_means.std(0, ddof=1) / n_chains**0.5
    return Imputation(
        jnp.where(observed, start, mean),
        jnp.where(observed, 0, jnp.sqrt(jnp.maximum(variance, 0))),
        jnp.where(observed, 0, error),
        states[0],
    )


def append_labels(
    data: Float[ArrayLike, "n_samples n_visible"],
    labels: Int[ArrayLike, " n_samples"],
    n_classes: int,
    *,
    units: AbstractUnits,
) -> Float[Array, "n_samples n_visible_and_labels"]:
    """Data with their classes as further visible units, one for each class, on for that of the sample.

    Args:
        data: shape (n_samples, n_visible), NaN where an entry is missing.
        labels: from 0 to n_classes - 1, or -1 where the class is not known: its units are then missing.
        n_classes: number of classes.
        units: unit type of the visible layer, of two states.

    Raises:
        ValueError: labels of another shape or range, or units of other than two states.
    """
    n_classes = check_count("n_classes", n_classes, minimum=2)
    off, on = _two_states(units)
    data, labels = jnp.asarray(data), jnp.asarray(labels)
    if data.ndim != 2 or labels.shape != data.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be integers, one for each row of data, got {labels.dtype} of shape {labels.shape} for data "
            f"of shape {data.shape}"
        )
    if is_concrete(labels) and ((labels < -1) | (labels >= n_classes)).any():
        raise ValueError(
            f"labels must lie from 0 to {n_classes - 1}, or be -1 for unknown, got {labels.min()} to {labels.max()}"
        )
    dtype = jnp.result_type(data.dtype, jnp.zeros(()).dtype)
    one_hot = jnp.where(jax.nn.one_hot(labels, n_classes, dtype=bool), on, off)
    return jnp.concatenate([data, jnp.where(labels[:, None] < 0, jnp.nan, one_hot)], axis=1).astype(dtype)


def class_probabilities(
    key: PRNGKey, rbm: RBM, v: Sample, n_classes: int, *, n_steps: int = 50, n_burn_in: int = 20
) -> Float[Array, "n_samples n_classes"]:
    """P(class | what was observed) from an RBM that was trained on data of `append_labels`.

    Exact where all other units are observed. Otherwise the mean of the exact P(class | v) over a Gibbs chain of the
    missing units and the class, restricted to states in which one label unit is on.

    Args:
        key: a JAX key.
        rbm: visible units of two states, the last n_classes of them the labels.
        v: shape (n_samples, n_visible - n_classes), NaN where an entry is missing; without the label units.
        n_classes: number of classes.
        n_steps: sweeps that are averaged over.
        n_burn_in: sweeps before.

    Raises:
        ValueError: shapes that do not fit, or units of other than two states.
    """
    n_classes = check_count("n_classes", n_classes, minimum=2)
    _two_states(rbm.visible_units)
    v = as_configurations("v", v, rbm.n_visible - n_classes, rbm.dtype, ndim=2)
    labels = jnp.full((len(v), n_classes), jnp.nan, rbm.dtype)
    start, observed = fill_in_means(rbm, jnp.concatenate([v, labels], axis=1))
    counts = check_count("n_steps", n_steps), check_count("n_burn_in", n_burn_in, minimum=0)
    return _class_probabilities(key, rbm, start, observed, n_classes=n_classes, counts=counts)


@functools.partial(jax.jit, static_argnames=("n_classes", "counts"))
def _class_probabilities(key, rbm: RBM, start, observed, *, n_classes: int, counts: tuple[int, int]) -> Array:
    off, on = _two_states(rbm.visible_units)
    one_hot = jnp.where(jnp.eye(n_classes, dtype=bool), on, off).astype(rbm.dtype)
    label_weights, label_bias = rbm.weights[-n_classes:], rbm.visible_bias[-n_classes:]

    def posterior(v):
        """P(class | all other units)."""
        others = hidden_field(rbm, v.at[:, -n_classes:].set(0))
        fields = others[:, None] + one_hot @ label_weights
        return jax.nn.softmax(rbm.hidden_units.log_partition(fields).sum(-1) + one_hot @ label_bias)

    def step(v, number):
        key_class, key_h, key_v = jax.random.split(jax.random.fold_in(key, number), 3)
        probabilities = posterior(v)
        label = one_hot[jax.random.categorical(key_class, jnp.log(probabilities))]
        h = sample_hidden(key_h, rbm, v.at[:, -n_classes:].set(label))
        new = rbm.visible_units.sample(key_v, visible_field(rbm, h))
        return jnp.where(observed, v, new), probabilities

    n_steps, n_burn_in = counts
    _, probabilities = lax.scan(step, start, jnp.arange(n_burn_in + n_steps))
    return probabilities[n_burn_in:].mean(0)


def _two_states(units: AbstractUnits) -> tuple[float, float]:
    if units.states is None or units.states.shape != (2, 1):
        raise ValueError(f"labels need visible units of two states, such as Bernoulli() or Spin(), got {units}")
    return float(units.states[0, 0]), float(units.states[1, 0])


def _observed(rbm: RBM, v) -> tuple[Array, Array]:
    v, size = as_configurations("v", v, rbm.n_visible, rbm.dtype), rbm.visible_units.group_size
    observed = ~jnp.isnan(v)
    if size > 1 and is_concrete(observed):
        groups = observed.reshape(*v.shape[:-1], -1, size)
        if (groups.any(-1) != groups.all(-1)).any():
            raise ValueError(f"v must miss all {size} components of a unit of {rbm.visible_units} or none")
    return v, observed


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
