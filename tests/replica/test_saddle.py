"""The replica-symmetric equations against published values, autodiff, solvable limits and independent quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from rbm_jax import Bernoulli, Gaussian, Spin
from rbm_jax.replica import (
    BernoulliDistribution,
    Control,
    EmpiricalDistribution,
    GaussianDistribution,
    LaplaceDistribution,
    OrderParameters,
    SparseDistribution,
    UniformDistribution,
    almeida_thouless,
    replica_free_energy,
    solve_saddle,
)
from tests.helpers import COVERING_PAIRS, PAIRS, slow_but

GAUSS, SIGNS, LAPLACE, UNIFORM = (
    GaussianDistribution(),
    BernoulliDistribution(),
    LaplaceDistribution(),
    UniformDistribution(),
)
DISTRIBUTIONS = [GAUSS, SIGNS, LAPLACE, UNIFORM, SparseDistribution(0.2)]


def solve(control, distribution=GAUSS, **options):
    """`solve_saddle`, which has one program for the default distribution and another for the same one if given."""
    given = {} if distribution == GAUSS else {"component_distribution": distribution}
    return solve_saddle(control, **given, **options)


# distribution, κ, w, σ -> m, m̄, q, q̄, f, Λ
VALUES = {
    "Gaussian": (GAUSS, 1.0, 1.5, 0.8, (0.47047001, 0.47047001, 1 / 3, 1 / 3, -1.76244919, 0.113554)),
    "Gaussian, κ = ½": (GAUSS, 0.5, 1.5, 0.8, (0.40628611, 0.52416726, 0.26922140, 0.39182067, -1.84442339, 0.114265)),
    "Bernoulli, κ = ½": (SIGNS, 0.5, 1.5, 0.8, (0.57271936, 0.74606892, 0.43033756, 0.62566164, -1.89143167, 0.036035)),
    "Bernoulli": (SIGNS, 1.0, 2.5, 1.5, (0.78289928, 0.78289928, 0.76793761, 0.76793761, -2.78503492, 0.107268)),
    "Laplace": (LAPLACE, 0.5, 1.5, 0.8, (0.32797208, 0.42344801, 0.19986806, 0.29271787, -1.82587501, 0.163177)),
    "uniform": (UNIFORM, 1.0, 1.2, 0.5, (0.44097401, 0.44097401, 0.23091018, 0.23091018, -1.53153168, 0.024898)),
    "spin glass": (GAUSS, 1.0, 0.9, 1.5, (0, 0, 0.3526018, 0.3526018, -2.47762012, 1.29805741)),
    "mixed": (GAUSS, 1.0, 1.6, 1.5, (0.146853, 0.146853, 0.375, 0.375, None, 1.18372)),
    "paramagnet": (GAUSS, 0.5, 0.7, 0.8, (0, 0, 0, 0, -1.7903872152, 0.8**4)),
}


def summary(order):
    return [
        float(order.m_visible[0]),
        float(order.m_hidden[0]),
        float(order.q_visible),
        float(order.q_hidden),
        float(order.free_energy),
        float(order.stability),
    ]


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_but(
        [(name, "float64") for name in VALUES] + [("Gaussian, κ = ½", "float32"), ("Laplace", "float32")],
        [(name, dtype) for name in VALUES for dtype in ("float64", "float32")],
    ),
    indirect=["dtype"],
)
def test_published_solutions(name, dtype):
    distribution, ratio, w, noise, expected = VALUES[name]
    order = solve(Control(jnp.asarray([w], dtype), noise=noise, ratio=ratio), distribution)
    assert order.converged
    assert order.free_energy.dtype == dtype
    error = 6e-7 if dtype == jnp.float64 else 2e-4  # the published values have six to nine digits
    if name == "paramagnet" and dtype == jnp.float32:
        error = 1e-3  # an overlap of size e changes the equations by e² only
    for found, target in zip(summary(order), expected, strict=True):
        if target is not None:
            assert found == pytest.approx(target, abs=error)


@pytest.mark.parametrize(("noise", "q"), [(1.1, 0.09318172), (2.0, 0.53036839)])
def test_overlap_of_the_spin_glass(noise, q, x64):
    order = solve_saddle(Control(jnp.zeros(1), noise=noise), m_init=jnp.zeros(1))
    assert float(order.q_visible) == pytest.approx(q, abs=1e-8)


def test_with_fields(x64):
    control = Control(
        jnp.array([0.8]), noise=0.5, ratio=0.5, visible_field=jnp.array([0.3]), hidden_field=jnp.array([-0.1])
    )
    found = summary(solve_saddle(control))[:4]
    np.testing.assert_allclose(found, [0.38738, 0.29350, 0.16877, 0.13234], atol=5e-6)


def with_blocks(order, m, m_hidden, q, q_hidden, second, second_hidden):
    rest = (order.free_energy, order.stability, order.converged)
    return OrderParameters(m, m_hidden, q, q_hidden, second, second_hidden, *rest)


@pytest.mark.parametrize(
    ("distribution", "ratio"),
    slow_but(
        [(each, 1.0) for each in DISTRIBUTIONS[1:]] + [(GAUSS, 0.5)],
        [(each, ratio) for each in DISTRIBUTIONS for ratio in (1.0, 0.5)],
    ),
    ids=lambda value: type(value).__name__ if value in DISTRIBUTIONS else str(value),
)
def test_free_energy_is_stationary_at_every_solution(distribution, ratio, x64):
    control = Control(jnp.array([1.7, 1.5]), noise=0.6, ratio=ratio, visible_field=jnp.array([0.1, 0.2]))
    order = solve(control, distribution, m_init=jnp.array([0.5, 0.4]))
    assert order.converged
    assert abs(order.m_visible).min() > 0.03
    assert_stationary(order, control, component_distribution=distribution)


@pytest.mark.parametrize(("visible", "hidden"), slow_but(COVERING_PAIRS, PAIRS), ids=str)
def test_free_energy_is_stationary_for_every_pair_of_units(visible, hidden, x64):
    control = Control(jnp.array([0.9]), noise=0.4, ratio=0.5, visible_field=jnp.array([0.3]))
    units = {"visible_units": visible, "hidden_units": hidden}
    order = solve_saddle(control, **units)
    assert order.converged
    assert abs(order.m_hidden[0]) > 0.02
    assert_stationary(order, control, **units)


def assert_stationary(order, control, **options):
    blocks = (order.m_visible, order.m_hidden, order.q_visible, order.q_hidden)
    blocks += (order.second_moment_visible, order.second_moment_hidden)

    @jax.jit
    @jax.value_and_grad
    def energy(blocks):
        return replica_free_energy(with_blocks(order, *blocks), control, **options)

    value, slopes = energy(blocks)
    assert float(value) == pytest.approx(float(order.free_energy), abs=1e-12)
    for slope in slopes:
        np.testing.assert_allclose(slope, 0, atol=1e-10)
    _, slopes = energy((1.05 * order.m_visible, *blocks[1:]))
    assert abs(slopes[1]).max() > 1e-3


def test_curie_weiss_is_the_limit_without_noise_of_sign_components(x64):
    """m = tanh(√κ w m̄), m̄ = tanh(w m / √κ): a bipartite Curie-Weiss model."""
    w, ratio = 1.3, 0.5
    order = solve_saddle(Control(jnp.array([w]), ratio=ratio), component_distribution=SIGNS)
    m, m_hidden = float(order.m_visible[0]), float(order.m_hidden[0])
    assert m > 0.3
    assert m == pytest.approx(np.tanh(np.sqrt(ratio) * w * m_hidden), abs=1e-12)
    assert m_hidden == pytest.approx(np.tanh(w * m / np.sqrt(ratio)), abs=1e-12)


def test_sign_components_are_the_sherrington_kirkpatrick_model_with_a_mean(x64):
    """At κ = 1, m = E tanh(J₀ m + J √q x) and q = E tanh², at T = 1 with J₀ = w and J = σ."""
    mean_coupling, coupling = 1.6, 1.1
    order = solve_saddle(Control(jnp.array([mean_coupling]), noise=coupling), component_distribution=SIGNS)
    m, q = float(order.m_visible[0]), float(order.q_visible)

    def average(function):
        field = lambda x: mean_coupling * m + coupling * np.sqrt(q) * x  # noqa: E731
        return quad(lambda x: function(field(x)) * np.exp(-x * x / 2) / np.sqrt(2 * np.pi), -12, 12, epsabs=1e-13)[0]

    assert m == pytest.approx(average(np.tanh), abs=1e-10)
    assert q == pytest.approx(average(lambda h: np.tanh(h) ** 2), abs=1e-10)
    expected = coupling**4 * average(lambda h: np.cosh(h) ** -4.0) ** 2
    assert float(order.stability) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("distribution", "kurtosis"), [(SIGNS, 1.0), (GAUSS, 3.0), (LAPLACE, 6.0), (UNIFORM, 1.8)])
def test_magnetization_near_threshold_is_set_by_the_kurtosis(distribution, kurtosis, x64):
    """m² → 3 (w - 1) / κ₄."""
    strengths = np.array([1.002, 1.001])
    orders = [solve(Control(jnp.array([w])), distribution) for w in strengths]
    m = np.array([float(order.m_visible[0]) for order in orders])
    ratio = m**2 / (3 * (strengths - 1) / kurtosis)
    assert ratio[1] == pytest.approx(1, abs=5e-3)
    assert abs(ratio[1] - 1) < 0.7 * abs(ratio[0] - 1)


def test_a_condensed_gaussian_mode_is_marginal_for_its_equals(x64):
    """Without fields w²(1 - q)(1 - q̄) = 1."""
    order = solve(Control(jnp.array([1.8, 1.1]), noise=0.7, ratio=0.4), m_init=jnp.array([0.9, 0.0]))
    assert float(1.8**2 * (1 - order.q_visible) * (1 - order.q_hidden)) == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(order.m_visible[1], 0, atol=1e-10)


@pytest.mark.parametrize(("beta", "alpha", "field"), [(0.8, 0.1, 0.4), (2.5, 0.02, 2.0)])
def test_hopfield_units_give_the_known_equations(beta, alpha, field, x64):
    """Gaussian hidden units: q = E tanh²(h + β√(αr) z) with r = q / (1 - β(1 - q))² (Amit et al. 1985)."""
    # Weights √(β/N) ξ are noise of σ² = β√κ; the mode only carries a field along random signs.
    control = Control(jnp.zeros(1), noise=np.sqrt(beta * np.sqrt(alpha)), ratio=alpha, visible_field=jnp.array([field]))
    order = solve_saddle(control, component_distribution=SIGNS, hidden_units=Gaussian(1.0))
    q = float(order.q_visible)
    noise = beta * np.sqrt(alpha * q) / (1 - beta * (1 - q))

    def average(function):
        density = lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi)  # noqa: E731
        return quad(lambda x: function(field + noise * x) * density(x), -12, 12, epsabs=1e-13)[0]

    assert q == pytest.approx(average(lambda h: np.tanh(h) ** 2), abs=1e-9)
    assert float(order.m_visible[0]) == pytest.approx(average(np.tanh), abs=1e-9)


def test_curvature_that_no_gaussian_unit_can_bear_is_not_convergence(x64):
    """Spins so weakly frozen that β(1 - q) > 1: the integral over hidden units diverges."""
    control = Control(jnp.zeros(1), noise=np.sqrt(2.5 * np.sqrt(0.02)), ratio=0.02)
    order = solve_saddle(control, component_distribution=SIGNS, hidden_units=Gaussian(1.0))
    assert not order.converged


def test_bernoulli_units_are_spins_of_a_quarter_of_the_strength(x64):
    """Without noise the fields W 1/4 of the exact map vanish as 1/√N, and s = (1 + σ)/2 maps the order parameters."""
    spins = solve_saddle(Control(jnp.array([1.5]), ratio=0.5))
    units = {"visible_units": Bernoulli(), "hidden_units": Bernoulli()}
    bits = solve_saddle(Control(jnp.array([6.0]), ratio=0.5), **units)
    assert float(spins.m_visible[0]) > 0.3
    assert float(bits.m_visible[0]) == pytest.approx(float(spins.m_visible[0]) / 2, abs=1e-10)
    assert float(bits.q_hidden) == pytest.approx((1 + float(spins.q_hidden)) / 4, abs=1e-10)
    assert float(bits.free_energy) == pytest.approx(float(spins.free_energy), abs=1e-10)


def test_vmap_and_jit_agree_with_single_calls(x64):
    strengths, noises = jnp.array([0.5, 1.4, 2.0]), jnp.array([0.3, 0.8, 1.5])
    single = lambda w, noise: solve_saddle(Control(w[None], noise=noise))  # noqa: E731
    together = jax.jit(jax.vmap(single))(strengths, noises)
    for index in range(3):
        alone = single(strengths[index], noises[index])
        for leaf, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(leaf[index], expected, atol=1e-10)


@pytest.mark.parametrize("distribution", [GAUSS, LAPLACE], ids=["Gaussian", "Laplace"])
def test_derivatives_are_those_of_finite_differences(distribution, x64):
    def magnetization(w, noise, ratio, field):
        control = Control(w[None], noise=noise, ratio=ratio, visible_field=field[None])
        order = solve_saddle(control, component_distribution=distribution)
        return order.m_hidden[0] + order.q_visible + 0.1 * order.free_energy + order.stability

    point = tuple(jnp.asarray(value) for value in (1.4, 0.7, 0.6, 0.1))
    step = 1e-5
    differentiate = jax.jit(jax.value_and_grad(magnetization, argnums=(0, 1, 2, 3)))
    _, slopes = differentiate(*point)
    value = lambda *point: differentiate(*point)[0]  # noqa: E731
    for axis, slope in enumerate(slopes):
        up, down = list(point), list(point)
        up[axis], down[axis] = point[axis] + step, point[axis] - step
        assert float(slope) == pytest.approx(float((value(*up) - value(*down)) / (2 * step)), abs=1e-7)
    push = jax.jit(lambda w: jax.jvp(lambda w: magnetization(w, *point[1:]), (w,), (jnp.ones(()),)))
    _, forward = push(point[0])
    assert float(forward) == pytest.approx(float(slopes[0]), abs=1e-10)


def test_free_energy_derivative_is_the_envelope(x64):
    """df/dσ = -σ (1 - q)(1 - q̄), and df/dw = -m m̄: order parameters contribute nothing."""
    energy = lambda w, noise: solve_saddle(Control(w[None], noise=noise, ratio=0.5)).free_energy  # noqa: E731
    order = solve_saddle(Control(jnp.array([1.5]), noise=0.8, ratio=0.5))
    by_w, by_noise = jax.jit(jax.grad(energy, argnums=(0, 1)))(jnp.asarray(1.5), jnp.asarray(0.8))
    assert float(by_w) == pytest.approx(-float(order.m_visible[0] * order.m_hidden[0]), abs=1e-9)
    gap = (1 - order.q_visible * order.q_hidden) * 0.8
    assert float(by_noise) == pytest.approx(-float(gap), abs=1e-9)


def test_low_temperature_averages_are_resolved(x64):
    """Against adaptive quadrature, where fields spread over ±100."""
    order = solve_saddle(Control(jnp.zeros(1), noise=60.0), m_init=jnp.zeros(1))
    spread = 60 * np.sqrt(float(order.q_visible))
    density = lambda h: np.exp(-((h / spread) ** 2) / 2) / spread / np.sqrt(2 * np.pi)  # noqa: E731
    expected = 1 - 2 * quad(lambda h: np.cosh(h) ** -2.0 * density(h), 0, 40, epsabs=1e-15, limit=400)[0]
    assert float(order.q_visible) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda distribution: type(distribution).__name__)
def test_quadrature_of_the_distributions_has_unit_variance_and_their_kurtosis(distribution):
    expected = {
        "GaussianDistribution": 3,
        "BernoulliDistribution": 1,
        "LaplaceDistribution": 6,
        "UniformDistribution": 1.8,
        "SparseDistribution": 5,
    }
    points, weights = distribution.nodes()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights @ points == pytest.approx(0, abs=1e-12)
    assert weights @ points**2 == pytest.approx(1, abs=1e-9)
    assert distribution.kurtosis == pytest.approx(expected[type(distribution).__name__], rel=1e-9)


def test_components_of_an_instance_take_the_place_of_their_distribution(x64):
    signs = np.array([[1.0], [-1.0]])
    control = Control(jnp.array([1.5]), noise=0.8)
    found = solve_saddle(control, component_distribution=EmpiricalDistribution(signs))
    expected = solve_saddle(control, component_distribution=SIGNS)
    assert float(found.free_energy) == pytest.approx(float(expected.free_energy), abs=1e-12)
    with pytest.raises(ValueError, match="n_modes"):
        EmpiricalDistribution(signs).product_nodes(2)


def test_stability_function_agrees_with_the_solution(x64):
    control = Control(jnp.array([1.6]), noise=1.5)
    order = solve_saddle(control)
    assert float(almeida_thouless(order, control)) == pytest.approx(float(order.stability), abs=1e-9)


def test_second_call_does_not_compile_again():
    solve(Control(jnp.array([1.5]), noise=0.8))
    with jax.log_compiles(False):
        before = solve_saddle._cache_size()
        solve(Control(jnp.array([1.2]), noise=0.3))
        assert solve_saddle._cache_size() == before


@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named():
    with pytest.raises(ValueError, match="singular_values must be a vector"):
        Control(1.5)
    with pytest.raises(ValueError, match="visible_field must have the shape"):
        Control(jnp.ones(2), visible_field=jnp.ones(3))
    with pytest.raises(ValueError, match="m_init must have the shape"):
        solve_saddle(Control(jnp.ones(2)), m_init=jnp.ones(1))
    with pytest.raises(ValueError, match="max_steps"):
        solve_saddle(Control(jnp.ones(2)), max_steps=0)
    with pytest.raises(ValueError, match="fraction"):
        SparseDistribution(0.0)
    with pytest.raises(ValueError, match="components"):
        EmpiricalDistribution(np.ones(3))


def test_spin_is_the_default(x64):
    control = Control(jnp.array([1.5]), noise=0.8)
    explicit = solve_saddle(control, visible_units=Spin(), hidden_units=Spin())
    assert float(solve_saddle(control).free_energy) == float(explicit.free_energy)
