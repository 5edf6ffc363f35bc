"""The RBM as a pytree of arrays."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import as_configurations, check_count, check_finite, check_positive, is_concrete
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, ArrayLike, Float, PRNGKey
from rbm_jax.units import AbstractUnits, Bernoulli

__all__ = ["RBM", "check_compute_dtype", "check_layer_size", "init_rbm", "rebuild", "stack_rbms"]


class RBM(eqx.Module):
    """A Restricted Boltzmann Machine, P(v, h) = ρ_v(v) ρ_h(h) exp(a·v + b·h + vᵀWh) / Z, in units of k_B T.

    All leaves are arrays, so `jax.jit`, `vmap`, `grad` and optax work on it as it is; its gradient, its time derivative
    and an optimizer's momentum are RBMs too. There are three leaves, and one more for each learned parameter of units.

    Attributes:
        weights: W_ij, shape (n_visible, n_hidden).
        visible_bias: a_i, the field on v_i at h = 0, shape (n_visible,).
        hidden_bias: b_j, the field on h_j at v = 0, shape (n_hidden,).
        visible_units: unit type of the visible layer; learned parameters have the RBM's dtype and shape (n_visible,).
        hidden_units: unit type of the hidden layer, likewise. Its scale cannot be learned, as weights and biases do
            all that it could (`absorb_hidden_scale`).

    Raises:
        TypeError: parts that are not arrays of one floating dtype, or unit types.
        ValueError: shapes that do not fit, or hidden units with a learned scale.
    """

    weights: Float[Array, "*rbms n_visible n_hidden"]
    visible_bias: Float[Array, "*rbms n_visible"]
    hidden_bias: Float[Array, "*rbms n_hidden"]
    visible_units: AbstractUnits
    hidden_units: AbstractUnits

    def __check_init__(self):
        leaves = (self.weights, self.visible_bias, self.hidden_bias)
        if any(isinstance(leaf, list | tuple) for leaf in leaves):
            raise TypeError("weights and biases must be arrays, got a list or tuple; use jax.numpy.asarray")
        if not all(hasattr(leaf, "shape") for leaf in leaves):
            return  # a specification, such as vmap's in_axes
        for name in ("visible_units", "hidden_units"):
            _check_units(name, getattr(self, name))
        dtypes = {jnp.dtype(leaf.dtype) for leaf in leaves}
        if len(dtypes) > 1 or not jnp.issubdtype(self.weights.dtype, jnp.floating):
            names = ", ".join(sorted(map(str, dtypes)))
            raise TypeError(f"weights and biases must be arrays of one floating dtype, got {names}; use astype")
        *rbms, n_visible, n_hidden = self.weights.shape if self.weights.ndim >= 2 else (None, None)
        expected = ((*rbms, n_visible), (*rbms, n_hidden))
        if (self.visible_bias.shape, self.hidden_bias.shape) != expected:
            raise ValueError(
                "weights must have shape (n_visible, n_hidden), visible_bias (n_visible,) and hidden_bias (n_hidden,), "
                f"got {self.weights.shape}, {self.visible_bias.shape} and {self.hidden_bias.shape}"
            )
        check_layer_size("n_visible", self.n_visible, self.visible_units)
        check_layer_size("n_hidden", self.n_hidden, self.hidden_units)
        _check_parameters("visible_units", self.visible_units, self.visible_bias)
        _check_parameters("hidden_units", self.hidden_units, self.hidden_bias)
        _refuse_hidden_scale(self.hidden_units)

    @property
    def n_visible(self) -> int:
        """Number of components of the visible layer."""
        return self.weights.shape[-2]

    @property
    def n_hidden(self) -> int:
        """Number of components of the hidden layer."""
        return self.weights.shape[-1]

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype in which everything about this RBM is computed."""
        return self.weights.dtype


def init_rbm(
    key: PRNGKey,
    n_visible: int,
    n_hidden: int,
    *,
    visible_units: AbstractUnits | None = None,
    hidden_units: AbstractUnits | None = None,
    scale: float = 0.01,
    visible_mean: Float[ArrayLike, " n_visible"] | None = None,
    dtype=None,
) -> RBM:
    """An RBM with weights W_ij ~ N(0, scale²) and biases at which the layers, uncoupled, have given means.

    Args:
        key: a JAX key.
        n_visible: number of components of the visible layer: of units, or of n_sites × n_states for Potts ones.
        n_hidden: likewise of the hidden layer.
        visible_units: unit type of the visible layer, `Bernoulli()` by default.
        hidden_units: unit type of the hidden layer, `Bernoulli()` by default.
        scale: standard deviation of the weights; the top singular value is then about
            scale·(√n_visible + √n_hidden).
        visible_mean: means of the data, shape (n_visible,). The visible bias is the field at these means after they are
            moved 1e-3 (in probability) away from the edge, so that a constant pixel gets a finite bias. None: zero
            bias.
        dtype: floating dtype; None for JAX's default (float32, or float64 under x64).

    Raises:
        ValueError: a size below 1 or that holds no whole number of Potts units, a negative scale, means of the wrong
            shape or that the units cannot have, hidden units with a learned scale.

    Example:
        >>> import jax
        >>> from rbm_jax import Spin, init_rbm
        >>> rbm = init_rbm(jax.random.key(0), 6, 4, visible_units=Spin(), hidden_units=Spin())
        >>> rbm.weights.shape
        (6, 4)
    """
    n_visible, n_hidden = check_count("n_visible", n_visible), check_count("n_hidden", n_hidden)
    visible, hidden = (Bernoulli() if units is None else units for units in (visible_units, hidden_units))
    _check_units("visible_units", visible)
    _check_units("hidden_units", hidden)
    check_layer_size("n_visible", n_visible, visible)
    check_layer_size("n_hidden", n_hidden, hidden)
    dtype = jnp.zeros((), dtype).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"dtype must be a floating dtype, got {dtype}")
    visible, hidden = jax.tree.map(lambda leaf: leaf.astype(dtype), (visible, hidden))
    visible_bias = jnp.zeros((n_visible,), dtype)
    _check_parameters("visible_units", visible, visible_bias)
    if visible_mean is not None:
        check_finite("visible_mean", visible_mean)
        mean = as_configurations("visible_mean", visible_mean, n_visible, dtype, ndim=1)
        _check_mean(visible, mean)
        visible_bias = visible.field_at_mean(visible.interior_mean(mean, 1e-3))
    normal = jax.random.normal(stream_key(key, Stream.WEIGHTS), (n_visible, n_hidden), dtype)
    weights = check_positive("scale", scale, or_zero=True) * normal
    return RBM(weights, visible_bias, jnp.zeros((n_hidden,), dtype), visible, hidden)


