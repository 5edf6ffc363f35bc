"""What `import rbm_jax` gives, and what it costs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rbm_jax
from rbm_jax.cli._app import COMMANDS, load_command

ROOT_NAMES = """
RBM init_rbm stack_rbms
AbstractUnits Bernoulli Spin Gaussian ReLU Potts
joint_energy visible_free_energy hidden_free_energy visible_field hidden_field temper
sample_gibbs gibbs_step sample_visible sample_hidden init_chains
PCD CD EMF PTT Exact Centered Standardized Trainer TrainState Batches fit fit_many train_step
Trajectory Status integrate
log_likelihood ais_log_z exact_log_z exact_log_likelihood pseudo_log_likelihood LogZEstimate
svd_modes Modes
solve_mean_field find_fixed_points
"""
PACKAGES = (
    "data units model spectral sampling mean_field missing symmetry likelihood training dynamics replica sharding"
    " progress io plotting sklearn runs experiments cli"
)
SOURCE = Path(rbm_jax.__file__).parents[1]

MEASURE = """
import json, resource, sys
before, used = set(sys.modules), resource.getrusage(resource.RUSAGE_SELF)
{code}
after = resource.getrusage(resource.RUSAGE_SELF)
seconds = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""
BUDGET = {"import rbm_jax": 0.1, "rbm-jax --help": 0.3}
"""Seconds of a processor that is not in a hurry."""
SLOWER = 4
"""How much slower than that a busy machine of continuous integration may be; what is imported is checked exactly."""
HEAVY = {"jax", "jaxlib", "numpy", "scipy", "equinox", "optax", "diffrax", "optimistix", "h5py", "matplotlib", "tqdm"}


def measured(code):
    """CPU-seconds of some code in a fresh process, the modules it imports, and what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", MEASURE.format(code=code)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    *printed, last = finished.stdout.splitlines()
    seconds, modules = json.loads(last)
    return seconds, {name.partition(".")[0] for name in modules}, "\n".join(printed)


def test_root_names_are_those_of_the_design():
    assert len(set(rbm_jax.__all__)) == len(rbm_jax.__all__)
    assert set(rbm_jax.__all__) == set(ROOT_NAMES.split())


def test_dir_of_the_root_lists_its_names_and_packages_and_nothing_else():
    assert set(dir(rbm_jax)) == {*ROOT_NAMES.split(), *PACKAGES.split(), "__version__"}


@pytest.mark.parametrize("name", ROOT_NAMES.split())
def test_every_root_name_is_the_one_of_its_package_and_is_kept(name):
    value = getattr(rbm_jax, name)
    assert vars(rbm_jax)[name] is value
    package = importlib.import_module(f"rbm_jax.{rbm_jax._HOMES[name]}")
    assert name in package.__all__
    assert getattr(package, name) is value


@pytest.mark.parametrize("name", PACKAGES.split())
def test_every_package_is_an_attribute_that_lists_names_it_has(name):
    package = getattr(rbm_jax, name)
    assert package is importlib.import_module(f"rbm_jax.{name}")
    missing = [public for public in package.__all__ if not hasattr(package, public)]
    assert missing == []
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("module", [rbm_jax, rbm_jax.plotting, rbm_jax.cli])
def test_lazy_packages_have_no_other_names(module):
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_importing_the_root_imports_the_standard_library_alone():
    seconds, modules, _ = measured("import rbm_jax")
    assert modules - {"rbm_jax"} <= sys.stdlib_module_names
    assert seconds < SLOWER * BUDGET["import rbm_jax"]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_numbers(option):
    code = f"from rbm_jax.cli import run\nassert run(['{option}']) == 0"
    seconds, modules, printed = measured(code)
    assert not modules & HEAVY
    assert ("Commands:" if option == "--help" else rbm_jax.__version__) in printed
    assert seconds < SLOWER * BUDGET["rbm-jax --help"]


def test_a_name_brings_what_it_needs_and_no_more():
    _, modules, _ = measured("import rbm_jax\nrbm_jax.RBM, rbm_jax.plotting.plot_images")
    assert "jax" in modules
    assert not modules & {"optax", "diffrax", "optimistix", "h5py", "matplotlib", "tqdm", "typer"}


def test_every_listed_command_is_where_the_list_says_with_its_summary():
    for name, home in COMMANDS.items():
        command = load_command(name)
        assert (command.name, command.short_help) == (name, home.summary)
        assert home.summary[0].isupper()
        assert home.summary.endswith(".")
        assert f"Example: rbm-jax {name}" in command.help, name
