"""`--json`: the numbers of a command as one JSON object, for scripts."""

import contextlib
import functools
import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

__all__ = ["AsJson", "echo_json", "numbers_of", "with_json"]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the numbers as one JSON object, and all text on standard error.")
]


def with_json(command: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """A command with the option `--json`, made of one that prints text and returns its numbers.

    Args:
        command: takes the options by name; the report it returns is what `echo_json` takes.
    """

    @functools.wraps(command)
    def reporting(*, as_json: bool = False, **options: Any) -> None:
        # The text on the way would come between a script and its numbers.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            report = command(**options)
        if as_json:
            echo_json(report)

    signature = inspect.signature(command)
    option = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)
    parameters = [*signature.parameters.values(), option]
    signature = signature.replace(parameters=parameters, return_annotation=None)
    vars(reporting)["__signature__"] = signature  # which typer reads
    return reporting


def echo_json(report: dict[str, Any]) -> None:
    """Print the report as a line of JSON.

    Args:
        report: dictionaries, lists, arrays, numbers, strings and paths. NaN and infinities, which JSON lacks, are null.
    """
    typer.echo(json.dumps(_plain(report), allow_nan=False))


def numbers_of(result: Any, *names: str) -> dict[str, Any]:
    """Fields of a result by their names."""
    return {name: getattr(result, name) for name in names}


def _plain(value: Any) -> Any:
    """The same of what JSON has."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return value if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case Path():
            return str(value)
    return _plain(np.asarray(value).tolist())
