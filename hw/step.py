"""One step of accumulation, built into a module: ``acc' = Qacc(acc + addend)``.

Three data paths, by what meets: a number in sign, significand and exponent with a float accumulator, the
same with a fixed-point one, and integers with integers. Each adds its parts to the caller's module under
the names that areas are reported by, and takes ``register``, which the caller makes a pipeline register
or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from amaranth import Cat, Const, Module, Value

from golden.config import FixedAccumulator, FloatAccumulator, FloatQuantizer, Format
from golden.datapath import AddendShape, OffsetRange
from hw.adder import Aligner, SignificandAdder
from hw.fields import unpack
from hw.fixed import FixedAdder, FixedAligner, FixedCut
from hw.quantizer import Normalizer, Quantizer

__all__ = ["Number", "Register", "Rounded", "add_fixed", "add_float", "add_integer", "quantize_product"]

Register = Callable[[Value], Value]


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """What a rounding gives. Events are gates only where something is connected to them."""

    code: Value
    overflow: Value
    underflow: Value

    @property
    def events(self) -> Value:
        """Overflow, then underflow."""
        return Cat(self.overflow, self.underflow)


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number as wires: ``(-1)**negative * significand * 2**(exponent - man_bits - bias)``.

    Zero has significand 0, or is told apart by a flag; then the significand has its top bit set all the
    same, whatever the number, and gates need not make sure of it. The exponent of zero means nothing.
    """

    negative: Value
    significand: Value
    exponent: Value
    man_bits: int
    exponents: range  #: All that ``exponent`` can be while the significand is not 0.
    leading_zeros: int  #: The most that a significand has which is not 0.
    zero_flag: Value | None = None  #: The number is zero. None: its significand says so.

    @classmethod
    def of(cls, code: Value, number: Format) -> Number:
        negative, significand, exponent = unpack(code, number)
        shape = AddendShape.of(number)
        return cls(
            negative=negative,
            significand=significand,
            exponent=exponent,
            man_bits=number.man_bits,
            exponents=range(number.max_exp_code + 1),
            leading_zeros=shape.leading_zeros,
        )

    @property
    def zero(self) -> Value:
        """Whether it is zero, of a number that is normalised."""
        return ~self.significand[-1] if self.zero_flag is None else self.zero_flag

    def offset_by(self, offset: Value | int, bounds: OffsetRange) -> Number:
        """The exponent in another bias: less a constant, or less a register of the range's width."""
        if isinstance(offset, int):
            low = high = offset
        else:
            low, high = -(2 ** (bounds.width - 1)), 2 ** (bounds.width - 1) - 1
        exponents = range(self.exponents.start - high, self.exponents.stop - low)
        return replace(self, exponent=self.exponent - offset, exponents=exponents)

    def registered(self, register: Register) -> Number:
        behind = replace(
            self,
            negative=register(self.negative),
            significand=register(self.significand),
            exponent=register(self.exponent),
        )
        if self.zero_flag is None:
            return behind
        significand = Cat(register(self.significand[:-1]), Const(1, 1))
        return replace(behind, significand=significand, zero_flag=register(self.zero_flag))

    def normalized(self, m: Module, name: str) -> Number:
        """The same with its leading bit on top, by a normaliser of that name where it takes one."""
        if self.leading_zeros == 0:
            return self
        width = len(self.significand)
        above = width - 1 - self.man_bits  # places of the top bit left of the point's left neighbour
        m.submodules[name] = normalizer = Normalizer(width=width, max_shift=self.leading_zeros)
        m.d.comb += normalizer.significand.eq(self.significand)
        return replace(
            self,
            significand=normalizer.normalized,
            exponent=self.exponent + above - normalizer.shift,
            man_bits=width - 1,
            exponents=range(self.exponents.start + above - self.leading_zeros, self.exponents.stop + above),
            leading_zeros=0,
        )


def quantize_product(
    m: Module, product: Number, quantizer: FloatQuantizer, word: Value | None, register: Register
) -> tuple[Rounded, Number]:
    """The rounded product, as a code and, behind the register, as a number.

    It comes normalised, its exponent in the quantizer's bias.
    """
    target = quantizer.format
    m.submodules.quantizer = unit = Quantizer(
        width=len(product.significand),
        exponents=product.exponents,
        target=target,
        rounding=quantizer.rounding,
        random_bits=quantizer.random_bits,
    )
    m.d.comb += [
        unit.negative.eq(product.negative),
        unit.significand.eq(Cat(product.significand[:-1], ~product.zero)),
        unit.exponent.eq(product.exponent),
    ]
    if word is not None:
        m.d.comb += unit.word.eq(word)
    rounded = Rounded(code=unit.code, overflow=unit.overflow, underflow=unit.underflow)
    if target.subnormals:
        return rounded, Number.of(register(unit.code), target)
    number = Number(
        negative=product.negative,
        significand=Cat(unit.magnitude[: target.man_bits], Const(1, 1)),
        exponent=unit.magnitude[target.man_bits :],
        man_bits=target.man_bits,
        exponents=range(target.max_exp_code + 1),
        leading_zeros=0,
        zero_flag=unit.zero,
    )
    return rounded, number.registered(register)


