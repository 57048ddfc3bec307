"""What a multiply-accumulate is: formats, quantisers, accumulators, and the MAC built from them.

Everything is frozen, keyword-only and checked on construction. Nothing has a default: a default
belongs to a command line. A configuration has one canonical name, and ``MacConfig.parse`` reads it
back. Standard library only, so that the hardware generator can import it without torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from golden.formats import (
    MAX_BIAS,
    MAX_EXP_BITS,
    MAX_FIXED_BITS,
    MAX_MAN_BITS,
    ConfigError,
    Encoding,
    FixedFormat,
    FloatFormat,
    Format,
    need_int,
    parse_format,
)
from golden.quantizers import (
    MAX_RANDOM_BITS,
    Accumulator,
    FixedAccumulator,
    FloatAccumulator,
    FloatQuantizer,
    Overflow,
    Rounding,
    parse_accumulator,
    parse_product,
)

__all__ = [
    "MAX_BIAS",
    "MAX_EXP_BITS",
    "MAX_FIXED_BITS",
    "MAX_MAN_BITS",
    "MAX_RANDOM_BITS",
    "Accumulator",
    "ArrayConfig",
    "ConfigError",
    "Encoding",
    "FixedAccumulator",
    "FixedFormat",
    "FloatAccumulator",
    "FloatFormat",
    "FloatQuantizer",
    "Format",
    "MacConfig",
    "Offsets",
    "Overflow",
    "Rounding",
    "Silicon",
    "parse_accumulator",
    "parse_format",
    "parse_product",
    "sum_bits",
]

#: Limits of what is built, beside those of the formats.
MAX_OPERAND_FIXED_BITS = 16
MAX_CHUNK = 1 << 20
MAX_SIDE = 256
MAX_STAGES = 2
MAX_DEPTH = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Offsets:
    """Differences of biases, the only way in which biases reach the hardware (None: no such step)."""

    product: int  #: b_x + b_w - b_product, or - b_accumulator without a product quantizer.
    acc: int | None  #: b_product - b_accumulator, with a product quantizer.
    outer: int  #: b_accumulator - b_outer.


@dataclass(frozen=True, kw_only=True, slots=True)
class MacConfig:
    """One multiply-accumulate and the dot product made of it; see docs/arithmetic.md."""

    x: Format  #: Activations.
    w: Format  #: Weights.
    product: FloatQuantizer | None  #: None: the exact product goes to the adder.
    accumulator: Accumulator
    chunk_size: int  #: Products that are summed before their sum goes to the outer accumulator.
    outer: Accumulator | None  #: Adds up the chunk sums. None: like the inner one.

    def __post_init__(self) -> None:
        for field in ("x", "w"):
            operand = getattr(self, field)
            if isinstance(operand, FixedFormat):
                need_int(f"bits of operand {field}", operand.bits, 1, MAX_OPERAND_FIXED_BITS)
        if self.product is not None and isinstance(self.accumulator, FixedAccumulator):
            raise ConfigError("a fixed-point accumulator takes the exact product; use product=None")
        need_int("chunk_size", self.chunk_size, 1, MAX_CHUNK)
        if self.outer == self.accumulator:
            object.__setattr__(self, "outer", None)

    @property
    def outer_accumulator(self) -> Accumulator:
        return self.accumulator if self.outer is None else self.outer

    @property
    def name(self) -> str:
        """Canonical: ``e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16``; a Verilog identifier."""
        product = "exact" if self.product is None else self.product.name
        outer = "" if self.outer is None else f"_o_{self.outer.name}"
        return f"{self.x.name}_{self.w.name}_p_{product}_a_{self.accumulator.name}_c{self.chunk_size}{outer}"

    @classmethod
    def parse(cls, name: str) -> MacConfig:
        """The configuration of a canonical name: ``MacConfig.parse(c.name) == c``."""
        match = re.fullmatch(r"([^_]+)_([^_]+)_p_(.+)_a_(.+)_c(\d+)(?:_o_(.+))?", name)
        if match is None:
            raise ConfigError(
                f"{name!r} is not a configuration; write X_W_p_PRODUCT_a_ACCUMULATOR_cCHUNK, "
                "as in e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"
            )
        x, w, product, accumulator, chunk, outer = match.groups()
        return cls(
            x=parse_format(x),
            w=parse_format(w),
            product=None if product == "exact" else parse_product(product),
            accumulator=parse_accumulator(accumulator),
            chunk_size=int(chunk),
            outer=None if outer is None else parse_accumulator(outer),
        )

    @property
    def stochastic(self) -> bool:
        """Whether results depend on random words."""
        parts = (self.product, self.accumulator, self.outer_accumulator)
        return any(part is not None and part.random_bits is not None for part in parts)

    @property
    def offsets(self) -> Offsets:
        acc = self.accumulator.format.bias
        first = acc if self.product is None else self.product.format.bias
        return Offsets(
            product=self.x.bias + self.w.bias - first,
            acc=None if self.product is None else first - acc,
            outer=acc - self.outer_accumulator.format.bias,
        )

    @property
    def product_lsb(self) -> int:
        """Every product x * w is a multiple of two to this power."""
        return self.x.lsb_exponent + self.w.lsb_exponent

    @property
    def silicon(self) -> Silicon:
        """What has to be built for this configuration: the same for all values of the biases."""
        return Silicon(config=self, hardwired=self.always_hardwired)

    @property
    def always_hardwired(self) -> bool:
        """Hard-wired whatever is asked.

        Integers from end to end (a shifter that never moves), and an accumulator that cuts nothing and
        holds every chunk (its lsb follows the operands' biases).
        """
        return self.all_integer or self.exact_in_chunks

    @property
    def all_integer(self) -> bool:
        """Fixed-point operands and a fixed-point accumulator."""
        parts = (self.x, self.w, self.accumulator.format)
        return all(isinstance(part, FixedFormat) for part in parts)

    @property
    def exact_in_chunks(self) -> bool:
        """Whether the sum of a chunk is exact, for all operands: the lsb and the width say so."""
        acc = self.accumulator
        return (
            isinstance(acc, FixedAccumulator)
            and acc.format.lsb == self.product_lsb
            and acc.format.bits >= sum_bits(self.x, self.w, self.chunk_size)
        )

    @property
    def hardwired(self) -> Silicon:
        """The same with the offsets as constants: smaller, and good for these offsets only."""
        return Silicon(config=self, hardwired=True)


def sum_bits(x: Format, w: Format, length: int) -> int:
    """Bits of the two's complement that holds every sum of ``length`` products x * w."""
    return 1 + (length * x.max_magnitude * w.max_magnitude).bit_length()


@dataclass(frozen=True, kw_only=True, slots=True)
class Silicon:
    """A MAC as gates: a configuration whose biases reach it as offsets only.

    On construction the biases are moved to a standard place, keeping the offsets that are wired in,
    so two configurations that share a netlist have equal silicon.
    """

    config: MacConfig
    hardwired: bool  #: The offsets are constants, not registers.

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", _rebase(self.config, keep_offsets=self.hardwired))

    @property
    def mac_name(self) -> str:
        """Names the MAC, which knows nothing of chunks and of the outer accumulator."""
        c = self.config
        product = "exact" if c.product is None else self._part_name(c.product)
        return (
            f"{self._format_name(c.x)}_{self._format_name(c.w)}_p_{product}"
            f"_a_{self._part_name(c.accumulator)}" + ("_hw" if self.hardwired else "")
        )

    @property
    def name(self) -> str:
        """The MAC's name with chunk and outer accumulator; free of biases unless they are wired in."""
        outer = self.config.outer
        if outer is None:
            return f"{self.mac_name}_c{self.config.chunk_size}"
        # A fixed one has lsb 0 here, unless its shift from a fixed inner one is wiring.
        wired = isinstance(outer, FixedAccumulator)
        outer_name = outer.name if wired else self._part_name(outer)
        return f"{self.mac_name}_c{self.config.chunk_size}_o_{outer_name}"

    def _format_name(self, number: Format) -> str:
        return number.name if self.hardwired else number.silicon_name

    def _part_name(self, part: FloatQuantizer | Accumulator) -> str:
        return part.name.replace(part.format.name, self._format_name(part.format), 1)


def _rebase(config: MacConfig, *, keep_offsets: bool) -> MacConfig:
    """The same MAC with standard operand biases; the others standard too, or moved along with them.

    The shift from a fixed accumulator to a fixed outer one is wiring and stays.
    """

    def standard(number: Format) -> int:
        return number.standard_bias if isinstance(number, FloatFormat) else 0

    def place(number: Format, bias: int) -> Format:
        if isinstance(number, FloatFormat):
            return replace(number, bias=bias)
        return replace(number, lsb=-bias)

    def move(part):
        if part is None:
            return None
        if keep_offsets:
            bias = part.format.bias + moved
        elif part is config.outer and fixed_to_fixed:
            bias = config.outer.format.bias - config.accumulator.format.bias
        else:
            bias = standard(part.format)
        return replace(part, format=place(part.format, bias))

    x, w = standard(config.x), standard(config.w)
    moved = x + w - config.x.bias - config.w.bias
    fixed_to_fixed = isinstance(config.accumulator, FixedAccumulator) and isinstance(
        config.outer_accumulator, FixedAccumulator
    )
    return replace(
        config,
        x=place(config.x, x),
        w=place(config.w, w),
        product=move(config.product),
        accumulator=move(config.accumulator),
        outer=move(config.outer),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayConfig:
    """A weight-stationary systolic array of MACs with an outer accumulator under each column."""

    silicon: Silicon
    rows: int  #: Products a column sums in one pass of the partial sum.
    cols: int
    stages: int  #: Pipeline registers inside a MAC, besides its output register.
    depth: int  #: Words of the outer accumulator: the most activation rows in one tile.
    events: bool  #: Each result says whether a rounding on its way overflowed or underflowed.

    def __post_init__(self) -> None:
        need_int("rows", self.rows, 1, MAX_SIDE)
        need_int("cols", self.cols, 1, MAX_SIDE)
        need_int("stages", self.stages, 0, MAX_STAGES)
        need_int("depth", self.depth, 1, MAX_DEPTH)
        chunk = self.silicon.config.chunk_size
        if chunk % self.rows:
            raise ConfigError(
                f"chunk_size {chunk} is not a multiple of rows {self.rows}: a partial sum takes one product "
                f"a row and pass; use a divisor of {chunk} for rows, or another chunk_size"
            )

    @property
    def passes(self) -> int:
        """Passes of a partial sum through its column in one chunk."""
        return self.silicon.config.chunk_size // self.rows

    @property
    def name(self) -> str:
        events = "_ev" if self.events else ""
        return f"{self.silicon.name}_r{self.rows}x{self.cols}_s{self.stages}_d{self.depth}{events}"
