"""Tied weights: against the group's action, augmented data, dense singular values and the dense estimator."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import (
    PCD,
    RBM,
    Batches,
    Bernoulli,
    Centered,
    Exact,
    Gaussian,
    Spin,
    Standardized,
    Trainer,
    exact_log_likelihood,
    fit,
    hidden_field,
    visible_free_energy,
)
from rbm_jax.data import ising_chain
from rbm_jax.dynamics import gaussian_force, growth_modes, integrate, linear_solution
from rbm_jax.model import Plain, exact_gradient
from rbm_jax.symmetry import (
    PermutationGroup,
    TiedRBM,
    Translations,
    expand,
    fourier_growth_rates,
    fourier_singular_values,
    generate_group,
    init_tied_rbm,
    power_spectrum,
    reflection,
    rotation,
    tie,
    translation,
)
from rbm_jax.training import FourierPCD, Tied
from rbm_jax.training.loop import advance
from rbm_jax.training.tied import _visible_offset
from tests.helpers import slow_but, tolerance

BINARY = (Bernoulli(), Bernoulli())
SQUARE = generate_group(rotation(3), reflection((3, 3)))
TYINGS = {
    "ring": Translations((6,)),
    "torus": Translations((2, 4), (2, 3)),
    "open": Translations((3, 3), (2, 2), periodic=False),
    "square": SQUARE,
}
FOURIER_TYINGS = Translations((6,), (3,)), Translations((3, 4))
GROUPS = {
    "ring": (TYINGS["ring"], generate_group(translation((6,))).elements),
    "torus": (Translations((2, 4)), generate_group(translation((2, 4)), translation((2, 4), axis=1)).elements),
    "square": (SQUARE, SQUARE.elements),
}


def random_tied(tying, dtype=None, units=BINARY, n_channels=2):
    """Filters of strength 0.7 and biases that are not zero."""
    rng, dtype = np.random.default_rng(3), jnp.zeros((), dtype).dtype
    n_orbits = int(tying.orbits.max()) + 1
    biases = (0.1 * np.cos(1 + np.arange(n)) for n in (n_orbits, n_channels))
    leaves = 0.7 * rng.normal(size=(n_channels, tying.n_entries)), *biases
    return TiedRBM(*(jnp.asarray(leaf, dtype) for leaf in leaves), tying, *units)


def augmented(data, elements):
    return np.concatenate([data[:, element] for element in elements])


def binary(seed, n_samples, n_visible):
    return np.random.default_rng(seed).integers(0, 2, (n_samples, n_visible)).astype(np.uint8)


def assert_close(actual, expected, tol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tol, atol=tol), actual, expected)


def test_singular_values_of_a_ring():
    filters = np.array([[1, 0.5, 0, 0, 0, 0, 0, 0.2], [0.3, -0.4, 0.1, 0, 0, 0, 0, 0]], np.float32)
    tied = TiedRBM(jnp.asarray(filters), jnp.zeros(1), jnp.zeros(2), Translations((8,)), Spin(), Spin())
    values = np.asarray(jax.jit(fourier_singular_values)(tied))
    np.testing.assert_allclose(values[:5], [1.7, 1.521077, 1.135782, 0.88675, 0.8544], rtol=1e-5)
    np.testing.assert_allclose(values[5:], values[1:4][::-1], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(jax.jit(expand)(tied).weights)[:, 2], np.roll(filters[0], 2))


@pytest.mark.parametrize("tying", [Translations((5,), (2,)), Translations((3, 4)), Translations((2, 3, 2), (1, 2, 2))])
def test_singular_values_are_those_of_the_expanded_weights(tying, dtype):
    tied = random_tied(tying, dtype, n_channels=3)
    weights, values = jax.jit(lambda tied: (expand(tied).weights, fourier_singular_values(tied)))(tied)
    dense = np.linalg.svd(weights, compute_uv=False)
    spectrum = np.sort(np.asarray(values).ravel())[::-1]
    np.testing.assert_allclose(spectrum, dense, rtol=tolerance(dtype), atol=10 * tolerance(dtype))


def test_weights_are_the_filter_where_it_is_placed():
    tied = random_tied(TYINGS["open"], n_channels=1)
    weights, window = np.asarray(expand(tied).weights).reshape(3, 3, 2, 2), np.asarray(tied.filters).reshape(2, 2)
    for x, y in np.ndindex(2, 2):
        expected = np.zeros((3, 3))
        expected[x : x + 2, y : y + 2] = window
        np.testing.assert_array_equal(weights[:, :, x, y], expected)


def test_permutations_of_images():
    image = np.arange(9).reshape(3, 3)

    def moved(permutation):
        """Pixel i is sent to permutation[i]."""
        result = np.empty(9, int)
        result[permutation] = image.ravel()
        return result.reshape(3, 3)

    np.testing.assert_array_equal(moved(rotation(3)), np.rot90(image))
    np.testing.assert_array_equal(moved(reflection((3, 3))), image[:, ::-1])
    np.testing.assert_array_equal(moved(reflection((3, 3), axis=0)), image[::-1])
    np.testing.assert_array_equal(moved(translation((3, 3), axis=1)), np.roll(image, 1, axis=1))
    assert SQUARE.n_placements == 8
    np.testing.assert_array_equal(SQUARE.orbits, [0, 1, 0, 1, 2, 1, 0, 1, 0])


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("units", [(Bernoulli(), Spin()), (Gaussian(0.5), Bernoulli())], ids=str)
def test_the_model_is_invariant(name, units):
    tying, elements = GROUPS[name]
    v = augmented(binary(0, 3, tying.n_visible), elements)
    free_energies = jax.jit(lambda tied: visible_free_energy(expand(tied), v))(random_tied(tying, units=units))
    free_energies = np.asarray(free_energies).reshape(len(elements), 3)
    np.testing.assert_allclose(free_energies, np.broadcast_to(free_energies[0], (len(elements), 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "dtype"),
    slow_but([(name, "float64") for name in TYINGS], list(itertools.product(TYINGS, ("float64", "float32")))),
    indirect=["dtype"],
)
def test_tie_inverts_expand(name, dtype):
    tied = random_tied(TYINGS[name], dtype)

    @jax.jit
    def there_and_back(tied):
        expanded = expand(tied)
        return expanded, jax.vmap(expand)(stack_two(tied)), tie(expanded, TYINGS[name])

    expanded, doubled, back = jax.device_get(there_and_back(tied))
    assert_close(back, tied, tolerance(dtype))
    np.testing.assert_allclose(doubled.weights[1], expanded.weights)


def stack_two(tied):
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tied)


@pytest.mark.parametrize("name", GROUPS)
def test_gradients_are_those_of_augmented_data(name, x64):
    tying, elements = GROUPS[name]
    tied = random_tied(tying, n_channels=1)
    data = binary(1, 4, tying.n_visible)

    @jax.jit
    def gradients(tied):
        gradient = exact_gradient(expand(tied), augmented(data, elements))
        mean = tie(exact_gradient(expand(tied), data), tying)
        through = jax.grad(lambda tied: -exact_log_likelihood(expand(tied), data))(tied)
        return gradient, tie(gradient, tying), expand(tie(gradient, tying)), mean, through

    gradient, tied_gradient, again, mean, through = jax.device_get(gradients(tied))
    assert_close(again, gradient, 1e-12)
    assert_close(mean, tied_gradient, 1e-12)
    np.testing.assert_allclose(through.filters, tying.n_placements * mean.filters, atol=1e-12)
    np.testing.assert_allclose(through.hidden_bias, tying.n_placements * mean.hidden_bias, atol=1e-12)
    copies = np.bincount(tying.orbits)
    np.testing.assert_allclose(through.visible_bias, copies * mean.visible_bias, atol=1e-12)


@pytest.mark.parametrize(
    ("units", "tying"),
    slow_but(
        [(BINARY, FOURIER_TYINGS[0]), ((Spin(), Gaussian(0.1)), FOURIER_TYINGS[1])],
        list(itertools.product((BINARY, (Spin(), Gaussian(0.1))), FOURIER_TYINGS)),
    ),
    ids=str,
)
def test_fourier_pcd_is_pcd(tying, units, x64):
    tied = random_tied(tying, units=units)
    bits = binary(2, 7, tying.n_visible)
    states = 2.0 * bits - 1 if units[0] == Spin() else 1.0 * bits
    key = jax.random.key(4)
    cases = ((Plain(), np.arange(1.0, 8)), (Centered(), None))

    @jax.jit
    def gradients(tied):
        dense, fourier = (
            [estimator(metric)(key, tied, states, states, sample_weights) for metric, sample_weights in cases]
            for estimator in (lambda metric: Tied(PCD(n_sweeps=3), metric), lambda metric: FourierPCD(3, metric))
        )
        return dense, fourier

    dense, fourier = gradients(tied)
    assert_close(fourier, dense, 1e-11)


@pytest.mark.parametrize("name", TYINGS)
def test_the_centered_gradient_is_a_positive_matrix_times_the_gradient(name, x64):
    tied = random_tied(TYINGS[name], n_channels=1)
    data = binary(5, 6, tied.n_visible)
    estimators = Tied(Exact()), Tied(Exact(), metric=Centered())

    # Filters move at fixed fields at the offsets: the biases, tied as well, make up for what they do there.
    def likelihood(shifted, tied):
        rbm, visible = expand(tied), _visible_offset(tied, data, None)
        hidden = rbm.hidden_units.mean(hidden_field(rbm, visible))
        weights = expand(shifted).weights
        biases = (
            rbm.visible_bias - (weights - rbm.weights) @ hidden,
            rbm.hidden_bias - visible @ (weights - rbm.weights),
        )
        moved = RBM(weights, *biases, rbm.visible_units, rbm.hidden_units)
        return exact_log_likelihood(expand(tie(moved, tied.tying)), data)

    @jax.jit
    def gradients(tied):
        return [estimate(None, tied, data, None)[0] for estimate in estimators], jax.grad(likelihood)(tied, tied)

    (plain, centered), slope = jax.device_get(gradients(tied))
    copies = tied.tying.n_placements, np.bincount(tied.tying.orbits), tied.tying.n_placements
    pairs = zip(jax.tree.leaves(plain), jax.tree.leaves(centered), copies, strict=True)
    assert sum((a * b * n).sum() for a, b, n in pairs) > 0
    np.testing.assert_allclose(centered.filters, -slope.filters / tied.tying.n_placements, atol=1e-12)


def test_centering_is_done_for_free_weights_only():
    with pytest.raises(ValueError, match="give the metric to Tied"):
        Tied(PCD(metric=Centered()))
    for estimator in (Tied, FourierPCD):
        with pytest.raises(ValueError, match=r"metric must be Plain\(\) or Centered\(\) for tied weights"):
            estimator(PCD() if estimator is Tied else 1, metric=Standardized())


def test_linear_theory_is_that_of_augmented_data(x64):
    data = np.asarray(ising_chain(jax.random.key(5), 50, 8, coupling=0.4))
    elements = generate_group(translation((2, 4)), translation((2, 4), axis=1)).elements
    units = {"visible_units": Spin(), "hidden_units": Bernoulli()}

    @jax.jit
    def theory(data):
        rates = fourier_growth_rates(data, (2, 4), **units)
        dense = growth_modes(jnp.concatenate([data[:, element] for element in elements]), **units).rates
        return rates, dense, power_spectrum(data, (2, 4))

    rates, dense, spectrum = jax.device_get(theory(data))
    np.testing.assert_allclose(np.sort(rates.ravel())[::-1], dense, atol=1e-12)
    covariance = np.cov(augmented(data, elements).T, bias=True)
    np.testing.assert_allclose(np.sort(spectrum.ravel()), np.linalg.eigvalsh(covariance))


def test_fourier_modes_grow_at_their_rates(x64):
    data = np.asarray(ising_chain(jax.random.key(6), 200, 8, coupling=0.6))
    tied = init_tied_rbm(
        jax.random.key(7), Translations((8,)), 1, scale=1e-4, visible_units=Spin(), hidden_units=Spin()
    )
    tied = eqx.tree_at(lambda tied: tied.visible_bias, tied, jnp.arctanh(data.mean())[None])
    batch = augmented(data, generate_group(translation((8,))).elements)

    @jax.jit
    def gradient_and_rates(tied):
        gradient, _ = Exact(Centered())(None, expand(tied), batch)
        return tie(gradient, tied.tying), fourier_growth_rates(data, (8,), visible_units=Spin(), hidden_units=Spin())

    gradient, rates = jax.device_get(gradient_and_rates(tied))
    growth = -np.fft.fft(gradient.filters[0]) / np.fft.fft(tied.filters[0])
    np.testing.assert_allclose(growth, rates, atol=1e-6)
    np.testing.assert_allclose(rates[1:], rates[:0:-1])
    assert rates[1] > 0.3 > -0.3 > rates[4]


def test_linear_dynamics_are_driven_by_the_power_spectrum(x64):
    """With Gaussian units each Fourier mode follows the closed solution for its own variance c_q, on to its plateau."""
    units = {"visible_units": Gaussian(0.5), "hidden_units": Gaussian(1.0)}
    half = np.asarray(ising_chain(jax.random.key(8), 30, 6, coupling=0.5))
    data = np.concatenate([half, -half])  # of zero mean, as the biases are: else mode 0 follows these for a while
    spectrum = power_spectrum(data, (6,))
    tied = init_tied_rbm(jax.random.key(9), Translations((6,)), 1, scale=0.05, **units)
    shifted = augmented(data, generate_group(translation((6,))).elements)
    ts = jnp.asarray(np.array([0.0, 1.0, 4.0, 16.0]))

    @jax.jit
    def modes_along(tied):
        path = integrate(gaussian_force(shifted, metric=Centered()), expand(tied), ts)
        return jax.vmap(lambda rbm: fourier_singular_values(tie(rbm, tied.tying)))(path.rbms)

    modes = np.asarray(modes_along(tied))
    theory = linear_solution(ts, modes[0], spectrum, visible_variance=0.5, hidden_variance=1.0)
    np.testing.assert_allclose(modes, theory, rtol=1e-4, atol=1e-8)
    assert modes[-1, 0] > 10 * modes[0, 0]


def test_training_a_tied_rbm(unchecked):
    data = binary(3, 40, 6)
    batches, tied = Batches(data, batch_size=8), random_tied(TYINGS["ring"])
    state = Trainer.euler(Tied(PCD()), 0.05).init(jax.random.key(0), tied, n_chains=10)

    def train(estimator):
        trainer = Trainer.euler(estimator, 0.05)
        return fit(jax.random.key(1), trainer, state, batches, n_updates=5, save_at=(0, 2, 5))

    end, trajectory = train(Tied(PCD(n_sweeps=2)))
    assert_close(jax.tree.map(lambda leaf: leaf[-1], trajectory.rbms), expand(end.rbm), 1e-6)
    n_compiled = advance._cached._cache_size()
    train(Tied(PCD(n_sweeps=2)))
    assert advance._cached._cache_size() == n_compiled
    assert_close(train(FourierPCD(n_sweeps=2))[0].rbm, end.rbm, 1e-5)
    with pytest.raises(TypeError, match="Tied"):
        train(PCD())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Translations(()), "shape must have at least one axis"),
        (lambda: Translations((4, 0)), "shape must be at least 1"),
        (lambda: Translations((4,), (5,)), "window must have the axes"),
        (lambda: PermutationGroup(np.array([[0, 1, 2], [1, 2, 0]])), "elements of a group"),
        (lambda: PermutationGroup(np.array([[0, 1], [0, 1]])), "elements of a group"),
        (lambda: PermutationGroup(np.array([[0, 0]])), "elements must be permutations"),
        (lambda: PermutationGroup(np.array([0.0, 1.0])), "elements must be a table of integers"),
        (generate_group, "at least one permutation"),
        (lambda: generate_group(np.array([0, 1]), np.array([0])), "same units"),
        (lambda: generate_group(np.roll(np.arange(9), 1), np.array([1, 0, *range(2, 9)])), "more than 65536 elements"),
        (lambda: reflection((2, 2), axis=2), "axis must be one of"),
        (lambda: tie(expand(random_tied(Translations((6,)))), Translations((4,))), "rbm must have 4 visible"),
        (lambda: fourier_singular_values(random_tied(SQUARE)), "tying must be Translations"),
        (lambda: power_spectrum(np.zeros((3, 5)), (4,)), "data must have 4 units"),
        (lambda: init_tied_rbm(jax.random.key(0), Translations((4,)), 1, visible_mean=np.zeros(5)), "visible_mean"),
    ],
)
def test_errors_say_what_is_wrong(make, message, unchecked):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_groups_compare_by_value():
    again = PermutationGroup(SQUARE.elements.astype(np.int64))
    assert again == SQUARE
    assert hash(again) == hash(SQUARE)
    assert generate_group(rotation(3)) != SQUARE
