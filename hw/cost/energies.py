"""Energies of a netlist at an activity: what every pin of every cell spends, summed by part and by kind.

Kinds are *switching*, half C V**2 for each toggle of a net, C the capacitances of the input pins on it;
*internal*, the cells' own energies from the library's tables; *clock*, the same two of the clock pins of
flip-flops; and *leakage*, of each cell in each of its states.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.glitches import delayed_toggles
from hw.cost.liberty_power import PowerLibrary
from hw.cost.netlist import FlatNetlist, Instance
from hw.cost.replay import Activity, clock_pin
from hw.cost.transitions import CellTransitions

__all__ = ["KINDS", "Conditions", "Energies", "netlist_energies"]

KINDS = ("switching", "internal", "clock", "leakage")

#: Cycles on which glitches are estimated, spread over all.
_GLITCH_CYCLES = 512

#: Parts that no cell's name gives: inputs of the netlist, flip-flops, other cells with and without parts.
_INPUTS, _REGISTERS, _GLUE, _LOGIC = "inputs", "registers", "glue", "logic"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Under which energies are summed."""

    first: int  #: Changes from this cycle to the next are the first that count.
    clock_ps: float  #: Period of the clock.
    chained: Mapping[str, str]  #: Output -> the input of a copy of this netlist that it drives.
    slew_ps: float | None  #: Of every transition; None: the middle entry of each table.
    glitches: bool  #: Estimate them.


@dataclass(frozen=True, kw_only=True, slots=True)
class Energies:
    """Means over the cycles, in pJ a cycle."""

    spent: dict[tuple[str, str], float]  #: By (part, kind).
    toggle_rate: float  #: Toggles of a net in a cycle, the mean over all nets but the clock's.
    pins: int  #: Pins of cells, each of which has an activity.
    cycles: int
    glitch_ratio: float | None  #: Toggles of gates that take time over those of gates that do not, by load.
    glitch_pj: float | None  #: What they spend in addition, at that ratio; not in ``spent``.

    def of(self, *, part: str | None = None, kind: str | None = None) -> float:
        """The sum over all that is of a part, of a kind, or of both."""
        chosen = (pj for (p, k), pj in self.spent.items() if part in (None, p) and kind in (None, k))
        return fsum(chosen)

    @property
    def parts(self) -> dict[str, float]:
        return {part: self.of(part=part) for part in sorted({part for part, _ in self.spent})}

    @property
    def kinds(self) -> dict[str, float]:
        return {kind: self.of(kind=kind) for kind in KINDS}


def netlist_energies(
    activity: Activity, library: Library, powers: PowerLibrary, conditions: Conditions
) -> Energies:
    """Energies of any netlist.

    An output that is chained carries the pins of the input it drives, and the nets of that input are charged
    by the copy before; other outputs carry nothing. Raises :class:`ConfigError` where a pin has no activity.
    """
    return _Sum(activity, library, powers, conditions).energies()


