"""Estimators of the gradient of the negative log-likelihood per sample.

All have one signature, `estimator(key, rbm, batch, chains, *, weights, centered, ...) -> (gradient, chains)`, so that a
training loop does not know which one it runs. The data term has each hidden unit at its conditional mean; so has the
model term at the states of the chains. With a `data_term` of `rbm_jax.missing.data_terms` the batch may have missing entries. To
fix options, pass `functools.partial(pcd, n_sweeps=10)`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import logsumexp

from rbm_jax._internal.checks import as_configurations, check_count, check_fraction
from rbm_jax._internal.typing import Array, Bool, Chains, FloatLike, PRNGKey, Sample, Weighting
from rbm_jax.mean_field import log_state_weights, mean_field_free_energy, mean_field_moments
from rbm_jax.mean_field.fluctuations import check_expansion
from rbm_jax.mean_field.sweep import init_magnetizations, mean_field_equations, sweep
from rbm_jax.missing.data_terms import complete_samples, fill_in_means
from rbm_jax.model.energies import visible_free_energy
from rbm_jax.model.exact import exact_moments
from rbm_jax.model.metrics import Centered, Plain, Standardized
from rbm_jax.model.rbm import RBM
from rbm_jax.model.statistics import Moments, conditional_moments
from rbm_jax.sampling import TrajectoryChains, live_rungs, sample_gibbs, trajectory_step

DataTerm = Callable[[Any, RBM, Sample, Weighting], Moments]

__all__ = ["DataTerm", "cd", "emf", "exact", "keeps_equilibrium", "pcd", "ptt"]


def exact(
    key: PRNGKey | None,
    rbm: RBM,
    batch: Sample,
    chains: Chains | None,
    *,
    sample_weights: Weighting = None,
    centered: bool = False,
    standardized: bool = False,
    data_term: DataTerm | None = None,
) -> tuple[RBM, Chains | None]:
    """The exact gradient on the batch, by enumeration (`exact_moments`); chains are passed over.

    Args:
        key: for a `data_term` only.
        rbm: small enough to enumerate, any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: returned as they came.
        sample_weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        standardized: the gradient in standardized units (`likelihood_gradient`).
        data_term: for data with missing entries, such as `clamped_gibbs`; None for complete data.

    Returns:
        The gradient of the negative log-likelihood per sample, as an RBM, and the chains.

    Raises:
        ValueError: an RBM too large to enumerate, or shapes that do not fit.
    """
    data = _data_moments(key, rbm, batch, sample_weights, data_term)
    return _descent(rbm, data, exact_moments(rbm), centered, standardized), chains


def cd(
    key: PRNGKey,
    rbm: RBM,
    batch: Sample,
    chains: Chains | None,
    *,
    n_sweeps: int = 1,
    sample_weights: Weighting = None,
    centered: bool = False,
    standardized: bool = False,
    data_term: DataTerm | None = None,
    compute_dtype=None,
) -> tuple[RBM, Chains | None]:
    """Contrastive divergence: the model term from n_sweeps Gibbs sweeps started at the batch itself.

    Biased unless n_sweeps is far beyond the mixing time. Sample weights apply to both terms: each chain carries the
    weight of its start. Source: Hinton, "Training products of experts by minimizing contrastive divergence" (2002).

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: returned as they came.
        n_sweeps: Gibbs sweeps.
        sample_weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        standardized: the gradient in standardized units (`likelihood_gradient`).
        data_term: for data with missing entries, such as `clamped_gibbs`; None for complete data.
        compute_dtype: as in `sample_gibbs` and `conditional_moments`; not for a `data_term`.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the chains.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: shapes that do not fit, or n_sweeps below 1.
    """
    n_sweeps = check_count("n_sweeps", n_sweeps)
    data = _data_moments(key, rbm, batch, sample_weights, data_term, compute_dtype)
    if data_term is not None:
        batch = complete_samples(_stream(key), rbm, batch, n_sweeps=n_sweeps)
    samples = sample_gibbs(key, rbm, batch, n_sweeps=n_sweeps, compute_dtype=compute_dtype)
    model = conditional_moments(rbm, samples, sample_weights, compute_dtype=compute_dtype)
    return _descent(rbm, data, model, centered, standardized), chains


def pcd(
    key: PRNGKey,
    rbm: RBM,
    batch: Sample,
    chains: Chains,
    *,
    n_sweeps: int = 1,
    sample_weights: Weighting = None,
    centered: bool = False,
    standardized: bool = False,
    data_term: DataTerm | None = None,
    compute_dtype=None,
) -> tuple[RBM, Chains]:
    """Persistent contrastive divergence: the model term from chains that go on from one update to the next.

    Source: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient" (2008).

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: visible states of the persistent chains, shape (n_chains, n_visible).
        n_sweeps: Gibbs sweeps before the average is taken.
        sample_weights: non-negative sample weights of the batch, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        standardized: the gradient in standardized units (`likelihood_gradient`).
        data_term: for data with missing entries, such as `clamped_gibbs`; None for complete data.
        compute_dtype: as in `sample_gibbs` and `conditional_moments`; not for a `data_term`.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the advanced chains.

    Raises:
        TypeError: bfloat16 with continuous units.
        ValueError: shapes that do not fit, or n_sweeps below 1.
    """
    n_sweeps = check_count("n_sweeps", n_sweeps)
    data = _data_moments(key, rbm, batch, sample_weights, data_term, compute_dtype)
    chains = sample_gibbs(key, rbm, chains, n_sweeps=n_sweeps, compute_dtype=compute_dtype)
    model = conditional_moments(rbm, chains, compute_dtype=compute_dtype)
    return _descent(rbm, data, model, centered, standardized), chains


def ptt(
    key: PRNGKey,
    rbm: RBM,
    batch: Sample,
    chains: TrajectoryChains,
    *,
    n_sweeps: int = 1,
    floor: FloatLike = 0.3,
    sample_weights: Weighting = None,
    centered: bool = False,
    standardized: bool = False,
    data_term: DataTerm | None = None,
) -> tuple[RBM, TrajectoryChains]:
    """Training with trajectory tempering: persistent chains that exchange states with RBMs passed before.

    Chains of `pcd` stop moving between clusters of the data once these are far apart. Here they get there through the
    RBMs in which the clusters were not yet apart. See `trajectory_step` for when a rung is added. Pass
    `accept=keeps_equilibrium` to `fit`, so that no update outruns the chains.

    Source: Béreux, Decelle, Furtlehner, Rosset & Seoane (2024), arXiv:2405.15376.

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: from `init_trajectory_chains` or the update before.
        n_sweeps: rounds of a Gibbs sweep and of swaps before the average is taken.
        floor: least acceptance of swaps between the last frozen RBM and the current one.
        sample_weights: non-negative sample weights of the batch, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        standardized: the gradient in standardized units (`likelihood_gradient`).
        data_term: for data with missing entries, such as `clamped_gibbs`; None for complete data.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the advanced chains.

    Raises:
        TypeError: chains that are not a ladder's.
        ValueError: shapes that do not fit, or n_sweeps below 1.
    """
    n_sweeps = check_count("n_sweeps", n_sweeps)
    check_fraction("floor", floor)
    if not isinstance(chains, TrajectoryChains):
        raise TypeError(
            f"chains must be from init_trajectory_chains, got {type(chains).__name__}; "
            "give them to init_train_state(..., chains=...)"
        )
    data = _data_moments(key, rbm, batch, sample_weights, data_term)

    def step(round_number, chains):
        return trajectory_step(jax.random.fold_in(key, round_number), rbm, chains, floor=floor)

    chains = lax.fori_loop(0, n_sweeps, step, chains)
    states = chains.tempering.chains
    share = jnp.broadcast_to(live_rungs(chains)[:, None], states.shape[:2]).astype(rbm.dtype)
    model = conditional_moments(rbm, states.reshape(-1, rbm.n_visible), share.ravel())
    return _descent(rbm, data, model, centered, standardized), chains


def keeps_equilibrium(
    before: RBM, after: RBM, chains: Chains | TrajectoryChains, *, min_share: FloatLike = 0.3
) -> Bool[Array, ""]:
    """Whether the chains' states, reweighted, still stand for the RBM after an update: for `accept` of `fit`.

    The effective number of the states, (Σw)²/Σw² with w = `P*_after / P*_before`, must be at least this share of them.
    False as well where the RBM after the update is not finite.

    Args:
        before: the RBM that the chains sample.
        after: the one that an update would make of it.
        chains: as they are in a `TrainState`.
        min_share: least share, in (0, 1].

    Raises:
        ValueError: chains that do not fit, or a share outside [0, 1].
    """
    check_fraction("min_share", min_share)
    if isinstance(chains, TrajectoryChains):
        states, live = chains.tempering.chains, live_rungs(chains)[:, None]
    else:
        states, live = as_configurations("chains", chains, before.n_visible, before.dtype), True
    gain = jnp.where(live, visible_free_energy(before, states) - visible_free_energy(after, states), -jnp.inf)
    n_states = jnp.broadcast_to(live, gain.shape).sum()
    log_ess = 2 * logsumexp(gain) - logsumexp(2 * gain)
    is_finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after)]).all()
    return is_finite & (log_ess >= jnp.log(min_share * n_states))


def emf(
    key: PRNGKey | None,
    rbm: RBM,
    batch: Sample,
    chains: Chains,
    *,
    order: int = 2,
    n_sweeps: int = 3,
    damping: FloatLike = 0.0,
    persistent: bool = True,
    distinct_states: bool = False,
    sample_weights: Weighting = None,
    centered: bool = False,
    standardized: bool = False,
    data_term: DataTerm | None = None,
) -> tuple[RBM, Chains]:
    """Extended mean-field training: the model term from a few sweeps of the mean-field equations, without sampling.

    The model's moments are the derivatives of the free energy at the magnetizations (`mean_field_moments`). Order 1 is
    naive mean field, which has no threshold for the growth of a mode; order 2 (TAP) and 3 have the right one.

    Persistent magnetizations that start in a phase with one fixed point all fall into it, and stay together as it moves
    on; the mean over time then stands for the mean over states. With persistent=False they start at the batch in each
    update, which takes more sweeps.

    Source: Gabrié, Tramel & Krzakala (2015).

    Args:
        key: for a `data_term` only.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: persistent visible magnetizations, shape (n_chains, n_visible); configurations to start with.
        order: of the equations and the free energy, 1, 2 or 3; with Potts units 1 or 2.
        n_sweeps: sweeps before the average is taken.
        damping: share of the old magnetization in a step, in [0, 1).
        persistent: whether the sweeps go on from `chains`, or start at the batch.
        distinct_states: average over distinct points with weights e^{-G} (`log_state_weights`), as log Z = log Σ e^{-G}
            asks for, instead of equally over all magnetizations.
        sample_weights: non-negative sample weights of the batch, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        standardized: the gradient in standardized units (`likelihood_gradient`).
        data_term: for data with missing entries, such as `clamped_gibbs`; None for complete data.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the new magnetizations
        (the chains as they came if not persistent).

    Raises:
        ValueError: shapes that do not fit, n_sweeps below 1, another order, or damping outside [0, 1).
    """
    n_sweeps, order = check_count("n_sweeps", n_sweeps), check_expansion(order, rbm)
    check_fraction("damping", damping, below_one=True)
    data = _data_moments(key, rbm, batch, sample_weights, data_term)
    if data_term is not None:
        batch, _ = fill_in_means(rbm, batch)
    start = as_configurations("chains", chains if persistent else batch, rbm.n_visible, rbm.dtype, ndim=2)
    equations = mean_field_equations(rbm, order)
    state = init_magnetizations(equations, start, None)
    visible, hidden, _ = lax.fori_loop(0, n_sweeps, lambda _, state: sweep(state, equations, None, damping), state)
    share = None
    if distinct_states:
        free_energy = mean_field_free_energy(rbm, visible, hidden, order=order)
        share = jax.nn.softmax(log_state_weights(free_energy, visible))
    model = mean_field_moments(rbm, visible, hidden, order=order, sample_weights=share)
    return _descent(rbm, data, model, centered, standardized), visible if persistent else chains


def _data_moments(
    key: PRNGKey | None,
    rbm: RBM,
    batch: Sample,
    sample_weights: Weighting,
    data_term: DataTerm | None,
    compute_dtype=None,
) -> Moments:
    if data_term is None:
        return conditional_moments(rbm, batch, sample_weights, compute_dtype=compute_dtype)
    return data_term(None if key is None else _stream(key), rbm, batch, sample_weights)


def _stream(key: PRNGKey) -> PRNGKey:
    """Random numbers for the data term, that the model term does not use."""
    return jax.random.fold_in(key, 2**32 - 1)


def _descent(rbm: RBM, data: Moments, model: Moments, centered: bool, standardized: bool) -> RBM:
    metric = Standardized() if standardized else Centered() if centered else Plain()
    return metric(rbm, data, model)
