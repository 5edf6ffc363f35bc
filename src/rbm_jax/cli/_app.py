"""The group of commands, each of which is imported when it is called: `--help` and completion import none but typer."""

import importlib
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from rbm_jax._version import __version__

__all__ = ["COMMANDS", "Home", "app", "load_command", "run"]


class Home(NamedTuple):
    """Where a command is, and what the list of commands says about it.

    Attributes:
        module: of this package.
        function: the command in it.
        summary: one line, beside the command's name.
    """

    module: str
    function: str
    summary: str


COMMANDS = {
    "train": Home("_train", "train", "Train an RBM on your data, or resume a run."),
    "sample": Home("_samples", "sample", "Draw samples of a run."),
    "inpaint": Home("_samples", "inpaint_command", "Complete halves of images."),
    "impute": Home("_samples", "impute_command", "Complete data with missing entries."),
    "likelihood": Home("_likelihood", "likelihood", "Bound the log-likelihood of a run from both sides."),
    "spectrum": Home("_spectrum", "spectrum_command", "Draw the singular modes along a training."),
    "fixed-points": Home("_fixed_points", "fixed_points_command", "Find clusters of the data, and how they split."),
    "compare": Home("_compare", "compare_command", "Compare a training with the continuous-time theory."),
    "compare-training": Home(
        "_methods", "compare_training_command", "Compare training by PCD and by extended mean field."
    ),
    "phase-diagram": Home("_phase_diagram", "phase_diagram_command", "Draw the phases of RBMs of modes and noise."),
    "figures": Home("_gallery", "figures", "Draw every figure of the theory beside simulation."),
    "convert": Home("_convert", "convert", "Rewrite a run of an older version."),
}


def load_command(name: str) -> Any:
    """The typer command of this name, as `rbm-jax` runs it; its module is imported.

    Raises:
        KeyError: there is no such command.
    """
    home = COMMANDS[name]
    function = getattr(importlib.import_module(f"rbm_jax.cli.{home.module}"), home.function)
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    alone.command(name, short_help=home.summary)(function)
    return typer.main.get_command(alone)


class _LazyGroup(TyperGroup):
    """A group that lists stubs, and puts the command in the place of its stub when it is called or completed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, stub, rest = super().resolve_command(ctx, args)
        return name, stub if name is None else load_command(name), rest


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


def _stub() -> None:
    """What stands in the list for a command that is not imported."""


app = typer.Typer(
    cls=_LazyGroup,
    callback=_main,
    name="rbm-jax",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Restricted Boltzmann Machines and the physics of how they learn.",
)
for _name, _home in COMMANDS.items():
    app.command(_name, short_help=_home.summary)(_stub)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, or 2 for a user's mistake.

    After a signal it is 128 more than its number, 130 after Ctrl-C. Warnings are lines on standard error.

    Args:
        arguments: what follows `rbm-jax` on the command line; None for `sys.argv`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)  # once for each text and place
            warnings.showwarning = _show_warning
            code = app(arguments, prog_name="rbm-jax", standalone_mode=False)
    except (typer.TyperException, ValueError, OSError, ImportError) as error:
        message = _explain_usage(error) if isinstance(error, typer.TyperException) else str(error)
        typer.echo(f"rbm-jax: {_by_option(' '.join(message.split()), arguments[0])}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as error:
        if not isinstance(error.code, int) or error.code <= 128:
            raise
        code = error.code  # a signal
    if code and code > 128:
        how = "interrupted" if code == 130 else f"stopped by {signal.Signals(code - 128).name}"
        typer.echo(f"rbm-jax: {how}; finished files are intact, and train --resume continues a run", err=True)
    return code or 0


def _show_warning(message: Warning | str, *where: Any) -> None:
    typer.echo(f"rbm-jax: warning: {message}", err=True)


def _by_option(message: str, command: str) -> str:
    """A message that begins with the name of an argument, as Python knows it, with that of the command's option."""
    name = re.match(r"\w+(?=[: ])", message)
    if name is None or command not in COMMANDS:
        return message
    options = {each.name: each.opts[0] for each in load_command(command).params}
    option = options.get(name[0], "")
    return option + message.removeprefix(name[0]) if option.startswith("--") else message


def _explain_usage(error: typer.TyperException) -> str:
    """What is wrong with a command line, the value received, and where to read what can be given."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    invalid = getattr(error.__cause__, "errors", list)()  # of the value that typer could not convert
    if invalid and repr(invalid[0]["input"]) not in message:
        message += f", got {invalid[0]['input']!r}"
    context = getattr(error, "ctx", None)
    return f"{message} (see {'rbm-jax' if context is None else context.command_path} --help)"
