"""`rbm-jax spectrum`: a training on the singular value decomposition of its weights, in pictures."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax.cli._common import NHidden, Seed, load_source, load_training, write_figure
from rbm_jax.cli._datasets import Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.cli._likelihood import log_likelihood_along
from rbm_jax.cli._training import NAMED_EPOCHS, Recipe, train_run
from rbm_jax.dynamics import data_statistics
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.plotting import (
    figure_style,
    new_figure,
    plot_images,
    plot_modes,
    plot_quantity,
    plot_spectrum,
    plot_spectrum_histogram,
)
from rbm_jax.spectral import (
    Modes,
    effective_temperature,
    marchenko_pastur_edges,
    mode_statistics,
    modes_along,
    split_bulk,
)

__all__ = [
    "SPECTRUM_FIGURES",
    "SpectrumReport",
    "histograms_figure",
    "mode_statistics_figure",
    "modes_figure",
    "motion_figure",
    "overlaps_figure",
    "singular_values_figure",
    "spectrum",
    "spectrum_report",
    "temperature_figure",
]

N_HISTOGRAMS = 4
N_VECTORS = 5
"""Leading modes whose vectors are described; the others have none to speak of."""

Figure = Any


@with_json
def spectrum(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Folder that rbm-jax train wrote.")] = None,
    data: Annotated[str | None, typer.Option(help="Train on these data instead (see train).")] = None,
    n_hidden: NHidden = Recipe.n_hidden,
    n_updates: Annotated[int, typer.Option(min=1, help="Updates, with --data.")] = Recipe.n_updates,
    units: Units = UnitName.BERNOULLI,
    threshold: Threshold = 0.5,
    seed: Seed = 0,
    modes: Annotated[int, typer.Option(min=1, help="Leading modes to color and print.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pictures [default: spectrum in the run], or of run and pictures.")
    ] = None,
) -> dict[str, Any]:
    """Singular values and vectors along a training, and how they move: seven pictures and a table.

    Of a run that train wrote, or, with --data, of a training done on the spot and kept in the folder --out.

    Example: rbm-jax spectrum run --modes 10
    """
    if (run is None) == (data is None):
        raise ValueError("give either the folder of a run, or --data to train on")
    if data is not None:
        run = Path("run") if out is None else out
        recipe = Recipe(n_hidden=n_hidden, n_updates=n_updates, seed=seed)
        train_run(run, Source(data, units, threshold), recipe)
        out = None
    assert run is not None
    training = load_training(run)
    dataset = load_source(run).load()
    report = spectrum_report(training, dataset.completed(jax.tree.map(lambda leaf: leaf[-1], training.rbms)), modes)
    if dataset.is_lossy:
        report = dataclasses.replace(report, likelihood_label=f"{report.likelihood_label}, of completed data")
    numbers = _numbers(report)
    _print_table(report, numbers)
    folder, files = run / "spectrum" if out is None else out, []
    for path in _write_figures(folder, report):
        typer.echo(f"wrote {path}")
        files.append(path)
    return numbers | {"files": files}


@dataclasses.dataclass(frozen=True)
class SpectrumReport:
    """What the pictures are drawn from; times run along the first axis.

    Attributes:
        dataset: the data.
        training: the trajectory.
        modes: of W, at each time, by decreasing singular value.
        data_modes: principal axes of the data in the columns, by decreasing variance.
        noise: σ of the weights at the start.
        ratio: κ = n_hidden / n_visible.
        likelihood: log-likelihood per sample, in nats.
        likelihood_label: how it was found.
        n_modes: leading modes to color and show.
    """

    dataset: Dataset
    training: Trajectory
    modes: Modes
    data_modes: np.ndarray
    noise: float
    ratio: float
    likelihood: np.ndarray
    likelihood_label: str
    n_modes: int

    @property
    def ts(self) -> np.ndarray:
        """Times."""
        return np.asarray(self.training.ts)

    @property
    def motion(self) -> dict[str, Any] | None:
        """How W moves, if the training has been watched: fields of `dynamics.ModeMotion`."""
        observations = self.training.observations
        if not isinstance(observations, dict):
            return None
        # Runs of 0.1.0 have these records under "values_share" and so on.
        motion = {name.replace("_share", "_fraction"): record for name, record in observations.items()}
        return motion if "values_fraction" in motion else None

    @property
    def later(self) -> np.ndarray:
        """False at the start, which has no place on a logarithmic axis."""
        return self.ts > 0

    def overlaps(self, n_modes: int) -> np.ndarray:
        """|u_α · data mode α| at each time."""
        left = np.asarray(self.modes.left)[:, :, :n_modes]
        return np.abs(np.einsum("tia,ia->ta", left, self.data_modes[:, :n_modes]))


def spectrum_report(training: Trajectory, dataset: Dataset, n_modes: int = 10) -> SpectrumReport:
    """Decompose the weights along a training.

    Raises:
        ValueError: data and training of different widths.
    """
    n_visible, n_hidden = training.rbms.weights.shape[1:]
    if dataset.samples.shape[1] != n_visible:
        raise ValueError(f"the data have {dataset.samples.shape[1]} pixels, the RBM of the run {n_visible}")
    covariance = np.asarray(data_statistics(dataset.samples, dataset.weights).covariance)
    likelihood, label = log_likelihood_along(training, dataset)
    start = training.rbms.weights[0]
    return SpectrumReport(
        dataset=dataset,
        training=training,
        modes=modes_along(training),
        data_modes=np.linalg.eigh(covariance)[1][:, ::-1],
        noise=float(jnp.std(start)) * math.sqrt(math.sqrt(start.size)),
        ratio=n_hidden / n_visible,
        likelihood=likelihood,
        likelihood_label=label,
        n_modes=n_modes,
    )


def _write_figures(folder: Path, report: SpectrumReport) -> Iterator[Path]:
    """Write the pictures of a training into the folder, made if need be, and yield the path of each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in SPECTRUM_FIGURES.items():
        if name != "motion" or report.motion is not None:
            path = folder / f"{name}.png"
            write_figure(path, draw(report))
            yield path


