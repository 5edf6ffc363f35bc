"""Run the benchmarks, print a table and write all numbers as JSON.

    python -m benchmarks                     # everything
    python -m benchmarks --only gibbs pcd
    python -m benchmarks --tiny              # seconds, in one process: only checks that everything runs

A round measures every contender of a case once, each in its own process, so that contenders alternate; ratios are taken
within a round. Other libraries (torch with rbms, scikit-learn, thrml) are reported as absent if they are not
installed. Run it on an otherwise idle machine.
"""

import argparse
import datetime
import json
import pathlib
import re
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import worker
from benchmarks._timing import Case, describe_machine, spread

__all__ = ["main"]

_ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    """Read the command line and run."""
    options = _parse()
    machine = describe_machine()
    n_rounds = 1 if options.tiny else options.rounds
    results = []
    for suite in options.only:
        for case in worker.cases(suite, options.tiny):
            results.append(_run_case(suite, case, n_rounds, options.tiny))
            _print_case(results[-1])
    report = {"machine": machine, "date": datetime.date.today().isoformat(), "tiny": options.tiny, "n_rounds": n_rounds}
    path = options.out or _default_path(machine, report["date"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report | {"results": results}, indent=1) + "\n")
    print(f"\nWritten to {path}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=worker.SUITES, default=list(worker.SUITES), help="suites to run")
    parser.add_argument("--rounds", type=int, default=3, help="alternations of the contenders (default 3)")
    parser.add_argument("--tiny", action="store_true", help="tiny problems, one process, no other libraries")
    parser.add_argument("--out", type=pathlib.Path, help="default: benchmarks/results/<device>-<date>.json")
    return parser.parse_args()


def _run_case(suite: str, case: Case, n_rounds: int, tiny: bool) -> dict[str, Any]:
    measure = _in_process if tiny else _in_subprocess
    rounds = [{name: measure(suite, case.name, name) for name in case.contenders} for _ in range(n_rounds)]
    references = [records[case.contenders[0]] for records in rounds]
    summary = {name: _summarize([records[name] for records in rounds], references) for name in case.contenders}
    return {
        "suite": suite,
        "case": case.name,
        "options": case.options,
        "reference": case.contenders[0],
        "summary": summary,
        "rounds": rounds,
    }


def _in_process(suite: str, case: str, contender: str) -> dict[str, Any]:
    return worker.run(suite, case, contender, tiny=True)


def _in_subprocess(suite: str, case: str, contender: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.worker", suite, case, contender]
    finished = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def _summarize(records: list[dict[str, Any]], references: list[dict[str, Any]]) -> dict[str, Any]:
    """Over rounds: seconds per unit, and the ratio to the reference of the same round."""
    if "absent" in records[0]:
        return records[0]
    summary = {"unit": records[0]["unit"]}
    for clock in ("wall_s", "cpu_s"):
        seconds = [record[clock]["median"] for record in records]
        summary[clock] = spread(seconds)
        pairs = zip(seconds, references, strict=True)
        summary[clock.replace("_s", "_ratio")] = spread([s / reference[clock]["median"] for s, reference in pairs])
    for name in ("percent_sgemm_wall", "percent_sgemm_cpu", "probe_gflops"):
        if name in records[0]:
            summary[name] = spread([record[name]["median"] for record in records])
    if "fit_overhead_s" in records[0]:
        summary["fit_overhead_s"] = spread([record["fit_overhead_s"] for record in records])
    if "traces_on_second_call" in records[0]:
        summary["traces_on_second_call"] = max(record["traces_on_second_call"] for record in records)
        stages = records[0]["stages_s"]
        summary["stages_s"] = {name: statistics.median(r["stages_s"][name] for r in records) for name in stages}
    return summary


def _print_case(result: dict[str, Any]) -> None:
    print(f"\n{result['suite']}: {result['case']}   (ratios to {result['reference']}: median [min, max] over rounds)")
    print(f"  {'':<18}{'ms wall':>10}{'ratio wall':>22}{'ratio cpu':>22}{'%sgemm':>8}{'cpu':>6}")
    for name, row in result["summary"].items():
        if "absent" in row:
            print(f"  {name:<18}absent: {row['absent']}")
            continue
        ratios = "".join(f"{_show(row[key]):>22}" for key in ("wall_ratio", "cpu_ratio"))
        shares = [f"{row[key]['median']:.0f}" if key in row else "" for key in _SHARES]
        line = f"  {name:<18}{1e3 * row['wall_s']['median']:>10.4g}{ratios}{shares[0]:>8}{shares[1]:>6}"
        if "traces_on_second_call" in row:
            stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in row["stages_s"].items())
            line += f"  {stages}; traces on second call: {row['traces_on_second_call']}"
        if "fit_overhead_s" in row:
            line += f"  fit without updates: {1e3 * row['fit_overhead_s']['median']:.3g} ms"
        print(line, flush=True)


_SHARES = ("percent_sgemm_wall", "percent_sgemm_cpu")


def _show(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]"


def _default_path(machine: dict[str, Any], date: str) -> pathlib.Path:
    device = machine["device"] if machine["device"] != "cpu" else f"cpu {machine['cpu']['name']}"
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return _ROOT / "benchmarks" / "results" / f"{slug}-{date}.json"


if __name__ == "__main__":
    main()
