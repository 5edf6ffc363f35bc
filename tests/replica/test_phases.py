"""Boundaries of the phase diagram against published values and closed forms; phases; RBMs found in it again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from rbm_jax import RBM, Bernoulli, Gaussian, Spin
from rbm_jax.model import spin_to_bernoulli
from rbm_jax.replica import (
    BernoulliDistribution,
    Control,
    GaussianDistribution,
    LaplaceDistribution,
    Phase,
    SpikedEnsemble,
    UniformDistribution,
    almeida_thouless_strength,
    classify_phase,
    compositional_threshold,
    critical_strength,
    locate,
    phase_diagram,
    solve_saddle,
    spin_glass_noise,
)
from tests.helpers import optimized

GAUSS, SIGNS, LAPLACE = GaussianDistribution(), BernoulliDistribution(), LaplaceDistribution()
NOISES = jnp.array([1.2, 1.5, 2, 3, 5, 10, 20])
SLOPES = {
    1.0: (1.007991, 1.029763, 1.064664, 1.113334, 1.162620, 1.205565, 1.228866),
    # Equal quadrature steps are too coarse for the last value of these two; see the next test.
    0.5: (1.008091, 1.029897, 1.064607, 1.112888, 1.161960, 1.205034, 1.228546),
    0.1: (1.008969, 1.031161, 1.064239, 1.108879, 1.155649, 1.199738, 1.225288),
}


@pytest.mark.parametrize("ratio", SLOPES)
def test_line_between_spin_glass_and_ferromagnet(ratio, x64):
    slopes = jax.vmap(lambda noise: critical_strength(noise, ratio=ratio))(NOISES) / NOISES
    np.testing.assert_allclose(slopes, SLOPES[ratio], atol=1.1e-6)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_line_at_strong_noise_against_adaptive_quadrature(ratio, x64):
    noise, root = 20.0, np.sqrt(ratio)

    def gap(spread):
        """1 - E tanh²(spread x)."""
        density = lambda h: np.exp(-((h / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))  # noqa: E731
        return 2 * quad(lambda h: np.cosh(h) ** -2.0 * density(h), 0, 40, epsabs=1e-15, limit=500)[0]

    def hidden_gap(q):
        return gap(noise * np.sqrt(q / root))

    q = brentq(lambda q: 1 - gap(noise * np.sqrt(root * (1 - hidden_gap(q)))) - q, 0.5, 0.999, xtol=1e-14)
    expected = 1 / np.sqrt((1 - q) * hidden_gap(q))
    assert float(critical_strength(noise, ratio=ratio)) == pytest.approx(expected, abs=1e-7)


def test_line_in_the_paramagnet_and_at_infinite_noise(x64):
    assert float(critical_strength(0.5, ratio=0.3)) == pytest.approx(1, abs=1e-9)
    assert float(critical_strength(500.0)) / 500 == pytest.approx(np.sqrt(np.pi / 2), abs=2e-3)


@pytest.mark.parametrize(
    ("distribution", "ratio", "slopes"),
    [
        pytest.param(GAUSS, 1.0, (1.02970, 1.13940, 1.40050, 2.02137), marks=pytest.mark.slow),
        pytest.param(GAUSS, 0.5, (1.03021, 1.14103, 1.40323, 2.02369), marks=pytest.mark.slow),
        (SIGNS, 1.0, (1.02530, 1.09775, 1.22037, 1.40970)),
        pytest.param(SIGNS, 0.5, (1.02564, 1.09830, 1.22036, 1.40784), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_almeida_thouless_line(distribution, ratio, slopes, x64):
    noises = jnp.array([1.2, 1.5, 2.0, 3.0])
    line = jax.vmap(lambda noise: almeida_thouless_strength(noise, ratio=ratio, component_distribution=distribution))
    np.testing.assert_allclose(jax.jit(line)(noises) / noises, slopes, atol=1e-5)


def test_almeida_thouless_line_at_strong_noise_against_adaptive_quadrature(x64):
    """Gaussian components at κ = 1: 1 / w = E sech²(s x) where σ² E sech⁴(s x) = 1."""
    noise = 6.0

    def average(power, spread):
        density = lambda h: np.exp(-((h / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))  # noqa: E731
        return 2 * quad(lambda h: np.cosh(h) ** -power * density(h), 0, 40, epsabs=1e-15, limit=500)[0]

    spread = brentq(lambda spread: noise**2 * average(4.0, spread) - 1, 1, 500, xtol=1e-13)
    assert float(almeida_thouless_strength(noise)) == pytest.approx(1 / average(2.0, spread), rel=1e-8)


@pytest.mark.parametrize(("ratio", "slopes"), [(1.0, (1.03626, 2.77197)), (0.5, (1.03701, 2.77150))])
def test_almeida_thouless_line_of_laplace_components(ratio, slopes, x64):
    for noise, slope in zip((1.2, 3.0), slopes, strict=True):
        for factor, unstable in ((1 - 1e-5, True), (1 + 1e-5, False)):
            control = Control(jnp.array([slope * noise * factor]), noise=noise, ratio=ratio)
            assert (solve_saddle(control, component_distribution=LAPLACE).stability > 1) == unstable


def test_spins_freeze_at_unit_noise_whatever_the_shape(x64):
    assert float(spin_glass_noise()) == pytest.approx(1, abs=1e-9)
    assert float(spin_glass_noise(ratio=0.3)) == pytest.approx(1, abs=1e-9)


def test_hopfield_model_freezes_at_the_known_temperature(x64):
    """T = 1 + √α with β = σ² / √κ (Amit, Gutfreund & Sompolinsky 1985)."""
    alpha = 0.25
    noise = float(spin_glass_noise(ratio=alpha, hidden_units=Gaussian(1.0)))
    assert np.sqrt(alpha) / noise**2 == pytest.approx(1 + np.sqrt(alpha), abs=1e-9)


def test_bernoulli_units_in_random_fields_never_freeze_sharply(x64):
    """Replica symmetry breaks somewhere, on a line of Almeida and Thouless's kind."""
    noise = spin_glass_noise(visible_units=Bernoulli(), hidden_units=Bernoulli())
    assert 4 < noise < 20