def _numbers(report: SpectrumReport) -> dict[str, Any]:
    """What the table shows, at all times."""
    weights = report.training.rbms.weights
    return {
        "ts": report.ts,
        "effective_temperature": np.asarray(jax.vmap(effective_temperature)(weights)),
        "log_likelihood": report.likelihood,
        "log_likelihood_by": report.likelihood_label,
        "n_outliers": np.asarray(jax.jit(jax.vmap(split_bulk))(weights).is_outlier).sum(axis=1),
        "singular_values": np.asarray(report.modes.values),
    }


def _print_table(report: SpectrumReport, numbers: dict[str, Any]) -> None:
    values = numbers["singular_values"]
    shown = np.unique(np.linspace(0, len(values) - 1, 8).astype(int))
    typer.echo(f"       t   T_eff  log-likelihood ({report.likelihood_label})  outliers  singular values")
    for time in shown:
        leading = " ".join(f"{value:8.4f}" for value in values[time, : report.n_modes])
        typer.echo(
            f"{report.ts[time]:8.3g} {numbers['effective_temperature'][time]:7.3g} {report.likelihood[time]:29.3f} "
            f"{numbers['n_outliers'][time]:9d}  {leading}"
        )


@figure_style()
def singular_values_figure(report: SpectrumReport) -> Figure:
    """Singular values of the weights along a training, and the log-likelihood.

    What to see: modes leave the bulk of the random start, whose edge is the line, one after the other, those along
    which the data vary most first; the likelihood rises with them.

    Source: Decelle, Fissore and Furtlehner (2017, 2018), who show both for MNIST.
    """
    figure, (left, right) = _wide_figure(2)
    later, values = report.later, np.asarray(report.modes.values)
    edge = float(marchenko_pastur_edges(report.noise, ratio=report.ratio)[1])
    plot_spectrum(report.ts[later], values[later], n_modes=report.n_modes, edge=edge, ax=left)
    points = {report.likelihood_label: (report.ts[later], report.likelihood[later])}
    plot_quantity(points, label="log-likelihood per sample (nats)", ax=right)
    for ax in (left, right):
        ax.set_xscale("log")
    return figure


@figure_style()
def histograms_figure(report: SpectrumReport) -> Figure:
    """Histograms of the singular values of the weights, from the random start to the end of a training.

    What to see: at the start all values are under the Marchenko-Pastur density of random weights. What is learned
    stands to its right as outliers, until there is hardly a bulk left.

    Source: Decelle, Fissore and Furtlehner (2017); the density is that of Marchenko and Pastur (1967).
    """
    figure, axes = _wide_figure(2, n_rows=2)
    values = np.asarray(report.modes.values)
    # From the start to the end of the growth of the leading value, evenly in its logarithm.
    levels = np.geomspace(values[0, 0], values[:, 0].max(), N_HISTOGRAMS)
    times = [int(np.argmax(values[:, 0] >= level * (1 - 1e-6))) for level in levels]
    for ax, time in zip(axes.flat, times, strict=True):
        bulk = split_bulk(report.training.rbms.weights[time])
        plot_spectrum_histogram(bulk, ax=ax)
        ax.set_title(rf"$t={report.ts[time]:.3g}$, bulk $\sigma={float(bulk.ensemble_noise):.3g}$")
    return figure


@figure_style()
def modes_figure(report: SpectrumReport) -> Figure:
    """Principal axes of the data, and left singular vectors of W after 1, 10 and 100 epochs and at the end.

    What to see: each vector turns from a random direction into the axis of the data, the leading ones first: after the
    first epochs of MNIST's 60,000 images, and about a hundred of the digits' 1797. Later they mix. Signs are aligned
    with the data's.

    Source: the figures of the modes of MNIST in Decelle, Fissore and Furtlehner (2017, 2018).
    """
    n_modes = min(report.n_modes, report.modes.values.shape[1])
    axes = report.data_modes[:, :n_modes]
    rows, labels = [axes.T], ["data"]
    for time, label in _named_times(report):
        left = np.asarray(report.modes.left)[time, :, :n_modes]
        sign = np.where((left * axes).sum(0) < 0, -1, 1)
        rows.append((left * sign).T)
        labels.append(label)
    shape = report.dataset.image_shape or (1, len(axes))
    images = np.concatenate(rows)
    figure = new_figure(7, 0.1 + len(rows) * 5.9 / n_modes)
    plot_images(images, shape, n_columns=n_modes, row_labels=labels, diverging=True, ax=figure.add_subplot())
    return figure


