"""One step of accumulation, built into a module: ``acc' = Qacc(acc + addend)``.

Three data paths, by what meets: a number in sign, significand and exponent with a float accumulator, the
same with a fixed-point one, and integers with integers. Each adds its parts to the caller's module under
the names that areas are reported by, and takes ``register``, which the caller makes a pipeline register
or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from amaranth import Module, Value

from golden.config import FixedAccumulator, FloatAccumulator, FloatQuantizer, Format
from golden.datapath import OffsetRange
from hw.adder import Aligner, SignificandAdder
from hw.fields import unpack
from hw.fixed import FixedAdder, FixedAligner, FixedCut
from hw.quantizer import Normalizer, Quantizer

__all__ = ["Number", "Register", "add_fixed", "add_float", "add_integer", "quantize_product"]

Register = Callable[[Value], Value]


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number as wires: ``(-1)**negative * significand * 2**(exponent - man_bits - bias)``.

    A significand with ``man_bits`` bits below its top one is normalised: its top bit is set, or it is
    zero, and then the exponent means nothing.
    """

    negative: Value
    significand: Value
    exponent: Value
    man_bits: int
    exponents: range  #: All that ``exponent`` can be while the significand is not 0.

    @classmethod
    def of(cls, code: Value, number: Format) -> Number:
        negative, significand, exponent = unpack(code, number)
        return cls(
            negative=negative,
            significand=significand,
            exponent=exponent,
            man_bits=number.man_bits,
            exponents=range(number.max_exp_code + 1),
        )

    def offset_by(self, offset: Value | int, bounds: OffsetRange) -> Number:
        """The exponent in another bias: less a constant, or less a register of the range's width."""
        if isinstance(offset, int):
            low = high = offset
        else:
            low, high = -(2 ** (bounds.width - 1)), 2 ** (bounds.width - 1) - 1
        exponents = range(self.exponents.start - high, self.exponents.stop - low)
        return replace(self, exponent=self.exponent - offset, exponents=exponents)

    def registered(self, register: Register) -> Number:
        return replace(
            self,
            negative=register(self.negative),
            significand=register(self.significand),
            exponent=register(self.exponent),
        )

    def normalized(self, m: Module, name: str) -> Number:
        """The same with its leading bit on top, by a normaliser of that name where it takes one."""
        width = len(self.significand)
        max_shift = width - 1 - self.man_bits
        if max_shift == 0:
            return self
        m.submodules[name] = normalizer = Normalizer(width=width, max_shift=max_shift)
        m.d.comb += normalizer.significand.eq(self.significand)
        return replace(
            self,
            significand=normalizer.normalized,
            exponent=self.exponent + max_shift - normalizer.shift,
            man_bits=width - 1,
            exponents=range(self.exponents.start, self.exponents.stop + max_shift),
        )


def quantize_product(m: Module, product: Number, quantizer: FloatQuantizer) -> Value:
    """Code of the rounded product; its exponent is already in the quantizer's bias."""
    m.submodules.quantizer = unit = Quantizer(
        width=len(product.significand),
        exponents=product.exponents,
        target=quantizer.format,
        rounding=quantizer.rounding,
    )
    m.d.comb += [
        unit.negative.eq(product.negative),
        unit.significand.eq(product.significand),
        unit.exponent.eq(product.exponent),
    ]
    return unit.code


def add_float(
    m: Module, acc: Value, addend: Number, accumulator: FloatAccumulator, register: Register
) -> Value:
    """Code of the new sum of a float accumulator; the addend is normalised and in its bias."""
    total = Number.of(acc, accumulator.format)
    m.submodules.aligner = aligner = Aligner(
        accumulator, addend_bits=len(addend.significand), exponents=addend.exponents
    )
    m.d.comb += [
        aligner.acc_significand.eq(total.significand),
        aligner.acc_exponent.eq(total.exponent),
        aligner.addend_significand.eq(addend.significand),
        aligner.addend_exponent.eq(addend.exponent),
    ]

    m.submodules.adder = adder = SignificandAdder(width=aligner.widths.total)
    m.d.comb += [
        adder.larger.eq(aligner.larger),
        adder.smaller.eq(aligner.smaller),
        adder.subtract.eq(total.negative ^ addend.negative),
    ]
    carried = Number(
        negative=(total.negative & ~aligner.swapped) | (addend.negative & aligner.swapped),
        significand=adder.total,
        exponent=aligner.exponent,
        man_bits=aligner.widths.total - 1,
        exponents=range(min(0, addend.exponents.start), max(total.exponents.stop, addend.exponents.stop)),
    ).registered(register)

    # A carry moves the leading bit up by one place, a difference down by any number.
    width = len(carried.significand)
    m.submodules.normalizer = normalizer = Normalizer(width=width, max_shift=width - 1)
    m.submodules.rounder = rounder = Quantizer(
        width=width,
        exponents=range(carried.exponents.start - width, carried.exponents.stop + 1),
        target=accumulator.format,
        rounding=accumulator.rounding,
    )
    m.d.comb += [
        normalizer.significand.eq(carried.significand),
        rounder.negative.eq(carried.negative),
        rounder.significand.eq(normalizer.normalized),
        rounder.exponent.eq(carried.exponent + 1 - normalizer.shift),
    ]
    return rounder.code


def add_fixed(
    m: Module, acc: Value, addend: Number, accumulator: FixedAccumulator, register: Register
) -> Value:
    """Code of the new sum of a fixed-point accumulator; the addend counts from its lsb."""
    m.submodules.aligner = aligner = FixedAligner(
        accumulator,
        significand_bits=len(addend.significand),
        man_bits=addend.man_bits,
        exponents=addend.exponents,
    )
    m.submodules.adder = adder = FixedAdder(accumulator, addend_bits=len(aligner.addend))
    m.d.comb += [
        aligner.negative.eq(addend.negative),
        aligner.significand.eq(addend.significand),
        aligner.exponent.eq(addend.exponent),
        adder.acc.eq(acc),
        adder.addend.eq(register(aligner.addend)),
        adder.carry.eq(register(aligner.carry)),
        adder.huge.eq(register(aligner.huge)),
    ]
    return adder.result


def add_integer(
    m: Module, acc: Value, addend: Value, discard: int, accumulator: FixedAccumulator, register: Register
) -> Value:
    """Code of the new sum where the addend is two's complement, ``discard`` bits finer than the sum."""
    m.submodules.aligner = cut = FixedCut(width=len(addend), discard=discard, rounding=accumulator.rounding)
    m.submodules.adder = adder = FixedAdder(accumulator, addend_bits=len(cut.addend))
    m.d.comb += [
        cut.exact.eq(addend),
        adder.acc.eq(acc),
        adder.addend.eq(register(cut.addend)),
        adder.carry.eq(register(cut.carry)),
    ]
    return adder.result
