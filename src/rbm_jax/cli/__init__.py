"""The command line."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rbm_jax._version import __version__
from rbm_jax.cli._compare import compare
from rbm_jax.cli._fixed_points import fixed_points
from rbm_jax.cli._gallery import figures
from rbm_jax.cli._impute import impute_command
from rbm_jax.cli._inpaint import inpaint
from rbm_jax.cli._likelihood import likelihood
from rbm_jax.cli._methods import compare_training
from rbm_jax.cli._phase_diagram import phase_diagram_command
from rbm_jax.cli._runs import sample, train
from rbm_jax.cli._spectrum import spectrum

__all__ = ["run"]


def _echo_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"rbm-jax {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_echo_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app = typer.Typer(
    callback=_main,
    name="rbm-jax",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Restricted Boltzmann Machines and the physics of how they learn.",
)
for _name, _command, _summary in (
    ("train", train, "Train an RBM on your data, or go on with a run."),
    ("sample", sample, "Draw samples of a run."),
    ("inpaint", inpaint, "Complete halves of images."),
    ("impute", impute_command, "Complete data with missing entries."),
    ("likelihood", likelihood, "Bound the log-likelihood of a run from both sides."),
    ("spectrum", spectrum, "Singular modes along a training, in pictures."),
    ("fixed-points", fixed_points, "Clusters of the data, and how they split."),
    ("compare", compare, "A training beside the continuous-time theory."),
    ("compare-training", compare_training, "Training by PCD and by extended mean field."),
    ("phase-diagram", phase_diagram_command, "Phases of RBMs of planted modes and noise."),
    ("figures", figures, "Every figure of the theory beside simulation."),
):
    app.command(_name, short_help=_summary)(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 2 for a user's mistake, 130 after Ctrl-C.

    Args:
        arguments: what follows `rbm-jax` on the command line; None for `sys.argv`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(arguments, prog_name="rbm-jax", standalone_mode=False)
    except (typer.TyperException, ValueError, OSError, ImportError) as error:
        message = _explain_usage(error) if isinstance(error, typer.TyperException) else str(error)
        typer.echo(f"rbm-jax: {' '.join(message.split())}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:
        typer.echo("rbm-jax: interrupted; finished files are intact, and train --resume goes on with a run", err=True)
    return code or 0


def _explain_usage(error: typer.TyperException) -> str:
    """What is wrong with a command line, what came instead, and where to read what can be given."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    invalid = getattr(error.__cause__, "errors", list)()  # of the value that typer could not convert
    if invalid and repr(invalid[0]["input"]) not in message:
        message += f", got {invalid[0]['input']!r}"
    context = getattr(error, "ctx", None)
    return f"{message} (see {'rbm-jax' if context is None else context.command_path} --help)"
