"""Every example runs, and every public name is documented and exported once."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import rbm_jax
from rbm_jax.cli._app import COMMANDS, load_command

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
        shorter = re.sub(r"\b100([01])\b", r"10\1", block)  # a tenth of the updates and of the chains
        exec(compile(shorter, name, "exec"), {})


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
    """Public names on the API pages, as (name, id): of `::: module`, its listed members, or `::: module.Class`."""
    directive = re.compile(
        r"^::: ([\w.]+?)(?:\.([A-Z]\w*))?$(?:\n    options:\n      members: \[(.*?)\])?", re.MULTILINE
    )
    for page in (DOCS / "api").glob("*.md"):
        for path, single, members in directive.findall(page.read_text()):
            module = importlib.import_module(path)
            names = [single] if single else members.split(", ") if members else module.__all__
            assert set(names) <= set(module.__all__), f"{page.name}: {path}"
            yield from ((name, id(getattr(module, name))) for name in names)


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
    assert sorted(re.findall(r"^### (.*)$", page, flags=re.MULTILINE)) == sorted(COMMANDS)
    for name in COMMANDS:
        example = re.search(r"Example: (rbm-jax .*)", load_command(name).help)[1]
        assert f"```sh\n{example}\n```" in page
