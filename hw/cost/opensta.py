"""OpenSTA on mapped netlists that stand between registers, as a MAC does in its array.

Every input comes from a flip-flop of the library and every output goes to one, all on one ideal clock: a
delay is from a clock edge to the next, with clock-to-output and set-up. Wires are what the library's default
wire load makes of the fan-out (sky130hd has one, ASAP7 none): nothing is placed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.netlist import lists_taken_apart

__all__ = [
    "CriticalPath",
    "Step",
    "TimerError",
    "bench",
    "critical_paths",
    "opensta_version",
    "slowest_through",
]

#: A period that OpenSTA is given where nobody asks for a slack, in ps.
RELAXED_PS = 100_000

_PROGRAMS = ("sta", "opensta")
_TOP = "fmaq_bench"
_MARK = "REPORT OF NETLIST"
_TIMEOUT_S = 600


class TimerError(RuntimeError):
    """The timer did not report a path. The message is the end of what it printed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A point of a path: an output of a cell, and how long after the point before it changes."""

    instance: str  #: ``source`` and ``sink`` begin the names of registers around the netlist.
    pin: str
    cell: str
    ps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticalPath:
    """The slowest path from a clock edge to the next."""

    delay_ps: float  #: The least period: clock-to-output, logic, and set-up.
    setup_ps: float
    steps: tuple[Step, ...]


@cache
def opensta() -> str | None:
    """Where the program is, or None."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


@cache
def opensta_version() -> str | None:
    """``OpenSTA 2.0.17``, or None where it is not installed."""
    if opensta() is None:
        return None
    run = subprocess.run([opensta(), "-version"], capture_output=True, text=True, check=False)
    return f"OpenSTA {run.stdout.split()[-1]}" if run.stdout.split() else "OpenSTA"


_PORT = re.compile(r"^\s*(input|output)\s+(?:signed\s+)?(?:\[(\d+):0\]\s*)?(\w+)\s*;", re.MULTILINE)
_SIGNED = re.compile(r"^(\s*(?:input|output|wire)) signed\b", re.MULTILINE)


def bench(netlist: str, top: str, library: Library, *, clock: str = "clk") -> str:
    """Verilog of the netlist between registers, as module ``fmaq_bench``.

    ``clock`` may be missing among the ports: then the registers around the netlist have it alone.
    """
    register = library.register
    head, body, connections = ["input clk"], [], []
    for way, high, name in _PORT.findall(netlist):
        if name == clock:
            connections.append(f".{clock}(clk)")
            continue
        width = int(high or 0) + 1
        body.append(f"  wire [{width - 1}:0] inner_{name};")
        head.append(f"{way} [{width - 1}:0] {name}")
        for bit in range(width):
            ends = (f"{name}[{bit}]", f"inner_{name}[{bit}]")
            where, (d, q) = ("source", ends) if way == "input" else ("sink", ends[::-1])
            body.append(
                f"  {register.cell} {where}_{name}_{bit} (.{register.clock}(clk), .{register.data}({d}), "
                f".{register.output}({q}));"
            )
        connections.append(f".{name}(inner_{name}{'' if high else '[0]'})")
    ports = [port.split()[-1] for port in head]
    return "\n".join(
        [
            _SIGNED.sub(r"\1", lists_taken_apart(netlist)),  # a word that this reader does not know
            f"module {_TOP}({', '.join(ports)});",
            *(f"  {port};" for port in head),
            *body,
            f"  {top} netlist ({', '.join(connections)});",
            "endmodule\n",
        ]
    )


def critical_paths(
    netlists: Sequence[str], top: str, library: Library, *, clock_ps: float = RELAXED_PS
) -> list[CriticalPath]:
    """The slowest path of each netlist, all read in one run of OpenSTA.

    Raises :class:`ConfigError` where there is no OpenSTA or the library has no timing, :class:`TimerError`
    where it finds no path.
    """
    query = "report_checks -path_delay max -format full -digits 6"
    reports, errors = _reports([(netlist, [query]) for netlist in netlists], top, library, clock_ps)
    return [_path(report, library.time_unit_ps, errors) for (report,) in reports]


