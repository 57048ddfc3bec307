"""Which way a product is computed: a property of the configuration, the length and the operands' range.

The ways, fastest first. Each has a function that says when it equals the contract, or why not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import torch

from golden.config import ConfigError, FixedAccumulator, MacConfig, Overflow
from sim.kernels.lanes import DOUBLE, HALF, SINGLE, Extent, Lane, LanePlan, NotExact, plan_lane, plan_sums
from sim.kernels.library import default_mode, instruction_sets

__all__ = ["Path", "Plan", "explain", "plan_product", "vector_units", "ways"]

#: Bounds are computed in float64, whose exponents reach a little more than twice as far.
_FARTHEST_EXPONENT = 450


class Path(Enum):
    """Ways to compute a product."""

    SUMS = "sums"  #: Exact sums of all products, in any order, wrapped once at the end.
    SHORT = "short"  #: Saturating 16-bit integers.
    HALF = "half"  #: Step by step in vectors of binary16.
    SINGLE = "single"  #: Step by step in vectors of binary32.
    DOUBLE = "double"  #: Step by step in vectors of binary64.
    SCALAR = "scalar"  #: Step by step on integers, one output at a time: any configuration.


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A way, and what it takes."""

    path: Path
    reason: str  #: In words.
    lanes: LanePlan | None = None  #: For HALF, SINGLE, DOUBLE, and SUMS.
    shift: int = -1  #: For SHORT: see ``fmaq_job``.


def _need_sums(config: MacConfig, length: int, x: Extent, w: Extent) -> None:
    """Raise :class:`NotExact` unless the result is the exact sum of all products, wrapped at the end.

    So it is where nothing is cut, chunks end in the same accumulator, and the range is either not left
    or wrapped, since reducing modulo 2**bits commutes with addition.
    """
    acc = config.accumulator
    if not isinstance(acc, FixedAccumulator) or config.outer is not None:
        raise NotExact("sums are rounded")
    if config.product_lsb < acc.format.lsb:
        raise NotExact("products are cut")
    bound = length * x.largest * w.largest
    if acc.overflow is Overflow.SATURATE and bound > acc.format.max_integer * 2.0**acc.format.lsb:
        raise NotExact("sums may saturate")


def _short_shift(config: MacConfig, x: Extent, w: Extent) -> int:
    """The left shift that lets 16-bit saturation be the accumulator's, or -1: saturate by limits.

    A sum of P bits times 2**(16 - P) saturates at the ends of 16 bits; bits below are no part of it. Raises
    :class:`NotExact` unless operands and products fit 16 bits and nothing is cut.
    """
    acc = config.accumulator
    if not isinstance(acc, FixedAccumulator) or acc.overflow is Overflow.WRAP or acc.format.bits > 16:
        raise NotExact("no saturating integers of 16 bits or less")
    if config.outer is not None or config.product_lsb != acc.format.lsb:
        raise NotExact("products are cut or shifted")
    most = x.largest * w.largest * 2.0**-config.product_lsb
    units = max(x.largest * 2.0**-config.x.lsb_exponent, w.largest * 2.0**-config.w.lsb_exponent)
    if max(most, units) > 2**15 - 1:
        raise NotExact("products of more than 16 bits")
    shift = 16 - acc.format.bits
    if max(most, w.largest * 2.0**-config.w.lsb_exponent) * 2**shift <= 2**15 - 1:
        return shift
    return -1


def _sums(config: MacConfig, length: int, x: Extent, w: Extent) -> Plan:
    _need_sums(config, length, x, w)
    try:
        lanes = plan_sums(config, length, x, w, SINGLE)
    except NotExact:
        lanes = plan_sums(config, length, x, w, DOUBLE)
    how = "and wrapped once" if config.accumulator.overflow is Overflow.WRAP else "and none can overflow"
    return Plan(
        path=Path.SUMS, lanes=lanes, reason=f"plain sums: exact in {lanes.lane.name} in any order, {how}"
    )


