"""The deterministic trajectory against published values, its fixed point, its limits and plain quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import Status
from rbm_jax.replica import (
    BernoulliDistribution,
    Clusters,
    Control,
    EmpiricalDistribution,
    GaussianDistribution,
    LaplaceDistribution,
    solve_saddle,
)
from rbm_jax.replica.learning import (
    FiniteLayersForce,
    InfiniteLayersForce,
    integrate_thermodynamic,
    thermodynamic_force,
)
from tests.helpers import optimized

integrate = jax.jit(integrate_thermodynamic, static_argnames="rtol")
GAUSS, SIGNS = GaussianDistribution(), BernoulliDistribution()
TIMES = np.array([0.0, 5.0, 10.0, 20.0, 40.0, 200.0])  # the same in several tests, which share a program
START = np.array([[0.3]])
TWO_MODES = np.array([[0.3, 0.05], [-0.02, 0.3]])


def pair(field=1.0):
    """Two clusters, mirror images; a function, so that it has the precision of the test."""
    return Clusters(jnp.array([[field], [-field]]))


def crossed_pairs():
    """A pair along each of two modes, one wider than the other."""
    return Clusters(jnp.array([[1.2, 0.0], [-1.2, 0.0], [0.0, 0.9], [0.0, -0.9]]))


@pytest.mark.parametrize(
    ("distribution", "ratio", "values"),
    [
        (GAUSS, 1.0, (1.24889, 1.54080, 1.63827, 1.65077)),
        (GAUSS, 0.5, (1.42805, 1.76298, 1.94108, 1.99078)),
        (SIGNS, 1.0, (1.29415, 1.31276, 1.31304)),
    ],
)
def test_infinite_layers(distribution, ratio, values, x64):
    force = thermodynamic_force(pair(), ratio=ratio, component_distribution=distribution)
    path = integrate(force, START, TIMES)
    assert path.status == Status.SUCCESS
    np.testing.assert_allclose(path.singular_values[1 : len(values) + 1, 0], values, atol=6e-6)
    np.testing.assert_allclose(path.matrix[0], START)


@pytest.mark.parametrize(
    ("distribution", "ratio", "w", "m"), [(GAUSS, 1.0, 1.650967, 0.605706), (SIGNS, 1.0, 1.313035, 0.761594)]
)
def test_learning_ends_where_order_parameters_match(distribution, ratio, w, m, x64):
    force = thermodynamic_force(pair(), ratio=ratio, component_distribution=distribution)
    path = integrate(force, START, TIMES)
    assert float(path.singular_values[-1, 0]) == pytest.approx(w, abs=1e-6)
    moments = jax.tree.map(lambda leaf: float(leaf[-1, 0, 0]), path.moments)
    assert np.sqrt(moments.data_visible) == pytest.approx(m, abs=1e-6)
    assert moments.model == pytest.approx(moments.data, abs=1e-6)
    assert moments.model_visible == pytest.approx(moments.data_visible, abs=1e-6)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_weak_weights_grow_linearly_with_the_moments_of_the_data(ratio, x64):
    """Below w = 1 the model has no magnetization, and dB/dτ → κ^{-1/2} ⟨m mᵀ⟩ B."""
    force = thermodynamic_force(pair(0.5), ratio=ratio)
    path = integrate(force, jnp.array([[1e-4]]), np.array([0.0, 4.0, 4.1, 4.2, 4.3, 4.4]))
    rate = np.log(float(path.singular_values[1, 0]) / 1e-4) / 4
    assert rate == pytest.approx(float(path.moments.data_visible[0, 0, 0]) / np.sqrt(ratio), rel=1e-6)
    assert float(path.moments.model[0, 0, 0]) < 1e-12


def test_noise_slows_the_answer_to_the_data(x64):
    """Hidden fields of variance κ^{-1/2} σ² besides the signal's: by quadrature over v̂ and y."""
    noise, ratio, matrix = 0.5, 0.5, 0.9
    force = thermodynamic_force(pair(), ratio=ratio, noise=noise, component_distribution=SIGNS)
    moments = force.moments(jnp.array([[matrix]]))
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    m = np.tanh(1.0)
    field = matrix * m / np.sqrt(ratio) + noise / ratio**0.25 * points
    assert float(moments.data[0, 0]) == pytest.approx(m * (weights @ np.tanh(field)) / weights.sum(), abs=1e-8)
    strong = force.moments(jnp.array([[1.5]]))
    order = solve_saddle(Control(jnp.array([1.5]), noise=noise, ratio=ratio), component_distribution=SIGNS)
    assert float(strong.model[0, 0]) == pytest.approx(float(order.m_visible[0] * order.m_hidden[0]), abs=1e-10)
    assert strong.model[0, 0] > 0.1


