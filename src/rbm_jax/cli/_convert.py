"""`rbm-jax convert`: rewrite a run of an older version."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rbm_jax.cli._json import with_json
from rbm_jax.io import convert_run

__all__ = ["convert"]


@with_json
def convert(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Folder of a run that an older version wrote.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder to write to; it must not hold files yet.")],
) -> dict[str, Any]:
    """Rewrite the files of a run of an older version, so that this version can resume it.

    RBMs, chains, the trajectory and settings stay the same; the random numbers of a resumed run are those of this
    version. Other files are not copied.

    Example: rbm-jax convert run run-converted
    """
    files = convert_run(old, new)
    typer.echo(f"wrote {len(files)} files to {new}")
    return {"files": files}
