"""Estimators of the gradient for tied RBMs: any of the others through the expansion, or PCD by Fourier transform."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_configurations, check_count, check_sample_weights
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.random import key_words, uniform
from rbm_jax._internal.typing import Array, Chains, Float, PRNGKey, Sample, Weighting
from rbm_jax.model.energies import hidden_field
from rbm_jax.symmetry.fourier import filters_on_lattice, periodic_translations
from rbm_jax.symmetry.tied import TiedRBM, expand, tie
from rbm_jax.units import AbstractUnits

__all__ = ["fourier_pcd", "tied_estimator"]


def tied_estimator(estimator: Callable, *, centered: bool = False) -> Callable:
    """An estimator for a `TiedRBM`: that of the expanded RBM, with the mean over the copies of each weight (`tie`).

    Args:
        estimator: such as `pcd`, or one with options, `functools.partial(pcd, n_sweeps=10)`.
        centered: the centered gradient of the free parameters, in place of the estimator's own option: see
            `likelihood_gradient`. The offsets are μ, the mean of the batch over samples and orbits, and λ = ⟨h⟩ at μ.

    Raises:
        ValueError: an estimator that centers or standardizes the gradient of the expanded RBM, whose weights are not
            free.

    Example:
        >>> import jax, optax
        >>> from rbm_jax import fit
        >>> from rbm_jax.training import init_train_state, pcd
        >>> from rbm_jax.data import binarize, load_digits
        >>> from rbm_jax.symmetry import Translations, init_tied_rbm, tied_estimator
        >>> tied = init_tied_rbm(jax.random.key(0), Translations((8, 8)), 2)
        >>> optimizer = optax.sgd(0.05)
        >>> state = init_train_state(jax.random.key(1), tied, optimizer, n_chains=50)
        >>> state, _ = fit(jax.random.key(2), state, binarize(load_digits()), estimator=tied_estimator(pcd),
        ...                optimizer=optimizer, n_updates=10, batch_size=50)
        >>> state.rbm.filters.shape
        (2, 64)
    """
    options = getattr(estimator, "keywords", {})
    if options.get("centered") or options.get("standardized"):
        raise ValueError("estimator must not be centered or standardized itself: pass centered=True to tied_estimator")
    return functools.partial(_through_expansion, estimator, centered)


def _through_expansion(
    estimator: Callable,
    centered: bool,
    key: PRNGKey | None,
    tied: TiedRBM,
    batch: Sample,
    chains: Any,
    *,
    sample_weights: Weighting = None,
) -> tuple[TiedRBM, Any]:
    rbm = expand(tied)
    gradient, chains = estimator(
        key, rbm, batch, chains, **({} if sample_weights is None else {"sample_weights": sample_weights})
    )
    gradient = tie(gradient, tied.tying)
    if not centered:
        return gradient, chains
    visible = _visible_offset(tied, batch, sample_weights)
    hidden = rbm.hidden_units.mean(hidden_field(rbm, visible))
    slope = expand(gradient)
    product = slope.weights - visible[:, None] * slope.hidden_bias - slope.visible_bias[:, None] * hidden
    # Only what is free of the weights, so that no other is compensated by the biases.
    product = expand(tie(dataclasses.replace(slope, weights=product), tied.tying)).weights
    slope = dataclasses.replace(
        slope,
        weights=product,
        visible_bias=slope.visible_bias - product @ hidden,
        hidden_bias=slope.hidden_bias - visible @ product,
    )
    return tie(slope, tied.tying), chains


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


def fourier_pcd(
    key: PRNGKey,
    rbm: TiedRBM,
    batch: Sample,
    chains: Chains,
    *,
    n_sweeps: int = 1,
    sample_weights: Weighting = None,
    centered: bool = False,
) -> tuple[TiedRBM, Chains]:
    """`tied_estimator(pcd)` of a periodic lattice without the expanded weights: products by Fourier transform.

    The work for each sample is K N log N in place of K N², with N sites and K channels; the random numbers are the same
    ones, so the chains are too, up to rounding.

    Args:
        key: a JAX key.
        rbm: with periodic `Translations`, any pair of unit types.
        batch: complete data, shape (n_samples, n_visible); for missing entries there is `tied_estimator`. Values are
            not checked.
        chains: visible states of the persistent chains, shape (n_chains, n_visible).
        n_sweeps: Gibbs sweeps before the average is taken.
        sample_weights: non-negative sample weights of the batch, shape (n_samples,).
        centered: as in `tied_estimator`.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, and the advanced chains.

    Raises:
        TypeError: another tying.
        ValueError: shapes that do not fit, or n_sweeps below 1.
    """
    n_sweeps, words = check_count("n_sweeps", n_sweeps), key_words(key)
    batch = as_configurations("batch", batch, rbm.n_visible, rbm.dtype, ndim=2)
    chains = as_configurations("chains", chains, rbm.n_visible, rbm.dtype, ndim=2)
    layer = _FourierLayers(rbm)

    def sample(counter, units: AbstractUnits, field):
        return units.sample_from_uniform(field, uniform(words, counter, field.shape, field.dtype))

    def sweep(v, step):
        h = sample(2 * step, rbm.hidden_units, layer.hidden_field(v))
        return sample(2 * step + 1, rbm.visible_units, layer.visible_field(h)), None

    # Products of deviations from offsets, since sums of products themselves would lose digits in float32.
    visible = _visible_offset(rbm, batch, sample_weights)
    hidden = rbm.hidden_units.mean(layer.hidden_field(visible[None]))[0]
    data = layer.moments(batch, normalized_weights(sample_weights, len(batch), rbm.dtype), visible, hidden)
    chains, _ = lax.scan(sweep, chains, jnp.arange(n_sweeps, dtype=jnp.uint32))
    model = layer.moments(chains, normalized_weights(None, len(chains), rbm.dtype), visible, hidden)
    slope = jax.tree.map(jnp.subtract, model, data)
    visible, hidden = visible[0], hidden.reshape(rbm.n_channels, -1)[:, 0]
    if centered:
        rows = slope.filters.sum(1)
        visible_slope, hidden_slope = slope.visible_bias - hidden @ rows, slope.hidden_bias - visible * rows
        return dataclasses.replace(slope, visible_bias=visible_slope, hidden_bias=hidden_slope), chains
    filters = slope.filters + visible * slope.hidden_bias[:, None] + slope.visible_bias * hidden[:, None]
    return dataclasses.replace(slope, filters=filters), chains


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

    def moments(
        self,
        v: Float[Array, "n n_visible"],
        share: Float[Array, " n"],
        visible: Float[Array, " n_visible"],
        hidden: Float[Array, " n_hidden"],
    ) -> TiedRBM:
        """Averages of v - visible, h - hidden and their product, in the places of the parameters they belong to."""
        h = self.rbm.hidden_units.mean(self.hidden_field(v)) - hidden
        v = v - visible
        on_lattice = (share[:, None] * h).reshape(len(h), -1, *self.shape)
        product = self.back((self.on_lattice(v) * self.transform(on_lattice).conj()).sum(0)) / self.rbm.n_visible
        return dataclasses.replace(
            self.rbm,
            filters=product[(slice(None), *self.window)].reshape(self.rbm.n_channels, -1),
            visible_bias=(share @ v).mean()[None],
            hidden_bias=(share @ h).reshape(self.rbm.n_channels, -1).mean(1),
        )
