"""Gibbs chains against exact distributions, with bounds of five standard errors from their exact variance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rbm_jax import (
    RBM,
    Bernoulli,
    Gaussian,
    Spin,
    gibbs_step,
    init_chains,
    sample_gibbs,
    sample_hidden,
    sample_visible,
    stack_rbms,
)
from rbm_jax.model import exact_visible_probabilities
from rbm_jax.sampling import gibbs
from tests.brute_force import joint_table, moments, table_sizes
from tests.helpers import COVERING_PAIRS, PAIRS, reference_rbm, slow_but

N_CHAINS = 20_000
DISCRETE_VISIBLE = [pair for pair in PAIRS if pair[0].states is not None]
GAUSSIAN_VISIBLE = [pair for pair in PAIRS if pair[0].states is None]
per_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)

step = jax.jit(gibbs_step)
hidden_of, visible_of = jax.jit(sample_hidden), jax.jit(sample_visible)
start_chains = jax.jit(init_chains, static_argnums=2)
# many chains take a sixth of the time that they do at level 0, at which tests are compiled
run_chains = jax.jit(
    sample_gibbs,
    static_argnames=("n_sweeps", "compute_dtype"),
    compiler_options={"xla_backend_optimization_level": 1},
)


def counts_of(rbm, samples):
    """How often each visible configuration occurs, in the order of `enumerate_states`."""
    low = rbm.visible_units.states.min()
    digits = (np.asarray(samples, np.float64) > low).astype(int)
    return np.bincount(digits @ 2 ** np.arange(rbm.n_visible)[::-1], minlength=2**rbm.n_visible)


def assert_total_variation_is_noise(counts, p):
    """The distance of independent samples from p is a sum of absolute deviations, each of binomial variance."""
    n = counts.sum()
    distance = abs(counts / n - p).sum() / 2
    spread = np.sqrt(p * (1 - p) / n)
    # a normal deviate has mean size √(2/π) and variance 1 - 2/π; deviations of a multinomial are anticorrelated
    mean, variance = np.sqrt(2 / np.pi) * spread.sum() / 2, (1 - 2 / np.pi) * (spread**2).sum() / 4
    assert distance < mean + 5 * np.sqrt(variance)


def assert_mean_and_covariance(samples, mean, covariance):
    """Of independent samples that are close to Gaussian in their fourth moments."""
    n = len(samples)
    samples = np.asarray(samples, np.float64)
    assert (abs(samples.mean(0) - mean) < 5 * np.sqrt(np.diag(covariance) / n)).all()
    centered = samples - mean
    products = centered[:, :, None] * centered[:, None, :]
    assert (abs(products.mean(0) - covariance) < 5 * products.std(0) / np.sqrt(n)).all()


@functools.partial(jax.jit, static_argnums=0)
def mean_and_variance(units, field):
    return units.mean(field), units.variance(field)


def rbm_of(pair, strength=1.0):
    strength = 0.5 * strength if Gaussian(0.7) in pair else strength
    return reference_rbm(*table_sizes(pair), strength, *pair)


@per_pair
def test_hidden_samples_follow_their_conditional_distribution(pair):
    rbm = rbm_of(pair)
    v = np.ones((N_CHAINS, rbm.n_visible), np.float32)
    h = np.asarray(hidden_of(jax.random.key(1), rbm, v), np.float64)
    field = np.asarray(rbm.hidden_bias) + np.asarray(rbm.weights).sum(0)
    mean, variance = mean_and_variance(pair[1], field)
    assert_mean_and_covariance(h, mean, np.diag(variance))
    assert pair[1].contains(h).all()


@per_pair
def test_visible_samples_follow_their_conditional_distribution(pair):
    rbm = rbm_of(pair)
    h = np.ones((N_CHAINS, rbm.n_hidden), np.float32)
    v = np.asarray(visible_of(jax.random.key(1), rbm, h), np.float64)
    field = np.asarray(rbm.visible_bias) + np.asarray(rbm.weights).sum(1)
    mean, variance = mean_and_variance(pair[0], field)
    assert_mean_and_covariance(v, mean, np.diag(variance))
    assert pair[0].contains(v).all()


@pytest.mark.parametrize("pair", DISCRETE_VISIBLE, ids=str)
def test_independent_chains_reach_the_exact_distribution(pair):
    rbm = rbm_of(pair)
    v = np.asarray(run_chains(jax.random.key(2), rbm, start_chains(jax.random.key(1), rbm, N_CHAINS), n_sweeps=60))
    p = joint_table(rbm).probabilities.sum(1)
    assert_total_variation_is_noise(counts_of(rbm, v), p)
    assert stats.chisquare(counts_of(rbm, v), p * N_CHAINS).pvalue > 1e-6


@pytest.mark.parametrize("pair", GAUSSIAN_VISIBLE, ids=str)
def test_independent_chains_of_gaussian_units_reach_the_exact_moments(pair):
    rbm = rbm_of(pair)
    v = np.asarray(run_chains(jax.random.key(2), rbm, start_chains(jax.random.key(1), rbm, N_CHAINS), n_sweeps=60))
    joint = joint_table(rbm)
    mean = moments(joint)[0]
    centered = joint.v - mean
    covariance = (centered * joint.probabilities.sum(1)[:, None]).T @ centered
    assert_mean_and_covariance(v, mean, covariance)


@per_pair
def test_a_sweep_leaves_the_model_invariant(pair):
    # chains that start in the model's distribution of one layer stay in it, wherever the chain's spectrum lies
    rbm = rbm_of(pair, strength=2.0 if pair[0].states is not None else 1.0)
    joint = joint_table(rbm)
    p = joint.probabilities.sum(1)
    rows = np.random.default_rng(0).choice(len(p), N_CHAINS, p=p / p.sum())
    v = step(jax.random.key(3), rbm, jnp.asarray(joint.v[rows], jnp.float32))
    if pair[0].states is not None:
        assert_total_variation_is_noise(counts_of(rbm, v), p)
    else:
        mean = moments(joint)[0]
        centered = joint.v - mean
        assert_mean_and_covariance(v, mean, (centered * p[:, None]).T @ centered)


def test_one_sweep_moves_half_way_through_the_hidden_layer():
    """One step from a given v has the exact transition probabilities Σ_h P(v'|h) P(h|v)."""
    rbm = rbm_of((Bernoulli(), Spin()), strength=1.5)
    joint = joint_table(rbm)
    start = 11
    given_v = joint.probabilities[start] / joint.probabilities[start].sum()
    transition = (joint.probabilities / joint.probabilities.sum(0)) @ given_v
    v = step(jax.random.key(4), rbm, np.tile(np.float32(joint.v[start]), (N_CHAINS, 1)))
    assert_total_variation_is_noise(counts_of(rbm, v), transition)


@pytest.mark.parametrize(
    ("dtype", "pair"),
    slow_but(
        [("float32", pair) for pair in COVERING_PAIRS] + [("float64", PAIRS[5]), ("float64", PAIRS[6])],
        [(name, pair) for name in ("float32", "float64") for pair in PAIRS],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_a_step_is_a_run_of_one_sweep(pair, dtype):
    rbm = reference_rbm(4, 3, 0.5, *pair, dtype)
    v = start_chains(jax.random.key(0), rbm, 50)
    found = step(jax.random.key(1), rbm, v)
    expected = sample_gibbs(jax.random.key(1), rbm, v, n_sweeps=1)
    # fused and unfused arithmetic of Gaussian units may differ in the last digit
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if pair[0].states is not None else 1e-6)
    assert found.dtype == dtype


def test_no_sweep_returns_the_start():
    rbm = reference_rbm(4, 3, 0.5)
    v = np.array([[0, 1, 1, 0]], np.uint8)
    found = sample_gibbs(jax.random.key(0), rbm, v, n_sweeps=0)
    np.testing.assert_array_equal(found, v)
    assert found.dtype == rbm.dtype


@pytest.mark.parametrize("pair", DISCRETE_VISIBLE[:4], ids=str)
def test_clamped_chains_sample_the_conditional_distribution(pair):
    rbm = rbm_of(pair)
    mask = np.array([True, False, True, False])
    joint = joint_table(rbm)
    start = np.tile(np.float32(joint.v[11]), (N_CHAINS, 1))
    v = np.asarray(run_chains(jax.random.key(5), rbm, start, n_sweeps=40, clamp_mask=mask))
    np.testing.assert_array_equal(v[:, mask], np.asarray(start)[:, mask])
    fits = (joint.v[:, mask] == joint.v[11, mask]).all(1)
    p = np.where(fits, joint.probabilities.sum(1), 0)
    assert_total_variation_is_noise(counts_of(rbm, v), p / p.sum())


def test_each_chain_may_clamp_its_own_units():
    rbm = reference_rbm(4, 3, 0.5, Gaussian())
    start = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    mask = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool)
    v = sample_gibbs(jax.random.key(5), rbm, start, n_sweeps=5, clamp_mask=mask)
    np.testing.assert_array_equal(v == start, mask)


def test_bfloat16_chains_sample_the_rbm_with_rounded_weights():
    # two hidden units are always on; their large weights, just below the middle of two bfloat16 numbers, cancel
    # against the bias, so that rounding moves the fields by about a half
    weights = reference_rbm(4, 3, 1.0).weights.at[:, :2].set(64.234)
    bias = jnp.array([0.1, -0.2, 0.3, 0.0]) - weights[:, :2].sum(1)
    rbm = RBM(weights, bias, jnp.array([30.0, 30.0, 0.1]), Bernoulli(), Bernoulli())
    rounded = RBM(weights.astype(jnp.bfloat16).astype(jnp.float32), bias, rbm.hidden_bias, Bernoulli(), Bernoulli())
    p, p_rounded = (np.asarray(exact_visible_probabilities(model), np.float64) for model in (rbm, rounded))
    assert abs(p - p_rounded).sum() / 2 > 0.02
    start = start_chains(jax.random.key(1), rbm, N_CHAINS)
    v = run_chains(jax.random.key(2), rbm, start, n_sweeps=60, compute_dtype=jnp.bfloat16)
    assert v.dtype == jnp.float32
    expected = run_chains(jax.random.key(2), rounded, start, n_sweeps=60)
    np.testing.assert_array_equal(v, expected)
    assert_total_variation_is_noise(counts_of(rbm, v), p_rounded)


@pytest.mark.parametrize("pair", [(Gaussian(), Spin()), (Spin(), Gaussian())], ids=str)
def test_bfloat16_is_refused_for_continuous_units(pair):
    rbm = reference_rbm(4, 3, 0.5, *pair)
    with pytest.raises(TypeError, match="would round the states of continuous units"):
        sample_gibbs(jax.random.key(0), rbm, jnp.ones((2, 4)), n_sweeps=1, compute_dtype=jnp.bfloat16)


@pytest.mark.parametrize(
    "key",
    [lambda: jax.random.key(5), lambda: jax.random.PRNGKey(5), lambda: jax.random.key(5, impl="rbg")],
    ids=["typed", "legacy", "rbg"],
)
def test_chains_with_keys_of_any_kind(key):
    rbm = rbm_of(PAIRS[0])
    v = run_chains(key(), rbm, start_chains(key(), rbm, N_CHAINS), n_sweeps=40)
    assert_total_variation_is_noise(counts_of(rbm, v), np.asarray(exact_visible_probabilities(rbm), np.float64))


@pytest.mark.parametrize("pair", [PAIRS[0], PAIRS[5], PAIRS[8]], ids=str)
def test_runs_under_vmap_over_keys_and_rbms_are_the_loop(pair, x64):
    keys = jax.random.split(jax.random.key(0), 3)
    rbms = [reference_rbm(4, 3, strength, *pair) for strength in (0.2, 0.3, 0.4)]
    v = start_chains(jax.random.key(1), rbms[0], 6)

    def chains(key, rbm):
        return sample_gibbs(key, rbm, v, n_sweeps=5)

    found = np.asarray(jax.jit(jax.vmap(chains))(keys, stack_rbms(rbms)))
    expected = np.stack([chains(key, rbm) for key, rbm in zip(keys, rbms, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if pair[0].states is not None else 1e-12)
    assert (found[0] != found[1]).any()


def test_a_second_run_of_the_same_shapes_is_not_compiled_again():
    rbm, other = reference_rbm(4, 3, 0.5), reference_rbm(4, 3, 0.9)
    before = gibbs._run_sweeps._cache_size()
    for seed, model in enumerate((rbm, other, rbm)):
        sample_gibbs(jax.random.key(seed), model, jnp.ones((17, 4)), n_sweeps=3)
    assert gibbs._run_sweeps._cache_size() == before + 1


def test_sweeps_of_a_run_use_fresh_random_numbers():
    # without couplings every sweep draws the visible units anew
    rbm = reference_rbm(4, 3, 0.0)
    start = jnp.zeros((N_CHAINS, 4))
    runs = [np.asarray(run_chains(jax.random.key(0), rbm, start, n_sweeps=n)) for n in (1, 2, 3)]
    p = np.asarray(rbm.visible_units.mean(rbm.visible_bias), np.float64)
    for first, second in [(0, 1), (1, 2), (0, 2)]:
        agree = (runs[first] == runs[second]).mean(0)
        expected = p**2 + (1 - p) ** 2
        assert (abs(agree - expected) < 5 * np.sqrt(expected * (1 - expected) / N_CHAINS)).all()


def test_leading_axes_of_chains_are_one_batch():
    rbm = reference_rbm(4, 3, 0.5)
    start = start_chains(jax.random.key(0), rbm, 6)
    flat = sample_gibbs(jax.random.key(1), rbm, start, n_sweeps=4)
    np.testing.assert_array_equal(
        sample_gibbs(jax.random.key(1), rbm, start.reshape(2, 3, 4), n_sweeps=4), flat.reshape(2, 3, 4)
    )
    assert sample_gibbs(jax.random.key(1), rbm, start[0], n_sweeps=4).shape == (4,)


def test_chains_that_start_alike_are_independent():
    rbm = rbm_of(PAIRS[0])
    v = np.asarray(run_chains(jax.random.key(2), rbm, jnp.zeros((N_CHAINS, 4)), n_sweeps=60))
    # neighbouring chains: the table of pairs of states is the product of its margins
    codes = (v @ 2 ** np.arange(4)[::-1]).astype(int)
    pairs = np.bincount(codes[0::2] * 16 + codes[1::2], minlength=256).reshape(16, 16)
    frequent = np.flatnonzero(exact_visible_probabilities(rbm) > 0.03)
    table = pairs[np.ix_(frequent, frequent)]
    assert len(frequent) >= 4
    assert stats.chi2_contingency(table).pvalue > 1e-6


@pytest.mark.parametrize("units", [Bernoulli(), Spin(), Gaussian(0.7)], ids=str)
def test_chains_start_at_the_uncoupled_visible_units(units, dtype):
    rbm = reference_rbm(4, 3, 5.0, units, dtype=dtype)
    v = start_chains(jax.random.key(0), rbm, N_CHAINS)
    assert v.shape == (N_CHAINS, 4)
    assert v.dtype == dtype
    mean, variance = mean_and_variance(units, rbm.visible_bias)
    assert_mean_and_covariance(v, mean, np.diag(variance))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_sweeps": -1}, ValueError, "n_sweeps must be at least 0"),
        ({"n_sweeps": 1.5}, TypeError, "n_sweeps"),
        ({"n_sweeps": 1, "clamp_mask": np.ones(4)}, TypeError, "clamp_mask must be boolean"),
        ({"n_sweeps": 1, "clamp_mask": np.ones(3, bool)}, (ValueError, TypeError), "clamp_mask"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        sample_gibbs(jax.random.key(0), reference_rbm(4, 3, 0.5), jnp.ones((2, 4)), **options)


def test_states_of_the_wrong_layer_are_refused():
    rbm, key = reference_rbm(4, 3, 0.5), jax.random.key(0)
    for function, name, width in [(sample_hidden, "v", 3), (sample_visible, "h", 4), (gibbs_step, "v", 3)]:
        with pytest.raises(ValueError, match=f"{name} must have"):
            function(key, rbm, jnp.ones((2, width)))
    with pytest.raises(ValueError, match="v must have"):
        sample_gibbs(key, rbm, jnp.ones((2, 3)), n_sweeps=1)
    with pytest.raises(ValueError, match="n_chains must be at least 1"):
        init_chains(key, rbm, 0)
