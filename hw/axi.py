"""Ends of AXI channels: a register slice for streams, and an AXI4-Lite subordinate."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.hdl import ShapeLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "ADDRESS_BITS",
    "WORD_BITS",
    "AxiLite",
    "RegisterBus",
    "RegisterSlice",
    "Response",
    "axi_lite_ports",
    "axi_stream_ports",
    "extended",
    "lanes",
    "masked_codes",
]

ADDRESS_BITS = 12
WORD_BITS = 32


class Response:
    """Codes of ``bresp`` and ``rresp``."""

    OKAY = 0b00
    SLVERR = 0b10


class RegisterSlice(wiring.Component):
    """Passes a stream on through two registers, so that no path crosses it, at a beat a cycle.

    One cycle of latency. ``clear`` drops what is inside, but for a beat that ``o`` is offering: AXI does not
    let that be withdrawn. Without the rule (``withdraws``) it goes, too.

    Parameters
    ----------
    shape : ShapeLike
        Of a beat.
    withdraws : bool
        ``clear`` drops everything: for the side of a stream that the tile itself listens to.

    Members
    -------
    i : In(stream)
        Where beats come from; its ``ready`` is a register.
    o : Out(stream)
        Where they go; ``valid`` and ``payload`` are registers.
    clear : In(1)
        Drop what is inside.
    """

    def __init__(self, shape: ShapeLike, *, withdraws: bool):
        self.shape = shape
        self.withdraws = withdraws
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "clear": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        valid, ready = Signal(), Signal()
        payload, spare = Signal(self.shape, reset_less=True), Signal(self.shape, reset_less=True)
        spare_valid = Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            self.o.valid.eq(valid),
            self.o.payload.eq(payload),
        ]
        taken, given = self.i.valid & ready, ~valid | self.o.ready
        with m.If(given):
            m.d.sync += [
                valid.eq(spare_valid | taken),
                payload.eq(Mux(spare_valid, Value.cast(spare), Value.cast(self.i.payload))),
                spare_valid.eq(0),
                ready.eq(1),
            ]
        with m.Else():
            with m.If(taken):
                m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
            m.d.sync += ready.eq(~(spare_valid | taken))
        with m.If(self.clear):
            m.d.sync += [spare_valid.eq(0), ready.eq(1), valid.eq(0 if self.withdraws else ~given)]
        return m


def lanes(count: int, bits: int) -> data.StructLayout:
    """The payload of an AXI4-Stream beat: lanes side by side, the first in the lowest bits."""
    width = count * bits
    return data.StructLayout({"tdata": width, "tkeep": width // 8, "tlast": 1})


def masked_codes(beat: data.View, count: int, bits: int, code_bits: int) -> list[Value]:
    """A code from each lane; code zero from a lane none of whose bytes is kept."""
    size = bits // 8
    return [
        Mux(beat.tkeep[i * size : (i + 1) * size].any(), beat.tdata[i * bits :][:code_bits], 0)
        for i in range(count)
    ]


def extended(code: Value, bits: int, *, signed: bool) -> Value:
    """A code in a lane: sign- or zero-extended."""
    fill = code[-1] if signed else Const(0, 1)
    return Cat(code, fill.replicate(bits - Shape.cast(code.shape()).width))


class RegisterBus(wiring.Signature):
    """Single-cycle accesses to registers, as :class:`AxiLite` makes them.

    ``write`` is high for a cycle with ``write_word`` (a word's address) and ``write_data``; in that cycle
    ``write_error`` says that it was refused. ``read_data`` and ``read_error`` are those of ``read_word``:
    reading has no effect.
    """

    def __init__(self):
        word = ADDRESS_BITS - 2
        super().__init__(
            {
                "write": Out(1),
                "write_word": Out(word),
                "write_data": Out(WORD_BITS),
                "write_error": In(1),
                "read_word": Out(word),
                "read_data": In(WORD_BITS),
                "read_error": In(1),
            }
        )


class AxiLite(wiring.Component):
    """An AXI4-Lite subordinate of 32-bit words, for registers that answer in one cycle.

    Every output is a register. Address and data of a write may come in either order. One write and one
    read are under way at a time, independently. A write takes whole words: other strobes than 1111 are
    answered SLVERR and not carried out, but for 0000, which writes nothing and is OKAY. The lowest
    two address bits and ``prot`` are ignored.

    Members
    -------
    aw*, w*, b*, ar*, r* : AXI4-Lite
        The five channels.
    bus : Out(RegisterBus)
        To the registers.
    """

    def __init__(self):
        super().__init__(axi_lite_ports() | {"bus": Out(RegisterBus())})

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m: Module) -> None:
        bus = self.bus
        have_address, have_data = Signal(), Signal()
        address, word = Signal(ADDRESS_BITS - 2), Signal(WORD_BITS)
        strobes = Signal(WORD_BITS // 8)
        awready, wready, bvalid, error = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.awready.eq(awready),
            self.wready.eq(wready),
            self.bvalid.eq(bvalid),
            self.bresp.eq(Mux(error, Response.SLVERR, Response.OKAY)),
        ]
        # Ready is a register, so it falls a cycle after the beat that fills the holding register.
        address_now = self.awvalid & awready
        data_now = self.wvalid & wready
        with m.If(address_now):
            m.d.sync += [address.eq(self.awaddr[2:]), have_address.eq(1)]
        with m.If(data_now):
            m.d.sync += [word.eq(self.wdata), strobes.eq(self.wstrb), have_data.eq(1)]
        perform = Signal()
        m.d.comb += [
            perform.eq(have_address & have_data & ~bvalid),
            bus.write.eq(perform & strobes.all()),
            bus.write_word.eq(address),
            bus.write_data.eq(word),
        ]
        m.d.sync += [
            awready.eq(~(have_address | address_now)),
            wready.eq(~(have_data | data_now)),
        ]
        with m.If(perform):
            partial = strobes.any() & ~strobes.all()
            m.d.sync += [
                have_address.eq(0),
                have_data.eq(0),
                bvalid.eq(1),
                error.eq(partial | (strobes.all() & bus.write_error)),
            ]
        with m.If(bvalid & self.bready):
            m.d.sync += bvalid.eq(0)

    def _read(self, m: Module) -> None:
        bus = self.bus
        have_address, address = Signal(), Signal(ADDRESS_BITS - 2)
        arready, rvalid, word, error = Signal(), Signal(), Signal(WORD_BITS), Signal()
        address_now = self.arvalid & arready
        perform = Signal()
        m.d.comb += [
            self.arready.eq(arready),
            self.rvalid.eq(rvalid),
            self.rdata.eq(word),
            self.rresp.eq(Mux(error, Response.SLVERR, Response.OKAY)),
            perform.eq(have_address & ~rvalid),
            bus.read_word.eq(address),
        ]
        m.d.sync += arready.eq(~(have_address | address_now))
        with m.If(address_now):
            m.d.sync += [address.eq(self.araddr[2:]), have_address.eq(1)]
        with m.If(perform):
            m.d.sync += [
                have_address.eq(0),
                rvalid.eq(1),
                error.eq(bus.read_error),
                word.eq(Mux(bus.read_error, 0, bus.read_data)),
            ]
        with m.If(rvalid & self.rready):
            m.d.sync += rvalid.eq(0)


def axi_lite_ports(prefix: str = "") -> dict[str, wiring.Member]:
    """The ports of an AXI4-Lite subordinate, in the standard's order and spelling."""
    ports = {
        "awaddr": In(ADDRESS_BITS),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(WORD_BITS),
        "wstrb": In(WORD_BITS // 8),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(ADDRESS_BITS),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(WORD_BITS),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }
    return {prefix + name: member for name, member in ports.items()}


def axi_stream_ports(prefix: str, width: int, *, source: bool) -> dict[str, wiring.Member]:
    """The ports of an AXI4-Stream of ``width`` bits, of its source or its sink."""
    forward, back = (Out, In) if source else (In, Out)
    return {
        f"{prefix}_tdata": forward(width),
        f"{prefix}_tkeep": forward(width // 8),
        f"{prefix}_tlast": forward(1),
        f"{prefix}_tvalid": forward(1),
        f"{prefix}_tready": back(1),
    }
