"""``python -m sim.power CONFIG...``: energy of a MAC at real activity, and what default ones make of it.

Each MAC is mapped for the clock, tried on its golden vectors, and replayed on stimuli: those of a real layer,
and Gaussian and uniform ones beside them. ``--results`` writes those of the report.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from golden.config import MAX_STAGES, ConfigError
from hw.command_line import Parser
from hw.cost.check import NetlistError
from hw.cost.flow import SynthesisError
from hw.cost.technologies import add_technology_options, technology_name
from hw.files import write_files
from hw.verilator_env import ToolMissingError, tool_versions
from sim.activity import NAMES, REAL
from sim.power_measure import Point, measure
from sim.power_page import table

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "power.json"

#: What is compared with what: the first is real.
_STIMULI = ("resnet20", "gaussian", "uniform")

#: Rows of the report: (configuration, wired).
_REPORTED = (
    *(("float32", False), ("float16", False), ("float12", False), ("float12", True), ("float8-rne", False)),
    *(("fixed16", False), ("fixed12", False), ("exact", False)),
    *(("int32", False), ("int16", False), ("int12", False)),
)
_REPORTED_STIMULI = ("resnet20", "digits", "gaussian", "uniform")
_REPORTED_CLOCKS = {"sky130hd": 20.0, "asap7": 2.0}  # ns
_REPORTED_STAGES = 1
#: Of these every pin's toggles are compared with Verilator's, too.
_COMPARED = ("float12", False)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sim.power", description=__doc__.split("\n\n")[0], resumes=True)
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="short names such as float12")
    add_technology_options(parser, default="sky130hd")
    parser.add_argument(
        "--clock", type=float, default=20.0, metavar="NS", help="period that MACs are mapped for (default 20)"
    )
    parser.add_argument(
        "--stages",
        type=int,
        choices=range(MAX_STAGES + 1),
        default=1,
        metavar="N",
        help=f"registers in a MAC besides its output register, 0 to {MAX_STAGES} (default 1)",
    )
    parser.add_argument(
        "--stimulus",
        nargs="+",
        choices=NAMES,
        default=list(_STIMULI),
        metavar="NAME",
        help=f"of {', '.join(NAMES)}; operands and offsets are calibrated to the first, and the others are "
        f"compared with it (default {' '.join(_STIMULI)})",
    )
    parser.add_argument(
        "--wired",
        action="store_true",
        help="the calibrated exponent offsets as constants instead of registers",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the stimuli (default 0)")
    parser.add_argument(
        "--saif", action="store_true", help="compare every pin's toggles with Verilator's SAIF"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--results",
        action="store_true",
        help=f"measure the rows of the report, in both technologies, and write {RESULTS.relative_to(ROOT)}",
    )
    return parser


def _points(options: argparse.Namespace) -> list[Point]:
    if options.results:
        if options.configs:
            raise ConfigError("--results has rows of its own; leave out the configurations")
        return [
            Point(
                name=name,
                wired=wired,
                stages=_REPORTED_STAGES,
                technology=technology,
                clock_ns=clock,
                stimuli=_REPORTED_STIMULI,
                seed=options.seed,
                saif=(name, wired) == _COMPARED,
            )
            for technology, clock in _REPORTED_CLOCKS.items()
            for name, wired in _REPORTED
        ]
    if not options.configs:
        raise ConfigError("nothing is asked for; name configurations such as float12, or give --results")
    if not 0.001 <= options.clock <= 1e6:
        raise ConfigError(f"--clock {options.clock:g} is no period of a MAC; use 0.001 to 1000000 ns")
    if len(set(options.stimulus)) < len(options.stimulus):
        raise ConfigError(f"--stimulus {' '.join(options.stimulus)} names one twice; give each once")
    if options.wired and options.stimulus[0] == "uniform":
        raise ConfigError(
            f"uniform codes calibrate no offset to be wired; name one of {', '.join(REAL)} first"
        )
    return [
        Point(
            name=name,
            wired=options.wired,
            stages=options.stages,
            technology=technology_name(options),
            clock_ns=options.clock,
            stimuli=tuple(options.stimulus),
            seed=options.seed,
            saif=options.saif,
        )
        for name in options.configs
    ]


def _one_thread() -> None:
    torch.set_num_threads(1)


def _measured(points: Sequence[Point], jobs: int) -> list[dict]:
    """Rows in the order of the points. Netlists are kept, so that what was interrupted goes on."""
    if jobs == 1 or len(points) == 1:
        return [measure(point) for point in tqdm(points, disable=len(points) == 1)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        futures = {pool.submit(measure, point): i for i, point in enumerate(points)}
        rows = {}
        for future in tqdm(as_completed(futures), total=len(points), unit="MAC"):
            rows[futures[future]] = future.result()
    return [rows[i] for i in range(len(points))]


def _content(rows: Sequence[dict], options: argparse.Namespace, command: str) -> dict:
    versions = {name: importlib.metadata.version(name) for name in ("pyosys", "numpy", "torch")}
    return {
        "command": command,
        "seed": options.seed,
        "versions": versions | tool_versions(),
        "rows": list(rows),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if options.jobs < 1:
            raise ConfigError(f"--jobs must be at least 1, not {options.jobs}")
        points = _points(options)
        rows = _measured(points, options.jobs)
        content = _content(rows, options, shlex.join(["python", "-m", "sim.power", *given]))
        text = json.dumps(content, indent=1) + "\n"
        if options.results:
            write_files({RESULTS.name: text}, RESULTS.parent)
    except (ConfigError, ToolMissingError, OSError) as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(text if options.json else table(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