def _check_units(name: str, units: AbstractUnits) -> None:
    if not isinstance(units, AbstractUnits):
        raise TypeError(f"{name} must be a unit type such as Bernoulli() or Spin(), got {units!r}")


def _check_parameters(name: str, units: AbstractUnits, bias: Array) -> None:
    """Raise unless learned parameters are like the bias of their layer."""
    for leaf in jax.tree.leaves(units):
        if not hasattr(leaf, "shape"):
            continue  # a part of a specification
        if leaf.shape != bias.shape:
            raise ValueError(
                f"{name} must have learned parameters of shape {bias.shape}, one for each unit, got {units}; a number "
                "is fixed and the same for all"
            )
        if leaf.dtype != bias.dtype:
            raise TypeError(
                f"{name} must have learned parameters of the RBM's {bias.dtype}, got {units}; make them in that dtype"
            )


def _refuse_hidden_scale(units: AbstractUnits) -> None:
    if units.has_learned_scale:
        raise ValueError(
            f"hidden_units must have a fixed scale, got {units}: units of variance 1 with weights W_ij σ_j and biases "
            "b_j σ_j have the same P(v), so that learning σ_j adds nothing; use rbm_jax.model.absorb_hidden_scale, "
            "which takes the arguments of RBM and makes that RBM"
        )


def _check_mean(units: AbstractUnits, mean: Array) -> None:
    """Raise if a concrete mean is outside the means that the units can have."""
    if not is_concrete(mean):
        return
    known = np.asarray(mean)  # on the host, also under `jit`
    if not units.contains_mean(known).all():
        least, greatest = known.min(), known.max()
        raise ValueError(f"visible_mean must be {units.mean_support} for {units}, got {least:g} to {greatest:g}")


def check_layer_size(name: str, size: int, units: AbstractUnits) -> None:
    """Raise unless a layer of so many components holds whole units."""
    if isinstance(units, AbstractUnits) and size % units.group_size:
        raise ValueError(
            f"{name} must be a multiple of {units.group_size} for {units}, n_sites × {units.group_size} components, "
            f"got {size}"
        )


def stack_rbms(rbms: Sequence[RBM]) -> RBM:
    """Stack RBMs of one shape and one pair of unit types along a new leading axis, for `jax.vmap`.

    Raises:
        ValueError: no RBM, or RBMs that differ in shape, dtype or unit types.
    """
    rbms = list(rbms)
    if not rbms:
        raise ValueError("rbms must hold at least one RBM, got none")
    signatures = [
        (jax.tree.structure(rbm), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(rbm)]) for rbm in rbms
    ]
    for index, signature in enumerate(signatures):
        if signature != signatures[0]:
            raise ValueError(
                "rbms must agree in unit types, shapes and dtypes, but number "
                f"{index} is {_describe(rbms[index])} and the first is {_describe(rbms[0])}"
            )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rbms)


def rebuild(rbm: RBM, **parts: Any) -> RBM:
    """The RBM with some fields replaced, without the checks of the constructor.

    For what no user hands over: tangents, whose parts may have any values and axes, and transposed RBMs, whose learned
    visible scale stands in the hidden layer.
    """
    values, structure = jax.tree.flatten(rbm, is_leaf=lambda node: node is not rbm)
    names = (field.name for field in dataclasses.fields(rbm))
    return structure.unflatten([parts.get(name, value) for name, value in zip(names, values, strict=True)])


def _describe(rbm: RBM) -> str:
    return f"{rbm.visible_units}-{rbm.hidden_units} of shape {rbm.weights.shape} in {rbm.dtype}"


def check_compute_dtype(rbm: RBM, compute_dtype) -> jnp.dtype:
    """The dtype of matrix products: the RBM's for None, and no narrower one where units are continuous."""
    dtype = jnp.dtype(rbm.dtype if compute_dtype is None else compute_dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"compute_dtype must be a floating dtype, got {dtype}")
    continuous = rbm.visible_units.states is None or rbm.hidden_units.states is None
    if continuous and jnp.finfo(dtype).bits < jnp.finfo(rbm.dtype).bits:
        raise TypeError(
            f"compute_dtype {dtype} would round the states of continuous units; "
            f"leave it at {rbm.dtype} for {rbm.visible_units}-{rbm.hidden_units}"
        )
    return dtype
