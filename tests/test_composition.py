"""Every public function of an RBM composes: eager == jit == vmap, dtypes are kept, derivatives exist."""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax
from rbm_jax import EMF, PTT, Bernoulli, Gaussian, Potts, Spin, stack_rbms
from rbm_jax.missing import AbstractDataTerm, ClampedEnumeration, ClampedGibbs, ClampedMeanField
from rbm_jax.model import AbstractMetric, Centered, Plain, Standardized
from rbm_jax.training import AbstractEstimator
from tests.helpers import reference_rbm

KEY = 7
V = np.array([[0, 1, 1, 0], [1, 1, 0, 1]], np.uint8)
SIGNS = 2 * V.astype(np.int8) - 1
OBSERVED = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], bool)
H = np.array([[1, 0, 1], [0, 0, 1]], np.uint8)

REFERENCE_MODES = rbm_jax.svd_modes(reference_rbm(4, 3, 1.0).weights)


def states(rbm):
    """Two states of the visible units."""
    return SIGNS if isinstance(rbm.visible_units, Spin) else V


def lossy(rbm):
    """The same with missing entries."""
    return np.where(OBSERVED, states(rbm), np.nan)


def gradients(rbm):
    """In all metrics."""
    data, model = rbm_jax.model.conditional_moments(rbm, states(rbm)), rbm_jax.model.exact_moments(rbm)
    return [metric(rbm, data, model) for metric in (Plain(), Centered(), Standardized())]


def two_state(rbm):
    return rbm_jax.RBM(rbm.weights, rbm.visible_bias, rbm.hidden_bias, Potts(2), rbm.hidden_units)


def layer_variances(rbm):
    return jnp.full_like(rbm.visible_bias, 0.7), jnp.full_like(rbm.hidden_bias, 0.7)


@jax.jit  # as are the other inputs, that eager calls compile what they test and nothing else
def two_times(rbm):
    rbms = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), rbm)
    return rbm_jax.Trajectory(jnp.arange(2.0, dtype=rbm.dtype), rbms, jnp.zeros((), jnp.int32))


@jax.jit
def ladder_and_state(rbm):
    ladder = two_times(rbm).rbms
    return ladder, rbm_jax.sampling.init_tempering(jax.random.key(KEY), ladder, 5)


def magnetization(v):
    return v.mean(-1)


@jax.jit
def trajectory_chains(rbm):
    return rbm_jax.sampling.init_trajectory_chains(jax.random.key(KEY), rbm, 5, n_rungs=3)


