"""The benchmarks run, on tiny problems; their numbers at these sizes say nothing about speed."""

import dataclasses
import json
import math
import pathlib
import sys

import numpy as np
import pytest

import benchmarks.__main__
from benchmarks import against, likelihood, table, trajectory, worker
from benchmarks._timing import spread

ROOT = pathlib.Path(__file__).parents[1]


def _first(suite, tiny):
    """The first case of a suite with its reference alone; that of the first suite with all contenders."""
    case = _ALL_CASES(suite, tiny)[0]
    return (case if suite == worker.SUITES[0] else dataclasses.replace(case, contenders=case.contenders[:1]),)


_ALL_CASES = worker.cases


@pytest.fixture(scope="module", params=["references", pytest.param("all contenders", marks=pytest.mark.slow)])
def report(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmarks") / "report.json"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "references":
            patch.setattr(worker, "cases", _first)
        patch.setattr(sys, "argv", ["benchmarks", "--tiny", "--out", str(path)])
        benchmarks.__main__.main()
        names = {(s, c.name, name) for s in worker.SUITES for c in worker.cases(s, tiny=True) for name in c.contenders}
    return json.loads(path.read_text()) | {"names": names}


def _measurements(report):
    return [record for result in report["results"] for row in result["rounds"] for record in row.values()]


def test_report_says_what_it_was_measured_on(report):
    machine = report["machine"]
    assert machine["device"]
    assert machine["default_dtype"] == "float32"
    assert machine["versions"]["jax"]
    assert machine["versions"]["rbm-jax"]
    assert {"cpu", "n_cores", "load_average", "environment", "python"} <= machine.keys()
    assert report["tiny"]
    assert report["date"]


def test_every_suite_and_tiny_contender_is_measured(report):
    found = {(r["suite"], r["case"], name) for r in report["results"] for row in r["rounds"] for name in row}
    assert found == report["names"]


def test_every_tiny_measurement_took_finite_positive_time(report):
    for record in _measurements(report):
        seconds = [record["first_call_s"], *record["wall_s"].values(), *record["cpu_s"].values()]
        assert all(math.isfinite(s) and s > 0 for s in seconds), record
        assert record["probe_gflops"]["median"] > 0


def test_summary_compares_with_the_first_contender_of_the_round(report):
    for result in report["results"]:
        reference = result["summary"][result["reference"]]
        assert reference["wall_ratio"] == reference["cpu_ratio"] == {"median": 1, "min": 1, "max": 1}
        for row in result["summary"].values():
            assert math.isclose(row["wall_ratio"]["median"], row["wall_s"]["median"] / reference["wall_s"]["median"])


def test_public_functions_do_not_trace_again_on_a_second_call(report):
    traces = [record["traces_on_second_call"] for record in _measurements(report) if "traces_on_second_call" in record]
    assert traces == [0] * len(traces)
    assert traces


def test_a_library_that_is_not_installed_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    case = worker.cases("gibbs", tiny=True)[0]
    assert "sklearn" in worker.run("gibbs", case.name, "scikit-learn", tiny=True)["absent"]


def test_table_has_a_row_for_every_contender(report, tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({name: value for name, value in report.items() if name != "names"}))
    table.main([str(path)])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    found = [tuple(row[:3]) for row in rows if len(row) == 6][2:]
    assert found == [(r["suite"], r["case"], name) for r in report["results"] for name in r["summary"]]


def test_table_of_all_stored_results_leaves_out_those_without_timings(capsys):
    table.main([])
    found = capsys.readouterr().out
    assert "| gibbs | 784x500, 500 chains | rbm_jax |" in found
    assert "likelihood-cpu" not in found
    assert "missing-cpu" not in found


def test_table_shows_times_ratios_and_shares(tmp_path, capsys):
    def row(wall, ratio):
        return {
            "wall_s": spread([wall]),
            "wall_ratio": spread([ratio, 9.0]),
            "cpu_ratio": spread([ratio]),
            "unit": "sweep",
        }

    summary = {
        "ours": row(0.00213, 1.0) | {"percent_sgemm_cpu": spread([83.4])},
        "theirs": row(1.5, 2.5),
        "absentee": {"absent": "No module named 'absentee'"},
    }
    result = {"suite": "gibbs", "case": "8x4", "reference": "ours", "summary": summary}
    machine = {
        "device": "cpu",
        "cpu": {"name": "AMD EPYC"},
        "n_cores": 2,
        "load_average": 1.234,
        "versions": {"jax": "1"},
    }
    report = {"machine": machine, "date": "2026-01-02", "n_rounds": 2, "results": [result]}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    table.main(["--clock", "cpu", str(path)])
    assert capsys.readouterr().out.splitlines() == [
        "report.json: cpu, AMD EPYC, 2 cores, load average 1.2, jax 1, 2026-01-02, 2 rounds",
        "",
        "| suite | case | contender | ms wall per unit | cpu ratio [min, max] | % of limit |",
        "|---|---|---|---|---|---|",
        "| gibbs | 8x4 | ours | 2.13 per sweep | 1.00 [1.00, 1.00] | 83 |",
        "| gibbs | 8x4 | theirs | 1.5e+03 per sweep | 2.50 [2.50, 2.50] | - |",
        "| gibbs | 8x4 | absentee | absent: No module named 'absentee' | - | - |",
    ]


def test_versions_alternate_and_each_ratio_is_of_one_round(tmp_path, capsys):
    options = ["--tiny", "--only", "gibbs", "--rounds", "3", "--pairs", "1", "--out", str(tmp_path / "out.json")]
    against.main([str(ROOT / "src"), *options])
    (result,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert result["versions"]["this"] == result["versions"]["other"]
    pairs = zip(result["blocks"]["this"], result["blocks"]["other"], strict=True)
    ratios = [this["cpu_s"] / other["cpu_s"] for this, other in pairs]
    assert len(ratios) == 3
    assert result["cpu_ratio"] == spread(ratios)
    assert "gibbs, 16x8, 10 chains" in capsys.readouterr().out


def test_a_path_without_the_package_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="PATH must be the folder that holds the package rbm_jax"):
        against.main([str(tmp_path), "--tiny"])


def test_spread_is_median_and_range():
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "min": 1.0, "max": 10.0}


