"""``python -m hw.cost.timing_results``: docs/results/timing.json, which hw.cost.timing_page makes a page of.

Area over the clock, pipeline stages for a clock, areas at one clock, and how the two timers differ. Netlists
are kept, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from golden.catalog import BASELINE, find
from golden.config import ConfigError, Silicon
from hw.command_line import Parser
from hw.cost.abc_timing import abc_delay
from hw.cost.cells import Library
from hw.cost.check import MIN_VECTORS, NetlistError
from hw.cost.curve import clock_curves, map_mac
from hw.cost.flow import SynthesisError
from hw.cost.mapping import CACHE, map_flat
from hw.cost.opensta import TimerError
from hw.cost.stages import choose_stages_of_all
from hw.cost.technologies import TECHNOLOGIES, find_technology
from hw.cost.timing import timer_name, timing
from hw.cost.trials import VARIANTS, retimed, trial
from hw.files import write_files
from hw.mac import Mac
from hw.verilog import verilog_text

__all__ = ["CLOCKS_NS", "CONFIGS", "TRIALS", "main", "measure"]

#: What is compared: the float32 accumulator first.
CONFIGS = (BASELINE, "float16", "float12", "float8", "fixed12", "int12", "exact")

#: Periods in ns at which stages are chosen, and at which configurations are compared.
CLOCKS_NS = {"sky130hd": (8.0, 5.0), "asap7": (1.5, 0.8)}

#: What variants of mapping are tried on, configuration and stages, in a technology that has their cells.
TRIALS = {"sky130hd": (("float12", 1), ("int12", 0), ("exact", 0))}
_RETIMED_PS = 5000.0

_FILE = Path(__file__).resolve().parents[2] / "docs" / "results" / "timing.json"


def measure(
    technologies: Sequence[str], configs: Sequence[str], progress: Callable[[str], None], cache: Path = CACHE
) -> dict:
    """The content of the results file. Raises what the searches raise."""
    silicons = [find(name).silicon for name in configs]
    found = {}
    for technology in technologies:
        library = find_technology(technology)
        progress(f"{technology}: area over the clock")
        curves = clock_curves(silicons, 0, library, progress=progress, cache=cache)
        stages = {}
        for clock_ns in CLOCKS_NS[technology]:
            progress(f"{technology}: stages at {clock_ns:g} ns")
            choices = choose_stages_of_all(silicons, library, clock_ns * 1000, progress=progress, cache=cache)
            stages[f"{clock_ns:g}"] = {
                name: {
                    "stages": choice.stages,
                    "points": {str(count): asdict(point) for count, point in choice.points.items()},
                }
                for name, choice in zip(configs, choices, strict=True)
            }
        progress(f"{technology}: two timers, and trials")
        found[technology] = {
            "what": TECHNOLOGIES[technology].what,
            "nand2_um2": library.nand2_um2,
            "curves": {
                name: [asdict(point) for point in curve] for name, curve in zip(configs, curves, strict=True)
            },
            "stages": stages,
            "timers": [_timers(*pair, library, cache) for pair in zip(configs, silicons, strict=True)],
            "trials": [_trials(name, count, library, cache) for name, count in TRIALS.get(technology, ())],
        }
    return {
        "command": "python -m hw.cost.timing_results",
        "vectors": MIN_VECTORS,
        "configs": {name: find(name).name for name in configs},
        "baseline": configs[0],
        "versions": {"timer": timer_name(), "pyosys": importlib.metadata.version("pyosys")},
        "technologies": found,
    }


def _timers(name: str, silicon: Silicon, library: Library, cache: Path) -> dict:
    """Both delays of the netlist of least area, in ps."""
    netlist = map_flat(verilog_text(Mac(silicon, 0, events=False), "mac"), "mac", library, cache).verilog
    timed = timing(netlist, "mac", library, None)
    return {
        "config": name,
        "timer_ps": timed.delay_ps,
        "registers_ps": timed.by_part.get("registers"),
        "abc_ps": abc_delay(netlist, library),
    }


def _trials(name: str, stages: int, library: Library, cache: Path) -> dict:
    """Areas and delays of variants of mapping, and of registers moved in a pipeline."""
    verilog = verilog_text(Mac(find(name).silicon, stages, events=False), "mac")
    row = {
        "config": name,
        "stages": stages,
        "variants": {variant: asdict(trial(verilog, "mac", library, variant)) for variant in VARIANTS},
    }
    if stages:
        found = map_mac(find(name).silicon, stages, library, _RETIMED_PS, cache)
        row["retimed"] = {
            "clock_ps": _RETIMED_PS,
            "as it is": {"um2": found.um2, "delay_ps": found.delay_ps},
            "retimed": asdict(retimed(verilog, "mac", library, _RETIMED_PS, "result")),
        }
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = Parser(
        prog="python -m hw.cost.timing_results", description=__doc__.splitlines()[0], resumes=True
    )
    parser.add_argument(
        "--tech",
        nargs="+",
        choices=list(CLOCKS_NS),
        default=list(CLOCKS_NS),
        metavar="NAME",
        help="these only",
    )
    parser.add_argument("-o", "--output", type=Path, default=_FILE, metavar="FILE", help="the results file")
    options = parser.parse_args(arguments)
    try:
        results = measure(options.tech, CONFIGS, _progress)
        write_files({options.output.name: json.dumps(results, indent=1) + "\n"}, options.output.parent)
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError, TimerError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
