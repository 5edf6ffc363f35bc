"""RBMs whose weights are copies of a few free ones, so that a symmetry of the data is one of the model."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, PRNGKey
from rbm_jax.model.rbm import RBM, init_rbm
from rbm_jax.symmetry.tyings import AbstractTying
from rbm_jax.units import AbstractUnits

__all__ = ["TiedRBM", "expand", "init_tied_rbm", "tie"]


class TiedRBM(eqx.Module):
    """The free parameters of an RBM with tied weights; `expand` makes the RBM.

    Like an `RBM` it is a pytree of arrays: its gradient and an optimizer's state are of the same kind. Hidden unit
    (k, p), number k n_placements + p, has filter k in placement p.

    Attributes:
        filters: f_k, shape (n_channels, n_entries).
        visible_bias: one for each orbit of visible units, shape (n_orbits,).
        hidden_bias: one for each channel, shape (n_channels,).
        tying: which weights are copies of which.
        visible_units: unit type of the visible layer; learned parameters have one value for each orbit.
        hidden_units: unit type of the hidden layer.
    """

    filters: Float[Array, "*rbms n_channels n_entries"]
    visible_bias: Float[Array, "*rbms n_orbits"]
    hidden_bias: Float[Array, "*rbms n_channels"]
    tying: AbstractTying = eqx.field(static=True)
    visible_units: AbstractUnits
    hidden_units: AbstractUnits

    def __check_init__(self):
        _check_tying(self.tying)
        for name in ("visible_units", "hidden_units"):
            units = getattr(self, name)
            if not isinstance(units, AbstractUnits):
                raise TypeError(f"{name} must be a unit type such as Bernoulli() or Spin(), got {units!r}")
            if units.group_size != 1:
                raise ValueError(f"{name} must be units of one component for tied weights, got {units}")

    @property
    def n_visible(self) -> int:
        """Number of visible units."""
        return self.tying.n_visible

    @property
    def n_hidden(self) -> int:
        """Number of hidden units of the expanded RBM."""
        return self.n_channels * self.tying.n_placements

    @property
    def n_channels(self) -> int:
        """Number of filters."""
        return self.filters.shape[-2]

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype in which everything about this RBM is computed."""
        return self.filters.dtype


def init_tied_rbm(
    key: PRNGKey,
    tying: AbstractTying,
    n_channels: int,
    *,
    visible_units: AbstractUnits | None = None,
    hidden_units: AbstractUnits | None = None,
    scale: float = 0.01,
    visible_mean: Float[ArrayLike, " n_visible"] | None = None,
    dtype=None,
) -> TiedRBM:
    """A tied RBM with filters f_k(r) ~ N(0, scale²); otherwise as `init_rbm`.

    Args:
        key: a JAX key.
        tying: such as `Translations((28, 28))`.
        n_channels: number of filters.
        visible_units: unit type of the visible layer, `Bernoulli()` by default. Learned parameters are given for each
            unit, shape (n_visible,), and averaged over each orbit.
        hidden_units: unit type of the hidden layer, `Bernoulli()` by default.
        scale: standard deviation of the free weights.
        visible_mean: means of the data, shape (n_visible,), averaged over each orbit here; None: zero bias.
        dtype: floating dtype; None for JAX's default.

    Raises:
        TypeError: a tying or unit types that are none.
        ValueError: a count below 1, a negative scale, means of the wrong shape or outside the support, Potts units.

    Example:
        >>> import jax
        >>> from rbm_jax.symmetry import Translations, expand, init_tied_rbm
        >>> tied = init_tied_rbm(jax.random.key(0), Translations((8, 8)), 2)
        >>> tied.filters.shape, expand(tied).weights.shape
        ((2, 64), (64, 128))
    """
    n_channels = check_count("n_channels", n_channels)
    _check_tying(tying)
    if visible_mean is not None and np.shape(visible_mean) == (tying.n_visible,):
        visible_mean = _orbit_means(jnp.asarray(visible_mean), tying)[tying.orbits]
    options = {"visible_units": visible_units, "hidden_units": hidden_units, "visible_mean": visible_mean}
    one_filter = init_rbm(key, tying.n_visible, 1, scale=scale, dtype=dtype, **options)  # checks, and makes the bias
    filters = scale * jax.random.normal(
        stream_key(key, Stream.TIED_WEIGHTS), (n_channels, tying.n_entries), one_filter.dtype
    )
    return TiedRBM(
        filters,
        _orbit_means(one_filter.visible_bias, tying),
        jnp.zeros((n_channels,), one_filter.dtype),
        tying,
        jax.tree.map(lambda leaf: _orbit_means(leaf, tying), one_filter.visible_units),
        one_filter.hidden_units,
    )


