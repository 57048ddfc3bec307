"""The output stage of one column: bias, ReLU, and rounding to the format of the next layer's operands."""

from __future__ import annotations

from amaranth import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedFormat, Rounding
from golden.tile import SHIFT_BITS, TileConfig
from hw.library import written_once
from hw.step import Number, add_float, quantize_product

__all__ = [
    "OutputLane",
    "ShiftRounder",
    "channel_layout",
    "output_latency",
]


def channel_layout(config: TileConfig) -> data.StructLayout:
    """The parameters of a channel."""
    members = {"bias": unsigned(config.outer.format.code_bits)}
    if config.output.multiplier_bits is not None:
        members |= {"multiplier": unsigned(config.output.multiplier_bits), "shift": unsigned(SHIFT_BITS)}
    return data.StructLayout(members)


def output_latency(config: TileConfig) -> int:
    """Registers on the way through the output stage; 0 where there is none."""
    if config.output is None:
        return 0
    return 3 if isinstance(config.output.target, FixedFormat) else 2


class ShiftRounder(wiring.Component):
    """Shifts a signed number right by any number of places and rounds once.

    Combinational. The arithmetic is that of :func:`golden.rounding.round_significand`, on two's complement.

    Parameters
    ----------
    width : int
        Bits of the number.
    rounding : Rounding
        Toward zero, to nearest even, or floor.

    Members
    -------
    exact : In(signed(width))
        The number.
    shift : In(SHIFT_BITS)
        Places.
    rounded : Out(signed(width + 1))
        The rounded number.
    """

    def __init__(self, *, width: int, rounding: Rounding):
        self.width = width
        self.rounding = rounding
        super().__init__(
            {
                "exact": In(signed(width)),
                "shift": In(unsigned(SHIFT_BITS)),
                "rounded": Out(signed(width + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        value, sticky = self.exact << 1, Const(0, 1)  # a guard bit below
        for i in reversed(range(SHIFT_BITS)):
            step = 1 << i
            shifted, lost = Signal(signed(self.width + 1), name=f"by_{step}"), Signal(name=f"lost_{step}")
            m.d.comb += shifted.eq(Mux(self.shift[i], value >> step, value))
            below = value[:step] if step < len(value) else value
            m.d.comb += lost.eq(sticky | (self.shift[i] & below.any()))
            value, sticky = shifted, lost
        kept, guard = (value >> 1).as_signed(), value[0]
        match self.rounding:
            case Rounding.TOWARD_ZERO:
                up = value[-1] & (guard | sticky)
            case Rounding.NEAREST_EVEN:
                up = guard & (sticky | value[1])
            case Rounding.FLOOR:
                up = 0
        m.d.comb += self.rounded.eq(kept + up)
        return m


@written_once("config")
class OutputLane(wiring.Component):
    """The output stage of one column.

    A pipeline of ``latency`` registers. The arithmetic is that of :func:`golden.output.output`.

    Parameters
    ----------
    config : TileConfig
        Gives the outer accumulator and the output stage.

    Attributes
    ----------
    latency : int
        Enabled cycles from ``code`` to ``result``.

    Members
    -------
    en : In(1)
        All registers advance.
    code : In
        Of the outer accumulator.
    channel : In(channel_layout)
        The column's parameters, sampled with ``code``.
    relu : In(1)
        A negative sum becomes zero.
    offset : In(signed)
        Zero point or exponent offset.
    result : Out
        Code of the target.
    overflow : Out(1)
        It is at an end of the target because it had no room beyond.
    """

    def __init__(self, config: TileConfig):
        self.config = config
        self.integers = isinstance(config.output.target, FixedFormat)
        self.latency = output_latency(config)
        super().__init__(
            {
                "en": In(1),
                "code": In(unsigned(config.outer.format.code_bits)),
                "channel": In(channel_layout(config)),
                "relu": In(1),
                "offset": In(signed(config.output_offset_range.width)),
                "result": Out(unsigned(config.output.target.code_bits)),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        total = self._biased(m)
        code, overflow = self._requantized(m, total) if self.integers else self._rounded(m, total)
        m.d.comb += [
            self.result.eq(self._register(m, code, "rounded")),
            self.overflow.eq(self._register(m, overflow, "saturated")),
        ]
        return m

    def _register(self, m: Module, word: Value, name: str) -> Signal:
        register = Signal(word.shape(), name=name, reset_less=True)
        with m.If(self.en):
            m.d.sync += register.eq(word)
        return register

    def _biased(self, m: Module) -> Value:
        """The code of the sum with its bias, after the ReLU, in a register."""
        outer = self.config.outer.format
        if isinstance(outer, FixedFormat):
            total = Signal(signed(outer.bits + 1))
            m.d.comb += total.eq(self.code.as_signed() + self.channel.bias.as_signed())
        else:
            total = Signal(outer.code_bits)
            bias = Number.of(self.channel.bias, outer).normalized(m, "bias_normalizer")
            accumulator = self.config.bias_accumulator
            m.d.comb += total.eq(add_float(m, self.code, bias, accumulator, _wire, None).code)
        return self._register(m, Mux(self.relu & total[-1], 0, total), "biased")

    def _requantized(self, m: Module, total: Value) -> tuple[Value, Value]:
        stage, target = self.config.output, self.config.output.target
        multiplier = self._register(m, self.channel.multiplier, "multiplier")
        shift = self._register(m, self._register(m, self.channel.shift, "shift_early"), "shift")
        product = self._register(m, total.as_signed() * multiplier, "product")
        m.submodules.shift_rounder = rounder = ShiftRounder(width=len(product), rounding=stage.rounding)
        m.d.comb += [rounder.exact.eq(product), rounder.shift.eq(shift)]
        integer = Signal((rounder.rounded + self.offset).shape())
        m.d.comb += integer.eq(rounder.rounded + self.offset)
        below, above = integer < target.min_integer, integer > target.max_integer
        limits = Mux(below, target.min_integer, Mux(above, target.max_integer, integer))
        return limits[: target.bits], below | above

    def _rounded(self, m: Module, total: Value) -> tuple[Value, Value]:
        m.submodules.target = part = Module()  # names of its own, beside those of the bias addition
        number = Number.of(total, self.config.biased)
        number = number.offset_by(self.offset, self.config.output_offset_range).normalized(part, "normalizer")
        rounded, _ = quantize_product(part, number, self.config.output_quantizer, None, _wire)
        return rounded.code, rounded.overflow


def _wire(value: Value) -> Value:
    return value
