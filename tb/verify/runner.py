"""Runs rows side by side, in processes of their own, and keeps each outcome as soon as it is there."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tb.verify.matrix import Record, all_rows, read_records, store
from tb.verify.rows import Row, Task

__all__ = ["Runner", "is_stale"]

_EVERY = 10.0  # seconds between lines of progress

_reports: multiprocessing.Queue | None = None  # in a worker: (key, part that is done)


def is_stale(row: Row, record: Record | None, digest: str) -> bool:
    """Whether the row, of this digest now, has to run: it never did, or in vain, or something has changed."""
    if record is None or not record.green:
        return True
    return record.versions != row.versions() or record.digest != digest


def _start(reports: multiprocessing.Queue) -> None:
    global _reports
    _reports = reports
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker, in the midst of a row, when a run has been killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(key: str, known: Record | None, seed: int) -> Record | None:
    """In a worker: the new record, or None where the known one still holds."""
    row = all_rows()[key]
    digest = row.digest()
    if not is_stale(row, known, digest):
        return None
    started = time.monotonic()
    reported = started

    def report(part: float) -> None:
        nonlocal reported
        if time.monotonic() - reported > 1:
            reported = time.monotonic()
            _reports.put((key, part))

    _reports.put((key, 0.0))
    outcome = row.run(Task(share=1.0, seed=seed, report=report))
    return Record.of(row, outcome, seed=seed, seconds=time.monotonic() - started, digest=digest)


@dataclass
class Runner:
    """A run over some of the rows."""

    rows: Sequence[Row]
    path: Path  #: Of the JSON.
    jobs: int
    budget: float | None  #: Seconds after which no row is started.
    seed: int
    failures: list[str] = field(default_factory=list)  #: Of rows that are red, or could not be run.

    def run(self) -> None:
        """Run what is stale. The outcome of a row is kept before the next one is waited for."""
        self._known = read_records(self.path)
        self._started = time.monotonic()
        self._running: dict[str, float] = {}
        self._waiting = list(self.rows)
        context = multiprocessing.get_context("spawn")
        reports = context.Queue()
        with ProcessPoolExecutor(self.jobs, context, _start, (reports,)) as pool:
            futures: dict[Future, Row] = {}
            printed = time.monotonic()
            while futures or self._may_start():
                while self._may_start() and len(futures) < self.jobs:
                    row = self._waiting.pop(0)
                    futures[pool.submit(_work, row.key, self._known.get(row.key), self.seed)] = row
                done, _ = wait(futures, timeout=1, return_when=FIRST_COMPLETED)
                self._listen(reports, {row.key for row in futures.values()})
                for future in done:  # after listening: what has ended is no longer under way
                    self._finish(futures.pop(future), future)
                if time.monotonic() - printed > _EVERY:
                    printed = time.monotonic()
                    self._print_progress([row.key for row in futures.values()])
        left = f", {len(self._waiting)} not started: the time is spent" if self._waiting else ""
        _say(f"{len(self.rows)} rows, {len(self.failures)} of them failed{left}")

    def _may_start(self) -> bool:
        spent = time.monotonic() - self._started
        return bool(self._waiting) and (self.budget is None or spent < self.budget)

    def _listen(self, reports: multiprocessing.Queue, under_way: set[str]) -> None:
        while True:
            try:
                key, part = reports.get_nowait()
            except queue.Empty:
                return
            if key in under_way:
                self._running[key] = part

    def _finish(self, row: Row, future: Future) -> None:
        self._running.pop(row.key, None)
        error = future.exception()
        if error is not None:
            self.failures.append(f"{row.key}: could not be run: {error}")
            _say(self.failures[-1])
            return
        record = future.result()
        if record is None:
            return
        store(record, self.path)
        self._known[record.key] = record
        verdict = "agrees" if record.green else f"{record.differences} DIFFERENCES"
        if not record.green:
            self.failures.append(f"{row.key}: {record.details.get('first_difference', verdict)}")
        _say(f"{row.key}: {verdict}, {record.compared} compared in {record.seconds:.0f} s")
        if not record.green:
            _say(self.failures[-1])

    def _print_progress(self, under_way: list[str]) -> None:
        def guess(row: Row) -> float:
            record = self._known.get(row.key)
            return row.seconds if record is None else record.seconds

        by_key = {row.key: row for row in self.rows}
        left = sum(guess(row) for row in self._waiting)
        parts = {key: self._running.get(key, 0.0) for key in under_way}
        left += sum((1 - part) * guess(by_key[key]) for key, part in parts.items())
        names = ", ".join(f"{key} {100 * part:.0f} %" for key, part in parts.items())
        rows_done = len(self.rows) - len(self._waiting) - len(parts)
        _say(f"{rows_done} of {len(self.rows)} rows, at most {left / self.jobs / 60:.0f} min left: {names}")


def _say(line: str) -> None:
    print(line, flush=True)
