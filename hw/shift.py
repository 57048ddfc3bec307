"""Shifts by any number of places."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value

__all__ = ["shift_right"]


def shift_right(m: Module, value: Value, width: int, places: Value) -> tuple[Value, Value]:
    """The low ``width`` bits of a value shifted right, and whether a set bit was shifted out."""
    value, sticky = value[:width], 0
    steps = [1 << i for i in range(min(width.bit_length(), len(places)))]
    for i, step in enumerate(steps):
        shifted, dropped = Signal(width, name=f"right_{step}"), Signal(name=f"dropped_{step}")
        m.d.comb += shifted.eq(Mux(places[i], value >> step, value))
        m.d.comb += dropped.eq(sticky | (places[i] & value[:step].any()))
        value, sticky = shifted, dropped
    beyond = Signal()
    m.d.comb += beyond.eq(places[len(steps) :].any())
    return Mux(beyond, 0, value), sticky | (beyond & value.any())
