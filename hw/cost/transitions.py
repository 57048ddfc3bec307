"""Which internal energies a cell spends in each change of state: weights of its Liberty tables.

A state is the bits of a cell's inputs, the clock left out, and for a flip-flop the bit that it holds above
them. A cell goes from one state to another in each cycle; how often it goes where is all that energy takes.
Tables are applied as tools do:

* one of an input pin at each transition of the pin, where its ``when`` holds before the transition, or it has
  none and no other's does;
* one of an output pin at each transition of the output, where its related input changes in the same cycle,
  chosen by ``when`` likewise. If several related inputs change, each has an equal share; if ``when`` picks no
  table of an input, all of them have.

A flip-flop goes through a cycle in this order: the clock's active edge, its output, its inputs, the clock's
other edge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.functions import parse_function
from hw.cost.liberty import Cell
from hw.cost.liberty_power import CellPower, InternalPower, Table
from hw.cost.netlist import Instance
from hw.cost.replay import Activity, clock_pin, evaluate_over

__all__ = ["CellTransitions", "Weighted"]

Bits = NDArray[np.bool_]
Pins = dict[str, Bits]


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """A table, and what share of its energy each change of state spends."""

    table: Table
    output: str | None  #: The pin whose load the table is read at; None: an input's.
    clock: bool  #: Spent at the clock pin.
    weights: NDArray[np.float64]  #: By change of state, as they were asked for.


class CellTransitions:
    """One kind of cell.

    Parameters
    ----------
    cell, power
        What it does and takes.

    Attributes
    ----------
    inputs : tuple of str
        Pins whose bits make the state, the lowest first.
    bits : int
        Of a state.
    """

    def __init__(self, cell: Cell, power: CellPower):
        self._cell, self._power = cell, power
        self._flip_flop = cell.flip_flop
        self._clock, self._rising = (None, True) if self._flip_flop is None else clock_pin(self._flip_flop)
        self.inputs = tuple(pin for pin in cell.inputs if pin != self._clock)
        self.bits = len(self.inputs) + (self._flip_flop is not None)
        self._outputs = [(pin, parse_function(function)) for pin, function in cell.outputs]
        #: By pin, rail, related input and whether the pin rises.
        self._tables: dict[tuple[str, str, str | None, bool], list[InternalPower]] = {}
        for each in power.internal:
            for rises, table in ((True, each.rise), (False, each.fall)):
                if table is not None:
                    self._tables.setdefault((each.pin, each.rail, each.related, rises), []).append(each)

    @property
    def is_register(self) -> bool:
        return self._flip_flop is not None

    def states(self, instance: Instance, activity: Activity) -> NDArray[np.int64]:
        """State of one of these cells in each cycle."""
        bits = [activity.on(instance, pin) for pin in self.inputs]
        if self.is_register:
            bits.append(self._held(instance, activity))
        states = np.zeros(activity.cycles, dtype=np.int64)
        for i, each in enumerate(bits):
            states |= each.astype(np.int64) << i
        return states

    def _held(self, instance: Instance, activity: Activity) -> Bits:
        """What a flip-flop holds, from one of its outputs."""
        for pin, function in self._outputs:
            if pin in instance.pins:
                inverts = function in (("!", self._flip_flop.state), self._flip_flop.inverted)
                return activity.on(instance, pin) ^ inverts
        raise ConfigError(f"no output of {instance.name} ({instance.cell}) is connected")

    def _pins(self, states: NDArray[np.int64], *, held: Bits | None = None, clock: bool = True) -> Pins:
        """Bits of all pins in these states; of a flip-flop in a phase of the clock, with what it holds."""
        pins = {pin: (states >> i & 1).astype(bool) for i, pin in enumerate(self.inputs)}
        known = pins
        if self._flip_flop is not None:
            held = (states >> len(self.inputs) & 1).astype(bool) if held is None else held
            known = {self._flip_flop.state: held, self._flip_flop.inverted: ~held}
            pins = pins | {self._clock: np.full(len(states), clock is self._rising)}
        return pins | {pin: evaluate_over(function, known) for pin, function in self._outputs}

    def weighted(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> list[Weighted]:
        """Tables with their weights in the changes from ``before`` [p] to ``after`` [p]."""
        if self._flip_flop is None:
            first, last = self._pins(before), self._pins(after)
            return [*self._of_inputs(first, last), *self._of_outputs(first, last, list(self.inputs))]
        held = self._pins(after)  # what the edge loads
        idle = self._pins(before, clock=False)
        loading = self._pins(before)
        loaded = self._pins(before, held=(after >> len(self.inputs) & 1).astype(bool))
        released = self._pins(after, clock=False)
        return [
            *self._of_inputs(idle, loading, only=self._clock),
            *self._of_outputs(idle, loaded, [self._clock]),
            *self._of_inputs(loaded, held),
            *self._of_inputs(held, released, only=self._clock),
        ]

    def _of_inputs(self, first: Pins, last: Pins, *, only: str | None = None) -> Iterator[Weighted]:
        for (pin, _, _, rises), powers in self._tables.items():
            if pin == only or (only is None and pin in self.inputs):
                happens = _edge(first[pin], last[pin], rises)
                for power, holds in zip(powers, _holding(powers, first), strict=True):
                    yield Weighted(
                        table=power.rise if rises else power.fall,
                        output=None,
                        clock=pin == self._clock,
                        weights=(happens & holds).astype(float),
                    )

    def _of_outputs(self, first: Pins, last: Pins, causes: Collection[str]) -> Iterator[Weighted]:
        outputs = {pin for pin, _ in self._outputs}
        same = dict.fromkeys((pin, rail, rises) for pin, rail, _, rises in self._tables if pin in outputs)
        for pin, rail, rises in same:
            related = {
                key[2]: powers for key, powers in self._tables.items() if _rest(key) == (pin, rail, rises)
            }
            happens = _edge(first[pin], last[pin], rises)
            for cause, share in _shares(related, first, last, causes).items():
                holds = _holding(related[cause], first).astype(float)
                holds[:, holds.sum(0) == 0] = 1
                for power, one in zip(related[cause], holds / holds.sum(0), strict=True):
                    yield Weighted(
                        table=power.rise if rises else power.fall,
                        output=pin,
                        clock=False,
                        weights=happens * share * one,
                    )

    def leakage(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        """Leakage in each state in nW; of a flip-flop the mean of the clock's two phases."""
        if self._flip_flop is None:
            return self._leakage(self._pins(states))
        phases = [self._leakage(self._pins(states, clock=phase)) for phase in (False, True)]
        return (phases[0] + phases[1]) / 2

    def _leakage(self, pins: Pins) -> NDArray[np.float64]:
        count = len(next(iter(pins.values())))
        total, named = np.zeros(count), np.zeros(count, bool)
        for when, watts in self._power.leakage:
            holds = evaluate_over(when, pins)
            total += holds * watts
            named |= holds
        return np.where(named, total, self._power.leakage_otherwise)


