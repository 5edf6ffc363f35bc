"""Potts units against sums over their states, and against the 0/1 units that two states make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rbm_jax
from rbm_jax import RBM, Bernoulli, Gaussian, Potts, ReLU, Spin, mean_field
from rbm_jax._internal.checks import check_support
from tests.brute_force import joint_table, moments
from tests.helpers import reference_rbm, tolerance

UNITS = Potts(3)
FIELD = np.array([[0.3, -1.2, 2.0, 0.0, 0.1, -0.4], [30.0, 0.0, -30.0, 5.0, 5.0, 5.0]])


def probabilities(field):
    weights = np.exp(field.reshape(-1, 2, 3))
    return (weights / weights.sum(-1, keepdims=True)).reshape(field.shape)


def test_curves_are_sums_over_states_in_both_tails(dtype):
    field, p = jnp.asarray(FIELD, dtype), probabilities(FIELD)
    error = tolerance(dtype)
    names = "log_partition", "mean", "variance", "third_cumulant"
    log_z, mean, variance, third = jax.jit(lambda x: [getattr(UNITS, name)(x) for name in names])(field)
    np.testing.assert_allclose(log_z, np.log(np.exp(FIELD.reshape(2, 2, 3)).sum(-1)), rtol=error)
    np.testing.assert_allclose(mean, p, rtol=error)
    others = (p.reshape(2, 2, 3) @ (1 - np.eye(3))).reshape(2, 6)
    np.testing.assert_allclose(variance, p * others, rtol=error)
    np.testing.assert_allclose(third, p * others * (others - p), rtol=error, atol=error)


def test_derivatives_of_log_partition_are_the_cumulants(x64):
    field = jnp.asarray(FIELD[0])
    slope = jax.grad(lambda x: UNITS.log_partition(x).sum())

    @jax.jit
    def cumulants(field):
        third = jax.grad(lambda x: UNITS.variance(field.at[0].set(x))[0])(field[0])
        found = UNITS.mean(field), UNITS.variance(field), UNITS.third_cumulant(field)[0]
        return found, (slope(field), jax.jacobian(slope)(field), third)

    (mean, variance, third), (first, covariance, expected) = cumulants(field)
    np.testing.assert_allclose(first, mean, rtol=1e-12)
    p = np.reshape(mean, (2, 3))
    for site, block in enumerate((slice(3), slice(3, 6))):
        np.testing.assert_allclose(covariance[block, block], np.diag(p[site]) - np.outer(p[site], p[site]), atol=1e-12)
    np.testing.assert_allclose(np.diagonal(covariance), variance, rtol=1e-12)
    np.testing.assert_allclose(third, expected, rtol=1e-12)


def test_field_at_mean_is_the_field_of_zero_sum(dtype):
    field = jnp.asarray(FIELD[0], dtype)
    edge = jnp.asarray([0, 0.5, 0.5, 0, 0, 1], dtype)

    @jax.jit
    def results(field, edge):
        mean = UNITS.mean(field)
        entropy = UNITS.log_partition(field) - (field * mean).reshape(2, 3).sum(-1)
        of_edge = UNITS.field_at_mean(edge), UNITS.entropy(edge)
        return UNITS.field_at_mean(mean), UNITS.entropy(mean), entropy, *of_edge

    found, entropy, legendre, edge_field, edge_entropy = results(field, edge)
    expected = FIELD[0].reshape(2, 3) - FIELD[0].reshape(2, 3).mean(-1, keepdims=True)
    np.testing.assert_allclose(found, expected.ravel(), atol=tolerance(dtype))
    np.testing.assert_array_equal(edge_field, np.where(np.equal(edge, 0), -np.inf, np.inf))
    np.testing.assert_allclose(entropy, legendre, atol=tolerance(dtype))
    np.testing.assert_allclose(edge_entropy, [np.log(2), 0], atol=tolerance(dtype))


def test_interior_mean_is_a_law_above_the_margin_and_else_the_same():
    mean = jnp.array([0.0, 0.0, 1.0, 0.2, 0.3, 0.5])
    found = UNITS.interior_mean(mean, 0.01)
    np.testing.assert_allclose(found, [0.01, 0.01, 0.98, 0.2, 0.3, 0.5], rtol=1e-5)
    assert np.isfinite(UNITS.field_at_mean(found)).all()


@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32])
def test_support_is_one_hot_in_each_group(asarray, kind):
    rows = [[0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]
    found = UNITS.contains(asarray(np.array(rows, kind)))
    np.testing.assert_array_equal(found, np.repeat([[1, 1], [1, 0], [0, 1]], 3, axis=1).astype(bool))


@pytest.mark.parametrize("bad", [np.nan, 0.5, 2.0])
def test_other_values_make_their_group_invalid(bad):
    found = UNITS.contains(np.array([[0, 1, bad, 1, 0, 0]]))
    np.testing.assert_array_equal(found, [[False] * 3 + [True] * 3])
    with pytest.raises(ValueError, match=r"row 0, column 0" if np.isfinite(bad) else "NaN|nan"):
        check_support("data", np.array([[0, 1, bad, 1, 0, 0]]), UNITS)


def test_samples_have_the_probabilities_of_the_states(dtype):
    n = 20_000
    field = jnp.asarray([2.0, -1.0, 0.5, -8.0, 0.0, 1e4], dtype)
    samples = jax.jit(UNITS.sample)(jax.random.key(1), jnp.broadcast_to(field, (n, 6)))
    assert UNITS.contains(samples).all()
    p = np.asarray(UNITS.mean(field), np.float64)
    assert (abs(np.asarray(samples, np.float64).mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()
    both = np.asarray(samples[:, 0] * samples[:, 4]).mean()
    assert abs(both - p[0] * p[4]) < 5 * np.sqrt(p[0] / n)


def test_the_largest_uniform_number_chooses_a_state():
    uniform = jnp.full((4, 6), np.nextafter(np.float32(1), np.float32(0)))
    states = UNITS.sample_from_uniform(jnp.asarray(FIELD[[0, 0, 1, 1]], jnp.float32), uniform)
    assert UNITS.contains(states).all()


@pytest.mark.parametrize("n_states", [1, 0, -3])
def test_fewer_than_two_states_are_refused(n_states):
    with pytest.raises(ValueError, match="n_states must be at least 2"):
        Potts(n_states)
    with pytest.raises(TypeError, match="n_states"):
        Potts(2.5)


def test_layers_hold_whole_units():
    for sizes, name in [((7, 4), "n_visible"), ((6, 5), "n_hidden")]:
        with pytest.raises(ValueError, match=f"{name} must be a multiple of"):
            rbm_jax.init_rbm(jax.random.key(0), *sizes, visible_units=UNITS, hidden_units=Potts(4))
        with pytest.raises(ValueError, match=f"{name} must be a multiple of"):
            reference_rbm(*sizes, 0.1, UNITS, Potts(4))
    with pytest.raises(ValueError, match="size must be a multiple of 3"):
        rbm_jax.model.enumerate_states(UNITS, 5)


def test_bias_gives_the_uncoupled_layer_the_means_of_the_data():
    mean = np.array([0.2, 0.3, 0.5, 0.0, 0.0, 1.0])
    rbm = rbm_jax.init_rbm(jax.random.key(0), 6, 2, visible_units=UNITS, visible_mean=mean)
    np.testing.assert_allclose(UNITS.mean(rbm.visible_bias), [0.2, 0.3, 0.5, 1e-3, 1e-3, 0.998], rtol=1e-5)
    for wrong in ([0.2, 0.3, 0.1, 0, 0, 1], [-0.2, 0.3, 0.9, 0, 0, 1]):
        with pytest.raises(ValueError, match="probabilities that sum to 1"):
            rbm_jax.init_rbm(jax.random.key(0), 6, 2, visible_units=UNITS, visible_mean=np.array(wrong))
    relu = rbm_jax.init_rbm(jax.random.key(0), 2, 2, visible_units=ReLU(), visible_mean=np.array([0.0, 2.0]))
    np.testing.assert_allclose(ReLU().mean(relu.visible_bias), [1e-3, 2], rtol=1e-5)
    with pytest.raises(ValueError, match="at least 0"):
        rbm_jax.init_rbm(jax.random.key(0), 2, 2, visible_units=ReLU(), visible_mean=np.array([-0.1, 2.0]))


# --- transforms, mean field


def of_two_states(rbm):
    """The Potts(2) RBM in which state 1 of a unit stands for 1, and all fields act on it."""
    n, m = rbm.weights.shape
    weights = np.zeros((n, 2, m, 2), rbm.dtype)
    weights[:, 1, :, 1] = rbm.weights
    biases = (np.stack([0 * b, b], axis=-1).ravel() for b in map(np.asarray, (rbm.visible_bias, rbm.hidden_bias)))
    return RBM(*map(jnp.asarray, (weights.reshape(2 * n, 2 * m), *biases)), Potts(2), Potts(2))


PAIRS = [(Potts(2), Potts(3)), (Potts(3), Gaussian(0.7)), (Spin(), Potts(2)), (Bernoulli(), Spin())]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_gauge_keeps_the_probability_of_every_state(pair, x64):
    rbm = reference_rbm(6 if pair[0] == Potts(3) else 4, 2 if pair[1] == Gaussian(0.7) else 6, 0.4, *pair)
    fixed, constant = jax.jit(rbm_jax.model.zero_sum_gauge)(rbm)
    old, new = joint_table(rbm), joint_table(fixed)
    np.testing.assert_allclose(new.probabilities, old.probabilities, rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(constant, new.log_z - old.log_z, atol=1e-12)
    for layer, units, bias in [(0, pair[0], fixed.visible_bias), (1, pair[1], fixed.hidden_bias)]:
        if units.group_size == 1:
            continue
        weights = np.moveaxis(fixed.weights, layer, 0).reshape(-1, units.group_size, fixed.weights.shape[1 - layer])
        np.testing.assert_allclose(weights.sum(1), 0, atol=1e-12)
        np.testing.assert_allclose(np.reshape(bias, (-1, units.group_size)).sum(1), 0, atol=1e-12)
    if all(units.group_size == 1 for units in pair):
        assert constant == 0
        np.testing.assert_array_equal(fixed.weights, rbm.weights)


def test_two_states_are_a_bernoulli_unit_in_mean_field_theory(x64):
    @jax.jit
    def solved(rbm):
        solution = rbm_jax.solve_mean_field(rbm)
        point = solution.visible, solution.hidden
        found = {
            "product": mean_field.mean_field_moments(rbm, *point).product,
            "covariance": mean_field.mean_field_covariance(rbm, *point),
            "stability": mean_field.mean_field_stability(rbm, *point),
            "quadratic": mean_field.quadratic_free_energy(rbm, *point),
        }
        return solution, found

    rbm = reference_rbm(4, 3, 1.1)
    potts, constant = jax.jit(rbm_jax.model.zero_sum_gauge)(of_two_states(rbm))
    visible, hidden = np.arange(1, 8, 2), np.arange(1, 6, 2)
    (found, potts), (expected, bernoulli) = solved(potts), solved(rbm)
    assert found.converged
    np.testing.assert_allclose(found.visible[visible], expected.visible, atol=1e-8)
    np.testing.assert_allclose(found.hidden[hidden], expected.hidden, atol=1e-8)
    np.testing.assert_allclose(found.free_energy + constant, expected.free_energy, atol=1e-8)
    np.testing.assert_allclose(potts["product"][np.ix_(visible, hidden)], bernoulli["product"], atol=1e-8)
    both = np.concatenate([visible, 8 + hidden])
    np.testing.assert_allclose(potts["covariance"][np.ix_(both, both)], bernoulli["covariance"], atol=1e-7)
    np.testing.assert_allclose(potts["stability"], np.minimum(bernoulli["stability"], 1), atol=1e-7)
    np.testing.assert_allclose(potts["quadratic"] + constant, bernoulli["quadratic"], atol=1e-8)


def test_second_order_is_the_second_derivative_of_the_free_energy_in_the_couplings(x64):
    """Plefka: at fixed means, G(tW) has the second derivative -Σ tr(WᵀCWC) at t = 0, the variance of the energy."""
    rbm = reference_rbm(6, 4, 0.5, Potts(3), Potts(2))
    free = joint_table(RBM(0 * rbm.weights, rbm.visible_bias, rbm.hidden_bias, Potts(3), Potts(2)))
    visible, hidden, _ = moments(free)
    energy = (free.v - visible) @ np.asarray(rbm.weights) @ (free.h - hidden).T
    point = jnp.asarray(visible), jnp.asarray(hidden)
    free_energy = jax.jit(mean_field.mean_field_free_energy, static_argnames="order")
    difference = np.subtract(free_energy(rbm, *point, order=2), free_energy(rbm, *point, order=1))
    np.testing.assert_allclose(difference, -(free.probabilities * energy**2).sum() / 2, rtol=1e-10)


def test_clamped_units_leave_the_sum_over_the_others(x64):
    rbm = reference_rbm(6, 2, 0.2, UNITS, Spin())
    mask = np.array([True] * 3 + [False] * 3)
    v = jnp.array([0.0, 1, 0, 0.2, 0.3, 0.5])
    solution = rbm_jax.solve_mean_field(rbm, init=v, clamp_mask=mask)
    joint = joint_table(rbm)
    kept = (joint.v[:, :3] == [0, 1, 0]).all(1)
    expected = joint.log_z + np.log(joint.probabilities[kept].sum())
    np.testing.assert_array_equal(solution.visible[:3], v[:3])
    np.testing.assert_allclose(-solution.free_energy, expected, atol=1e-3)
    start = np.tile([0.0, 1, 0, 1, 0, 0], (2000, 1))
    chains = rbm_jax.sample_gibbs(jax.random.key(0), rbm, start, n_sweeps=5, clamp_mask=mask)
    p = joint.probabilities[kept].sum(1) / joint.probabilities[kept].sum()
    mean = p @ joint.v[kept]
    assert (abs(np.asarray(chains).mean(0) - mean) <= 5 * np.sqrt(mean * (1 - mean) / 2000)).all()
    with pytest.raises(ValueError, match="all 3 components of a unit or none"):
        rbm_jax.sample_gibbs(jax.random.key(0), rbm, start, n_sweeps=1, clamp_mask=np.arange(6) < 2)
    with pytest.raises(ValueError, match="all 3 components of a unit or none"):
        mean_field.mean_field_free_energy(rbm, v, jnp.zeros(2), clamp_mask=np.arange(6) < 2)
