"""Proofs that a vector type of the processor computes a configuration, and the constants it takes.

A lane adds and multiplies in binary32 or binary64, rounding toward zero and flushing what is below its
smallest normal number. A sum or product is then its leading bits, 24 or 53 of them: cutting it further toward
zero, as the contract does, is exact whatever the operands; rounding to nearest is exact where the bits
that the lane lost cannot decide a tie. Numbers are scaled by powers of two such that the lane's own
flushing is the contract's. Where a proof does not go through, :class:`NotExact` is raised with the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FloatAccumulator,
    FloatQuantizer,
    MacConfig,
    Overflow,
    Rounding,
)
from sim.kernels.lane_bounds import (
    Numbers,
    bound_of_sums,
    growth_of,
    limit_of,
    rounded_numbers,
    significand_bits,
)
from sim.kernels.lane_types import (
    DOUBLE,
    HALF,
    SINGLE,
    Extent,
    Lane,
    NotExact,
    Way,
    smallest_normal,
)
from sim.kernels.library import LaneStep

__all__ = [
    "DOUBLE",
    "HALF",
    "SINGLE",
    "Extent",
    "Lane",
    "LanePlan",
    "NotExact",
    "Way",
    "plan_lane",
    "plan_sums",
]


#: Products in the longest chunk whose sum of squares float32 adds up within the margin that is allowed.
_LONGEST_PROOF = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class LanePlan:
    """What ``fmaq_job`` takes for a lane."""

    lane: Lane
    product: LaneStep
    inner: LaneStep
    outer: LaneStep
    x_shift: int  #: Operands are packed times two to this power.
    w_shift: int
    inner_shift: int
    outer_shift: int
    underflows: bool
    remark: str  #: What is left out, and why.


def plan_lane(config: MacConfig, length: int, x: Extent, w: Extent, lane: Lane, *, count: bool) -> LanePlan:
    """The constants with which a lane computes sums of ``length`` products of such operands.

    ``count``: with the events of every step.
    """
    chunk = min(config.chunk_size, max(length, 1))
    inner, outer = config.accumulator, config.outer_accumulator
    x_bits, w_bits = significand_bits(config.x, x), significand_bits(config.w, w)
    exact = Numbers(lsb=config.product_lsb, top=x.top + w.top + 1, bits=x_bits + w_bits)
    largest = x.largest * w.largest
    growth = growth_of(config, chunk)
    unit = 2.0 ** (x.top + w.top)
    proved = chunk <= _LONGEST_PROOF

    addend, product, product_shift, underflows = exact, LaneStep(), None, False
    if config.product is not None:
        product, product_shift = _product_step(config.product, exact, largest, unit, x, w, lane)
        number = config.product.format
        underflows = not number.subnormals and x.smallest * w.smallest < smallest_normal(number)
        addend = rounded_numbers(config.product, exact, 1)
    elif count and exact.bits > lane.bits:
        raise NotExact(f"an exact product has {exact.bits} bits")
    else:
        product.limit = math.inf

    way = None
    if isinstance(inner, FixedAccumulator):
        way = _fixed_way(inner, exact, lane, chunk, largest, count=count)
    inner_step, inner_shift = _sum_step(
        inner, addend, chunk, bound_of_sums(config, largest, chunk), lane, way=way
    )
    inner_step.limit = limit_of(inner, unit) if proved else 0.0
    inner_step.growth = growth
    if product_shift is None:
        product_shift = inner_shift
        inner_step.scale = 1.0
    else:
        inner_step.scale = _power(inner_shift - product_shift, lane)
    matters = isinstance(inner, FixedAccumulator) or (count and config.product is None)
    if matters and x.bottom + w.bottom + product_shift < lane.min_exponent:
        raise NotExact(f"products as small as 2**{x.bottom + w.bottom}")

    sums = rounded_numbers(inner, addend, chunk)
    chunks = max(1, -(-length // chunk))
    outer_way = None
    if isinstance(outer, FixedAccumulator):
        outer_way = _fixed_outer_way(inner, way, outer, sums, lane)
    reached = bound_of_sums(config, largest, max(length, 1))
    outer_step, outer_shift = _sum_step(outer, sums, chunks, reached, lane, way=outer_way)
    if isinstance(outer, FixedAccumulator) and isinstance(inner, FloatAccumulator):
        smallest = inner.format.min_exponent
        if smallest + outer_shift < lane.min_exponent:
            raise NotExact(f"chunk sums as small as 2**{smallest}")
    outer_step.scale = _power(outer_shift - inner_shift, lane)
    if isinstance(inner, FixedAccumulator) and isinstance(outer, FixedAccumulator):
        outer_step.same_fixed = int(
            inner.format.lsb == outer.format.lsb
            and way in (Way.FIXED_RZ, Way.FIXED_FLOOR, Way.FIXED_RNE)
            and outer_way in (Way.FIXED_RZ, Way.FIXED_FLOOR, Way.FIXED_RNE)
        )
    if lane is HALF:
        _need_half(product, inner_step, outer_step, x_bits, w_bits)
    x_shift = _operand_shift(x, w, product_shift, lane)
    remark = "" if inner_step.maximum < math.inf else "; no sum can overflow"
    return LanePlan(
        lane=lane,
        product=product,
        inner=inner_step,
        outer=outer_step,
        x_shift=x_shift,
        w_shift=product_shift - x_shift,
        inner_shift=inner_shift,
        outer_shift=outer_shift,
        underflows=underflows,
        remark=remark if isinstance(inner, FloatAccumulator) else "",
    )


def _need_half(product: LaneStep, inner: LaneStep, outer: LaneStep, x_bits: int, w_bits: int) -> None:
    """Half precision is built for steps toward zero that flush, of operands that it holds."""
    if product.way not in (Way.NONE, Way.EXACT, Way.RZ) or product.flush == 2:
        raise NotExact("products are rounded, and not toward zero")
    if any(step.way != Way.RZ or step.flush != 1 for step in (inner, outer)):
        raise NotExact("sums are rounded, and not toward zero, or aligned")
    if product.way == Way.NONE and inner.scale != 1.0:
        raise NotExact("products are scaled")
    if max(x_bits, w_bits) > HALF.bits:
        raise NotExact(f"operands have {max(x_bits, w_bits)} bits")


def _power(exponent: int, lane: Lane) -> float:
    if not lane.min_exponent <= exponent <= lane.max_exponent:
        raise NotExact(f"a factor of 2**{exponent}")
    return 2.0**exponent


def _check_range(top: int, shift: int, lane: Lane, what: str) -> None:
    if top + shift > lane.max_exponent - 1:
        raise NotExact(f"{what} reaches 2**{top}, scaled by 2**{shift}")


def _shift(quantizer: FloatQuantizer | FloatAccumulator, lane: Lane) -> int:
    """The scale at which the lane flushes what the format flushes, or at which 1 is a subnormal's unit."""
    number = quantizer.format
    if number.subnormals:
        shift = number.bias - 1 + number.man_bits
    else:
        shift = number.bias + lane.min_exponent
        if getattr(quantizer, "alignment_bits", None) is not None:
            shift += number.man_bits + quantizer.alignment_bits + 2  # addends below the range count
    if abs(shift) > 1500:  # results are scaled back by two factors that float64 holds
        raise NotExact(f"{number.name} is scaled by 2**{shift}")
    return shift