class _Sum:
    def __init__(self, activity: Activity, library: Library, powers: PowerLibrary, conditions: Conditions):
        self.activity, self.library, self.powers, self.conditions = activity, library, powers, conditions
        self.netlist: FlatNetlist = activity.netlist
        self.first = conditions.first
        self.cycles = activity.cycles - 1 - conditions.first
        if self.cycles < 1:
            raise ConfigError(f"{activity.cycles} cycles are too few for this pipeline; give more stimuli")
        self.loose = _GLUE if any(each.part for each in self.netlist.instances) else _LOGIC
        self.loads, self.pins = self._loads()
        chained = {bit for port in conditions.chained.values() for bit in self.netlist.inputs.get(port, ())}
        self.charged = [net for net in self.loads if net != activity.clock and net not in chained]

    def energies(self) -> Energies:
        nets = [net for net in self.loads if net != self.activity.clock]
        toggles = {net: self.activity.toggles(net, self.first) for net in nets}
        spent: dict[tuple[str, str], list[float]] = defaultdict(list)  # fJ in all cycles
        gates: list[float] = []  # of them those that repeat with every glitch
        for net, part, is_gate in self._driven():
            fj = 0.5 * self.loads[net] * self.powers.voltage**2 * toggles[net]
            spent[part, "switching"].append(fj)
            gates.extend([fj] if is_gate else [])
        groups: dict[str, list[Instance]] = defaultdict(list)
        for instance in self.netlist.instances:
            groups[instance.cell].append(instance)
        for cell, instances in groups.items():
            transitions = CellTransitions(self.library.cells[cell], self.powers.cell(cell))
            for instance, kind, fj in self._inside(instances, transitions):
                spent[self._part(instance), kind].append(fj)
                gates.extend([fj] if kind == "internal" and not transitions.is_register else [])
        per_cycle = 1 / self.cycles / 1e3  # fJ to pJ a cycle
        ratio = self._glitch_ratio() if self.conditions.glitches else None
        return Energies(
            spent={key: fsum(parts) * per_cycle for key, parts in spent.items()},
            toggle_rate=sum(toggles.values()) / (len(toggles) * self.cycles),
            pins=self.pins,
            cycles=self.cycles,
            glitch_ratio=ratio,
            glitch_pj=None if ratio is None else (ratio - 1) * fsum(gates) * per_cycle,
        )

    def _part(self, instance: Instance) -> str:
        if self.library.cells[instance.cell].flip_flop is not None:
            return _REGISTERS
        return instance.part or self.loose

    def _loads(self) -> tuple[dict[str, float], int]:
        """Loads of nets in fF, and how many pins there are, after a look at each."""
        loads: dict[str, float] = defaultdict(float)
        pins = 0
        for instance in self.netlist.instances:
            capacitance = self.powers.cell(instance.cell).capacitance
            for pin, net in instance.pins.items():
                if net != self.activity.clock:
                    self.activity.on(instance, pin)
                loads[net] += capacitance.get(pin, 0.0)
                pins += 1
        own = dict(loads)
        for output, port in self.conditions.chained.items():
            near, far = self.netlist.outputs.get(output, ()), self.netlist.inputs.get(port, ())
            for bit, other in zip(near, far, strict=True):
                loads[bit] = loads.get(bit, 0.0) + own.get(other, 0.0)
        return dict(loads), pins

    def _driven(self) -> Iterator[tuple[str, str, bool]]:
        """Nets that are charged here, the part that does, and whether it is a gate."""
        drivers = {
            instance.pins[pin]: instance
            for instance in self.netlist.instances
            for pin, _ in self.library.cells[instance.cell].outputs
            if pin in instance.pins
        }
        for net in self.charged:
            driver = drivers.get(net)
            is_gate = driver is not None and self.library.cells[driver.cell].flip_flop is None
            yield net, _INPUTS if driver is None else self._part(driver), is_gate

    def _inside(
        self, instances: Sequence[Instance], transitions: CellTransitions
    ) -> Iterator[tuple[Instance, str, float]]:
        """(instance, kind, fJ) of cells of one kind, over all cycles."""
        before, after, counts = self._changes(instances, transitions)
        spent = {kind: np.zeros(len(instances)) for kind in ("internal", "clock")}
        for each in transitions.weighted(before, after):
            times = counts @ each.weights
            if times.any():
                at = [self.loads.get(instance.pins.get(each.output, ""), 0.0) for instance in instances]
                energies = each.table.at(self.conditions.slew_ps, np.array(at))
                spent["clock" if each.clock else "internal"] += times * energies
        # 1 nW for 1 ps is 1e-6 fJ
        spent["leakage"] = counts @ transitions.leakage(after) * self.conditions.clock_ps * 1e-6
        if transitions.is_register:
            cell = self.library.cells[instances[0].cell]
            pin = clock_pin(cell.flip_flop)[0]
            capacitance = self.powers.cell(cell.name).capacitance[pin]
            spent["clock"] += capacitance * self.powers.voltage**2 * self.cycles  # up and down
        for i, instance in enumerate(instances):
            for kind, fj in spent.items():
                yield instance, kind, float(fj[i])

    def _changes(
        self, instances: Sequence[Instance], transitions: CellTransitions
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """States before [p] and after [p] of all changes; how often each instance had each [instance, p]."""
        size = 1 << 2 * transitions.bits
        counts = np.empty((len(instances), size))
        for row, instance in enumerate(instances):
            states = transitions.states(instance, self.activity)[self.first :]
            changes = states[:-1] << transitions.bits | states[1:]
            counts[row] = np.bincount(changes, minlength=size)
        changes = np.flatnonzero(counts.any(0))
        return changes >> transitions.bits, changes & (1 << transitions.bits) - 1, counts[:, changes]

    def _glitch_ratio(self) -> float:
        spread = np.linspace(0, self.cycles - 1, min(_GLITCH_CYCLES, self.cycles))
        after = self.first + np.unique(spread.astype(np.int64))
        delayed = delayed_toggles(self.activity, self.library, self.powers, self.loads, after=after)
        gates = [net for net in self.charged if net in delayed]
        changes = {
            net: self.activity.values[net][after] != self.activity.values[net][after + 1] for net in gates
        }
        settled = fsum(self.loads[net] * np.count_nonzero(changes[net]) for net in gates)
        return fsum(self.loads[net] * delayed[net] for net in gates) / settled if settled else 1.0
