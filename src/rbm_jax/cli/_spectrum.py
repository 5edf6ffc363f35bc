"""`rbm-jax spectrum`: a training on the singular value decomposition of its weights, in pictures."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from rbm_jax._optional import require
from rbm_jax.checkpoint import atomic_write
from rbm_jax.cli._common import NHidden, Seed, load_source, load_training
from rbm_jax.cli._datasets import Dataset, Source, Threshold, UnitName, Units
from rbm_jax.cli._json import with_json
from rbm_jax.cli._likelihood import log_likelihood_along
from rbm_jax.cli._linear import draw_emergence, emergence
from rbm_jax.cli._training import NAMED_EPOCHS, Recipe, train_run
from rbm_jax.dynamics import data_statistics
from rbm_jax.plotting import plot_images, plot_modes, plot_quantity, plot_spectrum, plot_spectrum_histogram
from rbm_jax.spectral import (
    Modes,
    effective_temperature,
    marchenko_pastur_edges,
    mode_statistics,
    modes_along,
    split_bulk,
)
from rbm_jax.trajectory import Trajectory

__all__ = ["SpectrumReport", "spectrum", "spectrum_figures", "spectrum_report", "write_figures"]

N_HISTOGRAMS = 4
N_VECTORS = 5
"""Leading modes whose vectors are described; the others have none to speak of."""

Figure = Any


@with_json
def spectrum(
    run: Annotated[Path | None, typer.Argument(help="Folder that rbm-jax train wrote.")] = None,
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
    """Singular values and vectors along a training, and how they move: eight pictures and a table.

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
    dataset = load_source(run).load().completed(jax.tree.map(lambda leaf: leaf[-1], training.rbms))
    report = spectrum_report(training, dataset)
    numbers = _numbers(report)
    _print_table(report, numbers, modes)
    folder = run / "spectrum" if out is None else out
    files = []
    for path in write_figures(folder, spectrum_figures(report, modes)):
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
    """

    dataset: Dataset
    training: Trajectory
    modes: Modes
    data_modes: np.ndarray
    noise: float
    ratio: float
    likelihood: np.ndarray
    likelihood_label: str

    @property
    def ts(self) -> np.ndarray:
        """Times."""
        return np.asarray(self.training.ts)

    @property
    def later(self) -> np.ndarray:
        """False at the start, which has no place on a logarithmic axis."""
        return self.ts > 0

    def overlaps(self, n_modes: int) -> np.ndarray:
        """|u_α · data mode α| at each time."""
        left = np.asarray(self.modes.left)[:, :, :n_modes]
        return np.abs(np.einsum("tia,ia->ta", left, self.data_modes[:, :n_modes]))


def spectrum_report(training: Trajectory, dataset: Dataset) -> SpectrumReport:
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
    )


def spectrum_figures(report: SpectrumReport, n_modes: int) -> Iterator[tuple[str, Figure]]:
    """The pictures of a training, one by one, with their names."""
    yield "singular-values", _singular_values(report, n_modes)
    yield "histograms", _histograms(report)
    yield "modes", _mode_images(report, n_modes)
    yield "overlaps", _overlaps(report)
    if isinstance(report.training.observations, dict) and "values_share" in report.training.observations:
        yield "motion", _motion(report)
    yield "temperature", _temperature(report)
    yield "linear-theory", _linear_theory()
    yield "mode-statistics", _statistics(report)


def write_figures(folder: Path, figures: Iterator[tuple[str, Figure]]) -> Iterator[Path]:
    """Write each figure as a PNG file into the folder, made if need be, and yield its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures:
        path = folder / f"{name}.png"
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=160, format="png")
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


def _print_table(report: SpectrumReport, numbers: dict[str, Any], n_modes: int) -> None:
    values = numbers["singular_values"]
    shown = np.unique(np.linspace(0, len(values) - 1, 8).astype(int))
    typer.echo(f"       t   T_eff  log-likelihood ({report.likelihood_label})  outliers  singular values")
    for time in shown:
        leading = " ".join(f"{value:8.4f}" for value in values[time, :n_modes])
        typer.echo(
            f"{report.ts[time]:8.3g} {numbers['effective_temperature'][time]:7.3g} {report.likelihood[time]:29.3f} "
            f"{numbers['n_outliers'][time]:9d}  {leading}"
        )


def _figure(n_columns: int = 1) -> tuple[Figure, Any]:
    figure = require("matplotlib.figure").Figure(figsize=(5 * n_columns, 3.7), layout="constrained")
    return figure, figure.subplots(1, n_columns)


def _singular_values(report: SpectrumReport, n_modes: int) -> Figure:
    figure, axes = _figure(2)
    later, values = report.later, np.asarray(report.modes.values)
    edge = float(marchenko_pastur_edges(report.noise, ratio=report.ratio)[1])
    plot_spectrum(report.ts[later], values[later], n_modes=n_modes, edge=edge, ax=axes[0])
    label = f"log-likelihood per sample (nats, {report.likelihood_label})"
    plot_quantity({"training": (report.ts[later], report.likelihood[later])}, label=label, ax=axes[1])
    for ax in axes:
        ax.set_xscale("log")
    return figure


