"""What it is worth to tie the weights of an RBM whose data have a symmetry."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer

from rbm_jax.cli._datasets import Dataset
from rbm_jax.data import ising_chain
from rbm_jax.likelihood import ais_log_z
from rbm_jax.model import RBM, Centered, enumerate_states, exact_log_z, init_rbm, visible_free_energy
from rbm_jax.plotting import figure_style, new_figure, plot_growth_rates, plot_learning_curves
from rbm_jax.progress import progress_bar
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

__all__ = ["SymmetryRecipe", "symmetry_figure"]

TIED, UNTIED = "tied by translations", "untied"
N_SPINS, COUPLING = 12, 0.6
N_CHANNELS, N_UNTIED = 2, 32


@dataclasses.dataclass(frozen=True)
class SymmetryRecipe:
    """Numbers of samples to learn from, and of updates."""

    ring_sizes: tuple[int, ...] = (25, 50, 100, 200, 400, 800, 1600)
    torus_sizes: tuple[int, ...] = (50, 150, 500, 1500)
    n_repeats: int = 4
    n_test: int = 290
    growth_updates: int = 1500
    ring_updates: int = 2000
    torus_updates: int = 3000


class _Torus(NamedTuple):
    """Images in random places of a torus, in random order; data that are no images, of a ring."""

    images: np.ndarray
    shape: tuple[int, ...]
    units: dict[str, Any]


@figure_style()
def symmetry_figure(key, dataset: Dataset, recipe: SymmetryRecipe | None = None) -> Any:
    """Growth of Fourier modes against the linear theory, and what tied weights save in samples.

    What to see: each Fourier mode of the filters grows at the rate that the power spectrum of the data gives it. On the
    Ising ring, whose law both RBMs can represent exactly, and on digits that are shifted on the torus, the tied RBM is
    as good with far fewer samples, and has far fewer parameters. The lines are what a model is expected to lose that
    holds the truth, and whose parameters can all be told from data. Not all of an RBM's can, and its training stops at
    the best time, so points lie below.

    Source: ours; the talks name symmetries as a perspective.
    """
    recipe = SymmetryRecipe() if recipe is None else recipe
    key_ring, key_torus, key_growth = jax.random.split(key, 3)
    figure = new_figure(7, 2.7)
    axes = figure.subplots(1, 3)
    torus = _on_torus(key_torus, dataset)
    plot_growth_rates(*_fourier_growth(key_growth, torus, dataset.batch_size(None), recipe.growth_updates), ax=axes[0])
    axes[0].set_title("Fourier modes of data on the torus")
    axes[0].set_xlabel("linear theory (per unit of time)")
    ring, counts = _ring_divergence(key_ring, recipe)
    _print_table("Ising ring: Kullback-Leibler divergence from the true law (nats)", recipe.ring_sizes, ring, counts)
    sizes = np.array(recipe.ring_sizes)
    expected = {name: (count / (2 * sizes)).tolist() for name, count in counts.items()}
    plot_learning_curves(
        sizes,
        ring,
        label="divergence from the true law (nats)",
        theory=("parameters / (2 samples)", expected),
        ax=axes[1],
    )
    axes[1].set_yscale("log")
    axes[1].set_ylim(top=6 * axes[1].get_ylim()[1])  # room for the legend
    axes[1].set_title(f"Ising ring of {N_SPINS} spins")
    sizes = [size for size in recipe.torus_sizes if size <= len(torus.images) - recipe.n_test]
    likelihood, counts = _torus_likelihood(key_torus, torus, sizes, recipe)
    _print_table("Data on the torus: test log-likelihood (nats per sample)", sizes, likelihood, counts)
    plot_learning_curves(np.array(sizes), likelihood, label="test log-likelihood (nats per sample)", ax=axes[2])
    axes[2].set_title("data on the torus")
    return figure


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


def _fourier_growth(key, torus: _Torus, batch_size: int | None, n_updates: int):
    """Rates of all Fourier modes: those of the theory, and measured in early training."""
    images = torus.images
    rates = np.asarray(fourier_growth_rates(images, torus.shape, **torus.units)).ravel()
    learning_rate = 0.004 / float(rates.max())
    tied = init_tied_rbm(
        key, Translations(torus.shape), N_CHANNELS, scale=1e-4, visible_mean=images.mean(0), **torus.units
    )
    trainer = Trainer.euler(FourierPCD(metric=Centered()), learning_rate)
    state = trainer.init(jax.random.fold_in(key, 1), tied, n_chains=500)
    saves = np.linspace(0, n_updates, min(50, n_updates) + 1).astype(int)
    with progress_bar(n_updates, "early tied PCD") as progress:
        options = {"n_updates": n_updates, "save_at": saves, "observe": _fourier_modes, "progress": progress}
        _, path = fit(jax.random.fold_in(key, 2), trainer, state, Batches(images, batch_size), **options)
    modes = np.asarray(path.observations).reshape(len(path.ts), -1)
    linear = modes.max(1) < 0.2
    slopes = np.polyfit(np.asarray(path.ts)[linear], np.log(modes[linear]), 1)[0]
    return rates, slopes


def _fourier_modes(state: TrainState) -> jax.Array:
    return fourier_singular_values(state.rbm)


def _ring_divergence(key, recipe: SymmetryRecipe):
    """Least divergence along exact training from the law of the ring, mean over repeated samples of each size."""
    states = enumerate_states(Spin(), N_SPINS)
    log_law = jax.nn.log_softmax(COUPLING * jnp.asarray((states * np.roll(states, 1, axis=1)).sum(1)))
    tied = init_tied_rbm(key, Translations((N_SPINS,)), 1, scale=0.1, visible_units=Spin(), hidden_units=Spin())
    untied = init_rbm(key, N_SPINS, N_SPINS, scale=0.1, visible_units=Spin(), hidden_units=Spin())
    options = {"n_updates": recipe.ring_updates, "save_at": log_spaced_updates(recipe.ring_updates, 60)}

    def divergence(state: TrainState):
        rbm = expand(state.rbm) if isinstance(state.rbm, TiedRBM) else state.rbm
        log_model = -visible_free_energy(rbm, states) - exact_log_z(rbm)
        return (jnp.exp(log_law) * (log_law - log_model)).sum()

    def least(start, estimator):
        trainer = Trainer(estimator, Optimizer(optax.adam, 0.01))
        state = trainer.init(key, start)

        def run(data, weights):
            batches = Batches(data, sample_weights=weights)
            return fit(key, trainer, state, batches, observe=divergence, **options)[1].observations.min()

        return jax.jit(jax.vmap(run, (0, None)))

    contenders = {TIED: (tied, Tied(Exact())), UNTIED: (untied, Exact())}
    runs = {name: least(*each) for name, each in contenders.items()}
    found = {name: [] for name in contenders}
    most = max(recipe.ring_sizes)  # samples of weight 0 fill up, so that one program does for all sizes
    for size in recipe.ring_sizes:
        samples = ising_chain(
            jax.random.fold_in(key, size), recipe.n_repeats * size, N_SPINS, coupling=COUPLING, periodic=True
        ).reshape(recipe.n_repeats, size, N_SPINS)
        samples = jnp.pad(samples, ((0, 0), (0, most - size), (0, 0)), constant_values=1)
        weights = jnp.where(jnp.arange(most) < size, 1.0, 0.0)
        for name, run in runs.items():
            found[name].append(float(run(samples, weights).mean()))
    return found, {name: _n_parameters(start) for name, (start, _) in contenders.items()}


def _torus_likelihood(key, torus: _Torus, sizes: list[int], recipe: SymmetryRecipe):
    """Greatest test log-likelihood along training, log Z by annealing, for several numbers of training images."""
    images = torus.images
    options = torus.units | {"visible_mean": images.mean(0)}
    key, key_chains, key_run = jax.random.split(key, 3)
    tied = init_tied_rbm(key, Translations(torus.shape), N_CHANNELS, **options)
    contenders = {
        TIED: (tied, FourierPCD(n_sweeps=5, metric=Centered())),
        UNTIED: (init_rbm(key, images.shape[1], N_UNTIED, **options), PCD(n_sweeps=5, metric=Centered())),
    }
    n_updates = recipe.torus_updates
    saves = np.unique(np.linspace(0, n_updates, 7).astype(int)[1:])
    test, found = images[: recipe.n_test], {name: [] for name in contenders}
    for size in sizes:
        batches = Batches(images[recipe.n_test : recipe.n_test + size], min(100, size))
        for name, (start, estimator) in contenders.items():
            trainer = Trainer.euler(estimator, 0.05)
            state = trainer.init(key_chains, start, n_chains=200)
            _, path = fit(key_run, trainer, state, batches, n_updates=n_updates, save_at=saves)
            found[name].append(float(_likelihoods(path.rbms, test).max()))
    return found, {name: _n_parameters(start) for name, (start, _) in contenders.items()}


@jax.jit
def _likelihoods(rbms: RBM, test) -> jax.Array:
    """Mean log-likelihood of each RBM of a stack."""

    def likelihood(rbm: RBM):
        log_z = ais_log_z(jax.random.key(0), rbm, data=test, n_chains=100, n_temperatures=500).value
        return -visible_free_energy(rbm, test).mean() - log_z

    return jax.lax.map(likelihood, rbms)


def _n_parameters(rbm: RBM | TiedRBM) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(rbm))


def _print_table(title: str, sizes, found: dict[str, list[float]], counts: dict[str, int]) -> None:
    typer.echo(f"\n{title}")
    typer.echo("  samples" + "".join(f"{f'{name} ({counts[name]} parameters)':>40}" for name in found))
    for row, size in enumerate(sizes):
        typer.echo(f"{size:9d}" + "".join(f"{values[row]:40.4f}" for values in found.values()))
    typer.echo("")
