"""Test vectors for one multiply-accumulate: inputs, offsets, results, and which events they hit.

Uniformly random operands hardly ever reach an accumulator's edges, so most vectors are directed:
corners crossed, sums about to overflow, cancellation, sums near zero, exponents that just overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as crossed
from operator import attrgetter

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from golden.arith import StepEvents, add, addend_of, fmaq, fmaq_events
from golden.config import Accumulator, FixedFormat, FloatQuantizer, Format, MacConfig, Offsets
from golden.datapath import OffsetRange, offset_ranges, with_offsets

__all__ = ["MacVectors", "mac_vectors"]

_OWN_SHARE = 2  # one in so many vectors runs at the configuration's own offsets
_BLOCK = 64  # vectors at other offsets, for each setting
_MAX_BLOCKS = 64
_SEARCH = 4096  # vectors of the search for events that can happen


@dataclass(frozen=True, kw_only=True, slots=True)
class MacVectors:
    """Inputs and results of :func:`golden.arith.fmaq`, one a row; vectors of equal offsets adjoin."""

    x: NDArray[np.int64]
    w: NDArray[np.int64]
    acc: NDArray[np.int64]
    result: NDArray[np.int64]
    overflow: NDArray[np.int64]  #: 1 where the product's rounding or the sum's overflows.
    underflow: NDArray[np.int64]  #: 1 where one of them underflows.
    product_offset: NDArray[np.int64]  #: ``Offsets.product``.
    acc_offset: NDArray[np.int64] | None  #: ``Offsets.acc``; None without a product quantizer.
    product_word: NDArray[np.int64] | None  #: Random words of the product's rounding; None if it takes none.
    acc_word: NDArray[np.int64] | None  #: Random words of the sum's rounding; None if it takes none.
    counts: dict[str, int]  #: Vectors that hit an event: ``product_overflow``, ``inner_swamped``, ...
    missing: tuple[str, ...]  #: Events that a directed search finds and these vectors do not hit.

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Codes under one setting of the offsets."""

    config: MacConfig
    x: NDArray[np.int64]
    w: NDArray[np.int64]
    acc: NDArray[np.int64]
    product_word: NDArray[np.int64] | None
    acc_word: NDArray[np.int64] | None

    @property
    def step(self) -> tuple:
        """Arguments of :func:`golden.arith.fmaq`."""
        return self.acc, self.x, self.w, self.config, self.product_word, self.acc_word


