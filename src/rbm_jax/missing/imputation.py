"""Completing what is missing: imputation, and labels as visible units."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_samples, check_count, is_concrete
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, Int, PRNGKey, Sample
from rbm_jax.missing.data_terms import fill_in_means
from rbm_jax.model.energies import check_rbm, field_on_hidden, field_on_visible
from rbm_jax.model.rbm import RBM
from rbm_jax.sampling import sample_hidden
from rbm_jax.sampling.gibbs import run_gibbs
from rbm_jax.units import AbstractUnits

__all__ = ["Imputation", "append_labels", "class_probabilities", "impute"]


class Imputation(eqx.Module):
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
    key: PRNGKey, rbm: RBM, v: Sample, *, n_sweeps: int = 100, n_burn_in: int = 50, n_chains: int = 4
) -> Imputation:
    """Mean, deviation and a sample of the missing entries given the observed ones, by clamped Gibbs sampling.

    The averages are of the conditional moments in each sweep, whose variance is below that of the states.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: shape (n_samples, n_visible), NaN where an entry is missing.
        n_sweeps: sweeps that are averaged over.
        n_burn_in: sweeps before.
        n_chains: chains for each sample, at least 2.

    Raises:
        ValueError: data that do not fit, an RBM with NaN, or a count that is too small.
    """
    n_sweeps, n_burn_in = check_count("n_sweeps", n_sweeps), check_count("n_burn_in", n_burn_in)
    n_chains = check_count("n_chains", n_chains, minimum=2)
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype, ndim=2, allow_missing=True)
    start, observed = fill_in_means(rbm, v)
    key = stream_key(key, Stream.IMPUTATION)
    return _impute(key, rbm, start, observed, n_sweeps=n_sweeps, n_burn_in=n_burn_in, n_chains=n_chains)


@functools.partial(jax.jit, static_argnames=("n_sweeps", "n_burn_in", "n_chains"))
def _impute(key, rbm: RBM, start, observed, *, n_sweeps: int, n_burn_in: int, n_chains: int) -> Imputation:
    states = jnp.broadcast_to(start, (n_chains, *start.shape))
    states = run_gibbs(jax.random.fold_in(key, n_sweeps), rbm, states, n_sweeps=n_burn_in, clamp_mask=observed)

    def step(carry, number):
        states, means, squares = carry
        key_h, key_v = jax.random.split(jax.random.fold_in(key, number))
        field = field_on_visible(rbm, sample_hidden(key_h, rbm, states))
        mean = rbm.visible_units.mean(field)
        states = jnp.where(observed, start, rbm.visible_units.sample(key_v, field))
        return (states, means + mean, squares + rbm.visible_units.variance(field) + mean**2), None

    empty = jnp.zeros_like(states)
    (states, means, squares), _ = lax.scan(step, (states, empty, empty), jnp.arange(n_sweeps))
    chain_means = means / n_sweeps
    mean = chain_means.mean(0)
    variance = (squares / n_sweeps).mean(0) - mean**2
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
    key: PRNGKey, rbm: RBM, v: Sample, n_classes: int, *, n_sweeps: int = 50, n_burn_in: int = 20
) -> Float[Array, "n_samples n_classes"]:
    """P(class | what was observed) from an RBM that was trained on data of `append_labels`.

    Exact where all other units are observed. Otherwise the mean of the exact P(class | v) over a Gibbs chain of the
    missing units and the class, restricted to states in which one label unit is on.

    Args:
        key: a JAX key.
        rbm: visible units of two states, the last n_classes of them the labels.
        v: shape (n_samples, n_visible - n_classes), NaN where an entry is missing; without the label units.
        n_classes: number of classes.
        n_sweeps: sweeps that are averaged over.
        n_burn_in: sweeps before.

    Raises:
        ValueError: shapes that do not fit, or units of other than two states.
    """
    n_classes = check_count("n_classes", n_classes, minimum=2)
    _two_states(rbm.visible_units)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible - n_classes, rbm.dtype, ndim=2, allow_missing=True)
    labels = jnp.full((len(v), n_classes), jnp.nan, rbm.dtype)
    start, observed = fill_in_means(rbm, jnp.concatenate([v, labels], axis=1))
    counts = check_count("n_sweeps", n_sweeps), check_count("n_burn_in", n_burn_in, minimum=0)
    key = stream_key(key, Stream.CLASSES)
    return _class_probabilities(key, rbm, start, observed, n_classes=n_classes, counts=counts)


@functools.partial(jax.jit, static_argnames=("n_classes", "counts"))
def _class_probabilities(key, rbm: RBM, start, observed, *, n_classes: int, counts: tuple[int, int]) -> Array:
    off, on = _two_states(rbm.visible_units)
    one_hot = jnp.where(jnp.eye(n_classes, dtype=bool), on, off).astype(rbm.dtype)
    label_weights, label_bias = rbm.weights[-n_classes:], rbm.visible_bias[-n_classes:]

    def posterior(v):
        """P(class | all other units)."""
        others = field_on_hidden(rbm, v.at[:, -n_classes:].set(0))
        fields = others[:, None] + one_hot @ label_weights
        return jax.nn.softmax(rbm.hidden_units.log_partition(fields).sum(-1) + one_hot @ label_bias)

    def step(v, number):
        key_class, key_h, key_v = jax.random.split(jax.random.fold_in(key, number), 3)
        probabilities = posterior(v)
        label = one_hot[jax.random.categorical(key_class, jnp.log(probabilities))]
        h = sample_hidden(key_h, rbm, v.at[:, -n_classes:].set(label))
        new = rbm.visible_units.sample(key_v, field_on_visible(rbm, h))
        return jnp.where(observed, v, new), probabilities

    n_sweeps, n_burn_in = counts
    _, probabilities = lax.scan(step, start, jnp.arange(n_burn_in + n_sweeps))
    return probabilities[n_burn_in:].mean(0)


def _two_states(units: AbstractUnits) -> tuple[float, float]:
    if units.states is None or units.states.shape != (2, 1):
        raise ValueError(f"labels need visible units of two states, such as Bernoulli() or Spin(), got {units}")
    return float(units.states[0, 0]), float(units.states[1, 0])
