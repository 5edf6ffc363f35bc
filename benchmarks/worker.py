"""One measurement in a process of its own: `python -m benchmarks.worker SUITE CASE CONTENDER` prints one JSON object.

Libraries that share a process slow each other's thread pools down, so contenders are never in the same one.
"""

import argparse
import importlib
import json
from types import ModuleType
from typing import Any

from benchmarks._timing import Case, measure

__all__ = ["SUITES", "cases", "main", "run"]

SUITES = (
    "gibbs",
    "pcd",
    "annealing",
    "mean_field",
    "spectral",
    "replica",
    "ensemble",
    "scaling",
    "devices",
    "symmetry",
    "compile",
)
_OTHER_THREADS = ("rbms", "scikit-learn")


def cases(suite: str, tiny: bool) -> tuple[Case, ...]:
    """The cases of a suite."""
    module = _module(suite)
    return module.TINY_CASES if tiny else module.CASES


def run(suite: str, case_name: str, contender: str, *, tiny: bool) -> dict[str, Any]:
    """Measure one contender on one case; {"absent": reason} if its package is not installed."""
    (case,) = (case for case in cases(suite, tiny) if case.name == case_name)
    try:
        workload = _module(suite).CONTENDERS[contender](**case.options)
    except ModuleNotFoundError as error:
        return {"absent": str(error)}
    effort = {"n_blocks": 1, "block_seconds": 0.0} if tiny else {"n_blocks": 4, "block_seconds": 0.25}
    return measure(workload, probe=contender not in _OTHER_THREADS, **effort)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("case")
    parser.add_argument("contender")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    print(json.dumps(run(options.suite, options.case, options.contender, tiny=options.tiny)))


def _module(suite: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{suite}")


if __name__ == "__main__":
    main()
