"""The tables of ``python -m hw.cost.timing``: delays, slacks, and critical paths by part."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from golden.catalog import find
from golden.config import MAX_STAGES, ConfigError
from hw.command_line import Parser
from hw.cost.check import NetlistError
from hw.cost.curve import clock_curves
from hw.cost.curve import report as curve_report
from hw.cost.flow import SynthesisError
from hw.cost.opensta import TimerError
from hw.cost.record import CostRecord, cost_point
from hw.cost.technologies import add_technology_options, find_technology, technology_name

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 2, with a sentence on stderr, if it cannot be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        print(_run(options))
    except ConfigError as error:
        parser.error(str(error))
    except (NetlistError, SynthesisError, TimerError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    if options.sweep and options.clock is not None:
        raise ConfigError(f"--sweep chooses clocks itself; leave out --clock {options.clock:g}")
    technology = technology_name(options)
    library = find_technology(technology)
    if not library.has_timing:
        raise ConfigError(
            f"the technology {technology} has areas only; use one with timing, such as sky130hd"
        )
    configs = [find(name) for name in options.configs]
    silicons = [config.hardwired if options.hardwired else config.silicon for config in configs]
    if options.sweep:
        curves = clock_curves(silicons, options.stages, library, progress=_progress)
        if options.json:
            named = zip(options.configs, curves, strict=True)
            return json.dumps({name: [asdict(point) for point in curve] for name, curve in named}, indent=1)
        return curve_report(options.configs, curves)
    clock_ps = None if options.clock is None else options.clock * 1000
    records = []
    for name, silicon in zip(options.configs, silicons, strict=True):
        records.append(cost_point(silicon, options.stages, technology, clock_ps))
        _progress(f"{len(records)}/{len(silicons)} {name}: {records[-1].delay_ps / 1000:.3f} ns")
    if options.json:
        named = zip(options.configs, records, strict=True)
        return json.dumps([{"config": name, **asdict(record)} for name, record in named], indent=1)
    return "\n\n".join(_report(*pair) for pair in zip(options.configs, records, strict=True))


def _report(name: str, record: CostRecord) -> str:
    lines = [
        f"{name} ({record.silicon}, {record.stages} stages) in {record.technology}: "
        f"{record.um2:.1f} um2, {record.nand2:.1f} NAND2",
        f"  delay {record.delay_ps / 1000:.3f} ns, {record.fmax_mhz:.1f} MHz at most, by {record.timer}",
    ]
    if record.clock_ps is not None:
        slack = (record.clock_ps - record.delay_ps) / 1000
        answer = "met" if record.met else "missed"
        lines.append(f"  clock {record.clock_ps / 1000:g} ns: {answer}, slack {slack:+.3f} ns")
    if record.critical:
        whole = sum(record.critical.values())
        lines.append(f"  critical path of the netlist with borders between parts, {whole / 1000:.3f} ns:")
        width = max(map(len, record.critical))
        lines += [
            f"    {part:{width}} {ps / 1000:8.3f} ns {ps / whole:7.1%}"
            for part, ps in record.critical.items()
        ]
    lines.append(f"  netlist = golden on {record.vectors} vectors; mapped by {record.recipe}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m hw.cost.timing",
        description="Delay of MACs between registers: highest clock, slack, and critical path by part.",
        resumes=True,
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="short or canonical names")
    add_technology_options(parser, default="sky130hd")
    parser.add_argument(
        "--clock", type=float, metavar="NS", help="map for this period (default: for least area)"
    )
    parser.add_argument("--sweep", action="store_true", help="area over the clock, from the fastest on")
    parser.add_argument(
        "--stages",
        type=int,
        choices=range(MAX_STAGES + 1),
        default=0,
        metavar="N",
        help=f"registers in a MAC besides its output register, 0 to {MAX_STAGES} (default 0)",
    )
    parser.add_argument("--hardwired", action="store_true", help="exponent offsets as constants")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
