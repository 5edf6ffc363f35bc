"""Estimates of log Z against enumeration, and how often their intervals hold it."""

import dataclasses
import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    RBM,
    Bernoulli,
    Gaussian,
    Spin,
    ais_log_z,
    exact_log_likelihood,
    exact_log_z,
    init_chains,
    log_likelihood,
    sample_gibbs,
    stack_rbms,
    temper,
)
from rbm_jax.likelihood import enumeration_log_z, log_z_along, mean_field_log_z, reverse_ais_log_z, tempering_log_z
from rbm_jax.model import enumerate_states, exact_visible_probabilities, independent_rbm
from rbm_jax.sampling import temper_ladder
from tests.helpers import COVERING_PAIRS, PAIRS, reference_rbm, slow_but

FORWARD = functools.partial(ais_log_z, n_chains=200, n_temperatures=60)
BACKWARD = functools.partial(reverse_ais_log_z, n_chains=200, n_temperatures=60)
TEMPERING = functools.partial(tempering_log_z, n_rungs=5, n_chains=40, n_steps=60)
ESTIMATORS = {"ais": FORWARD, "reverse": BACKWARD, "tempering": TEMPERING}
mean_field_of = jax.jit(mean_field_log_z, static_argnames="n_starts")


def some_rbm(units, dtype=None):
    both_gaussian = all(isinstance(each, Gaussian) for each in units)
    return reference_rbm(7, 5, 0.15 if both_gaussian else 0.4, *units, dtype=dtype)


def run(name, key, rbm, **options):
    """One estimate; the way back starts from states in equilibrium, which short chains reach in these RBMs."""
    if name == "reverse":
        key, key_start, key_states = jax.random.split(key, 3)
        options["samples"] = sample_gibbs(key_states, rbm, init_chains(key_start, rbm, 200), n_sweeps=50)
    return ESTIMATORS[name](key, rbm, **options)


@functools.partial(jax.jit, static_argnames="n_samples")
def exact_states(key, rbm, n_samples):
    states = jnp.asarray(enumerate_states(rbm.visible_units, rbm.n_visible), rbm.dtype)
    return states[jax.random.choice(key, len(states), (n_samples,), p=exact_visible_probabilities(rbm))]


def over_keys(function, n_keys, batch_size=20):
    """Its results for many keys; `batch_size` divides their number, or the rest would be compiled by itself."""
    keys = jax.random.split(jax.random.key(0), n_keys)
    return jax.jit(lambda keys: jax.lax.map(function, keys, batch_size=batch_size))(keys)


@pytest.mark.parametrize(
    ("name", "units"),
    slow_but(list(zip(ESTIMATORS, COVERING_PAIRS, strict=True)), list(itertools.product(ESTIMATORS, PAIRS))),
    ids=str,
)
def test_intervals_hold_the_truth_as_often_as_they_say(name, units):
    """For all pairs of units, over 120 keys: coverage, size of the standard error, and bias."""
    rbm, n_keys = some_rbm(units), 120
    start = {} if name == "tempering" else {"data": np.full((1, 7), 0.5)}  # or short chains would find one for each key
    estimates = over_keys(lambda key: run(name, key, rbm, **start), n_keys, batch_size=60)
    truth = exact_log_z(rbm)
    held = (estimates.lower < truth) & (truth < estimates.upper)
    # Three standard deviations of a binomial share of 95 %.
    assert abs(held.mean() - 0.95) < 3 * (0.95 * 0.05 / n_keys) ** 0.5
    scatter = estimates.value.std()
    # The spread of n values is known to 1/sqrt(2n), here 6 %.
    assert abs(estimates.std_error.mean() / scatter - 1) < 0.25
    assert abs(estimates.value.mean() - truth) < 4 * scatter / n_keys**0.5 + scatter**2
    assert scatter < 0.03


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_but(
        list(itertools.product(ESTIMATORS, ["float64"])), list(itertools.product(ESTIMATORS, ["float32", "float64"]))
    ),
    indirect=["dtype"],
)
def test_estimates_keep_the_precision(name, dtype):
    rbm = some_rbm((Spin(), Gaussian(0.7)), dtype)
    estimate = jax.jit(functools.partial(ESTIMATORS[name], n_chains=40))(jax.random.key(3), rbm)
    assert estimate.value.dtype == dtype
    assert abs(estimate.value - exact_log_z(rbm)) < 4 * estimate.std_error
    assert estimate.lower < estimate.value < estimate.upper


