"""What test_sharding.py runs in processes of its own: `python -m tests.on_devices OUT [ADDRESS PROCESS_ID]`.

Without an address, one process with eight virtual devices; with one, process 0 or 1 of two, with two devices each.
Results go into an .npz file.
"""

import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.random import key, split

from rbm_jax import PCD, Batches, Centered, Trainer, ais_log_z, fit, init_chains, init_rbm, sample_gibbs
from rbm_jax._internal.placement import row_sharding
from rbm_jax.likelihood.annealing import _anneal
from rbm_jax.model import independent_rbm
from rbm_jax.sampling import init_tempering, sample_tempering, temper_ladder
from rbm_jax.sharding import device_mesh, divide, place_state, replicate, start_processes, to_host, virtual_devices
from rbm_jax.training import Optimizer
from rbm_jax.training.loop import advance

N_VISIBLE, N_HIDDEN, N_CHAINS, N_SAMPLES, BATCH_SIZE = 24, 10, 48, 70, 32
TRAINER = Trainer(PCD(), Optimizer(optax.adam, 0.02))
COLLECTIVE = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def same(tree, mesh):
    """On one device, nothing is placed."""
    return tree


def small_rbm(dtype=None):
    return init_rbm(key(0), N_VISIBLE, N_HIDDEN, scale=0.5, dtype=dtype)


def small_data():
    rng = np.random.default_rng(0)
    return (rng.random((N_SAMPLES, N_VISIBLE)) < rng.random(N_VISIBLE)).astype(np.uint8)


def train(mesh=None, *, place_data=replicate, n_updates=20, batch_size=BATCH_SIZE, sample_weights=None):
    """A state after some updates, on the mesh if there is one."""
    state, data = TRAINER.init(key(1), small_rbm(), n_chains=N_CHAINS), small_data()
    if mesh is not None:
        state, data = place_state(state, mesh), place_data(data, mesh)
    batches = Batches(data, batch_size=batch_size, sample_weights=sample_weights)
    return fit(key(2), TRAINER, state, batches, n_updates=n_updates)[0]


def shares(array, axis=0):
    """The length of this axis on each local device."""
    return np.array([shard.data.shape[axis] for shard in array.addressable_shards])


def leaves_of(state, name):
    """A state's leaves under their names; of chains (or runs) also how many each local device holds."""
    rbm, chains = to_host((state.rbm, state.carry))
    named = {f"{name}/{leaf}": getattr(rbm, leaf) for leaf in ("weights", "visible_bias", "hidden_bias")}
    return named | {f"{name}/chains": chains, f"{name}/shards": shares(state.carry)}


def sampling_results():
    results = {}
    for n_devices in (1, 2, 4, 8):
        rbm = replicate(small_rbm(jnp.float32), device_mesh(n_devices))
        chains = sample_gibbs(key(3), rbm, init_chains(key(1), rbm, N_CHAINS), n_sweeps=50)
        results |= {f"gibbs/{n_devices}": to_host(chains), f"gibbs/{n_devices}/shards": shares(chains)}
    for name, place in (("1", same), ("8", replicate)):
        rbm = place(small_rbm(), device_mesh())
        options = {"data": small_data(), "n_chains": N_CHAINS, "positions": np.linspace(0, 1, 300)}
        estimate = ais_log_z(key(4), rbm, **options)
        results[f"ais/{name}"] = to_host(jnp.stack([estimate.value, estimate.std_error, estimate.ess]))
        ladder = temper_ladder(independent_rbm(rbm, np.full(N_VISIBLE, 0.5)), rbm, jnp.linspace(0, 1, 3))
        state, info = sample_tempering(key(6), ladder, init_tempering(key(5), ladder, N_CHAINS), n_steps=20)
        results[f"tempering/{name}"] = to_host(state.chains)
        results[f"acceptance/{name}"] = to_host(info.acceptance)
        results[f"tempering/{name}/shards"] = shares(state.chains, axis=1)
    return results


def ensemble(place):
    """Sixteen RBMs trained at once by vmap."""
    mesh = device_mesh()
    keys, rbms = place((split(key(7), 16), stack(16)), mesh)
    batches = Batches(small_data(), mesh=mesh if place is divide else None)

    @jax.jit
    @jax.vmap
    def run(run_key, rbm):
        state = TRAINER.init(run_key, rbm, n_chains=10)
        return fit(run_key, TRAINER, state, batches, n_updates=10)[0]

    return run, keys, rbms


