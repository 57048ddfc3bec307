"""Which float arithmetic computes a configuration exactly, and the proof obligations for it.

Floating-point hardware is exact where every number it produces is a multiple of one power of two
and short enough for the significand. This module derives, from the configuration and the length of
the sum alone, whether that holds at each step of the contract, in float32 or else in float64, and
otherwise says why not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    MacConfig,
    Overflow,
    Rounding,
)
from sim.kernels.reach import FLOAT32, FLOAT64, Lane, NotExact, Reach, reach_of_cut, reach_of_results

__all__ = ["FixedStep", "FloatStep", "Plan", "RoundTo", "plan_matmul"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTo:
    """Rounding to a float format, in the constants of a lane: see :mod:`sim.kernels.steps`."""

    keep_mask: int | None  #: The kept bits, toward zero. None: to nearest even.
    magic: float  #: To nearest even: this times the power of two of a number pushes out its low bits.
    flush: float  #: The largest magnitude that becomes zero.
    maximum: float
    growth: float  #: A rounding raises a magnitude by at most this part of it.

    @classmethod
    def of(cls, quantizer: FloatQuantizer | FloatAccumulator, exact: Reach, lane: Lane) -> RoundTo:
        """For numbers of reach ``exact``; raises :class:`NotExact`."""
        number = quantizer.format
        Reach.of(number).need(lane, f"{number.name}")
        if number.flush_value < 2.0**lane.min_exponent:
            raise NotExact(f"{number.name} flushes below 2**{lane.min_exponent}")
        discard = lane.man_bits - number.man_bits
        if quantizer.rounding is Rounding.TOWARD_ZERO:
            mask, magic, growth = -(1 << discard), 0.0, 0.0
        else:
            if discard < 2:
                raise NotExact(f"rounding {number.name} to nearest leaves no room for the carry")
            if exact.max_exponent + discard + 1 > lane.max_exponent:
                raise NotExact("rounding to nearest overflows")
            mask, magic, growth = None, 1.5 * 2.0**discard, 2.0 ** -(number.man_bits + 1)
        return cls(
            keep_mask=mask, magic=magic, flush=number.flush_value, maximum=number.max_value, growth=growth
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatStep:
    """acc + addend, then a rounding to the accumulator's float format."""

    round_to: RoundTo
    guarded_bits: int | None  #: M + g: first cut both to this many bits below the top of the larger.
    corrected: bool  #: The lane's sum is rounded; put right with its error, which the lane can tell.


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedStep:
    """acc + cut(addend) in units of the accumulator's lsb, then saturated or wrapped."""

    cut: Rounding | None  #: None: addends are multiples of the lsb already.
    low: int
    high: int
    wrap: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a matrix product is computed in a lane with the contract's result."""

    lane: Lane
    product: RoundTo | None  #: None: nothing to do, since every exact product is in the format.
    inner: FloatStep | FixedStep
    outer: FloatStep | FixedStep
    inner_unit: int  #: Inside a chunk numbers are held as multiples of 2**inner_unit,
    outer_unit: int  #: between chunks of 2**outer_unit.
    additive: bool  #: Sums are exact in float64 in any order, unless they saturate.
    lazy_wrap: bool  #: One wrap at the end of a chunk is enough.
    chunk_in_range: bool  #: No sum of one chunk leaves the accumulator's range.
    all_in_range: bool  #: No sum of all products does.

    @property
    def merged(self) -> bool:
        """The outer steps add nothing: all products may be summed at once, unless they saturate."""
        return self.additive and self.outer == self.inner and self.outer_unit == self.inner_unit

    @property
    def one_product(self) -> bool:
        """The whole is one matrix product of the lane, wrapped at the end."""
        return self.merged and (self.inner.wrap or self.all_in_range)

    @property
    def description(self) -> str:
        if self.one_product:
            return "one matrix product in float64: its sums are exact in any order"
        if self.additive and (self.inner.wrap or self.chunk_in_range):
            return "a matrix product in float64 for each chunk: its sums are exact in any order"
        name = str(self.lane.dtype).removeprefix("torch.")
        corrected = any(isinstance(s, FloatStep) and s.corrected for s in (self.inner, self.outer))
        detail = "rounded sums are corrected by their error" if corrected else "every sum is exact"
        if self.merged:
            detail += "; one matrix product for outputs that cannot saturate"
        return f"steps along k in {name}: {detail}"


def plan_matmul(config: MacConfig, length: int) -> tuple[Plan | None, str]:
    """The fastest exact plan for sums of ``length`` products, and why; None where there is none."""
    reasons = []
    for lane in (FLOAT32, FLOAT64):
        try:
            plan = _plan(config, max(length, 1), lane)
        except NotExact as reason:
            reasons.append(f"{reason} in {str(lane.dtype).removeprefix('torch.')}")
        else:
            return plan, plan.description
    return None, f"golden steps: {'; '.join(reasons)}"