def _float_step(
    quantizer: FloatQuantizer | FloatAccumulator, reached: float, lane: Lane
) -> tuple[LaneStep, int]:
    """Constants of a rounding to a float format; ``reached`` bounds the magnitudes before it."""
    number, shift = quantizer.format, _shift(quantizer, lane)
    if number.man_bits > lane.bits - 1:
        raise NotExact(f"{number.name} has {number.man_bits} mantissa bits")
    step = LaneStep(man_bits=number.man_bits, scale=1.0, growth=1.0, limit=math.inf, maximum=math.inf)
    match quantizer.rounding:
        case Rounding.TOWARD_ZERO:
            step.way = Way.SUB_RZ if number.subnormals else Way.RZ
        case Rounding.NEAREST_EVEN:
            if not 1 <= number.man_bits <= lane.bits - 2:  # of none, the kept bit is the hidden one
                raise NotExact(f"no bit tells ties of {number.man_bits} mantissa bits")
            step.way = Way.SUB_RNE if number.subnormals else Way.RNE
        case Rounding.STOCHASTIC:
            if number.subnormals:
                raise NotExact("stochastic rounding of subnormals")
            if number.man_bits + quantizer.random_bits > lane.bits - 1:
                raise NotExact(f"{number.man_bits} mantissa bits and {quantizer.random_bits} random ones")
            step.way, step.random_bits = Way.SR, quantizer.random_bits
    guarded = getattr(quantizer, "alignment_bits", None) is not None
    if number.subnormals:
        step.min_normal = 2.0**number.man_bits
        _check_range(number.man_bits, 0, lane, "the subnormal range")
    else:
        step.flush = 2 if guarded else 1
        step.smallest = math.ldexp(1 + 2.0**-number.man_bits, shift - number.bias)
    if reached >= number.max_value:
        _check_range(number.max_exponent, shift, lane, number.name)
        step.maximum = math.ldexp(number.max_value, shift)
    else:
        _check_range(math.frexp(reached)[1], shift, lane, "a sum")
    return step, shift


