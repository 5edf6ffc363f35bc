"""`python -m rbm_jax` and the console script `rbm-jax`."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from rbm_jax.cli import run
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "typer":
            raise
        sys.exit('rbm-jax: the command line needs typer, which is not installed: pip install "rbm-jax[app]"')
    sys.exit(run())


if __name__ == "__main__":
    main()
