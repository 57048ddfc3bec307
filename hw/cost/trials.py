"""What was tried in mapping and not adopted, measured again: adders, full-adder cells, clock gates, retiming.

None of these netlists is simulated, so no area of theirs is quoted for a MAC: they say what a choice would
bring.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.flow import (
    area_script,
    cell_counts,
    map_to_cells,
    read_design,
    run_yosys,
    sources,
    to_gates,
)
from hw.cost.functions import parse_function, truth_table
from hw.cost.mapping import area_of
from hw.cost.speed import STRUCTURES, candidates, map_targets
from hw.cost.timing import timing, timings

__all__ = ["VARIANTS", "Trial", "full_adder", "retimed", "trial"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A netlist of a variant."""

    um2: float
    delay_ps: float  #: By the timer.


#: Adders that Yosys builds in place of its own, Brent and Kung's.
_ADDERS = ("kogge-stone", "sklansky", "han-carlson")

#: Of a clock, for the logic between registers: what the search begins with, too, or nearly.
_FIRST_GUESS = 0.83

#: All variants, the netlist as it is first.
VARIANTS = ("as it is", *_ADDERS, "full adders", "clock gate")

_MAJORITY, _PARITY = 0xE8, 0x96


def full_adder(library: Library) -> tuple[str, tuple[str, ...], str, str]:
    """The smallest full adder, found by its functions: name, inputs, and the outputs of carry and sum.

    Raises :class:`ConfigError` where the library has none.
    """
    found = []
    for cell in library.cells.values():
        if cell.flip_flop is None and (len(cell.inputs), len(cell.outputs)) == (3, 2):
            tables = {truth_table(parse_function(text), cell.inputs): pin for pin, text in cell.outputs}
            if set(tables) == {_MAJORITY, _PARITY}:
                found.append((cell.area, cell.name, cell.inputs, tables[_MAJORITY], tables[_PARITY]))
    if not found:
        raise ConfigError(f"the library {library.name} has no full adder")
    return min(found)[1:]


def _full_adder_map(library: Library) -> str:
    """Verilog that Yosys' techmap replaces its $fa by."""
    name, inputs, carry, total = full_adder(library)
    pins = ", ".join(f".{pin}({word}[i])" for pin, word in zip(inputs, "ABC", strict=True))
    return f"""(* techmap_celltype = "$fa" *)
module full_adders(A, B, C, X, Y);
  parameter WIDTH = 1;
  input [WIDTH-1:0] A, B, C;
  output [WIDTH-1:0] X, Y;
  genvar i;
  generate for (i = 0; i < WIDTH; i = i + 1) {name} fa ({pins}, .{carry}(X[i]), .{total}(Y[i]));
  endgenerate
endmodule
"""


def trial(verilog: str, top: str, library: Library, variant: str) -> Trial:
    """Map for least area in a way of :data:`VARIANTS`. The library is in one text.

    Raises :class:`hw.cost.flow.SynthesisError` where a tool fails.
    """
    option = f"-extra-map +/choices/{variant}.v" if variant in _ADDERS else ""
    gates, registers, cleaned = to_gates(top, library, option)
    between = {
        "full adders": ["extract_fa -fa", "techmap -map full_adders.v", "techmap", "opt_clean"],
        "clock gate": ["clockgate -liberty library0.lib"],
    }
    commands = [*read_design(top), gates, *between.get(variant, []), registers, cleaned]
    # A clock gate is no cell of the library's as it is read here, so that Yosys adds up the areas.
    commands += [*map_to_cells(library, area_script(library), "trial.v"), "stat -liberty library0.lib"]
    files = sources(verilog, library) | {"full_adders.v": _full_adder_map(library)}
    netlist, log = run_yosys(commands, files, ["trial.v", "yosys.log"])
    um2 = float(re.findall(r"Chip area for module .*: ([\d.]+)", log)[-1])
    return Trial(um2, timing(netlist, top, library, None).delay_ps)


def retimed(verilog: str, top: str, library: Library, clock_ps: float, output: str) -> Trial:
    """The smallest netlist found that meets the clock, or the fastest, with inner registers moved by ABC.

    The registers of ``output`` stay where they are: behind them the next MAC begins.
    """
    gates, registers, cleaned = to_gates(top, library, "")
    move = "strash; &get -n; &fraig -x; &put; scorr; dc2; dretime; retime -M 4; strash; dc2; map"
    commands = [
        *read_design(top),
        gates,
        f"select -set last o:{output} %ci1:+[Q] t:$_DFF* %i",
        f"{registers} @last",
        f"abc -dff -g AND -script +{move.replace('; ', ';').replace(' ', ',')}",
        "opt_clean",
        registers,
        cleaned,
        "design -save gates",
    ]
    names = list(STRUCTURES)
    for name in names:
        script = f"{STRUCTURES[name]}; strash; map".replace("; ", ";").replace(" ", ",")
        commands += ["design -load gates", f"abc -g AND -script +{script}", f"write_rtlil {name}.il"]
    texts = run_yosys(commands, sources(verilog, library), [f"{name}.il" for name in names])
    designs = {("array", name): text for name, text in zip(names, texts, strict=True)}
    return _best(designs, top, library, clock_ps, names)


def _best(designs: dict, top: str, library: Library, clock_ps: float, names: Sequence[str]) -> Trial:
    targets = list(candidates("array", _FIRST_GUESS * clock_ps, names, (1.0, 1.8, 2.4)))
    netlists = [attempt.netlist for attempt in map_targets(designs, library, targets)]
    trials = [
        Trial(area_of(cell_counts(netlist), library).um2, found.delay_ps)
        for netlist, found in zip(netlists, timings(netlists, top, library, clock_ps), strict=True)
    ]
    meeting = [each for each in trials if each.delay_ps <= clock_ps]
    if meeting:
        return min(meeting, key=lambda each: each.um2)
    return min(trials, key=lambda each: each.delay_ps)
