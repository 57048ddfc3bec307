"""Fixed-point accumulators: exact bounds of every sum, from the weights' signs, in Python's integers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from golden.config import FixedAccumulator, FixedFormat, Overflow
from golden.rounding import Unpacked, cut_to_lsb
from sim.certify.layers import Layer, integer_range

__all__ = ["claim", "l1_width", "round_up", "summary", "width"]


def width(low: int, high: int) -> int:
    """Bits of the narrowest two's complement from ``low``, not above 0, to ``high``, not below 0."""
    return 1 + max(1, high.bit_length(), (-1 - low).bit_length() if low < 0 else 0)


def l1_width(weights: list[int], largest: int, cut: int) -> int:
    """Bits by the bound of A2Q, the l1 norm of a channel's weights times the largest input, less ``cut``."""
    return 1 + (sum(map(abs, weights)) * largest >> cut).bit_length()


def claim(layer: Layer, x_range: tuple[int, int]) -> dict[str, Any]:
    """What holds for every input of that range; the keys are those of docs/certificates.md."""
    config = layer.config
    inner, outer = config.accumulator, config.outer_accumulator
    found: dict[str, Any] = {"x_range": list(x_range)}
    bounds = [_channel(layer, row, x_range) for row in _rows(layer)]
    for key in bounds[0]:
        found[key] = [each[key] for each in bounds]
    limits = {"": inner.format, "chunk_": inner.format, "outer_": outer.format}
    for kind, number in limits.items():
        pairs = list(zip(found[kind + "low"], found[kind + "high"], strict=True))
        found[kind + "widths"] = [width(*pair) for pair in pairs]
        found[kind + "fits"] = all(_fits(low, high, number) for low, high in pairs)
    found["fits"] = (
        found["fits"]
        and outer.format.lsb == inner.format.lsb
        and _fits(min(found["low"]), max(found["high"]), outer.format)
    )
    return found


def summary(layer: Layer, claims: dict[str, dict[str, Any]]) -> dict[str, int]:
    """The layer's width by each bound, in bits of the accumulator's lsb, the loosest first.

    ``types`` knows the operands' formats only, ``l1`` is A2Q's norm, ``signs`` splits the weights by sign,
    and ``calibrated`` does so for inputs of the range that was seen; ``chunks`` are the widest inner sums in
    the given order.
    """
    config = layer.config
    cut = max(0, config.accumulator.format.lsb - config.product_lsb)
    largest = config.x.max_magnitude
    rows = [[config.w.max_magnitude] * layer.length] if layer.weights is None else layer.weights.tolist()
    most = layer.length * largest * config.w.max_magnitude
    return {
        "types": 1 + (most >> cut).bit_length(),
        "l1": max(l1_width(row, largest, cut) for row in rows),
        "signs": max(claims["format"]["widths"]),
        "calibrated": max(claims["calibrated"]["widths"]),
        "chunks": max(claims["format"]["chunk_widths"]),
        "chunks_calibrated": max(claims["calibrated"]["chunk_widths"]),
    }


def _rows(layer: Layer) -> list[list[int]] | list[None]:
    return [None] if layer.weights is None else layer.weights.tolist()


def _fits(low: int, high: int, number: FixedFormat) -> bool:
    return number.min_integer <= low and high <= number.max_integer


def _channel(layer: Layer, row: list[int] | None, x_range: tuple[int, int]) -> dict[str, Any]:
    config = layer.config
    inner, outer = config.accumulator, config.outer_accumulator
    cuts = inner.format.lsb > config.product_lsb
    starts = range(0, layer.length, config.chunk_size)
    lows, highs = [], []
    inexact = 0
    if row is None:
        corners = [a * b for a in x_range for b in integer_range(config.w)]
        low, high = (_cut(each, config.product_lsb, inner) for each in (min(0, *corners), max(0, *corners)))
        counts = [min(config.chunk_size, layer.length - start) for start in starts]
        lows, highs = [low * count for count in counts], [high * count for count in counts]
        inexact = layer.length
    elif cuts:
        unit = 1 << (inner.format.lsb - config.product_lsb)
        inexact = sum(each % unit != 0 for each in row)
        for start in starts:
            part = [
                sorted((x_range[0] * each, x_range[1] * each))
                for each in row[start : start + config.chunk_size]
            ]
            lows.append(sum(_cut(low, config.product_lsb, inner) for low, _ in part))
            highs.append(sum(_cut(high, config.product_lsb, inner) for _, high in part))
    else:
        lift = config.product_lsb - inner.format.lsb
        for start in starts:
            part = row[start : start + config.chunk_size]
            positive = sum(each for each in part if each > 0)
            negative = sum(part) - positive
            lows.append((x_range[0] * positive + x_range[1] * negative) << lift)
            highs.append((x_range[1] * positive + x_range[0] * negative) << lift)
    kept_lows, kept_highs = _kept(lows, highs, inner)
    chunk_cuts = outer.format.lsb > inner.format.lsb
    error = Fraction(0)
    if cuts:
        error += inexact * (Fraction(2) ** inner.format.lsb - Fraction(2) ** config.product_lsb)
    if chunk_cuts:
        error += len(starts) * (Fraction(2) ** outer.format.lsb - Fraction(2) ** inner.format.lsb)
    return {
        "low": sum(lows),
        "high": sum(highs),
        "chunk_low": min(lows),
        "chunk_high": max(highs),
        "outer_low": sum(_cut(each, inner.format.lsb, outer) for each in kept_lows),
        "outer_high": sum(_cut(each, inner.format.lsb, outer) for each in kept_highs),
        "error": round_up(error),
    }


def _kept(lows: list[int], highs: list[int], inner: FixedAccumulator) -> tuple[list[int], list[int]]:
    """The sums of chunks that leave the inner accumulator."""
    number = inner.format
    if inner.overflow is Overflow.WRAP and not _fits(min(lows), max(highs), number):
        return [number.min_integer] * len(lows), [number.max_integer] * len(highs)
    return [max(each, number.min_integer) for each in lows], [min(each, number.max_integer) for each in highs]


def _cut(integer: int, lsb: int, accumulator: FixedAccumulator) -> int:
    """A multiple of 2**lsb, cut to the accumulator's."""
    if accumulator.format.lsb <= lsb:
        return integer << (lsb - accumulator.format.lsb)
    return cut_to_lsb(Unpacked(integer < 0, abs(integer), lsb), accumulator.format.lsb, accumulator.rounding)


def round_up(number: Fraction) -> float:
    """The least float64 that is not below."""
    nearest = float(number)
    return nearest if Fraction(nearest) >= number else math.nextafter(nearest, math.inf)