SMOOTH = {
    "visible_field": lambda rbm: rbm_jax.visible_field(rbm, H),
    "hidden_field": lambda rbm: rbm_jax.hidden_field(rbm, states(rbm)),
    "joint_energy": lambda rbm: rbm_jax.joint_energy(rbm, states(rbm), H),
    "visible_free_energy": lambda rbm: rbm_jax.visible_free_energy(rbm, states(rbm)),
    "hidden_free_energy": lambda rbm: rbm_jax.hidden_free_energy(rbm, H),
    "conditional_moments": lambda rbm: rbm_jax.model.conditional_moments(rbm, states(rbm), np.array([1.0, 2.0])),
    "Plain Centered Standardized": gradients,
    "exact_log_z": rbm_jax.exact_log_z,
    "exact_moments": rbm_jax.model.exact_moments,
    "exact_log_likelihood": lambda rbm: rbm_jax.exact_log_likelihood(rbm, states(rbm)),
    "exact_gradient": lambda rbm: rbm_jax.model.exact_gradient(rbm, states(rbm)),
    "gaussian_log_z": lambda rbm: rbm_jax.model.gaussian_log_z(rbm, *layer_variances(rbm)),
    "gaussian_moments": lambda rbm: rbm_jax.model.gaussian_moments(rbm, *layer_variances(rbm)),
    "clamp": lambda rbm: rbm_jax.model.clamp(rbm, states(rbm)[0], V[0] == 1),
    "observed_free_energy": lambda rbm: rbm_jax.missing.observed_free_energy(rbm, lossy(rbm)),
    "fill_in_means": lambda rbm: rbm_jax.missing.fill_in_means(rbm, np.where(V == 1, np.nan, states(rbm)))[0],
    "ClampedEnumeration": lambda rbm: ClampedEnumeration()(None, rbm, lossy(rbm)),
    "ClampedMeanField": lambda rbm: ClampedMeanField()(None, rbm, lossy(rbm)),
    "temper": lambda rbm: rbm_jax.temper(rbm, np.float64(0.5)),
    "interpolate": lambda rbm: rbm_jax.model.interpolate(rbm, rbm_jax.temper(rbm, 2.0), np.float64(0.3)),
    "absorb_hidden_scale": lambda rbm: rbm_jax.model.absorb_hidden_scale(
        rbm.weights, rbm.visible_bias, rbm.hidden_bias, rbm.visible_units, rbm.hidden_units
    ),
    "transpose": rbm_jax.model.transpose,
    "svd_modes": lambda rbm: rbm_jax.svd_modes(rbm.weights),
    "align_modes": lambda rbm: rbm_jax.spectral.align_modes(rbm_jax.svd_modes(rbm.weights), REFERENCE_MODES),
    "project": lambda rbm: rbm_jax.spectral.project(SIGNS, rbm_jax.svd_modes(rbm.weights)),
    "effective_temperature": lambda rbm: rbm_jax.spectral.effective_temperature(rbm.weights),
    "leading_modes": lambda rbm: rbm_jax.spectral.leading_modes(rbm.weights, 2),
    "mode_statistics": lambda rbm: rbm_jax.spectral.mode_statistics(rbm.weights).kurtosis,
    "modes_along": lambda rbm: rbm_jax.spectral.modes_along(two_times(rbm)),
    "singular_values_along": lambda rbm: rbm_jax.spectral.singular_values_along(two_times(rbm)),
    "follow_modes": lambda rbm: rbm_jax.spectral.follow_modes(rbm_jax.spectral.modes_along(two_times(rbm))),
    "marchenko_pastur_density": lambda rbm: rbm_jax.spectral.marchenko_pastur_density(
        0.8 + rbm.hidden_bias, 1.0, ratio=0.75
    ),
    "marchenko_pastur_edges": lambda rbm: rbm_jax.spectral.marchenko_pastur_edges(rbm.hidden_bias[0], ratio=0.75),
    "marchenko_pastur_quantile": lambda rbm: rbm_jax.spectral.marchenko_pastur_quantile(
        0.5, rbm.hidden_bias[0], ratio=0.75
    ),
    "spiked_outlier": lambda rbm: rbm_jax.spectral.spiked_outlier(2 + rbm.hidden_bias, 1.0, ratio=0.75),
    "spiked_overlaps": lambda rbm: rbm_jax.spectral.spiked_overlaps(2 + rbm.hidden_bias, 1.0, ratio=0.75),
    "spiked_value": lambda rbm: rbm_jax.spectral.spiked_value(3 + rbm.hidden_bias, 1.0, ratio=0.75),
    "split_bulk": lambda rbm: rbm_jax.spectral.split_bulk(rbm.weights).values,
    "mean_field_free_energy": lambda rbm: rbm_jax.mean_field.mean_field_free_energy(rbm, V / 2, H / 2, order=3),
    "quadratic_free_energy": lambda rbm: rbm_jax.mean_field.quadratic_free_energy(rbm, V / 2, H / 2),
    "mean_field_moments": lambda rbm: rbm_jax.mean_field.mean_field_moments(rbm, V / 2, H / 2, order=3),
    "mean_field_hessian": lambda rbm: rbm_jax.mean_field.mean_field_hessian(rbm, V / 2, H / 2),
    "mean_field_covariance": lambda rbm: rbm_jax.mean_field.mean_field_covariance(rbm, V / 2, H / 2),
    "mean_field_stability": lambda rbm: rbm_jax.mean_field.mean_field_stability(rbm, V / 2, H / 2),
    "solve_mean_field": lambda rbm: rbm_jax.solve_mean_field(rbm, damping=np.float64(0.2)).visible,
    "EMF": lambda rbm: EMF()(None, rbm, states(rbm), V / 2)[0],
    "independent_rbm": lambda rbm: rbm_jax.model.independent_rbm(rbm, jnp.tanh(rbm.visible_bias)),
    "temper_ladder": lambda rbm: rbm_jax.sampling.temper_ladder(rbm_jax.temper(rbm, 0.5), rbm, np.linspace(0, 1, 3)),
    "log_likelihood": lambda rbm: rbm_jax.log_likelihood(rbm, states(rbm)).value,
    "enumeration_log_z": lambda rbm: rbm_jax.likelihood.enumeration_log_z(rbm).value,
    "mean_field_log_z": lambda rbm: rbm_jax.likelihood.mean_field_log_z(rbm, init=states(rbm)).value,
    "mean_field_log_z from modes": lambda rbm: rbm_jax.likelihood.mean_field_log_z(rbm).value,
    "weight_penalty": lambda rbm: rbm_jax.training.weight_penalty(rbm.weights, l1=0.1, l2=0.2, group=0.3),
}
DISCRETE = {
    "exact_visible_probabilities": rbm_jax.model.exact_visible_probabilities,
    "pseudo_log_likelihood": lambda rbm: rbm_jax.pseudo_log_likelihood(rbm, states(rbm)),
}
SAMPLERS = {
    "sample_hidden": lambda rbm: rbm_jax.sample_hidden(jax.random.key(KEY), rbm, states(rbm)),
    "sample_visible": lambda rbm: rbm_jax.sample_visible(jax.random.key(KEY), rbm, H),
    "gibbs_step": lambda rbm: rbm_jax.gibbs_step(jax.random.key(KEY), rbm, states(rbm)),
    "sample_gibbs": lambda rbm: rbm_jax.sample_gibbs(
        jax.random.key(KEY), rbm, states(rbm), n_sweeps=3, clamp_mask=V[0] == 1
    ),
    "trace_gibbs": lambda rbm: (
        rbm_jax.sampling.trace_gibbs(jax.random.key(KEY), rbm, V, n_sweeps=3, observe=magnetization).observations
    ),
    "ais_log_z": lambda rbm: rbm_jax.ais_log_z(jax.random.key(KEY), rbm, n_chains=5, n_temperatures=20).value,
    "reverse_ais_log_z": lambda rbm: (
        rbm_jax.likelihood.reverse_ais_log_z(jax.random.key(KEY), rbm, samples=V, data=V, n_temperatures=20).value
    ),
    "tempering_log_z": lambda rbm: (
        rbm_jax.likelihood.tempering_log_z(jax.random.key(KEY), rbm, n_rungs=3, n_chains=5, n_steps=10).value
    ),
    "log_z_along": lambda rbm: (
        rbm_jax.likelihood.log_z_along(jax.random.key(KEY), two_times(rbm).rbms, jnp.stack([V, V])).value
    ),
    "init_tempering": lambda rbm: rbm_jax.sampling.init_tempering(jax.random.key(KEY), two_times(rbm).rbms, 5).chains,
    "tempering_step": lambda rbm: (
        rbm_jax.sampling.tempering_step(jax.random.key(KEY), *ladder_and_state(rbm))[0].chains
    ),
    "sample_tempering": lambda rbm: (
        rbm_jax.sampling.sample_tempering(jax.random.key(KEY), *ladder_and_state(rbm), n_steps=3)[0].chains
    ),
    "ladder_health": lambda rbm: (
        rbm_jax.likelihood.ladder_health(jax.random.key(KEY), *ladder_and_state(rbm), n_steps=3)[1].drift
    ),
    "init_trajectory_chains": lambda rbm: (
        rbm_jax.sampling.init_trajectory_chains(jax.random.key(KEY), rbm, 5).tempering.chains
    ),
    "trajectory_step": lambda rbm: (
        rbm_jax.sampling.trajectory_step(jax.random.key(KEY), rbm, trajectory_chains(rbm)).tempering.chains
    ),
    "PTT": lambda rbm: PTT()(jax.random.key(KEY), rbm, V, trajectory_chains(rbm))[0],
    "relaxation": lambda rbm: (
        rbm_jax.sampling.relaxation(jax.random.key(KEY), rbm, V, n_times=3, n_chains=4).fresh_mean
    ),
    "complete_samples": lambda rbm: rbm_jax.missing.complete_samples(jax.random.key(KEY), rbm, lossy(rbm)),
    "ClampedGibbs": lambda rbm: ClampedGibbs()(jax.random.key(KEY), rbm, lossy(rbm)),
    "impute": lambda rbm: rbm_jax.missing.impute(jax.random.key(KEY), rbm, lossy(rbm), n_sweeps=5, n_burn_in=2),
    "class_probabilities": lambda rbm: rbm_jax.missing.class_probabilities(
        jax.random.key(KEY), rbm, lossy(rbm)[:, :2], 2
    ),
    "init_chains": lambda rbm: rbm_jax.init_chains(jax.random.key(KEY), rbm, 5),
}
MAPS = {
    "bernoulli_to_spin": (rbm_jax.model.bernoulli_to_spin, Bernoulli()),
    "spin_to_bernoulli": (rbm_jax.model.spin_to_bernoulli, Spin()),
    "zero_sum_gauge": (lambda rbm: rbm_jax.model.zero_sum_gauge(two_state(rbm)), Bernoulli()),
}

