"""What the options of ``python -m hw.generate`` describe."""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from golden.catalog import EXACT_LENGTH, default_lsb, default_split, find, float_accumulator
from golden.config import (
    MAX_EXP_BITS,
    MAX_MAN_BITS,
    ArrayConfig,
    ConfigError,
    FixedAccumulator,
    FixedFormat,
    FloatFormat,
    Format,
    MacConfig,
    Overflow,
    Rounding,
    parse_accumulator,
    parse_format,
    parse_product,
)
from golden.datapath import exact_accumulator
from golden.formats import need_int
from golden.tile import OutputStage, TileConfig
from hw.options import ACC_BITS, CHANNELS, MULTIPLIER_BITS, OPERANDS, OUTPUT_ROUNDING, ROUNDINGS

__all__ = ["Design", "design"]

#: Options that say nothing about an accumulator of the kind.
_MEANINGLESS = {
    "float": ("acc_lsb", "length"),
    "fixed": ("acc_exp", "acc_man", "alignment_bits", "length"),
    "exact": ("acc_bits", "acc_exp", "acc_man", "acc_lsb", "rounding", "overflow", "alignment_bits"),
}

#: Options that ``--config`` replaces.
_MAC_OPTIONS = (
    "acc_bits",
    "acc_kind",
    "operands",
    "acc_exp",
    "acc_man",
    "acc_lsb",
    "rounding",
    "overflow",
    "alignment_bits",
    "product",
    "chunk",
    "outer",
    "length",
)


class Design(NamedTuple):
    """What to generate."""

    mac: MacConfig  #: With the biases that the offset registers start from.
    tile: TileConfig
    period_ns: Fraction  #: In the timing constraints.

    @property
    def array(self) -> ArrayConfig:
        return self.tile.array


def design(options: argparse.Namespace) -> Design:
    """The configuration that the options describe.

    Raises :class:`ConfigError` where they contradict each other or go beyond what is built.
    """
    if options.config is None:
        mac = _mac(options)
    else:
        given = _given(options, _MAC_OPTIONS)
        if given:
            raise ConfigError(f"--config says everything about the MAC; leave out {given}, or --config")
        mac = find(options.config)
    silicon = mac.hardwired if options.hardwired_offsets else mac.silicon
    array = ArrayConfig(
        silicon=silicon,
        rows=options.rows,
        cols=options.cols,
        stages=options.stages,
        depth=options.depth,
        events=options.events,
    )
    tile = TileConfig(array=array, output=_output(options, mac))
    return Design(mac=mac, tile=tile, period_ns=options.period_ns)


def _output(options: argparse.Namespace, mac: MacConfig) -> OutputStage | None:
    given = _given(options, ("output_rounding", "multiplier_bits", "channels"))
    if options.output == "none":
        if given:
            raise ConfigError(f"without an output stage there is no {given}; leave it out, or use --output")
        return None
    target = mac.x if options.output == "operand" else parse_format(options.output)
    floats = isinstance(target, FloatFormat)
    if floats and options.multiplier_bits is not None:
        raise ConfigError(
            f"--output {options.output} scales by an exponent offset; leave out --multiplier-bits"
        )
    multiplier_bits = MULTIPLIER_BITS if options.multiplier_bits is None else options.multiplier_bits
    return OutputStage(
        target=target,
        rounding=Rounding(options.output_rounding or OUTPUT_ROUNDING),
        channels=CHANNELS if options.channels is None else options.channels,
        multiplier_bits=None if floats else multiplier_bits,
    )


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None)


