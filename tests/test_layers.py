"""The architecture: a module imports only from a lower layer, or from an earlier file of its own package."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rbm_jax"

# A module imports only from packages above its own, or from an earlier file of its own package.
TREE = """
_version
_internal           typing optional files math truncated_normal arrays arrays checks fields placement random
data                synthetic datasets sequences fasta
units               abstract scales discrete potts continuous rectified
model               rbm trajectory energies transforms statistics metrics gaussian exact
spectral            modes statistics bulk along
sampling            gibbs tempering trajectory_tempering diagnostics
mean_field          fluctuations free_energy sweep solve response clustering
missing             data_terms imputation
symmetry            tyings tied fourier
likelihood          estimate annealing ladders pseudo health
training            estimators tied trainer review penalties minibatches streaming batches loop many
dynamics            ode forces modes linear mode_flow compare
replica             distributions ensemble averages saddle phases clusters learning
progress
io                  files results checkpoints interop
sharding
plotting            style _axes images clusters trajectories spectral replica
sklearn
cli                 _json _datasets _common _side_by_side _compare _likelihood _impute _inpaint _methods _fixed_points
                    _linear _growth _training _runs _spectrum _phase_diagram _instances _projected _lossy _symmetry
                    _replica _gallery
__main__
__init__
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
# Only these touch disk, terminal, clock or matplotlib.
OUTER = {"io", "progress", "plotting", "cli", "sharding", "__main__", "_internal.files", "training.streaming"}
FORBIDDEN_BELOW = {"time", "tqdm", "matplotlib", "typer", "h5py", "sys", "pickle"}


def imports(path):
    """Names of the modules that a file imports, with those of the package relative to it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "rbm_jax":
                yield from (f"rbm_jax.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_file_has_its_place():
    assert set(FILES) == set(ORDER)


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module):
    for imported in imports(FILES[module]):
        package, _, inner = imported.partition(".")
        if package == "rbm_jax" and module != "__init__":
            assert inner in ORDER, f"{module} imports {imported}"
            assert ORDER.index(inner) < ORDER.index(module), f"{module} imports {imported}, which is above it"


@pytest.mark.parametrize("module", [name for name in sorted(FILES) if not {name, name.partition(".")[0]} & OUTER])
def test_lower_layers_do_not_touch_the_outside(module):
    found = {imported.partition(".")[0] for imported in imports(FILES[module])}
    assert not found & FORBIDDEN_BELOW


def test_dynamics_never_imports_training():
    for module, path in FILES.items():
        if module.startswith("dynamics"):
            assert "rbm_jax.training.loop" not in set(imports(path))


@pytest.mark.parametrize("module", sorted(FILES))
def test_every_file_lists_its_public_names_and_is_short(module):
    tree = ast.parse(FILES[module].read_text())
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in assigned
    assert len(FILES[module].read_text().splitlines()) <= 400
