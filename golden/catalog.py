"""Named configurations: the paper's 12-bit accumulator, its siblings, and their rivals.

A short name is a family, a width and policies: ``float12``, ``float12-rne-g0``, ``fixed16-wrap``, ``int20``,
``exact``. All chunks are of 16, as in the paper. Biases and lsb are those a network starts from; a
calibrated layer has its own, on the same silicon.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

from golden.config import (
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
from golden.datapath import exact_accumulator

__all__ = [
    "BASELINE",
    "CATALOG",
    "EXACT_LENGTH",
    "SPLITS",
    "default_lsb",
    "default_split",
    "find",
    "float_accumulator",
]

FP8 = FloatFormat(exp_bits=3, man_bits=4, bias=3, encoding=Encoding.NORMALS)
INT8 = FixedFormat(bits=8, lsb=0, signed=True)
CHUNK = 16

#: The longest dot product that the accumulator called ``exact`` holds.
EXACT_LENGTH = 4096

#: Areas are relative to this one: float32 sums of exact FP8 products, in the cheaper rounding.
BASELINE = "float32-px"

#: The paper's accumulator reaches 2**6 and its product quantizer 2**4, in 4 exponent bits.
_PAPER_TOP = {"product": 3, "accumulator": 5}

#: (widest word, exponent bits): the exponents of the word lengths that are in use.
SPLITS = ((7, 3), (14, 4), (17, 5), (22, 6), (27, 7), (32, 8))


def default_split(acc_bits: int) -> tuple[int, int]:
    """Exponent and mantissa bits of a float accumulator of this many bits, 5 to 32.

    By :data:`SPLITS`: 12 bits are e4m7, 16 are e5m10 and 32 are e8m23.
    """
    for widest, exp_bits in SPLITS:
        if acc_bits <= widest and acc_bits - exp_bits - 1 >= 1:
            return exp_bits, acc_bits - exp_bits - 1
    raise ConfigError(f"a float accumulator of {acc_bits} bits is not built; use 5 to {SPLITS[-1][0]} bits")


def _bias(exp_bits: int, role: str) -> int:
    """The paper's largest magnitude where the exponent is short of bits, else the standard bias."""
    top = 2**exp_bits - 1
    return top - _PAPER_TOP[role] if exp_bits <= 4 else top // 2


def float_accumulator(
    exp_bits: int, man_bits: int, rounding: Rounding, alignment_bits: int | None
) -> tuple[FloatQuantizer, FloatAccumulator]:
    """A float accumulator with the biases it starts from, and the product quantizer of its format."""
    quantizer, accumulator = (
        FloatFormat(
            exp_bits=exp_bits, man_bits=man_bits, bias=_bias(exp_bits, role), encoding=Encoding.NORMALS
        )
        for role in ("product", "accumulator")
    )
    return (
        FloatQuantizer(format=quantizer, rounding=rounding, random_bits=None),
        FloatAccumulator(
            format=accumulator, rounding=rounding, random_bits=None, alignment_bits=alignment_bits
        ),
    )


def _float(bits: int, rounding: Rounding, alignment_bits: int | None) -> MacConfig:
    product, accumulator = float_accumulator(*default_split(bits), rounding, alignment_bits)
    return MacConfig(x=FP8, w=FP8, product=product, accumulator=accumulator, chunk_size=CHUNK, outer=None)


def _fixed(operands: FloatFormat | FixedFormat, accumulator: FixedAccumulator) -> MacConfig:
    return MacConfig(
        x=operands, w=operands, product=None, accumulator=accumulator, chunk_size=CHUNK, outer=None
    )


def default_lsb(bits: int, x: Format, w: Format) -> int:
    """Where the last bit of a fixed-point accumulator stands: the finest product's for integers.

    For float operands the range is the 12-bit float's, +-2**6, if the finest product needs as many bits.
    """
    finest = x.lsb_exponent + w.lsb_exponent
    if isinstance(x, FixedFormat) and isinstance(w, FixedFormat):
        return finest
    return max(_PAPER_TOP["accumulator"] + 2 - bits, finest)


def _catalog() -> dict[str, MacConfig]:
    entries: dict[str, MacConfig] = {}
    for bits in range(6, 33):
        for policy, rounding in (("", Rounding.TOWARD_ZERO), ("-rne", Rounding.NEAREST_EVEN)):
            for guard in (None, 0, 1, 2, 3):
                name = f"float{bits}{policy}" + ("" if guard is None else f"-g{guard}")
                entries[name] = _float(bits, rounding, guard)
                entries[f"{name}-px"] = replace(entries[name], product=None)
    for overflow, suffix in ((Overflow.SATURATE, ""), (Overflow.WRAP, "-wrap")):
        for bits in range(6, 33):
            number = FixedFormat(bits=bits, lsb=default_lsb(bits, FP8, FP8), signed=True)
            for rounding, policy in ((Rounding.TOWARD_ZERO, ""), (Rounding.NEAREST_EVEN, "-rne")):
                entries[f"fixed{bits}{policy}{suffix}"] = _fixed(
                    FP8, FixedAccumulator(format=number, rounding=rounding, overflow=overflow)
                )
            integers = FixedFormat(bits=bits, lsb=0, signed=True)
            entries[f"int{bits}{suffix}"] = _fixed(
                INT8, FixedAccumulator(format=integers, rounding=Rounding.FLOOR, overflow=overflow)
            )
    entries["exact"] = _fixed(FP8, exact_accumulator(FP8, FP8, EXACT_LENGTH))
    return entries


#: Short name -> configuration.
CATALOG = _catalog()


def find(name: str) -> MacConfig:
    """The configuration of a short or a canonical name.

    Raises :class:`ConfigError` with the nearest short names where there is none.
    """
    if name in CATALOG:
        return CATALOG[name]
    if "_" in name:
        return MacConfig.parse(name)
    near = difflib.get_close_matches(name, CATALOG, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "such as float12, fixed16, int20-wrap or exact"
    raise ConfigError(f"there is no configuration called {name!r}; {hint}")
