"""Options that several commands share, beside the fields of recipes."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Devices", "OtherData", "Out", "Picture", "RunFolder", "Update"]

Devices = Annotated[
    int | None,
    typer.Option(min=1, help="Devices to divide the work among; a CPU is split into so many [default: one device]."),
]
OtherData = Annotated[str | None, typer.Option(help="Other data, as in rbm-jax train [default: the run's].")]
Out = Annotated[Path, typer.Option(help="Folder to write to; made if it is not there.")]
Picture = Annotated[Path | None, typer.Option(help="The file to write [default: one in the run].")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that rbm-jax train wrote.")]
Update = Annotated[int | None, typer.Option(min=0, help="A saved update of the run [default: the latest state].")]
