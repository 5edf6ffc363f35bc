"""Block Gibbs sampling: all hidden units given the visible ones, then all visible given the hidden.

A batch of chains is one matrix product per half-step. Random numbers come from a counter, so sweep t of a run is a
function of the key, t and the chain's position alone.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_samples, check_count, check_mask, remember_samples
from rbm_jax._internal.placement import divide_rows
from rbm_jax._internal.random import Counter, Stream, Words, key_words, stream_key, uniform
from rbm_jax._internal.typing import Array, ArrayLike, Float, PRNGKey, Shaped
from rbm_jax.model.energies import HiddenStates, VisibleStates, check_rbm, field_on_hidden, field_on_visible
from rbm_jax.model.rbm import RBM, check_compute_dtype

__all__ = [
    "gibbs_step",
    "gibbs_words",
    "init_chains",
    "run_gibbs",
    "sample_gibbs",
    "sample_hidden",
    "sample_visible",
    "sweep_states",
]


def sample_hidden(key: PRNGKey, rbm: RBM, v: VisibleStates) -> Float[Array, "*batch n_hidden"]:
    """Sample h ~ P(h | v), independently for each configuration.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: configurations, shape (*batch, n_visible).

    Raises:
        ValueError: the last axis of `v` is not n_visible, a value outside the support of the units, or an RBM with NaN.
    """
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype)
    h = rbm.hidden_units.sample(stream_key(key, Stream.HIDDEN), field_on_hidden(rbm, v))
    return remember_samples(h, rbm.hidden_units)


def sample_visible(key: PRNGKey, rbm: RBM, h: HiddenStates) -> Float[Array, "*batch n_visible"]:
    """Sample v ~ P(v | h), independently for each configuration.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        h: configurations, shape (*batch, n_hidden).

    Raises:
        ValueError: the last axis of `h` is not n_hidden, a value outside the support of the units, or an RBM with NaN.
    """
    check_rbm(rbm)
    h = as_samples("h", h, rbm.hidden_units, rbm.n_hidden, rbm.dtype)
    v = rbm.visible_units.sample(stream_key(key, Stream.VISIBLE), field_on_visible(rbm, h))
    return remember_samples(v, rbm.visible_units)


def gibbs_step(key: PRNGKey, rbm: RBM, v: VisibleStates) -> Float[Array, "*batch n_visible"]:
    """One sweep v → h → v, which leaves P(v) invariant; the same states as `sample_gibbs` with n_sweeps=1.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: configurations, shape (*batch, n_visible).

    Raises:
        ValueError: the last axis of `v` is not n_visible, a value outside the support of the units, or an RBM with NaN.
    """
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype)
    return remember_samples(sweep_states(gibbs_words(key), 0, rbm, (rbm.weights, rbm.weights.T), v), rbm.visible_units)


def sample_gibbs(
    key: PRNGKey,
    rbm: RBM,
    v: VisibleStates,
    *,
    n_sweeps: int,
    clamp_mask: Shaped[ArrayLike, "*mask n_visible"] | None = None,
    compute_dtype=None,
) -> Float[Array, "*batch n_visible"]:
    """Run chains for n_sweeps sweeps, in one compiled scan.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        v: configurations at which the chains start, shape (*batch, n_visible).
        n_sweeps: sweeps; 0 returns the initial configurations.
        clamp_mask: True where a visible unit stays at its value in `v`, shape (n_visible,) or one that broadcasts to
            that of `v`: the chains then sample the conditional distribution given the clamped units. Potts units are
            clamped whole.
        compute_dtype: dtype of the matrix products, the RBM's by default. With `jnp.bfloat16` the states of discrete
            units are exact and the weights are rounded once, so the chains sample exactly the RBM with rounded weights
            (relative rounding error up to 2^-9); faster where the hardware multiplies bfloat16 natively.

    Returns:
        The final states, shape (*batch, n_visible), in the RBM's dtype.

    Raises:
        TypeError: a mask that is not boolean, or bfloat16 with continuous units.
        ValueError: shapes that do not fit, values outside the support of the units, an RBM with NaN, or a negative
            n_sweeps.

    Example:
        >>> import jax
        >>> from rbm_jax import init_chains, init_rbm, sample_gibbs
        >>> rbm = init_rbm(jax.random.key(0), 784, 100)
        >>> chains = init_chains(jax.random.key(1), rbm, 16)
        >>> sample_gibbs(jax.random.key(2), rbm, chains, n_sweeps=10).shape
        (16, 784)
    """
    check_rbm(rbm)
    v = as_samples("v", v, rbm.visible_units, rbm.n_visible, rbm.dtype)
    states = run_gibbs(key, rbm, v, n_sweeps=n_sweeps, clamp_mask=clamp_mask, compute_dtype=compute_dtype)
    return remember_samples(states, rbm.visible_units)


def run_gibbs(
    key: PRNGKey,
    rbm: RBM,
    v: Float[Array, "*batch n_visible"],
    *,
    n_sweeps: int,
    clamp_mask: Shaped[ArrayLike, "*mask n_visible"] | None = None,
    compute_dtype=None,
) -> Float[Array, "*batch n_visible"]:
    """`sample_gibbs` from any real numbers, such as means, without a look at them."""
    n_sweeps = check_count("n_sweeps", n_sweeps, minimum=0)
    clamp_mask = check_mask("clamp_mask", clamp_mask, v.shape, rbm.visible_units.group_size)
    compute_dtype = check_compute_dtype(rbm, compute_dtype)
    return _run_sweeps(gibbs_words(key), rbm, v, clamp_mask, n_sweeps=n_sweeps, compute_dtype=compute_dtype)


def init_chains(key: PRNGKey, rbm: RBM, n_chains: int) -> Float[Array, "n_chains n_visible"]:
    """Initial states of chains: independent visible units in the fields of the visible bias (the RBM at W = 0).

    Args:
        key: a JAX key.
        rbm: any pair of unit types. The chains of an RBM on several devices (see `rbm_jax.sharding`) are divided
            among them if these divide n_chains.
        n_chains: number of chains.

    Raises:
        ValueError: n_chains below 1, or an RBM with NaN.
    """
    check_rbm(rbm)
    shape = (check_count("n_chains", n_chains), rbm.n_visible)
    states = rbm.visible_units.sample(stream_key(key, Stream.CHAINS), jnp.broadcast_to(rbm.visible_bias, shape))
    return remember_samples(divide_rows(states, rbm.weights), rbm.visible_units)


def gibbs_words(key: PRNGKey) -> Words:
    """The words of the random numbers of Gibbs sweeps."""
    return key_words(stream_key(key, Stream.GIBBS))


@functools.partial(jax.jit, static_argnames=("n_sweeps", "compute_dtype"))
def _run_sweeps(words: Words, rbm: RBM, v, clamp_mask, *, n_sweeps: int, compute_dtype):
    weights = rbm.weights.astype(compute_dtype)
    matrices = (weights, weights.T)  # transposed here: in the scan, XLA on CPU would do a bfloat16 h Wᵀ in float32

    def sweep(state, step):
        new = sweep_states(words, step, rbm, matrices, state)
        return (new if clamp_mask is None else jnp.where(clamp_mask, state, new)), None

    return lax.scan(sweep, v.astype(compute_dtype), jnp.arange(n_sweeps, dtype=jnp.uint32))[0].astype(rbm.dtype)


def sweep_states(words: Words, step: Counter, rbm: RBM, matrices, v):
    """Sweep number `step`, with the states kept in the dtype of `v`, and the fields in that of the RBM."""

    def half_step(counter, units, states, matrix, bias):
        field = jnp.matmul(states, matrix, preferred_element_type=bias.dtype) + bias
        return units.sample_from_uniform(field, uniform(words, counter, field.shape, field.dtype)).astype(v.dtype)

    h = half_step(2 * step, rbm.hidden_units, v, matrices[0], rbm.hidden_bias)
    return half_step(2 * step + 1, rbm.visible_units, h, matrices[1], rbm.visible_bias)