MIXED, BINARY, CONTINUOUS = (Spin(), Gaussian(0.7)), (Bernoulli(), Bernoulli()), (Gaussian(0.7), Gaussian(0.7))
CASES = (
    {name: (function, MIXED) for name, function in (SMOOTH | DISCRETE).items()}
    | {f"{name} of continuous units": (SMOOTH[name], CONTINUOUS) for name in ("exact_log_z", "exact_moments")}
    | {name: (function, BINARY) for name, function in SAMPLERS.items()}
    | {f"{name} of mixed units": (SAMPLERS[name], MIXED) for name in ("gibbs_step", "sample_gibbs")}
    | {name: (function, (units, units)) for name, (function, units) in MAPS.items()}
)


def assert_same(found, expected, error):
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=error, atol=error)


@functools.cache
def compiled_and_stacked(name):
    """The case as a compiled function of four stacked RBMs, which two tests use, and the list of its traces."""
    traces = []

    def traced(rbm):
        traces.append(name)
        return CASES[name][0](rbm)

    return jax.jit(jax.vmap(traced)), traces


def unstacked(stacked):
    """One tree of each of four RBMs, on the host, where parts take no compilation."""
    stacked = jax.device_get(stacked)
    return [jax.tree.map(lambda leaf, index=index: leaf[index], stacked) for index in range(4)]


