"""Area over the clock: ``python -m hw.cost.curve CONFIG... --tech T``.

A cost is a curve: from the fastest netlist that the search finds to the smallest, which any slower clock has.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from golden.catalog import find
from golden.config import MAX_STAGES, ConfigError, Silicon
from hw.command_line import Parser
from hw.cost.cells import Library
from hw.cost.check import NetlistError, Replayer, check_mac
from hw.cost.flow import SynthesisError, cell_counts
from hw.cost.mapping import CACHE, area_of, map_flat
from hw.cost.opensta import TimerError
from hw.cost.svg import Series, line_chart
from hw.cost.synth import golden_vectors
from hw.cost.technologies import add_technology_options, find_technology, technology_name
from hw.cost.timing import timing
from hw.files import write_files
from hw.mac import Mac
from hw.verilog import verilog_text

__all__ = ["STEPS", "ClockPoint", "clock_curve", "clock_curves", "curve_chart", "main", "map_mac", "report"]

#: Clocks between the fastest and the relaxed one, both included.
STEPS = 6

_TOP = "mac"
_PROCESSES = 2
#: A share of the relaxed delay that no netlist reaches, so that the search returns its fastest.
_OUT_OF_REACH = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockPoint:
    """A netlist at a clock, proved on golden vectors."""

    clock_ps: float  #: The period that it has to meet.
    delay_ps: float  #: Its least period.
    um2: float
    nand2: float
    recipe: str
    timer: str

    @property
    def met(self) -> bool:
        """It runs at the clock."""
        return self.delay_ps <= self.clock_ps


def map_mac(
    silicon: Silicon, stages: int, library: Library, clock_ps: float | None, cache: Path = CACHE
) -> ClockPoint:
    """The MAC's smallest netlist that meets a clock, or its fastest; None: its smallest of all.

    Raises :class:`hw.cost.check.NetlistError` for a netlist that is not golden.
    """
    mac = Mac(silicon, stages, events=False)
    netlist = map_flat(verilog_text(mac, _TOP), _TOP, library, cache, clock_ps)
    check_mac(Replayer(library), netlist.verilog, mac, golden_vectors(silicon))
    timed = timing(netlist.verilog, _TOP, library, clock_ps)
    um2 = area_of(cell_counts(netlist.verilog), library).um2
    return ClockPoint(
        clock_ps=timed.delay_ps if clock_ps is None else clock_ps,
        delay_ps=timed.delay_ps,
        um2=um2,
        nand2=um2 / library.nand2_um2,
        recipe=netlist.recipe,
        timer=timed.timer,
    )


def clock_curve(
    silicon: Silicon, stages: int, library: Library, *, steps: int = STEPS, cache: Path = CACHE
) -> list[ClockPoint]:
    """Area over the clock from the fastest to the relaxed netlist, ``steps`` clocks in equal ratios.

    A netlist that meets a clock meets every slower one, so each point is the smallest of all that do.
    """
    relaxed = map_mac(silicon, stages, library, None, cache)
    fastest = map_mac(silicon, stages, library, _OUT_OF_REACH * relaxed.delay_ps, cache)
    ratio = (relaxed.delay_ps / fastest.delay_ps) ** (1 / (steps - 1))
    clocks = [fastest.delay_ps * ratio**step for step in range(steps)]
    found = [relaxed, fastest]
    found += [map_mac(silicon, stages, library, round(clock), cache) for clock in clocks[1:-1]]
    curve = []
    for clock in clocks:
        # The ends are delays of netlists: rounding must not push those out.
        meeting = [point for point in found if point.delay_ps <= clock * (1 + 1e-9)]
        best = min(meeting, key=lambda point: point.um2)
        curve.append(ClockPoint(**asdict(best) | {"clock_ps": clock}))
    return curve


def clock_curves(
    silicons: Sequence[Silicon],
    stages: int,
    library: Library,
    *,
    steps: int = STEPS,
    progress: Callable[[str], None],
    cache: Path = CACHE,
) -> list[list[ClockPoint]]:
    """:func:`clock_curve` of each silicon, two at a time; ``progress`` takes a line at a time."""
    curves = []
    with ThreadPoolExecutor(_PROCESSES) as pool:  # each waits for processes of its own
        found = pool.map(
            lambda silicon: clock_curve(silicon, stages, library, steps=steps, cache=cache), silicons
        )
        for silicon, curve in zip(silicons, found, strict=True):
            curves.append(curve)
            progress(
                f"{len(curves)}/{len(silicons)} {silicon.mac_name}: {curve[0].um2:.1f} um2 at "
                f"{curve[0].clock_ps / 1000:.2f} ns to {curve[-1].um2:.1f} at {curve[-1].clock_ps / 1000:.2f}"
            )
    return curves


def curve_chart(curves: dict[str, Sequence[ClockPoint]], technology: str) -> str:
    """SVG of areas over the clock, a line for each name."""
    return line_chart(
        [
            Series(name, [(point.clock_ps / 1000, point.um2) for point in points])
            for name, points in curves.items()
        ],
        title=f"Area over the clock, {technology}",
        x_label="clock period (ns)",
        y_label="area (um2)",
    )


def report(names: Sequence[str], curves: Sequence[Sequence[ClockPoint]]) -> str:
    """A table of curves."""
    lines = [f"{'config':14} {'clock ns':>9} {'MHz':>8} {'um2':>10} {'NAND2':>9}  recipe"]
    for name, curve in zip(names, curves, strict=True):
        for point in curve:
            lines.append(
                f"{name:14} {point.clock_ps / 1000:9.3f} {1e6 / point.clock_ps:8.0f} {point.um2:10.1f} "
                f"{point.nand2:9.1f}  {point.recipe}"
            )
    return "\n".join([*lines, f"delays by {curves[0][0].timer}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.steps < 2:
            raise ConfigError(f"--steps {options.steps} makes no curve; use 2 or more")
        technology = technology_name(options)
        library = find_technology(technology)
        configs = [find(name) for name in options.configs]
        silicons = [config.hardwired if options.hardwired else config.silicon for config in configs]
        curves = clock_curves(silicons, options.stages, library, steps=options.steps, progress=_progress)
        named = dict(zip(options.configs, curves, strict=True))
        if options.svg is not None:
            chart = curve_chart(named, technology)
            write_files({options.svg.name: chart}, options.svg.parent, option="--svg")
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError, TimerError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(
            json.dumps({name: [asdict(point) for point in curve] for name, curve in named.items()}, indent=1)
        )
    else:
        print(report(options.configs, curves))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hw.cost.curve",
        description="Area of MACs over the clock, from the fastest netlist to the smallest.",
        resumes=True,
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="short or canonical names")
    add_technology_options(parser, default="sky130hd")
    parser.add_argument("--stages", type=int, choices=range(MAX_STAGES + 1), default=0, metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"clocks (default {STEPS})")
    parser.add_argument("--hardwired", action="store_true", help="exponent offsets as constants")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curves, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
