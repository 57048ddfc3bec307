"""What a space expands to and how far its sweep is, as text."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from golden.config import ConfigError
from sim.sweep.formats import label_of
from sim.sweep.items import Needs
from sim.sweep.progress import Estimate
from sim.sweep.run import missing
from sim.sweep.space import Network, Point, Space
from sim.sweep.store import Store, group_of

__all__ = ["listing", "status"]


def listing(space: Space) -> str:
    """A line for each point, and one that counts them."""
    rows = [_row(point) for point in space.points]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    networks = ", ".join(_network(network) for network in space.networks) or "no network"
    return "\n".join([*lines, f"{len(space.points)} points, {len(space.configs)} configurations; {networks}"])


def _row(point: Point) -> tuple[str, ...]:
    stages = "stages searched" if point.stages is None else f"{point.stages} stages"
    clock = "relaxed" if point.clock_ps is None else f"{point.clock_ps / 1000:g} ns"
    judged = ",".join(network.name for network in point.networks)
    label, config = label_of(point.config), point.config.name
    return label, config, f"offsets {point.offsets}", stages, point.technology, clock, judged


def _network(network: Network) -> str:
    count = "all" if network.images is None else f"the first {network.images}"
    return f"{network.name} ({count} test images, a setting a {network.calibration})"


def status(needs: Needs, store: Store) -> str:
    """What is there, what is missing as far as it can be named, and what failed last."""
    known = store.results()
    there = Counter(
        group_of(item)
        for item in {
            item.key: item
            for point in needs.space.points
            for item in needs.of(point, known)
            if item.key in known
        }.values()
    )
    lacking = missing(needs, store)
    absent = Counter(group_of(item) for item in lacking)
    lines = [f"{name}: {there[name]} there, {absent[name]} missing" for name in sorted(there | absent)]
    if lacking:
        lines.append(f"{Estimate(store.seconds()).words(absent, 1)} on one worker")
    failures = store.failures()
    lines += [f"failed: {item.arguments}: {failures[item.key]}" for item in lacking if item.key in failures]
    return "\n".join(lines)


def only(space: Space, name: str) -> Space:
    """The space's points of one configuration, by its canonical name, its short name or its label.

    Raises :class:`ConfigError` where it has none.
    """
    points = tuple(point for point in space.points if name in (point.config.name, label_of(point.config)))
    if not points:
        labels = [label_of(config) for config in space.configs]
        near = difflib.get_close_matches(name, labels, n=3) or labels[:3]
        raise ConfigError(f"the space has no point of {name!r}; it has {', '.join(near)}; --list has all")
    return replace(space, points=points)


def figures(points: Sequence[dict[str, Any]]) -> str:
    """A line for each point of an export."""
    return "\n".join(_figures(point) for point in points)


def _figures(point: dict[str, Any]) -> str:
    clock = "relaxed" if point["clock_ns"] is None else f"{point['clock_ns']:g} ns"
    words = [f"{point['label']}, {point['stages']} stages, {point['technology']}, {clock}:"]
    for key, unit in (("um2", "um2"), ("delay_ns", "ns"), ("energy_pj", "pJ")):
        if point[key] is not None:
            words.append(f"{point[key]:g} {unit};")
    for network, right in point["accuracy"].items():
        low, high = point["interval"][network]
        lost = f"{point['loss'][network]:+.2f} points lost [{low:+.2f}, {high:+.2f}]"
        words.append(f"{network} {right:.2f} % of {point['n'][network]}, {lost};")
    return " ".join(words).rstrip(";")