def mac_vectors(config: MacConfig, count: int, seed: int, *, hardwired: bool | None = None) -> MacVectors:
    """Draw ``count`` vectors for the MAC of a configuration; the same for the same arguments.

    Half run at the configuration's own offsets and the others at settings drawn from everything the
    offset registers hold, the ends of the useful range first; all at its own if ``hardwired``, which
    is ``config.always_hardwired`` unless given.
    """
    rng = np.random.default_rng(seed)
    if hardwired is None:
        hardwired = config.always_hardwired
    others = [] if hardwired else _settings(config, rng, count - count // _OWN_SHARE)
    left = 0 if hardwired else count - count // _OWN_SHARE
    sizes = [left // len(others) + (i < left % len(others)) for i in range(len(others))]
    own = count - sum(sizes)
    groups = [_draw(config, rng, own)]
    groups += [_draw(other, rng, size) for other, size in zip(others, sizes, strict=True)]

    reachable = set()
    for setting in [config, *others[:4]]:
        reachable |= {name for name, hits in _hits(_draw(setting, rng, _SEARCH)).items() if hits}
    counts = dict.fromkeys(_event_names(config), 0)
    for group in groups:
        for name, hits in _hits(group).items():
            counts[name] += hits

    def rows(column) -> NDArray[np.int64]:
        return np.concatenate([np.broadcast_to(column(group), group.x.shape) for group in groups])

    def happened(event: str) -> NDArray[np.int64]:
        return rows(lambda group: _any(fmaq_events(*group.step), event))

    def words(field: str) -> NDArray[np.int64] | None:
        return None if getattr(groups[0], field) is None else rows(attrgetter(field))

    return MacVectors(
        x=rows(lambda group: group.x),
        w=rows(lambda group: group.w),
        acc=rows(lambda group: group.acc),
        result=rows(lambda group: fmaq(*group.step)),
        overflow=happened("overflow"),
        underflow=happened("underflow"),
        product_offset=rows(lambda group: group.config.offsets.product),
        acc_offset=None if config.product is None else rows(lambda group: group.config.offsets.acc),
        product_word=words("product_word"),
        acc_word=words("acc_word"),
        counts=counts,
        missing=tuple(name for name in counts if name in reachable and not counts[name]),
    )


def _settings(config: MacConfig, rng: Generator, count: int) -> list[MacConfig]:
    """The configuration at other offsets: the four ends of the useful ranges, then any register value."""
    ranges = offset_ranges(config)
    first, second = ranges.product, ranges.acc
    ends = crossed((first.low, first.high), (None,) if second is None else (second.low, second.high))
    settings = list(ends)
    for _ in range(min(count // _BLOCK, _MAX_BLOCKS) - len(settings)):
        settings.append((_any_register(first, rng), None if second is None else _any_register(second, rng)))
    return [with_offsets(config, Offsets(product=product, acc=acc, outer=0)) for product, acc in settings]


def _any_register(offsets: OffsetRange, rng: Generator) -> int:
    """Mostly an offset within the useful range, else any value of the register."""
    if rng.random() < 0.75:
        return int(rng.integers(offsets.low, offsets.high + 1))
    return int(rng.integers(-(2 ** (offsets.width - 1)), 2 ** (offsets.width - 1)))


def _draw(config: MacConfig, rng: Generator, count: int) -> _Inputs:
    """Corners of all three operands, crossed, and at least as many directed vectors."""
    x, w, acc = (_corners(number) for number in (config.x, config.w, config.accumulator.format))
    grid = [column.ravel() for column in np.meshgrid(x, w, acc)]
    chosen = rng.permutation(len(grid[0]))[: count // 2]
    directed = _directed(config, rng, count - len(chosen))
    x, w, acc = (np.append(a[chosen], b) for a, b in zip(grid, directed, strict=True))
    return _Inputs(
        config,
        x,
        w,
        acc,
        _draw_words(config.product, rng, count),
        _draw_words(config.accumulator, rng, count),
    )


def _draw_words(
    quantizer: FloatQuantizer | Accumulator | None, rng: Generator, count: int
) -> NDArray[np.int64] | None:
    """Random words of a stochastic rounding, the smallest and the largest more often than others."""
    if quantizer is None or quantizer.random_bits is None:
        return None
    largest = 2**quantizer.random_bits - 1
    anything = rng.integers(0, largest + 1, count)
    return np.where(rng.random(count) < 0.75, anything, rng.choice([0, largest], count))


def _directed(config: MacConfig, rng: Generator, count: int) -> tuple[NDArray[np.int64], ...]:
    """Any operands, half of them corners, and a running sum that makes a difficult addition of it.

    Stochastic roundings take the word 0 here; the vectors have others.
    """
    number = config.accumulator.format
    x, w = _operands(config.x, rng, count), _operands(config.w, rng, count)
    product = _as_signed(
        add(np.zeros(count, dtype=np.int64), addend_of(x, w, config, 0), config.accumulator, 0), number
    )
    near = rng.integers(-3, 4, count) * 2 ** rng.integers(0, max(number.code_bits - 4, 1), count)
    step = 0 if isinstance(number, FixedFormat) else 2**number.man_bits
    noise = rng.integers(0, step + 1, count)
    low, high = _signed_range(number)
    signed = np.choose(
        rng.integers(0, 6, count),
        [
            _as_signed(rng.integers(0, 2**number.code_bits, count), number),
            -product + rng.integers(-2, 3, count),
            -product + near,
            np.where(product < 0, low + abs(near), high - abs(near)),
            near,
            (product + step * rng.integers(-number.man_bits - 3, number.man_bits + 4, count) + noise)
            * rng.choice([-1, 1], count),
        ],
    )
    return x, w, _as_code(np.clip(signed, low, high), number)


def _operands(number: Format, rng: Generator, count: int) -> NDArray[np.int64]:
    anything = _finite(rng.integers(0, 2**number.code_bits, count), number)
    return np.where(rng.random(count) < 0.5, anything, rng.choice(_corners(number), count))


def _finite(codes: NDArray[np.int64], number: Format) -> NDArray[np.int64]:
    """The codes, infinity and NaN replaced by the largest finite number of their sign."""
    if isinstance(number, FixedFormat):
        return codes
    magnitude = codes & (2 ** (number.code_bits - 1) - 1)
    return codes - magnitude + np.minimum(magnitude, number.max_magnitude_code)


def _corners(number: Format) -> NDArray[np.int64]:
    """Zeros, ends of the range, their neighbours, one, and the largest power of two; of either sign."""
    low, high = _signed_range(number)
    if isinstance(number, FixedFormat):
        power = 2 ** (high.bit_length() - 1)
        signed = [0, 1, 2, 3, power - 1, power, high - 1, high, -1, -2, -power, low, low + 1]
        codes = _as_code(np.array([n for n in signed if low <= n <= high]), number)
        return np.unique(codes)
    power = number.max_exp_code << number.man_bits
    middle = (number.max_exp_code // 2) << number.man_bits
    magnitudes = [0, 1, 2, middle, middle + 1, power - 1, power, high - 1, high]
    if number.subnormals:
        normal = number.min_exp_code << number.man_bits
        magnitudes += [normal - 1, normal, normal + 1]
    magnitudes = np.unique(np.clip(magnitudes, 0, high))
    return np.append(magnitudes, magnitudes + 2 ** (number.code_bits - 1))


def _signed_range(number: Format) -> tuple[int, int]:
    """Ends of the signed integer that stands for a code here: a fixed integer, a float's signed body."""
    if isinstance(number, FixedFormat):
        return number.min_integer, number.max_integer
    return -number.max_magnitude_code, number.max_magnitude_code


def _as_signed(codes: NDArray[np.int64], number: Format) -> NDArray[np.int64]:
    top = codes >> (number.code_bits - 1)
    if isinstance(number, FixedFormat):
        return codes - (top << number.code_bits)
    magnitude = codes & (2 ** (number.code_bits - 1) - 1)
    return np.where(top == 1, -magnitude, magnitude)


def _as_code(signed: NDArray[np.int64], number: Format) -> NDArray[np.int64]:
    if isinstance(number, FixedFormat):
        return signed & (2**number.code_bits - 1)
    return abs(signed) + (signed < 0) * 2 ** (number.code_bits - 1)


def _event_names(config: MacConfig) -> list[str]:
    product = [] if config.product is None else ["product_overflow", "product_underflow"]
    return [*product, "inner_overflow", "inner_underflow", "inner_swamped"]


def _any(steps: tuple[StepEvents | None, StepEvents], event: str) -> NDArray[np.int64]:
    """1 where the event happened in any of the steps."""
    flags = [np.asarray(getattr(step, event)) for step in steps if step is not None]
    return np.any(np.broadcast_arrays(*flags), axis=0).astype(np.int64)


def _hits(inputs: _Inputs) -> dict[str, int]:
    """How many of the vectors hit each event that the configuration has."""
    of_product, of_sum = fmaq_events(*inputs.step)
    steps = {"product": of_product, "inner": of_sum}

    def hits(name: str) -> int:
        place, _, event = name.partition("_")
        return int(np.count_nonzero(getattr(steps[place], event)))

    return {name: hits(name) for name in _event_names(inputs.config)}
