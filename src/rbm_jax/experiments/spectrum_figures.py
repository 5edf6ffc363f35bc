"""The pictures of a training on the singular value decomposition of its weights."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rbm_jax.experiments.training_spectrum import SpectrumResult
from rbm_jax.plotting import (
    figure_style,
    new_figure,
    plot_images,
    plot_modes,
    plot_quantity,
    plot_spectrum,
    plot_spectrum_histogram,
)
from rbm_jax.runs.training import NAMED_EPOCHS
from rbm_jax.spectral import effective_temperature, marchenko_pastur_edges, mode_statistics, split_bulk

__all__ = [
    "SPECTRUM_FIGURES",
    "histograms_figure",
    "mode_statistics_figure",
    "modes_figure",
    "motion_figure",
    "overlaps_figure",
    "singular_values_figure",
    "draw_spectrum",
    "temperature_figure",
]

N_HISTOGRAMS = 4
N_VECTORS = 5
"""Leading modes whose vectors are described; the others have none to speak of."""

Figure = Any


@figure_style()
def singular_values_figure(result: SpectrumResult) -> Figure:
    """Singular values of the weights along a training, and the log-likelihood.

    What to see: modes leave the bulk of the random start, whose edge is the line, one after the other, those along
    which the data vary most first; the likelihood rises with them.

    Source: Decelle, Fissore and Furtlehner (2017, 2018), who show both for MNIST.
    """
    figure, (left, right) = _wide_figure(2)
    later, values = result.later, result.singular_values
    edge = float(marchenko_pastur_edges(result.noise, ratio=result.ratio)[1])
    plot_spectrum(result.ts[later], values[later], n_modes=result.n_modes, edge=edge, ax=left)
    points = {result.log_likelihood_by: (result.ts[later], result.log_likelihood[later])}
    plot_quantity(points, label="log-likelihood per sample (nats)", ax=right)
    for ax in (left, right):
        ax.set_xscale("log")
    return figure


@figure_style()
def histograms_figure(result: SpectrumResult) -> Figure:
    """Histograms of the singular values of the weights, from the random start to the end of a training.

    What to see: at the start all values are under the Marchenko-Pastur density of random weights. What is learned
    stands to its right as outliers, until there is hardly a bulk left.

    Source: Decelle, Fissore and Furtlehner (2017); the density is that of Marchenko and Pastur (1967).
    """
    figure, axes = _wide_figure(2, n_rows=2)
    values = result.singular_values
    # From the start to the end of the growth of the leading value, evenly in its logarithm.
    levels = np.geomspace(values[0, 0], values[:, 0].max(), N_HISTOGRAMS)
    times = [int(np.argmax(values[:, 0] >= level * (1 - 1e-6))) for level in levels]
    for ax, time in zip(axes.flat, times, strict=True):
        bulk = split_bulk(result.training.rbms.weights[time])
        plot_spectrum_histogram(bulk, ax=ax)
        ax.set_title(rf"$t={result.ts[time]:.3g}$, bulk $\sigma={float(bulk.ensemble_noise):.3g}$")
    return figure


@figure_style()
def modes_figure(result: SpectrumResult) -> Figure:
    """Principal axes of the data, and left singular vectors of W after 1, 10 and 100 epochs and at the end.

    What to see: each vector turns from a random direction into the axis of the data, the leading ones first: after the
    first epochs of MNIST's 60,000 images, and about a hundred of the digits' 1797. Later they mix. Signs are aligned
    with the data's.

    Source: the figures of the modes of MNIST in Decelle, Fissore and Furtlehner (2017, 2018).
    """
    n_modes = min(result.n_modes, result.modes.values.shape[1])
    axes = result.data_modes[:, :n_modes]
    rows, labels = [axes.T], ["data"]
    for time, label in _named_times(result):
        left = np.asarray(result.modes.left)[time, :, :n_modes]
        sign = np.where((left * axes).sum(0) < 0, -1, 1)
        rows.append((left * sign).T)
        labels.append(label)
    shape = result.dataset.image_shape or (1, len(axes))
    images = np.concatenate(rows)
    figure = new_figure(7, 0.1 + len(rows) * 5.9 / n_modes)
    plot_images(images, shape, n_columns=n_modes, row_labels=labels, diverging=True, ax=figure.add_subplot())
    return figure


@figure_style()
def overlaps_figure(result: SpectrumResult) -> Figure:
    """Overlaps of the left singular vectors of W with the principal axes of the data of the same rank.

    What to see: random at the start, the leading vectors turn onto the data's axes before their singular values are
    large, and leave them when the dynamics is no longer linear.

    Source: Decelle, Fissore and Furtlehner (2018), on the early alignment of modes.
    """
    figure = new_figure()
    label = r"$|u_\alpha\cdot$ principal axis $\alpha$ of the data$|$"
    overlaps = result.overlaps(min(N_VECTORS, result.modes.values.shape[1]))
    ax = plot_modes(result.ts[result.later], overlaps[result.later], label=label, ax=figure.add_subplot())
    ax.set_xscale("log")
    return figure


@figure_style()
def motion_figure(result: SpectrumResult) -> Figure:
    """How much of the motion of W changes its singular values, and how much rotates its singular vectors.

    What to see: at first the bases turn towards the data; then singular values grow, one after the other, along bases
    that hardly move; in the end rotations take over again, as modes interact.

    Source: ours; the split into singular values and rotations Ω is that of Decelle, Fissore and Furtlehner (2017).
    """
    assert result.motion is not None
    figure = new_figure(7, 2.5)
    axes = figure.subplots(1, 3)
    ts, later = result.ts[result.later], result.later
    motion = {name: np.asarray(value)[later] for name, value in result.motion.items()}
    fractions = {"values": "values_fraction", "rotations": "rotation_fraction", "outside": "outside_fraction"}
    points = {name: (ts, motion[key]) for name, key in fractions.items()}
    plot_quantity(points, label=r"fraction of $|\mathrm{d}W/\mathrm{d}t|^2$", ax=axes[0])
    leading = slice(None), slice(N_VECTORS)
    plot_modes(ts, motion["value_velocity"][leading], label=r"$\mathrm{d}\sigma_\alpha/\mathrm{d}t$", ax=axes[1])
    speed = r"$|\mathrm{d}u_\alpha/\mathrm{d}t|$ (radians per unit of time)"
    plot_modes(ts, motion["left_speed"][leading], label=speed, ax=axes[2]).set_yscale("log")
    axes[2].get_legend().remove()  # the colors are those of the panel beside it
    for ax in axes:
        ax.set_xscale("log")
    return figure


@figure_style()
def temperature_figure(result: SpectrumResult) -> Figure:
    """Effective temperature, the inverse variance of the weights, along a training.

    What to see: it is constant until the leading modes stick out, and then falls: training cools the RBM. In units that
    do not depend on the size (right), a random RBM of ±1 units freezes at 1.

    Source: the talks of Decelle, Fissore and Furtlehner, T_eff = 1/Var(W).
    """
    figure, axes = _wide_figure(2)
    weights, later = result.training.rbms.weights, result.later
    labels = {False: r"effective temperature $1/\mathrm{Var}(W)$", True: r"$1/\sqrt{\sqrt{n_vn_h}\,\mathrm{Var}(W)}$"}
    for ax, (size_free, label) in zip(axes, labels.items(), strict=True):
        temperature = jax.vmap(lambda matrix, kind=size_free: effective_temperature(matrix, size_free=kind))(weights)
        plot_quantity({"training": (result.ts[later], np.asarray(temperature)[later])}, label=label, ax=ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
    return figure


@figure_style()
def mode_statistics_figure(result: SpectrumResult) -> Figure:
    """Kurtosis and inverse participation ratio of the components of the leading left singular vectors.

    What to see: the vectors start as random directions (line) and take the values of the data's axes as they turn to
    them. Later, when modes interact, some become local, with heavy tails.

    Source: the characterization of modes in the talks, and Decelle, Fissore and Furtlehner (2018).
    """
    figure, axes = _wide_figure(2)
    statistics = jax.vmap(mode_statistics)(result.modes.left[:, :, :N_VECTORS])
    n_visible = result.data_modes.shape[0]
    panels = {
        r"kurtosis of the components of $u_\alpha$": (statistics.kurtosis, 3 * n_visible / (n_visible + 2)),
        r"inverse participation ratio of $u_\alpha$": (statistics.inverse_participation_ratio, 3 / (n_visible + 2)),
    }
    for ax, (label, (values, random)) in zip(axes, panels.items(), strict=True):
        values = np.asarray(values)[result.later]
        references = {"random direction": random}
        plot_modes(result.ts[result.later], values, label=label, references=references, ax=ax).set_xscale("log")
    return figure


SPECTRUM_FIGURES: dict[str, Callable[[SpectrumResult], Figure]] = {
    "singular-values": singular_values_figure,
    "histograms": histograms_figure,
    "modes": modes_figure,
    "overlaps": overlaps_figure,
    "motion": motion_figure,
    "temperature": temperature_figure,
    "mode-statistics": mode_statistics_figure,
}
"""Names and functions of the pictures of a training."""


def draw_spectrum(result: SpectrumResult) -> dict[str, Figure]:
    """All pictures by name; that of the motion of W for trainings that have been watched."""
    return {
        name: draw(result) for name, draw in SPECTRUM_FIGURES.items() if name != "motion" or result.motion is not None
    }


def _wide_figure(n_columns: int, n_rows: int = 1) -> tuple[Figure, Any]:
    figure = new_figure(7, 2.5 * n_rows)
    return figure, figure.subplots(n_rows, n_columns)


def _named_times(result: SpectrumResult) -> list[tuple[int, str]]:
    observations = result.training.observations
    if not isinstance(observations, dict) or "epochs" not in observations:
        return [(len(result.ts) - 1, "W at the end")]
    epochs = np.asarray(observations["epochs"])
    named = [int(np.abs(epochs - epoch).argmin()) for epoch in NAMED_EPOCHS if epoch < epochs[-1]]
    return [(time, f"W, epoch {epochs[time]:{'.0f' if epochs[time] > 9.9 else '.1f'}}") for time in [*named, -1]]