def slowest_through(netlist: str, top: str, library: Library, parts: Sequence[str]) -> dict[str, float]:
    """The delay in ps of the slowest path through each part, of a netlist whose cells are ``PART.anything``.

    A part that no path passes is left out. Raises as :func:`critical_paths` does.
    """
    queries = [
        f"report_checks -path_delay max -format full -digits 6 -through [get_cells {{netlist/{part}.*}}]"
        for part in parts
    ]
    (reports,), _ = _reports([(netlist, queries)], top, library, RELAXED_PS)
    unit = library.time_unit_ps
    return {
        part: _path(report, unit, "").delay_ps
        for part, report in zip(parts, reports, strict=True)
        if _ARRIVAL.search(report)
    }


def _reports(
    asked: Sequence[tuple[str, Sequence[str]]], top: str, library: Library, clock_ps: float
) -> tuple[list[list[str]], str]:
    """What OpenSTA prints on each netlist's queries, and its errors."""
    if opensta() is None:
        raise ConfigError("OpenSTA is not installed; apt-get install opensta brings it (as sta)")
    if not library.has_timing:
        raise ConfigError(f"{library.name} has no timing; name a technology that has, such as sky130hd")
    period = clock_ps / library.time_unit_ps
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for index, text in enumerate(library.texts):
            Path(folder, f"library{index}.lib").write_text(text)
            commands.append(f"read_liberty library{index}.lib")
        for index, (netlist, queries) in enumerate(asked):
            Path(folder, f"netlist{index}.v").write_text(bench(netlist, top, library))
            commands += [
                f"read_verilog netlist{index}.v",
                f"link_design {_TOP}",
                f"create_clock -name clk -period {period:.6f} [get_ports clk]",
            ]
            for query in queries:
                commands += [f'puts "{_MARK} {index}"', query]
        Path(folder, "commands.tcl").write_text("\n".join([*commands, "exit\n"]))
        run = subprocess.run(
            [opensta(), "-exit", "commands.tcl"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    pieces = re.split(rf"^{_MARK} (\d+)$", run.stdout, flags=re.MULTILINE)[1:]
    reports: list[list[str]] = [[] for _ in asked]
    for index, report in zip(pieces[::2], pieces[1::2], strict=True):
        reports[int(index)].append(report)
    if any(len(found) != len(queries) for found, (_, queries) in zip(reports, asked, strict=True)):
        raise TimerError(f"OpenSTA did not read the netlist: {(run.stderr + run.stdout)[-1000:]}")
    return reports, run.stderr


_LINE = re.compile(r"^ *(-?[\d.]+) +-?[\d.]+ [v^] (\S+)/(\w+) \((\S+)\)$", re.MULTILINE)
_SETUP = re.compile(r"^ *(-?[\d.]+) +-?[\d.]+   library setup time$", re.MULTILINE)
_ARRIVAL = re.compile(r"^ *(-?[\d.]+)   data arrival time$", re.MULTILINE)


def _path(report: str, unit: float, errors: str) -> CriticalPath:
    arrival, setup = _ARRIVAL.search(report), _SETUP.search(report)
    if arrival is None or setup is None:
        raise TimerError(f"OpenSTA found no path between registers: {(errors + report)[-1000:]}")
    steps = tuple(
        Step(instance=name.removeprefix("netlist/"), pin=pin, cell=cell, ps=float(delay) * unit)
        for delay, name, pin, cell in _LINE.findall(report[: arrival.start()])
    )
    setup_ps = -float(setup[1]) * unit
    return CriticalPath(delay_ps=float(arrival[1]) * unit + setup_ps, setup_ps=setup_ps, steps=steps)
