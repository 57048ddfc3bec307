"""Where items are computed: processes on this machine, or a Ray cluster. Both are used in the same way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Protocol

from golden.config import ConfigError
from sim.sweep.items import Item
from sim.sweep.work import Outcome, work

__all__ = ["Executor", "LocalProcesses", "RayCluster"]


class Executor(Protocol):
    """Computes items, some at a time."""

    slots: int  #: Items that it computes at a time.

    def submit(self, item: Item) -> None:
        """Begin an item, now or when a worker is free."""

    def as_completed(self) -> Iterator[tuple[Item, Outcome | None]]:
        """Items as they end, with what became of them, or None where the worker died; until none is left.

        More may be submitted meanwhile.
        """

    def close(self) -> None:
        """Stop, and wait for nothing."""


class LocalProcesses:
    """As many processes as asked for, a thread each. They end with the process that started them."""

    def __init__(self, slots: int):
        self.slots = slots
        self._futures: dict[Future, Item] = {}
        self._start()

    def _start(self) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # before a worker loads torch
        self._pool = ProcessPoolExecutor(
            self.slots, mp_context=get_context("spawn"), initializer=_end_with_parent
        )

    def submit(self, item: Item) -> None:
        """Begin an item, now or when a worker is free."""
        try:
            self._futures[self._pool.submit(work, item)] = item
        except BrokenProcessPool:
            self._start()
            self._futures[self._pool.submit(work, item)] = item

    def as_completed(self) -> Iterator[tuple[Item, Outcome | None]]:
        """Items as they end. A worker that dies takes those with it that others are computing."""
        while self._futures:
            done, _ = wait(self._futures, return_when=FIRST_COMPLETED)
            for future in done:
                item = self._futures.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome = None
                yield item, outcome

    def close(self) -> None:
        """Stop, and wait for nothing."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._futures:
            for process in processes:
                process.terminate()


def _end_with_parent() -> None:
    """Of a worker: end as soon as the parent has, however that ended; it would wait for work forever."""

    def watch() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


#: How long the head of a cluster is waited for.
_PATIENCE_S = 60


class RayCluster:
    """Workers of a Ray cluster, each of which can import this package.

    Parameters
    ----------
    address : str
        Of the cluster's head, ``auto`` for the one that this machine belongs to, or ``local``: one is started
        here, for this process only.
    slots : int or None
        Items at a time; None: as many as the cluster has processors.
    """

    def __init__(self, address: str, slots: int | None):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise ConfigError(
                "--ray needs the package ray, which is not installed; pip install 'fmaq[cluster]'"
            ) from None
        self._ray = ray
        if ":" in address and "://" not in address:
            _need_head(address)
        how = dict(log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
        try:
            if address == "local":
                ray.init(num_cpus=slots or os.cpu_count(), include_dashboard=False, **how)
            else:
                ray.init(address=address, **how)
        except (ConnectionError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise ConfigError(
                f"no Ray cluster answers at {address} ({said[:200]}); give its address, or local"
            ) from error
        self.slots = slots or max(1, int(ray.cluster_resources().get("CPU", 1)))
        environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
        self._work = ray.remote(num_cpus=1, max_retries=0, runtime_env=environment)(work)
        self._items: dict = {}

    def submit(self, item: Item) -> None:
        """Begin an item, now or when a worker is free."""
        self._items[self._work.remote(item)] = item

    def as_completed(self) -> Iterator[tuple[Item, Outcome | None]]:
        """Items as they end; None where the worker, or the machine it was on, died."""
        while self._items:
            done, _ = self._ray.wait(list(self._items), num_returns=1)
            for reference in done:
                item = self._items.pop(reference)
                try:
                    outcome = self._ray.get(reference)
                except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError):
                    outcome = None
                yield item, outcome

    def close(self) -> None:
        """Stop, and wait for nothing."""
        for reference in self._items:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _need_head(address: str) -> None:
    """Raise :class:`ConfigError` where no head of a cluster answers; Ray would end this process instead."""
    host, _, port = address.rpartition(":")
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=True)
    except (OSError, ValueError, OverflowError, subprocess.SubprocessError):
        raise ConfigError(
            f"no Ray cluster answers at {address}; give its head's address, as in 10.0.0.1:6379, or local"
        ) from None
