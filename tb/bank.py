"""Many components in one top level, behind two wide words: one build and one write a cycle for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from amaranth import Cat, Module, Shape, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out
from numpy.typing import NDArray

__all__ = ["Bank", "Port", "layout", "pack_words", "unpack_words"]


class Port(NamedTuple):
    """A port of one of the components: a field of the wide word."""

    lane: str
    name: str
    offset: int  #: Of its lowest bit.
    width: int


class Bank(wiring.Component):
    """Instantiates components side by side, their ports joined to two words.

    Parameters
    ----------
    lanes : Mapping[str, Component]
        Components, by the names of their instances.

    Members
    -------
    inputs : In
        All their inputs, as :func:`layout` orders them.
    outputs : Out
        All their outputs, likewise.
    """

    def __init__(self, lanes: Mapping[str, wiring.Component]):
        self.lanes = dict(lanes)
        self.in_ports, self.out_ports = layout(self.lanes)
        self.signals = {
            (lane, _port_name(path)): Value.cast(value)
            for lane, component in self.lanes.items()
            for path, _, value in component.signature.flatten(component)
        }
        super().__init__(
            {
                "inputs": In(unsigned(_total(self.in_ports))),
                "outputs": Out(unsigned(_total(self.out_ports))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for lane, component in self.lanes.items():
            m.submodules[lane] = component
        for port in self.in_ports:
            m.d.comb += self.signals[port.lane, port.name].eq(self.inputs[port.offset :])
        m.d.comb += self.outputs.eq(Cat(self.signals[port.lane, port.name] for port in self.out_ports))
        return m


def layout(lanes: Mapping[str, wiring.Component]) -> tuple[list[Port], list[Port]]:
    """Input ports and output ports, each in the order of the lanes and of their members."""
    sides: dict[Flow, list[Port]] = {Flow.In: [], Flow.Out: []}
    for lane, component in lanes.items():
        for path, member, _ in component.signature.flatten(component):
            ports = sides[member.flow]
            width = Shape.cast(member.shape).width
            ports.append(Port(lane, _port_name(path), _total(ports), width))
    return sides[Flow.In], sides[Flow.Out]


def _port_name(path: tuple[str | int, ...]) -> str:
    """As in the Verilog: ``job__payload``."""
    return "__".join(map(str, path))


def _total(ports: list[Port]) -> int:
    return ports[-1].offset + ports[-1].width if ports else 0


def pack_words(ports: list[Port], values: Mapping[tuple[str, str], NDArray], cycles: int) -> list[int]:
    """One wide word a cycle from the arrays of all ports, keyed by lane and name.

    Arrays are broadcast to ``cycles``; negative numbers become two's complement.
    """
    bits = np.zeros((cycles, _total(ports)), dtype=np.uint8)
    for port in ports:
        numbers = np.broadcast_to(np.asarray(values[port.lane, port.name], dtype=np.int64), cycles)
        places = np.arange(port.width)
        bits[:, port.offset : port.offset + port.width] = (numbers[:, None] >> places) & 1
    rows = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack_words(ports: list[Port], words: list[int]) -> dict[tuple[str, str], NDArray]:
    """The arrays of all ports, nonnegative int64, from one wide word a cycle."""
    size = (_total(ports) + 7) // 8
    rows = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), dtype=np.uint8)
    bits = np.unpackbits(rows.reshape(len(words), size), axis=1, bitorder="little")
    return {
        (port.lane, port.name): bits[:, port.offset : port.offset + port.width].astype(np.int64)
        @ (1 << np.arange(port.width, dtype=np.int64))
        for port in ports
    }
