"""Where in a whole product a stream is: counters over tiles of N, blocks of M, passes of K and beats."""

from __future__ import annotations

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import ArrayConfig
from golden.tile import DIMENSION_BITS
from hw.array import K_BITS

__all__ = ["BeatWalk", "BlockWalk"]


class BlockWalk(wiring.Component):
    """Walks through the blocks of a product: for each tile of N, for each block of M.

    Parameters
    ----------
    config : ArrayConfig
        ``cols`` is a tile of N, ``depth`` a block of M.

    Members
    -------
    start : In(1)
        From the next cycle on, the first block of a product.
    m, n : In
        Its rows and columns, constant from ``start`` to the end.
    step : In(1)
        On to the next block.
    active : Out(1)
        There is a block, not yet the end.
    rows : Out
        Rows of this block.
    cols : Out
        Columns of this tile.
    last_of_tile, last : Out(1)
        Last block of this tile of N; of the product.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "m": In(unsigned(DIMENSION_BITS)),
                "n": In(unsigned(DIMENSION_BITS)),
                "step": In(1),
                "active": Out(1),
                "rows": Out(range(config.depth + 1)),
                "cols": Out(range(config.cols + 1)),
                "last_of_tile": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth, cols = self.config.depth, self.config.cols
        m_left, n_left = Signal(DIMENSION_BITS), Signal(DIMENSION_BITS)
        active = Signal()
        m.d.comb += [
            self.active.eq(active),
            self.last_of_tile.eq(m_left <= depth),
            self.last.eq(self.last_of_tile & (n_left <= cols)),
            self.rows.eq(Mux(self.last_of_tile, m_left, depth)),
            self.cols.eq(Mux(n_left <= cols, n_left, cols)),
        ]
        with m.If(self.start):
            m.d.sync += [active.eq(1), m_left.eq(self.m), n_left.eq(self.n)]
        with m.Elif(self.step):
            m.d.sync += m_left.eq(m_left - depth)
            with m.If(self.last_of_tile):
                m.d.sync += [m_left.eq(self.m), n_left.eq(n_left - cols)]
            with m.If(self.last):
                m.d.sync += active.eq(0)
        return m


class BeatWalk(wiring.Component):
    """Counts the beats of a stream of operands: in each block, for each pass of K, so many beats.

    Parameters
    ----------
    config : ArrayConfig
        ``rows`` products are a pass.
    beats : int or None
        Beats of a pass; None if it has as many as the block has rows.

    Members
    -------
    start : In(1)
        From the next cycle on, the first beat of a product.
    m, n, k : In
        Its dimensions, constant from ``start`` to the end.
    step : In(1)
        A beat was taken.
    active : Out(1)
        Beats are missing.
    last_of_pass, last_of_block, last : Out(1)
        This is the last beat of its pass; of its block; of the product.
    """

    def __init__(self, config: ArrayConfig, *, beats: int | None):
        self.config = config
        self.beats = beats
        super().__init__(
            {
                "start": In(1),
                "m": In(unsigned(DIMENSION_BITS)),
                "n": In(unsigned(DIMENSION_BITS)),
                "k": In(unsigned(K_BITS)),
                "step": In(1),
                "active": Out(1),
                "last_of_pass": Out(1),
                "last_of_block": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = self.config.rows
        m.submodules.blocks = blocks = BlockWalk(self.config)
        k_left = Signal(K_BITS)
        beat = Signal(range(self.beats or self.config.depth))
        m.d.comb += [
            blocks.start.eq(self.start),
            blocks.m.eq(self.m),
            blocks.n.eq(self.n),
            blocks.step.eq(self.step & self.last_of_block),
            self.active.eq(blocks.active),
            self.last_of_pass.eq(beat == (self.beats or blocks.rows) - 1),
            self.last_of_block.eq(self.last_of_pass & (k_left <= rows)),
            self.last.eq(self.last_of_block & blocks.last),
        ]
        with m.If(self.start):
            m.d.sync += [beat.eq(0), k_left.eq(self.k)]
        with m.Elif(self.step):
            m.d.sync += beat.eq(beat + 1)
            with m.If(self.last_of_pass):
                m.d.sync += [beat.eq(0), k_left.eq(k_left - rows)]
            with m.If(self.last_of_block):
                m.d.sync += k_left.eq(self.k)
        return m