@pytest.mark.parametrize(
    ("noise", "strength", "phase"),
    [
        (0.5, 0.8, Phase.PARAMAGNET),
        (0.5, 1.2, Phase.FERROMAGNET),
        (1.5, 0.9, Phase.SPIN_GLASS),
        (1.5, 1.6, Phase.MIXED),
        (1.5, 2.0, Phase.FERROMAGNET),
    ],
)
def test_phases(noise, strength, phase):
    order = solve_saddle(Control(jnp.array([strength]), noise=noise))
    assert classify_phase(order) == phase


def test_diagram_has_the_phases_between_the_lines():
    temperature, bias = jnp.linspace(0.32, 1.57, 9), jnp.linspace(0.07, 1.93, 11)[:, None]
    noise = 1 / temperature
    diagram = phase_diagram(noise, bias * noise)
    assert diagram.phase.shape == (11, 9)
    assert diagram.order_parameters.m_visible.shape == (11, 9, 1)
    assert diagram.order_parameters.converged.all()
    lines = jax.jit(lambda noise: (jax.vmap(critical_strength)(noise), jax.vmap(almeida_thouless_strength)(noise)))
    critical, breaking = lines(noise)
    strength = bias * noise
    glass = noise > 1
    expected = jnp.where(
        strength < critical,
        jnp.where(glass, Phase.SPIN_GLASS, Phase.PARAMAGNET),
        jnp.where(glass & (strength < breaking), Phase.MIXED, Phase.FERROMAGNET),
    )
    np.testing.assert_array_equal(diagram.phase, expected)
    assert set(np.unique(diagram.phase)) == {0, 1, 2, 3}


def test_second_diagram_does_not_compile_again():
    phase_diagram(jnp.array([0.5]), jnp.array([[0.5], [1.5]]))
    before = phase_diagram._cache_size()
    phase_diagram(jnp.array([0.6]), jnp.array([[0.4], [1.6]]), ratio=0.5)
    assert phase_diagram._cache_size() <= before + 1


@pytest.mark.parametrize(
    ("distribution", "strength", "noise", "expected"),
    [
        (LAPLACE, 1.5, 0.3, 0.850164),
        (LAPLACE, 2.5, 0.3, 0.727769),
        (SIGNS, 1.5, 0.3, 2.2235),
        (GAUSS, 1.7, 0.4, 1.0),
        (LAPLACE, 1.02, 0.0, 0.990283),
        (SIGNS, 1.02, 0.0, 1.040647),
        (UniformDistribution(), 1.02, 0.0, 1.013132),
    ],
)
def test_compositional_threshold(distribution, strength, noise, expected, x64):
    order = solve_saddle(Control(jnp.array([strength]), noise=noise), component_distribution=distribution)
    accuracy = 5e-5 if expected == 2.2235 else 1e-6
    assert float(compositional_threshold(order, strength)) == pytest.approx(expected, abs=accuracy)


