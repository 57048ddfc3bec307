"""Delay of mapped netlists: by OpenSTA where it is installed, by ABC where it is not.

``python -m hw.cost.timing CONFIG... --clock NS`` prints delays, slacks and critical paths by part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hw.cost.abc_timing import abc_delay
from hw.cost.cells import Library
from hw.cost.opensta import RELAXED_PS, CriticalPath, critical_paths, opensta_version

__all__ = ["ABC", "REGISTERS", "Timing", "timer_name", "timing", "timings"]

#: The fallback's name in ``Timing.timer``; its delay is of logic alone, without clock-to-output and set-up.
ABC = "ABC"

#: Clock-to-output of the register that a path comes from, and set-up of the one that it goes to.
REGISTERS = "registers"
_LOGIC = "logic"  # of cells whose name says no part


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How fast a netlist is, between registers, and where the time goes."""

    clock_ps: float  #: The period that it is held against.
    delay_ps: float  #: The least period.
    timer: str  #: ``OpenSTA`` with its version, or :data:`ABC`.
    path: tuple[tuple[str, str, float], ...]  #: (part or cell, pin, ps) from the clock edge on; of ABC none.
    by_part: dict[str, float]  #: ps of the path; they add up to the delay. Of ABC none.

    @property
    def slack_ps(self) -> float:
        """What is left of the period; negative where the netlist is too slow."""
        return self.clock_ps - self.delay_ps

    @property
    def fmax_mhz(self) -> float:
        """The highest clock."""
        return 1e6 / self.delay_ps

    @property
    def met(self) -> bool:
        """The netlist runs at the clock."""
        return self.slack_ps >= 0


def timer_name() -> str:
    """Who times here."""
    return opensta_version() or ABC


def timing(netlist: str, top: str, library: Library, clock_ps: float | None) -> Timing:
    """Time one netlist, which is Verilog of one module ``top`` with cells only.

    Where cell names begin with a part and a dot (:func:`hw.cost.mapping.map_parted`), the path is told apart
    by part. ``clock_ps`` None: any. Raises :class:`ConfigError` if the library has no timing.
    """
    return timings([netlist], top, library, clock_ps)[0]


def timings(netlists: Sequence[str], top: str, library: Library, clock_ps: float | None) -> list[Timing]:
    """:func:`timing` of several netlists, which OpenSTA reads in one run."""
    period = float(RELAXED_PS if clock_ps is None else clock_ps)
    version = opensta_version()
    if version is None or not library.has_timing:
        return [
            Timing(clock_ps=period, delay_ps=abc_delay(netlist, library), timer=ABC, path=(), by_part={})
            for netlist in netlists
        ]
    paths = critical_paths(netlists, top, library, clock_ps=period)
    return [
        Timing(
            clock_ps=period,
            delay_ps=path.delay_ps,
            timer=version,
            path=tuple((step.instance, step.pin, step.ps) for step in path.steps),
            by_part=_by_part(path, library),
        )
        for path in paths
    ]


def _by_part(path: CriticalPath, library: Library) -> dict[str, float]:
    """Time of the path by part, in the order in which it passes them."""
    parts: dict[str, float] = {}
    for index, step in enumerate(path.steps):
        part, dot, _ = step.instance.partition(".")
        is_register = library.cells[step.cell].flip_flop is not None
        if index == len(path.steps) - 1:  # the wire to the register at the end is its driver's
            part, dot, is_register = *path.steps[index - 1].instance.partition(".")[:2], False
        where = REGISTERS if is_register else part if dot else _LOGIC
        parts[where] = parts.get(where, 0.0) + step.ps
    parts[REGISTERS] = parts.get(REGISTERS, 0.0) + path.setup_ps
    return parts


if __name__ == "__main__":
    from hw.cost.timing_report import main

    sys.exit(main())
