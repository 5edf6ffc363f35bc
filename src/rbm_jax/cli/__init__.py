"""The command line. `run` takes what follows `rbm-jax`; typer, and the module of a command, load when they are used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rbm_jax.cli._app import run as run

__all__ = ["run"]

if not TYPE_CHECKING:  # else type checkers would take every name for a public one

    def __getattr__(name: str):
        """Import the module that has the name, and keep the name here: this function is not called for it again."""
        if name not in __all__:
            raise AttributeError(f"module 'rbm_jax.cli' has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module("rbm_jax.cli._app"), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