def expand(tied: TiedRBM) -> RBM:
    """The RBM with all copies of the weights: what samplers, estimators and theory work on.

    Linear in the parameters, so its transpose turns a gradient of the RBM into that of the free parameters: the sum
    over copies. See `tie` for their mean.

    Args:
        tied: of n_channels filters in n_placements placements.

    Returns:
        An RBM of n_channels × n_placements hidden units.

    Raises:
        TypeError: something that is not a `TiedRBM`.
        ValueError: leaves of other shapes than the tying has, or of several RBMs.
    """
    if not isinstance(tied, TiedRBM):
        raise TypeError(f"tied must be a TiedRBM, got {type(tied).__name__}")
    tying = tied.tying
    n_channels, n_orbits = tied.n_channels, int(tying.orbits.max()) + 1
    expected = (n_channels, tying.n_entries), (n_orbits,), (n_channels,)
    shapes = tuple(leaf.shape for leaf in (tied.filters, tied.visible_bias, tied.hidden_bias))
    learned = {leaf.shape for leaf in jax.tree.leaves(tied.visible_units)}
    if shapes != expected or not learned <= {(n_orbits,)}:
        raise ValueError(
            f"filters, visible_bias and hidden_bias must have shapes {expected} for {tying}, got {shapes}, and learned "
            f"parameters of visible units that of visible_bias, got {tied.visible_units}; use jax.vmap for several RBMs"
        )
    table = _table(tying)
    filters = jnp.pad(tied.filters, ((0, 0), (0, 1))) if (table < 0).any() else tied.filters  # entry -1 is zero
    weights = jnp.moveaxis(filters[:, table.T], 0, 1).reshape(tying.n_visible, -1)
    hidden_bias = jnp.repeat(tied.hidden_bias, tying.n_placements)
    visible_units = jax.tree.map(lambda leaf: leaf[tying.orbits], tied.visible_units)
    return RBM(weights, tied.visible_bias[tying.orbits], hidden_bias, visible_units, tied.hidden_units)


def tie(rbm: RBM, tying: AbstractTying) -> TiedRBM:
    """The nearest tied RBM: each free parameter is the mean of its copies, so `tie(expand(tied), tying)` is `tied`.

    Of the gradient at a symmetric point, it is the gradient on data augmented by all elements of the group: a tied RBM
    that descends it moves as the untied one does on those data, on the same clock.

    Args:
        rbm: parameters, or a gradient, of n_channels × n_placements hidden units.
        tying: such as `Translations((28, 28))`.

    Raises:
        TypeError: a tying that is none.
        ValueError: an RBM of other sizes.
    """
    _check_tying(tying)
    if rbm.n_visible != tying.n_visible or rbm.n_hidden % tying.n_placements:
        raise ValueError(
            f"rbm must have {tying.n_visible} visible and a multiple of {tying.n_placements} hidden units for {tying}, "
            f"got {rbm.n_visible} and {rbm.n_hidden}"
        )
    n_channels = rbm.n_hidden // tying.n_placements
    copies = np.bincount(tying.orbits)
    filters = jnp.zeros((n_channels, tying.n_entries), rbm.dtype)
    visible_bias, hidden_bias = jnp.zeros((len(copies),), rbm.dtype), jnp.zeros((n_channels,), rbm.dtype)
    visible_units = jax.tree.map(lambda leaf: jnp.zeros_like(visible_bias), rbm.visible_units)
    empty = TiedRBM(filters, visible_bias, hidden_bias, tying, visible_units, rbm.hidden_units)
    (sums,) = jax.linear_transpose(expand, empty)(rbm)
    return dataclasses.replace(
        sums,
        filters=sums.filters / tying.n_placements,
        visible_bias=sums.visible_bias / copies.astype(rbm.dtype),
        visible_units=jax.tree.map(lambda leaf: leaf / copies.astype(rbm.dtype), sums.visible_units),
        hidden_bias=sums.hidden_bias / tying.n_placements,
    )


def _check_tying(tying: Any) -> None:
    if not isinstance(tying, AbstractTying):
        raise TypeError(f"tying must be one such as Translations((28, 28)), got {tying!r}")


@functools.lru_cache(maxsize=16)
def _table(tying: AbstractTying) -> np.ndarray:
    return tying.table


def _orbit_means(values: Array, tying: AbstractTying) -> Array:
    copies = np.bincount(tying.orbits)
    return jax.ops.segment_sum(values, tying.orbits, len(copies)) / copies.astype(values.dtype)
