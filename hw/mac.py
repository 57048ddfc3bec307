"""The multiply-accumulate, and the adder of chunk sums: the contract's two steps as gates."""

from __future__ import annotations

from dataclasses import replace

from amaranth import Module, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedAccumulator, FixedFormat, Silicon
from golden.datapath import offset_ranges
from hw.library import written_once
from hw.multiplier import IntegerMultiplier, Multiplier, NormalMultiplier
from hw.step import Number, Rounded, add_fixed, add_float, add_integer, quantize_product

__all__ = ["EVENTS", "ChunkAdder", "Mac"]

EVENTS = ("overflow", "underflow")  #: From the lowest bit of every word of events.


@written_once("silicon", "stages", "events")
class Mac(wiring.Component):
    """Adds one rounded product to a running sum: ``result = Qacc(acc + Qprod(x * w))``.

    The sum comes in and goes out, as in the column of a systolic array; nothing is accumulated here.
    ``result`` is a register. Data registers have no reset. The arithmetic is that of
    :func:`golden.arith.fmaq`.

    Parameters
    ----------
    silicon : Silicon
        Formats and policies, all fixed when the RTL is generated. Biases come as offsets, in registers
        or as constants.
    stages : int
        Registers besides the output register, 0 to 2. The first follows the product. The second stands
        before the normaliser of a float accumulator, and before the adder of a fixed one, where it delays
        the product but not the sum. With integers from end to end the two meet, for a tool to retime.
    events : bool
        The sum carries with it what happened to it.

    Attributes
    ----------
    acc_lag : int
        Cycles by which ``acc`` is sampled after the ``x`` and ``w`` it belongs to.
    acc_latency : int
        Cycles from ``acc`` to ``result``.

    Members
    -------
    x, w : In
        Operand codes.
    acc : In
        Code of the running sum.
    product_offset : In(signed), unless hard-wired
        ``Offsets.product``; to be constant while a product is under way.
    acc_offset : In(signed), unless hard-wired, with a product quantizer only
        ``Offsets.acc``; likewise.
    product_word, acc_word : In, of the stochastic roundings that there are
        Random words for the product and for the sum that it is added to; sampled with ``x`` and ``w``.
    acc_events : In(2), if ``events``
        :data:`EVENTS` on the way to the running sum; sampled with ``acc``.
    en : In(1)
        All registers advance.
    result : Out
        Code of the new sum.
    result_events : Out(2), if ``events``
        The same of the new sum.
    """

    def __init__(self, silicon: Silicon, stages: int, *, events: bool):
        if stages not in (0, 1, 2):
            raise ValueError(f"stages must be 0, 1 or 2, not {stages}")
        self.silicon = silicon
        self.stages = stages
        self.events = events
        config = silicon.config
        fixed = isinstance(config.accumulator, FixedAccumulator)
        self.acc_lag = stages if fixed else min(stages, 1)
        self.acc_latency = 1 if fixed else max(stages, 1)
        acc_bits = config.accumulator.format.code_bits
        members = {
            "x": In(unsigned(config.x.code_bits)),
            "w": In(unsigned(config.w.code_bits)),
            "acc": In(unsigned(acc_bits)),
            "en": In(1),
            "result": Out(unsigned(acc_bits)),
        }
        if not silicon.hardwired:
            ranges = offset_ranges(config)
            members["product_offset"] = In(signed(ranges.product.width))
            if config.product is not None:
                members["acc_offset"] = In(signed(ranges.acc.width))
        for name, part in (("product_word", config.product), ("acc_word", config.accumulator)):
            if part is not None and part.random_bits is not None:
                members[name] = In(unsigned(part.random_bits))
        if events:
            members |= {"acc_events": In(len(EVENTS)), "result_events": Out(len(EVENTS))}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config = self.silicon.config

        def register(value: Value) -> Value:
            held = Signal.like(value, name="stage", reset_less=True)
            with m.If(self.en):
                m.d.sync += held.eq(value)
            return held

        first = register if self.stages >= 1 else _wire
        second = register if self.stages == 2 else _wire

        product_events = None
        match config.accumulator:
            case FixedAccumulator() as accumulator if config.all_integer:
                m.submodules.multiplier = multiplier = IntegerMultiplier(config)
                discard = accumulator.format.lsb - config.product_lsb
                total = add_integer(m, self.acc, first(multiplier.product), discard, accumulator, second)
            case FixedAccumulator() as accumulator:
                product = self._product(m, multiplier := Multiplier(config)).registered(first)
                total = add_fixed(m, self.acc, product, accumulator, second)
            case accumulator:
                multiplier = (NormalMultiplier if NormalMultiplier.serves(config) else Multiplier)(config)
                product = self._product(m, multiplier).normalized(m, "product_normalizer")
                if config.product is None:
                    addend = product.registered(first)
                else:
                    word = self._word("product_word")
                    rounded, number = quantize_product(m, product, config.product, word, first)
                    product_events = rounded.events
                    addend = self._addend(m, number)
                acc_word = self._word("acc_word")
                if acc_word is not None:
                    acc_word = second(first(acc_word))
                total = add_float(m, self.acc, addend, accumulator, second, acc_word)

        m.d.comb += [multiplier.x.eq(self.x), multiplier.w.eq(self.w), self.result.eq(register(total.code))]
        if self.events:
            before = second(self.acc_events) if self.acc_latency == 2 else self.acc_events
            if product_events is not None:
                before |= second(first(product_events))
            m.d.comb += self.result_events.eq(register(before | total.events))
        return m

    def _word(self, name: str) -> Value | None:
        return getattr(self, name) if name in self.signature.members else None

    def _addend(self, m: Module, number: Number) -> Number:
        """The rounded product, normalised, its exponent in the accumulator's bias."""
        config = self.silicon.config
        offset = config.offsets.acc if self.silicon.hardwired else self.acc_offset
        return number.offset_by(offset, offset_ranges(config).acc).normalized(m, "addend_normalizer")

    def _product(self, m: Module, multiplier: Multiplier | NormalMultiplier) -> Number:
        """The exact product, its exponent in the bias of what takes it."""
        config = self.silicon.config
        m.submodules.multiplier = multiplier
        shape = multiplier.shape
        offset = config.offsets.product if self.silicon.hardwired else self.product_offset
        product = Number(
            negative=multiplier.negative,
            significand=multiplier.significand,
            exponent=multiplier.exponent,
            man_bits=shape.man_bits,
            exponents=range(shape.max_exp_code + 1),
            leading_zeros=shape.leading_zeros,
        )
        if isinstance(multiplier, NormalMultiplier):
            product = replace(
                product,
                man_bits=shape.significand_bits - 1,
                exponents=range(shape.max_exp_code + 2),
                leading_zeros=0,
                zero_flag=multiplier.zero,
            )
        return product.offset_by(offset, offset_ranges(config).product)


