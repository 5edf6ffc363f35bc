"""Estimators of the gradient for tied RBMs: any of the others through the expansion, or PCD by Fourier transform."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_configurations, check_sample_weights
from rbm_jax._internal.fields import count_field
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.random import uniform
from rbm_jax._internal.typing import Array, Chains, Float, PRNGKey, Sample, Weighting
from rbm_jax.model.energies import hidden_field
from rbm_jax.model.metrics import AbstractMetric, Centered, Plain
from rbm_jax.sampling import init_chains
from rbm_jax.sampling.gibbs import gibbs_words
from rbm_jax.symmetry.fourier import filters_on_lattice, periodic_translations
from rbm_jax.symmetry.tied import TiedRBM, expand, tie
from rbm_jax.training.estimators import AbstractEstimator, required_chains
from rbm_jax.units import AbstractUnits

__all__ = ["FourierPCD", "Tied"]


class Tied(AbstractEstimator):
    """An estimator for a `TiedRBM`: that of the expanded RBM, with the mean over the copies of each weight (`tie`).

    With `Centered()` the offsets are μ, the mean of the batch over samples and orbits, and λ = ⟨h⟩ at μ: the centered
    gradient of the free parameters, not of their copies. It carries what the inner estimator carries.

    Attributes:
        estimator: such as `PCD(n_sweeps=10)`, with the metric `Plain()`.
        metric: geometry of the gradient of the free parameters, `Plain()` or `Centered()`.

    Raises:
        TypeError: something that is no estimator.
        ValueError: an estimator with a metric of its own, which would act on the copies, or another metric.

    Example:
        >>> import jax
        >>> from rbm_jax import PCD, Batches, Centered, Trainer, fit
        >>> from rbm_jax.data import binarize, load_digits
        >>> from rbm_jax.symmetry import Translations, init_tied_rbm
        >>> from rbm_jax.training import Tied
        >>> trainer = Trainer.euler(Tied(PCD(), metric=Centered()), learning_rate=0.05)
        >>> tied = init_tied_rbm(jax.random.key(0), Translations((8, 8)), 2)
        >>> state = trainer.init(jax.random.key(1), tied, n_chains=50)
        >>> batches = Batches(binarize(load_digits()), batch_size=50)
        >>> fit(jax.random.key(2), trainer, state, batches, n_updates=10)[0].rbm.filters.shape
        (2, 64)
    """

    estimator: AbstractEstimator
    metric: AbstractMetric = Plain()

    def __check_init__(self):
        if not isinstance(self.estimator, AbstractEstimator):
            raise TypeError(f"estimator must be one such as PCD(), got {self.estimator!r}")
        inner = getattr(self.estimator, "metric", Plain())
        if not isinstance(inner, Plain):
            raise ValueError(
                f"estimator must have the metric Plain(), got {inner}: it would act on the copies of the weights; "
                "give the metric to Tied"
            )
        _check_metric(self.metric)

    @property
    def takes_missing(self) -> bool:
        """Whether the inner estimator does."""
        return self.estimator.takes_missing

    def __call__(self, key, rbm: TiedRBM, batch: Sample, carry: Any, sample_weights: Weighting = None):
        """Gradient of the free parameters, and what the inner estimator carries on."""
        gradient, carry = self.estimator(key, expand(rbm), batch, carry, sample_weights)
        gradient = tie(gradient, rbm.tying)
        if isinstance(self.metric, Centered):
            gradient = _centered(rbm, gradient, batch, sample_weights)
        return gradient, carry

    def init(self, key: PRNGKey, rbm: TiedRBM, n_chains: int | None) -> Any:
        """That of the inner estimator for the expanded RBM."""
        return self.estimator.init(key, expand(rbm), n_chains)


def _centered(tied: TiedRBM, gradient: TiedRBM, batch: Sample, sample_weights: Weighting) -> TiedRBM:
    rbm, slope = expand(tied), expand(gradient)
    visible = _visible_offset(tied, batch, sample_weights)
    hidden = rbm.hidden_units.mean(hidden_field(rbm, visible))
    product = slope.weights - visible[:, None] * slope.hidden_bias - slope.visible_bias[:, None] * hidden
    # Only what is free of the weights, so that no other is compensated by the biases.
    product = expand(tie(dataclasses.replace(slope, weights=product), tied.tying)).weights
    slope = dataclasses.replace(
        slope,
        weights=product,
        visible_bias=slope.visible_bias - product @ hidden,
        hidden_bias=slope.hidden_bias - visible @ product,
    )
    return tie(slope, tied.tying)


def _check_metric(metric: Any) -> None:
    if not isinstance(metric, Plain | Centered):
        raise ValueError(f"metric must be Plain() or Centered() for tied weights, got {metric}")


def _visible_offset(tied: TiedRBM, batch: Sample, sample_weights: Weighting) -> Float[Array, " n_visible"]:
    """Mean of what is observed of the batch, over samples and orbits."""
    batch = as_configurations("batch", batch, tied.n_visible, tied.dtype, ndim=2)
    check_sample_weights(sample_weights, len(batch))
    share = normalized_weights(sample_weights, len(batch), tied.dtype)
    observed = ~jnp.isnan(batch)
    orbits = tied.tying.orbits
    total = jax.ops.segment_sum(share @ jnp.where(observed, batch, 0), orbits, len(tied.visible_bias))
    seen = jax.ops.segment_sum(share @ observed.astype(tied.dtype), orbits, len(tied.visible_bias))
    return (total / jnp.where(seen > 0, seen, 1))[orbits]


class FourierPCD(AbstractEstimator):
    """`Tied(PCD())` of a periodic lattice without the expanded weights: products by Fourier transform.

    The work for each sample is K N log N in place of K N², with N sites and K channels; the random numbers are the same
    ones, so the chains are too, up to rounding. Data must be complete; for missing entries there is `Tied`.

    Attributes:
        n_sweeps: Gibbs sweeps before the average is taken.
        metric: as in `Tied`.

    Raises:
        TypeError: when called, an RBM with another tying than periodic `Translations`.
        ValueError: another metric.
    """

    n_sweeps: int = count_field("n_sweeps", 1)
    metric: AbstractMetric = Plain()

    def __check_init__(self):
        _check_metric(self.metric)

    @property
    def takes_missing(self) -> bool:
        """False."""
        return False

    def __call__(self, key, rbm: TiedRBM, batch: Sample, carry: Chains, sample_weights: Weighting = None):
        """Gradient of the free parameters, and the advanced chains."""
        batch = as_configurations("batch", batch, rbm.n_visible, rbm.dtype, ndim=2)
        chains = as_configurations("carry", carry, rbm.n_visible, rbm.dtype, ndim=2)
        layer = _FourierLayers(rbm)
        # Products of deviations from offsets, since sums of products themselves would lose digits in float32.
        visible = _visible_offset(rbm, batch, sample_weights)
        hidden = rbm.hidden_units.mean(layer.hidden_field(visible[None]))[0]
        data = layer.moments(batch, normalized_weights(sample_weights, len(batch), rbm.dtype), visible, hidden)
        chains = layer.sweeps(key, chains, self.n_sweeps)
        model = layer.moments(chains, normalized_weights(None, len(chains), rbm.dtype), visible, hidden)
        slope = jax.tree.map(jnp.subtract, model, data)
        visible, hidden = visible[0], hidden.reshape(rbm.n_channels, -1)[:, 0]
        if isinstance(self.metric, Centered):
            rows = slope.filters.sum(1)
            visible_slope, hidden_slope = slope.visible_bias - hidden @ rows, slope.hidden_bias - visible * rows
            return dataclasses.replace(slope, visible_bias=visible_slope, hidden_bias=hidden_slope), chains
        filters = slope.filters + visible * slope.hidden_bias[:, None] + slope.visible_bias * hidden[:, None]
        return dataclasses.replace(slope, filters=filters), chains

    def init(self, key: PRNGKey, rbm: TiedRBM, n_chains: int | None) -> Float[Array, "n_chains n_visible"]:
        """Chains of `init_chains`."""
        return init_chains(key, expand(rbm), required_chains(n_chains))


class _FourierLayers:
    """Fields and moments of a tied RBM, as convolutions and correlations on its lattice."""

    def __init__(self, rbm: TiedRBM):
        self.rbm = rbm
        tying = periodic_translations(rbm)
        self.shape, self.window = tying.shape, tuple(slice(length) for length in tying.extent)
        self.filters = self.transform(filters_on_lattice(rbm))

    def transform(self, functions: Float[Array, "..."]) -> Array:
        return jnp.fft.rfftn(functions, axes=range(-len(self.shape), 0))

    def back(self, transform: Array) -> Float[Array, "..."]:
        return jnp.fft.irfftn(transform, s=self.shape, axes=range(-len(self.shape), 0)).astype(self.rbm.dtype)

    def on_lattice(self, v) -> Array:
        return self.transform(v.reshape(len(v), 1, *self.shape))

    def hidden_field(self, v: Float[Array, "n n_visible"]) -> Float[Array, "n n_hidden"]:
        field = self.back(self.on_lattice(v) * self.filters.conj())
        return field.reshape(len(v), -1) + jnp.repeat(self.rbm.hidden_bias, self.rbm.n_visible)

    def visible_field(self, h: Float[Array, "n n_hidden"]) -> Float[Array, "n n_visible"]:
        field = self.back((self.transform(h.reshape(len(h), -1, *self.shape)) * self.filters).sum(1))
        return field.reshape(len(h), -1) + self.rbm.visible_bias

    def sweeps(self, key: PRNGKey, v: Float[Array, "n n_visible"], n_sweeps: int) -> Float[Array, "n n_visible"]:
        """Gibbs sweeps, with the random numbers of `sample_gibbs`."""
        words = gibbs_words(key)

        def sample(counter, units: AbstractUnits, field):
            return units.sample_from_uniform(field, uniform(words, counter, field.shape, field.dtype))

        def sweep(v, step):
            h = sample(2 * step, self.rbm.hidden_units, self.hidden_field(v))
            return sample(2 * step + 1, self.rbm.visible_units, self.visible_field(h)), None

        return lax.scan(sweep, v, jnp.arange(n_sweeps, dtype=jnp.uint32))[0]

    def moments(
        self,
        v: Float[Array, "n n_visible"],
        share: Float[Array, " n"],
        visible: Float[Array, " n_visible"],
        hidden: Float[Array, " n_hidden"],
    ) -> TiedRBM:
        """Averages of v - visible, h - hidden and their product, in the places of the parameters they belong to."""
        h = self.rbm.hidden_units.mean(self.hidden_field(v)) - hidden
        units = self.rbm.visible_units.base_measure_derivative(v)  # one value for the one orbit
        v = v - visible
        on_lattice = (share[:, None] * h).reshape(len(h), -1, *self.shape)
        product = self.back((self.on_lattice(v) * self.transform(on_lattice).conj()).sum(0)) / self.rbm.n_visible
        return dataclasses.replace(
            self.rbm,
            filters=product[(slice(None), *self.window)].reshape(self.rbm.n_channels, -1),
            visible_bias=(share @ v).mean()[None],
            hidden_bias=(share @ h).reshape(self.rbm.n_channels, -1).mean(1),
            visible_units=jax.tree.map(lambda leaf: (share @ leaf).mean()[None], units),
        )
