"""What a tile is: an array behind AXI streams and registers, with or without an output stage.

Standard library only, so that the hardware generator can import it without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from golden.config import (
    ArrayConfig,
    ConfigError,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    Rounding,
)
from golden.datapath import AddendShape, OffsetRange, quantizer_range
from golden.formats import need_int

__all__ = [
    "DIMENSION_BITS",
    "MAX_CHANNELS",
    "MAX_MULTIPLIER_BITS",
    "SHIFT_BITS",
    "OutputStage",
    "TileConfig",
    "lane_bits",
]

DIMENSION_BITS = 24  #: M, N and K of a product are below two to this power.
SHIFT_BITS = 6  #: A channel's shift is below two to this power.
MAX_CHANNELS = 1 << 16
MAX_MULTIPLIER_BITS = 32
MAX_PRODUCT_BITS = 61  # of a sum times a multiplier: what the golden model's 64-bit integers hold

_LANES = (8, 16, 32, 64)


def lane_bits(number: Format) -> int:
    """Bits of a stream that carry one code of the format: the fewest of 8, 16, 32 and 64 that hold it."""
    return next(bits for bits in _LANES if bits >= number.code_bits)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputStage:
    """Bias, ReLU and rounding to the format of the next layer's operands, one channel a column.

    A fixed-point target takes a multiplier and a shift for each channel, a float target one exponent
    offset for all. The target's bias is data and is moved to its standard place on construction.
    """

    target: Format
    rounding: Rounding
    channels: int  #: Columns of a whole product that there are parameters for.
    multiplier_bits: int | None  #: Width of the unsigned multipliers. None with a float target.

    def __post_init__(self) -> None:
        need_int("channels", self.channels, 1, MAX_CHANNELS)
        if isinstance(self.target, FloatFormat):
            if self.rounding not in (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN):
                raise ConfigError(f"an output stage rounds to floats rz or rne, not {self.rounding.value}")
            if self.multiplier_bits is not None:
                raise ConfigError(
                    f"an output stage scales to {self.target.name} by an exponent offset; "
                    "use multiplier_bits=None"
                )
            target = replace(self.target, bias=self.target.standard_bias)
        else:
            if self.rounding is Rounding.STOCHASTIC:
                raise ConfigError("an output stage rounds to integers rz, rne or floor, not sr")
            need_int("multiplier_bits", self.multiplier_bits, 1, MAX_MULTIPLIER_BITS)
            target = replace(self.target, lsb=0)
        object.__setattr__(self, "target", target)

    @property
    def name(self) -> str:
        """Canonical: ``q_int8_rne_m16_n1024``, ``q_e3m4_rne_n1024``."""
        multiplier = "" if self.multiplier_bits is None else f"_m{self.multiplier_bits}"
        return f"q_{self.target.name}_{self.rounding.value}{multiplier}_n{self.channels}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TileConfig:
    """An array with its streams and registers; see docs/tile.md."""

    array: ArrayConfig
    output: OutputStage | None  #: None: codes of the outer accumulator leave as they are.

    def __post_init__(self) -> None:
        if self.output is None:
            return
        outer = self.outer.format
        if isinstance(outer, FloatFormat) and isinstance(self.output.target, FixedFormat):
            raise ConfigError(
                f"an output stage does not round {self.outer.name} to {self.output.target.name}; use a "
                "float target, or a fixed-point outer accumulator"
            )
        taken = outer.code_bits + 1 + (self.output.multiplier_bits or 0)
        if isinstance(outer, FixedFormat) and taken > MAX_PRODUCT_BITS:
            raise ConfigError(
                f"a sum of {self.outer.name} and a bias, times a multiplier, takes {taken} bits, and "
                f"{MAX_PRODUCT_BITS} are built; use fewer multiplier_bits or a narrower outer accumulator"
            )

    @property
    def name(self) -> str:
        """Canonical, a Verilog identifier: the array's name, ``_tile``, then the output stage's."""
        return f"{self.array.name}_tile" + ("" if self.output is None else f"_{self.output.name}")

    @property
    def outer(self):
        """The outer accumulator, its bias where the silicon has it."""
        return self.array.silicon.config.outer_accumulator

    @property
    def result(self) -> Format:
        """The format that leaves."""
        return self.outer.format if self.output is None else self.output.target

    @property
    def max_n(self) -> int:
        """The most columns of a whole product."""
        return 2**DIMENSION_BITS - 1 if self.output is None else self.output.channels

    @property
    def bias_accumulator(self) -> FloatAccumulator | None:
        """How a float bias is added: as the outer accumulator adds, to nearest where that is stochastic.

        None where the bias is an integer and its sum exact.
        """
        if not isinstance(self.outer, FloatAccumulator):
            return None
        if self.outer.rounding is not Rounding.STOCHASTIC:
            return self.outer
        return replace(self.outer, rounding=Rounding.NEAREST_EVEN, random_bits=None)

    @property
    def biased(self) -> Format:
        """The format of a sum with its bias: one bit wider if it is an integer."""
        outer = self.outer.format
        return replace(outer, bits=outer.bits + 1) if isinstance(outer, FixedFormat) else outer

    @property
    def output_quantizer(self) -> FloatQuantizer | None:
        """The last rounding of an output stage with a float target."""
        if self.output is None or not isinstance(self.output.target, FloatFormat):
            return None
        return FloatQuantizer(format=self.output.target, rounding=self.output.rounding, random_bits=None)

    @property
    def output_offset_range(self) -> OffsetRange:
        """Of the output stage's offset register: a zero point, or an exponent offset."""
        target = self.output.target
        if isinstance(target, FixedFormat):
            return OffsetRange(low=-(2**target.bits), high=2**target.bits - 1)
        return quantizer_range(AddendShape.of(self.biased), self.output_quantizer)