def test_mean_weight_is_unbiased_where_its_logarithm_is_not():
    rbm = temper(reference_rbm(8, 6, 1.0, Spin()), 1.5)
    anneal = functools.partial(ais_log_z, n_chains=2, positions=jnp.linspace(0, 1, 6), data=jnp.zeros((1, 8)))
    values = over_keys(lambda key: anneal(key, rbm).value, 20_000, batch_size=2_000)
    ratios = np.exp(np.asarray(values - exact_log_z(rbm), float))
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / 20_000**0.5
    assert np.log(ratios).mean() < -0.1


def test_reverse_annealing_from_exact_states_errs_upward():
    rbm = temper(reference_rbm(8, 6, 1.0, Spin()), 1.5)

    def one(key):
        key_states, key_run = jax.random.split(key)
        options = {"positions": jnp.linspace(0, 1, 6), "data": jnp.zeros((1, 8))}
        return reverse_ais_log_z(key_run, rbm, samples=exact_states(key_states, rbm, 2), **options).value

    values = over_keys(one, 20_000, batch_size=2_000)
    inverse = np.exp(np.asarray(exact_log_z(rbm) - values, float))
    assert abs(inverse.mean() - 1) < 4 * inverse.std() / 20_000**0.5
    assert (values - exact_log_z(rbm)).mean() > 0.1


def test_pilot_places_temperatures_better_than_even_steps():
    """A model in which everything happens near the start of an even ladder."""
    rbm = temper(reference_rbm(12, 8, 1.0, Spin()), 20.0)
    options = {"n_chains": 100, "data": jnp.zeros((1, 12))}
    placed = over_keys(lambda key: ais_log_z(key, rbm, n_temperatures=60, **options).value, 400)
    even = over_keys(lambda key: ais_log_z(key, rbm, positions=jnp.linspace(0, 1, 60), **options).value, 400)
    error, error_even = (float(((values - exact_log_z(rbm)) ** 2).mean() ** 0.5) for values in (placed, even))
    # each is known to 1/sqrt(2 n), here 4 %; the pilot gains about 18 %
    assert error < 0.95 * error_even


def test_ladder_of_a_training_gives_log_z_of_its_last_rbm():
    rungs = [reference_rbm(8, 6, strength, Spin()) for strength in (0.05, 0.3, 0.6)]
    rbm = reference_rbm(8, 6, 0.9, Spin())
    estimate_of = jax.jit(functools.partial(tempering_log_z, n_chains=40, n_steps=200))
    estimate = estimate_of(jax.random.key(0), rbm, ladder=stack_rbms(rungs))
    assert abs(estimate.value - exact_log_z(rbm)) < 4 * estimate.std_error
    assert estimate.std_error < 0.03


@functools.partial(jax.jit, static_argnames="n_chains")
def along_exact_states(key, rbms, n_chains):
    """Estimates from independent states of each RBM, and the truth."""
    key_states, key_run = jax.random.split(key)
    keys = jax.random.split(key_states, len(rbms.weights))
    chains = jax.vmap(lambda key, rbm: exact_states(key, rbm, n_chains))(keys, rbms)
    return log_z_along(key_run, rbms, chains), jax.vmap(exact_log_z)(rbms)


@pytest.mark.parametrize("units", [(Bernoulli(), Bernoulli()), (Spin(), Gaussian(0.7))], ids=str)
def test_log_z_along_a_training_from_its_chains(units):
    rbms = stack_rbms([reference_rbm(8, 6, strength, *units) for strength in (0.05, 0.2, 0.35, 0.5)])
    estimates, exact = along_exact_states(jax.random.key(0), rbms, 1000)
    assert estimates.value.shape == (4,)
    assert (abs(estimates.value - exact) < 4 * estimates.std_error).all()
    assert (estimates.std_error < 0.05).all()
    assert (np.diff(estimates.ess) <= 0).all()


def test_bennett_error_is_that_of_repetitions():
    rbms = stack_rbms([reference_rbm(6, 4, strength, Spin()) for strength in (0.2, 0.6)])
    estimates, exact = over_keys(lambda key: along_exact_states(key, rbms, 100), 500, batch_size=50)
    np.testing.assert_allclose(estimates.std_error.mean(0), estimates.value.std(0), rtol=0.15)
    bias = estimates.value.mean(0) - exact[0]
    assert (abs(bias) < 4 * estimates.value.std(0) / 500**0.5 + estimates.value.std(0) ** 2).all()