def test_sign_of_the_weight_does_not_matter(x64):
    force = thermodynamic_force(pair())
    assert type(force) is InfiniteLayersForce
    assert type(thermodynamic_force(pair(), n_visible=20)) is FiniteLayersForce
    up, down = (force(0.0, jnp.array([[value]])) for value in (1.4, -1.4))
    np.testing.assert_allclose(up, -down, atol=1e-14)


def test_finite_layers(x64):
    force = thermodynamic_force(pair(), n_visible=300)
    path = integrate(force, START, TIMES[:4])
    np.testing.assert_allclose(path.singular_values[1:, 0], (1.2433, 1.5436, 1.6417), atol=1e-4)
    # The published values are Euler's, with steps of 0.05.
    step = lambda matrix, _: (matrix + 0.05 * force(0.0, matrix), matrix[0, 0])  # noqa: E731
    _, euler = optimized(lambda matrix: jax.lax.scan(step, matrix, length=401))(jnp.asarray(START))
    np.testing.assert_allclose(euler[np.array([100, 200, 400])], (1.2424, 1.5446, 1.6420), atol=6e-5)


def test_finite_layers_approach_infinite_ones(x64):
    infinite = integrate(thermodynamic_force(pair()), START, TIMES).singular_values[:3, 0]
    error = []
    for n_visible in (300, 1200):
        force = thermodynamic_force(pair(), n_visible=n_visible)
        error.append(abs(integrate(force, START, TIMES[:4]).singular_values[:3, 0] - infinite).max())
    assert error[0] > 1e-3
    assert error[1] < 0.4 * error[0]


@pytest.mark.slow
def test_two_modes_grow_side_by_side(x64):
    force = thermodynamic_force(crossed_pairs(), n_visible=300)
    follow = optimized(integrate_thermodynamic, static_argnames="rtol")
    path = follow(force, TWO_MODES, jnp.array([0.0, 5.0]), rtol=1e-4)
    np.testing.assert_allclose(path.singular_values[1], (0.774, 0.6349), atol=3e-3)  # Euler steps


@pytest.mark.slow
def test_two_modes_lock_together(x64):
    force = thermodynamic_force(crossed_pairs(), n_visible=300)
    path = integrate(force, TWO_MODES, jnp.array([0.0, 5.0, 10.0, 20.0, 30.0]), rtol=1e-4)
    published = [(0.774, 0.6349), (1.2277, 1.1896), (1.5461, 1.5427)]  # Euler steps
    np.testing.assert_allclose(path.singular_values[1:4], published, atol=3e-3)
    np.testing.assert_allclose(jnp.diag(path.moments.data_visible[-1]), (0.2093, 0.1678), atol=1e-4)
    np.testing.assert_allclose(jnp.diag(path.moments.model_visible[-1]), (0.1963, 0.1675), atol=2e-4)