def both(distribution, ratio, init=(0.4, 0.3), strength=1.5):
    order = solve_both(jnp.array([strength, ratio * strength]), distribution, jnp.array(init))
    assert order.converged
    return order


def _solve_both(strengths, distribution, init):
    return solve_saddle(Control(strengths, noise=0.3), component_distribution=distribution, m_init=init)


solve_both = optimized(_solve_both, static_argnums=1)


@pytest.mark.parametrize(
    ("ratio", "magnetizations", "energy"),
    [
        pytest.param(1.0, (0.341275, 0.341275), -1.49615302, marks=pytest.mark.slow),
        (0.97, (0.362208, 0.306831), -1.49141116),
    ],
)
def test_laplace_modes_condense_together(ratio, magnetizations, energy, x64):
    order = both(LAPLACE, ratio)
    np.testing.assert_allclose(order.m_visible, magnetizations, atol=1e-6)
    assert float(order.free_energy) == pytest.approx(energy, abs=1e-8)


def test_the_weaker_laplace_mode_condenses_above_the_threshold(x64):
    alone = both(LAPLACE, 0.83)
    np.testing.assert_allclose(alone.m_visible, (0.433556, 0), atol=2e-6)
    assert float(alone.free_energy) == pytest.approx(-1.48289984, abs=1e-8)
    assert float(both(LAPLACE, 0.87).m_visible[1]) > 5e-3


def test_sign_modes_compete(x64):
    pure, mixed = both(SIGNS, 1.0, (0.8, 0.1)), both(SIGNS, 1.0, (0.4, 0.4))
    np.testing.assert_allclose(pure.m_visible, (0.833089, 0), atol=1e-6)
    assert float(pure.free_energy) == pytest.approx(-1.63844820, abs=1e-8)
    assert float(mixed.m_visible[0]) == pytest.approx(float(mixed.m_visible[1]), abs=1e-9)
    assert float(mixed.free_energy) == pytest.approx(-1.54026919, abs=1e-8)


def test_degenerate_gaussian_modes_have_a_sphere_of_states(x64):
    """Only the squared magnetization is fixed, whatever the direction of the initial point."""
    orders = [both(GAUSS, 1.0, init) for init in ((0.4, 0.3), (0.1, 0.6))]
    lengths = [float((order.m_visible**2).sum()) for order in orders]
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-9)
    slopes = [float(order.m_visible[1] / order.m_visible[0]) for order in orders]
    np.testing.assert_allclose(slopes, (0.75, 6.0), rtol=1e-3)


def test_an_rbm_of_the_ensemble_is_located_where_it_was_made():
    rbm, _ = SpikedEnsemble(jnp.array([1.8, 1.2]), noise=0.6).sample(jax.random.key(0), 800, 400)
    location = locate(rbm)
    control = location.control
    assert float(control.noise) == pytest.approx(0.6, rel=0.02)
    np.testing.assert_allclose(control.singular_values, (1.8, 1.2), rtol=0.08)  # of relative size 1/√N
    assert float(control.ratio) == 0.5
    assert location.phase == Phase.FERROMAGNET
    assert location.order_parameters.m_visible.shape == (1,)


def test_bernoulli_rbms_are_located_as_their_spins():
    rbm, _ = SpikedEnsemble(jnp.array([1.5]), noise=0.4).sample(jax.random.key(1), 300, 200)
    found, expected = locate(spin_to_bernoulli(rbm)[0]), locate(rbm)
    np.testing.assert_allclose(found.control.singular_values, expected.control.singular_values, rtol=1e-4)
    assert found.phase == expected.phase


def test_pure_noise_is_a_paramagnet_or_a_glass():
    for noise, phase in ((0.5, Phase.PARAMAGNET), (1.6, Phase.SPIN_GLASS)):
        rbm, _ = SpikedEnsemble(jnp.array([0.1]), noise=noise).sample(jax.random.key(2), 300, 200)
        location = locate(rbm)
        assert location.phase == phase
        np.testing.assert_array_equal(location.control.singular_values, [0.0])


@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named():
    rbm = RBM(jnp.zeros((2, 4, 3)), jnp.zeros((2, 4)), jnp.zeros((2, 3)), Spin(), Spin())
    with pytest.raises(ValueError, match="rbm must be a single RBM"):
        locate(rbm)
