"""What every net of a mapped netlist does, cycle by cycle, while stimuli stream through it.

All cycles are computed at once: a net is an array over time, a gate an operation on arrays, and a flip-flop
a shift by one. What flip-flops hold is found by going round until nothing changes, which takes as many rounds
as the pipeline is deep. Gates have no delay, so a net changes at most once a cycle: no glitches. Toggles are
those that Verilator counts (SAIF) of the same netlist; tests/test_cost_power.py compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.functions import Expression, parse_function
from hw.cost.liberty import FlipFlop
from hw.cost.netlist import ONE, ZERO, FlatNetlist, Instance

__all__ = ["Activity", "Gate", "clock_pin", "evaluate_over", "replay", "sorted_gates"]

Bits = NDArray[np.bool_]

_MAX_ROUNDS = 64


def evaluate_over(expression: Expression, pins: Mapping[str, Bits]) -> Bits:
    """A cell's function on arrays of its pins."""
    match expression:
        case str(pin):
            return pins[pin]
        case ("0",) | ("1",):
            return np.full_like(next(iter(pins.values())), expression[0] == "1")
        case ("!", operand):
            return ~evaluate_over(operand, pins)
        case ("&", left, right):
            return evaluate_over(left, pins) & evaluate_over(right, pins)
        case ("|", left, right):
            return evaluate_over(left, pins) | evaluate_over(right, pins)
        case ("^", left, right):
            return evaluate_over(left, pins) ^ evaluate_over(right, pins)
    raise AssertionError(f"no such expression: {expression!r}")


_parsed = cache(parse_function)


def clock_pin(flip_flop: FlipFlop) -> tuple[str, bool]:
    """The pin that a flip-flop is clocked by, and whether by its rising edge."""
    match parse_function(flip_flop.clocked_on):
        case str(pin):
            return pin, True
        case ("!", str(pin)):
            return pin, False
    raise ConfigError(f"a flip-flop clocked on {flip_flop.clocked_on!r} is not a pin's edge")


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """Settled values of nets at the end of each cycle.

    ``values`` has a net's array over the cycles, bool [n]. The clock rises at the beginning of each cycle and
    falls in its middle; its net is not among the values.
    """

    netlist: FlatNetlist
    clock: str  #: Net of the clock.
    values: Mapping[str, Bits]

    @property
    def cycles(self) -> int:
        return len(next(iter(self.values.values())))

    def on(self, instance: Instance, pin: str) -> Bits:
        """Values on a pin. Raises :class:`ConfigError` for a pin without activity."""
        net = instance.pins[pin]
        if net not in self.values:
            raise ConfigError(
                f"pin {pin} of {instance.name} ({instance.cell}) is on the net {net}, of which there is no "
                "activity; energies are summed where every pin has one"
            )
        return self.values[net]

    def word(self, bits: Iterable[str]) -> NDArray[np.int64]:
        """Values of a port as integers."""
        return sum((self.values[bit].astype(np.int64) << i for i, bit in enumerate(bits)), np.int64(0))

    def toggles(self, net: str, first: int) -> int:
        """Changes of a net, from that of cycle ``first`` to the next on."""
        values = self.values[net][first:]
        return int(np.count_nonzero(values[1:] != values[:-1]))


@dataclass(frozen=True, slots=True)
class Gate:
    """One output of a cell."""

    cell: str
    pin: str
    output: str  #: Its net.
    function: Expression
    pins: dict[str, str]  #: Of the inputs the nets.


def sorted_gates(netlist: FlatNetlist, library: Library) -> list[Gate]:
    """One entry for each output of a gate, after those it depends on."""
    gates = {}
    for instance in netlist.instances:
        cell = library.cells[instance.cell]
        if cell.flip_flop is None:
            for pin, function in cell.outputs:
                if pin in instance.pins:
                    output = instance.pins[pin]
                    if output in gates:
                        raise ConfigError(f"the net {output} has two drivers")
                    inputs = {each: instance.pins[each] for each in cell.inputs}
                    gates[output] = Gate(cell.name, pin, output, _parsed(function), inputs)
    return _sorted(gates)


def _sorted(gates: Mapping[str, Gate]) -> list[Gate]:
    readers: dict[str, list[str]] = {net: [] for net in gates}
    waiting = {}
    for gate in gates.values():
        sources = {net for net in gate.pins.values() if net in gates}
        waiting[gate.output] = len(sources)
        for net in sources:
            readers[net].append(gate.output)
    order = [net for net, count in waiting.items() if count == 0]
    for net in order:  # which grows
        for reader in readers[net]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                order.append(reader)
    if len(order) < len(gates):
        looped = next(net for net in gates if waiting[net])
        raise ConfigError(f"the netlist has a loop of gates, to which the net {looped} belongs or leads")
    return [gates[net] for net in order]


