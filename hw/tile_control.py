"""What a tile is doing: idle, busy or halted; and what it counted while it was busy."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import ArrayConfig
from golden.tile import DIMENSION_BITS, TileConfig
from hw.array import K_BITS

__all__ = ["COUNT_BITS", "ERRORS", "ChunkCounter", "TileControl", "saturating_count"]

COUNT_BITS = 32

#: Outputs of the control, and fields of the register STATUS.
ERRORS = ("start_busy", "start_halted", "bad_m", "bad_n", "bad_k", "weights_last", "activations_last")


class TileControl(wiring.Component):
    """Starts a product if it can be, ends it, and gives up what cannot go on.

    Idle, a start is checked and makes the tile busy. The last result makes it idle again, a stream that
    ends in a wrong place halts it. A clear makes it idle whatever it did.

    Parameters
    ----------
    config : TileConfig
        Gives the limit of N.

    Members
    -------
    start, clear : In(1)
        Commands; not together.
    m, n, k : In
        The dimensions.
    weights_wrong, activations_wrong : In(1)
        A beat had ``tlast`` and was not the last of the product, or the other way round.
    finished : In(1)
        The last result is taken.
    busy, halted : Out(1)
        What it is doing; idle if neither.
    begins : Out(1)
        A product begins: busy from the next cycle on.
    done : Out(1)
        The product is complete.
    flush : Out(1)
        A register: everything under way is to be emptied in this cycle.
    start_busy, start_halted, bad_m, bad_n, bad_k, weights_last, activations_last : Out(1)
        An error, in this cycle.
    """

    def __init__(self, config: TileConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "clear": In(1),
                "m": In(unsigned(DIMENSION_BITS)),
                "n": In(unsigned(DIMENSION_BITS)),
                "k": In(unsigned(K_BITS)),
                "weights_wrong": In(1),
                "activations_wrong": In(1),
                "finished": In(1),
                "busy": Out(1),
                "halted": Out(1),
                "begins": Out(1),
                "done": Out(1),
                "flush": Out(1),
            }
            | {error: Out(1) for error in ERRORS}
        )

    def elaborate(self, platform):
        m = Module()
        busy, halted, flush = Signal(), Signal(), Signal()
        idle_start = self.start & ~busy & ~halted
        m.d.comb += [
            self.busy.eq(busy),
            self.halted.eq(halted),
            self.flush.eq(flush),
            self.start_busy.eq(self.start & busy),
            self.start_halted.eq(self.start & halted),
            self.bad_m.eq(idle_start & (self.m == 0)),
            self.bad_n.eq(idle_start & ((self.n == 0) | (self.n > self.config.max_n))),
            self.bad_k.eq(idle_start & (self.k == 0)),
            self.begins.eq(idle_start & ~(self.bad_m | self.bad_n | self.bad_k)),
            self.weights_last.eq(busy & self.weights_wrong),
            self.activations_last.eq(busy & self.activations_wrong),
            self.done.eq(busy & self.finished),
        ]
        m.d.sync += flush.eq(0)
        with m.If(self.clear):
            m.d.sync += [busy.eq(0), halted.eq(0), flush.eq(1)]
        with m.Elif(self.weights_last | self.activations_last):
            m.d.sync += [busy.eq(0), halted.eq(1), flush.eq(1)]
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        with m.Elif(self.begins):
            m.d.sync += busy.eq(1)
        return m


class ChunkCounter(wiring.Component):
    """Counts the chunks of a dot product by the passes that went into the array.

    Parameters
    ----------
    config : ArrayConfig
        Gives the passes of a chunk.

    Members
    -------
    begins : In(1)
        A product begins.
    pass_end, block_end : In(1)
        The last activations of a pass were taken; and those of a block.
    count : Out
        Chunks of the first block, its last and short one included.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({"begins": In(1), "pass_end": In(1), "block_end": In(1), "count": Out(K_BITS)})

    def elaborate(self, platform):
        m = Module()
        passes = self.config.passes
        index, counting = Signal(range(passes)), Signal()
        with m.If(self.begins):
            m.d.sync += [self.count.eq(0), index.eq(0), counting.eq(1)]
        with m.Elif(counting & self.pass_end):
            m.d.sync += index.eq(index + 1)
            with m.If((index == passes - 1) | self.block_end):
                m.d.sync += [index.eq(0), self.count.eq(self.count + 1)]
            with m.If(self.block_end):
                m.d.sync += counting.eq(0)
        return m


def saturating_count(m: Module, begin: Value, more: Value, name: str) -> Value:
    """A register that adds ``more`` in each cycle, from 0 at ``begins``, and stays at its largest number."""
    count, total = Signal(COUNT_BITS, name=name), Signal(COUNT_BITS + 1, name=f"{name}_total")
    m.d.comb += total.eq(count + more)
    m.d.sync += count.eq(Mux(begin, 0, Mux(total[-1], 2**COUNT_BITS - 1, total[:COUNT_BITS])))
    return count
