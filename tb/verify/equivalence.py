"""Whether two sequential designs are equal, formally: cut at the registers, then miter and SAT.

Both designs are Verilog with one top module and one clock, ``clk``, and drive outputs straight from
registers, each register bit an output bit of the same name in both. That relates the states, so equality
needs no unrolling: with the registers cut (what one holds is an input, what it takes next an output) the
designs are combinational, and equal outputs for all inputs are, by induction over cycles, equal behaviour
from equal states on for ever. Designs without registers are compared as they are.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ENGINES",
    "Difference",
    "Equal",
    "EquivalenceError",
    "Unknown",
    "compare",
    "cut_registers",
    "flatten",
    "run_yosys",
]

#: Runs in a process of its own: Yosys prints to file descriptor 1, and ends its process on an error.
_YOSYS = """
import os
os.dup2(os.open("yosys.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
from pyosys import libyosys
design = libyosys.Design()
for command in open("commands").read().splitlines():
    design.run_pass(command)
"""

#: Down to single-bit flip-flops without enable, whatever the design had.
_FLATTEN = (
    "hierarchy -check -top {top}",
    "proc",
    "flatten",
    "opt_clean -purge",
    "memory_collect",
    "memory_map",
    "setattr -unset init",  # nothing is known of a register before it is written
    "dffunmap",
    "simplemap t:$dff",
    "opt_clean",
)
_READ = {"verilog": "read_verilog -sv", "rtlil": "read_rtlil"}

_MITER = (
    "read_json gold.json",
    "read_json gate.json",
    "miter -equiv -flatten -make_outputs gold gate miter",
    "delete gold gate",
    "hierarchy -top miter",
    "opt_clean -purge",
    "check -assert",
)

#: To the and-inverter graph of the one output that is 1 where the designs differ.
_GRAPH = (
    "delete -output miter/gold_* miter/gate_*",
    "opt_clean -purge",
    "techmap",
    "aigmap",
    "opt_clean -purge",
    "write_aiger miter.aig",
)

#: By name: ABC's command, and what it prints of a proof and of a refutation.
ENGINES = {
    "sweeping": ("&cec -m -C 1000000", "Networks are equivalent", "Networks are NOT EQUIVALENT"),
    "kissat": ("&kissat", "Result: Unsatisfiable", "Result: Satisfiable"),
}


class EquivalenceError(RuntimeError):
    """Two designs that cannot be compared: their ports or registers differ, or a tool refused them."""


@dataclass(frozen=True)
class Equal:
    """Proved."""

    outputs: int  #: Output bits, those that registers take next among them.


@dataclass(frozen=True)
class Difference:
    """Refuted."""

    example: str  #: Inputs, and what the outputs are in both.


@dataclass(frozen=True)
class Unknown:
    """Neither, within the time."""

    engine: str


def compare(
    gold: str,
    gate: str,
    top: str,
    *,
    engines: Sequence[str],
    seconds: float,
    language: str = "verilog",
    hidden: bool = False,
) -> Equal | Difference | Unknown:
    """Compare two texts that both have a module ``top``.

    Each engine in turn must prove it, within so many seconds; the first that refutes it ends it.

    ``language`` is verilog or rtlil. With ``hidden`` registers need not show at outputs: they are related
    where both designs call them the same.

    Raises :class:`EquivalenceError` where they cannot be compared.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        outputs = []
        for name, text in (("gold", gold), ("gate", gate)):
            flatten(folder, name, text, top, language=language, hidden=hidden)
            outputs.append(cut_registers(folder / f"{name}.json", name, hidden=hidden))
        if outputs[0] != outputs[1]:
            raise EquivalenceError(f"ports or registers differ: {outputs[0]} and {outputs[1]}")
        run_yosys(folder, [*_MITER, "write_rtlil miter.il", *_GRAPH])
        for engine in engines:
            proved = _prove(folder, engine, seconds)
            if proved is None:
                return Unknown(engine)
            if not proved:
                return Difference(_example(folder))
        return Equal(sum(map(len, outputs[0].values())))


def _prove(folder: Path, engine: str, seconds: float) -> bool | None:
    from pyosys import libyosys  # where its ABC is

    command, proof, refutation = ENGINES[engine]
    abc = Path(libyosys.__file__).with_name("yosys-abc")
    try:
        run = subprocess.run(
            [abc, "-c", f"&r miter.aig; {command}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if (proof in run.stdout) is (refutation in run.stdout):
        return None
    return proof in run.stdout


def _example(folder: Path) -> str:
    """An input on which they differ, by Yosys' own solver, which has not been asked so far."""
    show = "-show-inputs -show-outputs"
    run_yosys(folder, ["read_rtlil miter.il", f"sat -falsify -prove trigger 0 {show} miter"])
    log = (folder / "yosys.log").read_text(errors="replace")
    values = re.findall(r"^ +\\(\w+) +-?\d+ +([0-9a-f]+) ", log, re.MULTILINE)
    return " ".join(f"{name.removeprefix('in_')}=0x{value}" for name, value in values if name != "trigger")


def flatten(folder: Path, name: str, text: str, top: str, *, language: str, hidden: bool) -> None:
    """Leave ``name.json`` in the folder: a flat module of simple cells, registers of a bit each.

    With ``hidden`` registers there may be memories, which give 0 at addresses that they do not have.
    """
    (folder / f"{name}.{language}").write_text(text)
    read = f"{_READ[language]} {name}.{language}"
    complete = "setundef -undriven -zero" if hidden else "check -assert"
    commands = [command.format(top=top) for command in _FLATTEN]
    run_yosys(folder, [read, *commands, complete, f"write_json {name}.json"])


def cut_registers(path: Path, name: str, *, hidden: bool) -> dict[str, list[str]]:
    """Cut a flat design at its registers and call it ``name``; names of the bits of each output.

    An output that is a register becomes an output NAME_next and an input NAME_held. With ``hidden`` the
    registers become one pair of ports instead, HIDDEN_next and HIDDEN_held, in the order of their names.
    """
    design = json.loads(path.read_text())
    (module,) = design["modules"].values()
    ports, cells = module["ports"], module["cells"]
    held = {}  # net that a register drives -> what it takes next
    for cell in [cell for cell, about in cells.items() if "dff" in about["type"].lower()]:
        about = cells.pop(cell)
        pins = about["connections"]
        if about["type"] != "$_DFF_P_" or pins["C"] != ports["clk"]["bits"]:
            raise EquivalenceError(f"{name} has a register of another kind or clock: {about['type']}")
        held[pins["Q"][0]] = pins["D"][0]
    if hidden:
        names = _names_of_bits(module, held)
        registers = {"HIDDEN": sorted(held, key=names.__getitem__)} if held else {}
    else:
        registers = _shown(name, ports, held)
        names = {}
    for port, bits in registers.items():
        ports[f"{port}_next"] = {"direction": "output", "bits": [held[bit] for bit in bits]}
        ports[f"{port}_held"] = {"direction": "input", "bits": bits}
    module["netnames"] = {}
    design["modules"] = {name: module}
    path.write_text(json.dumps(design))
    found = {
        port: [f"{port}[{i}]" for i in range(len(about["bits"]))]
        for port, about in sorted(ports.items())
        if about["direction"] == "output"
    }
    if hidden and held:
        found["HIDDEN_next"] = [names[bit] for bit in registers["HIDDEN"]]
    return found


def _shown(name: str, ports: dict, held: dict[int, int]) -> dict[str, list[int]]:
    """Outputs that are registers, taken from the ports; all registers have to be among them."""
    registers = {}
    for port in [port for port, about in ports.items() if about["direction"] == "output"]:
        bits = ports[port]["bits"]
        if not any(bit in held for bit in bits):
            continue
        if not all(bit in held for bit in bits):
            raise EquivalenceError(f"{name} has an output, {port}, that is a register in part")
        registers[port] = bits
        del ports[port]
    shown = {bit for bits in registers.values() for bit in bits}
    if missing := held.keys() - shown:
        raise EquivalenceError(f"{name} has {len(missing)} register bits that no output shows")
    return registers


def _names_of_bits(module: dict, bits: Container[int]) -> dict[int, str]:
    """The least of a net's names, with its place."""
    found: dict[int, str] = {}
    for net, about in module["netnames"].items():
        for i, bit in enumerate(about["bits"]):
            if bit in bits:
                found[bit] = min(found.get(bit, f"{net}[{i:03}]"), f"{net}[{i:03}]")
    return found


def run_yosys(folder: Path, commands: Sequence[str]) -> None:
    (folder / "commands").write_text("\n".join(commands))
    run = subprocess.run(
        [sys.executable, "-c", _YOSYS], cwd=folder, capture_output=True, text=True, check=False
    )
    if run.returncode:
        log = (folder / "yosys.log").read_text(errors="replace").splitlines()[-5:]
        raise EquivalenceError("\n".join([run.stderr.strip(), *log]))
