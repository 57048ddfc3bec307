"""How often nets change within a cycle where gates take time: an estimate of glitches.

Each gate has one delay, the mean over its inputs and both edges of the library's at its load; a change of
its function that does not last that long does not pass (inertial delay). Inputs and registers change
together, and wires take no time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from golden.config import ConfigError
from hw.cost.cells import Library
from hw.cost.functions import truth_table
from hw.cost.liberty_power import PowerLibrary
from hw.cost.netlist import ZERO
from hw.cost.replay import Activity, Gate, sorted_gates

__all__ = ["delayed_toggles"]

#: Steps of time in the median delay of a gate; twice as many change counts by a hundredth or so.
_STEPS = 8
_MAX_STEPS = 100_000


def _delays(gates: list[Gate], powers: PowerLibrary, loads: Mapping[str, float]) -> NDArray[np.int64]:
    """Of each gate in steps of time, at least one."""
    delays = np.empty(len(gates))
    for i, gate in enumerate(gates):
        load = np.array([loads.get(gate.output, 0.0)])
        tables = powers.cell(gate.cell).delays.get(gate.pin, ())
        delays[i] = np.mean([table.at(None, load)[0] for table in tables]) if tables else 0.0
    positive = delays[delays > 0]
    if not len(positive):
        raise ConfigError(f"the library {powers.name} has no delays, and glitches come from them")
    return np.maximum(np.rint(delays / np.median(positive) * _STEPS), 1).astype(np.int64)


def delayed_toggles(
    activity: Activity,
    library: Library,
    powers: PowerLibrary,
    loads: Mapping[str, float],
    *,
    after: NDArray[np.int64],
) -> dict[str, int]:
    """Changes of the net of each gate in the cycles that follow the cycles ``after``; ``loads`` in fF."""
    gates = sorted_gates(activity.netlist, library)
    nets = {net: i for i, net in enumerate(activity.values)}
    widest = max(len(gate.pins) for gate in gates)
    tables = {}
    for gate in gates:
        key = (gate.cell, gate.pin)
        if key not in tables:
            table = truth_table(gate.function, tuple(gate.pins))
            tables[key] = [table >> i & 1 for i in range(2 ** len(gate.pins))]
    starts = dict(zip(tables, np.cumsum([0, *map(len, tables.values())])[:-1].tolist(), strict=True))
    table = np.array([bit for bits in tables.values() for bit in bits], dtype=np.uint8)
    places = np.array([starts[gate.cell, gate.pin] for gate in gates])[:, None]
    inputs = np.full((widest, len(gates)), nets[ZERO])
    for column, gate in enumerate(gates):
        for row, net in enumerate(gate.pins.values()):
            inputs[row, column] = nets[net]
    outputs = np.array([nets[gate.output] for gate in gates])
    delays = _delays(gates, powers, loads)[:, None]

    before = np.array([activity.values[net][after] for net in nets], dtype=np.uint8)
    now = np.array([activity.values[net][after + 1] for net in nets], dtype=np.uint8)
    settled = now[outputs]
    now[outputs] = before[outputs]
    waited = np.zeros((len(gates), len(after)), dtype=np.int32)
    counts = np.zeros(len(gates), dtype=np.int64)
    changed = np.any(before != now, axis=1)  # nets, in the step before
    waiting = np.zeros(len(gates), dtype=bool)
    for _ in range(_MAX_STEPS):
        active = np.flatnonzero(waiting | changed[inputs].any(0))
        if not len(active):
            break
        state = now[inputs[0, active]].astype(np.uint16)
        for row in range(1, widest):
            state |= now[inputs[row, active]].astype(np.uint16) << row
        due = table[places[active] + state] != now[outputs[active]]
        steps = (waited[active] + 1) * due
        changes = steps >= delays[active]
        steps[changes] = 0
        waited[active] = steps
        waiting[active] = steps.any(1)
        changed[:] = False
        changed[outputs[active]] = changes.any(1)
        now[outputs[active]] ^= changes
        counts[active] += changes.sum(1)
    if not np.array_equal(now[outputs], settled):
        raise AssertionError("gates with delays settled elsewhere than gates without")
    return {gate.output: int(count) for gate, count in zip(gates, counts, strict=True)}
