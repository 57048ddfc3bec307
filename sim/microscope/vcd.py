"""Reads some signals of a VCD file, cycle by cycle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["read_signals"]


def read_signals(path: Path, scope: str, names: Sequence[str], *, period: int) -> dict[str, list[int | None]]:
    """The value of each signal of a scope in every clock cycle, as it stands just before the rising edge.

    Scopes are joined with points; those above ``scope`` need not be named. A value with unknown bits is None.
    Cycle t lasts ``period`` units of the file's time, from ``t * period`` on; the clock rises in its middle.
    """
    with path.open() as file:
        identifiers = _identifiers(file, scope.split("."), names)
        values: dict[str, int | None] = dict.fromkeys(identifiers)
        history: dict[str, list[int | None]] = {name: [] for name in names}

        def sample() -> None:
            for identifier, same in identifiers.items():
                for name in same:
                    history[name].append(values[identifier])

        cycle = 0
        for line in map(str.strip, file):
            if line.startswith("#"):
                while int(line[1:]) > cycle * period + period // 4:  # written before the edge: it holds there
                    sample()
                    cycle += 1
            elif line.startswith("b"):
                bits, _, identifier = line[1:].partition(" ")
                if identifier in values:
                    values[identifier] = int(bits, 2) if set(bits) <= {"0", "1"} else None
            elif line[1:] in values:
                values[line[1:]] = int(line[0]) if line[0] in "01" else None
        sample()
    return history


def _identifiers(file: Iterable[str], scope: list[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The signals by what stands for them in the file, which one value may do for several."""
    stack: list[str] = []
    found: dict[str, list[str]] = defaultdict(list)
    for line in file:
        words = line.split()
        if words[:1] == ["$scope"]:
            stack.append(words[2])
        elif words[:1] == ["$upscope"]:
            stack.pop()
        elif words[:1] == ["$var"] and words[4] in names and stack[-len(scope) :] == scope:
            found[words[3]].append(words[4])
        elif words[:1] == ["$enddefinitions"]:
            break
    missing = set(names) - {name for same in found.values() for name in same}
    if missing:
        raise ValueError(f"the waves have no signal {', '.join(sorted(missing))} in {'.'.join(scope)}")
    return found
