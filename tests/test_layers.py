"""The architecture: a module imports only from a lower layer, or from an earlier file of its own."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "rbm_jax"

# From the bottom up; within a layer, a file imports only those before it.
LAYERS = [
    ["_version", "_typing", "_checks", "_optional", "_files", "_math", "_placement", "_random", "_truncated_normal"],
    ["units.abstract", "units.discrete", "units.potts", "units.continuous", "units", "rbm", "trajectory"],
    ["energies", "transforms", "moments", "gaussian"],
    [
        "exact",
        "pseudolikelihood",
        "spectral.modes",
        "spectral.statistics",
        "spectral.bulk",
        "spectral.along",
        "spectral",
        "replica.ensemble",
        "replica.averages",
        "replica.saddle",
        "replica.phases",
        "replica.clusters",
        "replica",
        "sampling.gibbs",
        "sampling.tempering",
        "sampling.trajectory",
        "sampling",
        "mean_field.fluctuations",
        "mean_field.free_energy",
        "mean_field.sweep",
        "mean_field.solve",
        "mean_field.clustering",
        "mean_field",
        "data.synthetic",
        "data.datasets",
        "data.sequences",
        "data.fasta",
        "data",
    ],
    [
        "missing",
        "estimators",
        "partition.estimate",
        "partition.annealing",
        "partition.ladders",
        "partition",
        "diagnostics",
        "ladder_health",
        "symmetry.tyings",
        "symmetry.tied",
        "symmetry.fourier",
        "symmetry.estimators",
        "symmetry",
    ],
    [
        "penalties",
        "_fitting",
        "training",
        "streaming",
        "ensemble",
        "dynamics.forces",
        "dynamics.modes",
        "dynamics.linear",
        "dynamics.solve",
        "dynamics.mode_flow",
        "dynamics.thermodynamic",
        "dynamics.compare",
        "dynamics",
    ],
    [
        "checkpoint.files",
        "checkpoint.results",
        "checkpoint.updates",
        "checkpoint",
        "progress",
        "sharding",
        "interop",
        "sklearn",
        "plotting.style",
        "plotting._axes",
        "plotting.images",
        "plotting.clusters",
        "plotting.trajectories",
        "plotting.spectral",
        "plotting.replica",
        "plotting",
    ],
    [
        "cli._json",
        "cli._datasets",
        "cli._common",
        "cli._side_by_side",
        "cli._compare",
        "cli._likelihood",
        "cli._impute",
        "cli._inpaint",
        "cli._methods",
        "cli._fixed_points",
        "cli._linear",
        "cli._growth",
        "cli._training",
        "cli._runs",
        "cli._spectrum",
        "cli._phase_diagram",
        "cli._instances",
        "cli._projected",
        "cli._lossy",
        "cli._symmetry",
        "cli._replica",
        "cli._gallery",
        "cli",
        "__main__",
        "__init__",
    ],
]
ORDER = [module for layer in LAYERS for module in layer]
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
# Only these touch disk, terminal, clock or matplotlib.
OUTER = {"checkpoint", "progress", "interop", "plotting"}
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


@pytest.mark.parametrize("module", [name for name in sorted(FILES) if name not in OUTER and "cli" not in name])
def test_lower_layers_do_not_touch_the_outside(module):
    if module in ("__main__",):
        return
    found = {imported.partition(".")[0] for imported in imports(FILES[module])}
    assert not found & FORBIDDEN_BELOW


def test_dynamics_never_imports_training():
    for module, path in FILES.items():
        if module.startswith("dynamics"):
            assert "rbm_jax.training" not in set(imports(path))


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
