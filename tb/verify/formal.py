"""Method ``formal``: the RTL of a MAC equals the netlist whose area is quoted, for all inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from golden.config import MacConfig, Silicon
from hw.cost.cells import Library, builtin_library
from hw.cost.flow import FLOW_VERSION, cell_counts
from hw.cost.mapping import CACHE, area_of, map_flat
from hw.mac import Mac
from hw.verilog import verilog_text
from tb.verify.equivalence import ENGINES, Difference, Equal, Unknown, compare
from tb.verify.rows import ROOT, Outcome, Row, Task, python_versions, sources

__all__ = ["METHODS", "Netlist", "netlist_with_cells", "quoted", "rows"]

METHODS = {
    "formal": "The RTL of a MAC equals its mapped netlist, for all inputs and for ever: the netlist "
    "whose area the report quotes, its cells as their Liberty functions, and the RTL are cut "
    "at their registers (the output register, bit by bit the same in both), joined in a "
    "miter, and its output is proved to be 0. Two engines have to agree: SAT sweeping (ABC's "
    "`&cec`) and Kissat on the whole at once; for integer operands, whose multipliers "
    "sweeping cannot take apart, Kissat alone. Bits of the next state that are proved equal "
    "are what is counted.",
}

_VERSION = "1"  # of the method, tb/verify/equivalence.py included
_FILES = ("hw/cost/functions.py", "hw/cost/liberty.py", "hw/cost/cells.py")
_SECONDS = 1800.0  # after which an engine has not proved it

#: MACs that no row of the report has: subnormals, random words, events, pipelines that end in a register.
_OTHERS = (
    ("e3m4s_e3m4s_p_e4m7sb12_rne_a_e4m7sb10_rne_c16", False),
    ("e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4_c16", False),
    ("e4m3fn_e5m2ieee_p_exact_a_e5m10ieee_rne_c16", False),
    ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16", True),
    ("int8_int8_p_exact_a_int12_floor_sat_c16", True),
)


@dataclass(frozen=True)
class Netlist:
    """A MAC, and its smallest netlist."""

    silicon: Silicon
    events: bool
    um2: float | None  #: What the report quotes.

    @property
    def subject(self) -> str:
        return self.silicon.mac_name + (" events" if self.events else "")

    def verilog(self) -> str:
        return verilog_text(Mac(self.silicon, 0, events=self.events), "mac")

    def depends(self) -> str:
        about = [_VERSION, str(FLOW_VERSION), repr(self.um2), _library().fingerprint]
        return "\0".join([*about, self.verilog(), sources(_FILES)])

    @property
    def engines(self) -> Sequence[str]:
        return ("kissat",) if self.silicon.config.all_integer else tuple(ENGINES)

    def run(self, task: Task) -> Outcome:
        """Prove it; at a small share, by the first engine only."""
        library, verilog = _library(), self.verilog()
        netlist = map_flat(verilog, "mac", library, CACHE)
        task.report(0.2)
        engines = self.engines if task.whole else self.engines[:1]
        found = compare(
            verilog, netlist_with_cells(netlist.verilog, library), "mac", engines=engines, seconds=_SECONDS
        )
        counts = cell_counts(netlist.verilog)
        um2 = area_of(counts, library).um2
        details = {
            "engines": list(engines),
            "recipe": netlist.recipe,
            "cells": counts.total(),
            "um2": um2,
        }
        match found:
            case Difference(example):
                details["first_difference"] = f"{self.subject}: RTL and netlist differ: {example}"
                return Outcome(compared=1, differences=1, details=details)
            case Unknown(engine):
                details["first_difference"] = f"{self.subject}: {engine} did not end in {_SECONDS:.0f} s"
                return Outcome(compared=1, differences=1, details=details)
            case Equal(outputs):
                wrong_area = self.um2 is not None and self.um2 != um2
                if wrong_area:
                    details["first_difference"] = (
                        f"{self.subject}: the report quotes {self.um2} um2, and the netlist has {um2}"
                    )
                return Outcome(compared=outputs, differences=int(wrong_area), details=details)


def netlist_with_cells(netlist: str, library: Library) -> str:
    """A netlist with the modules that it instantiates, from the cells' functions."""
    return "\n".join([netlist, *(library.model(cell) for cell in sorted(cell_counts(netlist)))])


@cache
def _library() -> Library:
    return builtin_library()


def quoted() -> dict[Silicon, float]:
    """The silicons of the report's rows, and the areas that it quotes."""
    from sim.rows import silicon_of  # which brings torch

    rows = json.loads((ROOT / "docs" / "results" / "results.json").read_text())["rows"]
    return {silicon_of(row["name"], row["offset"]): row["area"]["um2"] for row in rows}


def rows() -> list[Row]:
    netlists = [Netlist(silicon, False, um2) for silicon, um2 in quoted().items()]
    netlists += [Netlist(MacConfig.parse(name).silicon, events, None) for name, events in _OTHERS]
    return [_row(netlist) for netlist in netlists]


def _row(netlist: Netlist) -> Row:
    return Row(
        method="formal",
        subject=netlist.subject,
        what="RTL with the mapped netlist, all inputs and states",
        depends=netlist.depends,
        run=netlist.run,
        versions=lambda: python_versions("amaranth", "pyosys"),
        seconds=40 if netlist.silicon.config.all_integer else 8,
        divides=not netlist.silicon.config.all_integer,
    )
