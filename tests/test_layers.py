"""The architecture: who may import whom, who may touch the outside, what is public, and how long things are."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rbm_jax"

# A module imports only from packages above its own, or from an earlier file of its own package.
TREE = """
_version
_internal           typing optional files math truncated_normal arrays support checks fields placement random
data                synthetic datasets sequences fasta
units               abstract scales discrete potts continuous rectified
model               rbm trajectory energies transforms statistics metrics gaussian exact
spectral            modes statistics bulk along
sampling            gibbs tempering trajectory_tempering traces diagnostics
mean_field          fluctuations free_energy sweep solve response clustering
missing             data_terms imputation
symmetry            tyings tied fourier
likelihood          estimate annealing ladders mean_field pseudo health
training            estimators tied trainer review penalties minibatches streaming batches loop many
dynamics            ode forces modes linear mode_flow compare
replica             distributions ensemble averages saddle phases clusters learning
sharding
progress
io                  files units results checkpoints convert interop
plotting            style _axes images clusters trajectories spectral replica
sklearn
runs                sources recipe folder records signals loop training run
experiments         quality instances projected phases equations equation_figures methods training_spectrum
                    spectrum_figures clusters bounds samples completions linear_theory early_growth measured_phases
                    order competition trajectory tied_weights lossy gallery
cli                 _json _options _fields _common _compare _methods _likelihood _spectrum _fixed_points
                    _phase_diagram _samples _train _gallery _convert _app
__init__
__main__
"""


def _listed(tree):
    """Modules in the order of the page; the file __init__ of a package comes after its others."""
    package = None
    for line in tree.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            if package is not None:
                yield package
            package, *words = words
        yield from (f"{package}.{word}" for word in words)
    yield package


ORDER = list(_listed(TREE))
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
PARSED = {module: ast.parse(path.read_text()) for module, path in FILES.items()}
PACKAGES = {module for module, path in FILES.items() if path.name == "__init__.py"}

LAZY = {"__init__", "plotting", "experiments", "cli"}
"""Whose names load when they are first used."""
OUTER = {"data", "io", "progress", "plotting", "sharding", "runs", "experiments", "cli", "__main__"}
OUTER |= {"_internal.files", "_internal.placement", "training.streaming"}
"""Which touch disk, terminal, clock, devices or matplotlib; all others do not."""
OUTER_MODULES = """
os pathlib io tempfile shutil glob sys subprocess socket urllib signal time datetime multiprocessing threading
h5py typer tqdm matplotlib
"""
OUTER_CALLS = """
print open input breakpoint jax.debug.print jax.debug.callback jax.experimental.io_callback
jax.devices jax.local_devices jax.device_count jax.local_device_count jax.process_index
np.load np.save np.savez np.memmap np.fromfile np.loadtxt np.savetxt np.lib.format.open_memmap
"""
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

MAX_LINES, MAX_BODY = 400, 40
"""Of a file, and of a function without its docstring: what one reads without losing the thread."""

KEY_IS_AN_OPTION = {"binarize": "rounds by a threshold without one", "save_checkpoint": "writes it to the file"}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def nodes(tree, *, type_checking=False):
    """All nodes of a file, those inside functions too; of `if TYPE_CHECKING` none, or only those."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node):
            if type_checking:
                yield from (inner for statement in node.body for inner in ast.walk(statement))
            waiting += node.orelse
            continue
        if not type_checking:
            yield node
        waiting += ast.iter_child_nodes(node)


