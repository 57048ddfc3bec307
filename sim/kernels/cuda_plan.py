"""Which way a card computes a product, and what its kernels take from a configuration."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

from golden.config import Encoding, FixedFormat, FloatFormat, MacConfig, Overflow
from golden.gradients import Estimator, GradientRule
from golden.random_words import RandomWords
from sim.kernels.cuda_library import Job
from sim.kernels.lanes import SINGLE, Extent, LanePlan, NotExact, Way, _operand_shift
from sim.kernels.library import LaneStep
from sim.kernels.plan import Path, Plan, ways
from sim.kernels.product import _step

__all__ = ["explain", "explain_masks", "formats_suffice", "mask_job", "nothing_is_masked", "product_job"]

_FLOAT_WAYS = (Way.RZ, Way.RNE, Way.SR)
_TOP = 3  #: The path of sums that saturate by themselves.


def _plan(config: MacConfig, length: int, x: Extent, w: Extent) -> Plan:
    """The fastest way of the processor's that a card has, too."""
    for plan in ways(config, length, x, w, isa="cuda")[0]:
        if plan.path in (Path.SUMS, Path.SCALAR) or (plan.path is Path.SINGLE and _has(plan.lanes)):
            return plan
    raise AssertionError("the steps on integers are always there")


def _has(lanes: LanePlan) -> bool:
    """Whether a card has a lane's steps."""
    product, inner, outer = lanes.product, lanes.inner, lanes.outer
    if inner.guard or outer.guard:
        return False
    if inner.way in _FLOAT_WAYS:
        return outer.way in _FLOAT_WAYS and product.way in (Way.NONE, Way.EXACT, *_FLOAT_WAYS)
    return outer.way == Way.WHOLE if inner.way == Way.WHOLE else bool(outer.same_fixed)


def _at_top(config: MacConfig, lanes: LanePlan, x: Extent, w: Extent) -> LanePlan | None:
    """The same at scales where the largest number of each format is that of binary32 with as many bits.

    Then rounding toward zero saturates. None where the ways are others, or a format has such a range that
    the differences of its sums fall below 1 at this scale.
    """
    inner, outer, quantizer = config.accumulator, config.outer_accumulator, config.product
    for part in filter(None, (inner, outer, quantizer)):
        number = part.format
        if isinstance(number, FixedFormat) or number.encoding is not Encoding.NORMALS or number.exp_bits > 6:
            return None
    if {lanes.inner.way, lanes.outer.way} != {Way.RZ} or lanes.product.way in (Way.RNE, Way.SR):
        return None

    def shift(number: FloatFormat) -> int:
        return SINGLE.max_exponent - number.max_exponent

    def moved(step: LaneStep, number: FloatFormat, old: int, new: int, addend: int) -> LaneStep:
        step = LaneStep.from_buffer_copy(step)
        step.maximum, step.smallest = math.ldexp(number.max_value, new), math.ldexp(step.smallest, new - old)
        if not SINGLE.min_exponent <= new - addend <= SINGLE.max_exponent:
            raise NotExact(f"a factor of 2**{new - addend}")
        step.scale = 2.0 ** (new - addend)
        return step

    largest, inner_shift, outer_shift = x.largest * w.largest, shift(inner.format), shift(outer.format)
    product, product_shift = LaneStep(), inner_shift
    try:
        if quantizer is not None:
            held = largest <= quantizer.format.max_value and not lanes.underflows
            normal = x.bottom + w.bottom + inner_shift >= SINGLE.min_exponent
            if not held or lanes.product.way != Way.EXACT:  # else the quantizer changes nothing
                if not (held and normal and largest <= inner.format.max_value):
                    product_shift = shift(quantizer.format)
                old = lanes.x_shift + lanes.w_shift
                product = moved(lanes.product, quantizer.format, old, product_shift, product_shift)
        x_shift = _operand_shift(x, w, product_shift, SINGLE)
        return replace(
            lanes,
            product=product,
            inner=moved(lanes.inner, inner.format, lanes.inner_shift, inner_shift, product_shift),
            outer=moved(lanes.outer, outer.format, lanes.outer_shift, outer_shift, inner_shift),
            x_shift=x_shift,
            w_shift=product_shift - x_shift,
            outer_shift=outer_shift,
        )
    except NotExact:
        return None


@lru_cache(maxsize=1 << 12)
def formats_suffice(config: MacConfig, length: int) -> bool:
    """Whether a fast way is exact for all operands that the formats hold: then nobody has to look at them."""
    return _plan(config, length, Extent.of(config.x), Extent.of(config.w)).path is not Path.SCALAR