def _short(config: MacConfig, x: Extent, w: Extent) -> Plan:
    shift = _short_shift(config, x, w)
    how = "saturated by the processor" if shift >= 0 else "saturated by comparison"
    return Plan(path=Path.SHORT, shift=shift, reason=f"steps in 16-bit integers, {how}")


def _steps(config: MacConfig, length: int, x: Extent, w: Extent, lane: Lane, *, count: bool) -> Plan:
    lanes = plan_lane(config, length, x, w, lane, count=count)
    path = {HALF: Path.HALF, SINGLE: Path.SINGLE, DOUBLE: Path.DOUBLE}[lane]
    return Plan(path=path, lanes=lanes, reason=f"steps in vectors of {lane.name}{lanes.remark}")


def _need_moderate(config: MacConfig, x: Extent, w: Extent) -> None:
    """Raise :class:`NotExact` for exponents with which bounds would leave float64's range."""
    parts = (config.product, config.accumulator, config.outer_accumulator)
    exponents = [part.format.bias for part in parts if part is not None]
    exponents += [x.top, x.bottom, w.top, w.bottom, config.x.lsb_exponent, config.w.lsb_exponent]
    farthest = max(exponents, key=abs)
    if abs(farthest) > _FARTHEST_EXPONENT:
        raise NotExact(f"exponents as far out as {farthest}")


def ways(
    config: MacConfig, length: int, x: Extent, w: Extent, *, count: bool = False, isa: str | None = None
) -> tuple[list[Plan], list[str]]:
    """Every way that equals the contract, the fastest first, and why those before it do not."""
    isa = isa or instruction_sets()[0]
    tries: dict[str, Callable[[], Plan]] = {}
    if not count:
        tries["plain sums"] = lambda: _sums(config, length, x, w)
        tries["16-bit integers"] = lambda: _short(config, x, w)
    if isa == "avx512fp16" and not count:
        tries[HALF.name] = lambda: _steps(config, length, x, w, HALF, count=False)
    for lane in (SINGLE, DOUBLE):
        tries[lane.name] = lambda lane=lane: _steps(config, length, x, w, lane, count=count)
    plans, reasons = [], []
    if isa == "generic":
        tries, reasons = {}, ["this processor has no vector type that is used"]
    for name, attempt in tries.items():
        try:
            _need_moderate(config, x, w)
            plans.append(attempt())
        except NotExact as reason:
            if not plans:
                reasons.append(f"not {name}: {reason}")
    return [*plans, Plan(path=Path.SCALAR, reason="steps on integers, one by one")], reasons


@lru_cache(maxsize=1 << 14)
def plan_product(
    config: MacConfig, length: int, x: Extent, w: Extent, *, count: bool = False, isa: str | None = None
) -> Plan:
    """The fastest way that equals the contract for sums of ``length`` products of such operands.

    ``count``: with the events of each step. ``isa``: an instruction set other than the machine's widest.
    """
    return ways(config, length, x, w, count=count, isa=isa)[0][0]


@default_mode()
def explain(config: MacConfig, length: int, x: float | None = None, w: float | None = None) -> str:
    """Which way sums of ``length`` products are computed, and why the faster ones are not.

    ``x`` and ``w`` are the operands' largest magnitudes; None: all that their formats hold.
    """
    if length < 0:
        raise ConfigError(f"a sum has 0 products or more, not {length}")
    extents = []
    for number, largest in ((config.x, x), (config.w, w)):
        extent = Extent.of(number)
        if largest is not None and not 0 <= largest <= extent.largest:
            raise ConfigError(f"{number.name} holds magnitudes up to {extent.largest}, not {largest}")
        extents.append(extent if largest is None else Extent(largest=largest, smallest=extent.smallest))
    plans, reasons = ways(config, length, *extents)
    return "; ".join([plans[0].reason, *reasons])


def vector_units() -> bool:
    """Whether torch's product of 8-bit integers is exact here: without VNNI it may saturate inside."""
    return bool(torch.cpu._is_vnni_supported())
