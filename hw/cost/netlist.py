"""A flat mapped netlist as data: which pin of which cell is on which net."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from golden.config import ConfigError
from hw.cost.cells import Library

__all__ = ["ONE", "ZERO", "FlatNetlist", "Instance", "lists_taken_apart", "parse_netlist"]

#: Nets that never change.
ZERO, ONE = "1'b0", "1'b1"

_DECLARATION = re.compile(
    r"^\s*(input|output|wire)\s+(?:signed\s+)?(?:\[(\d+):(\d+)\]\s*)?(\\\S+|\w+)\s*;", re.MULTILINE
)
_INSTANCE = re.compile(r"^\s*(\w+)\s+(\\\S+|\w+)\s*\(\s*(\..*?)\)\s*;", re.MULTILINE | re.DOTALL)
_PIN = re.compile(r"\.(\w+)\s*\(([^()]*)\)")
_ASSIGN = re.compile(r"^\s*assign\s+(.+?)\s*=\s*(.+?)\s*;", re.MULTILINE)
_TERM = re.compile(
    r"\s*(?:(?P<width>\d+)'(?P<base>[bh])(?P<digits>[0-9a-fA-FxXzZ]+)"
    r"|(?P<name>\\\S+|[A-Za-z_]\w*)\s*(?:\[(?P<high>\d+)(?::(?P<low>\d+))?\])?)\s*(?:,|\Z)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """A cell, and the net on each of its pins that is connected."""

    name: str
    cell: str
    pins: dict[str, str]

    @property
    def part(self) -> str:
        """What stands before the first dot of a name, as a parted mapping names cells; else nothing."""
        before, dot, _ = self.name.partition(".")
        return before if dot else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatNetlist:
    """One module of cells. Bits of a port are listed from the lowest on."""

    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, tuple[str, ...]]
    instances: tuple[Instance, ...]


def parse_netlist(verilog: str, library: Library) -> FlatNetlist:
    """Read what Yosys writes of a flat module: declarations, cells of the library, plain assignments.

    Raises :class:`ConfigError` for a text of another kind, and for a cell with a pin that is not connected.
    """
    if len(re.findall(r"^\s*module\b", verilog, re.MULTILINE)) != 1:
        raise ConfigError("activity is of one flat module of cells; flatten the netlist first")
    widths = _widths(verilog)
    ports: dict[str, dict[str, int | None]] = {"input": {}, "output": {}}
    for kind, _, _, name in _DECLARATION.findall(verilog):
        if kind in ports:
            ports[kind][name] = widths[name]
    aliases: dict[str, str] = {}
    for left, right in _ASSIGN.findall(verilog):
        aliases |= dict(zip(_bits(left, widths), _bits(right, widths), strict=True))

    def net(bit: str) -> str:
        while bit in aliases:
            bit = aliases[bit]
        return bit

    instances = []
    for cell, name, connections in _INSTANCE.findall(verilog):
        if cell == "module":
            continue
        if cell not in library.cells:
            raise ConfigError(f"the netlist uses {cell}, whose function the library {library.name} lacks")
        known = library.cells[cell]
        pins = {}
        for pin, expression in _PIN.findall(connections):
            bits = list(_bits(expression, widths))
            if len(bits) == 1:
                pins[pin] = net(bits[0])
        missing = [pin for pin in known.inputs if pin not in pins]
        if missing:
            raise ConfigError(f"pin {missing[0]} of {name} ({cell}) is not connected")
        instances.append(Instance(name=name.removeprefix("\\"), cell=cell, pins=pins))

    def bits_of(words: dict[str, int | None]) -> dict[str, tuple[str, ...]]:
        return {name.removeprefix("\\"): tuple(map(net, _bits(name, widths))) for name in words}

    return FlatNetlist(
        inputs=bits_of(ports["input"]), outputs=bits_of(ports["output"]), instances=tuple(instances)
    )


def lists_taken_apart(verilog: str) -> str:
    """The netlist with an assignment a bit where Yosys assigns to a list, which OpenSTA cannot read."""
    widths = _widths(verilog)

    def plain(match: re.Match) -> str:
        if not match[1].startswith("{"):
            return match[0]
        pairs = zip(_bits(match[1], widths), _bits(match[2], widths), strict=True)
        return "\n".join(f"  assign {_spaced(left)} = {_spaced(right)};" for left, right in pairs)

    return _ASSIGN.sub(plain, verilog)


def _spaced(bit: str) -> str:
    """A bit as Verilog wants it: an escaped name ends with a space."""
    if not bit.startswith("\\"):
        return bit
    name, bracket, place = bit.rpartition("[") if bit.endswith("]") else (bit, "", "")
    return f"{name} {bracket}{place}"


def _widths(verilog: str) -> dict[str, int | None]:
    """Bits of each word that is declared; None: it is one bit and no word."""
    widths: dict[str, int | None] = {}
    for _, high, low, name in _DECLARATION.findall(verilog):
        if high and int(low):
            raise ConfigError(f"the netlist's word {name} does not begin at bit 0")
        widths[name] = int(high) + 1 if high else None
    return widths


def _bits(expression: str, widths: dict[str, int | None]) -> Iterator[str]:
    """Names of the bits of names, parts of words, constants and lists of those; the lowest first."""
    text = expression.strip()
    if text.startswith("{"):
        text = text.removeprefix("{").removesuffix("}")
    terms, place = [], 0
    while place < len(text):
        match = _TERM.match(text, place)
        if match is None:
            raise ConfigError(f"the netlist has {expression!r} where the name of a net is due")
        terms.append(match)
        place = match.end()
    for term in reversed(terms):
        yield from _term(term, widths)


def _term(term: re.Match, widths: dict[str, int | None]) -> Iterator[str]:
    if term["width"]:
        digits = re.sub("[xXzZ]", "0", term["digits"])  # what is never looked at may be anything
        value = int(digits, {"b": 2, "h": 16}[term["base"]])
        yield from ((ONE if value >> i & 1 else ZERO) for i in range(int(term["width"])))
        return
    name = term["name"]
    if name not in widths:
        raise ConfigError(f"the netlist uses the net {name}, which it does not declare")
    if widths[name] is None:
        yield name
        return
    low, high = 0, widths[name] - 1
    if term["high"]:
        high = int(term["high"])
        low = high if term["low"] is None else int(term["low"])
    yield from (f"{name}[{i}]" for i in range(low, high + 1))