def test_trajectory_table_has_theory_beside_runs(tmp_path, capsys):
    case = "one mode, Bernoulli components"
    options = ["--sizes", "40", "--runs", "3", "--duration", "1", "--cases", case, "--out", str(tmp_path / "out.json")]
    trajectory.main(options)
    (result,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert result["theory"][0] == pytest.approx(result["mean"][0], rel=1e-6)
    # Growth alone, before anything condenses: both theories are near, and the own one is nearer.
    for name in ("theory", "mean_from_own_theory"):
        difference = result[name][-1][0] - (result["mean"][-1][0] if name == "theory" else 0)
        assert abs(difference) < 0.02, name
    assert f"{case}, N = 40, 3 runs" in capsys.readouterr().out


def test_likelihood_is_bounded_and_goes_on_where_it_was_left(tmp_path, capsys):
    pixels = np.random.default_rng(0).random((300, 16)) < np.linspace(0.1, 0.9, 16)
    np.savez(tmp_path / "data.npz", train=pixels[:200], test=pixels[200:])
    sizes = {"n-hidden": 4, "n-updates": 40, "n-stages": 2, "batch-size": 20, "n-chains": 50, "final-chains": 50}
    sizes |= {"quick-temperatures": 30, "final-temperatures": 100}
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    options += ["--data", str(tmp_path / "data.npz"), "--folder", str(tmp_path), "--out", str(tmp_path / "out.json")]
    likelihood.main([*options, "--alone"])
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["n_updates"] for row in report["stages"]] == [20, 20]
    assert report["final"]["test"]["lower"] < report["final"]["test"]["value"] < report["final"]["test"]["upper"] < 0
    first = capsys.readouterr().out
    assert len([line for line in first.splitlines() if line.startswith("rbm_jax")]) == 2
    likelihood.main([*options, "--alone"])
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("rbm_jax")]
    assert json.loads((tmp_path / "out.json").read_text())["stages"] == report["stages"]