def _rest(key: tuple[str, str, str | None, bool]) -> tuple[str, str, bool]:
    pin, rail, _, rises = key
    return pin, rail, rises


def _edge(then: Bits, now: Bits, rises: bool) -> Bits:
    return now & ~then if rises else then & ~now


def _holding(powers: Sequence[InternalPower], pins: Pins) -> Bits:
    """Where each table holds [table, p]: where its ``when`` does; without one, where no other's does."""
    count = len(next(iter(pins.values())))
    named = [
        np.zeros(count, bool) if power.when is None else evaluate_over(power.when, pins) for power in powers
    ]
    otherwise = ~np.any(named, axis=0)
    return np.array(
        [otherwise if power.when is None else holds for power, holds in zip(powers, named, strict=True)]
    )


def _shares(
    related: Collection[str | None], first: Pins, last: Pins, causes: Collection[str]
) -> dict[str | None, NDArray[np.float64]]:
    """How much of an output's transitions is laid to each related input, in each change of state."""
    count = len(next(iter(first.values())))
    changed = {pin: first[pin] != last[pin] for pin in related if pin in causes}
    if not changed:
        return dict.fromkeys(related, np.full(count, 1 / len(related)))
    several = np.sum(list(changed.values()), axis=0)
    # Where no table names what changed, all of them stand for it.
    return {
        pin: np.where(several == 0, 1 / len(changed), each / np.maximum(several, 1))
        for pin, each in changed.items()
    }
