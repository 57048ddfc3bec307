"""Halves of random words at the edges of an array; their definition is in :mod:`golden.random_words`.

A generator runs ahead of the beats that take its halves, so its pipeline delays nothing but the first.
"""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import ArrayConfig, MacConfig
from golden.random_words import K_STEP, MIX_STEPS, Stage

__all__ = ["COLUMN_HALVES_LATENCY", "ColumnHalves", "RowHalves", "key_name", "stochastic_stages"]

_WORD = unsigned(32)
_REGISTERED_STEPS = (1, 3)  # of a mixer: two or three additions to a cycle
_LATENCY = len(_REGISTERED_STEPS)

#: Cycles from ``start`` to the first halves, besides one for each column.
COLUMN_HALVES_LATENCY = 1 + 2 * _LATENCY


def stochastic_stages(config: MacConfig) -> dict[Stage, int]:
    """The stages that round stochastically, with the bits of their random words."""
    parts = {
        Stage.PRODUCT: config.product,
        Stage.INNER: config.accumulator,
        Stage.OUTER: config.outer_accumulator,
    }
    return {
        stage: part.random_bits
        for stage, part in parts.items()
        if part is not None and part.random_bits is not None
    }


def key_name(stage: Stage, side: str) -> str:
    """The port and job field of a key: ``inner_row_key``."""
    return f"{stage.name.lower()}_{side}_key"


def _mixed(m: Module, value: Value, en: Value, name: str) -> Value:
    """:func:`golden.random_words.mix`, some enabled cycles later."""
    for i, step in enumerate(MIX_STEPS):
        mixed = Signal(_WORD, name=f"{name}_{i}", reset_less=True)
        if i in _REGISTERED_STEPS:
            with m.If(en):
                m.d.sync += mixed.eq(step(value))
        else:
            m.d.comb += mixed.eq(step(value))
        value = mixed
    return value


def _later(m: Module, value: Value, en: Value, name: str) -> Value:
    """The value as many enabled cycles later as a mixer takes."""
    for i in range(_LATENCY):
        register = Signal(value.shape(), name=f"{name}_{i}", reset_less=True)
        with m.If(en):
            m.d.sync += register.eq(value)
        value = register
    return value


