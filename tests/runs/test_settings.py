"""Settings of a run: equal ones are equal, mistakes are named before any work, and files hold them as they are."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from rbm_jax.cli import run
from rbm_jax.runs import Recipe, Source
from rbm_jax.runs.recipe import load_toml, to_toml

EMF = {"method": "emf"}
ADAM = {"optimizer": "adam"}


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        *((nan, "nan") for nan in (math.nan, np.float32("nan"), "NaN", "nan", " NAN ")),
        *((number, "-1") for number in (-1, -1.0, "-1", "-1.0", np.int64(-1), np.float32(-1))),
        (255.123456, "255.123456"),
        (-9999999, "-9999999"),
        ("-0.0", "0"),
        (None, None),
    ],
)
def test_what_is_missing_has_one_spelling(spelling, expected):
    source = Source(missing=spelling)
    assert source.missing == expected
    assert source == Source(missing=expected)
    assert json.dumps(source.settings()) == json.dumps(Source(missing=expected).settings())


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Source, {"missing": "none"}, "missing must be NaN or a number, got 'none'"),
        (Source, {"missing": True}, "missing must be NaN or a number, got True"),
        (Source, {"data": None}, "data must be a path or name, got None"),
        (Source, {"data": 3}, "data must be a path or name, got 3"),
        (Source, {"test": 3}, "test must be a path or name, got 3"),
        (Source, {"alphabet": 3}, "alphabet must be .*, got 3"),
        (Source, {"threshold": "0.5"}, "threshold must be a number, got '0.5'"),
        (Source, {"threshold": 2}, "threshold must be at least 0 and at most 1, got 2"),
        (Source, {"identity": "x"}, "identity must be a number, got 'x'"),
        (Source, {"identity": 1.5}, r"identity must be a share of sites, in \(0, 1\], .*, got 1.5"),
        (Source, {"identity": -0.1}, "identity must be .*, got -0.1"),
        (Source, {"identity": math.nan}, "identity must be .*, got nan"),
        (Source, {"units": "potts"}, "units must be one of bernoulli, spin, got 'potts'"),
        (Recipe, {"learning_rate": "0.05"}, "learning_rate must be a number, got '0.05'"),
        (Recipe, {"learning_rate": True}, "learning_rate must be a number, got True"),
        (Recipe, {"learning_rate": math.nan}, "learning_rate must be positive and finite, got nan"),
        (Recipe, {"learning_rate": 10**400}, "learning_rate must be a number that a float can hold, got"),
        (Recipe, {"held_out": "a"}, "held_out must be a number, got 'a'"),
        (Recipe, {"l1": None}, "l1 must be a number, got None"),
        (Recipe, {"n_hidden": 4.5}, "n_hidden must be a Python integer, got 4.5"),
        (Recipe, {"method_options": 3}, "method_options must be a mapping .*, got 3"),
        (Recipe, {"optimizer_options": {1: 2}}, "optimizer_options must be a mapping .*, got {1: 2}"),
        *(
            (
                Recipe,
                {**EMF, "method_options": {name: 1}},
                f"method_options must be those of EMF .*damping.*: got {name}",
            )
            for name in ("n_sweeps", "metric", "data_term", "order", "n_rungs", "x")
        ),
        (
            Recipe,
            {**EMF, "method_options": {"damping": "0.5"}},
            "method_options .* damping must be a number, got '0.5'",
        ),
        (Recipe, {**EMF, "method_options": {"damping": 2}}, "method_options .* damping must be at least 0"),
        (Recipe, {**EMF, "method_options": {"persistent": "no"}}, "method_options .* persistent must be true or false"),
        (Recipe, {"method_options": {"compute_dtype": "x"}}, "method_options must be those of PCD .*compute_dtype"),
        (Recipe, {"method": "exact", "method_options": {"x": 1}}, "method_options must be .*there are none.*: got x"),
        *(
            (
                Recipe,
                {**ADAM, "optimizer_options": {name: 1}},
                f"optimizer_options must be .*optax.adam.*b1.*: got {name}",
            )
            for name in ("name", "l1", "l2", "group", "learning_rate", "beta")
        ),
        (Recipe, {**ADAM, "optimizer_options": {"b1": "x"}}, "optimizer_options .* b1 must be a number, got 'x'"),
        (Recipe, {**ADAM, "optimizer_options": {"b1": None}}, "optimizer_options .* b1 must be a number, got None"),
        (Recipe, {**ADAM, "optimizer_options": {"b1": math.inf}}, "optimizer_options .* b1 must be finite, got inf"),
        (Recipe, {**ADAM, "optimizer_options": {"nesterov": 1}}, "optimizer_options .* nesterov must be true or false"),
        (Recipe, {"optimizer": "adamw", "optimizer_options": {"mask": 1}}, "optimizer_options .*: got mask"),
    ],
)
def test_settings_that_cannot_be_are_named(kind, settings, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}") as caught:
        kind(**settings)
    assert caught.type is ValueError or "_options must be those" not in message


@pytest.mark.parametrize(
    "given",
    [
        Recipe(n_hidden=np.int64(3), learning_rate=np.float32(0.1), held_out=np.float64(0.5), l1=jnp.asarray(0.1)),
        Recipe(**EMF, method_options={"damping": np.float32(0.5), "persistent": np.True_}),
        Recipe(**ADAM, optimizer_options={"b1": jnp.asarray(0.5), "mu_dtype": jnp.bfloat16, "nesterov": np.False_}),
        Recipe(optimizer_options={"momentum": None, "accumulator_dtype": None}),
        Recipe(method_options={"compute_dtype": "bfloat16"}),
        Source(threshold=np.float32(0.25), identity=np.int64(1), units="spin"),
    ],
)
def test_settings_are_plain_values(given, tmp_path):
    settings = json.loads(json.dumps(given.settings()))
    if isinstance(given, Recipe):
        given.make_trainer()
        assert Recipe(**settings) == given
    (tmp_path / "a.toml").write_text(to_toml(given.settings()), encoding="utf-8")
    assert type(given)(**load_toml(tmp_path / "a.toml")).settings() == given.settings()


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "emoji 🧲, ü, \u2028",
        "".join(map(chr, range(32))) + '\x7f\x80"\\',
        math.inf,
        -math.inf,
        math.nan,
        1e-7,
        1e22,
        -3,
        True,
        [1, "a", [0.5]],
        {"b1": 0.8, "odd name.\n": 'x"', "": 1},
        {"inner": {"a b": [{"x": 1.5}], "empty": {}}},
    ],
)
def test_toml_holds_every_value(value, tmp_path):
    (tmp_path / "a.toml").write_text(to_toml({"x": value, "a.b": value, "last": 1}), encoding="utf-8")
    expected = {"x": value, "a.b": value, "last": 1}
    np.testing.assert_equal(load_toml(tmp_path / "a.toml"), expected)


def test_toml_leaves_out_what_is_none_and_refuses_what_it_cannot_hold(tmp_path):
    (tmp_path / "a.toml").write_text(to_toml({"x": None, "y": {"a": None, "b": np.int64(1), "c": {"d": None}}}))
    assert load_toml(tmp_path / "a.toml") == {"y": {"b": 1, "c": {}}}
    for value in (object(), [None], "\udcff", {1, 2}):
        with pytest.raises(ValueError, match=r"^x must be .*, got"):
            to_toml({"x": value})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.toml", "there is no file .*x.toml; a TOML file of settings is expected"),
        ("folder", ".*folder is a folder; a TOML file of settings is expected"),
        ("binary", ".*binary is no text; a TOML file of settings is expected"),
        ("other", ".*other is no TOML file .*; a TOML file of settings is expected"),
    ],
)
def test_files_that_hold_no_settings_are_named(name, message, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\x89HDF\xff\x00")
    (tmp_path / "other").write_text("n_hidden: 3\n")
    with pytest.raises(ValueError, match=f"^config: {message}"):
        load_toml(tmp_path / name)
    assert run(["train", "--config", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
    assert "--config: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