def _mac(options: argparse.Namespace) -> MacConfig:
    x, w = _operands(OPERANDS if options.operands is None else options.operands)
    integers = isinstance(x, FixedFormat) and isinstance(w, FixedFormat)
    kind = options.acc_kind or ("fixed" if integers else "float")
    given = _given(options, _MEANINGLESS[kind])
    if given:
        raise ConfigError(f"with --acc-kind {kind} there is no {given}; leave it out, or choose another kind")
    product = None
    match kind:
        case "float":
            product, accumulator = _float(options)
        case "fixed":
            rounding, _ = _split_rounding(options.rounding or ("floor" if integers else "rz"))
            accumulator = _fixed(options, x, w, rounding)
        case "exact":
            accumulator = exact_accumulator(x, w, EXACT_LENGTH if options.length is None else options.length)
    if kind != "float" and options.product not in (None, "exact"):
        raise ConfigError(
            f"--acc-kind {kind} takes the exact product; leave out --product {options.product}, "
            "or use --acc-kind float"
        )
    return MacConfig(
        x=x,
        w=w,
        product=product,
        accumulator=accumulator,
        # The array refuses rows below 1, in its own words.
        chunk_size=max(1, options.rows) if options.chunk is None else options.chunk,
        outer=None if options.outer is None else parse_accumulator(options.outer),
    )


def _operands(text: str) -> tuple[Format, Format]:
    x, colon, w = text.partition(":")
    return parse_format(x), parse_format(w if colon else x)


def _fixed(options: argparse.Namespace, x: Format, w: Format, rounding: Rounding) -> FixedAccumulator:
    bits = ACC_BITS if options.acc_bits is None else options.acc_bits
    lsb = default_lsb(bits, x, w) if options.acc_lsb is None else options.acc_lsb
    return FixedAccumulator(
        format=FixedFormat(bits=bits, lsb=lsb, signed=True),
        rounding=rounding,
        overflow=Overflow(options.overflow or "sat"),
    )


def _float(options: argparse.Namespace):
    """The product quantizer (or None) and the accumulator."""
    if options.overflow == "wrap":
        raise ConfigError("a float accumulator saturates; use --overflow sat, or --acc-kind fixed")
    rounding, random_bits = _split_rounding(options.rounding or "rz")
    alignment_bits = None if options.alignment_bits in (None, "exact") else options.alignment_bits
    parts = float_accumulator(*_split(options), Rounding.TOWARD_ZERO, alignment_bits)
    product, accumulator = (replace(part, rounding=rounding, random_bits=random_bits) for part in parts)
    match options.product:
        case None | "like-acc":
            return product, accumulator
        case "exact":
            return None, accumulator
        case name:
            return parse_product(f"{parse_format(name).name}_{options.rounding or 'rz'}"), accumulator


def _split_rounding(text: str) -> tuple[Rounding, int | None]:
    """A rounding and, of a stochastic one, the random bits."""
    if text in ROUNDINGS:
        return Rounding(text), None
    return Rounding.STOCHASTIC, int(text.removeprefix(Rounding.STOCHASTIC.value))


def _split(options: argparse.Namespace) -> tuple[int, int]:
    """Exponent and mantissa bits from whichever of --acc-bits, --acc-exp and --acc-man were given."""
    bits, exp_bits, man_bits = options.acc_bits, options.acc_exp, options.acc_man
    for name, given, low, high in (
        ("--acc-exp", exp_bits, 1, MAX_EXP_BITS),
        ("--acc-man", man_bits, 0, MAX_MAN_BITS),
    ):
        if given is not None:
            need_int(name, given, low, high)
    if exp_bits is None and man_bits is None:
        return default_split(ACC_BITS if bits is None else bits)
    if exp_bits is not None and man_bits is not None:
        if bits not in (None, 1 + exp_bits + man_bits):
            raise ConfigError(
                f"--acc-bits {bits} is not 1 + --acc-exp {exp_bits} + --acc-man {man_bits}; leave out one"
            )
        return exp_bits, man_bits
    bits = ACC_BITS if bits is None else bits
    if exp_bits is None:
        exp_bits = bits - 1 - man_bits
        if exp_bits < 1:
            raise ConfigError(
                f"--acc-bits {bits} leaves no exponent: the sign and --acc-man {man_bits} take "
                f"{1 + man_bits}; use --acc-bits {man_bits + 2} to {man_bits + 1 + MAX_EXP_BITS}"
            )
        return exp_bits, man_bits
    man_bits = bits - 1 - exp_bits
    if man_bits < 0:
        raise ConfigError(
            f"--acc-bits {bits} is too narrow: the sign and --acc-exp {exp_bits} take {1 + exp_bits}; "
            f"use --acc-bits {exp_bits + 1} or more, or fewer exponent bits"
        )
    return exp_bits, man_bits
