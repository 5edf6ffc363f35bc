"""Which function supports which pair of unit types: a table, each entry checked against sums over all states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    PCD,
    Bernoulli,
    Gaussian,
    Potts,
    ReLU,
    Spin,
    ais_log_z,
    exact_log_z,
    hidden_free_energy,
    init_chains,
    joint_energy,
    pseudo_log_likelihood,
    solve_mean_field,
    visible_free_energy,
)
from rbm_jax.dynamics import gaussian_force, growth_modes
from rbm_jax.mean_field import mean_field_free_energy
from rbm_jax.model import conditional_moments, enumerate_states, exact_moments, exact_visible_probabilities
from rbm_jax.replica import Control, solve_saddle
from tests.brute_force import joint_table, log_sum_exp, moments
from tests.helpers import reference_rbm

ALL = (Bernoulli(), Spin(), Gaussian(0.7), ReLU(0.8), Potts(3))
PAIRS = [(visible, hidden) for visible in ALL for hidden in ALL]
SIZES = {Bernoulli: 2, Spin: 2, Gaussian: 2, ReLU: 2, Potts: 6}
NEW = (Potts, ReLU)
CHOSEN = [(ALL[4], ALL[3]), (ALL[1], ALL[4])]


@functools.cache
def rbm_of(pair):
    return reference_rbm(SIZES[type(pair[0])], SIZES[type(pair[1])], 0.3, *pair, np.float32)


@functools.cache
def joint_of(pair):
    return joint_table(rbm_of(pair))


def is_new(pair):
    return any(isinstance(units, NEW) for units in pair)


def is_any(pair):
    return True


def has_discrete_visible(pair):
    return pair[0].states is not None


def is_enumerable(pair):
    return any(units.states is not None for units in pair) or all(isinstance(units, Gaussian) for units in pair)


def is_scalar(pair):
    return not any(isinstance(units, Potts) for units in pair)


def some_states(pair):
    """A few configurations of each layer that have a high probability."""
    joint = joint_of(pair)
    rows = np.argsort(-joint.probabilities.sum(1))[:4]
    columns = np.argsort(-joint.probabilities.sum(0))[:4]
    return rows, columns


def check_energies(pair, rbm):
    joint = joint_of(pair)
    rows, columns = some_states(pair)
    v, h = jnp.asarray(joint.v[rows], jnp.float32), jnp.asarray(joint.h[columns], jnp.float32)
    log_weights = joint.log_v[:, None] + joint.log_h - joint.energy
    np.testing.assert_allclose(joint_energy(rbm, v[:, None], h), joint.energy[np.ix_(rows, columns)], atol=2e-5)
    # the nodes' widths are no part of a base measure
    width_v = joint.log_v[rows] - np.asarray(rbm.visible_units.log_base_measure(v), np.float64).sum(-1)
    width_h = joint.log_h[columns] - np.asarray(rbm.hidden_units.log_base_measure(h), np.float64).sum(-1)
    expected_v = width_v - log_sum_exp(log_weights[rows], axis=1)
    expected_h = width_h - log_sum_exp(log_weights[:, columns], axis=0)
    np.testing.assert_allclose(visible_free_energy(rbm, v), expected_v, atol=2e-5)
    np.testing.assert_allclose(hidden_free_energy(rbm, h), expected_h, atol=2e-5)


def check_conditional_moments(pair, rbm):
    joint = joint_of(pair)
    rows, _ = some_states(pair)
    conditional = joint.probabilities[rows] / joint.probabilities[rows].sum(1, keepdims=True)
    hidden = conditional @ joint.h
    found = jax.jit(conditional_moments)(rbm, joint.v[rows].astype(np.float32))
    np.testing.assert_allclose(found.hidden, hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.product, joint.v[rows].T @ hidden / len(rows), atol=1e-5)


def check_enumeration(pair, rbm):
    joint = joint_of(pair)
    np.testing.assert_allclose(exact_log_z(rbm), joint.log_z, atol=1e-5)
    for found, expected in zip(jax.tree.leaves(exact_moments(rbm)), moments(joint), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def check_visible_probabilities(pair, rbm):
    expected = joint_of(pair).probabilities.sum(1)
    np.testing.assert_array_equal(enumerate_states(rbm.visible_units, rbm.n_visible), joint_of(pair).v)
    np.testing.assert_allclose(jax.jit(exact_visible_probabilities)(rbm), expected, atol=1e-6)


def check_pseudo_likelihood(pair, rbm):
    v, p = joint_of(pair).v, joint_of(pair).probabilities.sum(1)
    size = rbm.visible_units.group_size
    total = 0
    for unit in range(rbm.n_visible // size):
        rest = np.delete(v, slice(unit * size, (unit + 1) * size), axis=1)
        same = (rest[:, None] == rest).all(-1)
        total += np.log(p / (same @ p))
    weights = np.arange(1.0, len(v) + 1)
    found = jax.jit(pseudo_log_likelihood)(rbm, v.astype(np.float32), weights.astype(np.float32))
    np.testing.assert_allclose(found, total @ weights / weights.sum(), rtol=1e-5)


def check_sampling(pair, rbm):
    """PCD from chains in equilibrium: its gradient is that of the averages, so the sweeps leave P(v) as it is."""
    n_chains = 3000

    @jax.jit
    def averages(rbm):
        chains = init_chains(jax.random.key(1), rbm, n_chains)
        gradient, moved = PCD(n_sweeps=12)(jax.random.key(2), rbm, chains[:8], chains)
        data = conditional_moments(rbm, chains[:8])
        gradients = gradient.visible_bias, gradient.hidden_bias, gradient.weights
        model = [slope + mean for slope, mean in zip(gradients, (data.visible, data.hidden, data.product), strict=True)]
        return model, rbm.visible_units.contains(moved).all()

    joint, (model, allowed) = joint_of(pair), averages(rbm)
    visible, hidden, product = moments(joint)
    p = joint.probabilities
    variances = (
        p.sum(1) @ joint.v**2 - visible**2,
        p.sum(0) @ joint.h**2 - hidden**2,
        (joint.v**2).T @ p @ joint.h**2 - product**2,
    )
    for found, expected, variance in zip(model, (visible, hidden, product), variances, strict=True):
        # hidden units stand at their means, which only makes the variance smaller
        assert (abs(np.asarray(found) - expected) < 5 * np.sqrt(variance / n_chains) + 1e-5).all()
    assert allowed


def check_annealing(pair, rbm):
    positions, data = np.linspace(0, 1, 60), data_of(pair)
    estimate = ais_log_z(jax.random.key(3), rbm, data=data, n_chains=100, positions=positions)
    assert abs(float(estimate.value) - joint_of(pair).log_z) < 5 * float(estimate.std_error)
    assert estimate.std_error < 0.1


def check_mean_field(pair, rbm):
    """At the solution G is stationary and near -log Z."""

    @jax.jit
    def solved(rbm):
        solution = solve_mean_field(rbm, order=2)
        return solution, mean_field_free_energy(rbm, solution.visible, solution.hidden, order=1)

    solution, naive = solved(rbm)
    assert solution.converged
    log_z = joint_of(pair).log_z
    assert -naive <= log_z
    assert abs(-solution.free_energy - log_z) < 0.3 * abs(-naive - log_z) + 1e-5


def check_third_order(pair, rbm):
    visible, hidden = (units.mean(bias) for units, bias in ((pair[0], rbm.visible_bias), (pair[1], rbm.hidden_bias)))
    assert np.isfinite(mean_field_free_energy(rbm, visible, hidden, order=3))


def data_of(pair):
    rows, _ = some_states(pair)
    return joint_of(pair).v[rows].astype(np.float32)


def check_force(make):
    def check(pair, rbm):
        force = jax.jit(lambda rbm: make(data_of(pair))(0.0, rbm))(rbm)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(force))

    return check


def check_growth(pair, rbm):
    growth = growth_modes(data_of(pair), visible_units=pair[0], hidden_units=pair[1])
    assert np.isfinite(growth.rates).all()


def check_replica(pair, rbm):
    order = solve_saddle(Control(jnp.full(1, 0.3)), visible_units=pair[0], hidden_units=pair[1], max_steps=1)
    assert np.isfinite(order.free_energy)


# What each function supports, how that is checked, and whether the check compiles much.
SUPPORT = {
    "joint_energy, visible_free_energy, hidden_free_energy": (is_any, check_energies, False),
    "conditional_moments": (is_any, check_conditional_moments, False),
    "exact_log_z, exact_moments": (is_enumerable, check_enumeration, True),
    "exact_visible_probabilities, enumerate_states": (has_discrete_visible, check_visible_probabilities, False),
    "pseudo_log_likelihood": (has_discrete_visible, check_pseudo_likelihood, False),
    "init_chains, sample_gibbs, PCD": (is_any, check_sampling, True),
    "ais_log_z": (is_any, check_annealing, True),
    "solve_mean_field": (is_any, check_mean_field, True),
    "mean_field_free_energy of order 3": (is_scalar, check_third_order, True),
    "gaussian_force": (is_scalar, check_force(gaussian_force), True),
    "growth_modes": (is_scalar, check_growth, True),
    "solve_saddle": (is_scalar, check_replica, True),
}


def cases():
    """All pairs; what compiles much is left to the tests of each function for the old types, and slow for most new."""
    for function, (supports, _, is_costly) in SUPPORT.items():
        for pair in PAIRS:
            is_slow = is_costly and supports(pair) and (pair not in CHOSEN or function == "ais_log_z")
            if not is_slow or is_new(pair):
                marks = pytest.mark.slow if is_slow else ()
                yield pytest.param(function, pair, marks=marks, id=f"{function}-{pair[0]}-{pair[1]}")


@pytest.mark.parametrize(("function", "pair"), list(cases()))
def test_function_agrees_with_sums_over_all_states_or_refuses_the_pair(function, pair):
    supports, check, _ = SUPPORT[function]
    if supports(pair):
        check(pair, rbm_of(pair))
    else:
        with pytest.raises(ValueError, match=r"does not support .*: it needs "):
            check(pair, rbm_of(pair))
