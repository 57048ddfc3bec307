"""Reads what power takes from Liberty text: pin capacitances, internal energies and leakage of cells.

A cell is read when it is first asked for, from the texts that :class:`hw.cost.cells.Library` holds: a
netlist uses some dozens of the hundreds that there are. Everything is converted to V, fF, fJ, ps and nW.

An internal energy is what a transition takes besides charging the net outside: tools add half C V**2 for each
transition, so a table of a rising output has the other half of what the supply gives, and one of a falling
output may be negative. A library that states energies for each rail (``related_pg_pin``) has halved them:
both rails count, and together they are the cell's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.functions import Expression, parse_function
from hw.cost.liberty_groups import (
    DELAYS,
    LOADS,
    POWERS,
    SLEWS,
    TEMPLATES,
    Group,
    cell_places,
    numbers,
    parse_groups,
)

__all__ = ["CellPower", "InternalPower", "PowerLibrary", "Table", "power_library"]

_FARADS = {"ff": 1.0, "pf": 1e3}  # in fF
_SECONDS = {"ps": 1.0, "ns": 1e3}  # in ps
_WATTS = {"pw": 1e-3, "nw": 1.0, "uw": 1e3, "mw": 1e6}  # in nW


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """An energy or a delay of a transition by the slew of the input and, for an output, by the load."""

    slews: NDArray[np.float64]  #: ps [n], increasing; empty where the value does not depend on it.
    loads: NDArray[np.float64]  #: fF [m], likewise.
    values: NDArray[np.float64]  #: fJ or ps [n or 1, m or 1]

    def at(self, slew_ps: float | None, loads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at loads in fF, linear between entries and beyond the ends.

        A slew of None is the middle entry of the table's own index.
        """
        if slew_ps is None or not len(self.slews):
            row = self.values[len(self.values) // 2]
        else:
            row = _interpolated(self.slews, self.values, np.array([slew_ps]))[0]
        if not len(self.loads):
            return np.full(len(loads), row[0])
        return _interpolated(self.loads, row[:, None], loads)[:, 0]


def _interpolated(index: NDArray, rows: NDArray, places: NDArray) -> NDArray:
    """Rows [i, ...] between those of an increasing index, at places [j]."""
    if len(index) == 1:
        return np.repeat(rows, len(places), axis=0)
    low = np.clip(np.searchsorted(index, places) - 1, 0, len(index) - 2)
    share = ((places - index[low]) / (index[low + 1] - index[low]))[:, None]
    return rows[low] * (1 - share) + rows[low + 1] * share


@dataclass(frozen=True, kw_only=True, eq=False)
class InternalPower:
    """One ``internal_power`` group: energy of transitions of a pin."""

    pin: str
    related: str | None  #: The input whose transition causes that of an output.
    when: Expression | None  #: Over the cell's pins; None: always.
    rail: str  #: ``related_pg_pin``, or nothing.
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPower:
    """What a cell takes."""

    name: str
    capacitance: dict[str, float]  #: fF, by input pin.
    internal: tuple[InternalPower, ...]
    leakage: tuple[tuple[Expression, float], ...]  #: (state, nW); states of several rails add up.
    leakage_otherwise: float  #: nW, in states that ``leakage`` does not name.
    delays: dict[str, tuple[Table, ...]]  #: ps, by output pin: of both edges, from each input.


class _Part:
    """One Liberty text: its units, and where its cells are."""

    def __init__(self, text: str):
        self._text = text
        self.places = cell_places(text)
        (self.head,) = parse_groups(text[: min(self.places.values())[0]]).each("library")
        self.voltage = float(self._needed("nom_voltage"))
        scale, unit = self._pair(self.head.lists.get("capacitive_load_unit"), "capacitive_load_unit")
        self.farads = scale * _FARADS[unit]
        self.seconds = self._unit("time_unit", _SECONDS)
        self.watts = self._unit("leakage_power_unit", _WATTS)
        volts = self._unit("voltage_unit", {"v": 1.0, "mv": 1e-3})
        self.joules = self.farads * volts**2  # energies are in units of capacitance times voltage squared
        self._templates = {group.arguments[0]: group for group in self.head.each(*TEMPLATES)}

    def _needed(self, name: str) -> str:
        if name not in self.head.attributes:
            raise ConfigError(f"the Liberty text {self.head.arguments[0]} has no {name}, which power takes")
        return self.head.attributes[name]

    def _pair(self, text: str | None, name: str) -> tuple[float, str]:
        match = re.match(r'\s*"?([\d.]+)"?\s*,\s*"?(\w+)', text or "")
        if match is None or match[2].lower() not in _FARADS:
            raise ConfigError(f"the Liberty text {self.head.arguments[0]} has no {name} in fF or pF")
        return float(match[1]), match[2].lower()

    def _unit(self, name: str, units: dict[str, float]) -> float:
        match = re.fullmatch(r"([\d.]+)\s*(\w+)", self._needed(name))
        if match is None or match[2].lower() not in units:
            raise ConfigError(f"{name} is in {', '.join(units)} here, not {self.head.attributes[name]!r}")
        return float(match[1]) * units[match[2].lower()]

    def cell(self, name: str) -> CellPower:
        start, end = self.places[name]
        (group,) = parse_groups(self._text[start:end]).each("cell")
        attributes = group.attributes
        default = float(self.head.attributes.get("default_input_pin_cap", "0"))
        internal, capacitance, delays = [], {}, {}
        for pin in group.each("pin"):
            for each in pin.arguments:
                if pin.attributes.get("direction") == "input":
                    capacitance[each] = self.farads * float(pin.attributes.get("capacitance", default))
                for power in pin.each("internal_power"):
                    internal += self._internal(each, power)
                delays[each] = tuple(
                    self._table(table, self.seconds)
                    for arc in pin.each("timing")
                    for table in arc.each(*DELAYS)
                )
        stated = [
            (_when(each), self.watts * float(each.attributes["value"]))
            for each in group.each("leakage_power")
        ]
        always = [value for when, value in stated if when is None]
        otherwise = self.watts * float(
            attributes.get("cell_leakage_power", self.head.attributes.get("default_cell_leakage_power", "0"))
        )
        return CellPower(
            name=name,
            capacitance=capacitance,
            internal=tuple(internal),
            leakage=tuple((when, value) for when, value in stated if when is not None),
            leakage_otherwise=sum(always) if always else otherwise,
            delays={pin: tables for pin, tables in delays.items() if tables},
        )

    def _internal(self, pin: str, power: Group) -> Iterator[InternalPower]:
        tables = {table.kind: self._table(table, self.joules) for table in power.each(*POWERS)}
        both = tables.get("power")
        for related in power.attributes.get("related_pin", "").split() or [None]:
            yield InternalPower(
                pin=pin,
                related=related,
                when=_when(power),
                rail=power.attributes.get("related_pg_pin", ""),
                rise=tables.get("rise_power", both),
                fall=tables.get("fall_power", both),
            )

    def _table(self, group: Group, unit: float) -> Table:
        template = self._templates.get(group.arguments[0])
        variables = {} if template is None else template.attributes
        index = {}
        for i in (1, 2):
            text = group.lists.get(f"index_{i}") or (template and template.lists.get(f"index_{i}")) or ""
            if entries := numbers(text):
                index[variables.get(f"variable_{i}", "")] = np.array(entries)
        values = np.array(numbers(group.lists["values"])) * unit
        slews, loads = (
            next((index[name] for name in names if name in index), np.empty(0)) for names in (SLEWS, LOADS)
        )
        shape = (len(slews) or 1, len(loads) or 1)
        if set(index) - {*SLEWS, *LOADS} or len(values) != shape[0] * shape[1]:
            raise ConfigError(
                f"a table of the template {group.arguments[0]} has {len(values)} values by "
                f"{', '.join(index) or 'nothing'}; tables by slew and load are read"
            )
        if len(index) == 2 and next(iter(index)) in LOADS:
            values = values.reshape(shape[::-1]).T
        return Table(slews=slews * self.seconds, loads=loads * self.farads, values=values.reshape(shape))


def _when(group: Group) -> Expression | None:
    text = group.attributes.get("when")
    return None if text is None else parse_function(text)


class PowerLibrary:
    """What the cells of a library take, by name.

    Raises :class:`ConfigError` for a library without power data, such as the table of areas, or whose parts
    are of different voltages.
    """

    def __init__(self, library: Library):
        self.name = library.name
        self._texts = library.texts if library.has_timing else ()
        if not self._texts:
            raise ConfigError(
                f"the library {library.name} says nothing of power; use a Liberty file, such as sky130hd's"
            )
        self._cells: dict[str, CellPower] = {}

    @cached_property
    def _parts(self) -> list[_Part]:
        return [_Part(text) for text in self._texts]

    @cached_property
    def voltage(self) -> float:
        """V"""
        voltages = {part.voltage for part in self._parts}
        if len(voltages) > 1:
            raise ConfigError(f"the parts of {self.name} are of {len(voltages)} voltages; power takes one")
        return voltages.pop()

    def middle_slew(self, cell: str) -> float:
        """The middle entry of the slews, in ps, that a cell's tables go by."""
        slews = next(
            table.slews
            for power in self.cell(cell).internal
            for table in (power.rise, power.fall)
            if table is not None and len(table.slews)
        )
        return float(slews[len(slews) // 2])

    def cell(self, name: str) -> CellPower:
        """What one cell takes. Raises :class:`ConfigError` if it is in no part of the library."""
        if name not in self._cells:
            parts = [part for part in self._parts if name in part.places]
            if not parts:
                raise ConfigError(f"the netlist uses {name}, which the library {self.name} does not have")
            self._cells[name] = parts[0].cell(name)
        return self._cells[name]


_LIBRARIES: dict[str, PowerLibrary] = {}


def power_library(library: Library) -> PowerLibrary:
    """The library's power data, kept for the life of the process."""
    if library.fingerprint not in _LIBRARIES:
        _LIBRARIES[library.fingerprint] = PowerLibrary(library)
    return _LIBRARIES[library.fingerprint]
