"""Every example runs, and every public name is documented and exported once."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import typer

import rbm_jax
from rbm_jax.cli import app

DOCS = Path(__file__).parents[1] / "docs"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(rbm_jax.__path__, "rbm_jax.")
    if not module.name.endswith("__main__")
)
PACKAGES = (
    "checkpoint data dynamics estimators interop mean_field missing partition plotting replica sampling sharding"
    " sklearn spectral symmetry"
)
PUBLIC_MODULES = ["rbm_jax", *(f"rbm_jax.{package}" for package in PACKAGES.split())]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=options).failed == 0


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_python_on_the_pages_runs(name):
    page = (DOCS.parent / name).read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), {})


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


def documented_names():
    """Public names on the API pages, as (name, value); pages have `::: module`, some with a list of members."""
    for page in (DOCS / "api").glob("*.md"):
        for module, members in re.findall(
            r"^::: ([\w.]+)$(?:\n    options:\n      members: \[(.*?)\])?", page.read_text(), flags=re.MULTILINE
        ):
            value = importlib.import_module(module)
            names = members.split(", ") if members else value.__all__
            assert set(names) <= set(value.__all__), f"{page.name}: {module}"
            yield from ((name, id(getattr(value, name))) for name in names)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_every_public_name_is_on_one_page(name):
    pages = list(documented_names())
    assert len(pages) == len(set(pages))
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        assert inspect.ismodule(value) or (public, id(value)) in pages, f"{name}.{public} is on no page in docs/api"


def test_commands_and_their_examples_are_on_the_page_of_the_command_line():
    page = (DOCS / "cli.md").read_text()
    commands = typer.main.get_command(app).commands
    assert sorted(re.findall(r"^### (.*)$", page, flags=re.MULTILINE)) == sorted(commands)
    for command in commands.values():
        example = re.search(r"Example: (rbm-jax .*)", command.help)[1]
        assert f"```sh\n{example}\n```" in page


def test_public_names_of_the_package_are_listed_in_order():
    assert len(set(rbm_jax.__all__)) == len(rbm_jax.__all__)
    for name in rbm_jax.__all__:
        assert hasattr(rbm_jax, name)
