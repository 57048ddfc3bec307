"""Progress of a sweep with an estimate of the time left: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tqdm import tqdm

from sim.sweep.items import Item
from sim.sweep.store import group_of
from sim.sweep.work import Outcome

__all__ = ["Estimate", "Progress", "duration"]

#: Without a terminal, a line after so many seconds at the earliest.
_EVERY_S = 30.0


class Estimate:
    """Seconds that items still take: by what others of their group took, here or in earlier runs."""

    def __init__(self, known: dict[str, float]):
        self._known = dict(known)
        self._sums: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def took(self, name: str, seconds: float) -> None:
        """Learn of one item."""
        self._sums[name] = self._sums.get(name, 0.0) + seconds
        self._counts[name] += 1

    def left(self, remaining: Counter[str], slots: int) -> tuple[float, bool]:
        """Seconds for so many items of each group on so many workers, and whether all groups are known of."""
        total, complete = 0.0, True
        for name, count in remaining.items():
            if self._counts[name]:
                total += count * self._sums[name] / self._counts[name]
            elif name in self._known:
                total += count * self._known[name]
            elif count:
                complete = False
        return total / slots, complete

    def words(self, remaining: Counter[str], slots: int) -> str:
        """For people: ``about 12 min``, or ``more than 12 min`` where some of it is not known yet."""
        seconds, complete = self.left(remaining, slots)
        return f"{'about' if complete else 'more than'} {duration(seconds)}"


class Progress:
    """What is done, of what is to do."""

    def __init__(self, estimate: Estimate, slots: int):
        self._estimate = estimate
        self._slots = slots
        self._remaining: Counter[str] = Counter()
        self._done = self._total = self._failed = 0
        layout = "sweep {percentage:3.0f}%|{bar}| {desc}"
        self._bar = tqdm(total=0, bar_format=layout) if sys.stderr.isatty() else None
        self._said = 0.0

    def expect(self, items: list[Item]) -> None:
        """These are to do, too."""
        self._total += len(items)
        self._remaining.update(group_of(item) for item in items)
        self._show()

    def ended(self, outcome: Outcome) -> None:
        """One is done."""
        name = group_of(outcome.item)
        self._estimate.took(name, outcome.seconds)
        self._remaining[name] -= 1
        self._done += 1
        self._failed += outcome.result is None
        self._show()

    def close(self) -> None:
        """Say the last word."""
        if self._bar is not None:
            self._bar.close()

    def _show(self) -> None:
        words = f"{self._done} of {self._total}"
        words += f", {self._failed} failed" if self._failed else ""
        if self._done < self._total:
            words += f", {self._estimate.words(self._remaining, self._slots)} left"
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.n = self._done
            self._bar.set_description_str(words)
        elif self._total and (
            self._done == self._total or time.monotonic() - self._said >= _EVERY_S or not self._said
        ):
            self._said = time.monotonic()
            print(f"sweep: {words}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """In words: ``40 s``, ``12 min``, ``1 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
