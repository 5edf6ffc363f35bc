"""Figures of replica theory beside simulation."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax.cli._instances import gibbs_order, measure_phases, orthogonalize, sample_instances, tap_order
from rbm_jax.cli._phase_diagram import LAWS, LawName, map_phases, path_points, training_path
from rbm_jax.cli._projected import projected_training
from rbm_jax.model.trajectory import Trajectory
from rbm_jax.model.transforms import temper
from rbm_jax.plotting import figure_style, new_figure, plot_theory
from rbm_jax.replica import AbstractDistribution, Clusters, Control, compositional_threshold, solve_saddle
from rbm_jax.replica.learning import integrate_thermodynamic, thermodynamic_force
from rbm_jax.spectral import Modes

__all__ = [
    "deterministic_trajectory_figure",
    "mode_competition_figure",
    "order_parameters_figure",
    "phase_diagram_figure",
    "training_path_figure",
]

Figure = Any
_GAUSSIAN, _BERNOULLI, _LAPLACE = (LAWS[name] for name in (LawName.GAUSSIAN, LawName.BERNOULLI, LawName.LAPLACE))
_M, _Q, _TIME = r"magnetization $m$", r"overlap $q$", r"time $\tau=\sqrt{n_vn_h}\,t$"


@figure_style()
def training_path_figure(training: Trajectory, n_shades: int = 60) -> Figure:
    """The path of a training, of an RBM of ±1 units, through the phase diagram.

    What to see: weights are noise at the start, and the RBM a paramagnet. The first mode that sticks out grows until
    it takes the RBM into the ferromagnet. The noise that is left falls as further modes leave it, and rises in the end.

    Source: Decelle, Fissore and Furtlehner (2018), who draw such a path.
    """
    n_visible, n_hidden = training.rbms.weights.shape[1:]
    path = path_points(training_path(training, _GAUSSIAN))
    figure = new_figure(3.6, 3.2)
    phases = map_phases(LawName.GAUSSIAN, ratio=n_hidden / n_visible, n_points=n_shades, path=path)
    phases.draw(figure.add_subplot(), path=path)
    return figure


@figure_style()
def phase_diagram_figure(key, n_points: int = 12, n_shades: int = 120) -> Figure:
    """Phases of RBMs whose weights are a planted mode of strength w and noise σ: replica theory, and Monte Carlo.

    What to see: the colors of the points, which are measured on RBMs of 200×200 units, change where the lines of the
    theory are. The magnetization along the mode (left) is that of a ferromagnet; the overlap of two replicas (right)
    tells the spin glass from the paramagnet.

    Source: the phase diagram of Decelle, Fissore and Furtlehner (2018), and of the talks.
    """
    temperature, bias = np.linspace(0.1, 1.55, n_points), np.linspace(0.1, 1.95, n_points)
    x, y = (axis.ravel() for axis in np.meshgrid(temperature, bias))
    values = measure_phases(key, 1 / x, y / x)
    phases = map_phases(LawName.GAUSSIAN, n_points=n_shades)
    figure = new_figure(7, 3)
    for ax, value, name in zip(figure.subplots(1, 2), values, (_M, _Q), strict=True):
        phases.draw(ax, points=np.stack([x, y, value], 1), points_label=f"{name} by Monte Carlo")
    return figure


@figure_style()
def order_parameters_figure(key, n_instances: int = 16, n_points: int = 8) -> Figure:
    """Magnetizations and overlaps of both layers against temperature, at a fixed ratio of mode and noise.

    What to see: the points, fixed points of the TAP equations (left) and Gibbs sampling (right) of RBMs of 400×200
    units, follow the lines of replica theory. RBMs of finite size round the transition: where there should be no
    magnetization, Gibbs sampling finds one of the order of 1/√N.

    Source: ours; the equations are those of Decelle, Fissore and Furtlehner (2018).
    """
    bias, n_visible, n_hidden = 1.5, 400, 200
    fine, coarse = np.linspace(0.4, 2.0, 20 * n_points), np.linspace(0.6, 2.0, n_points)

    def solve(temperature):
        control = Control(bias / temperature[None], noise=1 / temperature, ratio=n_hidden / n_visible)
        return solve_saddle(control)

    theory = _curves(fine, jax.jit(jax.vmap(solve))(jnp.asarray(fine)))
    rbms, modes = sample_instances(key, n_instances, n_visible, n_hidden, [bias], 1.0)
    keys = jax.random.split(key, n_instances)

    @jax.jit
    def measure(temperature):
        cold = jax.vmap(lambda rbm: temper(rbm, 1 / temperature))(rbms)
        by_tap = jax.vmap(lambda rbm, mode: tap_order(rbm, mode)[0])(cold, modes)
        return by_tap, jax.lax.map(lambda each: gibbs_order(*each), (keys, cold, modes))

    orders = [measure(temperature) for temperature in jnp.asarray(coarse)]
    figure = new_figure(7, 2.8)
    for ax, index, name in zip(figure.subplots(1, 2, sharey=True), (0, 1), ("TAP", "Gibbs sampling"), strict=True):
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[each[index] for each in orders])
        points = _curves(coarse, stacked, error=True)
        plot_theory(
            theory, points, x_label=r"temperature $1/\sigma$ at $w=1.5\,\sigma$", label="order parameter", ax=ax
        )
        ax.set_title(f"{name}, {n_visible}×{n_hidden} units, {n_instances} RBMs")
    return figure


def _curves(x, order, *, error: bool = False) -> dict[str, tuple]:
    """Order parameters by name; with means and standard errors over the second axis, if there are several RBMs."""
    curves = {}
    for letter, layer in itertools.product("mq", ("visible", "hidden")):
        values = np.asarray(getattr(order, f"{letter}_{layer}"))
        values = values[..., 0] if letter == "m" else values
        spread = (values.std(1, ddof=1) / np.sqrt(values.shape[1]),) if error else ()
        curves[f"${letter}$, {layer}"] = (x, values.mean(1) if error else values, *spread)
    return curves


@figure_style()
def mode_competition_figure(key, n_units: int = 1000, n_instances: int = 8, n_points: int = 10) -> Figure:
    """What becomes of a condensed mode beside another one of growing strength, for three laws of the components.

    What to see: with heavy tails (Laplace) a second mode condenses beside the first one even if it is weaker, and both
    live together: a compositional phase. With Gaussian components they tie at equal strength, and with Bernoulli ones
    the first mode keeps the other down until that is far stronger. Points are TAP fixed points of RBMs of 1000×1000
    units, lines replica theory, and the dotted one the threshold r_c, from which on the second mode condenses.

    Source: Decelle, Fissore and Furtlehner (2018), on the ferromagnetic phase.
    """
    strength, noise = 1.5, 0.3
    laws = {"Laplace, kurtosis 6": _LAPLACE, "Gaussian, 3": _GAUSSIAN, "Bernoulli, 1": _BERNOULLI}
    figure = new_figure(7, 2.6)
    axes = figure.subplots(1, 3, sharey=True)
    for ax, (name, law), last in zip(axes, laws.items(), (1.4, 1.4, 2.8), strict=True):
        alone = solve_saddle(Control(np.array([strength]), noise=noise), component_distribution=law)
        threshold = float(compositional_threshold(alone, strength))
        ratios = np.linspace(0.5, last, n_points)
        theory, points = _competition(key, law, (strength, noise), threshold, ratios, (n_units, n_instances))
        plot_theory(theory, points, x_label="$w_2/w_1$", label=r"magnetizations $m_1$, $m_2$", ax=ax)
        ax.axvline(threshold, color="0.6", linestyle=":", linewidth=1)
        ax.set_title(f"{name}: $r_c={threshold:.3f}$")
    return figure


def _competition(
    key, law: AbstractDistribution, control: tuple[float, float], threshold: float, ratios, sizes: tuple[int, int]
):
    """Magnetizations where the first mode condenses first: by theory, and by TAP on RBMs with orthogonal modes."""
    (strength, noise), (n_units, n_instances) = control, sizes
    random, modes = sample_instances(key, n_instances, n_units, n_units, [0.0, 0.0], noise, law=law)
    left, right = (jax.vmap(orthogonalize)(each) / n_units**0.5 for each in (modes.left, modes.right))

    def solve(ratio):
        start = jnp.where(ratio < threshold, jnp.array([0.8, 0.0]), jnp.array([0.2, 0.8]))
        control = Control(strength * jnp.stack([jnp.ones_like(ratio), ratio]), noise=noise)
        return solve_saddle(control, component_distribution=law, m_init=start).m_visible

    def measure(ratio, rbm, left, right):
        modes = Modes(left, strength * jnp.stack([jnp.ones_like(ratio), ratio]), right)
        rbm = dataclasses.replace(rbm, weights=rbm.weights + (left * modes.values) @ right.T)
        return abs(tap_order(rbm, modes)[0].m_visible)

    fine = np.linspace(ratios[0], ratios[-1], 6 * len(ratios))
    lines = np.asarray(jax.jit(lambda each: jax.lax.map(solve, each))(jnp.asarray(fine)))
    together = jax.jit(jax.vmap(measure, in_axes=(None, 0, 0, 0)))
    found = np.stack([np.asarray(together(ratio, random, left, right)) for ratio in jnp.asarray(ratios)])
    mean, error = found.mean(1), found.std(1, ddof=1) / np.sqrt(n_instances)
    names = ("$m_1$", "$m_2$")
    theory = {name: (fine, abs(lines[:, index])) for index, name in enumerate(names)}
    points = {name: (ratios, mean[:, index], error[:, index]) for index, name in enumerate(names)}
    return theory, points


@figure_style()
def deterministic_trajectory_figure(key, n_visible: int = 300, n_runs: int = 4) -> Figure:
    """The trajectory of learning in the limit of many units, and PCD on RBMs of 300×300 units.

    What to see: singular values (top) and second moments of the model's magnetizations (bottom) follow one
    deterministic curve, on their way to the moments of the data (dotted). Points are means and deviations of PCD that
    moves the planted modes only.

    Source: the non-linear dynamics, theory and simulation, of Decelle, Fissore and Furtlehner (2018) and the talks.
    """
    pair, four = np.array([[1.0], [-1.0]]), np.array([[1.2, 0], [-1.2, 0], [0, 0.9], [0, -0.9]])
    cases = {
        "one mode, Gaussian components": (pair, np.array([[0.3]]), _GAUSSIAN),
        "one mode, Bernoulli components": (pair, np.array([[0.3]]), _BERNOULLI),
        "two modes, Gaussian components": (four, np.array([[0.3, 0.05], [-0.02, 0.3]]), _GAUSSIAN),
    }
    figure = new_figure(7, 4.2)
    axes = figure.subplots(2, 3, sharex=True, sharey="row")
    for column, (name, (fields, matrix, law)) in zip(axes.T, cases.items(), strict=True):
        clusters = Clusters(jnp.asarray(fields))
        options = {"n_visible": n_visible, "n_samples": 1000, "n_chains": 200, "n_sweeps": 5, "n_runs": n_runs}
        runs = projected_training(key, clusters, matrix, law, **options)
        force = thermodynamic_force(clusters, n_visible=n_visible, component_distribution=law)
        path = integrate_thermodynamic(force, jnp.asarray(matrix), jnp.linspace(0, runs.ts[-1], 81))
        top = ("$w_{}$", "singular values of $B$", path.singular_values, runs.singular_values)
        moments = (np.diagonal(each, axis1=-2, axis2=-1) for each in (path.moments.model_visible, runs.chain_moments))
        bottom = (r"$\langle m_{}^2\rangle$", "moments of the model", *moments)
        for value in np.diagonal(path.moments.data_visible[-1]):
            column[1].axhline(float(value), color="0.6", linestyle=":", linewidth=1)
        for ax, (label, axis, theory, found) in zip(column, (top, bottom), strict=True):
            # The chains start from the data.
            ts, mean, spread = runs.ts[1:], found.mean(0)[1:], found.std(0, ddof=1)[1:]
            names = [label.replace("{}", f"{index + 1}") for index in range(len(matrix))]
            lines = {each: (path.ts, theory[:, index]) for index, each in enumerate(names)}
            points = {each: (ts, mean[:, index], spread[:, index]) for index, each in enumerate(names)}
            plot_theory(lines, points, x_label=_TIME, label=axis, ax=ax)
            ax.label_outer()
        column[0].set_title(name)
    return figure
