"""Order parameters of both layers against temperature: replica theory, TAP and Gibbs sampling."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rbm_jax._internal.checks import check_count, check_positive
from rbm_jax.experiments.instances import InstanceOrder, gibbs_order, sample_instances, tap_order
from rbm_jax.model.transforms import temper
from rbm_jax.plotting import figure_style, new_figure, plot_theory
from rbm_jax.replica import Control, OrderParameters, solve_saddle

__all__ = ["OrderResult", "OrderRecipe", "measure_order", "order_parameters_figure"]

Figure = Any
Curves = dict[str, np.ndarray]

_LABELS = {
    "m_visible": "$m$, visible",
    "m_hidden": "$m$, hidden",
    "q_visible": "$q$, visible",
    "q_hidden": "$q$, hidden",
}


@dataclasses.dataclass(frozen=True)
class OrderRecipe:
    """Which RBMs to measure, and at how many temperatures.

    Attributes:
        bias: w/σ, strength of the planted mode over that of the noise.
        n_visible: visible units.
        n_hidden: hidden units.
        n_instances: RBMs drawn, at least 2.
        n_points: temperatures.
        seed: of all random numbers.

    Raises:
        ValueError, TypeError: a value that cannot be, by its name.
    """

    bias: float = 1.5
    n_visible: int = 400
    n_hidden: int = 200
    n_instances: int = 16
    n_points: int = 8
    seed: int = 0

    def __post_init__(self):
        check_positive("bias", self.bias)
        for name in ("n_visible", "n_hidden", "n_points"):
            check_count(name, getattr(self, name))
        check_count("n_instances", self.n_instances, minimum=2)  # whose spread is the error


@dataclasses.dataclass(frozen=True)
class OrderResult:
    """Order parameters by name: magnetizations m_visible and m_hidden along the mode, overlaps q_visible and q_hidden.

    Attributes:
        bias: w/σ.
        n_visible: visible units of the RBMs.
        n_hidden: hidden units of the RBMs.
        temperature: 1/σ of the measurements, shape (n_points,).
        tap: each order parameter at the TAP fixed points, shape (n_points, n_instances).
        gibbs: each order parameter by Gibbs sampling, shape (n_points, n_instances).
        theory_temperature: 1/σ of the theory, shape (n_theory,).
        theory: each order parameter by replica theory, shape (n_theory,).
    """

    bias: float
    n_visible: int
    n_hidden: int
    temperature: np.ndarray
    tap: Curves
    gibbs: Curves
    theory_temperature: np.ndarray
    theory: Curves

    @property
    def n_instances(self) -> int:
        """Number of RBMs."""
        return self.tap["m_visible"].shape[1]

    @property
    def tap_mean(self) -> Curves:
        """Mean over the RBMs, shape (n_points,)."""
        return _means(self.tap)

    @property
    def tap_error(self) -> Curves:
        """Standard error of that mean, shape (n_points,)."""
        return _errors(self.tap)

    @property
    def gibbs_mean(self) -> Curves:
        """Mean over the RBMs, shape (n_points,)."""
        return _means(self.gibbs)

    @property
    def gibbs_error(self) -> Curves:
        """Standard error of that mean, shape (n_points,)."""
        return _errors(self.gibbs)


def measure_order(recipe: OrderRecipe = OrderRecipe()) -> OrderResult:
    """Order of RBMs with a planted mode and noise, and the same RBMs at all temperatures, beside replica theory."""
    key_rbms, key_gibbs = jax.random.split(jax.random.key(recipe.seed))
    bias, n_visible, n_hidden = recipe.bias, recipe.n_visible, recipe.n_hidden
    fine, coarse = np.linspace(0.4, 2.0, 20 * recipe.n_points), np.linspace(0.6, 2.0, recipe.n_points)

    def solve(temperature):
        control = Control(bias / temperature[None], noise=1 / temperature, ratio=n_hidden / n_visible)
        return solve_saddle(control)

    theory = jax.jit(jax.vmap(solve))(jnp.asarray(fine))
    rbms, modes = sample_instances(key_rbms, recipe.n_instances, n_visible, n_hidden, [bias], 1.0)

    @jax.jit
    def measure(keys, temperature):
        cold = jax.vmap(lambda rbm: temper(rbm, 1 / temperature))(rbms)
        by_tap = jax.vmap(lambda rbm, mode: tap_order(rbm, mode)[0])(cold, modes)
        return by_tap, jax.lax.map(lambda each: gibbs_order(*each), (keys, cold, modes))

    keys = jax.random.split(key_gibbs, (recipe.n_points, recipe.n_instances))
    orders = [measure(*each) for each in zip(keys, jnp.asarray(coarse), strict=True)]
    tap, gibbs = jax.tree.map(lambda *leaves: np.stack(leaves), *orders)
    return OrderResult(bias, n_visible, n_hidden, coarse, _by_name(tap), _by_name(gibbs), fine, _by_name(theory))


@figure_style()
def order_parameters_figure(result: OrderResult) -> Figure:
    """Magnetizations and overlaps of both layers against temperature, at a fixed ratio of mode and noise.

    What to see: the points, fixed points of the TAP equations (left) and Gibbs sampling (right) of RBMs of 400×200
    units, follow the lines of replica theory. RBMs of finite size round the transition: where there should be no
    magnetization, Gibbs sampling finds one of the order of 1/√N.

    Source: ours; the equations are those of Decelle, Fissore and Furtlehner (2018).
    """
    figure = new_figure(7, 2.8)
    theory = {_LABELS[name]: (result.theory_temperature, values) for name, values in result.theory.items()}
    measured = {"TAP": (result.tap_mean, result.tap_error), "Gibbs sampling": (result.gibbs_mean, result.gibbs_error)}
    x_label = rf"temperature $1/\sigma$ at $w={result.bias:g}\,\sigma$"
    for ax, (title, (mean, error)) in zip(figure.subplots(1, 2, sharey=True), measured.items(), strict=True):
        points = {_LABELS[name]: (result.temperature, mean[name], error[name]) for name in mean}
        plot_theory(theory, points, x_label=x_label, label="order parameter", ax=ax)
        ax.set_title(f"{title}, {result.n_visible}×{result.n_hidden} units, {result.n_instances} RBMs")
    return figure


def _by_name(order: OrderParameters | InstanceOrder) -> Curves:
    """Order parameters of the only mode."""
    values = {name: np.asarray(getattr(order, name)) for name in _LABELS}
    return {name: each[..., 0] if name.startswith("m_") else each for name, each in values.items()}


def _means(values: Curves) -> Curves:
    return {name: each.mean(1) for name, each in values.items()}


def _errors(values: Curves) -> Curves:
    return {name: each.std(1, ddof=1) / np.sqrt(each.shape[1]) for name, each in values.items()}