def _plan(config: MacConfig, length: int, lane: Lane) -> Plan:
    inner, outer = config.accumulator, config.outer_accumulator
    inner_unit, outer_unit = _unit(inner), _unit(outer)
    x, w = Reach.of(config.x).scaled(-inner_unit), Reach.of(config.w)
    x.need(lane, f"{config.x.name}")
    w.need(lane, f"{config.w.name}")
    addend = x.times(w)
    addend.need(lane, "the exact product")
    round_product = None
    if config.product is not None and not _identity(config):
        round_product = RoundTo.of(config.product, addend, lane)
        addend = reach_of_results(config.product, addend, 1)
    chunk = min(config.chunk_size, length)
    inner_step = _step(inner, addend, chunk, lane)
    chunk_sum = reach_of_results(inner, addend, chunk).scaled(inner_unit - outer_unit)
    chunk_sum.need(lane, "a chunk's sum")
    outer_step = _step(outer, chunk_sum, -(-length // chunk), lane)
    additive = lazy_wrap = False
    if isinstance(inner_step, FixedStep):
        additive = inner_step.cut is None and _summable(addend, length, inner, FLOAT64)
        lazy_wrap = inner_step.wrap and _summable(reach_of_cut(addend), chunk, inner, lane)
    return Plan(
        lane=lane,
        product=round_product,
        inner=inner_step,
        outer=outer_step,
        inner_unit=inner_unit,
        outer_unit=outer_unit,
        additive=additive,
        lazy_wrap=lazy_wrap,
        chunk_in_range=additive and _in_range(addend, chunk, inner_step),
        all_in_range=additive and _in_range(addend, length, inner_step),
    )


def _unit(accumulator: Accumulator) -> int:
    return accumulator.format.lsb if isinstance(accumulator, FixedAccumulator) else 0


def _in_range(addend: Reach, count: int, step: FixedStep) -> bool:
    return addend.magnitude * count << addend.lsb <= step.high


def _step(accumulator: Accumulator, addend: Reach, count: int, lane: Lane) -> FloatStep | FixedStep:
    if isinstance(accumulator, FixedAccumulator):
        return _fixed_step(accumulator, addend, count, lane)
    number = accumulator.format
    exact = reach_of_results(accumulator, addend, count).plus(addend)
    guarded_bits, corrected = None, False
    if accumulator.alignment_bits is not None:
        guarded_bits = number.man_bits + accumulator.alignment_bits
        # Multiples of 2**(k - guarded_bits) below 2**(k + 2): so many bits hold their sum.
        if guarded_bits + 2 > lane.significand_bits:
            raise NotExact(f"a sum of {guarded_bits + 2} bits")
        # k runs over all exponents of the addends; scaling by either power must stay normal.
        if max(exact.max_exponent, -exact.lsb) + guarded_bits + 1 >= lane.max_exponent:
            raise NotExact(f"alignment from 2**{exact.lsb} to 2**{exact.max_exponent}")
    elif exact.significand_bits > lane.significand_bits:
        # Rounding to odd and then to M + 1 bits is one rounding if two more bits are there.
        if lane is not FLOAT64 or number.significand_bits + 2 > lane.significand_bits:
            raise NotExact(f"acc + product needs {exact.significand_bits} bits")
        corrected = True
    bounds = replace(exact, significand_bits=0)  # the bits have been dealt with; the range has not
    bounds.need(lane, "acc + product")
    return FloatStep(
        round_to=RoundTo.of(accumulator, exact, lane),
        guarded_bits=guarded_bits,
        corrected=corrected,
    )


def _fixed_step(accumulator: FixedAccumulator, addend: Reach, count: int, lane: Lane) -> FixedStep:
    number: FixedFormat = accumulator.format
    wrap = accumulator.overflow is Overflow.WRAP
    exact = reach_of_results(accumulator, addend, count).plus(reach_of_cut(addend))
    if wrap:
        half = 2 ** (number.bits - 1)  # see steps.wrap
        exact = exact.plus(Reach(lsb=0, magnitude=half, significand_bits=0))
    if exact.significand_bits > lane.significand_bits:
        raise NotExact(f"acc + product needs {exact.significand_bits} bits")
    return FixedStep(
        cut=accumulator.rounding if addend.lsb < 0 else None,
        low=number.min_integer,
        high=number.max_integer,
        wrap=wrap,
    )


def _summable(addend: Reach, count: int, accumulator: FixedAccumulator, lane: Lane) -> bool:
    """The lane holds every sum of ``count`` addends, and what :func:`sim.kernels.steps.wrap` adds to it."""
    half = 2 ** (accumulator.format.bits - 1) if accumulator.overflow is Overflow.WRAP else 0
    total = addend.repeated(count).plus(Reach(lsb=0, magnitude=half, significand_bits=0))
    return total.significand_bits <= lane.significand_bits


def _identity(config: MacConfig) -> bool:
    """Every exact product is a value of the product quantizer's format."""
    exact, kept = Reach.of(config.x).times(Reach.of(config.w)), config.product.format
    if exact.significand_bits > kept.man_bits + 1 or exact.max_exponent > kept.max_exponent - 1:
        return False
    smallest = _least_exponent(config.x) + _least_exponent(config.w)
    return smallest > -kept.bias


def _least_exponent(number: Format) -> int:
    """floor(log2) of the smallest nonzero magnitude."""
    return number.min_exponent if isinstance(number, FloatFormat) else number.lsb
