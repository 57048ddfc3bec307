"""Waves around the first wrong result of a failing testbench, ready to be looked at in GTKWave."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from golden.config import parse_format
from sim.gtkwave import HEXADECIMAL, shown_as_numbers
from tb import simulator
from tb.mismatch import PERIOD_NS, Mismatch, value_text

__all__ = ["AGAIN", "Wire", "explain", "wires", "write_save_file"]

AGAIN = "again"  #: Folder, in that of a run, of its repetition.
CYCLES_BEFORE, CYCLES_AFTER = 60, 10  #: Waves around the wrong result.

#: Ports of an array or a tile that are worth seeing, by the ends of their names; instances of MACs.
_PORT = re.compile(r"(clk|rst|resetn|irq|valid|ready|payload|data|keep|last|addr|strb|resp)$")
_MAC = re.compile(r"mac(_\d+)*(_stages_\d)?")


class Wire(NamedTuple):
    """A signal of a wave file."""

    scope: str  #: Joined with points.
    name: str
    width: int

    @property
    def full_name(self) -> str:
        return f"{self.scope}.{self.name}" + (f"[{self.width - 1}:0]" if self.width > 1 else "")


def explain(
    error: simulator.SimulationError,
    verilog: str,
    name: str,
    module: str,
    parameters: dict,
    run_dir: Path,
    waves: str,
) -> str:
    """Run the first test that failed again, with waves around what went wrong; say where they are.

    It runs alone: first to see when it fails, then for the waves. If it does not fail alone, all tests run.
    """
    try:
        folder = simulator.build(verilog, name, waves=waves)
    except simulator.SimulationError as build_error:
        return f"There are no waves: {build_error}"
    for only in (error.failures[0].test, None):
        failure, mismatch = _first_failure(folder, name, module, parameters, run_dir, only=only)
        if failure is not None:
            break
    else:
        return "It did not fail again when it was run for waves."
    time_ns = int(failure.end_ns) if mismatch is None else mismatch.time_ns
    window = (time_ns - CYCLES_BEFORE * PERIOD_NS, time_ns + CYCLES_AFTER * PERIOD_NS)
    _first_failure(folder, name, module, parameters, run_dir, only=only, waves=waves, window_ns=window)
    dump = run_dir / f"dump.{waves}"
    if mismatch is None:
        return f"{failure.test} fails in cycle {time_ns // PERIOD_NS} ({time_ns} ns)\nwaves: {dump}"
    lines = [str(mismatch), f"waves: {dump}"]
    save = write_save_file(dump, mismatch)
    return "\n".join(lines if save is None else [*lines, f"to see them: gtkwave {dump} {save}"])


def _first_failure(
    folder: Path, name: str, module: str, parameters: dict, run_dir: Path, *, only: str | None, **waves
) -> tuple[simulator.Failure | None, Mismatch | None]:
    try:
        simulator.run(
            folder, name, module, parameters, run_dir, only=only, **{"waves": None, "window_ns": None} | waves
        )
    except simulator.SimulationError as error:
        if error.failures:
            return error.failures[0], Mismatch.reported(run_dir / simulator.MISMATCH)
    return None, None


def write_save_file(dump: Path, mismatch: Mismatch) -> Path | None:
    """Beside the waves: which signals to show, codes as numbers, and a marker at the wrong result.

    None if the names of the signals cannot be read: those of FST need GTKWave's own converter.
    """
    header = _header(dump)
    if header is None:
        return None
    ports, codes, results = [], [], []
    for wire in wires(header):
        parts = wire.scope.split(".")
        if mismatch.instance not in parts:
            continue
        below = parts[parts.index(mismatch.instance) + 1 :]
        if not below and _PORT.search(wire.name):
            ports.append(wire)
        if not below and wire.name == mismatch.port:
            results.append(wire)
        in_column = mismatch.column is None or f"column_{mismatch.column}" in below
        if wire.name in mismatch.signals and _MAC.fullmatch((below or parts)[-1]) and in_column:
            codes.append(wire)
    lines = [f'[dumpfile] "{dump}"', f"*-14 {mismatch.time_ns * 1000}", "[treeopen] TOP.", "[sst_expanded] 1"]
    lines += _comment(f"{mismatch.instance}: {mismatch.place_text}")
    lines += [line for wire in ports for line in (HEXADECIMAL, wire.full_name)]
    for wire in results:
        column = "" if mismatch.column is None else f"column {mismatch.column}: "
        wanted = value_text(mismatch.wanted, mismatch.number)
        lines += _comment(f"{column}at the marker golden gives {wanted}")
        lines += shown_as_numbers(_bits(wire, mismatch), parse_format(mismatch.number), dump.parent)
    scope = None
    for wire in sorted(codes):
        if wire.scope != scope:
            scope = wire.scope
            parts = scope.split(".")
            lines += _comment(".".join(parts[parts.index(mismatch.instance) :]))
        lines += shown_as_numbers(wire.full_name, parse_format(mismatch.signals[wire.name]), dump.parent)
    save = dump.with_suffix(".gtkw")
    save.write_text("\n".join(lines) + "\n")
    return save


def _comment(text: str) -> list[str]:
    return ["@200", f"-{text}"]


def _bits(wire: Wire, mismatch: Mismatch) -> str:
    """The result within the port, as GTKWave writes a part of a bus: bits are counted from the left."""
    width = parse_format(mismatch.number).code_bits
    first = wire.width - mismatch.lsb - width
    bits = " ".join(f"({i}){wire.full_name}" for i in range(first, first + width))
    return f"#{{{wire.name}[{mismatch.lsb + width - 1}:{mismatch.lsb}]}} {bits}"


def _header(dump: Path) -> str | None:
    """The declarations of a wave file."""
    if dump.suffix == ".vcd":
        with dump.open() as file:
            return "".join(iter(file.readline, "$enddefinitions $end\n"))
    if shutil.which("fst2vcd") is None:
        return None
    text = subprocess.run(["fst2vcd", str(dump)], capture_output=True, text=True, check=True).stdout
    return text.partition("$enddefinitions")[0]


def wires(header: str) -> Iterator[Wire]:
    """The signals that a VCD header declares."""
    scopes: list[str] = []
    for line in header.splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"]:
            yield Wire(".".join(scopes), words[4], int(words[2]))
