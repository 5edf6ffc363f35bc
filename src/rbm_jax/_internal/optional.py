"""Import of packages that only the `app` extra installs."""

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str) -> ModuleType:
    """Import `module`, or say how to install what is missing.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise
        raise ImportError(f'this needs {package}, which is not installed: pip install "rbm-jax[app]"') from error