REPEATED = {"mean_field_log_z", "gibbs_step of mixed units", "sample_gibbs of mixed units"}
"""Cases whose function has another case too."""


def slow_if_repeated(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in REPEATED else ()) for name in names]


@pytest.mark.parametrize("name", slow_if_repeated(CASES))
def test_eager_jit_and_vmap_over_stacked_rbms_agree_with_one_trace(name, x64):
    function, pair = CASES[name]
    rbms = [reference_rbm(4, 3, strength, *pair) for strength in (0.3, 0.2)]
    compiled, traces = compiled_and_stacked(name)
    eager = function(rbms[0])
    stacked = compiled(stack_rbms(2 * rbms))
    assert jax.tree.structure(stacked) == jax.tree.structure(eager)
    first, second, *same = unstacked(stacked)
    assert_same(first, eager, 1e-10)
    assert_same(same, [first, second], 1e-10)
    swapped = unstacked(compiled(stack_rbms(2 * rbms[::-1])))
    assert_same(swapped[:2], [second, first], 1e-10)
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_rbm_under_jit_is_as_in_a_stack_with_one_trace(name, x64):
    function, pair = CASES[name]
    rbms = [reference_rbm(4, 3, strength, *pair) for strength in (0.3, 0.2)]
    n_traces = 0

    @jax.jit
    def compiled(rbm):
        nonlocal n_traces
        n_traces += 1
        return function(rbm)

    alone = [compiled(rbm) for rbm in rbms]
    assert_same(alone, unstacked(compiled_and_stacked(name)[0](stack_rbms(2 * rbms)))[:2], 1e-10)
    assert n_traces == 1


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wide_default", [pytest.param(False, marks=pytest.mark.slow), True], ids=["x64 off", "x64 on"])
def test_results_for_a_single_precision_rbm_are_in_single_precision(name, wide_default):
    jax.config.update("jax_enable_x64", wide_default)
    function, pair = CASES[name]
    shapes = jax.eval_shape(function, reference_rbm(4, 3, 0.3, *pair, jnp.float32))
    for leaf in jax.tree.leaves(shapes):
        assert leaf.dtype == jnp.float32