def _histograms(report: SpectrumReport) -> Figure:
    figure, axes = _figure(N_HISTOGRAMS)
    values = np.asarray(report.modes.values)
    # From the start to the end of the growth of the leading value, evenly in its logarithm.
    levels = np.geomspace(values[0, 0], values[:, 0].max(), N_HISTOGRAMS)
    times = [int(np.argmax(values[:, 0] >= level * (1 - 1e-6))) for level in levels]
    for ax, time in zip(axes, times, strict=True):
        bulk = split_bulk(report.training.rbms.weights[time])
        plot_spectrum_histogram(bulk.values, bulk.is_outlier, float(bulk.noise), report.ratio, ax=ax)
        ax.set_title(rf"$t={report.ts[time]:.3g}$, bulk $\sigma={float(bulk.noise):.3g}$", fontsize="medium")
    return figure


def _mode_images(report: SpectrumReport, n_modes: int) -> Figure:
    """Principal axes of the data, and left singular vectors after the named numbers of epochs and at the end."""
    figure = require("matplotlib.figure").Figure(figsize=(10, 4.2), layout="constrained")
    n_modes = min(n_modes, report.modes.values.shape[1])
    axes = report.data_modes[:, :n_modes]
    rows, labels = [axes.T], ["data"]
    for time, label in _named_times(report):
        left = np.asarray(report.modes.left)[time, :, :n_modes]
        sign = np.where((left * axes).sum(0) < 0, -1, 1)
        rows.append((left * sign).T)
        labels.append(label)
    shape = report.dataset.image_shape or (1, len(axes))
    images = np.concatenate(rows)
    plot_images(images, shape, n_columns=n_modes, row_labels=labels, diverging=True, ax=figure.add_subplot())
    return figure


def _named_times(report: SpectrumReport) -> list[tuple[int, str]]:
    observations = report.training.observations
    if not isinstance(observations, dict) or "epochs" not in observations:
        return [(len(report.ts) - 1, "W at the end")]
    epochs = np.asarray(observations["epochs"])
    named = [int(np.abs(epochs - epoch).argmin()) for epoch in NAMED_EPOCHS if epoch < epochs[-1]]
    return [(time, f"W, epoch {epochs[time]:{'.0f' if epochs[time] > 9.9 else '.1f'}}") for time in [*named, -1]]


def _overlaps(report: SpectrumReport) -> Figure:
    figure, ax = _figure()
    label = r"$|u_\alpha\cdot$ principal axis $\alpha$ of the data$|$"
    overlaps = report.overlaps(min(N_VECTORS, report.modes.values.shape[1]))
    plot_modes(report.ts[report.later], overlaps[report.later], label=label, ax=ax).set_xscale("log")
    return figure


def _motion(report: SpectrumReport) -> Figure:
    figure, axes = _figure(3)
    ts, later = report.ts[report.later], report.later
    motion = {name: np.asarray(value)[later] for name, value in report.training.observations.items()}
    shares = {"values": "values_share", "rotations in the spans": "rotation_share", "outside": "outside_share"}
    points = {name: (ts, motion[key]) for name, key in shares.items()}
    plot_quantity(points, label=r"share of $|\mathrm{d}W/\mathrm{d}t|^2$", ax=axes[0])
    leading = slice(None), slice(N_VECTORS)
    plot_modes(ts, motion["value_velocity"][leading], label=r"$\mathrm{d}\sigma_\alpha/\mathrm{d}t$", ax=axes[1])
    speed = r"$|\mathrm{d}u_\alpha/\mathrm{d}t|$ (radians per unit of time)"
    plot_modes(ts, motion["left_speed"][leading], label=speed, ax=axes[2]).set_yscale("log")
    for ax in axes:
        ax.set_xscale("log")
    return figure


def _temperature(report: SpectrumReport) -> Figure:
    figure, axes = _figure(2)
    weights, later = report.training.rbms.weights, report.later
    labels = {False: r"effective temperature $1/\mathrm{Var}(W)$", True: r"$1/\sqrt{L\,\mathrm{Var}(W)}$"}
    for ax, (size_free, label) in zip(axes, labels.items(), strict=True):
        temperature = jax.vmap(lambda matrix, kind=size_free: effective_temperature(matrix, size_free=kind))(weights)
        plot_quantity({"training": (report.ts[later], np.asarray(temperature)[later])}, label=label, ax=ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
    return figure


def _linear_theory() -> Figure:
    figure, ax = _figure()
    draw_emergence(emergence(jax.random.key(0)), ax)
    return figure


def _statistics(report: SpectrumReport) -> Figure:
    figure, axes = _figure(2)
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