def explain(config: MacConfig, length: int) -> str:
    """Which way a card computes sums of ``length`` products of any operands."""
    x, w = Extent.of(config.x), Extent.of(config.w)
    plan = _plan(config, length, x, w)
    if plan.path is Path.SINGLE and _at_top(config, plan.lanes, x, w):
        return "steps in single precision, saturated by rounding toward zero"
    return plan.reason


def explain_masks(config: MacConfig, length: int, rule: GradientRule) -> str:
    """Which way a card finds the masks of a rule for any operands."""
    x, w = Extent.of(config.x), Extent.of(config.w)
    if nothing_is_masked(config, length, x, w, rule):
        return "no masks: float32 products"
    plan = _mask_plan(config, length, x, w)
    how = plan.reason.replace("vectors of ", "")
    slow = "; slower" if plan.path is Path.SCALAR else ""
    return f"masks recomputed by {how}{slow}, then float32 products that leave out what they mask"


def product_job(
    config: MacConfig, length: int, x: Extent, w: Extent, random: RandomWords, *, by_column: bool
) -> Job:
    """What a configuration and the range of operands decide of a product."""
    return _with_words(_product_job(config, length, x, w, by_column), random)


def mask_job(config: MacConfig, length: int, x: Extent, w: Extent, random: RandomWords) -> Job:
    """The same of a product's masks."""
    return _with_words(_mask_job(config, length, x, w), random)


def _with_words(template: Job, random: RandomWords) -> Job:
    job = Job.from_buffer_copy(template)
    job.call, job.seed = random.call, random.seed
    return job


@lru_cache(maxsize=1 << 12)
def _product_job(config: MacConfig, length: int, x: Extent, w: Extent, by_column: bool) -> Job:
    plan = _plan(config, length, x, w)
    if by_column and plan.path is not Path.SUMS:
        plan = Plan(path=Path.SCALAR, reason="each column has an order of its own")
    lanes, job = plan.lanes, _steps(config, length)
    if plan.path is Path.SUMS:
        job.chunk = length
    elif lanes is not None and (top := _at_top(config, lanes, x, w)) is not None:
        return _in_lanes(job, top, _TOP)
    return job if lanes is None else _in_lanes(job, lanes, lanes.lane.path)


def _mask_plan(config: MacConfig, length: int, x: Extent, w: Extent) -> Plan:
    """The fastest way that has every sum of every step."""
    for plan in ways(config, length, x, w, isa="cuda")[0]:
        if plan.path is Path.SCALAR or (plan.path is Path.SINGLE and _has(plan.lanes)):
            return plan
    raise AssertionError("the steps on integers are always there")


@lru_cache(maxsize=1 << 12)
def _mask_job(config: MacConfig, length: int, x: Extent, w: Extent) -> Job:
    lanes, job = _mask_plan(config, length, x, w).lanes, _steps(config, length)
    return job if lanes is None else _in_lanes(job, lanes, lanes.lane.path)


@lru_cache(maxsize=1 << 12)
def nothing_is_masked(config: MacConfig, length: int, x: Extent, w: Extent, rule: GradientRule) -> bool:
    """Whether all steps let the gradient pass, whatever such operands are."""
    if rule.estimator is Estimator.IDENTITY:
        return True
    if rule.estimator.is_difference:
        return False
    plan = _plan(config, length, x, w)
    if plan.path is Path.SUMS:
        accumulator = config.accumulator
        holds_all = (
            length * x.largest * w.largest <= accumulator.format.max_integer * 2.0**accumulator.format.lsb
        )
        return holds_all or accumulator.overflow is Overflow.SATURATE
    steps = () if plan.lanes is None else (plan.lanes.inner, plan.lanes.outer)
    # Fixed-point ways have no maximum: they look at every sum.
    return bool(steps) and all(step.way in _FLOAT_WAYS and step.maximum == math.inf for step in steps)


def _steps(config: MacConfig, length: int) -> Job:
    job = Job(k=length, chunk=config.chunk_size, x_scale=1.0, w_scale=1.0, out_scale=1.0, out_scale_rest=1.0)
    parts = (config.product, config.accumulator, config.outer_accumulator)
    job.product, job.inner, job.outer = (_step(part) for part in parts)
    return job


def _in_lanes(job: Job, lanes: LanePlan, path: int) -> Job:
    job.path, job.underflows = path, int(lanes.underflows)
    job.x_scale, job.w_scale = 2.0**lanes.x_shift, 2.0**lanes.w_shift
    half = lanes.outer_shift // 2
    job.out_scale, job.out_scale_rest = 2.0**-half, 2.0 ** -(lanes.outer_shift - half)
    job.lane_product, job.lane_inner, job.lane_outer = lanes.product, lanes.inner, lanes.outer
    return job