@pytest.mark.parametrize("name", slow_if_repeated(name for name in CASES if name.split()[0] not in SAMPLERS))
def test_derivatives_are_those_of_finite_differences(name, x64):
    function, pair = CASES[name]
    rbm = reference_rbm(4, 3, 0.3, *pair)
    direction = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), rbm)
    step = 1e-4

    def moved(t):
        return jax.tree.map(lambda leaf, change: leaf + t * change, rbm, direction)

    # fourth order in the step
    ends = unstacked(compiled_and_stacked(name)[0](stack_rbms([moved(k * step) for k in (-2.0, -1.0, 1.0, 2.0)])))
    expected = jax.tree.map(lambda a, b, c, d: (a - 8 * b + 8 * c - d) / (12 * step), *ends)
    found = jax.device_get(jax.jit(jax.jacrev(lambda t: function(moved(t))))(0.0))
    assert_same(found, expected, 1e-6)
    assert any(abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(found))


COVERED = ["model", "spectral", "sampling", "mean_field", "missing", "likelihood", "training"]
"""Packages whose functions all belong into the table; of the others, those that take an RBM."""
OTHERS = {
    # made before there is an RBM, or of a list of them
    "init_rbm", "stack_rbms", "enumerate_states", "append_labels",
    # of points, or with results whose shape depends on values
    "log_state_weights", "find_fixed_points", "fixed_point_tree",
    # of samples, without an RBM
    "autocorrelation_time", "effective_sample_size", "r_hat", "overlaps", "energy_distance", "adversarial_accuracy",
    # of what is in the table already: conditional_moments, exact_gradient
    "Complete", "Exact",
    # training, which has its own tests
    "CD", "PCD", "Tied", "FourierPCD", "FunctionEstimator", "fit", "fit_many", "train_step", "log_spaced_updates",
    "penalize_weights", "penalized_sgd", "project_updates", "live_rungs", "live_states", "equalize_acceptance",
    # of tied RBMs; solvers with tests of their own
    "expand", "filters_on_lattice", "fourier_singular_values", "tie", "integrate", "integrate_modes", "locate",
}  # fmt: skip


def is_strategy(value):
    kinds = AbstractEstimator, AbstractMetric, AbstractDataTerm
    return inspect.isclass(value) and issubclass(value, kinds) and not inspect.isabstract(value)


def belongs(package, value):
    """Whether this public name is a function of an RBM."""
    if inspect.isclass(value) or not callable(value):
        return is_strategy(value)
    return package in COVERED or not {"rbm", "rbms", "tied"}.isdisjoint(inspect.signature(value).parameters)


def test_every_public_function_of_an_rbm_is_in_the_table():
    table, public = {word for name in CASES for word in name.split()}, set()
    for package in (*COVERED, "units", "symmetry", "dynamics", "replica"):
        module = importlib.import_module(f"rbm_jax.{package}")
        public |= {name for name in module.__all__ if belongs(package, getattr(module, name))}
    assert public - OTHERS == public & table