def test_components_of_an_instance_take_the_place_of_their_distribution(x64):
    """Half +1 and half -1 is the distribution of signs itself; any other instance changes the data's answer."""
    signs, skewed = (EmpiricalDistribution(np.array(column)[:, None]) for column in ([1.0, -1.0], [1.0, -1.0, 1.5]))
    matrix = jnp.array([[1.1]])
    expected = thermodynamic_force(pair(), n_visible=60, component_distribution=SIGNS)(0.0, matrix)
    found = thermodynamic_force(pair(), n_visible=60, component_distribution=signs)(0.0, matrix)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    other = thermodynamic_force(
        pair(), n_visible=60, component_distribution=signs, hidden_component_distribution=skewed
    )(0.0, matrix)
    assert abs(other - expected) > 0.01


def test_moments_of_a_small_layer_are_close_to_enumeration(x64):
    """All 2^12 visible states for ±1 components: what the integral over magnetizations approximates."""
    n = 12
    w = 1.2
    magnetization = np.arange(-n, n + 1, 2) / n
    from scipy.special import comb

    weight = comb(n, np.arange(n + 1)) * np.cosh(w * magnetization) ** n
    exact = (weight @ (magnetization * np.tanh(w * magnetization))) / weight.sum()
    force = thermodynamic_force(pair(), n_visible=n, component_distribution=SIGNS)
    found = float(force.moments(jnp.array([[w]])).model[0, 0])
    assert found == pytest.approx(exact, rel=0.02)  # corrections of order 1/n


def integrate_three(distribution):
    """Paths at float32 from three initial matrices, the second of which is START."""
    starts = jnp.array([[[0.1]], [[0.3]], [[1.9]]])
    force = thermodynamic_force(pair(), component_distribution=distribution)
    paths = jax.jit(jax.vmap(lambda start: integrate_thermodynamic(force, start, TIMES[:4], rtol=1e-5)))(starts)
    assert (paths.status == Status.SUCCESS).all()
    assert paths.singular_values.shape == (3, 4, 1)
    return force, paths


# The force has a kink at w = 1, where errors of a step grow: those at the default rtol, 1e-4, to 1e-3.
def test_initial_matrices_by_vmap_in_float32_follow_the_published_path():
    _, paths = integrate_three(SIGNS)
    np.testing.assert_allclose(paths.singular_values[1, :, 0], (0.3, 1.29415, 1.31276, 1.31304), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", [SIGNS, LaplaceDistribution()], ids=str)
def test_initial_matrices_by_vmap_in_float32_follow_the_path_of_one(distribution):
    force, paths = integrate_three(distribution)
    alone = integrate(force, START, TIMES[:4], rtol=1e-5)
    np.testing.assert_allclose(paths.singular_values[1], alone.singular_values, rtol=1e-3)


@pytest.mark.usefixtures("unchecked")
def test_mistakes_are_named():
    two = Clusters(jnp.eye(2))
    with pytest.raises(ValueError, match="n_visible must be given for several modes"):
        thermodynamic_force(two)
    with pytest.raises(ValueError, match="hidden_component_distribution must be that of the visible layer"):
        thermodynamic_force(pair(), hidden_component_distribution=SIGNS)
    with pytest.raises(ValueError, match="noise must be 0"):
        thermodynamic_force(pair(), n_visible=100, noise=0.5)
    with pytest.raises(ValueError, match="too large for 4 modes"):
        thermodynamic_force(Clusters(jnp.eye(4)), n_visible=300)
    with pytest.raises(ValueError, match="ratio must be positive"):
        thermodynamic_force(pair(), ratio=-1.0)
    with pytest.raises(ValueError, match="ratio"):
        thermodynamic_force(pair(), n_visible=100, ratio=0.0)
    with pytest.raises(ValueError, match="matrix must have shape"):
        integrate_thermodynamic(thermodynamic_force(pair()), jnp.eye(2), TIMES)
    with pytest.raises(ValueError, match="increase"):
        integrate_thermodynamic(thermodynamic_force(pair()), START, jnp.array([1.0, 0.0]))
