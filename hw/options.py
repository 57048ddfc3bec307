"""The options of ``python -m hw.generate``, and the array that they describe. All defaults are here."""

from __future__ import annotations

import argparse
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
from hw.command_line import Parser

__all__ = ["DEPTH", "Design", "design", "parser"]

KINDS = ("float", "fixed", "exact")
ROUNDINGS = tuple(mode.value for mode in Rounding if mode is not Rounding.STOCHASTIC)  # those with gates

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
    array: ArrayConfig


def parser() -> argparse.ArgumentParser:
    """The command line. An option that was not given is None."""
    top = Parser(
        prog="python -m hw.generate",
        description="Write the Verilog of a systolic array with narrow accumulators, with a lint waiver "
        "file, a JSON description and a self-checking testbench.",
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
        type=_one_of(ROUNDINGS),
        metavar="|".join(ROUNDINGS),
        help="toward zero, nearest even, or floor (fixed only); of the product quantizer too "
        "(default rz; floor for integer products)",
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
        silicon=silicon, rows=options.rows, cols=options.cols, stages=options.stages, depth=options.depth
    )
    return Design(mac=mac, array=array)


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
            rounding = Rounding(options.rounding or ("floor" if integers else "rz"))
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
    rounding = Rounding(options.rounding or "rz")
    alignment_bits = None if options.alignment_bits in (None, "exact") else options.alignment_bits
    product, accumulator = float_accumulator(*_split(options), rounding, alignment_bits)
    match options.product:
        case None | "like-acc":
            return product, accumulator
        case "exact":
            return None, accumulator
        case name:
            return parse_product(f"{parse_format(name).name}_{rounding.value}"), accumulator


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
