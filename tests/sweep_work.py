"""Cheap items of work for tests of sweeps, and a sweep of them as a process that can be killed.

``python tests/sweep_work.py STORE COUNT JOBS`` computes COUNT squares into STORE.
"""

import os
import signal
import sys
import time
from pathlib import Path

from sim.sweep.executors import LocalProcesses
from sim.sweep.items import Item, canonical
from sim.sweep.progress import Estimate, Progress
from sim.sweep.run import compute
from sim.sweep.store import Store


def square(*, n: int, pause: float) -> dict:
    """After a pause."""
    time.sleep(pause)
    return {"square": n * n, "text": "x" * (n % 7)}


def odd_fails(*, n: int) -> dict:
    """Only of even numbers."""
    if n % 2:
        raise ValueError(f"{n} is\nodd")
    return {"half": n // 2}


def recovers(*, flag: str) -> dict:
    """Fails once, and leaves a file that says so."""
    if not Path(flag).exists():
        Path(flag).touch()
        raise RuntimeError("not yet")
    return {"fine": True}


def dies(*, flag: str, always: bool) -> dict:
    """Kills its worker, once or always."""
    if always or not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"alive": True}


def of_process(*, n: int) -> dict:
    """Which process it was."""
    time.sleep(0.2)
    return {"pid": os.getpid(), "n": n}


def items_of(name: str, arguments: list[dict]) -> list[Item]:
    """Items of a function of this module."""
    return [Item(f"sweep_work:{name}", canonical(each), "code") for each in arguments]


def squares(count: int, pause: float) -> list[Item]:
    """Items of so many squares."""
    return items_of("square", [{"n": n, "pause": pause} for n in range(count)])


def sweep(items: list[Item], store: Store, executor) -> dict[Item, str]:
    """Compute what the store lacks; the failures."""
    lacking = [item for item in items if item not in store]
    return compute(lacking, store, executor, Progress(Estimate({}), executor.slots))


if __name__ == "__main__":
    path, count, jobs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    with Store(path) as kept, kept.writing(["cost"]):
        pool = LocalProcesses(jobs)
        print("begun", flush=True)
        sweep(squares(count, 0.02), kept, pool)
        pool.close()
