"""RBMs whose visible units learn their variance: published values, exact gradients, gauges and maps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rbm_jax import (
    RBM,
    Bernoulli,
    Gaussian,
    Potts,
    ReLU,
    Spin,
    exact_log_likelihood,
    exact_log_z,
    init_rbm,
    joint_energy,
    stack_rbms,
    temper,
    visible_free_energy,
)
from rbm_jax.model import (
    Centered,
    Moments,
    Plain,
    Standardized,
    absorb_hidden_scale,
    clamp,
    conditional_moments,
    exact_gradient,
    exact_moments,
    exact_visible_probabilities,
    independent_rbm,
    interpolate,
    transpose,
    zero_sum_gauge,
)
from rbm_jax.model.rbm import rebuild
from tests.brute_force import joint_table
from tests.helpers import assert_same, close_leaves, reference_rbm, slow_but, tolerance

PRINTED = 6e-11  # published values have ten decimals
DATA = 1.2 * np.cos(1 + np.arange(5) + 2 * np.arange(4)[:, None] + np.arange(5) * np.arange(4)[:, None])
VARIANCES = 0.6 + 0.2 * np.arange(5)
VISIBLE = (Gaussian, ReLU)
log_z, log_likelihood, gradient, probabilities = map(
    jax.jit, (exact_log_z, exact_log_likelihood, exact_gradient, exact_visible_probabilities)
)


def learned_rbm(kind=Gaussian, hidden_units=None, dtype=None, scale=1.0, shape=(5, 3), strength=0.4):
    visible_units = kind(jnp.asarray(scale * VARIANCES[: shape[0]], dtype))
    return reference_rbm(*shape, strength, visible_units, Spin() if hidden_units is None else hidden_units, dtype)


def samples(kind, dtype=None):
    return jnp.asarray(DATA if kind is Gaussian else abs(DATA), dtype)


def assert_close(found, expected, error):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, target in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, target, rtol=error, atol=error)


def negative_log_likelihood(rbm, data):
    return -exact_log_likelihood(rbm, data)


# M7: field form, mean form and half form of the derivative in log σ².


def test_log_z_likelihood_and_gradient_have_the_published_values(x64):
    rbm = learned_rbm()
    np.testing.assert_allclose(log_z(rbm), 7.5303529783, atol=PRINTED)
    np.testing.assert_allclose(log_likelihood(rbm, DATA), -6.6228406568, atol=PRINTED)
    expected = [-0.0190718181, -0.6161582742, -0.2277081749, -0.3511713440, -0.8559573456]
    found = gradient(rbm, DATA).visible_units.log_variance
    np.testing.assert_allclose(-found, expected, atol=PRINTED)


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        (2, [0.17228529, -0.25401044, -0.05537276, -0.15514656, -0.15883742]),
        (1, [0.07627694, -0.42235014, -0.15155294, -0.23598871, -0.49042348]),
    ],
    ids=["mean form, W = W'/σ²", "half form, W = W'/σ"],
)
def test_other_parametrizations_follow_by_the_chain_rule(power, expected, x64):
    rbm = learned_rbm()
    mean = rbm.visible_bias * VARIANCES
    weights = rbm.weights * VARIANCES[:, None] ** (power / 2)

    @jax.jit
    @jax.grad
    def slope(log_variance):
        variance = jnp.exp(log_variance)
        units = Gaussian(log_variance=log_variance)
        w = weights / variance[:, None] ** (power / 2)
        moved = rebuild(rbm, weights=w, visible_bias=mean / variance, visible_units=units)
        return log_likelihood(moved, DATA)

    np.testing.assert_allclose(slope(np.log(VARIANCES)), expected, atol=6e-9)
    force = jax.tree.map(jnp.negative, gradient(rbm, DATA))
    chained = (
        force.visible_units.log_variance
        - rbm.visible_bias * force.visible_bias
        - power / 2 * (rbm.weights * force.weights).sum(1)
    )
    np.testing.assert_allclose(chained, expected, atol=6e-9)


# M9: with Gaussian hidden units the RBM is factor analysis.

SCALES = 1 + 0.3 * np.arange(6)
COVARIANCE = 0.5 ** abs(np.subtract.outer(np.arange(6), np.arange(6))) * np.sqrt(np.outer(SCALES, SCALES))


def rows_of_covariance(covariance):
    """Twelve rows of zero mean."""
    factor = np.sqrt(6) * np.linalg.cholesky(covariance).T
    return np.concatenate([factor, -factor])


def factor_rbm(weights, variance):
    return RBM(jnp.asarray(weights), jnp.zeros(6), jnp.zeros(2), Gaussian(variance), Gaussian())


def test_gradient_of_factor_analysis_has_the_published_values(x64):
    rbm, data = factor_rbm(reference_rbm(6, 2, 0.2).weights, 0.8 * SCALES), rows_of_covariance(COVARIANCE)
    np.testing.assert_allclose(log_likelihood(rbm, data), -10.1254033804, atol=PRINTED)
    slope = gradient(rbm, data)
    np.testing.assert_allclose(slope.weights[0, 1], 0.0686776171, atol=PRINTED)
    np.testing.assert_allclose(slope.visible_units.log_variance[2], -0.1112212401, atol=PRINTED)


def test_maximum_of_the_likelihood_is_that_of_factor_analysis(x64):
    variance = np.array([0.69100, 0.35747, 0.93892, 1.11497, 0.60495, 1.72751])
    # the best loadings at these variances: the two largest eigenvalues θ of the whitened covariance, w² = 1 - 1/θ
    values, vectors = np.linalg.eigh(COVARIANCE / np.sqrt(np.outer(variance, variance)))
    weights = vectors[:, -2:] * np.sqrt(1 - 1 / values[-2:]) / np.sqrt(variance)[:, None]
    rbm, data = factor_rbm(weights, variance), rows_of_covariance(COVARIANCE)
    # five printed digits leave 1e-5 of the gradient and its square of the likelihood
    np.testing.assert_allclose(log_likelihood(rbm, data), -9.4027166879, atol=1e-9)
    for leaf in jax.tree.leaves(gradient(rbm, data)):
        np.testing.assert_allclose(leaf, 0, atol=3e-5)


# M5: one surrogate for every estimator.

PAIRS = [(kind, hidden) for kind in VISIBLE for hidden in (Spin(), Potts(3), Gaussian(0.6), ReLU(0.5))]


@pytest.mark.parametrize(
    ("dtype", "kind", "hidden"),
    slow_but(
        [("float64", *pair) for pair in PAIRS] + [("float32", *PAIRS[i]) for i in (0, 7)],
        [(name, *pair) for name in ("float64", "float32") for pair in PAIRS],
    ),
    ids=str,
    indirect=["dtype"],
)
def test_gradient_from_data_and_chains_is_that_of_the_difference_of_free_energies(kind, hidden, dtype):
    rbm = learned_rbm(kind, hidden, dtype, strength=0.2)
    data, chains = samples(kind, dtype), samples(kind, dtype)[:, ::-1][:3]
    weights = jnp.asarray([0.1, 0.4, 0.3, 0.2], dtype)

    def surrogate(rbm):
        return weights @ visible_free_energy(rbm, data) - visible_free_energy(rbm, chains).mean()

    @jax.jit
    def both(rbm):
        found = Plain()(rbm, conditional_moments(rbm, data, weights), conditional_moments(rbm, chains))
        return found, jax.grad(surrogate)(rbm)

    # averages of v h, whose size is about 1, and of at most four of them
    assert_close(*both(rbm), 4 * tolerance(dtype))


EXACT = [
    (Gaussian, Spin(), (5, 3)),
    (ReLU, Bernoulli(), (4, 3)),
    (Gaussian, Gaussian(0.6), (5, 3)),
    (Gaussian, Gaussian(0.6), (3, 5)),
]


@pytest.mark.parametrize(("kind", "hidden", "shape"), EXACT, ids=str)
def test_exact_gradient_is_the_derivative_of_the_likelihood(kind, hidden, shape, dtype):
    rbm = learned_rbm(kind, hidden, dtype, shape=shape, strength=0.2)
    data = samples(kind, dtype)[:, : shape[0]]
    found, expected = jax.jit(lambda rbm: (gradient(rbm, data), jax.grad(negative_log_likelihood)(rbm, data)))(rbm)
    assert_close(found, expected, 10 * tolerance(dtype))
    assert abs(found.visible_units.log_variance).min() > 1e-3


def test_moments_of_learned_units_are_averages_over_the_joint_distribution(x64):
    """⟨∂log ρ_v/∂λ⟩ = ⟨s²⟩/2σ²; in u = v/σ the RBM has fixed units, and quadrature over both layers."""
    for kind in VISIBLE:
        rbm = learned_rbm(kind, shape=(2, 3))
        sigma = np.sqrt(VARIANCES[:2])
        fixed = RBM(rbm.weights * sigma[:, None], rbm.visible_bias * sigma, rbm.hidden_bias, kind(1.0), Spin())
        joint = joint_table(fixed)
        # quadrature up to 10 σ leaves out less than this
        np.testing.assert_allclose(log_z(rbm), joint.log_z + np.log(sigma).sum(), rtol=1e-9)
        expected = joint.probabilities.sum(1) @ joint.v**2 / 2
        np.testing.assert_allclose(exact_moments(rbm).visible_units.log_variance, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", [Centered(), Standardized()], ids=["centered", "standardized"])
def test_metrics_of_the_weights_leave_the_gradient_of_units_alone(metric, x64):
    rbm, data = learned_rbm(), samples(Gaussian)
    model = exact_moments(rbm)
    found = metric(rbm, conditional_moments(rbm, data), model)
    close_leaves(found.visible_units, gradient(rbm, data).visible_units, 1e-12)


def test_moments_without_the_derivatives_of_learned_units_are_refused():
    rbm, moments = learned_rbm(), Moments(jnp.zeros(5), jnp.zeros(3), jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"parameters of Gaussian\(log_variance=f32\[5\]\), got None"):
        Plain()(rbm, moments, moments)
    assert Plain()(reference_rbm(5, 3, 0.1), moments, moments).visible_units == Bernoulli()


# M6: the scale of a hidden unit is a gauge.

SIGNS = jnp.asarray(
    np.sign(np.cos(1 + np.arange(6) + 2 * np.arange(4)[:, None] + np.arange(6) * np.arange(4)[:, None]))
)
HIDDEN_VARIANCES = 0.7 + 0.4 * np.arange(3)


def with_hidden_scale(kind, dtype=None):
    """An RBM that no constructor makes: its gradients are those of any parametrization."""
    rbm = reference_rbm(6, 3, 0.4, Spin(), kind(), dtype)
    return rebuild(rbm, hidden_units=kind(jnp.asarray(HIDDEN_VARIANCES, dtype)))


def parts(rbm):
    return rbm.weights, rbm.visible_bias, rbm.hidden_bias, rbm.visible_units, rbm.hidden_units


def test_absorbing_the_hidden_scale_has_the_published_likelihood(x64):
    rbm, constant = absorb_hidden_scale(*parts(with_hidden_scale(Gaussian)))
    assert rbm.hidden_units == Gaussian()
    np.testing.assert_allclose(log_z(rbm) - constant, 8.6640185478, atol=PRINTED)
    np.testing.assert_allclose(log_likelihood(rbm, SIGNS), -5.0251042518, atol=PRINTED)


@pytest.mark.parametrize("kind", VISIBLE)
def test_absorbing_the_hidden_scale_keeps_the_probability_of_every_visible_state(kind, dtype):
    scaled = with_hidden_scale(kind, dtype)
    rbm, constant = absorb_hidden_scale(*parts(scaled))
    error = tolerance(dtype)
    np.testing.assert_allclose(probabilities(rbm), probabilities(scaled), rtol=10 * error, atol=error)
    np.testing.assert_allclose(log_z(rbm), log_z(scaled) + constant, rtol=error)
    fixed, constant = absorb_hidden_scale(*parts(rebuild(rbm, hidden_units=kind(4.0))))
    np.testing.assert_array_equal(fixed.weights, 2 * rbm.weights)
    np.testing.assert_allclose(constant, -3 * np.log(2), rtol=error)


@pytest.mark.parametrize("kind", VISIBLE)
def test_gradient_along_the_gauge_is_zero(kind, x64):
    rbm = with_hidden_scale(kind)
    slope = gradient(rbm, SIGNS)
    along = (rbm.weights * slope.weights).sum(0) + rbm.hidden_bias * slope.hidden_bias
    found = slope.hidden_units.log_variance
    np.testing.assert_allclose(2 * found, along, rtol=1e-10)
    if kind is Gaussian:
        np.testing.assert_allclose(-found, [-0.0585319775, 0.1776562260, -1.7888469015], atol=PRINTED)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", VISIBLE)
def test_a_learned_hidden_scale_is_refused_with_the_way_out(kind):
    hidden_units = kind(HIDDEN_VARIANCES)
    message = r"hidden_units must have a fixed scale.*same P\(v\).*absorb_hidden_scale"
    with pytest.raises(ValueError, match=message):
        RBM(*parts(reference_rbm(6, 3, 0.4))[:4], hidden_units)
    with pytest.raises(ValueError, match=message):
        init_rbm(jax.random.key(0), 6, 3, hidden_units=hidden_units)
    with pytest.raises(TypeError, match="Gaussian or ReLU, which have a scale"):
        absorb_hidden_scale(*parts(reference_rbm(6, 3, 0.4)))


# M8: existence.


def test_growing_visible_variance_ends_the_gaussian_model_at_the_bound(dtype):
    """σ_h = 1: the largest singular value of S_v^{1/2} W is below 1."""
    top = np.linalg.norm(np.sqrt(VARIANCES)[:, None] * np.asarray(learned_rbm().weights, np.float64), 2)
    for scale, exists in ((0.98, True), (1.02, False)):
        rbm = learned_rbm(hidden_units=Gaussian(), dtype=dtype, scale=scale / top**2)
        assert np.isfinite(log_z(rbm)) == exists
        assert np.isfinite(exact_moments(rbm).visible_units.log_variance).all() == exists
        assert exists or log_z(rbm) == np.inf


# M10: what takes and gives RBMs.


def test_learned_parameters_have_the_dtype_and_the_sizes_of_the_rbm(x64):
    rbm = init_rbm(jax.random.key(0), 5, 2, visible_units=Gaussian(VARIANCES), dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(rbm)} == {jnp.dtype("float32")}
    w, a, b = jax.tree.leaves(rbm)[:3]
    with pytest.raises(TypeError, match=r"visible_units must have learned parameters of the RBM's float32"):
        RBM(w, a, b, Gaussian(VARIANCES), Spin())
    with pytest.raises(ValueError, match=r"learned parameters of shape \(5,\), one for each unit"):
        RBM(w, a, b, Gaussian(jnp.ones(4, jnp.float32)), Spin())
    with pytest.raises(ValueError, match=r"learned parameters of shape \(5,\)"):
        init_rbm(jax.random.key(0), 5, 2, visible_units=ReLU(np.ones(2)))


def test_initial_bias_gives_a_learned_layer_the_means_of_the_data(dtype):
    mean = jnp.asarray(DATA.mean(0), dtype)
    rbm = init_rbm(jax.random.key(0), 5, 2, visible_units=Gaussian(VARIANCES), visible_mean=mean)
    np.testing.assert_allclose(rbm.visible_bias, mean / VARIANCES, rtol=tolerance(dtype))


def test_learned_rbm_is_a_pytree_of_four_arrays_for_jax_and_optax(dtype):
    rbm, data = learned_rbm(dtype=dtype), samples(Gaussian, dtype)
    assert len(jax.tree.leaves(rbm)) == 4
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(rbm):
        updates, _ = optimizer.update(gradient(rbm, data), optimizer.init(rbm), rbm)
        return optax.apply_updates(rbm, updates)

    moved = step(rbm)
    assert jax.tree.structure(moved) == jax.tree.structure(rbm)
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {dtype}
    # the first step of Adam is the sign of the gradient
    sign = jnp.sign(moved.visible_units.log_variance - rbm.visible_units.log_variance)
    np.testing.assert_array_equal(sign, -jnp.sign(gradient(rbm, data).visible_units.log_variance))
    assert log_likelihood(step(rbm), data) > log_likelihood(rbm, data)


@pytest.mark.usefixtures("unchecked")
def test_eager_jit_and_vmap_over_stacked_rbms_agree(x64):
    rbms = [learned_rbm(), learned_rbm(scale=1.3, strength=0.3)]

    def results(rbm):
        return exact_gradient(rbm, DATA), exact_log_z(rbm), visible_free_energy(rbm, DATA)

    stacked = stack_rbms(rbms)
    assert stacked.visible_units.log_variance.shape == (2, 5)
    RBM(*parts(stacked))  # leading axes are those of a stack
    by_axes = jax.vmap(results, in_axes=(jax.tree.map(lambda _: 0, stacked),))(stacked)
    assert_close(jax.vmap(results, in_axes=(RBM(0, 0, 0, 0, 0),))(stacked), by_axes, 1e-12)
    for index, rbm in enumerate(rbms):
        assert_close(jax.tree.map(lambda leaf, index=index: leaf[index], by_axes), results(rbm), 1e-10)


def test_rbms_of_fixed_and_learned_units_do_not_stack():
    with pytest.raises(ValueError, match=r"number 1 is Gaussian\(variance=1.0\)-Spin\(\)"):
        stack_rbms([learned_rbm(), reference_rbm(5, 3, 0.4, Gaussian(), Spin())])


def test_temper_scales_the_energy_and_not_the_base_measure(dtype):
    rbm, data = learned_rbm(dtype=dtype), samples(Gaussian, dtype)
    cold = temper(rbm, 2.0)
    assert_same(cold.visible_units, rbm.visible_units)
    assert_close(joint_energy(cold, data, SIGNS[:, :3]), 2 * joint_energy(rbm, data, SIGNS[:, :3]), tolerance(dtype))


@pytest.mark.parametrize("kind", VISIBLE)
def test_interpolation_is_the_geometric_path(kind, x64):
    start, end = learned_rbm(kind), learned_rbm(kind, scale=2.0, strength=-0.1)

    def log_weight(rbm):
        return rbm.visible_units.log_base_measure(samples(kind)).sum(-1) - joint_energy(
            rbm, samples(kind), SIGNS[:, :3]
        )

    for t in (0.0, 0.3, 1.0):
        found = log_weight(jax.jit(interpolate)(start, end, t))
        np.testing.assert_allclose(found, (1 - t) * log_weight(start) + t * log_weight(end), rtol=1e-12)


def test_maps_keep_learned_units(x64):
    rbm = learned_rbm(hidden_units=Potts(3), shape=(4, 6))
    np.testing.assert_allclose(log_z(transpose(rbm)), log_z(rbm), rtol=1e-12)
    assert_same(transpose(transpose(rbm)), rbm)
    for changed in (
        independent_rbm(rbm, jnp.full(4, 0.3)),
        clamp(rbm, jnp.ones(4), jnp.arange(4) < 2),
        zero_sum_gauge(rbm)[0],
    ):
        assert_same(changed.visible_units, rbm.visible_units)
    moved, constant = zero_sum_gauge(rbm)
    np.testing.assert_allclose(log_z(moved), log_z(rbm) + constant, rtol=1e-12)
    np.testing.assert_allclose(exact_moments(independent_rbm(rbm, jnp.full(4, 0.3))).visible, 0.3, rtol=1e-12)
    assert_same(dataclasses.replace(rbm, hidden_bias=rbm.hidden_bias).visible_units, rbm.visible_units)
