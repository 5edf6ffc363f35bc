"""Markov chain samplers."""

from rbm_jax.sampling.gibbs import gibbs_step, init_chains, sample_gibbs, sample_hidden, sample_visible

__all__ = ["gibbs_step", "init_chains", "sample_gibbs", "sample_hidden", "sample_visible"]
