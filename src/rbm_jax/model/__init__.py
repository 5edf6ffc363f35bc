"""The RBM itself: parameters, energies, moments, and what can be computed exactly."""

from rbm_jax.model.energies import hidden_field, hidden_free_energy, joint_energy, visible_field, visible_free_energy
from rbm_jax.model.exact import (
    enumerate_states,
    exact_gradient,
    exact_log_likelihood,
    exact_log_z,
    exact_moments,
    exact_visible_probabilities,
)
from rbm_jax.model.gaussian import gaussian_log_z, gaussian_moments
from rbm_jax.model.metrics import AbstractMetric, Centered, Plain, Standardized
from rbm_jax.model.rbm import RBM, init_rbm, stack_rbms
from rbm_jax.model.statistics import Moments, conditional_moments
from rbm_jax.model.trajectory import Status, Trajectory
from rbm_jax.model.transforms import (
    absorb_hidden_scale,
    bernoulli_to_spin,
    clamp,
    independent_rbm,
    interpolate,
    spin_to_bernoulli,
    temper,
    transpose,
    zero_sum_gauge,
)

__all__ = [
    "RBM",
    "AbstractMetric",
    "Centered",
    "Moments",
    "Plain",
    "Standardized",
    "Status",
    "Trajectory",
    "absorb_hidden_scale",
    "bernoulli_to_spin",
    "clamp",
    "conditional_moments",
    "enumerate_states",
    "exact_gradient",
    "exact_log_likelihood",
    "exact_log_z",
    "exact_moments",
    "exact_visible_probabilities",
    "gaussian_log_z",
    "gaussian_moments",
    "hidden_field",
    "hidden_free_energy",
    "independent_rbm",
    "init_rbm",
    "interpolate",
    "joint_energy",
    "spin_to_bernoulli",
    "stack_rbms",
    "temper",
    "transpose",
    "visible_field",
    "visible_free_energy",
    "zero_sum_gauge",
]