def stack(n_rbms):
    return jax.vmap(lambda rbm_key: init_rbm(rbm_key, N_VISIBLE, N_HIDDEN))(split(key(0), n_rbms))


def compiled_texts():
    """The partitioned programs of sampling, of a loop of updates and of an ensemble's training."""
    mesh = device_mesh()
    rbm = replicate(small_rbm(), mesh)
    trainer = Trainer(PCD(metric=Centered()), TRAINER.optimizer)
    state = place_state(trainer.init(key(1), rbm, n_chains=N_CHAINS), mesh)
    sample = jax.jit(functools.partial(sample_gibbs, n_sweeps=5))
    texts = {"sampling": sample.lower(key(0), rbm, state.carry)}
    texts["annealing"] = _anneal.lower(key(0), rbm, rbm, state.carry, jnp.linspace(0, 1, 9), rbm.dtype)
    for name, batches in (
        ("update", Batches(small_data(), BATCH_SIZE, mesh=mesh)),
        ("full update", Batches(divide(small_data()[:64], mesh))),
    ):
        texts[name] = advance.lower(key(2), trainer, state, np.int32(3), key(2), batches, row_sharding(rbm.weights))
    run, keys, rbms = ensemble(divide)
    texts["ensemble"] = run.lower(keys, rbms)
    compiled = {name: lowered.compile() for name, lowered in texts.items()}
    # equinox wraps those of its own jit
    return {name: getattr(program, "compiled", program).as_text() for name, program in compiled.items()}


def errors(mesh):
    """What is said about placements that cannot be."""
    state = TRAINER.init(key(1), small_rbm(), n_chains=50)
    attempts = {
        "device_mesh": lambda: device_mesh(9),
        "divide": lambda: divide({"chains": np.zeros((50, 3))}, mesh),
        "axis": lambda: divide([np.zeros(8)], mesh, axis=1),
        "place_state": lambda: place_state(state, mesh),
        "virtual_devices": lambda: virtual_devices(4),
    }
    messages = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except (ValueError, RuntimeError) as error:
            messages[f"error/{name}"] = np.array(f"{type(error).__name__}: {error}")
    return messages


def one_process(path):
    virtual_devices(8)
    jax.config.update("jax_enable_x64", True)
    mesh = device_mesh()
    results = sampling_results() | errors(mesh)
    weighted = {"sample_weights": np.linspace(0, 1, N_SAMPLES), "batch_size": None}
    # 30 rows are not a multiple of 8
    for name, options in (("", {}), ("-uneven", {"batch_size": 30}), ("-weighted", weighted)):
        results |= leaves_of(train(**options), f"train{name}/1") | leaves_of(train(mesh, **options), f"train{name}/8")
    for name, place in (("1", same), ("8", divide)):
        run, keys, rbms = ensemble(place)
        results |= leaves_of(run(keys, rbms), f"ensemble/{name}")
    texts = compiled_texts()
    results |= {f"collectives/{name}": np.array(COLLECTIVE.findall(text), str) for name, text in texts.items()}
    # Arrays of all chains, or of all rows of a batch, would be work that each device does for all.
    results |= {f"whole/{name}": np.array(re.findall(r"f64\[(?:48|32|64),\d+\]", texts[name])) for name in texts}
    np.savez(path, **results)


def two_processes(path, address, process_id):
    virtual_devices(2)
    start_processes(address, 2, process_id)
    jax.config.update("jax_enable_x64", True)
    mesh = device_mesh()
    results = leaves_of(train(mesh), "replicated")
    even = {"place_data": lambda data, mesh: divide(data[:64], mesh), "n_updates": 10}
    results |= leaves_of(train(mesh, **even), "divided")

    def damaged(data, mesh):
        return divide(np.where(np.arange(64)[:, None] == 50, 2, data[:64]), mesh)

    try:
        train(mesh, place_data=damaged)
    except ValueError as error:
        results["error"] = np.array(str(error))
    results["bits"] = to_host(jax.random.bits(divide(split(key(0), 4), mesh)[3], (2,)))
    np.savez(path, **results)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        one_process(sys.argv[1])
    else:
        two_processes(sys.argv[1], sys.argv[2], int(sys.argv[3]))
