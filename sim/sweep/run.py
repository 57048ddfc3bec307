"""Running a sweep: what is missing goes to an executor, what comes back goes to the store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sim.sweep.executors import Executor
from sim.sweep.items import Item, Needs
from sim.sweep.progress import Estimate, Progress
from sim.sweep.store import Store
from sim.sweep.work import Outcome

__all__ = ["compute", "missing", "run"]

_DIED = "the worker died twice, once alone: killed, or out of memory"


def missing(needs: Needs, store: Store) -> list[Item]:
    """Items that are not there, in the order of the points, networks together."""
    known = store.results()
    wanted: dict[str, Item] = {}
    for point in needs.space.points:
        wanted |= {item.key: item for item in needs.of(point, known) if item.key not in known}
    return sorted(wanted.values(), key=lambda item: (_RANK.get(item.kind, len(_RANK)), _network(item)))


#: Those on which others depend come first.
_RANK = {"offset": 0, "float32": 1}


def _network(item: Item) -> str:
    """So that a worker loads a network once."""
    return item.arguments.partition('"network":"')[2].partition('"')[0]


def run(needs: Needs, store: Store, executor: Executor) -> dict[Item, str]:
    """Compute all that the points need; the failures, with their sentences."""
    progress = Progress(Estimate(store.seconds()), executor.slots)
    failed: dict[Item, str] = {}
    try:
        while items := [item for item in missing(needs, store) if item not in failed]:
            failed |= compute(items, store, executor, progress)
    finally:
        progress.close()
    return failed


def compute(items: Sequence[Item], store: Store, executor: Executor, progress: Progress) -> dict[Item, str]:
    """Compute these and keep what comes; the failures, with their sentences."""
    progress.expect(list(items))
    failed: dict[Item, str] = {}

    def keep(outcome: Outcome) -> None:
        if outcome.result is None:
            store.fail(outcome.item, outcome.sentence)
            failed[outcome.item] = outcome.sentence
        else:
            store.add(outcome.item, outcome.result, outcome.seconds)
        progress.ended(outcome)

    suspects = _round(items, executor, executor.slots, keep)
    # One of several that were in flight has killed its worker: alone, it shows itself.
    for item in _round(suspects, executor, 1, keep):
        keep(Outcome(item=item, result=None, sentence=_DIED, seconds=0.0))
    return failed


def _round(
    items: Iterable[Item], executor: Executor, slots: int, keep: Callable[[Outcome], None]
) -> list[Item]:
    """Compute items, so many at a time; those whose worker died."""
    waiting, lost = deque(items), []
    for _ in range(min(slots, len(waiting))):
        executor.submit(waiting.popleft())
    for item, outcome in executor.as_completed():
        if outcome is None:
            lost.append(item)
        else:
            keep(outcome)
        if waiting:
            executor.submit(waiting.popleft())
    return lost
