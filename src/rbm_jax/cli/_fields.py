"""Options made of the fields of dataclasses, so that names, defaults and help texts come from one place."""

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import typer

from rbm_jax.runs import Source

__all__ = ["IMAGES", "Some", "given_options", "make", "with_fields"]


class Some(NamedTuple):
    """A part of the fields of a dataclass.

    Attributes:
        kind: the dataclass.
        names: of the fields.
    """

    kind: type
    names: tuple[str, ...]


IMAGES = Some(Source, ("data", "units", "threshold"))
"""How images are read."""


def with_fields(*kinds: type | Some) -> Callable[[Callable], Callable]:
    """A command with an option for each field of these dataclasses, and their values in its argument `settings`.

    Fields that are mappings get no option: they are for a file of settings.
    """

    def decorate(command: Callable) -> Callable:
        own = dict(inspect.signature(command).parameters)
        del own["settings"]
        options = {name: option for kind in kinds for name, option in _options(kind).items()}

        @functools.wraps(command)
        def taking_fields(**values: Any) -> Any:
            settings = {name: values.pop(name) for name in options}
            return command(settings=settings, **values)

        # Those without a default first, then the fields, then the command's own.
        required = [each for each in own.values() if each.default is inspect.Parameter.empty]
        others = [each for each in own.values() if each.default is not inspect.Parameter.empty]
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*required, *options.values(), *others)
        ]
        vars(taking_fields)["__signature__"] = inspect.Signature(parameters)  # which typer reads
        return taking_fields

    return decorate


def make(kind: type, settings: Mapping[str, Any]) -> Any:
    """A dataclass of those settings that are fields of it.

    Raises:
        ValueError: a value that cannot be, by its name.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    try:
        return kind(**{name: value for name, value in settings.items() if name in names})
    except TypeError as error:  # a mistake of the user as well: a value of another type in a file of settings
        raise ValueError(str(error)) from error


def given_options(context: typer.Context) -> set[str]:
    """Names of the options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}


def _options(kind: type | Some) -> dict[str, inspect.Parameter]:
    kind, names = kind if isinstance(kind, Some) else (kind, tuple(each.name for each in dataclasses.fields(kind)))
    types, texts, defaults = typing.get_type_hints(kind), _texts(kind), {}
    for field in dataclasses.fields(kind):
        defaults[field.name] = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    return {
        name: inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=Annotated[types[name], typer.Option(help=texts[name])],
        )
        for name in names
        if typing.get_origin(types[name]) is not Mapping
    }


def _texts(kind: type) -> dict[str, str]:
    """What the docstring says of each attribute."""
    section = re.search(r"Attributes:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(kind) or "", flags=re.DOTALL)
    entries = re.findall(
        r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1] if section else "", flags=re.DOTALL | re.MULTILINE
    )
    return {name: _sentence(text) for name, text in entries}


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[0].upper() + text[1:] if text[0].isascii() else text  # κ is no Greek capital at a sentence's start