def _product_step(
    quantizer: FloatQuantizer, exact: Numbers, largest: float, unit: float, x: Extent, w: Extent, lane: Lane
) -> tuple[LaneStep, int]:
    number = quantizer.format
    raised = 1.0 if quantizer.rounding is Rounding.TOWARD_ZERO else 1 + 2.0**-number.man_bits
    step, shift = _float_step(quantizer, largest * raised, lane)
    step.limit, step.growth = number.max_value / unit, raised
    if quantizer.rounding is Rounding.NEAREST_EVEN and exact.bits > lane.bits:
        raise NotExact(f"a tie of exact products of {exact.bits} bits")
    if step.way == Way.SUB_RNE and x.bottom + w.bottom + shift < lane.min_exponent:
        raise NotExact("the smallest product is flushed")
    if not number.subnormals and exact.bits <= number.man_bits + 1:
        step.way = Way.EXACT
    return step, shift


def _sum_step(
    accumulator: Accumulator, addend: Numbers, count: int, reached: float, lane: Lane, *, way: Way | None
) -> tuple[LaneStep, int]:
    """Constants of ``count`` additions of such addends; ``reached`` bounds the sums before saturation."""
    if isinstance(accumulator, FixedAccumulator):
        number = accumulator.format
        step = LaneStep(
            way=way,
            man_bits=number.bits,
            wrap=int(accumulator.overflow is Overflow.WRAP),
            low=number.min_integer,
            high=number.max_integer,
            scale=1.0,
            maximum=math.inf,
            limit=math.inf,
            growth=1.0,
        )
        return step, -number.lsb
    number = accumulator.format
    step, shift = _float_step(accumulator, reached, lane)
    sums = rounded_numbers(accumulator, addend, count)
    lsb, top = min(sums.lsb, addend.lsb), max(sums.top, addend.top) + 1
    is_exact = top - lsb + 1 <= lane.bits
    if accumulator.alignment_bits is not None:
        guarded = number.man_bits + accumulator.alignment_bits
        if guarded + 2 > lane.bits:
            raise NotExact(f"an aligned sum of {guarded + 2} bits")
        step.guard, step.guard_bits = 1, accumulator.alignment_bits
        _check_range(max(top, number.max_exponent) + lane.bits - guarded, shift, lane, "alignment")
        if -number.bias + shift - guarded - 2 < lane.min_exponent:
            raise NotExact("alignment below the lane's range")
    elif not is_exact and accumulator.rounding is Rounding.NEAREST_EVEN:
        safe = min(lane.bits - number.man_bits - 3, number.man_bits + 1)
        if number.subnormals or addend.bits > safe or lane.bits < 2 * number.man_bits + 4:
            raise NotExact(f"a tie of sums of {top - lsb + 1} bits")
    return step, shift