def _wire(value: Value) -> Value:
    return value


@written_once("silicon", "events")
class ChunkAdder(wiring.Component):
    """Adds the sum of a chunk to the outer accumulator: ``result = Qouter(acc + s)``.

    Combinational. The arithmetic is that of :func:`golden.arith.chunk_add`.

    Parameters
    ----------
    silicon : Silicon
        Gives the inner and the outer accumulator.
    events : bool
        The sum carries with it what happened to it.

    Members
    -------
    s : In
        Code of the chunk's sum, in the inner accumulator's format.
    acc : In
        Code of the outer sum.
    outer_offset : In(signed), unless hard-wired or from a fixed accumulator to a fixed one
        ``Offsets.outer``.
    outer_word : In, if the outer accumulator rounds stochastically
        Random word.
    s_events, acc_events : In(2), if ``events``
        :data:`EVENTS` on the way to both sums.
    result : Out
        Code of the new outer sum.
    result_events : Out(2), if ``events``
        The same of the new sum.
    """

    def __init__(self, silicon: Silicon, *, events: bool):
        self.silicon = silicon
        self.events = events
        config = silicon.config
        inner, outer = config.accumulator.format, config.outer_accumulator
        self.integers = isinstance(inner, FixedFormat) and isinstance(outer, FixedAccumulator)
        members = {
            "s": In(unsigned(inner.code_bits)),
            "acc": In(unsigned(outer.format.code_bits)),
            "result": Out(unsigned(outer.format.code_bits)),
        }
        if not silicon.hardwired and not self.integers:
            members["outer_offset"] = In(signed(offset_ranges(config).outer.width))
        if outer.random_bits is not None:
            members["outer_word"] = In(unsigned(outer.random_bits))
        if events:
            members |= {name: In(len(EVENTS)) for name in ("s_events", "acc_events")}
            members["result_events"] = Out(len(EVENTS))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        total = self._total(m)
        m.d.comb += self.result.eq(total.code)
        if self.events:
            m.d.comb += self.result_events.eq(self.s_events | self.acc_events | total.events)
        return m

    def _total(self, m: Module) -> Rounded:
        config = self.silicon.config
        inner, outer = config.accumulator.format, config.outer_accumulator
        if self.integers:
            discard = outer.format.lsb - inner.lsb
            return add_integer(m, self.acc, self.s.as_signed(), discard, outer, _wire)
        offset = config.offsets.outer if self.silicon.hardwired else self.outer_offset
        chunk = Number.of(self.s, inner).offset_by(offset, offset_ranges(config).outer)
        if isinstance(outer, FixedAccumulator):
            return add_fixed(m, self.acc, chunk, outer, _wire)
        word = self.outer_word if outer.random_bits is not None else None
        return add_float(m, self.acc, chunk.normalized(m, "chunk_normalizer"), outer, _wire, word)
