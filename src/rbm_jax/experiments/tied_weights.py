"""What it is worth to tie the weights of an RBM whose data have a symmetry."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rbm_jax._internal.checks import check_count, check_finite
from rbm_jax.data import ising_chain
from rbm_jax.likelihood import ais_log_z
from rbm_jax.model import RBM, Centered, enumerate_states, exact_log_z, init_rbm, visible_free_energy
from rbm_jax.plotting import figure_style, new_figure, plot_growth_rates, plot_learning_curves
from rbm_jax.progress import progress_bar
from rbm_jax.runs import Dataset
from rbm_jax.symmetry import TiedRBM, Translations, expand, fourier_growth_rates, fourier_singular_values, init_tied_rbm
from rbm_jax.training import (
    PCD,
    Batches,
    Exact,
    FourierPCD,
    Optimizer,
    Tied,
    Trainer,
    TrainState,
    fit,
    log_spaced_updates,
)
from rbm_jax.units import Spin

__all__ = ["TiedWeights", "TiedWeightsRecipe", "learn_tied", "symmetry_figure", "tied_weights_table"]

Figure = Any

TIED, UNTIED = "tied by translations", "untied"


@dataclasses.dataclass(frozen=True)
class TiedWeightsRecipe:
    """Which RBMs learn, from how many samples, and for how long.

    Attributes:
        ring_sizes: numbers of samples of the Ising ring to learn from.
        torus_sizes: numbers of images on the torus to learn from; those that the data are too few for are left out.
        n_repeats: repeated samples of each size of the Ising ring.
        n_test: images for the test likelihood.
        growth_updates: updates in which the growth of Fourier modes is measured.
        ring_updates: updates on the Ising ring.
        torus_updates: updates on the torus.
        n_spins: spins of the Ising ring, whose states are enumerated.
        coupling: J of the Ising ring, in units of k_BT.
        n_channels: filters of the tied RBM of images.
        n_hidden: hidden units of the untied RBM of images.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    ring_sizes: tuple[int, ...] = (25, 50, 100, 200, 400, 800, 1600)
    torus_sizes: tuple[int, ...] = (50, 150, 500, 1500)
    n_repeats: int = 4
    n_test: int = 290
    growth_updates: int = 1500
    ring_updates: int = 2000
    torus_updates: int = 3000
    n_spins: int = 12
    coupling: float = 0.6
    n_channels: int = 2
    n_hidden: int = 32
    seed: int = 0

    def __post_init__(self):
        for name in ("n_repeats", "n_test", "ring_updates", "torus_updates", "n_spins", "n_channels", "n_hidden"):
            check_count(name, getattr(self, name))
        check_count("growth_updates", self.growth_updates, minimum=2)
        check_finite("coupling", np.asarray(self.coupling, float))
        for name in ("ring_sizes", "torus_sizes"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one number")
            for size in getattr(self, name):
                check_count(name, size)


@dataclasses.dataclass(frozen=True)
class TiedWeights:
    """What RBMs learn with and without tied weights; dictionaries are by the names of the two.

    Attributes:
        growth_theory: growth rate of each Fourier mode of the filters by the linear theory, per unit of time, shape
            (n_modes,).
        growth_measured: the same, measured in early training.
        n_spins: spins of the Ising ring.
        ring_sizes: numbers of samples of the ring, shape (n_ring_sizes,).
        ring_divergence: Kullback-Leibler divergence from the true law at the best time of each training, mean over
            repeated samples, in nats, shape (n_ring_sizes,).
        ring_parameters: number of parameters of the RBMs of the ring.
        torus_sizes: numbers of images on the torus, shape (n_torus_sizes,).
        torus_likelihood: test log-likelihood at the best time of each training, in nats per sample, shape
            (n_torus_sizes,).
        torus_parameters: number of parameters of the RBMs of images.
    """

    growth_theory: np.ndarray
    growth_measured: np.ndarray
    n_spins: int
    ring_sizes: np.ndarray
    ring_divergence: dict[str, np.ndarray]
    ring_parameters: dict[str, int]
    torus_sizes: np.ndarray
    torus_likelihood: dict[str, np.ndarray]
    torus_parameters: dict[str, int]

    @property
    def ring_expected(self) -> dict[str, np.ndarray]:
        """Parameters / (2 samples): what a model that holds the truth is expected to lose, in nats."""
        return {name: count / (2 * self.ring_sizes) for name, count in self.ring_parameters.items()}


class _Torus(NamedTuple):
    """Images in random places of a torus, in random order; data that are no images, of a ring."""

    images: np.ndarray
    shape: tuple[int, ...]
    units: dict[str, Any]


def learn_tied(dataset: Dataset, recipe: TiedWeightsRecipe = TiedWeightsRecipe()) -> TiedWeights:
    """Measure early growth of tied weights, and learn with and without them from more and more samples.

    Raises:
        ValueError: too few data for any of the torus_sizes beside n_test.
    """
    key_place, key_growth, key_ring, key_torus = jax.random.split(jax.random.key(recipe.seed), 4)
    n_images = len(dataset.samples)
    sizes = [size for size in recipe.torus_sizes if size <= n_images - recipe.n_test]
    if not sizes:
        raise ValueError(
            f"torus_sizes and n_test must leave something to learn from: the data are {n_images}, got "
            f"{min(recipe.torus_sizes)} and {recipe.n_test}"
        )
    torus = _on_torus(key_place, dataset)
    theory, measured = _fourier_growth(key_growth, torus, dataset.batch_size(None), recipe)
    divergence, ring_parameters = _ring_divergence(key_ring, recipe)
    likelihood, torus_parameters = _torus_likelihood(key_torus, torus, sizes, recipe)
    return TiedWeights(
        growth_theory=theory,
        growth_measured=measured,
        n_spins=recipe.n_spins,
        ring_sizes=np.array(recipe.ring_sizes),
        ring_divergence=divergence,
        ring_parameters=ring_parameters,
        torus_sizes=np.array(sizes),
        torus_likelihood=likelihood,
        torus_parameters=torus_parameters,
    )


@figure_style()
def symmetry_figure(result: TiedWeights) -> Figure:
    """Growth of Fourier modes against the linear theory, and what tied weights save in samples.

    What to see: each Fourier mode of the filters grows at the rate that the power spectrum of the data gives it. On the
    Ising ring, whose law both RBMs can represent exactly, and on digits that are shifted on the torus, the tied RBM is
    as good with far fewer samples, and has far fewer parameters. The lines are what a model is expected to lose that
    holds the truth, and whose parameters can all be told from data. Not all of an RBM's can, and its training stops at
    the best time, so points lie below.

    Source: ours; the talks name symmetries as a perspective.
    """
    figure = new_figure(7, 2.7)
    growth, ring, torus = figure.subplots(1, 3)
    plot_growth_rates(result.growth_theory, result.growth_measured, ax=growth)
    growth.set_title("Fourier modes of data on the torus")
    growth.set_xlabel("linear theory (per unit of time)")
    expected = ("parameters / (2 samples)", _as_lists(result.ring_expected))
    label = "divergence from the true law (nats)"
    plot_learning_curves(result.ring_sizes, _as_lists(result.ring_divergence), label=label, theory=expected, ax=ring)
    ring.set_yscale("log")
    ring.set_ylim(top=6 * ring.get_ylim()[1])  # room for the legend
    ring.set_title(f"Ising ring of {result.n_spins} spins")
    label = "test log-likelihood (nats per sample)"
    plot_learning_curves(result.torus_sizes, _as_lists(result.torus_likelihood), label=label, ax=torus)
    torus.set_title("data on the torus")
    return figure


def _as_lists(curves: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in curves.items()}


def _on_torus(key, dataset: Dataset) -> _Torus:
    shape = dataset.image_shape or (dataset.samples.shape[1],)
    key_rows, key_shifts = jax.random.split(key)
    rows = np.asarray(jax.random.permutation(key_rows, len(dataset.samples)))
    shifts = np.asarray(jax.random.randint(key_shifts, (len(rows), len(shape)), 0, np.asarray(shape)))
    images = dataset.samples[rows].reshape(-1, *shape)
    axes = tuple(range(len(shape)))
    shifted = [np.roll(image, shift, axes) for image, shift in zip(images, shifts, strict=True)]
    units = {"visible_units": dataset.units, "hidden_units": dataset.units}
    return _Torus(np.stack(shifted).reshape(len(rows), -1), shape, units)


def _fourier_growth(key, torus: _Torus, batch_size: int | None, recipe: TiedWeightsRecipe):
    """Rates of all Fourier modes: those of the theory, and measured in early training."""
    key_rbm, key_chains, key_run = jax.random.split(key, 3)
    images, n_updates = torus.images, recipe.growth_updates
    rates = np.asarray(fourier_growth_rates(images, torus.shape, **torus.units)).ravel()
    learning_rate = 0.004 / float(rates.max())
    options = {"scale": 1e-4, "visible_mean": images.mean(0), **torus.units}
    tied = init_tied_rbm(key_rbm, Translations(torus.shape), recipe.n_channels, **options)
    trainer = Trainer.euler(FourierPCD(metric=Centered()), learning_rate)
    state = trainer.init(key_chains, tied, n_chains=500)
    saves = np.linspace(0, n_updates, min(50, n_updates) + 1).astype(int)
    with progress_bar(n_updates, "early tied PCD") as progress:
        options = {"n_updates": n_updates, "save_at": saves, "observe": _fourier_modes, "progress": progress}
        _, path = fit(key_run, trainer, state, Batches(images, batch_size), **options)
    modes = np.asarray(path.observations).reshape(len(path.ts), -1)
    linear = modes.max(1) < 0.2
    slopes = np.polyfit(np.asarray(path.ts)[linear], np.log(modes[linear]), 1)[0]
    return rates, slopes


def _fourier_modes(state: TrainState) -> jax.Array:
    return fourier_singular_values(state.rbm)


def _ring_divergence(key, recipe: TiedWeightsRecipe):
    """Least divergence along exact training from the law of the ring, mean over repeated samples of each size."""
    n_spins, n_repeats = recipe.n_spins, recipe.n_repeats
    key_tied, key_untied, key_state, key_sizes = jax.random.split(key, 4)
    states = enumerate_states(Spin(), n_spins)
    log_law = jax.nn.log_softmax(recipe.coupling * jnp.asarray((states * np.roll(states, 1, axis=1)).sum(1)))
    units: dict[str, Any] = {"scale": 0.1, "visible_units": Spin(), "hidden_units": Spin()}
    contenders = {
        TIED: (init_tied_rbm(key_tied, Translations((n_spins,)), 1, **units), Tied(Exact())),
        UNTIED: (init_rbm(key_untied, n_spins, n_spins, **units), Exact()),
    }
    options = {"n_updates": recipe.ring_updates, "save_at": log_spaced_updates(recipe.ring_updates, 60)}

    def divergence(state: TrainState):
        rbm = expand(state.rbm) if isinstance(state.rbm, TiedRBM) else state.rbm
        log_model = -visible_free_energy(rbm, states) - exact_log_z(rbm)
        return (jnp.exp(log_law) * (log_law - log_model)).sum()

    def least(key, start, estimator):
        trainer = Trainer(estimator, Optimizer(optax.adam, 0.01))
        state = trainer.init(key, start)

        def run(key, data, weights):
            batches = Batches(data, sample_weights=weights)
            return fit(key, trainer, state, batches, observe=divergence, **options)[1].observations.min()

        return jax.jit(jax.vmap(run, (0, 0, None)))

    keys = jax.random.split(key_state, len(contenders))
    runs = {name: least(key, *each) for key, (name, each) in zip(keys, contenders.items(), strict=True)}
    found = {name: [] for name in contenders}
    most = max(recipe.ring_sizes)  # samples of weight 0 fill up, so that one program does for all sizes
    for key_size, size in zip(jax.random.split(key_sizes, len(recipe.ring_sizes)), recipe.ring_sizes, strict=True):
        key_data, *keys_runs = jax.random.split(key_size, 1 + len(runs))
        samples = ising_chain(key_data, n_repeats * size, n_spins, coupling=recipe.coupling, periodic=True)
        samples = samples.reshape(n_repeats, size, n_spins)
        samples = jnp.pad(samples, ((0, 0), (0, most - size), (0, 0)), constant_values=1)
        weights = jnp.where(jnp.arange(most) < size, 1.0, 0.0)
        for key_run, (name, run) in zip(keys_runs, runs.items(), strict=True):
            found[name].append(run(jax.random.split(key_run, n_repeats), samples, weights).mean())
    return _as_arrays(found), {name: _n_parameters(start) for name, (start, _) in contenders.items()}


def _torus_likelihood(key, torus: _Torus, sizes: list[int], recipe: TiedWeightsRecipe):
    """Greatest test log-likelihood along training, log Z by annealing, for several numbers of training images."""
    images, n_test = torus.images, recipe.n_test
    options = torus.units | {"visible_mean": images.mean(0)}
    key_tied, key_untied, key_sizes = jax.random.split(key, 3)
    tied = init_tied_rbm(key_tied, Translations(torus.shape), recipe.n_channels, **options)
    untied = init_rbm(key_untied, images.shape[1], recipe.n_hidden, **options)
    contenders = {
        TIED: (tied, FourierPCD(n_sweeps=5, metric=Centered())),
        UNTIED: (untied, PCD(n_sweeps=5, metric=Centered())),
    }
    n_updates = recipe.torus_updates
    saves = np.unique(np.linspace(0, n_updates, 7).astype(int)[1:])
    test, found = images[:n_test], {name: [] for name in contenders}
    for keys, size in zip(jax.random.split(key_sizes, (len(sizes), len(contenders))), sizes, strict=True):
        batches = Batches(images[n_test : n_test + size], min(100, size))
        for key_size, (name, (start, estimator)) in zip(keys, contenders.items(), strict=True):
            key_chains, key_run, key_anneal = jax.random.split(key_size, 3)
            trainer = Trainer.euler(estimator, 0.05)
            state = trainer.init(key_chains, start, n_chains=200)
            _, path = fit(key_run, trainer, state, batches, n_updates=n_updates, save_at=saves)
            found[name].append(_likelihoods(jax.random.split(key_anneal, len(path.ts)), path.rbms, test).max())
    return _as_arrays(found), {name: _n_parameters(start) for name, (start, _) in contenders.items()}


@jax.jit
def _likelihoods(keys, rbms: RBM, test) -> jax.Array:
    """Mean log-likelihood of each RBM of a stack."""

    def likelihood(key_and_rbm):
        key, rbm = key_and_rbm
        log_z = ais_log_z(key, rbm, data=test, n_chains=100, n_temperatures=500).value
        return -visible_free_energy(rbm, test).mean() - log_z

    return jax.lax.map(likelihood, (keys, rbms))


def _as_arrays(found: dict[str, list]) -> dict[str, np.ndarray]:
    return {name: np.array([float(each) for each in values]) for name, values in found.items()}


def _n_parameters(rbm: RBM | TiedRBM) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(rbm))


def tied_weights_table(result: TiedWeights) -> str:
    """Divergence on the ring and likelihood on the torus, for each number of samples."""
    ring = "Ising ring: Kullback-Leibler divergence from the true law (nats)"
    torus = "Data on the torus: test log-likelihood (nats per sample)"
    rows = _rows(ring, result.ring_sizes, result.ring_divergence, result.ring_parameters)
    return "\n".join([*rows, "", *_rows(torus, result.torus_sizes, result.torus_likelihood, result.torus_parameters)])


def _rows(title: str, sizes: np.ndarray, found: dict[str, np.ndarray], counts: dict[str, int]) -> list[str]:
    head = "  samples" + "".join(f"{f'{name} ({counts[name]} parameters)':>40}" for name in found)
    rows = [
        f"{size:9d}" + "".join(f"{values[row]:40.4f}" for values in found.values()) for row, size in enumerate(sizes)
    ]
    return [title, head, *rows]
