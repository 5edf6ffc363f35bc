"""Variational free energies of factorized states."""

from rbm_jax._checks import as_configurations
from rbm_jax._typing import Array, ArrayLike, Float
from rbm_jax.energies import joint_energy
from rbm_jax.rbm import RBM

__all__ = ["mean_field_free_energy"]


def mean_field_free_energy(
    rbm: RBM, visible: Float[ArrayLike, "*batch n_visible"], hidden: Float[ArrayLike, "*batch n_hidden"]
) -> Float[Array, "*batch"]:
    """Naive mean-field free energy G(m_v, m_h) = -S(m_v) - S(m_h) - a·m_v - b·m_h - m_vᵀ W m_h.

    S is `entropy` of the units. G ≥ -log Z for all magnetizations (Gibbs and Bogoliubov), and its minimum is the naive
    estimate of -log Z. Decelle, Fissore & Furtlehner (2017) write it for ±1 units without the constant
    -(n_visible + n_hidden) log 2 and with fields of the opposite sign.

    Args:
        rbm: any pair of unit types.
        visible: magnetizations m_v, shape (*batch, n_visible), inside the support of the units or on its edge.
        hidden: magnetizations m_h, shape (*batch, n_hidden).

    Raises:
        ValueError: shapes that do not fit.
    """
    visible = as_configurations("visible", visible, rbm.n_visible, rbm.dtype)
    hidden = as_configurations("hidden", hidden, rbm.n_hidden, rbm.dtype)
    entropy = rbm.visible_units.entropy(visible).sum(-1) + rbm.hidden_units.entropy(hidden).sum(-1)
    return joint_energy(rbm, visible, hidden) - entropy