def _flip_flops(netlist: FlatNetlist, library: Library) -> list[tuple[Instance, FlipFlop]]:
    pairs = [(each, library.cells[each.cell].flip_flop) for each in netlist.instances]
    return [(instance, flip_flop) for instance, flip_flop in pairs if flip_flop is not None]


def replay(
    netlist: FlatNetlist, library: Library, columns: Mapping[str, NDArray[np.int64]], *, clock: str = "clk"
) -> Activity:
    """Drive the inputs, one row a clock cycle; they change with the rising edge, as registers before them do.

    Parameters
    ----------
    columns : mapping
        Of every input but the clock, words int64 [n]; negative ones stand for their two's complement.
    clock : str
        The input that clocks all flip-flops.

    Raises :class:`ConfigError` if an input has no column, a net no driver, or flip-flops other clocks, and
    where what they hold depends on more than what goes in.
    """
    expected = set(netlist.inputs) - {clock}
    if expected != set(columns):
        raise ConfigError(
            f"the netlist's inputs are {', '.join(sorted(expected))}, and there are stimuli of "
            f"{', '.join(sorted(columns))}"
        )
    count = len(next(iter(columns.values())))
    values: dict[str, Bits] = {ZERO: np.zeros(count, bool), ONE: np.ones(count, bool)}
    for name, bits in netlist.inputs.items():
        if name != clock:
            words = np.asarray(columns[name], dtype=np.int64)
            values |= {bit: (words >> i & 1).astype(bool) for i, bit in enumerate(bits)}
    flip_flops = _flip_flops(netlist, library)
    clock_net = netlist.inputs[clock][0] if clock in netlist.inputs else ""
    for instance, flip_flop in flip_flops:
        if instance.pins[clock_pin(flip_flop)[0]] != clock_net:
            raise ConfigError(f"{instance.name} ({instance.cell}) is not clocked by {clock}")
    gates = sorted_gates(netlist, library)
    _check_driven(gates, flip_flops, {*values, clock_net}, library)

    states = {instance.name: np.zeros(count, bool) for instance, _ in flip_flops}
    for _ in range(_MAX_ROUNDS):
        for instance, flip_flop in flip_flops:
            _drive(instance, flip_flop, states[instance.name], library, values)
        for gate in gates:
            values[gate.output] = evaluate_over(
                gate.function, {pin: values[net] for pin, net in gate.pins.items()}
            )
        following = {
            instance.name: _next(instance, flip_flop, states[instance.name], values)
            for instance, flip_flop in flip_flops
        }
        if all(np.array_equal(following[name], states[name]) for name in states):
            return Activity(netlist=netlist, clock=clock_net, values=values)
        states = following
    raise ConfigError(
        f"the netlist's registers do not settle in {_MAX_ROUNDS} rounds: they feed themselves, and a replay "
        "takes a pipeline"
    )


def _check_driven(
    gates: list[Gate], flip_flops: list[tuple[Instance, FlipFlop]], given: set[str], library: Library
) -> None:
    driven = given | {gate.output for gate in gates}
    for instance, _ in flip_flops:
        driven |= {
            instance.pins[pin] for pin, _ in library.cells[instance.cell].outputs if pin in instance.pins
        }
    read = [(pin, net) for gate in gates for pin, net in gate.pins.items()]
    read += [(pin, net) for instance, _ in flip_flops for pin, net in instance.pins.items()]
    for pin, net in read:
        if net not in driven:
            raise ConfigError(f"the net {net} has no driver, and a pin {pin} is on it")


def _drive(instance: Instance, flip_flop: FlipFlop, state: Bits, library: Library, values: dict) -> None:
    own = {flip_flop.state: state, flip_flop.inverted: ~state}
    for pin, function in library.cells[instance.cell].outputs:
        if pin in instance.pins:
            values[instance.pins[pin]] = evaluate_over(_parsed(function), own)


def _next(instance: Instance, flip_flop: FlipFlop, state: Bits, values: Mapping[str, Bits]) -> Bits:
    """The state a cycle later: what it begins with is unknown, and 0 here."""
    pins = {pin: values[net] for pin, net in instance.pins.items() if net in values}
    loaded = evaluate_over(
        _parsed(flip_flop.next_state), pins | {flip_flop.state: state, flip_flop.inverted: ~state}
    )
    following = np.empty_like(state)
    following[0] = state[0]
    following[1:] = loaded[:-1]
    return following
