"""Libraries of standard cells: the table that the project carries, and any Liberty files.

The table holds facts of the open sky130_fd_sc_hd library (name, area, function, flip-flop pins), of the
cells that mapping for area chooses from: the smallest of each function, no timing. The whole library is
public: https://github.com/google/skywater-pdk-libs-sky130_fd_sc_hd (Apache-2.0), with its Liberty
files in the OpenROAD flow's platforms/sky130hd/lib.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from golden.config import ConfigError
from hw.cost.functions import Expression, parse_function, to_verilog, truth_table
from hw.cost.liberty import Cell, FlipFlop, parse_liberty

__all__ = ["Library", "Register", "builtin_library", "liberty_library", "read_liberty_text"]

_TABLE = Path(__file__).with_name("sky130_fd_sc_hd.csv")


class Register(NamedTuple):
    """A flip-flop's name and pins."""

    cell: str
    clock: str
    data: str
    output: str


def _pins(expression: Expression) -> set[str]:
    if isinstance(expression, str):
        return {expression}
    return set().union(*map(_pins, expression[1:])) if len(expression) > 1 else set()


@dataclass(frozen=True, kw_only=True)
class Library:
    """Cells with areas and functions, and the Liberty text that the mapper reads."""

    name: str
    cells: dict[str, Cell]  #: By name: those whose function is known.
    texts: tuple[str, ...]  #: Liberty libraries, which together make up this one.
    has_timing: bool  #: The texts say enough for buffering and sizing.
    unused: tuple[str, ...] = ()  #: Cells of the texts that are reserved, and not among ``cells``.

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the texts and what is not used of them: part of every cache key."""
        return hashlib.sha256("\0".join(self.texts + self.unused).encode()).hexdigest()

    @cached_property
    def nand2_um2(self) -> float:
        """Area of the smallest two-input NAND, found by its function: one gate equivalent."""
        return self._smallest(2, lambda a, b: not (a and b), "two-input NAND").area

    @cached_property
    def register(self) -> Register:
        """The smallest flip-flop that keeps what one pin says."""
        found = []
        for cell in self.cells.values():
            if cell.flip_flop is None or len(cell.inputs) != 2 or not cell.outputs:
                continue
            clock, data = (
                parse_function(text) for text in (cell.flip_flop.clocked_on, cell.flip_flop.next_state)
            )
            if isinstance(clock, str) and {clock} | _pins(data) == set(cell.inputs):
                (data_pin,) = _pins(data)
                found.append((cell.area, cell.name, Register(cell.name, clock, data_pin, cell.outputs[0][0])))
        if not found:
            raise ConfigError(f"the library {self.name} has no plain flip-flop of the rising edge")
        return min(found)[2]

    @cached_property
    def time_unit_ps(self) -> float:
        """The unit of the first text's times, which is that of a timer that has read it first."""
        match = re.search(r'time_unit\s*:\s*"(\d+)(ps|ns)"', self.texts[0])
        return float(match[1]) * {"ps": 1, "ns": 1000}[match[2]] if match else 1000.0

    @cached_property
    def inverter(self) -> Cell:
        """The smallest inverter, which drives the inputs where there is timing."""
        return self._smallest(1, lambda a: not a, "inverter")

    def _smallest(self, arity: int, function, what: str) -> Cell:
        wanted = sum(function(*(bool(i >> j & 1) for j in range(arity))) << i for i in range(2**arity))
        found = [
            cell
            for cell in self.cells.values()
            if cell.flip_flop is None
            and (len(cell.inputs), len(cell.outputs)) == (arity, 1)
            and truth_table(parse_function(cell.outputs[0][1]), cell.inputs) == wanted
        ]
        if not found:
            raise ConfigError(f"the library {self.name} has no {what}; add the Liberty file that has it")
        return min(found, key=lambda cell: (cell.area, cell.name))

    def model(self, name: str) -> str:
        """The cell as a Verilog module, from its functions.

        Raises :class:`ConfigError` for a cell that is not in the library.
        """
        if name not in self.cells:
            raise ConfigError(
                f"the netlist uses {name}, whose function the library {self.name} does not state"
            )
        cell = self.cells[name]
        pins = [pin for pin, _ in cell.outputs]
        lines = [f"module {name}({', '.join([*cell.inputs, *pins])});"]
        lines += [f"  input {pin};" for pin in cell.inputs]
        lines += [f"  output {pin};" for pin in pins]
        if cell.flip_flop is not None:
            lines += _register(cell.flip_flop)
        lines += [
            f"  assign {pin} = {to_verilog(parse_function(function))};" for pin, function in cell.outputs
        ]
        return "\n".join([*lines, "endmodule\n"])


