"""What is wrong in an argument is refused by name: never NaN or a silent wrong answer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse

import rbm_jax
from rbm_jax import (
    CD,
    EMF,
    PCD,
    PTT,
    RBM,
    Batches,
    Bernoulli,
    Exact,
    Gaussian,
    Spin,
    Trainer,
    Trajectory,
    data,
    dynamics,
    init_rbm,
    plotting,
    replica,
    stack_rbms,
)
from rbm_jax.training import KeepsEquilibrium, Optimizer
from tests.helpers import reference_rbm

KEY = jax.random.key(0)
BINARY, SPIN = reference_rbm(4, 3, 0.3), reference_rbm(4, 3, 0.3, Spin())
GAUSS = reference_rbm(4, 3, 0.3, Gaussian(0.7))
LARGE = reference_rbm(30, 30, 0.01)
NAN_RBM = jax.tree.map(lambda leaf: jnp.nan * leaf, BINARY)
LADDER = stack_rbms([BINARY, rbm_jax.temper(BINARY, 1.1)])
TRAJECTORY = Trajectory(jnp.arange(2.0), LADDER, jnp.zeros((), jnp.int32))
V = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]], np.uint8)
H = np.full(3, 0.5)
WITH_NAN, WITH_INF, WITH_TWO = (np.where(np.arange(12).reshape(3, 4) == 6, bad, V) for bad in (np.nan, np.inf, 2))
TEXT, RAGGED = np.full((3, 4), "a"), [[0, 1], [1]]
SGD = optax.sgd(0.1)
EULER = Trainer.euler(PCD(), 0.1)
SERIES = np.sin(np.arange(30.0)).reshape(10, 3)
NAN = float("nan")


def start(rbm=BINARY, trainer=EULER, **options):
    return trainer.init(KEY, rbm, **(options or {"n_chains": 5}))


def fit(samples=V, state=None, trainer=EULER, key=KEY, **options):
    names = ("batch_size", "sample_weights")
    batches = Batches(samples, **{name: options.pop(name) for name in names if name in options})
    return rbm_jax.fit(key, trainer, start() if state is None else state, batches, **{"n_updates": 2} | options)


def fit_streamed(source=V, **options):
    return rbm_jax.fit(KEY, EULER, start(), Batches.stream(source, **{"batch_size": 2} | options), n_updates=2)


def fit_many(samples=V, keys=None, states=None, trainer=EULER, **options):
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start()) if states is None else states
    keys = jax.random.split(KEY, 2) if keys is None else keys
    return rbm_jax.fit_many(keys, trainer, states, samples, **{"n_updates": 2} | options)


def make_trainer(estimator=None, optimizer=SGD, **options):
    return Trainer(PCD() if estimator is None else estimator, optimizer, **options)


def make(**options):
    sizes = options.pop("n_visible", 4), options.pop("n_hidden", 3)
    return init_rbm(options.pop("key", KEY), *sizes, **options)


def ais(rbm=BINARY, **options):
    return rbm_jax.ais_log_z(KEY, rbm, **{"n_chains": 4, "n_temperatures": 4} | options)


def tempering(ladder=LADDER, n_chains=3):
    return rbm_jax.sampling.init_tempering(KEY, ladder, n_chains)


def step_estimator(estimator, carry=None, sample_weights=None):
    return estimator(KEY, BINARY, V, jnp.asarray(V, float) if carry is None else carry, sample_weights)


def review(after_chains):
    before = start()
    return KeepsEquilibrium()(before, dataclasses.replace(before, carry=after_chains))


def integrate(**options):
    options = {"force": dynamics.exact_force(V), "rbm": BINARY, "ts": np.array([0.0, 1.0])} | options
    return dynamics.integrate(**options)


def linear(ts=(0.0, 1.0), initial=(0.1,), variance=(2.0,)):
    return dynamics.linear_solution(jnp.array(ts), jnp.array(initial), jnp.array(variance))


def tempering_step(ladder=LADDER, **options):
    return rbm_jax.sampling.tempering_step(KEY, ladder, tempering(), **options)


def ladder_health(n_chains=3, **options):
    return rbm_jax.likelihood.ladder_health(KEY, LADDER, tempering(n_chains=n_chains), **options)


def solve_mean_field(rbm=BINARY, **options):
    return rbm_jax.solve_mean_field(rbm, **options)


def find_fixed_points(samples, **options):
    return rbm_jax.find_fixed_points(BINARY, samples, **options)


def table(function, **cases):
    """Named cases of one function: keyword arguments, or positional ones in a tuple, and what the error says."""
    for name, (arguments, message) in cases.items():
        call = (
            functools.partial(function, **arguments)
            if isinstance(arguments, dict)
            else (functools.partial(function, *arguments))
        )
        yield f"{getattr(function, 'func', function).__name__}: {name.replace('_', ' ')}", call, message


def bulk(values, noise=1.0):
    """A bulk of these singular values, without outliers."""
    one = jnp.ones(())
    return rbm_jax.spectral.Bulk(jnp.asarray(values), jnp.zeros(len(values), bool), one, noise * one, one, one)


def all_cases():
    units = {"visible_units": Bernoulli(), "hidden_units": Bernoulli()}
    yield from table(
        make,
        no_visible=({"n_visible": 0}, "n_visible must be at least 1"),
        fraction=({"n_visible": 4.0}, "n_visible must be a Python integer"),
        boolean=({"n_hidden": True}, "n_hidden must be a Python integer"),
        negative=({"n_hidden": -1}, "n_hidden must be at least 1"),
        negative_scale=({"scale": -1.0}, "scale must be"),
        nan_scale=({"scale": NAN}, "scale must be"),
        text_scale=({"scale": "a"}, "scale must be"),
        nan_mean=({"visible_mean": np.full(4, NAN)}, "visible_mean holds 4 values that are NaN"),
        mean_shape=({"visible_mean": np.full(5, 0.5)}, "visible_mean must have 4 units"),
        mean_outside=({"visible_mean": np.full(4, 1.5)}, r"visible_mean must be in \[0, 1\]"),
        mean_text=({"visible_mean": "abcd"}, "visible_mean must be an array"),
        integers=({"dtype": int}, "dtype must be a floating dtype"),
        units_by_name=({"visible_units": "spin", "visible_mean": np.full(4, 0.5)}, "visible_units must be a unit type"),
        units_class=({"hidden_units": Bernoulli}, "hidden_units must be a unit type"),
        no_key=({"key": 0}, "key"),
    )
    yield from table(
        Gaussian, zero=((0.0,), "variance must be positive"), nan=((NAN,), "variance"), text=(("a",), "variance")
    )
    yield from table(
        RBM,
        lists=(([[1.0]], jnp.ones(1), jnp.ones(1), Spin(), Spin()), "weights and biases must be arrays"),
        integers=((jnp.ones((4, 3), int), jnp.ones(4), jnp.ones(3), Spin(), Spin()), "one floating dtype"),
        swapped=((jnp.ones((4, 3)), jnp.ones(3), jnp.ones(4), Spin(), Spin()), "visible_bias"),
    )
    yield from table(stack_rbms, none=(([],), "rbms must hold"), mixed=(([BINARY, SPIN],), "rbms must agree"))
    yield from table(
        fit,
        nan=({"samples": WITH_NAN}, "data holds 1 values that are NaN"),
        infinity=({"samples": WITH_INF}, "data holds 1 values"),
        gaussian_nan=({"samples": WITH_NAN, "state": start(GAUSS)}, "data holds 1 values"),
        a_two=({"samples": WITH_TWO}, "data must be 0 or 1 .* row 1, column 2"),
        spins_for_bits=({"samples": 2.0 * V - 1}, "data must be 0 or 1"),
        bits_for_spins=({"state": start(SPIN)}, r"data must be -1 or \+1"),
        vector=({"samples": V[0]}, "data must have 2 axes"),
        images=({"samples": V[None]}, "data must have 2 axes"),
        narrow=({"samples": V[:, :3]}, "data must have 4 units"),
        empty=({"samples": V[:0]}, "data must hold at least one sample"),
        text=({"samples": TEXT}, "data must be an array of real numbers"),
        objects=({"samples": np.full((3, 4), None)}, "data must be an array of real numbers"),
        complex_numbers=({"samples": V * 1j}, "data must be an array of real numbers"),
        nothing=({"samples": None}, "data must be an array of real numbers"),
        ragged=({"samples": RAGGED}, "data must be an array of numbers"),
        negative_weight=({"sample_weights": np.array([1.0, -1, 1])}, "sample_weights must be non-negative"),
        zero_weights=({"sample_weights": np.zeros(3)}, "sample_weights must be .* positive sum"),
        nan_weight=({"sample_weights": np.array([1, NAN, 1])}, "sample_weights holds 1 values"),
        few_weights=({"sample_weights": np.ones(2)}, r"sample_weights must have shape \(3,\)"),
        text_weights=({"sample_weights": TEXT[:, 0]}, "sample_weights must be an array"),
        empty_batch=({"batch_size": 0}, "batch_size must be at least 1"),
        large_batch=({"batch_size": 4}, "batch_size must be at most the number of samples"),
        fractional_batch=({"batch_size": 2.0}, "batch_size must be a Python integer"),
        negative_updates=({"n_updates": -1}, "n_updates must be at least 0"),
        fractional_updates=({"n_updates": 1.5}, "n_updates must be a Python integer"),
        saves_backward=({"save_at": [1, 0]}, "save_at must increase"),
        saves_beyond=({"save_at": [3]}, "save_at must increase"),
        fractional_save=({"save_at": [0.5]}, "save_at must be"),
        no_save=({"save_at": []}, "save_at must be"),
        another_optimizer=(
            {"trainer": make_trainer(optimizer=optax.adam(0.1))},
            "optimizer must be the one that the state was made with",
        ),
        observe=({"observe": 3}, "observe must be a function"),
        progress=({"progress": 3}, "progress must be a function"),
        estimator_for_trainer=({"trainer": PCD()}, "trainer must be a Trainer"),
        rbm_for_state=({"state": BINARY}, "state must be a TrainState"),
        key=({"key": 0}, "key"),
        chains_of_pcd=({"trainer": make_trainer(PTT())}, "carry must be TrajectoryChains"),
        too_large=(
            {"trainer": make_trainer(Exact()), "state": start(LARGE), "samples": np.ones((3, 30))},
            "too many to enumerate",
        ),
    )
    yield from table(
        make_trainer,
        no_time=({"time_step": 0.0}, "time_step must be positive"),
        nan_time=({"time_step": NAN}, "time_step must be positive"),
        negative_time=({"time_step": np.array([1.0, -1.0])}, "time_step must be positive"),
        estimator_by_name=({"estimator": "pcd"}, "estimator must be one such as"),
        review=({"review": 1}, "review must be a function"),
        learning_rate_for_optimizer=({"optimizer": 0.1}, "optimizer must be an Optimizer"),
        no_optimizer=({"optimizer": None}, "optimizer must be an Optimizer"),
    )
    yield from table(
        Optimizer,
        called=((SGD, 0.1), "factory must make an optimizer"),
        name=(("adam", 0.1), "factory must make an optimizer"),
        nan=((optax.sgd, NAN), "learning_rate must be"),
        negative=((optax.sgd, -1.0), "learning_rate must be"),
        text=((optax.sgd, "a"), "learning_rate must be"),
    )
    yield from table(
        start,
        no_chains=({"n_chains": None}, "n_chains must be given"),
        zero=({"n_chains": 0}, "n_chains must be at least 1"),
        both=({"n_chains": 1, "carry": V}, "got both"),
        narrow=({"carry": V[:, :2]}, "carry must have 4 units"),
        nan=({"carry": WITH_NAN}, "carry holds 1 values"),
        empty=({"carry": V[:0]}, "carry must hold at least one state"),
        stack=((LADDER,), "rbm must be one"),
    )
    yield from table(
        PCD,
        sweeps=({"n_sweeps": -2}, "n_sweeps must be at least 1"),
        unknown_option=({"n_steps": 2}, "n_steps"),
    )
    yield from table(CD, sweeps=({"n_sweeps": 0}, "n_sweeps must be at least 1"))
    yield from table(
        EMF,
        order=({"order": 4}, "order must be 1"),
        damping=({"damping": 1.5}, "damping must be"),
        nan_damping=({"damping": NAN}, "damping must be"),
    )
    yield from table(PTT, floor=({"floor": NAN}, "floor must be"))
    yield from table(
        step_estimator,
        dtype=((PCD(compute_dtype=int),), "compute_dtype must be a floating dtype"),
        weights=((PCD(), None, np.zeros(3)), "sample_weights must be"),
    )
    yield from table(review, narrow=((V[:, :2],), "carry must have 4 units"))
    yield from table(KeepsEquilibrium, fraction=((2,), "min_fraction must be"))
    yield from table(
        fit_streamed,
        narrow=((V[:, :3],), r"source must have shape \(n_samples, 4\)"),
        empty=((V[:0],), "source must have shape"),
        list=(([[0, 1]],), "source must have a shape, a dtype and rows"),
        text=((TEXT,), "source must hold real numbers"),
        no_batch=({"batch_size": None}, "batch_size must be a Python integer"),
        large_batch=({"batch_size": 5}, "batch_size must be at most"),
        weights=({"sample_weights": np.zeros(3)}, "sample_weights must be"),
        chunk=({"chunk_updates": 0}, "chunk_updates must be at least 1"),
    )
    yield from table(
        fit_many,
        nan=((WITH_NAN,), "data holds 1 values"),
        one_key=({"keys": KEY}, "keys must be one for each of the 2 RBMs"),
        few_keys=({"keys": jax.random.split(KEY, 1)}, "keys must be one for each of the 2 RBMs"),
        single=({"states": start()}, "states must have one leading axis"),
        rbm=({"states": BINARY}, "states must be a TrainState with a leading axis"),
        none=({"states": []}, "a sequence of at least one state"),
        keys=({"states": [start(), start()], "keys": jax.random.split(KEY, 1)}, "keys must be one for each"),
        times=({"trainer": make_trainer(time_step=np.ones(3))}, r"time_step must be .* shape \(2,\)"),
        rates=({"trainer": Trainer.euler(PCD(), np.ones(3))}, r"learning_rate must be .* shape \(2,\)"),
        group=({"n_at_once": 0}, "n_at_once must be at least 1"),
    )
    yield from table(
        rbm_jax.training.penalize_weights, negative=({"l1": -1.0}, "l1 must"), text=({"group": "a"}, "group must")
    )
    yield from table(rbm_jax.training.log_spaced_updates, none=((0, 5), "n_updates"), one=((10, 1), "n_saves"))
    yield from table(rbm_jax.training.project_updates, none=((0,), "n_modes must be at least 1"))
    yield from table(
        functools.partial(rbm_jax.sample_gibbs, KEY),
        narrow=({"rbm": BINARY, "v": V[:, :3], "n_sweeps": 1}, "v must have 4 units"),
        negative=({"rbm": BINARY, "v": V, "n_sweeps": -1}, "n_sweeps must be at least 0"),
        fraction=({"rbm": BINARY, "v": V, "n_sweeps": 1.0}, "n_sweeps must be a Python integer"),
        numbers_for_mask=({"rbm": BINARY, "v": V, "n_sweeps": 1, "clamp_mask": H}, "clamp_mask must be boolean"),
        short_mask=({"rbm": BINARY, "v": V, "n_sweeps": 1, "clamp_mask": H > 0}, "clamp_mask must broadcast"),
        stack=({"rbm": LADDER, "v": V, "n_sweeps": 1}, "rbm must be one RBM, got a stack"),
        text=({"rbm": BINARY, "v": "abc", "n_sweeps": 1}, "v must be an array"),
        spins=({"rbm": BINARY, "v": 2.0 * V - 1, "n_sweeps": 1}, "v must be 0 or 1 .* got -1.0 at row 0, column 0"),
        nan=({"rbm": BINARY, "v": WITH_NAN, "n_sweeps": 1}, "v holds 1 values"),
        nan_rbm=({"rbm": NAN_RBM, "v": V, "n_sweeps": 1}, r"rbm\.weights holds 12 values that are NaN"),
        masked=({"rbm": BINARY, "v": np.ma.masked_equal(V, 0), "n_sweeps": 1}, "v must have no masked entries"),
        sparse=({"rbm": BINARY, "v": scipy.sparse.csr_matrix(V), "n_sweeps": 1}, "v must be a dense array"),
        rounded=({"rbm": GAUSS, "v": V, "n_sweeps": 1, "compute_dtype": jnp.bfloat16}, "compute_dtype bfloat16"),
    )
    yield from table(
        rbm_jax.gibbs_step,
        stack=((KEY, LADDER, V), "rbm must be one RBM"),
        spins=((KEY, BINARY, 2.0 * V - 1), "v must be 0 or 1"),
        nan_rbm=((KEY, NAN_RBM, V), "rbm.weights holds 12"),
    )
    yield from table(
        rbm_jax.sample_visible,
        visible=((KEY, BINARY, V), "h must have 3 units"),
        means=((KEY, BINARY, H), "h must be 0 or 1"),
    )
    yield from table(rbm_jax.sample_hidden, bits=((KEY, SPIN, V), r"v must be -1 or \+1"))
    yield from table(
        functools.partial(rbm_jax.sampling.trace_gibbs, KEY, BINARY),
        spins=({"v": 2.0 * V - 1, "n_sweeps": 1, "observe": jnp.sum}, "v must be 0 or 1"),
        observer=({"v": V, "n_sweeps": 1, "observe": 1}, "observe must be a function"),
    )
    yield from table(
        rbm_jax.init_chains,
        none=((KEY, BINARY, 0), "n_chains must be at least 1"),
        stack=((KEY, LADDER, 5), "rbm must be one RBM"),
        nan_rbm=((KEY, NAN_RBM, 5), "rbm.weights holds 12"),
    )
    yield from table(
        rbm_jax.visible_free_energy,
        stack=((LADDER, V), "rbm must be one RBM"),
        text=((BINARY, TEXT), "v must be an array"),
        spins=((BINARY, 2.0 * V - 1), "v must be 0 or 1"),
        means=((BINARY, np.full(4, 0.5)), "v must be 0 or 1"),
        nan=((BINARY, WITH_NAN), "v holds 1 values"),
        nan_rbm=((NAN_RBM, V), "rbm.weights holds 12"),
        narrow=((BINARY, V[:, :3]), "v must have 4 units"),
    )
    yield from table(
        rbm_jax.joint_energy,
        batches=((BINARY, V, np.ones((2, 3))), "axes of v and h must broadcast"),
        spins=((BINARY, V, -np.ones(3)), r"h must be in \[0, 1\]"),
    )
    yield from table(rbm_jax.hidden_field, spins=((BINARY, 2.0 * V - 1), r"v must be in \[0, 1\]"))
    yield from table(rbm_jax.visible_field, nan=((BINARY, NAN * H), "h holds 3 values"))
    yield from table(
        rbm_jax.exact_log_z,
        large=((LARGE,), "too many"),
        stack=((LADDER,), "rbm must be one RBM"),
        nan_rbm=((NAN_RBM,), "rbm.weights holds 12"),
    )
    yield from table(rbm_jax.model.exact_moments, large=((LARGE,), "too many to enumerate; use a smaller RBM"))
    yield from table(
        rbm_jax.exact_log_likelihood,
        empty=((BINARY, V[:0]), "data must hold at least one sample"),
        nan=((BINARY, WITH_NAN), "data holds 1 values"),
        spins=((BINARY, 2.0 * V - 1), "data must be 0 or 1"),
        weights=((BINARY, V, np.zeros(3)), "weights must be"),
    )
    yield from table(
        rbm_jax.model.enumerate_states,
        large=((Spin(), 25), "too many"),
        continuum=((Gaussian(), 2), "continuum"),
        none=((Spin(), 0), "size must be"),
    )
    yield from table(
        rbm_jax.pseudo_log_likelihood,
        continuum=((GAUSS, V), "discrete"),
        nan=((BINARY, WITH_NAN), "data holds 1 values"),
    )
    yield from table(
        rbm_jax.model.conditional_moments,
        empty=((BINARY, V[:0]), "v must hold"),
        vector=((BINARY, V[0]), "v must have 2 axes"),
        two=((BINARY, WITH_TWO), "v must be 0 or 1 .* row 1, column 2"),
    )
    yield from table(
        ais,
        one_chain=({"n_chains": 1}, "n_chains must be at least 2"),
        open_end=({"positions": np.array([0.0, 0.5])}, "positions must increase from 0 to 1"),
        backward=({"positions": np.array([0, 0.7, 0.5, 1])}, "positions must increase"),
        nan_position=({"positions": np.array([0, NAN, 1])}, "positions must increase"),
        nan=({"data": WITH_NAN}, "data holds 1 values"),
        empty=({"data": V[:0]}, "data must hold"),
        dtype=({"compute_dtype": int}, "compute_dtype must be"),
        stack=({"rbm": LADDER}, "rbm must be one RBM"),
        spins=({"data": 2.0 * V - 1}, r"data must be in \[0, 1\]"),
        nan_rbm=({"rbm": NAN_RBM}, "rbm.weights holds 12"),
    )
    yield from table(
        functools.partial(rbm_jax.likelihood.reverse_ais_log_z, KEY, BINARY),
        narrow=({"samples": V[:, :2]}, "samples must have 4 units"),
        one=({"samples": V[:1]}, "n_chains must be at least 2"),
        nan=({"samples": WITH_NAN}, "samples holds 1 values"),
        spins=({"samples": 2.0 * V - 1}, "samples must be 0 or 1"),
    )
    yield from table(
        functools.partial(rbm_jax.likelihood.tempering_log_z, KEY, BINARY),
        rungs=({"n_rungs": 1}, "n_rungs must be at least 2"),
        steps=({"n_steps": 1}, "n_steps must be at least 2"),
        other_ladder=({"ladder": stack_rbms([LARGE])}, "ladder must be a stack of RBMs like rbm"),
        single=({"ladder": BINARY}, "ladder must be a stack of RBMs like rbm"),
    )
    yield from table(
        functools.partial(rbm_jax.likelihood.log_z_along, KEY),
        flat=((LADDER, V), "chains must have 3 axes"),
        times=((LADDER, np.stack([V] * 3)), "first axes must be equal"),
        single=((BINARY, np.stack([V] * 2)), "ladder must be a stack"),
        nan=((LADDER, np.stack([WITH_NAN] * 2)), "chains holds 2 values"),
    )
    yield from table(
        rbm_jax.log_likelihood,
        number=((BINARY, V, 3.0), "log_z must be"),
        large=((LARGE, np.ones((2, 30))), "too many"),
        nan=((BINARY, WITH_NAN), "data holds 1 values"),
    )
    yield from table(
        functools.partial(rbm_jax.likelihood.mean_field_log_z, BINARY),
        both=({"data": V, "init": V}, "data and init must not both be given"),
        init=({"init": 2.0 * V}, r"init must be in \[0, 1\]"),
        merge=({"merge_distance": 0.0}, "merge_distance must be positive"),
        starts=({"data": V, "n_starts": 0}, "n_starts must be at least 1"),
        empty=({"data": V[:0]}, "data must hold"),
        nan=({"data": WITH_NAN}, "data holds 1 values"),
    )
    yield from table(
        tempering, single=((BINARY,), "ladder must be a stack"), none=((LADDER, 0), "n_chains must be at least 1")
    )
    yield from table(
        tempering_step,
        sweeps=({"n_sweeps": 0}, "n_sweeps must be at least 1"),
        narrow=({"reservoir": V[:, :2]}, "reservoir must have 4 units"),
        empty=({"reservoir": V[:0]}, "reservoir must hold"),
        spins=({"reservoir": 2.0 * V - 1}, "reservoir must be 0 or 1"),
        other=({"ladder": stack_rbms([BINARY] * 3)}, "state must have chains of 4 units on 3 rungs"),
    )
    yield from table(
        rbm_jax.sampling.temper_ladder,
        mixed=((BINARY, SPIN, H), "start and end must agree"),
        nan=((BINARY, BINARY, np.array([0, NAN])), "positions holds 1 values"),
        matrix=((BINARY, BINARY, np.ones((2, 2))), "positions must be numbers in one axis"),
    )
    yield from table(
        ladder_health,
        steps=({"n_steps": 0}, "n_steps must be at least 1"),
        one_chain=({"n_chains": 1}, "state must have at least two chains"),
    )
    yield from table(
        rbm_jax.sampling.init_trajectory_chains,
        none=((KEY, BINARY, 0), "n_chains must be at least 1"),
    )
    yield from table(
        solve_mean_field,
        order=({"order": 4}, "order must be"),
        damping=({"damping": 1.0}, "damping must be at least 0 and below 1"),
        nan_damping=({"damping": NAN}, "damping must be"),
        tol=({"tol": 0.0}, "tol must be positive"),
        steps=({"max_steps": 0}, "max_steps must be at least 1"),
        init=({"init": np.ones(3)}, "init must have 4 units"),
        spins=({"init": 2.0 * V - 1}, r"init must be in \[0, 1\]"),
        nan_rbm=({"rbm": NAN_RBM}, "rbm.weights holds 12"),
        no_init=({"init": V[:0]}, "init must hold at least one start"),
        mask_alone=({"clamp_mask": np.ones(4, bool)}, "init must be given with clamp_mask"),
        stack=({"rbm": LADDER}, "rbm must be one RBM"),
    )
    yield from table(
        rbm_jax.mean_field.mean_field_free_energy,
        narrow=((BINARY, np.ones(3), H), "visible_magnetization must have 4 units"),
    )
    yield from table(
        find_fixed_points,
        empty=({"samples": V[:0]}, "data must hold"),
        nan=({"samples": WITH_NAN}, "data holds 1 values"),
        merge=({"samples": V, "merge_distance": 0.0}, "merge_distance must be positive"),
    )
    yield from table(
        rbm_jax.mean_field.fixed_point_tree,
        none=(([], V), "rbms must hold"),
        stack=((LADDER, V), "rbms must be a sequence"),
    )
    yield from table(
        rbm_jax.mean_field.log_state_weights, counts=((jnp.ones(2), jnp.ones((3, 4))), "free_energy has 2")
    )
    yield from table(
        rbm_jax.svd_modes,
        vector=((jnp.ones(3),), "weights must be a matrix"),
        stack=((jnp.ones((2, 3, 3)),), "weights must be a matrix"),
        empty=((jnp.ones((0, 3)),), "weights must be a matrix"),
        nan=((jnp.full((3, 3), NAN),), "weights holds 9 values"),
        complex_numbers=((np.ones((3, 2)) * 1j,), "weights must be an array of real numbers"),
    )
    yield from table(rbm_jax.spectral.leading_modes, none=((BINARY.weights, 0), "n_modes must be at least 1"))
    yield from table(
        rbm_jax.spectral.split_bulk, vector=((jnp.ones(3),), "matrix"), nan=((NAN_RBM.weights,), "weights holds")
    )
    yield from table(rbm_jax.spectral.effective_temperature, vector=((jnp.ones(3),), "weights must be a matrix"))
    yield from table(rbm_jax.spectral.mode_statistics, vector=((jnp.ones(3),), "vectors must be a matrix"))
    yield from table(
        rbm_jax.spectral.project, narrow=((V[:, :2], rbm_jax.svd_modes(BINARY.weights)), "data must have 4 units")
    )
    yield from table(rbm_jax.spectral.marchenko_pastur_edges, noise=((-1.0,), "noise must be positive"))
    yield from table(
        functools.partial(rbm_jax.spectral.marchenko_pastur_density, jnp.ones(2)),
        noise=({"noise": 0.0}, "noise must be positive"),
        ratio=({"noise": 1.0, "ratio": 0.0}, "ratio must be positive"),
    )
    yield from table(rbm_jax.spectral.marchenko_pastur_quantile, beyond=((1.5,), "probability must be"))
    yield from table(
        functools.partial(rbm_jax.spectral.spiked_value, 3.0, 1.0), ratio=({"ratio": -2.0}, "ratio must be")
    )
    yield from table(rbm_jax.spectral.spiked_outlier, noise=((3.0, -1.0), "noise must be at least 0"))
    yield from table(
        replica.Control,
        scalar=((2.0,), "singular_values must be a vector"),
        empty=((jnp.zeros(0),), "singular_values must be a vector"),
        nan=((jnp.array([NAN]),), "singular_values holds 1 values"),
    )
    yield from table(
        functools.partial(replica.Control, jnp.ones(1)),
        noise=({"noise": -1.0}, "noise must be at least 0"),
        ratio=({"ratio": 0.0}, "ratio must be positive"),
        field=({"visible_field": jnp.ones(2)}, "visible_field must have the shape"),
    )
    yield from table(
        functools.partial(replica.solve_saddle, replica.Control(jnp.ones(1))),
        steps=({"max_steps": 0}, "max_steps must be at least 1"),
        init=({"m_init": jnp.ones(2)}, "m_init must have the shape"),
    )
    yield from table(replica.SparseDistribution, zero=((0.0,), "fraction must be"), nan=((NAN,), "fraction must be"))
    yield from table(
        replica.EmpiricalDistribution,
        vector=((H,), "components must"),
        nan=((np.full((3, 1), NAN),), "components holds 3 values"),
    )
    yield from table(
        replica.SpikedEnsemble,
        nan=((jnp.array([NAN]),), "singular_values holds 1 values"),
        noise=({"singular_values": jnp.ones(1), "noise": -0.1}, "noise must be"),
        field=({"singular_values": jnp.ones(1), "hidden_field": jnp.ones(2)}, "hidden_field must have the shape"),
    )
    yield from table(replica.SpikedEnsemble(jnp.ones(1)).sample, none=((KEY, 0, 3), "n_visible must be"))
    yield from table(replica.locate, stack=((LADDER,), "single RBM"), nan=((NAN_RBM,), r"rbm\.weights holds 12 values"))
    yield from table(
        integrate,
        backward=({"ts": np.array([1.0, 0.0])}, "ts must increase"),
        one_time=({"ts": np.array([1.0])}, "ts must be a vector of at least two"),
        nan_time=({"ts": np.array([0, NAN])}, "ts holds 1 values"),
        text=({"ts": ["a", "b"]}, "ts must be an array"),
        steps=({"max_steps": 0}, "max_steps must be at least 1"),
        step=({"step": -1.0}, "step must be positive"),
        rtol=({"rtol": -1.0}, "rtol must be positive"),
        nan_rtol=({"rtol": NAN}, "rtol must be positive"),
        atol=({"atol": -1.0}, "atol must be at least 0"),
        solver_by_name=({"solver": "tsit5"}, "solver must be one of diffrax"),
        no_force=({"force": 3}, "force must be a function"),
    )
    for force in (dynamics.exact_force, dynamics.gaussian_force, dynamics.mean_field_force):
        yield from table(
            force,
            nan=((WITH_NAN,), "data holds 1 values"),
            empty=((V[:0],), "data must have shape"),
            vector=((V[0],), "data must have shape"),
        )
    yield from table(
        functools.partial(dynamics.exact_force, V), weights=({"sample_weights": np.zeros(3)}, "sample_weights must be")
    )
    yield from table(
        functools.partial(dynamics.mean_field_force, V),
        order=({"order": 4}, "order must be"),
        init=({"init": V[:, :2]}, "init must have 4 units"),
    )
    yield from table(dynamics.data_statistics, none=((None,), "data must be an array"), number=((np.ones(()),), "data"))
    yield from table(functools.partial(dynamics.growth_modes, WITH_NAN), nan=(units, "data holds 1 values"))
    yield from table(
        linear,
        negative_time=({"ts": (-1.0, 1.0)}, "ts must be at least 0"),
        no_start=({"initial": (0.0,)}, "initial must be positive and below linear_bound"),
        beyond=({"initial": (2.0,)}, "initial must be positive and below linear_bound"),
        no_variance=({"variance": (0.0,)}, "data_variance must be positive"),
        modes=({"initial": (0.1, 0.2, 0.3), "variance": (2.0, 1.0)}, "ts must have shape"),
    )
    yield from table(
        dynamics.compare_trajectories,
        units=((TRAJECTORY, Trajectory(jnp.arange(2.0), stack_rbms([SPIN] * 2), jnp.int32(0))), "same unit types"),
        times=((TRAJECTORY, Trajectory(jnp.arange(10.0, 12), LADDER, jnp.int32(0))), "no common time"),
    )
    yield from table(
        functools.partial(dynamics.integrate_modes, dynamics.exact_force(V), BINARY),
        gap=({"ts": jnp.array([0.0, 1.0]), "gap": -1.0}, "gap must be"),
        one_time=({"ts": jnp.array([0.0])}, "ts must be a vector"),
    )
    yield from table(
        data.binarize,
        nan=((WITH_NAN,), "data holds 1 values"),
        two=((WITH_TWO,), r"data must be intensities in \[0, 1\]"),
        negative=((-1.0 * V,), "data must be intensities"),
        empty=((V[:0],), "data must have samples"),
        vector=((V[0],), "data must have samples"),
        text=((TEXT,), "data must be an array of real numbers"),
        ragged=((RAGGED,), "data must be an array of numbers"),
    )
    yield from table(
        functools.partial(data.binarize, V),
        threshold=({"threshold": 2.0}, "threshold must be"),
        nan_threshold=({"threshold": NAN}, "threshold must be"),
        text_threshold=({"threshold": "a"}, "threshold must be a number"),
    )
    yield from table(
        data.intensities, two=((2.0 * V,), "images must be"), complex_numbers=((V * 1j,), "images must be an array")
    )
    yield from table(data.bars_and_stripes, none=((0,), "size must be"), fraction=((2.5,), "size must be"))
    yield from table(
        functools.partial(data.gaussian_data, KEY, 10),
        negative=((-jnp.eye(3),), "covariance must be symmetric, finite and positive"),
        nan=((jnp.full((3, 3), NAN),), "covariance must be symmetric, finite and positive"),
        skew=((jnp.array([[1.0, 0.5], [0, 1]]),), "covariance must be symmetric"),
        vector=((jnp.ones(3),), "covariance must be a square matrix"),
    )
    yield from table(functools.partial(data.ising_chain, KEY, 3, 3), nan=({"coupling": NAN}, "coupling holds 1 values"))
    for diagnostic in (
        rbm_jax.sampling.autocorrelation_time,
        rbm_jax.sampling.effective_sample_size,
        rbm_jax.sampling.r_hat,
    ):
        yield from table(
            diagnostic,
            short=((SERIES[:3],), "series must have shape"),
            vector=((SERIES[:, 0],), "series must have shape"),
            no_chain=((SERIES[:, :0],), "series must have shape"),
            nan=((SERIES * NAN,), "series holds 30 values"),
            text=((TEXT,), "series must be an array"),
        )
    yield from table(
        rbm_jax.sampling.overlaps, widths=((V, V[:, :2]), "first and second"), vector=((V[0],), "first and second")
    )
    for distance in (rbm_jax.sampling.energy_distance, rbm_jax.sampling.adversarial_accuracy):
        yield from table(
            distance, one=((V[:1], V), "two sets of samples"), nan=((WITH_NAN, V), "samples holds 1 values")
        )
    yield from table(
        functools.partial(rbm_jax.sampling.relaxation, KEY, BINARY),
        one=((V[:1],), "data must hold at least two samples"),
        nan=((WITH_NAN,), "data holds 1 values"),
    )
    yield from table(rbm_jax.model.bernoulli_to_spin, spins=((SPIN,), "rbm must have Bernoulli"))
    yield from table(rbm_jax.model.interpolate, shapes=((BINARY, LARGE, 0.5), "start and end must agree"))
    yield from table(rbm_jax.model.independent_rbm, shape=((BINARY, H), "visible_mean must have 4 units"))
    yield from table(
        plotting.plot_images,
        shape=((V, (2, 3)), "images must have one row of 2×3 pixels"),
        none=((V[:0], (2, 2)), "images must hold"),
        text=((TEXT, (2, 2)), "images must be an array"),
    )
    yield from table(
        functools.partial(plotting.plot_images, V, (2, 2)), columns=({"n_columns": 0}, "n_columns must be")
    )
    for plot in (plotting.plot_spectrum, functools.partial(plotting.plot_modes, label="x")):
        yield from table(
            plot,
            vector=((np.arange(3), np.ones(3)), "values must be a matrix of 3 rows"),
            times=((np.arange(3), np.ones((2, 2))), "values must be a matrix of 3 rows"),
        )
    yield from table(
        plotting.plot_comparison,
        nan=((np.arange(2), np.full((2, 2), NAN), {}), "values must hold numbers that are finite"),
    )
    yield from table(plotting.plot_tree, times=(([1.0, 2.0], np.zeros((3, 4), int)), "labels must have shape"))
    yield from table(
        plotting.plot_fixed_points,
        columns=((np.ones((3, 1)), np.ones((2, 2)), np.ones(2)), "data must be a matrix"),
        sizes=((np.ones((3, 2)), np.ones((2, 2)), np.ones(3)), r"points must have shape .* sizes"),
    )
    yield from table(
        plotting.plot_spectrum_histogram,
        none=((bulk(np.ones(0)),), "bulk must have values and is_outlier"),
        nan=((bulk(np.full(3, NAN)),), r"bulk\.values holds 3 values"),
        noise=((bulk(np.ones(3), noise=0.0),), r"bulk\.noise must be positive"),
    )


CASES = list(all_cases())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("call", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        call()
    assert len(str(error.value)) < 400