def names_imported(found):
    """What import statements, and calls of `require` or `import_module`, name."""
    for node in found:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            if node.module == "rbm_jax":
                yield from (f"rbm_jax.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("require", "import_module"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def imports(module):
    return set(names_imported(nodes(PARSED[module])))


def calls(module):
    return {ast.unparse(node.func) for node in nodes(PARSED[module]) if isinstance(node, ast.Call)}


def functions(module):
    return [node for node in ast.walk(PARSED[module]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def assigned(tree, name):
    """The value that is assigned to a name at the top of a file."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return node.value
    return None


def public_names(module):
    value = assigned(PARSED[module], "__all__")
    assert isinstance(value, ast.List), f"{module} has no __all__ that is a list of names"
    return ast.literal_eval(value)


def arguments(function):
    """Names of arguments, first those by position, and the names of those that have a default."""
    given = function.args
    positional = [argument.arg for argument in given.posonlyargs + given.args if argument.arg not in ("self", "cls")]
    named = [argument.arg for argument in given.kwonlyargs]
    defaults = positional[len(positional) - len(given.defaults) :]
    defaults += [name for name, default in zip(named, given.kw_defaults, strict=True) if default is not None]
    return positional, named, defaults


def is_outer(module):
    return bool({module, module.partition(".")[0]} & OUTER)


def test_every_file_has_its_place():
    assert set(FILES) == set(ORDER)


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module):
    for imported in imports(module):
        package, _, inner = imported.partition(".")
        if package == "rbm_jax":
            assert inner in ORDER, f"{module} imports {imported}"
            assert ORDER.index(inner) < ORDER.index(module), f"{module} imports {imported}, which is above it"


def test_the_walk_sees_imports_in_functions_and_not_those_for_type_checkers():
    code = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import a
else:
    import b
def f():
    import c.d
    with_h5py = optional.require("e")
"""
    assert set(names_imported(nodes(ast.parse(code)))) == {"typing", "b", "c.d", "e"}
    assert set(names_imported(nodes(ast.parse(code), type_checking=True))) == {"a"}


@pytest.mark.parametrize("module", [name for name in sorted(FILES) if not is_outer(name)])
def test_only_the_outer_packages_touch_disk_terminal_clock_devices_and_figures(module):
    assert not {imported.partition(".")[0] for imported in imports(module)} & set(OUTER_MODULES.split())
    assert not calls(module) & set(OUTER_CALLS.split())


def test_nothing_reads_or_writes_pickles():
    for module, tree in PARSED.items():
        assert not {imported.partition(".")[0] for imported in imports(module)} & PICKLES, module
        for node in nodes(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", module


def test_dynamics_never_imports_training():
    for module in FILES:
        if module.partition(".")[0] == "dynamics":
            assert not any(imported.startswith("rbm_jax.training") for imported in imports(module)), module


def test_nothing_imports_private_parts_of_other_packages():
    for module in FILES:
        for imported in imports(module):
            package, *inner = imported.split(".")
            if package != "rbm_jax":
                assert not any(part.startswith("_") for part in inner), f"{module} imports {imported}"
                assert imported != "equinox.internal", module


@pytest.mark.parametrize("module", sorted(FILES))
def test_public_names_are_listed_where_they_are_at_most_one_level_below_a_package(module):
    assert module.count(".") <= 1
    public, tree = public_names(module), PARSED[module]
    assert len(set(public)) == len(public)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for node in tree.body if isinstance(node, kinds)}
    assert {name for name in defined if not name.startswith("_")} <= set(public) | {"main"}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    bound = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    bound |= {ast.unparse(node.target) for node in tree.body if isinstance(node, ast.AnnAssign)}
    bound |= {
        alias.asname or alias.name
        for node in [*nodes(tree), *nodes(tree, type_checking=True)]
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert set(public) <= defined | bound


@pytest.mark.parametrize("module", sorted(FILES))
def test_files_and_bodies_are_short(module):
    assert len(FILES[module].read_text().splitlines()) <= MAX_LINES
    for function in functions(module):
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert n_lines <= MAX_BODY, f"{module}.{function.name} has {n_lines} lines"


def test_the_command_line_is_thin():
    lines = {module: len(FILES[module].read_text().splitlines()) for module in FILES}
    assert sum(lines[module] for module in FILES if module.split(".")[0] == "cli") <= sum(lines.values()) / 10


def test_keys_come_first_and_have_no_default():
    for module in FILES:
        public = set(public_names(module))
        for function in functions(module):
            positional, named, defaults = arguments(function)
            if function.name in public - set(KEY_IS_AN_OPTION) and "key" in positional + named:
                assert positional[:1] == ["key"], f"{module}.{function.name}"
                assert "key" not in defaults, f"{module}.{function.name}"


def test_only_temper_takes_an_inverse_temperature():
    found = {
        function.name
        for module in FILES
        for function in functions(module)
        if "beta" in [*arguments(function)[0], *arguments(function)[1]]
    }
    assert found == {"temper"}


def test_no_file_is_named_like_a_public_name_of_its_package():
    """Else the file, once imported, takes the place of a name that loads lazily."""
    for package in PACKAGES:
        files = {path.stem for path in FILES[package].parent.iterdir()}
        assert not files & set(public_names(package)), package


def test_only_the_outermost_packages_load_lazily():
    lazy = {module for module in FILES if any(function.name == "__getattr__" for function in functions(module))}
    assert {module for module in lazy if module in PACKAGES} == LAZY


@pytest.mark.parametrize("package", sorted(LAZY))
def test_lazy_packages_are_complete_for_type_checkers_and_for_people(package):
    tree = PARSED[package]
    at_run_time = [node for node in nodes(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert set(names_imported(at_run_time)) <= {"importlib", "typing", "rbm_jax._version"}
    assert "__dir__" in {function.name for function in functions(package)}
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "not TYPE_CHECKING"]
    assert [[inner.name for inner in node.body] for node in guarded] == [["__getattr__"]]
    assert "globals()[name] =" in ast.unparse(guarded[0])
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in nodes(tree, type_checking=True)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    packages = ast.literal_eval(assigned(tree, "_PACKAGES")) if package == "__init__" else ()
    assert set(seen) == set(public_names(package)) | set(packages)
    assert all(f"rbm_jax.{name}" == seen[name] for name in packages)
