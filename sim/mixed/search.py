"""The best assignment of configurations to layers for an area, by what each layer costs in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["COSTS", "Assignment", "area_of", "best_assignments", "front", "undominated"]

#: How the area of a set of assigned MACs counts.
COSTS = {
    "shares": "a set of arrays, each as large as its share of the MACs: the mean over MACs",
    "widest": "one array for all layers: the largest MAC that any of them has",
}

#: Different areas that are told apart, in um2 of the mean MAC.
_RESOLUTION = 1e-6


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A candidate for each layer."""

    choice: tuple[int, ...]  #: Of candidates, by number.
    area: float  #: um2 of a MAC, by one of :data:`COSTS`.
    error: float  #: Predicted: the sum of the layers' own.

    @property
    def kinds(self) -> int:
        """Different candidates: arrays that are needed."""
        return len(set(self.choice))


def area_of(choice: Sequence[int], areas: Sequence[float], macs: Sequence[int], cost: str) -> float:
    """The area of an assignment; ``areas`` of candidates, ``macs`` of layers."""
    if cost == "widest":
        return max(areas[c] for c in choice)
    return sum(areas[c] * m for c, m in zip(choice, macs, strict=True)) / sum(macs)


def undominated(areas: Sequence[float], errors: Sequence[Sequence[float]]) -> list[int]:
    """Candidates but for those that another one is as small as, and as good as in every layer.

    ``errors[candidate][layer]``.
    """
    kept: list[int] = []
    for c in sorted(range(len(areas)), key=lambda c: (areas[c], sum(errors[c]))):
        if not any(all(a <= b for a, b in zip(errors[other], errors[c], strict=True)) for other in kept):
            kept.append(c)
    return kept


def front(
    areas: Sequence[float], macs: Sequence[int], errors: Sequence[Sequence[float]], picked: Sequence[int]
) -> list[Assignment]:
    """All assignments of candidates ``picked`` that none of less area is better than, by ``shares``.

    Exact: layer by layer, assignments of the first layers are kept unless another has as little area and
    error.
    """
    total = sum(macs)
    partial: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for layer, mac in enumerate(macs):
        grown = [
            (area + areas[c] * mac / total, error + errors[c][layer], (*choice, c))
            for area, error, choice in partial
            for c in picked
        ]
        grown.sort(key=lambda each: (round(each[0] / _RESOLUTION), each[1]))
        partial = []
        for each in grown:
            if not partial or each[1] < partial[-1][1]:
                partial.append(each)
    return [Assignment(choice=choice, area=area, error=error) for area, error, choice in partial]


def best_assignments(
    areas: Sequence[float],
    macs: Sequence[int],
    errors: Sequence[Sequence[float]],
    *,
    budget: float,
    cost: str,
    arrays: int,
) -> list[Assignment]:
    """For one kind of array, for two, and so on up to ``arrays``, the assignment of least predicted error.

    Only those within ``budget``, and of more kinds only where that is better. With ``widest`` all layers
    share an array, and ``arrays`` says nothing.
    """
    if cost == "widest":
        affordable = [c for c in range(len(areas)) if areas[c] <= budget]
        if not affordable:
            return []
        choice = tuple(min(affordable, key=lambda c: errors[c][layer]) for layer in range(len(macs)))
        error = sum(errors[c][layer] for layer, c in enumerate(choice))
        return [Assignment(choice=choice, area=area_of(choice, areas, macs, cost), error=error)]
    kept = undominated(areas, errors)
    found: list[Assignment] = []
    for kinds in range(1, arrays + 1):
        options = []
        for picked in combinations(kept, kinds):
            options += [each for each in front(areas, macs, errors, picked) if each.area <= budget]
        best = max(options, default=None, key=_merit)
        if best is not None and (not found or best.error < found[-1].error):
            found.append(best)
    return found


def _merit(assignment: Assignment) -> tuple[float, float]:
    return -assignment.error, -assignment.area
