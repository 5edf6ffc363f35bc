"""Tied RBMs in what trains and keeps RBMs: ensembles, trajectory tempering, checkpoints."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax import PCD, Batches, Bernoulli, Potts, Trainer, fit, fit_many
from rbm_jax.io import load_checkpoint, load_rbm, load_trajectory, save_checkpoint, save_rbm
from rbm_jax.symmetry import (
    TiedRBM,
    Translations,
    expand,
    fourier_growth_rates,
    generate_group,
    init_tied_rbm,
    power_spectrum,
    tie,
    translation,
)
from rbm_jax.training import PTT, FourierPCD, KeepsEquilibrium, Tied
from tests.helpers import assert_same

RING, REVERSAL = Translations((4,)), generate_group(np.arange(4)[::-1])
DATA = np.random.default_rng(0).integers(0, 2, (8, 4)).astype(np.uint8)
TRAINER = Trainer.euler(Tied(PCD()), 0.1)


@eqx.filter_jit
def start(key, tying=RING):
    return TRAINER.init(key, init_tied_rbm(key, tying, 2, scale=0.3), n_chains=3)


def test_many_tied_rbms_are_trained_as_each_alone():
    keys = jax.random.split(jax.random.key(0), 2)
    batches, options = Batches(DATA), {"n_updates": 2, "save_at": (0, 2)}
    end, together = fit_many(keys, TRAINER, jax.vmap(start)(keys), batches, n_at_once=2, **options)
    assert together.rbms.weights.shape == (2, 2, 4, 8)
    alone, trajectory = fit(keys[1], TRAINER, start(keys[1]), batches, **options)
    # the same draws; averages of numbers of order one are summed in another order
    np.testing.assert_allclose(end.rbm.filters[1], alone.rbm.filters, atol=1e-5)
    np.testing.assert_allclose(together.rbms.weights[1], trajectory.rbms.weights, atol=1e-5)


def test_trajectory_tempering_of_a_tied_rbm():
    tied = init_tied_rbm(jax.random.key(0), RING, 1)
    trainer = Trainer.euler(Tied(PTT(n_rungs=3)), 0.1, review=KeepsEquilibrium())
    state = trainer.init(jax.random.key(1), tied, n_chains=2)
    assert state.carry.ladder.weights.shape == (3, 4, 4)
    state, _ = fit(jax.random.key(2), trainer, state, DATA, n_updates=1)
    assert (state.rbm.visible_bias != tied.visible_bias).all()


@pytest.mark.parametrize("tying", [RING, Translations((2, 2), (2, 1), periodic=False), REVERSAL])
def test_checkpoints_know_the_tying(tying, tmp_path):
    key = jax.random.key(0)
    state = start(key, tying)
    path = save_checkpoint(tmp_path, state, key=key)
    assert_same(load_checkpoint(path, start(jax.random.key(1), tying)).state, state)
    assert_same(load_rbm(path)[0], expand(state.rbm))
    assert_same(load_trajectory(tmp_path).rbms, jax.tree.map(lambda leaf: leaf[None], expand(state.rbm)))
    # Of the same shapes, but not the same weights.
    other = dataclasses.replace(state.rbm, tying=_Other())
    with pytest.raises(ValueError, match="has the tying"):
        load_checkpoint(path, dataclasses.replace(state, rbm=other))
    with pytest.raises(TypeError, match="files can hold Translations and PermutationGroup"):
        save_checkpoint(tmp_path, dataclasses.replace(state, rbm=other), key=key)


class _Other(Translations):
    """A tying that files do not know."""

    def __init__(self):
        super().__init__((4,))


def test_a_group_given_as_a_table_is_that_of_translations():
    group = generate_group(translation((2, 3)), translation((2, 3), axis=1))
    tied = init_tied_rbm(jax.random.key(0), Translations((2, 3)), 2, scale=0.5)
    dense = expand(tied)
    again = expand(dataclasses.replace(tied, tying=group))
    np.testing.assert_array_equal(np.unique(again.weights, axis=1), np.unique(dense.weights, axis=1))
    np.testing.assert_array_equal(again.visible_bias, dense.visible_bias)


FOUR: Any = (4,)
HALF: Any = 4.5


def untied(tied) -> Any:
    return expand(tied)


def leaves_of(tied, **changes):
    return TiedRBM(**vars(tied) | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tied: init_tied_rbm(jax.random.key(0), FOUR, 2), "tying must be one such as Translations"),
        (lambda tied: tie(expand(tied), FOUR), "tying must be one such as Translations"),
        (lambda tied: expand(untied(tied)), "tied must be a TiedRBM, got RBM"),
        (lambda tied: expand(jax.tree.map(lambda leaf: leaf[None], tied)), "use jax.vmap"),
        (lambda tied: expand(leaves_of(tied, hidden_bias=jnp.zeros(3))), r"hidden_bias must have shapes"),
        (lambda tied: leaves_of(tied, hidden_units="spin"), "hidden_units must be a unit type"),
        (lambda tied: leaves_of(tied, visible_units=Potts(2)), "units of one component"),
        (lambda tied: Translations(HALF), "shape must be a Python integer"),
        (lambda tied: FourierPCD()(jax.random.key(0), untied(tied), DATA, DATA), "tying must be Translations"),
        (lambda tied: power_spectrum(np.full((2, 4), np.nan), (4,)), "data holds 8 values that are NaN"),
        (
            lambda tied: fourier_growth_rates(DATA, (4,), visible_units=Potts(2), hidden_units=Bernoulli()),
            "fourier_growth_rates does not support Potts",
        ),
        (lambda tied: save_rbm("tied.h5", tied), "rbm must be an RBM, got TiedRBM; save rbm_jax.symmetry.expand"),
    ],
)
def test_errors_say_what_is_wrong(make, message, unchecked):
    with pytest.raises((TypeError, ValueError), match=message):
        make(init_tied_rbm(jax.random.key(0), RING, 2))
