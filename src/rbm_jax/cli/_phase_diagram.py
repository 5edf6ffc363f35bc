"""`rbm-jax phase-diagram`: the phases of the ensemble, and a training's path through them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rbm_jax.cli._common import open_run, write_figures
from rbm_jax.cli._fields import make, with_fields
from rbm_jax.cli._json import numbers_of, with_json
from rbm_jax.cli._options import Update
from rbm_jax.experiments.phases import PhaseDiagramRecipe, draw_phases, path_table, phases_figure

__all__ = ["phase_diagram_command"]


@with_json
@with_fields(PhaseDiagramRecipe)
def phase_diagram_command(
    settings: dict[str, Any],
    trajectory: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of rbm-jax train: draw its path, at its own ratio.")
    ] = None,
    update: Update = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("phase-diagram.png"),
) -> dict[str, Any]:
    """Paramagnet, ferromagnet and spin glass of RBMs with planted modes and noise, by replica theory.

    Example: rbm-jax phase-diagram --law gaussian --trajectory run
    """
    training = None if trajectory is None else open_run(trajectory, update).trajectory
    result = draw_phases(make(PhaseDiagramRecipe, settings), training)
    numbers = numbers_of(result, "law", "ratio", "lines")
    if result.path is not None:
        typer.echo(path_table(result.path))
        numbers["path"] = vars(result.path)
    return numbers | {"files": write_figures({out: phases_figure(result)})}
