"""What kernels are compared on: random configurations, and operands that overflow, underflow and cancel."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Generator, Tensor

from golden.codes import decode, quantize_values
from golden.config import (
    MAX_BIAS,
    MAX_RANDOM_BITS,
    Accumulator,
    ConfigError,
    Encoding,
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
from sim.kernels.lanes import Extent

__all__ = ["KINDS", "draw", "random_config", "thresholds"]

#: Operands, by what they bring about.
KINDS = ("any", "overflow", "underflow", "cancel", "alternate", "few", "threshold", "swamp")

_FIXED_ROUNDINGS = (Rounding.TOWARD_ZERO, Rounding.FLOOR, Rounding.NEAREST_EVEN)


def draw(
    config: MacConfig, rows: int, length: int, columns: int, kind: str, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Operands a[rows, length] and b[length, columns], float64 values of the configuration's formats.

    ``overflow``: large magnitudes, one sign more often. ``underflow``: small ones. ``cancel``: each
    product is followed by its negative, or that times a power of two. ``alternate``: large, signs take turns.
    ``few``: three exponents. ``threshold``: products at or next to where a format begins or ends, so that
    sums are there, too. ``swamp``: a large product, then small ones, of the other sign or, in every second
    column, of the same.
    """
    shapes = ((config.x, (rows, length)), (config.w, (length, columns)))
    if kind == "threshold":
        return _at_thresholds(config, rows, length, columns, generator)
    low, high = {
        "overflow": (0.75, 1.0),
        "underflow": (0.0, 0.3),
        "alternate": (0.7, 1.0),
        "swamp": (0.6, 1.0),
    }.get(kind, (0.0, 1.0))
    a, b = (_between(number, shape, low, high, generator) for number, shape in shapes)
    if kind == "few":
        a, b = (
            _three_exponents(values, number, generator)
            for values, (number, _) in zip((a, b), shapes, strict=True)
        )
    if kind == "overflow":
        keep = torch.rand(a.shape, generator=generator) < 0.9
        a, b = _held(torch.where(keep, a.abs(), -a.abs()), config.x), _held(b.abs(), config.w)
    if kind == "alternate":
        sign = 1.0 - 2.0 * (torch.arange(length) % 2)
        a, b = _held(a.abs(), config.x), _held(b.abs() * sign[:, None], config.w)
    if kind == "cancel" and length > 1:
        pairs = length // 2
        shifts = torch.tensor([0, 0, 0, 0, -1, 1, -3, 4])[torch.randint(0, 8, (pairs,), generator=generator)]
        a[:, 1 : 2 * pairs : 2] = _held(a[:, 0 : 2 * pairs : 2] * torch.exp2(shifts.double()), config.x)
        b[1 : 2 * pairs : 2] = _held(-b[0 : 2 * pairs : 2], config.w)
    if kind == "swamp" and length > 1:
        large = torch.arange(length) % 16 == 0
        small_a, small_b = (_between(number, shape, 0.0, 0.4, generator) for number, shape in shapes)
        a = torch.where(large, _held(a.abs(), config.x), _held(-small_a.abs(), config.x))
        either = 1.0 - 2.0 * (torch.arange(columns) % 2)
        b = torch.where(large[:, None], _held(b.abs(), config.w), _held(small_b.abs() * either, config.w))
    if kind in ("any", "cancel", "few"):
        a = torch.where(torch.rand(a.shape, generator=generator) < 0.1, 0.0, a)
    return a, b


def thresholds(config: MacConfig) -> list[float]:
    """Magnitudes at which a format of the configuration begins, ends or changes."""
    found = []
    for part in (config.product, config.accumulator, config.outer_accumulator):
        if part is None:
            continue
        number = part.format
        if isinstance(number, FixedFormat):
            end = number.max_integer * 2.0**number.lsb
            found += [2.0**number.lsb, 2.0 ** (number.lsb - 1), end, end / 2, end / config.chunk_size]
        else:
            start = 2.0 ** (number.lsb_exponent if number.subnormals else -number.bias)
            normal = 2.0 ** (1 - number.bias)
            found += [start, start, start, normal, number.max_value, number.max_value / 2]
    return found


