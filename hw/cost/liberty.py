"""Reads what synthesis and simulation need from Liberty text: areas, functions and flip-flops of cells.

Timing, power and everything else is skipped unread, so a 15 MB library takes about a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from golden.config import ConfigError

__all__ = ["Cell", "FlipFlop", "parse_liberty"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipFlop:
    """The ``ff`` group of a cell: one state bit, without asynchronous set and reset."""

    state: str  #: Name of the state variable, IQ as a rule; ``inverted`` is its complement.
    inverted: str
    clocked_on: str  #: An expression of input pins: its rising edge loads ``next_state``.
    next_state: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A standard cell that a netlist may use: its outputs are stated functions of its inputs."""

    name: str
    area: float  #: um2
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]  #: (pin, function) with the function in Liberty's syntax.
    flip_flop: FlipFlop | None
    reserved: bool  #: For power domains or probing: ordinary logic leaves it alone.


@dataclass(slots=True)
class _Group:
    kind: str
    arguments: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[_Group] = field(default_factory=list)

    def each(self, kind: str) -> Iterator[_Group]:
        return (group for group in self.groups if group.kind == kind)


_TOKEN = re.compile(r'/\*.*?\*/|"[^"]*"|[{};]', re.DOTALL)
_HEADER = re.compile(r"(\w+)\s*\(([^()]*)\)\s*\Z")
#: One a line, some libraries leaving out the semicolon.
_ATTRIBUTE = re.compile(r'^\s*(\w+)\s*:\s*("[^"]*"|[^;"\n]+)', re.MULTILINE)
_STATEFUL = ("latch", "latch_bank", "ff_bank", "statetable")
_READ = ("library", "cell", "pin", "ff", *_STATEFUL)


def _parse_groups(text: str) -> _Group:
    """The tree of the groups named in ``_READ``; the others are skipped with all they hold."""
    root = _Group("", ())
    stack, skipped, start, statement = [root], 0, 0, ""
    for token in _TOKEN.finditer(text):
        kind = token[0][0]
        if kind == '"':
            continue
        if skipped:
            skipped += {"{": 1, "}": -1}.get(kind, 0)
            start = token.end()
            statement = ""
            continue
        statement += text[start : token.start()]
        start = token.end()
        if kind == "/":
            continue
        for name, value in _ATTRIBUTE.findall(statement):
            stack[-1].attributes.setdefault(name, value.strip(' "'))
        if kind == "{":
            header = _HEADER.search(statement)
            if header is None or header[1] not in _READ:
                skipped = 1
            else:
                arguments = tuple(part.strip(' "\t\n') for part in header[2].split(","))
                group = _Group(header[1], arguments)
                stack[-1].groups.append(group)
                stack.append(group)
        elif kind == "}":
            if len(stack) == 1:
                raise ConfigError("the Liberty text closes a brace that it did not open")
            stack.pop()
        statement = ""
    if len(stack) > 1:
        raise ConfigError(f"the Liberty text ends inside the {stack[-1].kind} group {stack[-1].arguments}")
    return root


#: Of cells that belong to power domains, by the library's own word.
_POWER_DOMAIN = ("always_on", "is_isolation_cell", "is_level_shifter")
#: Pads for probes, which sky130_fd_sc_hd's Liberty does not tell from buffers.
_PROBE = re.compile(r"__probec?_")


def _is_reserved(group: _Group) -> bool:
    marked = any(group.attributes.get(attribute) == "true" for attribute in _POWER_DOMAIN)
    return marked or _PROBE.search(group.arguments[0]) is not None


def _cell(group: _Group) -> Cell | None:
    """The cell, or None if its behaviour is more than functions and one plain flip-flop."""
    if group.attributes.get("dont_use") == "true" or any(g.kind in _STATEFUL for g in group.groups):
        return None
    flip_flops = list(group.each("ff"))
    pins = [pin for pin in group.each("pin") if pin.attributes.get("direction") != "internal"]
    outputs = [pin for pin in pins if pin.attributes.get("direction") == "output"]
    if not outputs or any("function" not in p.attributes or "three_state" in p.attributes for p in outputs):
        return None
    if len(flip_flops) > 1 or any({"clear", "preset"} & set(ff.attributes) for ff in flip_flops):
        return None
    flip_flop = None
    for ff in flip_flops:
        flip_flop = FlipFlop(
            state=ff.arguments[0],
            inverted=ff.arguments[1],
            clocked_on=ff.attributes["clocked_on"],
            next_state=ff.attributes["next_state"],
        )
    return Cell(
        name=group.arguments[0],
        area=float(group.attributes.get("area", "0")),
        inputs=tuple(p.arguments[0] for p in pins if p.attributes.get("direction") == "input"),
        outputs=tuple((p.arguments[0], p.attributes["function"]) for p in outputs),
        flip_flop=flip_flop,
        reserved=_is_reserved(group),
    )


def parse_liberty(text: str) -> tuple[str, dict[str, Cell]]:
    """The library's name and its usable cells by name.

    Cells marked ``dont_use``, latches, tri-state cells, and flip-flops with asynchronous set or reset
    are left out; reserved ones are not. Raises :class:`ConfigError` if the text is not a Liberty library.
    """
    libraries = list(_parse_groups(text).each("library"))
    if len(libraries) != 1:
        raise ConfigError(f"a Liberty file has one library group, and this one has {len(libraries)}")
    cells = (_cell(group) for group in libraries[0].each("cell"))
    return libraries[0].arguments[0], {cell.name: cell for cell in cells if cell is not None}
