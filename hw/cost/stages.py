"""Pipeline stages for a clock, and areas at one clock: ``python -m hw.cost.stages CONFIG... --clock NS``.

A slow small adder is no bargain. At a given clock every configuration gets the number of stages that makes it
smallest, and is compared with the others there.
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
from hw.cost.check import NetlistError
from hw.cost.curve import ClockPoint, map_mac
from hw.cost.flow import SynthesisError
from hw.cost.mapping import CACHE
from hw.cost.opensta import TimerError
from hw.cost.technologies import add_technology_options, find_technology, technology_name

__all__ = ["StageChoice", "choose_stages", "choose_stages_of_all", "main"]

_PROCESSES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class StageChoice:
    """What each number of stages costs at a clock, and which of them is the smallest that meets it."""

    silicon: str  #: ``Silicon.mac_name``.
    clock_ps: float
    points: dict[int, ClockPoint]  #: By number of stages, those that were tried, the most first.

    @property
    def stages(self) -> int | None:
        """The number with the least area of those that meet the clock, or None where none does."""
        meeting = [stages for stages, point in self.points.items() if point.met]
        return min(meeting, key=lambda stages: (self.points[stages].um2, stages), default=None)


def choose_stages(silicon: Silicon, library: Library, clock_ps: float, *, cache: Path = CACHE) -> StageChoice:
    """Map a MAC with every number of stages for the clock, down to one that misses it.

    Fewer stages than that have longer paths still. Netlists are proved on golden vectors.
    """
    points = {}
    for stages in range(MAX_STAGES, -1, -1):
        points[stages] = map_mac(silicon, stages, library, clock_ps, cache)
        if not points[stages].met:
            break
    return StageChoice(silicon=silicon.mac_name, clock_ps=clock_ps, points=points)


def choose_stages_of_all(
    silicons: Sequence[Silicon],
    library: Library,
    clock_ps: float,
    *,
    progress: Callable[[str], None],
    cache: Path = CACHE,
) -> list[StageChoice]:
    """:func:`choose_stages` of each silicon, two at a time; ``progress`` takes a line at a time."""
    choices = []
    with ThreadPoolExecutor(_PROCESSES) as pool:  # each waits for processes of its own
        found = pool.map(lambda silicon: choose_stages(silicon, library, clock_ps, cache=cache), silicons)
        for choice in found:
            choices.append(choice)
            answer = "out of reach" if choice.stages is None else f"{choice.stages} stages"
            progress(f"{len(choices)}/{len(silicons)} {choice.silicon} at {clock_ps / 1000:g} ns: {answer}")
    return choices


def _report(names: Sequence[str], choices: Sequence[StageChoice]) -> str:
    counts = range(MAX_STAGES + 1)
    head = "".join(f"{f'{stages} stages':>22}" for stages in counts)
    lines = [f"{'config':14}{head}{'chosen':>8} {'um2':>10} {'NAND2':>9}"]
    for name, choice in zip(names, choices, strict=True):
        cells = "".join(f"{_cell(choice.points.get(stages)):>22}" for stages in counts)
        if choice.stages is None:
            lines.append(f"{name:14}{cells}{'none':>8}")
        else:
            best = choice.points[choice.stages]
            lines.append(f"{name:14}{cells}{choice.stages:8d} {best.um2:10.1f} {best.nand2:9.1f}")
    clock, timer = choices[0].clock_ps / 1000, choices[0].points[MAX_STAGES].timer
    return "\n".join([f"smallest at {clock:g} ns, delays by {timer}", *lines])


def _cell(point: ClockPoint | None) -> str:
    return "-" if point is None else f"{point.um2:.1f} um2 {point.delay_ps / 1000:.2f} ns"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        library = find_technology(technology_name(options))
        configs = [find(name) for name in options.configs]
        silicons = [config.hardwired if options.hardwired else config.silicon for config in configs]
        choices = choose_stages_of_all(silicons, library, options.clock * 1000, progress=_progress)
    except ConfigError as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError, TimerError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    if options.json:
        named = zip(options.configs, choices, strict=True)
        print(
            json.dumps(
                [{"config": name, "stages": each.stages, **asdict(each)} for name, each in named], indent=1
            )
        )
    else:
        print(_report(options.configs, choices))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hw.cost.stages",
        description="Find the pipeline stages with which each MAC is smallest at a clock, and compare there.",
        resumes=True,
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="short or canonical names")
    add_technology_options(parser, default="sky130hd")
    parser.add_argument("--clock", type=float, required=True, metavar="NS", help="clock period")
    parser.add_argument("--hardwired", action="store_true", help="exponent offsets as constants")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