def _between(number: Format, shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    """Values whose magnitude codes lie between two fractions of the largest; signs at random."""
    largest = number.max_integer if isinstance(number, FixedFormat) else number.max_magnitude_code
    first, last = math.floor(low * largest), math.ceil(high * largest)
    magnitude = torch.randint(first, last + 1, shape, generator=generator)
    negative = torch.rand(shape, generator=generator) < 0.5
    if isinstance(number, FixedFormat):
        signed = torch.where(negative, -magnitude - (magnitude == largest).long(), magnitude)
        return signed.clamp(number.min_integer, number.max_integer).double() * 2.0**number.lsb
    return decode(magnitude + negative * 2 ** (number.code_bits - 1), number)


def _held(values: Tensor, number: Format) -> Tensor:
    """The nearest values toward zero that the format holds."""
    return quantize_values(values, number, Rounding.TOWARD_ZERO)


def _three_exponents(values: Tensor, number: Format, generator: Generator) -> Tensor:
    extent = Extent.of(number)
    picks = torch.randint(extent.bottom, extent.top + 1, (3,), generator=generator)
    significand, _ = values.frexp()
    exponent = picks[torch.randint(0, 3, values.shape, generator=generator)]
    return _held(torch.ldexp(significand * 2, exponent.double()), number)


def _at_thresholds(
    config: MacConfig, rows: int, length: int, columns: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    x, w = Extent.of(config.x), Extent.of(config.w)
    targets = thresholds(config)

    def pick(choices: list[float], shape: tuple[int, ...]) -> Tensor:
        items = torch.tensor(choices, dtype=torch.float64)
        return items[torch.randint(0, len(choices), shape, generator=generator)]

    at = pick(targets, (length,))
    exponent = at.frexp()[1] - 1
    low = torch.clamp(exponent - w.top, min=x.bottom)
    high = torch.maximum(torch.clamp(exponent - w.bottom, max=x.top), low)
    span = (torch.rand(length, generator=generator) * (high - low + 1)).floor()
    power = torch.exp2((low + span).clamp(x.bottom, x.top).double())
    signs, factors = [1.0, -1.0], [1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 1.5, 0.75]
    fine = [1.0] * 6
    for part in (config.product, config.accumulator):
        if part is not None:
            fine += [1 + 2.0**-part.format.man_bits, 1 - 2.0 ** -(part.format.man_bits + 1)]
    a = power * pick(signs, (rows, length)) * pick([1.0, 1.0, 1.0, 0.5, 2.0], (rows, length))
    b = (at / power)[:, None] * pick(signs, (length, columns)) * pick(factors, (length, columns))
    return _held(a, config.x), _held(b * pick(fine, (length, columns)), config.w)


def random_config(rng: Random) -> MacConfig:
    """Any configuration; ranges mostly meet, so that something happens."""
    while True:
        try:
            return _config(rng)
        except ConfigError:  # such as e1m0, or a bias out of bounds
            continue


def _config(rng: Random) -> MacConfig:
    if rng.random() < 0.3:
        return _narrow(rng)
    x, w = _operand(rng), _operand(rng)
    x_range, w_range = Extent.of(x), Extent.of(w)
    top, bottom = x_range.top + w_range.top + 1, x_range.bottom + w_range.bottom
    chunk = rng.choice([1, 3, 4, 16, 16, 16, 64, 100, 1000])

    def accumulator(fixed: float) -> Accumulator:
        reach = top + rng.randint(-2, chunk.bit_length() + 1)
        if rng.random() < fixed:
            return _fixed(rng, reach, x.lsb_exponent + w.lsb_exponent)
        return _float(rng, reach, bottom, aligned=True)

    integers = isinstance(x, FixedFormat) and isinstance(w, FixedFormat)
    inner, product = accumulator(0.7 if integers else 0.25), None
    if isinstance(inner, FloatAccumulator) and rng.random() < 0.7:
        product = _float(rng, top + rng.randint(-2, 1), bottom, aligned=False)
    outer = accumulator(0.3) if rng.random() < 0.35 else None
    return MacConfig(x=x, w=w, product=product, accumulator=inner, chunk_size=chunk, outer=outer)


def _narrow(rng: Random) -> MacConfig:
    """FP8 or integers into formats that even 16-bit lanes may hold: the ones in use."""
    chunk = rng.choice([1, 16, 16, 64])
    if rng.random() < 0.4:
        x, w = (FixedFormat(bits=rng.randint(2, 8), lsb=0, signed=rng.random() < 0.8) for _ in range(2))
        number = FixedFormat(bits=rng.choice([6, 8, 10, 12, 15, 16, 16, 17, 20, 24, 32]), lsb=0, signed=True)
        overflow = rng.choice([Overflow.SATURATE, Overflow.SATURATE, Overflow.WRAP])
        inner, product = FixedAccumulator(format=number, rounding=Rounding.FLOOR, overflow=overflow), None
        return MacConfig(x=x, w=w, product=product, accumulator=inner, chunk_size=chunk, outer=None)

    def number(man_bits: int, bias: int, exp_bits: int) -> FloatFormat:
        return FloatFormat(exp_bits=exp_bits, man_bits=man_bits, bias=bias, encoding=Encoding.NORMALS)

    x, w = (number(rng.randint(1, 4), rng.randint(-4, 8), rng.randint(2, 3)) for _ in range(2))
    top = Extent.of(x).top + Extent.of(w).top + 1
    exp_bits = rng.choice([2, 3, 4, 4, 4])
    rounding = rng.choice(
        [Rounding.TOWARD_ZERO, Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.STOCHASTIC]
    )
    random_bits = rng.randint(1, 8) if rounding is Rounding.STOCHASTIC else None
    fields = dict(rounding=rounding, random_bits=random_bits)
    last = 2**exp_bits - 1
    product = FloatQuantizer(
        format=number(rng.randint(1, 9), last - top + rng.randint(0, 2), exp_bits), **fields
    )
    number = number(rng.randint(1, 9), last - top + rng.randint(-2, 2), exp_bits)
    align = rng.choice([None, None, None, 0, 1])
    return MacConfig(
        x=x,
        w=w,
        product=rng.choice([product, product, None]),
        accumulator=FloatAccumulator(format=number, **fields, alignment_bits=align),
        chunk_size=chunk,
        outer=None,
    )


def _operand(rng: Random) -> Format:
    kind = rng.random()
    if kind < 0.3:
        bits = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 12, 16])
        lsb = rng.choice([0, 0, 0, -3, 4, rng.randint(-MAX_BIAS, MAX_BIAS)])
        return FixedFormat(bits=bits, lsb=lsb, signed=bits > 1 and rng.random() < 0.7)
    if kind < 0.4:
        wide = rng.choice([(8, 23), (5, 10), (8, 7), (8, 23)])
        return _format(rng, *wide, bias=2 ** (wide[0] - 1) - 1)
    exp_bits = rng.randint(1, 5)
    bias = 2 ** (exp_bits - 1) - 1 + rng.choice([0, 0, 0, 3, -2, rng.randint(-60, 60)])
    if rng.random() < 0.05:
        bias = rng.randint(-MAX_BIAS, MAX_BIAS)
    return _format(rng, exp_bits, rng.randint(0, 5), bias=bias)


