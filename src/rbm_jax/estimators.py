"""Estimators of the gradient of the negative log-likelihood per sample.

All have one signature, `estimator(key, rbm, batch, chains, *, weights, centered, ...) -> (gradient, chains)`, so that a
training loop does not know which one it runs. The data term has each hidden unit at its conditional mean; so has the
model term at the states of the chains. To fix options, pass `functools.partial(pcd, n_steps=10)`.
"""

import jax
import jax.numpy as jnp

from rbm_jax._checks import check_count
from rbm_jax._typing import Chains, PRNGKey, Sample, Weighting
from rbm_jax.exact import exact_moments
from rbm_jax.moments import Moments, conditional_moments, likelihood_gradient
from rbm_jax.rbm import RBM
from rbm_jax.sampling import sample_gibbs

__all__ = ["cd", "exact", "pcd"]


def exact(
    key: PRNGKey | None,
    rbm: RBM,
    batch: Sample,
    chains: Chains | None,
    *,
    weights: Weighting = None,
    centered: bool = False,
) -> tuple[RBM, Chains | None]:
    """The exact gradient on the batch, by enumeration (`exact_moments`); key and chains are passed over.

    Args:
        key: not used.
        rbm: small enough to enumerate, any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: returned as they came.
        weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).

    Returns:
        The gradient of the negative log-likelihood per sample, as an RBM, and the chains.

    Raises:
        ValueError: an RBM too large to enumerate, or shapes that do not fit.
    """
    return _descent(rbm, conditional_moments(rbm, batch, weights), exact_moments(rbm), centered), chains


def cd(
    key: PRNGKey,
    rbm: RBM,
    batch: Sample,
    chains: Chains | None,
    *,
    n_steps: int = 1,
    weights: Weighting = None,
    centered: bool = False,
    compute_dtype=None,
) -> tuple[RBM, Chains | None]:
    """Contrastive divergence: the model term from n_steps Gibbs sweeps started at the batch itself.

    Biased unless n_steps is far beyond the mixing time. Sample weights apply to both terms: each chain carries the
    weight of its start. Source: Hinton, "Training products of experts by minimizing contrastive divergence" (2002).

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: returned as they came.
        n_steps: Gibbs sweeps.
        weights: non-negative sample weights, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        compute_dtype: as in `sample_gibbs`.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the chains.

    Raises:
        ValueError: shapes that do not fit, or n_steps below 1.
    """
    n_steps = check_count("n_steps", n_steps)
    data = conditional_moments(rbm, batch, weights)
    samples = sample_gibbs(key, rbm, batch, n_steps=n_steps, compute_dtype=compute_dtype)
    return _descent(rbm, data, conditional_moments(rbm, samples, weights), centered), chains


def pcd(
    key: PRNGKey,
    rbm: RBM,
    batch: Sample,
    chains: Chains,
    *,
    n_steps: int = 1,
    weights: Weighting = None,
    centered: bool = False,
    compute_dtype=None,
) -> tuple[RBM, Chains]:
    """Persistent contrastive divergence: the model term from chains that go on from one update to the next.

    Source: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient" (2008).

    Args:
        key: a JAX key.
        rbm: any pair of unit types.
        batch: data, shape (n_samples, n_visible). Values are not checked.
        chains: visible states of the persistent chains, shape (n_chains, n_visible).
        n_steps: Gibbs sweeps before the average is taken.
        weights: non-negative sample weights of the batch, shape (n_samples,).
        centered: the centered gradient (`likelihood_gradient`).
        compute_dtype: as in `sample_gibbs`.

    Returns:
        An estimate of the gradient of the negative log-likelihood per sample, as an RBM, and the advanced chains.

    Raises:
        ValueError: shapes that do not fit, or n_steps below 1.
    """
    n_steps = check_count("n_steps", n_steps)
    data = conditional_moments(rbm, batch, weights)
    chains = sample_gibbs(key, rbm, chains, n_steps=n_steps, compute_dtype=compute_dtype)
    return _descent(rbm, data, conditional_moments(rbm, chains), centered), chains


def _descent(rbm: RBM, data: Moments, model: Moments, centered: bool) -> RBM:
    return jax.tree.map(jnp.negative, likelihood_gradient(rbm, data, model, centered=centered))
