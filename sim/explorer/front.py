"""Pareto fronts of design points, and the smallest design that loses little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.explorer.axes import AXES, value

__all__ = ["best_within", "pareto_front", "worst_loss"]

_BETTER = {axis.key: axis.better for axis in AXES}

#: A loss of one image in a thousand is 0.1 points, give or take a bit of a float64.
_ROUNDING = 1e-9

Point = Mapping[str, Any]


def pareto_front(points: Sequence[Point], x: str, y: str, network: str | None) -> list[Point]:
    """Points with both figures that no other matches in both and beats in one, from the least x on."""
    placed = [
        (_BETTER[x] * a, _BETTER[y] * b, point)
        for point in points
        if (a := value(point, x, network)) is not None and (b := value(point, y, network)) is not None
    ]
    placed.sort(key=lambda place: (-place[0], -place[1]))
    front: list[tuple[float, float, Point]] = []
    for place in placed:
        if not front or place[1] > front[-1][1] or place[:2] == front[-1][:2]:
            front.append(place)
    return [point for *_, point in (front if _BETTER[x] < 0 else reversed(front))]


def worst_loss(point: Point, networks: Sequence[str]) -> float | None:
    """Points lost on the network that loses most; None where one of them is not known."""
    losses = [value(point, "loss", network) for network in networks]
    return None if not losses or None in losses else max(losses)


def best_within(points: Sequence[Point], limit: float, cost: str, networks: Sequence[str]) -> Point | None:
    """The point of least cost that loses at most ``limit`` points on each network; None where none does.

    Of equally cheap ones the one that loses less. The cost's better end is that of its axis.
    """
    enough = [
        (-_BETTER[cost] * price, worst, i)
        for i, point in enumerate(points)
        if (price := point.get(cost)) is not None
        and (worst := worst_loss(point, networks)) is not None
        and worst <= limit + _ROUNDING
    ]
    return points[min(enough)[2]] if enough else None
