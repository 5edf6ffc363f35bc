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
PUBLIC_MODULES = ["rbm_jax", *(f"rbm_jax.{name}" for name in dir(rbm_jax) if inspect.ismodule(getattr(rbm_jax, name)))]
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((DOCS.parent / "notebooks").glob("*.ipynb"))]


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


def test_no_page_and_no_example_freezes_options_with_partial():
    assert len(PAGES) > 9
    for page in PAGES:
        assert not re.search(r"\bpartial\(|functools", page.read_text()), page
    for name in MODULES:
        source = Path(importlib.import_module(name).__file__).read_text()
        examples = re.findall(r"^ *(?:>>>|\.\.\.) .*$", source, flags=re.MULTILINE)
        assert not re.search(r"\bpartial\(|functools", "\n".join(examples)), name


def test_new_names_in_the_changelog_exist_and_old_ones_do_not():
    changes = (DOCS.parent / "CHANGELOG.md").read_text()
    rows = re.findall(r"^\| `(rbm_jax[\w.]+)` \| `(rbm_jax[\w.]+)` \|$", changes, flags=re.MULTILINE)
    assert len(rows) >= 50
    for old, new in rows:
        pkgutil.resolve_name(new)
        with pytest.raises((AttributeError, ImportError)):
            pkgutil.resolve_name(old)


def test_version_is_that_of_the_project_file_and_of_the_latest_changes():
    project = (DOCS.parent / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.*)"$', project, flags=re.MULTILINE)[1] == rbm_jax.__version__
    assert (
        re.search(r"^## (.*)$", (DOCS.parent / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
        == rbm_jax.__version__
    )


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


def test_each_command_has_its_python_call_beside_it():
    sections = re.split(r"^### ", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) == len(COMMANDS)
    for section in sections:
        call = re.search(r"From Python: \[`(\w+)\(.*?\)`\]\[rbm_jax\.(\w+)\.(\w+)\]", section)
        assert call is not None, section.splitlines()[0]
        assert call[1] == call[3]
        assert call[3] in importlib.import_module(f"rbm_jax.{call[2]}").__all__
