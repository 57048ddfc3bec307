"""The registers of a tile as gates, made from the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from amaranth import Cat, Const, Module, Value, signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi import WORD_BITS, RegisterBus
from hw.registers import Access, Field, Register

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """Holds what software wrote, shows what the tile says, and refuses what cannot be.

    Refused, and then without effect: an address without a register, a write to one that only reads, a
    read of one that only takes, a write of a locked one while ``busy``, of a value that the register does
    not hold, of two commands at once, or of a push where ``refuse`` says so.

    Parameters
    ----------
    registers : sequence of Register
        The table.

    Members
    -------
    bus : In(RegisterBus)
        Accesses.
    busy : In(1)
        Locked registers are locked.
    refuse : In(1)
        A push is refused.

    Further members are named after their fields, :meth:`hw.registers.Register.port`:
    an input for what is read and not constant; an output for what is written (a register), for a pulse and
    for a push (high for a cycle, with ``bus.write_data``); and for a flag an output, and an input
    ``set_...`` that sets it, even while software clears it.
    """

    def __init__(self, registers: Sequence[Register]):
        self.registers = registers
        members: dict[str, wiring.Member] = {"bus": In(RegisterBus()), "busy": In(1), "refuse": In(1)}
        for register in registers:
            for field in register.fields:
                port, shape = register.port(field), _shape(field)
                match field.access:
                    case Access.READ:
                        if field.constant is None:
                            members[port] = In(shape)
                    case Access.WRITE | Access.PULSE | Access.PUSH:
                        members[port] = Out(shape if field.access is Access.WRITE else 1)
                    case Access.REWIND:
                        members[port] = In(shape)
                        members[f"rewind_{port}"] = Out(1)
                    case Access.CLEAR:
                        members[port] = Out(1)
                        members |= {f"set_{port}": In(1), f"unset_{port}": In(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        for register in self.registers:
            for field in register.fields:
                if field.access is Access.CLEAR:
                    with m.If(getattr(self, f"unset_{register.port(field)}")):
                        m.d.sync += getattr(self, register.port(field)).eq(0)
        self._read(m)
        self._write(m)
        for register in self.registers:  # behind the writes, which they win over
            for field in register.fields:
                if field.access is Access.CLEAR:
                    with m.If(getattr(self, f"set_{register.port(field)}")):
                        m.d.sync += getattr(self, register.port(field)).eq(1)
        return m

    def _read(self, m: Module) -> None:
        bus = self.bus
        with m.Switch(bus.read_word):
            for register in self.registers:
                if all(field.access is not Access.PUSH for field in register.fields):
                    with m.Case(register.address // 4):
                        m.d.comb += bus.read_data.eq(self._word(register))
            with m.Default():
                m.d.comb += bus.read_error.eq(1)

    def _word(self, register: Register) -> Value:
        """What a register reads as."""
        if any(field.signed for field in register.fields):  # alone in its register, and sign-extended
            (field,) = register.fields
            return getattr(self, register.port(field))
        parts, at = [], 0
        for field in sorted(register.fields, key=lambda field: field.lsb):
            shown = 0 if field.access is Access.PULSE else field.constant
            value = getattr(self, register.port(field)) if shown is None else Const(shown, field.width)
            parts += [Const(0, field.lsb - at), value]
            at = field.lsb + field.width
        return Cat(parts)

    def _write(self, m: Module) -> None:
        bus = self.bus
        with m.Switch(bus.write_word):
            for register in self.registers:
                if register.writable:
                    with m.Case(register.address // 4):
                        m.d.comb += bus.write_error.eq(self._refused(register))
                        with m.If(bus.write & ~bus.write_error):
                            for field in register.fields:
                                self._take(m, register, field)
            with m.Default():
                m.d.comb += bus.write_error.eq(1)

    def _refused(self, register: Register) -> Value:
        """Whether this word cannot be written to the register now."""
        data = self.bus.write_data
        reasons = [self.busy] if register.locked else []
        for field in register.fields:
            if field.access is Access.PUSH:
                reasons.append(self.refuse)
            if field.access is Access.REWIND:
                reasons.append(data.any())
        commands = [data[field.lsb] for field in register.fields if field.access is Access.PULSE]
        reasons += [a & b for a, b in combinations(commands, 2)]
        values = [field for field in register.fields if field.access in (Access.WRITE, Access.PUSH)]
        width = max((field.lsb + field.width for field in values), default=WORD_BITS)
        if width < WORD_BITS:
            beyond = data[width:]
            (first, *_) = values
            sign = data[first.width - 1].replicate(len(beyond)) if first.signed else 0
            reasons.append(beyond != sign)
        return Cat(reasons).any()

    def _take(self, m: Module, register: Register, field: Field) -> None:
        port = register.port(field)
        word = self.bus.write_data[field.lsb : field.lsb + field.width]
        match field.access:
            case Access.WRITE:
                m.d.sync += getattr(self, port).eq(word)
            case Access.PULSE:
                m.d.comb += getattr(self, port).eq(word)
            case Access.PUSH:
                m.d.comb += getattr(self, port).eq(1)
            case Access.REWIND:
                m.d.comb += getattr(self, f"rewind_{port}").eq(1)
            case Access.CLEAR:
                with m.If(word):
                    m.d.sync += getattr(self, port).eq(0)


def _shape(field: Field) -> Shape:
    return signed(field.width) if field.signed else unsigned(field.width)
