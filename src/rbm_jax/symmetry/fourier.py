"""Spectral theory of translations: Fourier modes are the singular vectors of W, and each grows by itself.

On a periodic lattice the weights of a channel are circulant. Their Fourier transform is unnormalized,
f̂(q) = Σ_r f(r) e^{-2πi q·r/L}; wave numbers q run as in `numpy.fft.fftn`.
"""

import jax.numpy as jnp

from rbm_jax._internal.checks import as_configurations, check_finite, check_sample_weights
from rbm_jax._internal.math import normalized_weights
from rbm_jax._internal.typing import Array, Float, Sample, Weighting
from rbm_jax.symmetry.tied import TiedRBM
from rbm_jax.symmetry.tyings import Translations
from rbm_jax.units import AbstractUnits, check_scalar_units

__all__ = [
    "filters_on_lattice",
    "fourier_growth_rates",
    "fourier_singular_values",
    "periodic_translations",
    "power_spectrum",
]


def fourier_singular_values(tied: TiedRBM) -> Float[Array, "..."]:
    """Singular values of the expanded weights, √(Σ_k |f̂_k(q)|²), one for each wave number q.

    The left singular vectors are the Fourier modes; q and -q have equal values, so that their real and imaginary parts
    span a degenerate pair.

    Args:
        tied: with periodic `Translations`.

    Returns:
        Shape that of the lattice. The expanded RBM has no others but zeros.

    Raises:
        TypeError: another tying.
    """
    filters = filters_on_lattice(tied)
    transform = jnp.fft.fftn(filters, axes=tuple(range(1, filters.ndim)))
    return jnp.sqrt((jnp.abs(transform) ** 2).sum(0))


def power_spectrum(data: Sample, shape: tuple[int, ...], sample_weights: Weighting = None) -> Float[Array, "..."]:
    """Eigenvalues c_q of the covariance of data that are augmented by all translations of a periodic lattice.

    c_q = ⟨|v̂(q)|²⟩ / N, with the mean over samples and sites taken off: the variance along Fourier mode q.

    Args:
        data: shape (n_samples, n_sites), sites in row-major order.
        shape: lengths of the lattice's axes.
        sample_weights: non-negative sample weights, shape (n_samples,).

    Returns:
        Shape that of the lattice.

    Raises:
        ValueError: data of another size or with NaN, or bad weights.
    """
    tying = Translations(shape)
    data = as_configurations("data", data, tying.n_visible, jnp.zeros(()).dtype, ndim=2)
    check_finite("data", data)
    check_sample_weights(sample_weights, len(data))
    share = normalized_weights(sample_weights, len(data), data.dtype)
    lattice = (data - (share @ data).mean()).reshape(-1, *tying.shape)
    transform = jnp.fft.fftn(lattice, axes=tuple(range(1, lattice.ndim)))
    return jnp.tensordot(share, jnp.abs(transform) ** 2, 1) / tying.n_visible


def fourier_growth_rates(
    data: Sample,
    shape: tuple[int, ...],
    *,
    visible_units: AbstractUnits,
    hidden_units: AbstractUnits,
    sample_weights: Weighting = None,
) -> Float[Array, "..."]:
    """Linear theory of early learning: the rate σ_h² (c_q - σ_v²) at which each Fourier mode of W grows.

    It is `rbm_jax.dynamics.growth_modes` of the augmented data: the `power_spectrum` against the variance that a
    visible unit has at their mean.

    Args:
        data: shape (n_samples, n_sites).
        shape: lengths of the lattice's axes.
        visible_units: unit type of the visible layer.
        hidden_units: unit type of the hidden layer.
        sample_weights: non-negative sample weights, shape (n_samples,).

    Returns:
        Shape that of the lattice.

    Raises:
        ValueError: as `power_spectrum`, or Potts units.
    """
    check_scalar_units("fourier_growth_rates", visible_units, hidden_units)
    spectrum = power_spectrum(data, shape, sample_weights)
    share = normalized_weights(sample_weights, len(data), spectrum.dtype)
    mean = visible_units.interior_mean((share @ jnp.asarray(data, spectrum.dtype)).mean()[None], 1e-3)
    visible_variance = visible_units.variance(visible_units.field_at_mean(mean))[0]
    hidden_variance = hidden_units.variance(jnp.zeros(1, spectrum.dtype))[0]
    return hidden_variance * (spectrum - visible_variance)


def filters_on_lattice(tied: TiedRBM) -> Float[Array, " n_channels *lattice"]:
    """The filters of periodic `Translations` as functions on the whole lattice, zero outside their window.

    Raises:
        TypeError: another tying.
    """
    tying = periodic_translations(tied)
    filters = tied.filters.reshape(tied.n_channels, *tying.extent)
    beyond = [(0, outer - inner) for outer, inner in zip(tying.shape, tying.extent, strict=True)]
    return jnp.pad(filters, [(0, 0), *beyond])


def periodic_translations(tied: TiedRBM) -> Translations:
    """The tying of an RBM on a periodic lattice.

    Raises:
        TypeError: another tying.
    """
    tying = getattr(tied, "tying", None)
    if not (isinstance(tying, Translations) and tying.periodic):
        raise TypeError(f"tying must be Translations of a periodic lattice, got {tied if tying is None else tying}")
    return tying