def _fixed_way(
    accumulator: FixedAccumulator, exact: Numbers, lane: Lane, chunk: int, largest: float, *, count: bool
) -> Way:
    """How a fixed-point sum takes exact products."""
    number = accumulator.format
    wrap = accumulator.overflow is Overflow.WRAP
    if exact.lsb >= number.lsb and not wrap and number.bits <= lane.bits - 1:
        if count and exact.top - number.lsb > lane.bits - 3:
            raise NotExact(f"sums of {exact.top - number.lsb + 2} bits")
        return Way.WHOLE
    if number.bits > lane.fixed_bits:
        raise NotExact(f"sums of {number.bits} bits")
    if exact.bits > lane.bits:
        raise NotExact(f"an exact product has {exact.bits} bits")
    # Sums before saturation or wrapping; in single precision they are 32-bit integers.
    room = 30 if lane is SINGLE else 51
    steps = chunk if wrap and lane is not SINGLE else 1
    if largest * 2.0**-number.lsb * steps >= 2.0**room:
        raise NotExact(f"a product of {exact.top - number.lsb + 1} bits before the sum")
    return _FIXED_WAYS[accumulator.rounding]


_FIXED_WAYS = {
    Rounding.TOWARD_ZERO: Way.FIXED_RZ,
    Rounding.FLOOR: Way.FIXED_FLOOR,
    Rounding.NEAREST_EVEN: Way.FIXED_RNE,
}


def _fixed_outer_way(
    inner: Accumulator, way: Way | None, outer: FixedAccumulator, sums: Numbers, lane: Lane
) -> Way:
    """How a fixed-point outer sum takes the sums of chunks."""
    number = outer.format
    if number.bits > lane.fixed_bits:
        raise NotExact(f"outer sums of {number.bits} bits")
    if sums.top - number.lsb > (29 if lane is SINGLE else 50):
        raise NotExact(f"a chunk's sum of {sums.top - number.lsb + 1} bits")
    is_whole = way is Way.WHOLE and sums.lsb >= number.lsb and outer.overflow is Overflow.SATURATE
    if is_whole and max(sums.top - number.lsb, number.bits) < lane.bits - 1:
        return Way.WHOLE
    return _FIXED_WAYS[outer.rounding]


def _operand_shift(x: Extent, w: Extent, total: int, lane: Lane) -> int:
    """The part of the products' shift that x takes, both operands staying normal numbers of the lane."""
    low, high = lane.min_exponent - x.bottom, lane.max_exponent - 1 - x.top
    low = max(low, total - (lane.max_exponent - 1 - w.top))
    high = min(high, total - (lane.min_exponent - w.bottom))
    if low > high:
        raise NotExact(f"operands from 2**{x.bottom} and 2**{w.bottom} to 2**{x.top} and 2**{w.top}")
    shift = min(max(total // 2, low), high)
    if max(abs(shift), abs(total - shift)) > lane.max_exponent - 1:
        raise NotExact(f"operands scaled by 2**{shift} and 2**{total - shift}")
    return shift


def plan_sums(config: MacConfig, length: int, x: Extent, w: Extent, lane: Lane) -> LanePlan:
    """Constants for the plain sums of all products, where a lane holds each of them exactly."""
    bound = length * x.largest * w.largest
    if bound * 2.0**-config.product_lsb > 2.0**lane.bits:
        raise NotExact(f"a sum of {math.frexp(bound)[1] - config.product_lsb} bits")
    shift = -config.product_lsb
    if x.bottom + w.bottom + shift < lane.min_exponent:
        raise NotExact(f"products as small as 2**{x.bottom + w.bottom}")
    x_shift = _operand_shift(x, w, shift, lane)

    def step() -> LaneStep:
        return LaneStep(
            way=Way.SUM, man_bits=lane.bits, scale=1.0, maximum=math.inf, limit=math.inf, growth=1.0
        )

    return LanePlan(
        lane=lane,
        product=LaneStep(),
        inner=step(),
        outer=step(),
        x_shift=x_shift,
        w_shift=shift - x_shift,
        inner_shift=shift,
        outer_shift=shift,
        underflows=False,
        remark="",
    )
