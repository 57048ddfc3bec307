"""Toggle counts of every pin of a mapped netlist by Verilator, as a SAIF file has them.

This is the reference that :mod:`hw.cost.replay` is tested against: the same netlist, the cells as Verilog, an
event for every change. A build takes Verilator and a C++ compiler about ten seconds, and so many netlists are
not measured this way.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.flow import cell_counts
from hw.cost.netlist import FlatNetlist, Instance, parse_netlist
from hw.cost.replay import Activity
from hw.verilator_env import verilator_environment

__all__ = ["PinActivity", "differences", "saif_activity"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PinActivity:
    """What SAIF says of a pin."""

    toggles: int  #: TC; a pin that is high at first has risen to that.
    high: int  #: T1, in half cycles of the clock.


_OPTIONS = (
    *("--cc", "--exe", "--build", "--Mdir", "obj", "--top-module", "bench", "--prefix", "Vbench"),
    *("--trace-saif", "--trace-underscore", "-Wno-fatal", "--x-initial", "0", "-j", "2", "-o", "bench"),
    *("-fno-gate", "-fno-subst", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"),
)

_HARNESS = """#include <cstdint>
#include <fstream>
#include <vector>
#include "Vbench.h"
#include "verilated_saif_c.h"
int main(int argc, char** argv) {{
  std::ifstream file("stimuli", std::ios::binary);
  const uint64_t cycles = {cycles}, first = {first};
  std::vector<uint64_t> row({inputs});
  VerilatedContext context;
  context.traceEverOn(true);
  Vbench top(&context);
  VerilatedSaifC saif;
  top.trace(&saif, 99);
  top.clk = 0; top.eval();  // a clock that is high at the first look has not risen
  for (uint64_t i = 0; i < cycles; ++i) {{
    file.read(reinterpret_cast<char*>(row.data()), 8 * row.size());
    {drive}
    top.clk = 1; top.eval();
    if (i == first) saif.open("activity.saif");
    if (i >= first) saif.dump(2 * i);
    top.clk = 0; top.eval();
    if (i >= first) saif.dump(2 * i + 1);
  }}
  saif.dump(2 * cycles);
  saif.close();
}}
"""


def _bench(netlist: str, parsed: FlatNetlist, clock: str) -> str:
    """The netlist behind registers on its inputs, so that they change after the clock's edge."""
    ports, body, connections = [f"input {clock}"], [], [f".{clock}({clock})"]
    for i, (name, bits) in enumerate((name, bits) for name, bits in parsed.inputs.items() if name != clock):
        ports.append(f"input [63:0] in{i}")
        body += [
            f"reg [{len(bits) - 1}:0] register{i};",
            f"always @(posedge {clock}) register{i} <= in{i}[{len(bits) - 1}:0];",
        ]
        connections.append(f".{name}(register{i})")
    for name, bits in parsed.outputs.items():
        ports.append(f"output [{len(bits) - 1}:0] {name}")
        connections.append(f".{name}({name})")
    (module,) = re.findall(r"^module\s+(\w+)", netlist, re.MULTILINE)
    head = f"module bench({', '.join(ports)});"
    return "\n".join([head, *body, f"{module} netlist({', '.join(connections)});", "endmodule", ""])


def saif_activity(
    verilog: str,
    library: Library,
    columns: Mapping[str, NDArray[np.int64]],
    *,
    first: int,
    clock: str = "clk",
) -> dict[tuple[str, str], PinActivity]:
    """Activity of every pin, by (instance, pin), from cycle ``first`` on; parameters as :func:`replay`'s.

    Raises :class:`ConfigError` where Verilator cannot build it, or a pin of a cell is not in the SAIF file.
    """
    parsed = parse_netlist(verilog, library)
    names = [instance.name for instance in parsed.instances]
    text = verilog
    for i, instance in enumerate(parsed.instances):  # plain names, which every tool keeps
        pattern = rf"^(\s*{instance.cell}\s+)\\?{re.escape(instance.name)}(?=[\s(])"
        text = re.sub(pattern, rf"\g<1>u{i}", text, count=1, flags=re.MULTILINE)
    inputs = [name for name in parsed.inputs if name != clock]
    cycles = len(columns[inputs[0]])
    rows = np.stack([np.asarray(columns[name], dtype=np.int64) for name in inputs], axis=1)
    models = [library.model(cell) for cell in sorted(cell_counts(verilog))]
    drive = " ".join(f"top.in{i} = row[{i}];" for i in range(len(inputs)))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bench.v").write_text("\n".join([_bench(text, parsed, clock), text, *models]))
        Path(folder, "stimuli").write_bytes(rows.tobytes())
        harness = _HARNESS.format(cycles=cycles, first=first, inputs=len(inputs), drive=drive)
        Path(folder, "harness.cpp").write_text(harness)
        for command in (["verilator", *_OPTIONS, "bench.v", "harness.cpp"], ["obj/bench"]):
            run = subprocess.run(
                command, cwd=folder, env=verilator_environment(), capture_output=True, text=True, check=False
            )
            if run.returncode:
                raise ConfigError(f"{command[0]} failed: {run.stderr[-3000:]}")
        found = _read(Path(folder, "activity.saif").read_text())
    activity = {}
    for i, instance in enumerate(parsed.instances):
        for pin in instance.pins:
            key = (f"u{i}", pin)
            if key not in found:
                raise ConfigError(f"the SAIF file has no pin {pin} of {names[i]} ({instance.cell})")
            activity[instance.name, pin] = found[key]
    return activity


_TOKEN = re.compile(r"\(INSTANCE\s+(\S+)|\((\S+)\s+\(T0 \d+\)\s*\(T1 (\d+)\)[^\n]*\(TC (\d+)\)[^\n]*\)|[()]")


def _read(text: str) -> dict[tuple[str, str], PinActivity]:
    """(instance, pin) -> activity, of instances anywhere in the hierarchy."""
    found: dict[tuple[str, str], PinActivity] = {}
    scopes: list[str | None] = []
    for token in _TOKEN.finditer(text):
        if token[1]:
            scopes.append(token[1])
        elif token[2]:
            scope = next((each for each in reversed(scopes) if each), "")
            found[scope, token[2]] = PinActivity(toggles=int(token[4]), high=int(token[3]))
        elif token[0] == "(":
            scopes.append(None)
        elif scopes:
            scopes.pop()
    return found


def differences(
    found: Mapping[tuple[str, str], PinActivity], activity: Activity, *, first: int
) -> list[tuple[str, str]]:
    """The pins (instance, pin) of which a replay from cycle ``first`` on says otherwise than SAIF does."""
    cycles = activity.cycles - first

    def expected(instance: Instance, pin: str) -> PinActivity:
        if instance.pins[pin] == activity.clock:
            return PinActivity(toggles=2 * cycles, high=cycles)
        values = activity.on(instance, pin)[first:]
        rises = int(values[0])
        return PinActivity(
            toggles=rises + activity.toggles(instance.pins[pin], first),
            high=2 * int(np.count_nonzero(values)),
        )

    return [
        (instance.name, pin)
        for instance in activity.netlist.instances
        for pin in instance.pins
        if found[instance.name, pin] != expected(instance, pin)
    ]
