"""The lanes of an output stage side by side, and the memory of their parameters."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from golden.tile import TileConfig
from hw.output import OutputLane, channel_layout

__all__ = ["OutputChannels", "OutputPipeline"]


class OutputChannels(wiring.Component):
    """The memory of channel parameters: filled one channel at a time, read a tile of N at a time.

    Parameters
    ----------
    config : TileConfig
        Columns and channels.

    Members
    -------
    rewind : In(1)
        The next push is channel 0.
    push : In(1)
        Store ``entry`` and move on; not with ``full``.
    entry : In(channel_layout)
        Parameters of channel ``channel``.
    channel : Out
        The channel that the next push fills.
    full : Out(1)
        There is none.
    start : In(1)
        A product begins: the first tile of N.
    next_tile : In(1)
        The last row of a tile of N is here; from the next cycle on, the next.
    tile : Out(ArrayLayout(channel_layout, cols))
        Parameters of the tile's columns.
    """

    def __init__(self, config: TileConfig):
        self.config = config
        self.layout = channel_layout(config)
        super().__init__(
            {
                "rewind": In(1),
                "push": In(1),
                "entry": In(self.layout),
                "channel": Out(range(config.output.channels + 1)),
                "full": Out(1),
                "start": In(1),
                "next_tile": In(1),
                "tile": Out(data.ArrayLayout(self.layout, config.array.cols)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cols, channels = self.config.array.cols, self.config.output.channels
        words = -(-channels // cols)
        m.submodules.memory = memory = Memory(
            shape=data.ArrayLayout(unsigned(self.layout.size), cols), depth=words, init=[]
        )
        write, read = memory.write_port(granularity=1), memory.read_port()

        channel, lane, word = Signal(range(channels + 1)), Signal(range(cols)), Signal(range(words))
        m.d.comb += [
            self.channel.eq(channel),
            self.full.eq(channel == channels),
            write.addr.eq(word),
            write.en.eq(Mux(self.push, Const(1, cols) << lane, 0)),
        ]
        m.d.comb += [write.data[i].eq(self.entry.as_value()) for i in range(cols)]
        with m.If(self.rewind):
            m.d.sync += [channel.eq(0), lane.eq(0), word.eq(0)]
        with m.Elif(self.push):
            m.d.sync += [channel.eq(channel + 1), lane.eq(lane + 1)]
            with m.If(lane == cols - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1)]

        tile, following = Signal(range(words)), Signal(range(words))
        m.d.comb += following.eq(Mux(self.start, 0, tile + self.next_tile))
        m.d.sync += tile.eq(following)
        m.d.comb += [read.en.eq(1), read.addr.eq(following)]
        m.d.comb += [self.tile[i].as_value().eq(read.data[i]) for i in range(cols)]
        return m


class OutputPipeline(wiring.Component):
    """The lanes of the output stage side by side, in a stream of rows at a beat a cycle.

    Back-pressure freezes all lanes: ``i.ready`` follows ``o.ready`` combinationally.

    Parameters
    ----------
    config : TileConfig
        What the lanes do.
    beside : ShapeLike
        What a row carries with it, unchanged.

    Members
    -------
    i : In(stream)
        ``codes`` of the outer accumulator and ``beside``. The row's parameters stand at ``tile`` in
        its cycle, and change behind it only.
    tile : In(ArrayLayout(channel_layout, cols))
        Parameters of the columns.
    relu, offset : In
        Of :class:`OutputLane`.
    o : Out(stream)
        ``codes`` of the target, ``overflow`` by column, and ``beside``.
    """

    def __init__(self, config: TileConfig, beside):
        self.config = config
        cols, outer, target = config.array.cols, config.outer.format, config.output.target
        self.lanes = [OutputLane(config) for _ in range(cols)]
        row = {"codes": data.ArrayLayout(unsigned(outer.code_bits), cols), "beside": beside}
        result = {
            "codes": data.ArrayLayout(unsigned(target.code_bits), cols),
            "overflow": cols,
            "beside": beside,
        }
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout(row))),
                "tile": In(data.ArrayLayout(channel_layout(config), cols)),
                "relu": In(1),
                "offset": In(signed(config.output_offset_range.width)),
                "o": Out(stream.Signature(data.StructLayout(result))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        en = Signal()
        valid, beside = self.i.valid, Value.cast(self.i.payload.beside)
        for cycle in range(1, self.lanes[0].latency + 1):
            valid_now, beside_now = Signal(name=f"valid_{cycle}"), Signal.like(beside, name=f"beside_{cycle}")
            with m.If(en):
                m.d.sync += [valid_now.eq(valid), beside_now.eq(beside)]
            valid, beside = valid_now, beside_now
        m.d.comb += [
            en.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(en),
            self.o.valid.eq(valid),
            Value.cast(self.o.payload.beside).eq(beside),
        ]
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane_{i}"] = lane
            m.d.comb += [
                lane.en.eq(en),
                lane.code.eq(self.i.payload.codes[i]),
                lane.channel.eq(self.tile[i]),
                lane.relu.eq(self.relu),
                lane.offset.eq(self.offset),
                self.o.payload.codes[i].eq(lane.result),
                self.o.payload.overflow[i].eq(lane.overflow),
            ]
        return m
