"""Benchmarks of rbm_jax against naive JAX and other libraries: `python -m benchmarks` from the repository root."""