class RowHalves(wiring.Component):
    """Halves that belong to rows of the output, for the activation vectors of a job in their order.

    After ``start`` it counts through the vectors of pass after pass, without end.

    Parameters
    ----------
    config : ArrayConfig
        The array whose edge this is.

    Members
    -------
    start : In(1)
        A job begins in the next cycle; whatever is under way is dropped.
    last_index : In
        Activation vectors of the job, less one.
    m_base : In(32)
        Number of its first row in the output.
    product_row_key, inner_row_key, outer_row_key : In(32), of the stages that are stochastic
        Keys of the matrix product.
    taken : In(1)
        The halves are used in this cycle; only while ``valid``.
    valid : Out(1)
        Halves are there.
    product, inner : Out(ArrayLayout(random bits, rows)), of the stages that are stochastic
        For each row of the array.
    outer : Out(random bits), likewise
        For the sum of the chunk that the pass belongs to.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.stages = stochastic_stages(config.silicon.config)
        members = {
            "start": In(1),
            "last_index": In(range(config.depth)),
            "m_base": In(_WORD),
            "taken": In(1),
            "valid": Out(1),
        }
        for stage, bits in self.stages.items():
            members[key_name(stage, "row")] = In(_WORD)
            inside = stage is not Stage.OUTER
            members[stage.name.lower()] = Out(data.ArrayLayout(bits, config.rows) if inside else bits)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        advance = ~self.valid | self.taken
        index = Signal(range(config.depth))
        position = _Position(m, config)
        with m.If(self.start):
            m.d.sync += index.eq(0)
            position.restart(m)
        with m.Elif(advance):
            m.d.sync += index.eq(index + 1)
            with m.If(index == self.last_index):
                m.d.sync += index.eq(0)
                position.next_pass(m)

        line = Signal(_WORD)
        m.d.comb += line.eq(self.m_base + index)
        step, chunk = (
            _later(m, each, advance, name)
            for each, name in ((position.step, "step"), (position.chunk_step, "chunk_step"))
        )
        for stage, bits in self.stages.items():
            name = stage.name.lower()
            of_line = _mixed(m, getattr(self, key_name(stage, "row")) ^ line, advance, f"{name}_line")
            if stage is Stage.OUTER:
                m.d.comb += self.outer.eq(_mixed(m, of_line ^ chunk, advance, name)[32 - bits :])
                continue
            for row in range(config.rows):
                at = Signal(_WORD, name=f"{name}_at_{row}")
                m.d.comb += at.eq(of_line ^ (step + _times_step(row))[:32])
                half = _mixed(m, at, advance, f"{name}_{row}")
                m.d.comb += getattr(self, name)[row].eq(half[32 - bits :])
        _delay_line(m, self.valid, 2 * _LATENCY, advance, self.start)
        return m


class ColumnHalves(wiring.Component):
    """Halves that belong to columns of the output, for the rows of weights of a job in their order.

    After ``start`` it first hashes the number of each column, one a cycle, and then counts through the
    rows of pass after pass, without end.

    Parameters
    ----------
    config : ArrayConfig
        The array whose edge this is.

    Members
    -------
    start : In(1)
        A job begins in the next cycle; whatever is under way is dropped.
    n_base : In(32)
        Number of the array's column 0 in the output.
    product_column_key, inner_column_key, outer_column_key : In(32), of the stages that are stochastic
        Keys of the matrix product.
    taken : In(1)
        The halves are used in this cycle; only while ``valid``.
    valid : Out(1)
        Halves are there.
    product, inner, outer : Out(ArrayLayout(random bits, cols)), of the stages that are stochastic
        For each column; ``outer`` for the sum of the chunk that the pass belongs to.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.stages = stochastic_stages(config.silicon.config)
        members = {"start": In(1), "n_base": In(_WORD), "taken": In(1), "valid": Out(1)}
        for stage, bits in self.stages.items():
            members[key_name(stage, "column")] = In(_WORD)
            members[stage.name.lower()] = Out(data.ArrayLayout(bits, config.cols))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # The number of each column, then as many cycles as its hash takes.
        cycles = config.cols + _LATENCY
        column, hashed = Signal(range(cycles + 1)), Signal()
        m.d.comb += hashed.eq(column == cycles)
        with m.If(self.start):
            m.d.sync += column.eq(0)
        with m.Elif(~hashed):
            m.d.sync += column.eq(column + 1)

        advance = hashed & (~self.valid | self.taken)
        row = Signal(range(config.rows))
        position = _Position(m, config)
        row_step = Signal(_WORD)
        with m.If(self.start):
            m.d.sync += [row.eq(0), row_step.eq(0)]
            position.restart(m)
        with m.Elif(advance):
            m.d.sync += [row.eq(row + 1), row_step.eq(row_step + K_STEP)]
            with m.If(row == config.rows - 1):
                m.d.sync += row.eq(0)
                position.next_pass(m)

        line = Signal(_WORD)
        m.d.comb += line.eq(self.n_base + column)
        for stage, bits in self.stages.items():
            name = stage.name.lower()
            key = getattr(self, key_name(stage, "column"))
            new = _mixed(m, key ^ line, Const(1), f"{name}_line")
            lines = [Signal(_WORD, name=f"{name}_line_of_{i}", reset_less=True) for i in range(config.cols)]
            with m.If(~hashed):
                m.d.sync += [
                    lines[i].eq(lines[i + 1] if i + 1 < config.cols else new) for i in range(config.cols)
                ]
            at = position.chunk_step if stage is Stage.OUTER else row_step
            for i, of_line in enumerate(lines):
                half = _mixed(m, of_line ^ at, advance, f"{name}_{i}")
                m.d.comb += getattr(self, name)[i].eq(half[32 - bits :])
        _delay_line(m, self.valid, _LATENCY, advance, self.start)
        return m


class _Position:
    """Where a pass stands along k: multiples of the step that :mod:`golden.random_words` hashes."""

    def __init__(self, m: Module, config: ArrayConfig):
        self.config = config
        self.step = Signal(_WORD, name="pass_step")  #: Of the pass's first product.
        self.chunk_step = Signal(_WORD)  #: Of its chunk.
        self.chunk_pass = Signal(range(config.passes))

    def restart(self, m: Module) -> None:
        m.d.sync += [self.step.eq(0), self.chunk_step.eq(0), self.chunk_pass.eq(0)]

    def next_pass(self, m: Module) -> None:
        m.d.sync += [
            self.step.eq(self.step + _times_step(self.config.rows)),
            self.chunk_pass.eq(self.chunk_pass + 1),
        ]
        with m.If(self.chunk_pass == self.config.passes - 1):
            m.d.sync += [self.chunk_pass.eq(0), self.chunk_step.eq(self.chunk_step + K_STEP)]


def _times_step(count: int) -> int:
    return count * K_STEP % 2**32


def _delay_line(m: Module, valid: Value, cycles: int, advance: Value, start: Value) -> None:
    """``valid`` some enabled cycles after ``start``."""
    filled = Signal(cycles)
    m.d.comb += valid.eq(filled[-1])
    with m.If(start):
        m.d.sync += filled.eq(0)
    with m.Elif(advance):
        m.d.sync += filled.eq(Cat(Const(1, 1), filled[:-1]))
