"""Every example runs, and every public name is documented and exported once."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import rbm_jax

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(rbm_jax.__path__, "rbm_jax.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=options).failed == 0


def test_python_in_the_readme_runs():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_commands_in_the_readme_are_those_of_continuous_integration():
    root = Path(__file__).parents[1]
    readme, script = (root / "README.md").read_text(), (root / ".ci" / "run").read_text()
    command = re.search(r"pip install -e \"\.\[test\]\" && \S+/python (-m pytest [^\n]*)", readme)
    assert command
    assert f'"$venv/bin/python" {command[1]}' in script


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isroutine(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{public}"


def test_public_names_of_the_package_are_listed_in_order():
    assert len(set(rbm_jax.__all__)) == len(rbm_jax.__all__)
    for name in rbm_jax.__all__:
        assert hasattr(rbm_jax, name)