def _register(flip_flop: FlipFlop) -> list[str]:
    match parse_function(flip_flop.clocked_on):
        case str(pin):
            edge = f"posedge {pin}"
        case ("!", str(pin)):
            edge = f"negedge {pin}"
        case _:
            raise ConfigError(f"a flip-flop clocked on {flip_flop.clocked_on!r} is not a pin's edge")
    next_state = to_verilog(parse_function(flip_flop.next_state))
    return [
        f"  reg {flip_flop.state};",
        f"  wire {flip_flop.inverted} = ~{flip_flop.state};",
        f"  always @({edge}) {flip_flop.state} <= {next_state};",
    ]


def builtin_library() -> Library:
    """The project's own table of sky130_fd_sc_hd cells: areas and functions, no timing."""
    with _TABLE.open(newline="") as file:
        cells = [
            Cell(
                name=row["cell"],
                area=float(row["area_um2"]),
                inputs=tuple(row["inputs"].split()),
                outputs=((row["output"], row["function"]),),
                flip_flop=None
                if not row["clocked_on"]
                else FlipFlop(
                    state="IQ", inverted="IQ_N", clocked_on=row["clocked_on"], next_state=row["next_state"]
                ),
                reserved=False,
            )
            for row in csv.DictReader(file)
        ]
    return Library(
        name="sky130_fd_sc_hd (areas)",
        cells={cell.name: cell for cell in cells},
        texts=(_liberty_text("sky130_fd_sc_hd_areas", cells),),
        has_timing=False,
    )


def _liberty_text(name: str, cells: Sequence[Cell]) -> str:
    """The least Liberty that dfflibmap and ABC map to."""
    lines = [f"library ({name}) {{"]
    for cell in cells:
        lines += [f"  cell ({cell.name}) {{", f"    area : {cell.area};"]
        if cell.flip_flop is not None:
            ff = cell.flip_flop
            lines.append(
                f'    ff ({ff.state}, {ff.inverted}) {{ clocked_on : "{ff.clocked_on}"; '
                f'next_state : "{ff.next_state}"; }}'
            )
        lines += [f"    pin ({pin}) {{ direction : input; }}" for pin in cell.inputs]
        lines += [f'    pin ({pin}) {{ direction : output; function : "{f}"; }}' for pin, f in cell.outputs]
        lines.append("  }")
    return "\n".join([*lines, "}\n"])


def liberty_library(paths: Sequence[Path]) -> Library:
    """The library of Liberty files, plain or gzipped; several are parts of one, as ASAP7 comes.

    Raises :class:`ConfigError` if a file cannot be read as Liberty, if two parts have a cell of the same
    name, or if a NAND, an inverter or a flip-flop is missing.
    """
    parts = []
    for path in paths:
        text = read_liberty_text(path)
        try:
            parts.append((*parse_liberty(text), text))
        except (ConfigError, KeyError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read as Liberty: {error}") from None
    # Gates first, whatever order is given: ABC crashes on a part of inverters ahead of them.
    parts.sort(key=lambda part: (-sum(_is_gate(cell) for cell in part[1].values()), part[0]))
    cells: dict[str, Cell] = {}
    for name, part, _ in parts:
        if twice := sorted(cells.keys() & part.keys()):
            raise ConfigError(f"{name} has the cell {twice[0]} once more; give each part of a library once")
        cells |= part
    reserved = tuple(name for name, cell in cells.items() if cell.reserved)
    library = Library(
        name="+".join(name for name, _, _ in parts),
        cells={name: cell for name, cell in cells.items() if not cell.reserved},
        texts=tuple(text for _, _, text in parts),
        has_timing=True,
        unused=reserved,
    )
    if not any(cell.flip_flop for cell in cells.values()):
        raise ConfigError(f"the library {library.name} has no flip-flop; add the Liberty file that has them")
    _ = library.nand2_um2, library.inverter
    return library


def _is_gate(cell: Cell) -> bool:
    return cell.flip_flop is None and len(cell.inputs) >= 2


def read_liberty_text(path: Path) -> str:
    """The text of a Liberty file, plain or gzipped. Raises :class:`ConfigError` if it cannot be read."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path} cannot be read: {reason}; give a Liberty file, plain or gzipped") from None