@pytest.mark.parametrize("units", slow_but([(pair,) for pair in COVERING_PAIRS], [(pair,) for pair in PAIRS]), ids=str)
def test_tap_estimate_stands_on_the_naive_bound(units):
    rbm = some_rbm(units)
    estimate, exact = mean_field_of(rbm), exact_log_z(rbm)
    assert estimate.lower <= exact
    assert abs(estimate.value - exact) < exact - estimate.lower
    assert np.isnan(estimate.std_error)
    assert np.isnan(estimate.ess)
    assert np.isposinf(estimate.upper)
    assert estimate.converged
    assert estimate.method == "mean field of order 2"


def test_tap_estimate_starts_at_data():
    rbm = reference_rbm(8, 6, 0.3, Spin())
    data = np.asarray(enumerate_states(Spin(), 8))
    from_data, from_modes = mean_field_of(rbm, data=data, n_starts=20), mean_field_of(rbm)
    assert abs(from_data.value - from_modes.value) < 1e-3
    with pytest.raises(ValueError, match="data and init must not both be given"):
        mean_field_log_z(rbm, data=data, init=data)


def test_enumeration_is_an_estimate_without_error():
    rbm = reference_rbm(5, 3, 0.6, Spin())
    estimate = enumeration_log_z(rbm)
    assert estimate.value == estimate.lower == estimate.upper == exact_log_z(rbm)
    assert estimate.std_error == 0
    assert np.isposinf(estimate.ess)
    assert estimate.method == "enumeration"
    assert not enumeration_log_z(reference_rbm(4, 3, 5.0, Gaussian())).converged


def test_every_estimate_names_its_method():
    rbm, key = reference_rbm(4, 3, 0.1, Spin()), jax.random.key(0)
    sizes, chains = {"n_chains": 8, "n_temperatures": 4}, np.ones((2, 8, 4))

    def estimates(rbm):
        of_one = (
            ais_log_z(key, rbm, **sizes),
            reverse_ais_log_z(key, rbm, samples=chains[0], **sizes),
            TEMPERING(key, rbm),
            mean_field_log_z(rbm, order=1),
            enumeration_log_z(rbm),
        )
        along = log_z_along(key, stack_rbms([rbm, rbm]), chains)
        return *of_one, along, log_likelihood(rbm, chains[0], of_one[0], mean_field_log_z(rbm))

    *found, likelihood = jax.eval_shape(estimates, rbm)
    assert len({each.method for each in found}) == len(found)
    assert likelihood.methods == ("annealing", "mean field of order 2")


def test_likelihood_spans_all_estimates_and_is_exact_without():
    rbm, data = reference_rbm(8, 6, 0.6, Spin()), np.asarray(enumerate_states(Spin(), 8))[::7]
    weights = np.arange(len(data)) + 1.0
    exact = exact_log_likelihood(rbm, data, weights)
    enumerated = log_likelihood(rbm, data, sample_weights=weights)
    assert enumerated.value == enumerated.lower == enumerated.upper == exact
    assert enumerated.std_error == 0
    assert enumerated.methods == ("enumeration",)
    samples = exact_states(jax.random.key(2), rbm, 200)
    estimates = (
        jax.jit(FORWARD)(jax.random.key(0), rbm),
        jax.jit(BACKWARD)(jax.random.key(1), rbm, samples=samples),
    )
    found = log_likelihood(rbm, data, *estimates, sample_weights=weights)
    assert found.lower < exact < found.upper
    energy = -exact - exact_log_z(rbm)
    np.testing.assert_allclose(found.lower, -energy - max(each.upper for each in estimates), rtol=1e-5)
    np.testing.assert_allclose(found.upper, -energy - min(each.lower for each in estimates), rtol=1e-5)
    np.testing.assert_allclose(found.value, -energy - np.mean([each.value for each in estimates]), rtol=1e-5)
    # independent errors of a mean of two
    errors = [float(each.std_error) for each in estimates]
    np.testing.assert_allclose(found.std_error, np.hypot(*errors) / 2, rtol=1e-5)
    assert found.methods == ("annealing", "reverse annealing")
    assert found.converged


def test_many_rbms_are_annealed_at_once(x64):
    rbms = [reference_rbm(8, 6, strength, Spin()) for strength in (0.2, 0.6)]
    keys = jax.random.split(jax.random.key(0), 2)
    together, alone = jax.jit(jax.vmap(FORWARD))(keys, stack_rbms(rbms)), jax.jit(FORWARD)
    for index, rbm in enumerate(rbms):
        np.testing.assert_allclose(together.value[index], alone(keys[index], rbm).value, rtol=1e-12)


