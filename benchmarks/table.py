"""Print results as a Markdown table: `python -m benchmarks.table [JSON ...]`, by default of all timings.

Times and ratios are medians over rounds; a ratio is the contender's time over the first one's of the same round. The
limit is the rate of a float32 matrix product in the same process. On a machine that has other work, CPU time, which is
the default for ratios, tells more than wall time.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

__all__ = ["main"]

_RESULTS = pathlib.Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and print one table for each file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=pathlib.Path, metavar="JSON", help="written by python -m benchmarks")
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu", help="whose ratios and shares (default cpu)")
    options = parser.parse_args(arguments)
    reports = {path.name: json.loads(path.read_text()) for path in options.paths or sorted(_RESULTS.glob("*.json"))}
    tables = [_table(name, report, options.clock) for name, report in reports.items() if _is_table(report)]
    print("\n\n".join(tables))


def _is_table(report: dict[str, Any]) -> bool:
    """Whether contenders were timed; other reports have measurements of their own."""
    return all("summary" in result for result in report.get("results", [{}]))


def _table(name: str, report: dict[str, Any], clock: str) -> str:
    titles = ("suite", "case", "contender", "ms wall per unit", f"{clock} ratio [min, max]", "% of limit")
    rows = [_row(titles), "|---" * len(titles) + "|"]
    rows += [_row(cells) for result in report["results"] for cells in _cells(result, clock)]
    return "\n".join([_heading(name, report), "", *rows])


def _heading(name: str, report: dict[str, Any]) -> str:
    machine = report["machine"]
    facts = (machine["device"], machine["cpu"]["name"], f"{machine['n_cores']} cores")
    facts += (f"load average {machine['load_average']:.1f}", f"jax {machine['versions']['jax']}")
    return f"{name}: {', '.join(facts)}, {report['date']}, {report['n_rounds']} rounds"


def _cells(result: dict[str, Any], clock: str) -> Iterator[tuple[str, ...]]:
    for contender, summary in result["summary"].items():
        start = (result["suite"], result["case"], contender)
        if "absent" in summary:
            yield (*start, f"absent: {summary['absent']}", "-", "-")
            continue
        ratio, share = summary[f"{clock}_ratio"], summary.get(f"percent_sgemm_{clock}")
        time = f"{1e3 * summary['wall_s']['median']:.3g} per {summary['unit']}"
        spread = f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]"
        yield (*start, time, spread, "-" if share is None else f"{share['median']:.0f}")


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
