"""The options of ``python -m hw.generate``. All defaults are here."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction

from golden.catalog import EXACT_LENGTH, SPLITS
from golden.config import (
    MAX_CHUNK,
    MAX_DEPTH,
    MAX_EXP_BITS,
    MAX_FIXED_BITS,
    MAX_MAN_BITS,
    MAX_SIDE,
    MAX_STAGES,
    Overflow,
    Rounding,
)
from golden.tile import MAX_CHANNELS, MAX_MULTIPLIER_BITS
from hw.command_line import Parser

__all__ = [
    "ACC_BITS",
    "CHANNELS",
    "DEPTH",
    "MULTIPLIER_BITS",
    "OPERANDS",
    "OUTPUT_ROUNDING",
    "ROUNDINGS",
    "parser",
]

KINDS = ("float", "fixed", "exact")
ROUNDINGS = tuple(mode.value for mode in Rounding if mode is not Rounding.STOCHASTIC)

OUTPUT_ROUNDING = "rne"
MULTIPLIER_BITS = 16
CHANNELS = 1024
PERIOD_NS = "10"
SHORTEST_PERIOD_NS, LONGEST_PERIOD_NS = Fraction(1, 1000), 10**6
ACC_BITS = 12
OPERANDS = "e3m4"
DEPTH = 64


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
    if not SHORTEST_PERIOD_NS <= period <= LONGEST_PERIOD_NS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in ns from 0.001 on, such as 10 or 1.25")
    return period


def _exact_or_int(text: str) -> int | str:
    try:
        return text if text == "exact" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither exact nor a number of guard bits") from None
