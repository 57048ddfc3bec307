"""Configurations of a block of a space, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product as crossed

from golden.catalog import CATALOG, CHUNK, EXACT_LENGTH, default_lsb, default_split, float_accumulator
from golden.config import (
    MAX_CHUNK,
    MAX_EXP_BITS,
    MAX_FIXED_BITS,
    MAX_MAN_BITS,
    MAX_RANDOM_BITS,
    ConfigError,
    Encoding,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    Format,
    MacConfig,
    Overflow,
    Rounding,
    parse_format,
)
from golden.datapath import exact_accumulator
from sim.sweep.values import Table

__all__ = ["KINDS", "configs_of", "kind_of", "label_of", "operands_of", "reference_of"]

KINDS = ("float", "fixed", "int", "exact")

_EXACT = "exact"
_LIKE = "like"  #: A product quantizer of the accumulator's format.
_BETWEEN = " x "


def configs_of(kind: str, block: Table) -> list[MacConfig]:
    """What a block's formats and policies stand for; keys that its kind has no use for are left in it."""
    pairs = [
        _pair(text, kind, block) for text in block.texts("operands", ["int8" if kind == "int" else "e3m4"])
    ]
    make = {"float": _floats, "fixed": _fixed, "int": _integers, "exact": _exact}[kind]
    chunks = block.numbers("chunk", [CHUNK], 1, MAX_CHUNK)
    found = list(make(pairs, block))
    return [replace(config, chunk_size=chunk) for config, chunk in crossed(found, chunks)]


def _pair(text: str, kind: str, block: Table) -> tuple[Format, Format]:
    """Activations and weights: ``e3m4``, or ``int8 x int4``."""
    names = text.split(_BETWEEN)
    if len(names) > 2:
        raise block.error("operands", text, 'a format for both, "e3m4", or one each, "int8 x int4"')
    try:
        x, w = parse_format(names[0]), parse_format(names[-1])
    except ConfigError as error:
        raise ConfigError(f"{block.where}: operands: {error}") from error
    integers = all(isinstance(each, FixedFormat) for each in (x, w))
    if kind == "int" and not integers:
        raise block.error("operands", text, "integers, or a float, fixed or exact accumulator")
    if kind in ("fixed", "exact") and integers:
        raise block.error("operands", text, 'float formats, or accumulator = "int"')
    return x, w


def _floats(pairs: list, block: Table) -> Iterator[MacConfig]:
    splits = _splits(block)
    roundings = [_rounding(text, block) for text in block.texts("rounding", ["rz"])]
    alignments = block.numbers_or_word("alignment", _EXACT, [_EXACT], 0, MAX_MAN_BITS)
    products = block.choices("product", (_LIKE, _EXACT), [_LIKE])
    for (x, w), (exp_bits, man_bits), (rounding, random_bits), guard, product in crossed(
        pairs, splits, roundings, alignments, products
    ):
        quantizer, accumulator = (
            replace(part, rounding=rounding, random_bits=random_bits)
            for part in float_accumulator(
                exp_bits, man_bits, Rounding.TOWARD_ZERO, None if guard == _EXACT else guard
            )
        )
        yield _mac(x, w, accumulator, None if product == _EXACT else quantizer)


def _splits(block: Table) -> list[tuple[int, int]]:
    """Exponent and mantissa bits: crossed and, with ``bits``, of these widths only; or of ``bits`` alone."""
    crossing = [key for key in ("exp_bits", "man_bits") if key in block.content]
    if not crossing:
        return [default_split(bits) for bits in block.numbers("bits", None, 5, 32)]
    exp_bits = block.numbers("exp_bits", None, 1, MAX_EXP_BITS)
    man_bits = block.numbers("man_bits", None, 0, MAX_MAN_BITS)
    widths = block.numbers("bits", list(range(3, 33)), 3, 32)
    return [(e, m) for e, m in crossed(exp_bits, man_bits) if 1 + e + m in widths]


def _rounding(text: str, block: Table) -> tuple[Rounding, int | None]:
    if match := re.fullmatch(r"sr(\d+)", text):
        bits = int(match[1])
        if 1 <= bits <= MAX_RANDOM_BITS:
            return Rounding.STOCHASTIC, bits
    if text not in ("rz", "rne"):
        raise block.error(
            "rounding", text, f"rz, rne, or sr with its 1 to {MAX_RANDOM_BITS} random bits: sr4"
        )
    return Rounding(text), None


