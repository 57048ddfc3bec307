"""A column of the systolic array: MACs one above the other and the accumulators at their foot."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Member, Out

from golden.config import ArrayConfig
from golden.random_words import Stage
from hw.delay import delayed
from hw.library import written_once
from hw.mac import EVENTS, ChunkAdder, Mac
from hw.random_words import stochastic_stages

__all__ = [
    "Column",
    "activation_layout",
    "load_layout",
    "offset_members",
    "token_layout",
    "weight_layout",
]


def activation_layout(config: ArrayConfig) -> data.StructLayout:
    """An activation on its way along a row, with its halves of random words."""
    return _operand_layout(config, config.silicon.config.x.code_bits)


def weight_layout(config: ArrayConfig) -> data.StructLayout:
    """A weight, with its halves of random words."""
    return _operand_layout(config, config.silicon.config.w.code_bits)


def _operand_layout(config: ArrayConfig, code_bits: int) -> data.StructLayout:
    halves = {
        stage.name.lower(): bits
        for stage, bits in stochastic_stages(config.silicon.config).items()
        if stage is not Stage.OUTER
    }
    return data.StructLayout({"code": code_bits} | halves)


def token_layout(config: ArrayConfig) -> data.StructLayout:
    """What travels beside an activation vector and says what to do with its partial sum."""
    outer_bits = stochastic_stages(config.silicon.config).get(Stage.OUTER)
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
        # With a stochastic outer accumulator: the first vector of a pass; the row's half of a random word.
        | ({"first": 1, "outer": outer_bits} if outer_bits else {})
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

    Each row has two weights: one that multiplies, and the next one, loaded meanwhile, which takes its
    place when the row is told to ``swap``. At the foot the sum of a chunk is added to the outer
    accumulator at the token's index. If a chunk takes several passes, the partial sum is kept in the
    inner memory and enters at the top again. What the next column needs passes one register here.
    Cycles below are enabled cycles. The arithmetic is that of :func:`golden.arith.dot`.

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
    x : In(ArrayLayout(activation_layout, rows))
        One activation for each row; row r is due ``r * acc_latency`` cycles after row 0.
    x_right : Out(ArrayLayout(activation_layout, rows))
        ``x`` one cycle later.
    swap : In(rows)
        The next cycle's activation is multiplied by the next weight; a bit for each row.
    swap_right : Out(rows)
        ``swap`` one cycle later.
    weight : In(weight_layout)
        The next one of the row that ``load`` names.
    outer_half : In, with a stochastic outer accumulator
        With the weight of the last row: the column's half of the random word of the next pass.
    load : In(load_layout)
        The row's next weight changes at the end of this cycle.
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
    result_events : Out(2), with events
        What happened on the way to it, see :data:`hw.mac.EVENTS`.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.macs = [Mac(config.silicon, config.stages, events=config.events) for _ in range(config.rows)]
        self.chunk_adder = ChunkAdder(config.silicon, events=config.events)
        self.acc_lag, self.acc_latency = self.macs[0].acc_lag, self.macs[0].acc_latency
        self.event_bits = len(EVENTS) if config.events else 0
        mac = config.silicon.config
        self.outer_bits = mac.outer_accumulator.random_bits
        activations = data.ArrayLayout(activation_layout(config), config.rows)
        token, load = token_layout(config), load_layout(config)
        members = {
            "en": In(1),
            "x": In(activations),
            "x_right": Out(activations),
            "swap": In(config.rows),
            "swap_right": Out(config.rows),
            "weight": In(weight_layout(config)),
            "load": In(load),
            "load_right": Out(load),
            "foot": In(token),
            "foot_right": Out(token),
            "result": Out(unsigned(mac.outer_accumulator.format.code_bits)),
        }
        if config.passes > 1:
            members |= {"top": In(token), "top_right": Out(token)}
        if self.outer_bits is not None:
            members["outer_half"] = In(self.outer_bits)
        if config.events:
            members["result_events"] = Out(self.event_bits)
        super().__init__(members | offset_members(self.macs[0], self.chunk_adder))

    def elaborate(self, platform):
        m = Module()
        self._register(m, self.x_right, self.x, reset_less=True)
        self._register(m, self.swap_right, self.swap, reset_less=True)
        self._register(m, self.load_right, self.load)
        self._register(m, self.foot_right, self.foot)

        inner = self._inner_memory(m) if self.config.passes > 1 else None
        partial_sum = 0 if inner is None else self._partial_sum_at_top(m, inner)
        for row, mac in enumerate(self.macs):
            m.submodules[f"mac_{row}"] = mac
            partial_sum = self._row(m, row, mac, partial_sum)

        if inner is not None:
            self._write(m, inner, partial_sum, ~self.foot_right.closes)
        self._outer_accumulator(m, partial_sum)
        return m

    def _register(self, m: Module, late: Value, early: Value, *, reset_less: bool = False) -> None:
        register = delayed(m, early, cycles=1, en=self.en, reset_less=reset_less, name="passed")
        m.d.comb += late.eq(register)

    def _row(self, m: Module, row: int, mac: Mac, partial_sum: Value) -> Value:
        """Weights, MAC and its inputs; gives the new partial sum, events above the code."""
        layout = self.weight.shape()
        loaded, weight = (
            Signal(layout, name=f"{name}_{row}", reset_less=True) for name in ("next_weight", "weight")
        )
        with m.If(self.en & self.load.valid & (self.load.row == row)):
            m.d.sync += loaded.eq(self.weight)
        with m.If(self.en & self.swap[row]):
            m.d.sync += weight.eq(loaded)
        x, code_bits = self.x[row], len(mac.acc)
        m.d.comb += [mac.x.eq(x.code), mac.w.eq(weight.code), mac.en.eq(self.en)]
        m.d.comb += mac.acc.eq(Value.cast(partial_sum)[:code_bits])
        for word, half in (("product_word", "product"), ("acc_word", "inner")):
            if word in mac.signature.members:
                m.d.comb += getattr(mac, word).eq(x[half] ^ weight[half])
        self._connect_offsets(m, mac)
        if not self.event_bits:
            return mac.result
        m.d.comb += mac.acc_events.eq(Value.cast(partial_sum)[code_bits:])
        return Cat(mac.result, mac.result_events)

    def _connect_offsets(self, m: Module, part: wiring.Component) -> None:
        m.d.comb += [getattr(part, name).eq(getattr(self, name)) for name in offset_members(part)]

    def _inner_memory(self, m: Module) -> Memory:
        bits = self.config.silicon.config.accumulator.format.code_bits + self.event_bits
        m.submodules.inner_memory = memory = Memory(shape=unsigned(bits), depth=self.config.depth, init=[])
        return memory

    def _partial_sum_at_top(self, m: Module, inner: Memory) -> Value:
        self._register(m, self.top_right, self.top)
        return Mux(self.top_right.opens, 0, self._read(m, inner, self.top))

    def _outer_accumulator(self, m: Module, chunk_sum: Value) -> None:
        adder = self.chunk_adder
        s_bits, code_bits = len(adder.s), len(adder.acc)
        m.submodules.outer_memory = outer = Memory(
            shape=unsigned(code_bits + self.event_bits), depth=self.config.depth, init=[]
        )
        m.submodules.chunk_adder = adder
        stored = Mux(self.foot_right.starts, 0, self._read(m, outer, self.foot))
        m.d.comb += [adder.s.eq(chunk_sum[:s_bits]), adder.acc.eq(stored[:code_bits])]
        total = adder.result
        if self.event_bits:
            m.d.comb += [adder.s_events.eq(chunk_sum[s_bits:]), adder.acc_events.eq(stored[code_bits:])]
            total = Cat(adder.result, adder.result_events)
        if self.outer_bits is not None:
            m.d.comb += adder.outer_word.eq(self.foot_right.outer ^ self._outer_half(m))
        self._connect_offsets(m, adder)
        self._write(m, outer, total, self.foot_right.closes)
        result = delayed(m, total, cycles=1, en=self.en, reset_less=True, name="result_register")
        m.d.comb += self.result.eq(result[:code_bits])
        if self.event_bits:
            m.d.comb += self.result_events.eq(result[code_bits:])

    def _outer_half(self, m: Module) -> Value:
        """The column's half of the random word, loaded and swapped like a weight below the last row."""
        loaded, half = (
            Signal(self.outer_bits, name=name, reset_less=True)
            for name in ("next_outer_half", "outer_half_now")
        )
        with m.If(self.en & self.load.valid & (self.load.row == self.config.rows - 1)):
            m.d.sync += loaded.eq(self.outer_half)
        with m.If(self.en & self.foot.valid & self.foot.first):
            m.d.sync += half.eq(loaded)
        return half

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