@figure_style()
def overlaps_figure(report: SpectrumReport) -> Figure:
    """Overlaps of the left singular vectors of W with the principal axes of the data of the same rank.

    What to see: random at the start, the leading vectors turn onto the data's axes before their singular values are
    large, and leave them when the dynamics is no longer linear.

    Source: Decelle, Fissore and Furtlehner (2018), on the early alignment of modes.
    """
    figure = new_figure()
    label = r"$|u_\alpha\cdot$ principal axis $\alpha$ of the data$|$"
    overlaps = report.overlaps(min(N_VECTORS, report.modes.values.shape[1]))
    ax = plot_modes(report.ts[report.later], overlaps[report.later], label=label, ax=figure.add_subplot())
    ax.set_xscale("log")
    return figure


@figure_style()
def motion_figure(report: SpectrumReport) -> Figure:
    """How much of the motion of W changes its singular values, and how much rotates its singular vectors.

    What to see: at first the bases turn towards the data; then singular values grow, one after the other, along bases
    that hardly move; in the end rotations take over again, as modes interact.

    Source: ours; the split into singular values and rotations Ω is that of Decelle, Fissore and Furtlehner (2017).
    """
    assert report.motion is not None
    figure = new_figure(7, 2.5)
    axes = figure.subplots(1, 3)
    ts, later = report.ts[report.later], report.later
    motion = {name: np.asarray(value)[later] for name, value in report.motion.items()}
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
def temperature_figure(report: SpectrumReport) -> Figure:
    """Effective temperature, the inverse variance of the weights, along a training.

    What to see: it is constant until the leading modes stick out, and then falls: training cools the RBM. In units that
    do not depend on the size (right), a random RBM of ±1 units freezes at 1.

    Source: the talks of Decelle, Fissore and Furtlehner, T_eff = 1/Var(W).
    """
    figure, axes = _wide_figure(2)
    weights, later = report.training.rbms.weights, report.later
    labels = {False: r"effective temperature $1/\mathrm{Var}(W)$", True: r"$1/\sqrt{\sqrt{n_vn_h}\,\mathrm{Var}(W)}$"}
    for ax, (size_free, label) in zip(axes, labels.items(), strict=True):
        temperature = jax.vmap(lambda matrix, kind=size_free: effective_temperature(matrix, size_free=kind))(weights)
        plot_quantity({"training": (report.ts[later], np.asarray(temperature)[later])}, label=label, ax=ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
    return figure


@figure_style()
def mode_statistics_figure(report: SpectrumReport) -> Figure:
    """Kurtosis and inverse participation ratio of the components of the leading left singular vectors.

    What to see: the vectors start as random directions (line) and take the values of the data's axes as they turn to
    them. Later, when modes interact, some become local, with heavy tails.

    Source: the characterization of modes in the talks, and Decelle, Fissore and Furtlehner (2018).
    """
    figure, axes = _wide_figure(2)
    statistics = jax.vmap(mode_statistics)(report.modes.left[:, :, :N_VECTORS])
    n_visible = report.data_modes.shape[0]
    panels = {
        r"kurtosis of the components of $u_\alpha$": (statistics.kurtosis, 3 * n_visible / (n_visible + 2)),
        r"inverse participation ratio of $u_\alpha$": (statistics.inverse_participation_ratio, 3 / (n_visible + 2)),
    }
    for ax, (label, (values, random)) in zip(axes, panels.items(), strict=True):
        values = np.asarray(values)[report.later]
        references = {"random direction": random}
        plot_modes(report.ts[report.later], values, label=label, references=references, ax=ax).set_xscale("log")
    return figure


SPECTRUM_FIGURES: dict[str, Callable[[SpectrumReport], Figure]] = {
    "singular-values": singular_values_figure,
    "histograms": histograms_figure,
    "modes": modes_figure,
    "overlaps": overlaps_figure,
    "motion": motion_figure,
    "temperature": temperature_figure,
    "mode-statistics": mode_statistics_figure,
}
"""Names and functions of the pictures of a training."""


def _wide_figure(n_columns: int, n_rows: int = 1) -> tuple[Figure, Any]:
    figure = new_figure(7, 2.5 * n_rows)
    return figure, figure.subplots(n_rows, n_columns)


def _named_times(report: SpectrumReport) -> list[tuple[int, str]]:
    observations = report.training.observations
    if not isinstance(observations, dict) or "epochs" not in observations:
        return [(len(report.ts) - 1, "W at the end")]
    epochs = np.asarray(observations["epochs"])
    named = [int(np.abs(epochs - epoch).argmin()) for epoch in NAMED_EPOCHS if epoch < epochs[-1]]
    return [(time, f"W, epoch {epochs[time]:{'.0f' if epochs[time] > 9.9 else '.1f'}}") for time in [*named, -1]]