def _fixed(pairs: list, block: Table) -> Iterator[MacConfig]:
    widths = block.numbers("bits", None, 2, MAX_FIXED_BITS)
    roundings = block.choices("rounding", ("rz", "rne", "floor"), ["rz"])
    overflows = block.choices("overflow", _OVERFLOWS, ["sat"])
    for (x, w), bits, rounding, overflow in crossed(pairs, widths, roundings, overflows):
        number = FixedFormat(bits=bits, lsb=default_lsb(bits, x, w), signed=True)
        yield _mac(
            x,
            w,
            FixedAccumulator(format=number, rounding=Rounding(rounding), overflow=Overflow(overflow)),
            None,
        )


def _integers(pairs: list, block: Table) -> Iterator[MacConfig]:
    widths = block.numbers("bits", None, 2, MAX_FIXED_BITS)
    overflows = block.choices("overflow", _OVERFLOWS, ["sat"])
    for (x, w), bits, overflow in crossed(pairs, widths, overflows):
        number = FixedFormat(bits=bits, lsb=default_lsb(bits, x, w), signed=True)
        accumulator = FixedAccumulator(format=number, rounding=Rounding.FLOOR, overflow=Overflow(overflow))
        yield _mac(x, w, accumulator, None)


def _exact(pairs: list, block: Table) -> Iterator[MacConfig]:
    lengths = block.numbers("length", [EXACT_LENGTH], 1, MAX_CHUNK)
    for (x, w), length in crossed(pairs, lengths):
        yield _mac(x, w, exact_accumulator(x, w, length), None)


_OVERFLOWS = tuple(overflow.value for overflow in Overflow)


def _mac(x: Format, w: Format, accumulator, product) -> MacConfig:
    return MacConfig(x=x, w=w, product=product, accumulator=accumulator, chunk_size=CHUNK, outer=None)


def kind_of(config: MacConfig) -> str:
    """Which of :data:`KINDS`."""
    if config.all_integer:
        return "int"
    if config.exact_in_chunks:
        return "exact"
    return "fixed" if isinstance(config.accumulator, FixedAccumulator) else "float"


def operands_of(config: MacConfig) -> str:
    """Without biases, which are data: ``e3m4``, ``int8 x int4``."""
    return _BETWEEN.join(dict.fromkeys((config.x.silicon_name, config.w.silicon_name)))


def reference_of(config: MacConfig) -> MacConfig:
    """The same operands, exact products, sums in float32 to the nearest: what a loss is against."""
    number = FloatFormat(exp_bits=8, man_bits=23, bias=127, encoding=Encoding.NORMALS)
    accumulator = FloatAccumulator(
        format=number, rounding=Rounding.NEAREST_EVEN, random_bits=None, alignment_bits=None
    )
    return _mac(config.x, config.w, accumulator, None)


@cache
def _short_names() -> dict[MacConfig, str]:
    return {config: name for name, config in CATALOG.items()}


def label_of(config: MacConfig) -> str:
    """The catalogue's name, or one like it: ``e5m4-rne-g0``, ``float12-sr4-c64``, ``int8 x int4: int12``."""
    if config in _short_names():
        return _short_names()[config]
    kind, usual = kind_of(config), "int8" if config.all_integer else "e3m4"
    operands = operands_of(config)
    before = "" if operands == usual else f"{operands}: "
    chunk = "" if config.chunk_size == CHUNK else f"-c{config.chunk_size}"
    outer = "" if config.outer is None else f"-o-{config.outer.name}"
    return f"{before}{_core(config, kind)}{chunk}{outer}"


def _core(config: MacConfig, kind: str) -> str:
    acc = config.accumulator
    number = acc.format
    if kind == "exact":
        return f"exact{number.bits}"
    if kind != "float":
        wrap = "-wrap" * (acc.overflow is Overflow.WRAP)
        policy = "" if kind == "int" or acc.rounding is Rounding.TOWARD_ZERO else f"-{acc.rounding.value}"
        return f"{kind}{number.bits}{policy}{wrap}"
    usual = _usual_split(number.code_bits) == (number.exp_bits, number.man_bits) and not number.subnormals
    name = f"float{number.code_bits}" if usual else number.silicon_name
    policy = "" if acc.rounding is Rounding.TOWARD_ZERO else f"-{acc.rounding.value}{acc.random_bits or ''}"
    guard = "" if acc.alignment_bits is None else f"-g{acc.alignment_bits}"
    return f"{name}{policy}{guard}" + _product(config)


def _product(config: MacConfig) -> str:
    """Of a float accumulator's name: nothing where the product quantizer is like the accumulator."""
    if config.product is None:
        return "-px"
    number, acc = config.product.format, config.accumulator.format
    like = number.silicon_name == acc.silicon_name and config.product.rounding is config.accumulator.rounding
    return "" if like else f"-p-{number.silicon_name}-{config.product.rounding.value}"


def _usual_split(bits: int) -> tuple[int, int] | None:
    try:
        return default_split(bits)
    except ConfigError:
        return None
