"""Many runs: in this process or in several, the most wanted first, each row written when it is there."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from golden.config import ConfigError
from hw.files import write_files
from sim.finetune.experiments import Run
from sim.finetune.measure import perform
from sim.finetune.tasks import find_task

__all__ = ["Results", "Settings", "run_all"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all runs share."""

    device: str
    jobs: int
    limit: int | None  #: Inputs of each set, for a trial.
    deadline: float | None  #: By time.time(): when runs stop and leave their checkpoints.
    commands: dict[str, str]  #: A run's key -> what makes its row again.

    def command(self, run: Run) -> str:
        return self.commands[run.key(self.limit)]

    def over(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline


class Results:
    """Rows in a file, by what they are known by. Other runs' rows stay."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                self.rows = {row["key"]: row for row in json.loads(path.read_text())["rows"]}
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path} is not a results file of this command; name another --output"
                ) from error

    def add(self, *rows: dict[str, Any]) -> None:
        """Keep rows, and write the file anew, whole."""
        self.rows |= {row["key"]: row for row in rows}
        content = {"command": "python -m sim.finetune run", "rows": list(self.rows.values())}
        write_files({self.path.name: json.dumps(content, indent=1) + "\n"}, self.path.parent)

    def rate(self, run: Run) -> float | None:
        """The run's rate; where that is to be found the best of those that were tried, None before."""
        if run.rate is not None:
            return run.rate
        tried = [
            row
            for row in self.rows.values()
            if row["group"] == f"{run.group}-rates" and row["label"].split()[0] == run.tuning
        ]
        best = max(tried, key=lambda row: (row["value"], -row["rate"]), default=None)
        return None if best is None else best["rate"]


def run_all(runs: Sequence[Run], results: Results, settings: Settings) -> tuple[int, int]:
    """Perform what the results have not yet; how many runs are still to do, and how many failed.

    A run whose rate is to be found waits for those that find it.
    """
    wanted = [run for run in runs if run.key(settings.limit) not in results.rows]
    if settings.jobs == 1:
        return _alone(wanted, results, settings)
    for task in dict.fromkeys(run.task for run in wanted):
        find_task(task, held_out=False, limit=settings.limit, device="cpu")  # what is decoded once
    return _together(wanted, results, settings)


def _alone(wanted: list[Run], results: Results, settings: Settings) -> tuple[int, int]:
    done = 0
    for place, run in enumerate(wanted, 1):
        if settings.over():
            break
        what = f"{run.group}: {run.label}, seed {run.seed} ({place} of {len(wanted)})"
        with tqdm(desc=what, leave=False, disable=not sys.stderr.isatty(), unit="step") as bar:
            row = perform(
                run,
                rate=_rate(run, results),
                device=settings.device,
                limit=settings.limit,
                command=settings.command(run),
                stop=settings.over,
                report=_progress(bar),
            )
        if row is None:
            break
        results.add(row)
        done += 1
        _say(row, place, len(wanted))
    return len(wanted) - done, 0


def _rate(run: Run, results: Results) -> float:
    rate = results.rate(run)
    if rate is None:
        raise ConfigError(
            f"the rate of {run.group}: {run.label} is to be found by group {run.group}-rates; run that first"
        )
    return rate


def _progress(bar: tqdm) -> Callable[[int, int, float], None]:
    def report(done: int, total: int, loss: float) -> None:
        if bar.total != total or done < bar.n:
            bar.reset(total)
        bar.update(done - bar.n)
        if loss == loss:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    return report


def _say(row: dict[str, Any], place: int, count: int) -> None:
    what = f"{row['group']}: {row['label']}, {row['config']}, seed {row['seed']} ({place} of {count})"
    diverged = ", diverged" if row["diverged"] else ""
    values = f"{row['before']:.4f} -> {row['value']:.4f}{diverged}"
    print(f"{what}: {values}; {row['seconds']:.1f} s", file=sys.stderr, flush=True)


# --- Several processes -----------------------------------------------------------------------------------


def _start() -> None:
    torch.set_num_threads(1)


def _perform(run: Run, rate: float, settings: Settings) -> dict[str, Any] | None:
    """In a process of the pool."""
    return perform(
        run,
        rate=rate,
        device=settings.device,
        limit=settings.limit,
        command=settings.command(run),
        stop=settings.over,
    )


class _Pool:
    """Processes that take runs one after the other. Where one dies, all are replaced, once for each run."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.executor = self._made()
        self.running: dict[Future, Run] = {}

    def _made(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.settings.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start
        )

    def submit(self, run: Run, rate: float) -> None:
        self.running[self.executor.submit(_perform, run, rate, self.settings)] = run

    def finished(self) -> list[tuple[Run, Future]]:
        """Those that have come to an end, after waiting for one at least."""
        ended = wait(self.running, return_when=FIRST_COMPLETED).done
        return [(self.running.pop(future), future) for future in ended]

    def replace(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor = self._made()


def _together(wanted: list[Run], results: Results, settings: Settings) -> tuple[int, int]:
    pool, waiting, count = _Pool(settings), list(wanted), len(wanted)
    done = failed = 0
    died: set[Run] = set()
    try:
        while waiting or pool.running:
            for run in _ready(waiting, pool, results, settings):
                waiting.remove(run)
                pool.submit(run, _rate(run, results))
            if not pool.running:
                break
            for run, future in pool.finished():
                try:
                    row = future.result()
                except BrokenProcessPool:
                    print(f"{run.group}: {run.label}: a process died", file=sys.stderr, flush=True)
                    if run in died:
                        failed += 1
                    else:
                        died.add(run)
                        waiting.insert(0, run)
                    if not pool.running:
                        pool.replace()
                except Exception as error:
                    failed += 1
                    print(
                        f"{run.group}: {run.label}, seed {run.seed}: {error!r}", file=sys.stderr, flush=True
                    )
                else:
                    if row is not None:
                        done += 1
                        results.add(row)
                        _say(row, done, count)
    finally:
        pool.executor.shutdown(wait=True, cancel_futures=True)
    return count - done - failed, failed


def _ready(waiting: list[Run], pool: _Pool, results: Results, settings: Settings) -> list[Run]:
    """The runs that can start now, in order: there is a process and time left, and their rate is known."""
    if settings.over() or (pool.running and any(future.done() for future in pool.running)):
        return []
    free = settings.jobs - len(pool.running)
    undecided = {
        f"{run.group} {run.label.split()[0]}"
        for run in [*waiting, *pool.running.values()]
        if run.group.endswith("-rates")
    }
    ready = [run for run in waiting if run.rate is not None or _tuning_of(run) not in undecided]
    return ready[:free]


def _tuning_of(run: Run) -> str:
    return f"{run.group}-rates {run.tuning}"
