"""The options of ``python -m hw.generate``, and the tile that they describe. All defaults are here."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from golden.catalog import EXACT_LENGTH, SPLITS, default_lsb, default_split, find, float_accumulator
from golden.config import (
    MAX_CHUNK,
    MAX_DEPTH,
    MAX_EXP_BITS,
    MAX_FIXED_BITS,
    MAX_MAN_BITS,
    MAX_SIDE,
    MAX_STAGES,
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
from golden.tile import MAX_CHANNELS, MAX_MULTIPLIER_BITS, OutputStage, TileConfig
from hw.command_line import Parser

__all__ = ["DEPTH", "Design", "design", "parser"]

KINDS = ("float", "fixed", "exact")
ROUNDINGS = tuple(mode.value for mode in Rounding if mode is not Rounding.STOCHASTIC)

OUTPUT_ROUNDING = "rne"
MULTIPLIER_BITS = 16
CHANNELS = 1024
PERIOD_NS = "10"
LONGEST_PERIOD_NS = 10**6
ACC_BITS = 12
OPERANDS = "e3m4"
DEPTH = 64

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


def parser() -> argparse.ArgumentParser:
    """The command line. An option that was not given is None."""
    top = Parser(
        prog="python -m hw.generate",
        description="Write the Verilog of a systolic array with narrow accumulators, bare and as a tile with "
        "AXI streams and registers, with all that tools and users of Verilog need beside it.",
    )
    acc = top.add_argument_group("accumulator")
    acc.add_argument(
        "--acc-bits",
        type=int,
        metavar="N",
        help=f"bits of the accumulator (default {ACC_BITS}). Exponent bits of a float one: "
        + ", ".join(f"{exp_bits} up to {widest}" for widest, exp_bits in SPLITS)
        + f". A fixed one has 2 to {MAX_FIXED_BITS}",
    )
    acc.add_argument(
        "--acc-kind",
        type=_one_of(KINDS),
        metavar="|".join(KINDS),
        help="default: fixed under integer operands, else float",
    )
    acc.add_argument(
        "--acc-exp", type=int, metavar="E", help=f"exponent bits of a float accumulator, 1 to {MAX_EXP_BITS}"
    )
    acc.add_argument(
        "--acc-man", type=int, metavar="M", help=f"its stored mantissa bits, 0 to {MAX_MAN_BITS}"
    )
    acc.add_argument(
        "--acc-lsb",
        type=int,
        metavar="L",
        help="exponent of a fixed accumulator's last bit (default: that of the finest product; under "
        "float operands such that the range is +-2**6)",
    )
    acc.add_argument(
        "--rounding",
        type=_rounding,
        metavar="|".join((*ROUNDINGS, "srR")),
        help="toward zero, nearest even, floor (fixed only), or stochastic with R random bits (float only); "
        "of the product quantizer too (default rz; floor for integer products)",
    )
    acc.add_argument(
        "--overflow",
        type=_one_of([mode.value for mode in Overflow]),
        metavar="|".join(mode.value for mode in Overflow),
        help="saturate (default) or wrap (fixed only)",
    )
    acc.add_argument(
        "--alignment-bits",
        type=_exact_or_int,
        metavar="exact|G",
        help="a float sum is exact before it is rounded (default), or of addends cut to G guard bits",
    )
    acc.add_argument(
        "--length",
        type=int,
        metavar="K",
        help=f"products whose sum an exact accumulator always holds (default {EXACT_LENGTH})",
    )
    mac = top.add_argument_group("multiply-accumulate")
    mac.add_argument(
        "--operands",
        metavar="FORMAT",
        help=f"e3m4, e4m3b8, int8 and so on, or ACTIVATION:WEIGHT such as uint8:int8 (default {OPERANDS})",
    )
    mac.add_argument(
        "--product",
        metavar="exact|like-acc|FORMAT",
        help="format to which a product is rounded before it is added (default: like a float accumulator; "
        "exact for the others)",
    )
    mac.add_argument(
        "--chunk",
        type=int,
        metavar="C",
        help=f"products per chunk sum, a multiple of the rows up to {MAX_CHUNK} (default: rows)",
    )
    mac.add_argument(
        "--outer",
        metavar="ACCUMULATOR",
        help="accumulator of chunk sums, such as e8m23_rne, e5m10b20_rz_g2 or int20ln8_rz_sat (default: like "
        "the inner one)",
    )
    mac.add_argument(
        "--config", metavar="NAME", help="instead of all the above: a name of --list, or a canonical name"
    )
    array = top.add_argument_group("array")
    side = f"1 to {MAX_SIDE}, default %(default)s"
    array.add_argument("--rows", type=int, default=16, metavar="R", help=side)
    array.add_argument("--cols", type=int, default=16, metavar="C", help=side)
    array.add_argument(
        "--stages",
        type=int,
        default=1,
        metavar="S",
        help=f"pipeline registers in a MAC, 0 to {MAX_STAGES}, default %(default)s",
    )
    array.add_argument(
        "--depth",
        type=int,
        default=DEPTH,
        metavar="D",
        help=f"most activation vectors in a tile, 1 to {MAX_DEPTH}, default %(default)s",
    )
    array.add_argument(
        "--hardwired-offsets", action="store_true", help="biases as constants instead of registers: smaller"
    )
    array.add_argument(
        "--events",
        action="store_true",
        help="every result says whether a rounding on its way overflowed or underflowed, and the tile "
        "counts them",
    )
    tile = top.add_argument_group("tile")
    tile.add_argument(
        "--output",
        default="none",
        metavar="none|operand|FORMAT",
        help="output stage: none (default), or bias, ReLU and rounding to the activations' format or to "
        "another, by a multiplier and a shift for each channel to integers, by an exponent offset to floats",
    )
    tile.add_argument(
        "--output-rounding",
        type=_one_of(ROUNDINGS),
        metavar="|".join(ROUNDINGS),
        help=f"of the output stage (default {OUTPUT_ROUNDING}; floor to integers only)",
    )
    tile.add_argument(
        "--multiplier-bits",
        type=int,
        metavar="B",
        help=f"of the output stage's multipliers, 1 to {MAX_MULTIPLIER_BITS} (default {MULTIPLIER_BITS}); "
        "to integers only",
    )
    tile.add_argument(
        "--channels",
        type=int,
        metavar="N",
        help=f"most columns of a product with an output stage, 1 to {MAX_CHANNELS} (default {CHANNELS})",
    )
    tile.add_argument(
        "--period-ns",
        type=_period,
        default=PERIOD_NS,
        metavar="T",
        help="clock period in the timing constraints (default %(default)s)",
    )
    output = top.add_argument_group("output")
    output.add_argument("-o", dest="folder", default="generated", metavar="DIR", help="default: %(default)s")
    output.add_argument("--json", action="store_true", help="print JSON instead of text")
    output.add_argument("--list", action="store_true", help="list the named configurations and stop")
    return top


def _one_of(choices):
    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return parse


def _rounding(text: str) -> str:
    if text not in ROUNDINGS and not re.fullmatch(r"sr\d+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not one of {', '.join(ROUNDINGS)}, or sr with its random bits: sr4"
        )
    return text


def _period(text: str) -> Fraction:
    try:
        period = Fraction(text)
    except (ValueError, ZeroDivisionError):
        period = Fraction(0)
    if not 0 < period <= LONGEST_PERIOD_NS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in ns, such as 10 or 1.25")
    return period


def _exact_or_int(text: str) -> int | str:
    try:
        return text if text == "exact" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither exact nor a number of guard bits") from None


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
    x, w = _operands(options.operands or OPERANDS)
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