@pytest.mark.parametrize("name", ["ais", "reverse"])
def test_rounded_weights_on_the_way_do_not_bias_the_estimate(name):
    # Halfway between two bfloat16 numbers, so that all weights are rounded down.
    rbm = RBM(jnp.full((10, 6), 0.25 * (1 + 2**-8.1)), jnp.zeros(10), jnp.zeros(6), Spin(), Spin())
    rounded = dataclasses.replace(rbm, weights=jnp.full((10, 6), 0.25))
    samples = {"samples": exact_states(jax.random.key(0), rbm, 2000)} if name == "reverse" else {}
    sizes = {"n_chains": 2000, "n_temperatures": 400, "compute_dtype": jnp.bfloat16}
    estimate_of = jax.jit(functools.partial(ESTIMATORS[name].func, **sizes))
    estimate = estimate_of(jax.random.key(1), rbm, data=np.zeros((1, 10)), **samples)
    assert abs(estimate.value - exact_log_z(rbm)) < 4 * estimate.std_error
    assert exact_log_z(rbm) - exact_log_z(rounded) > 10 * estimate.std_error


def test_poor_estimates_warn_and_good_ones_do_not():
    rbm, options = reference_rbm(12, 8, 20.0, Spin()), {"data": np.zeros((1, 12)), "n_chains": 50, "n_temperatures": 2}
    message = r"few samples dominate the estimate of log Z \(effective sample size .* of 50\)"
    with pytest.warns(UserWarning, match=message):
        poor = ais_log_z(jax.random.key(0), rbm, **options)
    assert not poor.converged
    assert not log_likelihood(rbm, np.ones((1, 12)), poor).converged
    hot = reference_rbm(12, 8, 0.02, Spin())
    chains = np.stack([exact_states(jax.random.key(1), hot, 50), np.ones((50, 12))])
    with pytest.warns(UserWarning, match=message):
        log_z_along(jax.random.key(0), stack_rbms([hot, rbm]), chains)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jax.jit(FORWARD)(jax.random.key(0), reference_rbm(8, 6, 0.6, Spin())).converged


def test_mistakes_are_named(unchecked):
    rbm, key = reference_rbm(5, 3, 0.9, Spin()), jax.random.key(0)
    with pytest.raises(ValueError, match="n_chains must be at least 2"):
        ais_log_z(key, rbm, n_chains=1)
    with pytest.raises(ValueError, match="positions must increase from 0 to 1"):
        ais_log_z(key, rbm, positions=jnp.array([0.0, 0.5]))
    with pytest.raises(TypeError, match="would round the states of continuous units"):
        ais_log_z(key, reference_rbm(5, 3, 0.1, Gaussian()), compute_dtype=jnp.bfloat16)
    with pytest.raises(ValueError, match="data must have 5 units"):
        ais_log_z(key, rbm, data=np.ones((4, 6)))
    with pytest.raises(ValueError, match="data must hold at least one sample"):
        ais_log_z(key, rbm, data=np.ones((0, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        ais_log_z(key, rbm, data=np.full((4, 5), np.nan))
    with pytest.raises(ValueError, match="first axes must be equal"):
        log_z_along(key, stack_rbms([rbm, rbm]), jnp.ones((3, 4, 5)))
    with pytest.raises(ValueError, match="data must hold at least one sample"):
        log_likelihood(rbm, np.ones((0, 5)))
    estimate = enumeration_log_z(rbm)
    with pytest.raises(ValueError, match="of this RBM alone"):
        log_likelihood(rbm, np.ones((3, 5)), jax.tree.map(lambda leaf: leaf[None], estimate))
    with pytest.raises(TypeError, match="given one by one"):
        log_likelihood(rbm, np.ones((3, 5)), [estimate])


def test_independent_units_have_the_means_of_the_data():
    mean = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    start = independent_rbm(reference_rbm(5, 3, 0.9), mean)
    assert not start.weights.any()
    np.testing.assert_allclose(jax.nn.sigmoid(start.visible_bias), [1e-3, 0.2, 0.5, 0.9, 1 - 1e-3], rtol=1e-5)
    ladder = temper_ladder(start, reference_rbm(5, 3, 0.9), jnp.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(ladder.weights[1], reference_rbm(5, 3, 0.9).weights / 2, rtol=1e-6)
