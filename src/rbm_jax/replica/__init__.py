"""Replica-symmetric theory of RBMs with weights W = Σ_α w_α u_α v_αᵀ + noise.

`ensemble` samples such RBMs, `saddle` solves for their order parameters, `phases` has the phase diagram, `clusters` a
model of data, and `learning` the deterministic trajectory of learning it in the limit of large layers.
"""

from rbm_jax.replica.clusters import Clusters, cluster_magnetizations, sample_clusters
from rbm_jax.replica.distributions import (
    AbstractDistribution,
    BernoulliDistribution,
    EmpiricalDistribution,
    GaussianDistribution,
    LaplaceDistribution,
    SparseDistribution,
    UniformDistribution,
)
from rbm_jax.replica.ensemble import SpikedEnsemble
from rbm_jax.replica.learning import (
    AbstractThermodynamicForce,
    FiniteLayersForce,
    InfiniteLayersForce,
    OrderMoments,
    ThermodynamicTrajectory,
    integrate_thermodynamic,
    thermodynamic_force,
)
from rbm_jax.replica.phases import (
    Location,
    Phase,
    PhaseDiagram,
    almeida_thouless_strength,
    classify_phase,
    compositional_threshold,
    critical_strength,
    locate,
    phase_diagram,
    spin_glass_noise,
)
from rbm_jax.replica.saddle import Control, OrderParameters, almeida_thouless, replica_free_energy, solve_saddle

__all__ = [
    "AbstractDistribution",
    "AbstractThermodynamicForce",
    "BernoulliDistribution",
    "Clusters",
    "Control",
    "EmpiricalDistribution",
    "FiniteLayersForce",
    "GaussianDistribution",
    "InfiniteLayersForce",
    "LaplaceDistribution",
    "Location",
    "OrderMoments",
    "OrderParameters",
    "Phase",
    "PhaseDiagram",
    "SparseDistribution",
    "SpikedEnsemble",
    "ThermodynamicTrajectory",
    "UniformDistribution",
    "almeida_thouless",
    "almeida_thouless_strength",
    "classify_phase",
    "cluster_magnetizations",
    "compositional_threshold",
    "critical_strength",
    "integrate_thermodynamic",
    "locate",
    "phase_diagram",
    "replica_free_energy",
    "sample_clusters",
    "solve_saddle",
    "spin_glass_noise",
    "thermodynamic_force",
]
