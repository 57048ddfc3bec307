"""A column of the systolic array: MACs one above the other and the accumulators at their foot."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out

from golden.config import ArrayConfig
from hw.delay import delayed
from hw.library import written_once
from hw.mac import ChunkAdder, Mac

__all__ = ["Column", "load_layout", "offset_members", "token_layout"]


def token_layout(config: ArrayConfig) -> data.StructLayout:
    """What travels beside an activation vector and says what to do with its partial sum."""
    return data.StructLayout(
        {
            "valid": 1,  # an activation vector is here; else the rest means nothing
            "index": range(config.depth),  # of the vector in its tile: the address in both memories
            "opens": 1,  # first pass of a chunk: the partial sum starts at +0
            "closes": 1,  # last pass of a chunk: the partial sum goes to the outer accumulator
            "starts": 1,  # first chunk of the job: the outer accumulator starts at +0
            "emits": 1,  # last chunk of the job: the outer accumulator is a result
            "last": 1,  # last vector of the tile
        }
    )


def load_layout(config: ArrayConfig) -> data.StructLayout:
    """What travels beside a row of weights."""
    return data.StructLayout({"valid": 1, "row": range(config.rows)})


def offset_members(*parts: wiring.Component) -> dict[str, Member]:
    """The input ports by which MACs and chunk adders get exponent offsets, those that exist."""
    return {
        name: member
        for part in parts
        for name, member in part.signature.members.items()
        if name in ("product_offset", "acc_offset", "outer_offset")
    }


@written_once("config")
class Column(wiring.Component):
    """Multiplies activations by a column of stationary weights, and sums chunk by chunk over K.

    At the foot the sum of a chunk is added to the outer accumulator at the token's index. If a chunk
    takes several passes, the partial sum is kept in the inner memory and enters at the top again.
    What the next column needs passes one register here. Cycles below are enabled cycles. The
    arithmetic is that of :func:`golden.arith.dot`.

    A memory is read one cycle ahead of use; its words do not survive a read before or during their
    write. That and the skew are left to the caller, :class:`hw.array.SystolicArray`.

    Parameters
    ----------
    config : ArrayConfig
        The array that the column stands in.

    Attributes
    ----------
    acc_lag, acc_latency : int
        Of its MACs, see :class:`hw.mac.Mac`.

    Members
    -------
    en : In(1)
        Registers and memories advance.
    x : In(ArrayLayout(activation code, rows))
        One activation for each row; row r is due ``r * acc_latency`` cycles after row 0.
    x_right : Out(ArrayLayout(activation code, rows))
        ``x`` one cycle later.
    weight : In(weight code)
        For the row that ``load`` names.
    load : In(load_layout)
        The row's weight changes at the end of this cycle.
    load_right : Out(load_layout)
        ``load`` one cycle later.
    top : In(token_layout), if a chunk takes several passes
        Token of the vector whose partial sum enters row 0 in the next cycle: ``1 - acc_lag`` cycles
        ahead of its activation there.
    top_right : Out(token_layout), likewise
        ``top`` one cycle later.
    foot : In(token_layout)
        Token of the vector whose partial sum leaves the last row in the next cycle.
    foot_right : Out(token_layout)
        ``foot`` one cycle later.
    product_offset, acc_offset, outer_offset : In(signed)
        Those that the MAC and the chunk adder have; constant while a vector is under way.
    result : Out(outer code)
        The outer accumulator two cycles after ``foot``.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.macs = [Mac(config.silicon, config.stages) for _ in range(config.rows)]
        self.chunk_adder = ChunkAdder(config.silicon)
        self.acc_lag, self.acc_latency = self.macs[0].acc_lag, self.macs[0].acc_latency
        mac = config.silicon.config
        activations = data.ArrayLayout(unsigned(mac.x.code_bits), config.rows)
        token, load = token_layout(config), load_layout(config)
        members = {
            "en": In(1),
            "x": In(activations),
            "x_right": Out(activations),
            "weight": In(unsigned(mac.w.code_bits)),
            "load": In(load),
            "load_right": Out(load),
            "foot": In(token),
            "foot_right": Out(token),
            "result": Out(unsigned(mac.outer_accumulator.format.code_bits)),
        }
        if config.passes > 1:
            members |= {"top": In(token), "top_right": Out(token)}
        super().__init__(members | offset_members(self.macs[0], self.chunk_adder))

    def elaborate(self, platform):
        m = Module()
        self._register(m, self.x_right, self.x, reset_less=True)
        self._register(m, self.load_right, self.load)
        self._register(m, self.foot_right, self.foot)

        inner = self._inner_memory(m) if self.config.passes > 1 else None
        partial_sum = 0 if inner is None else self._partial_sum_at_top(m, inner)
        for row, mac in enumerate(self.macs):
            m.submodules[f"mac_{row}"] = mac
            weight = Signal(len(self.weight), name=f"weight_{row}", reset_less=True)
            with m.If(self.en & self.load.valid & (self.load.row == row)):
                m.d.sync += weight.eq(self.weight)
            m.d.comb += [mac.x.eq(self.x[row]), mac.w.eq(weight), mac.acc.eq(partial_sum), mac.en.eq(self.en)]
            self._connect_offsets(m, mac)
            partial_sum = mac.result

        if inner is not None:
            self._write(m, inner, partial_sum, ~self.foot_right.closes)
        self._outer_accumulator(m, partial_sum)
        return m

    def _register(self, m: Module, late: Value, early: Value, *, reset_less: bool = False) -> None:
        register = delayed(m, early, cycles=1, en=self.en, reset_less=reset_less, name="passed")
        m.d.comb += late.eq(register)

    def _connect_offsets(self, m: Module, part: wiring.Component) -> None:
        m.d.comb += [getattr(part, name).eq(getattr(self, name)) for name in offset_members(part)]

    def _inner_memory(self, m: Module) -> Memory:
        code = unsigned(self.config.silicon.config.accumulator.format.code_bits)
        m.submodules.inner_memory = memory = Memory(shape=code, depth=self.config.depth, init=[])
        return memory

    def _partial_sum_at_top(self, m: Module, inner: Memory) -> Value:
        self._register(m, self.top_right, self.top)
        return Mux(self.top_right.opens, 0, self._read(m, inner, self.top))

    def _outer_accumulator(self, m: Module, chunk_sum: Value) -> None:
        m.submodules.outer_memory = outer = Memory(
            shape=unsigned(len(self.result)), depth=self.config.depth, init=[]
        )
        m.submodules.chunk_adder = adder = self.chunk_adder
        stored = self._read(m, outer, self.foot)
        m.d.comb += [adder.s.eq(chunk_sum), adder.acc.eq(Mux(self.foot_right.starts, 0, stored))]
        self._connect_offsets(m, adder)
        self._write(m, outer, adder.result, self.foot_right.closes)
        self._register(m, self.result, adder.result, reset_less=True)

    def _read(self, m: Module, memory: Memory, token: data.View) -> Value:
        """The word at the token's index, in the next cycle."""
        port = memory.read_port()
        m.d.comb += [port.en.eq(self.en), port.addr.eq(token.index)]
        return port.data

    def _write(self, m: Module, memory: Memory, word: Value, condition: Value) -> None:
        """Store what the vector at the foot left."""
        port, token = memory.write_port(), self.foot_right
        m.d.comb += [
            port.en.eq(self.en & token.valid & condition),
            port.addr.eq(token.index),
            port.data.eq(word),
        ]
