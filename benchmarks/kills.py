"""Trainings of the digits that are killed at random moments, what is lost, and how they end when they are resumed.

    python -m benchmarks.kills               # 20 by kill -9, 20 by SIGTERM; some minutes
    python -m benchmarks.kills --n 2 --method ptt

Every training is a process of its own that writes a run folder (`rbm_jax.runs.train_run`) and a log of its progress.
A quarter of the kills come at a moment drawn evenly between its start and its first update, while it imports and
compiles, the others while it trains. Then the files are read, and the training is resumed in this process. All
checkpoints, and the records of saved updates, must have the bits of a training that nobody killed.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np

from benchmarks._timing import describe_machine
from rbm_jax.io import load_config
from rbm_jax.runs import Recipe, Run, Source, train_run

__all__ = ["Kill", "Task", "differences", "kill", "main", "progress_of", "start"]

_ROOT = pathlib.Path(__file__).parents[1]
_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_EARLY = 0.25
"""Fraction of the kills that come before the first update, as far as can be known."""
_MOST_SECONDS = 10.0
"""From SIGTERM to the end of the process, as is promised."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A training.

    Attributes:
        data: as in `Source`.
        recipe: further fields of `Recipe`.
        save_every: seconds of training that may be lost.
        pause: seconds of rest at each look at the training, so that it is not done before it can be killed.
    """

    data: str
    recipe: dict[str, Any]
    save_every: float
    pause: float = 0.0


@dataclasses.dataclass(frozen=True)
class Kill:
    """What a kill did.

    Attributes:
        signal: its name.
        moment: seconds from the start of the process to the kill.
        update: updates done by then.
        exit_code: of the process, negative for the signal that ended it.
        seconds_to_end: from the kill to the end of the process.
        n_damaged: checkpoints that cannot be read.
        n_half_written: hidden files, of writes that were cut short.
        lost_updates: updates that are done and in no checkpoint.
        lost_seconds: since the state in the latest checkpoint; 0 where no update was done.
    """

    signal: str
    moment: float
    update: int
    exit_code: int
    seconds_to_end: float
    n_damaged: int
    n_half_written: int
    lost_updates: int
    lost_seconds: float


def main() -> None:
    """Read the command line, kill, resume, print and write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=20, help="kills of each kind (default 20)")
    parser.add_argument("--method", default="pcd", help="of Recipe (default pcd)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--n-updates", type=int, default=10_000, help="of each training (default 10000)")
    parser.add_argument("--save-every", type=float, default=1.0, help="seconds (default 1)")
    parser.add_argument("--out", type=pathlib.Path, help="the JSON file to write")
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)  # a process to be killed
    options = parser.parse_args()
    if options.train is not None:
        return _train(pathlib.Path(options.train[0]), Task(**json.loads(options.train[1])))
    recipe = {"n_hidden": 16, "n_sweeps": 1, "n_chains": 100, "batch_size": 100}
    recipe |= {"method": options.method, "n_rungs": 3, "n_updates": options.n_updates}
    task = Task("digits", recipe, options.save_every)
    with tempfile.TemporaryDirectory() as folder:
        rows = _study(pathlib.Path(folder), task, options.n, options.seed)
    _print(rows, task)
    if options.out is not None:
        report = {"machine": describe_machine(), "date": datetime.date.today().isoformat()}
        report |= dataclasses.asdict(task) | {"seed": options.seed, "kills": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return None


def start(folder: pathlib.Path, task: Task) -> subprocess.Popen:
    """A process that trains in this folder, or resumes what is in it. Compiled programs are kept beside the folder."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "benchmarks.kills", "--train", str(folder), json.dumps(dataclasses.asdict(task))]
    return subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=subprocess.PIPE)


def progress_of(folder: pathlib.Path) -> list[tuple[float, int]]:
    """Times, and updates done by then, that the trainings in this folder have logged."""
    path = _log(folder)
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [(float(line.split()[0]), int(line.split()[1])) for line in lines if line.endswith("\n")]


def kill(process: subprocess.Popen, folder: pathlib.Path, number: signal.Signals, moment: float) -> Kill | None:
    """Kill a process that trains in this folder, and look at what it left; None if it had ended."""
    if process.poll() is not None:
        return None
    killed = time.time()
    process.send_signal(number)
    process.communicate()
    seconds_to_end = time.time() - killed
    if process.returncode == 0:
        return None
    updates = folder / "updates"
    is_there = updates.is_dir()
    saved = Run(folder).n_updates if is_there else 0
    log = progress_of(folder)
    last = max((done for _, done in log), default=0)
    at_save = [when for when, done in log if done <= saved]
    return Kill(
        signal=number.name,
        moment=moment,
        update=last,
        exit_code=process.returncode,
        seconds_to_end=seconds_to_end,
        n_damaged=sum(not _is_whole(path) for path in updates.glob("[0-9]*.h5")) if is_there else 0,
        n_half_written=len(list(updates.glob(".*.h5"))) if is_there else 0,
        lost_updates=max(last - saved, 0),
        lost_seconds=max(killed - max(at_save), 0.0) if last and number == signal.SIGKILL else 0.0,
    )


def differences(folder: pathlib.Path, whole: pathlib.Path) -> list[str]:
    """What is not the same in two run folders: files, their bits, the numbers in the records of saved updates."""
    names = [sorted(path.name for path in (each / "updates").iterdir()) for each in (folder, whole)]
    if names[0] != names[1]:
        return [f"the files {names[0]} and {names[1]}"]
    found = []
    for name in ["rbm.h5", *(f"updates/{name}" for name in names[0])]:
        first, second = (_contents(each / name) for each in (folder, whole))
        found += [f"{name}: {key}" for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
    saved = set(Run(whole).updates)
    records = [[_timeless(each) for each in Run(at).records if each["update"] in saved] for at in (folder, whole)]
    return found + (["the records"] if records[0] != records[1] else [])


def _train(folder: pathlib.Path, task: Task) -> None:
    """Train, and log the updates done."""
    done = 0
    with _log(folder).open("a", buffering=1) as log:

        def progress(n_updates: int) -> None:
            nonlocal done
            done += n_updates
            log.write(f"{time.time()} {done}\n")
            time.sleep(task.pause)

        train_run(folder, Source(task.data), Recipe(**task.recipe), progress=progress, save_every=task.save_every)


def _study(folder: pathlib.Path, task: Task, n_kills: int, seed: int) -> list[dict[str, Any]]:
    """Each kind of kill so many times, in turns."""
    whole, rng, rows = folder / "whole", np.random.default_rng(seed), []
    for name in ("first", "whole"):  # the first one fills the cache
        began = time.time()
        _finish(start(folder / name, task))
    end, first = time.time(), progress_of(whole)[0][0]
    spans = {True: first - began, False: end - first}
    print(f"a whole training takes {end - began:.1f} s, of which {spans[True]:.1f} s before its first update")
    while len(rows) < n_kills * len(_SIGNALS):
        run_folder, number = folder / f"run-{len(rows)}", _SIGNALS[len(rows) % len(_SIGNALS)]
        is_early = bool(rng.random() < _EARLY)
        process, began = start(run_folder, task), time.time()
        while not is_early and process.poll() is None and not progress_of(run_folder):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, spans[is_early]))
        found = kill(process, run_folder, number, time.time() - began)
        if found is None:  # the training was faster
            shutil.rmtree(run_folder)
            _log(run_folder).unlink()
            continue
        train_run(run_folder, Source(task.data), Recipe(**task.recipe))
        rows.append(dataclasses.asdict(found) | {"differences": differences(run_folder, whole)})
        print(", ".join(f"{name} {_short(value)}" for name, value in rows[-1].items()), flush=True)
    return rows


def _finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"a training failed:\n{errors.decode()}")


def _log(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / f"{folder.name}.log"


def _is_whole(path: pathlib.Path) -> bool:
    try:
        load_config(path)
    except ValueError:
        return False
    return True


def _contents(path: pathlib.Path) -> dict[str, Any]:
    """Bytes of all arrays of a file, and what it remembers besides."""
    with h5py.File(path) as file:
        found: dict[str, Any] = {name: file.attrs[name] for name in ("config", "leaves") if name in file.attrs}
        file.visititems(
            lambda name, item: found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def _timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "updates_per_second"}


def _print(rows: Sequence[dict[str, Any]], task: Task) -> None:
    """A line for each kind of kill, and whether all that is promised was kept."""
    columns: dict[str, Callable[[list], str]] = {
        "kills": lambda some: f"{len(some)}",
        "before training": lambda some: f"{sum(row['update'] == 0 for row in some)}",
        "half-written": lambda some: f"{sum(row['n_half_written'] > 0 for row in some)}",
        "damaged": lambda some: f"{sum(row['n_damaged'] for row in some)}",
        "lost updates": lambda some: f"{max(row['lost_updates'] for row in some)}",
        "lost s": lambda some: f"{max(row['lost_seconds'] for row in some):.2f}",
        "end s": lambda some: f"{max(row['seconds_to_end'] for row in some):.2f}",
        "other bits": lambda some: f"{sum(bool(row['differences']) for row in some)}",
    }
    print("\n" + " ".join(f"{name:>15}" for name in ["", *columns]))
    for number in _SIGNALS:
        some = [row for row in rows if row["signal"] == number.name]
        print(" ".join(f"{text:>15}" for text in [number.name, *(column(some) for column in columns.values())]))
    kept = {
        "no file is damaged": all(row["n_damaged"] == 0 for row in rows),
        "every resumed training has the bits of the whole one": not any(row["differences"] for row in rows),
        f"kill -9 loses at most {task.save_every:g} s": all(row["lost_seconds"] <= task.save_every for row in rows),
        "SIGTERM loses nothing": all(row["lost_updates"] == 0 for row in rows if row["signal"] == "SIGTERM"),
        f"SIGTERM ends within {_MOST_SECONDS:g} s": all(row["seconds_to_end"] < _MOST_SECONDS for row in rows),
    }
    for promise, is_kept in kept.items():
        print(f"{promise}: {'yes' if is_kept else 'NO'}")


def _short(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) and math.isfinite(value) else str(value)


if __name__ == "__main__":
    main()
