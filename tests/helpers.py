"""RBMs with known parameters, and tolerances."""

import jax.numpy as jnp
import numpy as np

from rbm_jax import RBM, AbstractUnits, Bernoulli, Gaussian, Spin

UNITS = (Bernoulli(), Spin(), Gaussian(0.7))
PAIRS = [(visible, hidden) for visible in UNITS for hidden in UNITS]
DISCRETE_PAIRS = [pair for pair in PAIRS if all(units.states is not None for units in pair)]


def reference_rbm(
    n_visible: int,
    n_hidden: int,
    strength: float,
    visible_units: AbstractUnits = UNITS[0],
    hidden_units: AbstractUnits | None = None,
    dtype=None,
) -> RBM:
    """The RBM of full rank, made without random numbers, that published check values refer to.

    W_ij = strength · sin(1 + i + 2j + ij), a_i = 0.2 cos i, b_j = 0.1 sin(1 + j).
    """
    i, j = np.arange(n_visible), np.arange(n_hidden)
    dtype = jnp.zeros((), dtype).dtype
    return RBM(
        jnp.asarray(strength * np.sin(1 + i[:, None] + 2 * j + i[:, None] * j), dtype),
        jnp.asarray(0.2 * np.cos(i), dtype),
        jnp.asarray(0.1 * np.sin(1 + j), dtype),
        visible_units,
        visible_units if hidden_units is None else hidden_units,
    )


def tolerance(dtype) -> float:
    """Relative and absolute error that a well-conditioned result may have: 1e-10 in float64, 1e-5 in float32."""
    return 1e-10 if jnp.dtype(dtype) == jnp.float64 else 1e-5