def _format(rng: Random, exp_bits: int, man_bits: int, bias: int) -> FloatFormat:
    encoding = rng.choice(
        [*[Encoding.NORMALS] * 6, Encoding.SUBNORMALS, Encoding.SUBNORMALS, Encoding.FN, Encoding.IEEE]
    )
    return FloatFormat(exp_bits=exp_bits, man_bits=man_bits, bias=bias, encoding=encoding)


def _float(rng: Random, top: int, bottom: int, *, aligned: bool) -> FloatAccumulator | FloatQuantizer:
    """Ends near 2**top, or begins near 2**bottom, or has all of float32's range."""
    exp_bits = rng.choice([1, 2, 3, 4, 4, 4, 5, 5, 6, 8])
    man_bits = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 10, 12, 15, 18, 20, 21, 22, 23])
    ends = 2**exp_bits - 1 - top
    begins = -bottom - rng.randint(0, 3)
    bias = rng.choice([ends, ends, ends, begins, 2 ** (exp_bits - 1) - 1])
    rounding = rng.choice(
        [Rounding.TOWARD_ZERO, Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.STOCHASTIC]
    )
    stochastic = rounding is Rounding.STOCHASTIC
    fields = dict(
        format=_format(rng, exp_bits, man_bits, bias),
        rounding=rounding,
        random_bits=rng.randint(1, MAX_RANDOM_BITS) if stochastic else None,
    )
    if not aligned:
        return FloatQuantizer(**fields)
    return FloatAccumulator(
        **fields, alignment_bits=rng.choice([None, None, None, 0, 1, 2, 3, rng.randint(4, 23)])
    )


def _fixed(rng: Random, top: int, lsb: int) -> FixedAccumulator:
    """Cuts nothing or much, and ends near 2**top or beyond; at most float64's 53 bits."""
    cut = lsb + rng.choice([0, 0, 0, -2, 1, 2, 5, rng.randint(0, 40)])
    bits = max(2, min(rng.choice([top - cut + rng.randint(-2, 3), rng.randint(2, 32)]), 53))
    return FixedAccumulator(
        format=FixedFormat(bits=bits, lsb=cut, signed=True),
        rounding=rng.choice(_FIXED_ROUNDINGS),
        overflow=rng.choice(list(Overflow)),
    )
