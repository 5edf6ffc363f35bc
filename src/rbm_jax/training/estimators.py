"""Estimators of the gradient of the negative log-likelihood per sample, as frozen modules.

The gradient compares averages over the data with averages over the model. An estimator's `data_term` takes the first,
its own method the second, and its `metric` makes a gradient of both. In the data term each hidden unit stands at its
conditional mean; so it does in the model term at the states of the chains.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from rbm_jax._internal.checks import as_configurations, check_order
from rbm_jax._internal.fields import count_field, dtype_field, fraction_field
from rbm_jax._internal.random import Stream, stream_key
from rbm_jax._internal.typing import Array, Chains, Float, PRNGKey, Sample, Weighting
from rbm_jax.mean_field import mean_field_free_energy, mean_field_moments
from rbm_jax.mean_field.clustering import log_state_weights
from rbm_jax.mean_field.fluctuations import check_expansion
from rbm_jax.mean_field.sweep import init_magnetizations, mean_field_equations, sweep
from rbm_jax.missing import AbstractDataTerm, Complete, complete_samples, fill_in_means
from rbm_jax.model.exact import exact_moments
from rbm_jax.model.metrics import AbstractMetric, Plain
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments, conditional_moments
from rbm_jax.sampling import TrajectoryChains, init_chains, init_trajectory_chains, live_rungs, sample_gibbs
from rbm_jax.sampling.trajectory_tempering import trajectory_step

__all__ = ["CD", "EMF", "PCD", "PTT", "AbstractEstimator", "Exact", "required_chains"]


class AbstractEstimator(eqx.Module):
    """How the gradient is estimated: a frozen module, hashable by value, which carries something between updates.

    To write one, subclass it with `__call__`, `takes_missing` and, if it carries something, `init`. All options are
    static fields, or arrays that may differ from run to run.

    Attributes:
        updates_between: updates between calls of `between`; None for no such calls.
    """

    updates_between: ClassVar[int | None] = None

    @property
    @abc.abstractmethod
    def takes_missing(self) -> bool:
        """Whether NaN in the data stands for entries that were not observed."""

    @abc.abstractmethod
    def __call__(
        self, key: PRNGKey, rbm: Any, batch: Sample, carry: Any, sample_weights: Weighting = None
    ) -> tuple[Any, Any]:
        """Gradient of the **negative** log-likelihood per sample, like the RBM, and what is carried on.

        Args:
            key: a JAX key, another one at each update.
            rbm: the RBM at this update.
            batch: data, shape (n_samples, n_visible). Values are not checked.
            carry: from `init` or the update before.
            sample_weights: non-negative sample weights of the batch, shape (n_samples,).
        """

    @abc.abstractmethod
    def init(self, key: PRNGKey, rbm: Any, n_chains: int | None) -> Any:
        """What the first update is given to carry on."""

    def between(self, key: PRNGKey, state: Any) -> Any:
        """The training state as it should go on; called on the host after every `updates_between` updates.

        It sees values, not tracers, so that it may decide about shapes. Calls depend on `state.step` alone, whatever
        the save points and calls of `fit`.
        """
        del key
        return state


class _DataAndModel(AbstractEstimator):
    """An estimator that compares a data term with a model term in a metric."""

    metric: eqx.AbstractVar[AbstractMetric]
    data_term: eqx.AbstractVar[AbstractDataTerm]

    @property
    def takes_missing(self) -> bool:
        """Whether the data term does."""
        return self.data_term.takes_missing

    def _data_moments(self, key, rbm: RBM, batch, sample_weights, compute_dtype=None) -> Moments:
        key = None if key is None else stream_key(key, Stream.DATA_TERM)
        return self.data_term(key, rbm, batch, sample_weights, compute_dtype=compute_dtype)


class PCD(_DataAndModel):
    """Persistent contrastive divergence: the model term from chains that continue from one update to the next.

    It carries visible states of the chains, shape (n_chains, n_visible). Source: Tieleman, "Training restricted
    Boltzmann machines using approximations to the likelihood gradient" (2008).

    Attributes:
        n_sweeps: Gibbs sweeps before the average is taken.
        metric: geometry of the gradient.
        data_term: for data with missing entries `ClampedGibbs()` or another one of `rbm_jax.missing`.
        compute_dtype: dtype of the matrix products, as in `sample_gibbs` and `conditional_moments`.

    Example:
        >>> from rbm_jax import PCD, Centered
        >>> PCD(n_sweeps=10, metric=Centered()) == PCD(10, Centered())
        True
    """

    n_sweeps: int = count_field("n_sweeps", 1)
    metric: AbstractMetric = Plain()
    data_term: AbstractDataTerm = Complete()
    compute_dtype: Any = dtype_field()

    def __call__(self, key, rbm: RBM, batch: Sample, carry: Chains, sample_weights: Weighting = None):
        """Gradient and the advanced chains."""
        data = self._data_moments(key, rbm, batch, sample_weights, self.compute_dtype)
        chains = sample_gibbs(key, rbm, carry, n_sweeps=self.n_sweeps, compute_dtype=self.compute_dtype)
        model = conditional_moments(rbm, chains, compute_dtype=self.compute_dtype)
        return self.metric(rbm, data, model), chains

    def init(self, key: PRNGKey, rbm: RBM, n_chains: int | None) -> Float[Array, "n_chains n_visible"]:
        """Chains of `init_chains`."""
        return init_chains(key, rbm, required_chains(n_chains))


class CD(_DataAndModel):
    """Contrastive divergence: the model term from n_sweeps Gibbs sweeps that start at the batch itself.

    Biased unless n_sweeps is far beyond the mixing time. Sample weights apply to both terms: each chain carries the
    weight of its start. It carries nothing. Source: Hinton, "Training products of experts by minimizing contrastive
    divergence" (2002).

    Attributes:
        n_sweeps: Gibbs sweeps.
        metric: geometry of the gradient.
        data_term: as in `PCD`. Chains start at completed samples.
        compute_dtype: as in `PCD`.
    """

    n_sweeps: int = count_field("n_sweeps", 1)
    metric: AbstractMetric = Plain()
    data_term: AbstractDataTerm = Complete()
    compute_dtype: Any = dtype_field()

    def __call__(self, key, rbm: RBM, batch: Sample, carry: None = None, sample_weights: Weighting = None):
        """Gradient, and nothing to carry."""
        data = self._data_moments(key, rbm, batch, sample_weights, self.compute_dtype)
        if self.takes_missing:
            batch = complete_samples(key, rbm, batch, n_sweeps=self.n_sweeps)
        samples = sample_gibbs(key, rbm, batch, n_sweeps=self.n_sweeps, compute_dtype=self.compute_dtype)
        model = conditional_moments(rbm, samples, sample_weights, compute_dtype=self.compute_dtype)
        return self.metric(rbm, data, model), carry

    def init(self, key: PRNGKey, rbm: RBM, n_chains: int | None) -> None:
        """Nothing."""


class PTT(_DataAndModel):
    """Training with trajectory tempering: persistent chains that exchange states with RBMs passed before.

    Chains of `PCD` stop moving between clusters of the data once these are far apart. Here they get there through the
    RBMs in which the clusters were not yet apart. See `trajectory_step` for when a rung is added. Use
    `review=KeepsEquilibrium()` in the `Trainer`, so that no update outruns the chains. It carries `TrajectoryChains`.

    Source: Béreux, Decelle, Furtlehner, Rosset & Seoane (2024), arXiv:2405.15376.

    Attributes:
        n_sweeps: rounds of a Gibbs sweep and of swaps before the average is taken.
        metric: geometry of the gradient.
        data_term: as in `PCD`.
        floor: least acceptance of swaps between the last frozen RBM and the current one.
        n_rungs: rungs of the full ladder, for `init`.
    """

    n_sweeps: int = count_field("n_sweeps", 1)
    metric: AbstractMetric = Plain()
    data_term: AbstractDataTerm = Complete()
    floor: float = fraction_field("floor", 0.3)
    n_rungs: int = count_field("n_rungs", 12, minimum=3)

    def __call__(self, key, rbm: RBM, batch: Sample, carry: TrajectoryChains, sample_weights: Weighting = None):
        """Gradient and the advanced chains."""
        if not isinstance(carry, TrajectoryChains):
            raise TypeError(
                f"carry must be TrajectoryChains, got {type(carry).__name__}; "
                "give init_trajectory_chains(...) to Trainer.init(..., carry=...), or n_chains"
            )
        data = self._data_moments(key, rbm, batch, sample_weights)

        def one_round(number, chains):
            return trajectory_step(jax.random.fold_in(key, number), rbm, chains, floor=self.floor)

        chains = lax.fori_loop(0, self.n_sweeps, one_round, carry)
        states = chains.tempering.chains
        live = jnp.broadcast_to(live_rungs(chains)[:, None], states.shape[:2]).astype(rbm.dtype)
        model = conditional_moments(rbm, states.reshape(-1, rbm.n_visible), live.ravel())
        return self.metric(rbm, data, model), chains

    def init(self, key: PRNGKey, rbm: RBM, n_chains: int | None) -> TrajectoryChains:
        """A ladder of `init_trajectory_chains`."""
        return init_trajectory_chains(key, rbm, required_chains(n_chains), n_rungs=self.n_rungs)


class EMF(_DataAndModel):
    """Extended mean-field training: the model term from a few sweeps of the mean-field equations, without sampling.

    The model's moments are the derivatives of the free energy at the magnetizations (`mean_field_moments`). Order 1 is
    naive mean field, which has no threshold for the growth of a mode; order 2 (TAP) and 3 have the right one.

    Persistent magnetizations that start in a phase with one fixed point all fall into it, and stay together as it
    moves; the mean over time then stands for the mean over states. With persistent=False they start at the batch in
    each update, which takes more sweeps, and nothing is carried.

    Source: Gabrié, Tramel & Krzakala (2015).

    Attributes:
        order: of the equations and the free energy, 1, 2 or 3; with Potts units 1 or 2.
        n_sweeps: sweeps before the average is taken.
        metric: geometry of the gradient.
        data_term: as in `PCD`; `ClampedMeanField()` keeps the whole gradient in mean field.
        damping: fraction of the old magnetization in a sweep, in [0, 1).
        persistent: whether sweeps continue from the carried magnetizations, shape (n_chains, n_visible), or start at
            the batch.
        distinct_states: average over distinct points with weights e^{-G} (`log_state_weights`), as log Z = log Σ e^{-G}
            asks for, instead of equally over all magnetizations.
    """

    order: int = eqx.field(static=True, default=2, converter=check_order)
    n_sweeps: int = count_field("n_sweeps", 3)
    metric: AbstractMetric = Plain()
    data_term: AbstractDataTerm = Complete()
    damping: float = fraction_field("damping", 0.0, below_one=True)
    persistent: bool = eqx.field(static=True, default=True, converter=bool)
    distinct_states: bool = eqx.field(static=True, default=False, converter=bool)

    def __call__(self, key, rbm: RBM, batch: Sample, carry: Chains | None, sample_weights: Weighting = None):
        """Gradient and the new magnetizations; the carry as it came if they are not persistent."""
        order = check_expansion(self.order, rbm)
        data = self._data_moments(key, rbm, batch, sample_weights)
        if self.takes_missing:
            batch, _ = fill_in_means(rbm, batch)
        init = as_configurations("carry", carry if self.persistent else batch, rbm.n_visible, rbm.dtype, ndim=2)
        equations = mean_field_equations(rbm, order)

        def one_sweep(_, state):
            return sweep(state, equations, None, self.damping)

        visible, hidden, _ = lax.fori_loop(0, self.n_sweeps, one_sweep, init_magnetizations(equations, init, None))
        state_weights = None
        if self.distinct_states:
            free_energy = mean_field_free_energy(rbm, visible, hidden, order=order)
            state_weights = jax.nn.softmax(log_state_weights(free_energy, visible))
        model = mean_field_moments(rbm, visible, hidden, order=order, sample_weights=state_weights)
        return self.metric(rbm, data, model), visible if self.persistent else carry

    def init(self, key: PRNGKey, rbm: RBM, n_chains: int | None) -> Float[Array, "n_chains n_visible"] | None:
        """Configurations of `init_chains`, or nothing."""
        return init_chains(key, rbm, required_chains(n_chains)) if self.persistent else None


class Exact(_DataAndModel):
    """The exact gradient on the batch, by enumeration (`exact_moments`); it carries nothing and draws nothing.

    Attributes:
        metric: geometry of the gradient.
        data_term: for data with missing entries `ClampedEnumeration()`, which needs no key either.
    """

    metric: AbstractMetric = Plain()
    data_term: AbstractDataTerm = Complete()

    def __call__(
        self, key, rbm: RBM, batch: Sample, carry: None = None, sample_weights: Weighting = None
    ) -> tuple[RBM, None]:
        """Gradient, and nothing to carry."""
        return self.metric(rbm, self._data_moments(key, rbm, batch, sample_weights), exact_moments(rbm)), carry

    def init(self, key: PRNGKey, rbm: RBM, n_chains: int | None) -> None:
        """Nothing."""


def required_chains(n_chains: int | None) -> int:
    """The number of chains, or an error that it must be given."""
    if n_chains is None:
        raise ValueError("n_chains must be given for an estimator with persistent chains: trainer.init(..., n_chains=)")
    return n_chains