def add_float(
    m: Module,
    acc: Value,
    addend: Number,
    accumulator: FloatAccumulator,
    register: Register,
    word: Value | None,
) -> Rounded:
    """The new sum of a float accumulator; the addend comes normalised and in its bias.

    ``word``, the random word, comes behind the register.
    """
    total = Number.of(acc, accumulator.format).normalized(m, "acc_normalizer")
    m.submodules.aligner = aligner = Aligner(
        accumulator,
        addend_bits=len(addend.significand),
        acc_exponents=total.exponents,
        addend_exponents=addend.exponents,
    )
    m.d.comb += [
        aligner.acc_significand.eq(total.significand),
        aligner.acc_exponent.eq(total.exponent),
        aligner.addend_significand.eq(addend.significand),
        aligner.addend_exponent.eq(addend.exponent),
        aligner.addend_zero.eq(addend.zero),
    ]

    m.submodules.adder = adder = SignificandAdder(width=aligner.widths.total)
    differ = total.negative ^ addend.negative
    m.d.comb += [
        adder.larger.eq(aligner.larger),
        adder.smaller.eq(aligner.smaller),
        adder.below.eq(aligner.below),
        # A zero sum, which may have a sign, need not be the smaller one: nothing is taken from it.
        adder.subtract.eq(differ & ~total.zero),
    ]
    carried = Number(
        negative=(total.negative & ~aligner.swapped) | (addend.negative & aligner.swapped),
        significand=adder.total,
        exponent=aligner.exponent,
        man_bits=aligner.widths.total - 1,
        exponents=aligner.exponents,
        leading_zeros=len(adder.total) - 1,
    ).registered(register)
    exact_zero = register(aligner.equal & (total.zero | differ))

    # A carry moves the leading bit up by one place, a difference down by any number.
    carried = carried.normalized(m, "normalizer")
    m.submodules.rounder = rounder = Quantizer(
        width=len(carried.significand),
        exponents=carried.exponents,
        target=accumulator.format,
        rounding=accumulator.rounding,
        random_bits=accumulator.random_bits,
    )
    m.d.comb += [
        rounder.negative.eq(carried.negative),
        rounder.significand.eq(carried.significand),
        rounder.exponent.eq(carried.exponent),
    ]
    if word is not None:
        m.d.comb += rounder.word.eq(word)
    # Guard bits may cut a difference to zero before it is rounded.
    underflow = ~exact_zero & ~rounder.code.any()
    return Rounded(code=rounder.code, overflow=rounder.overflow, underflow=underflow)


def add_fixed(
    m: Module, acc: Value, addend: Number, accumulator: FixedAccumulator, register: Register
) -> Rounded:
    """The new sum of a fixed-point accumulator; the addend counts from its lsb."""
    m.submodules.aligner = aligner = FixedAligner(
        accumulator,
        significand_bits=len(addend.significand),
        man_bits=addend.man_bits,
        exponents=addend.exponents,
    )
    m.d.comb += [
        aligner.negative.eq(addend.negative),
        aligner.significand.eq(addend.significand),
        aligner.exponent.eq(addend.exponent),
    ]
    return _fixed_sum(m, acc, aligner, accumulator, register, huge=aligner.huge)


def add_integer(
    m: Module, acc: Value, addend: Value, discard: int, accumulator: FixedAccumulator, register: Register
) -> Rounded:
    """The new sum where the addend is two's complement, ``discard`` bits finer than the sum."""
    m.submodules.aligner = cut = FixedCut(width=len(addend), discard=discard, rounding=accumulator.rounding)
    m.d.comb += cut.exact.eq(addend)
    return _fixed_sum(m, acc, cut, accumulator, register, huge=None)


def _fixed_sum(
    m: Module,
    acc: Value,
    cut: FixedAligner | FixedCut,
    accumulator: FixedAccumulator,
    register: Register,
    huge: Value | None,
) -> Rounded:
    m.submodules.adder = adder = FixedAdder(accumulator, addend_bits=len(cut.addend))
    m.d.comb += [
        adder.acc.eq(acc),
        adder.addend.eq(register(cut.addend)),
        adder.carry.eq(register(cut.carry)),
        adder.inexact.eq(register(cut.inexact)),
    ]
    if huge is not None:
        m.d.comb += adder.huge.eq(register(huge))
    return Rounded(code=adder.result, overflow=adder.overflow, underflow=adder.underflow)
