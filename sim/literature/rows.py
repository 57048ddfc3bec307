"""Rows of the comparison: what is built, in groups that each answer a question."""

from __future__ import annotations

from dataclasses import dataclass, replace

from golden.catalog import find
from golden.config import (
    FixedAccumulator,
    FloatAccumulator,
    FloatFormat,
    MacConfig,
    Overflow,
    Rounding,
    Silicon,
    parse_format,
)

__all__ = ["GROUPS", "Design", "analytic_formats", "designs"]

#: Group -> its title, in the order of the table.
GROUPS = {
    "float": "Float accumulators under e3m4 operands",
    "ieee": "The same with nearest-even rounding and subnormals",
    "e4m3": "Float accumulators under e4m3 operands",
    "integer": "Integer accumulators under int8 operands",
    "exact": "The exact sum of e3m4 products and what is cut from it, offsets wired in",
    "alignment": "Alignment to g guard bits, 12-bit float",
    "rounding": "Rounding of the sum, 12-bit float",
    "first-loop": "As the MACs stood when the first issue closed",
    "others": "A processing element of others, restated",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """One row: a MAC of this project, or a Verilog text that stands for another."""

    key: str  #: Unique.
    group: str  #: Of :data:`GROUPS`.
    label: str  #: As the table shows it.
    config: MacConfig  #: What it computes.
    hardwired: bool
    source: str  #: ``generator``, a name of :data:`hw.cost.baseline.FIRST_LOOP`, or a file beside this one.
    asap7: bool  #: Measured in ASAP7 too, where published figures are.

    @property
    def silicon(self) -> Silicon:
        """What golden checks it against."""
        return self.config.hardwired if self.hardwired else self.config.silicon


def _design(group: str, key: str, label: str, config: MacConfig, **options) -> Design:
    given = {"hardwired": False, "source": "generator", "asap7": False} | options
    return Design(key=f"{group}/{key}", group=group, label=label, config=config, **given)


def _ieee(config: MacConfig) -> MacConfig:
    """The exact product into an accumulator with IEEE's subnormals, rounded to nearest even."""
    acc = config.accumulator
    number = parse_format(f"{acc.format.silicon_name}ieee")
    return replace(
        config, product=None, accumulator=replace(acc, format=number, rounding=Rounding.NEAREST_EVEN)
    )


def _operands(config: MacConfig, name: str) -> MacConfig:
    """The same sums of products of another format; biases are data."""
    return replace(config, x=parse_format(name), w=parse_format(name))


def _fixed(bits: int, dropped: int, overflow: Overflow) -> MacConfig:
    """A fixed-point sum of e3m4 products without their ``dropped`` lowest bits."""
    config = find("exact")
    number = replace(config.accumulator.format, bits=bits, lsb=config.product_lsb + dropped)
    return replace(
        config,
        accumulator=FixedAccumulator(format=number, rounding=Rounding.TOWARD_ZERO, overflow=overflow),
    )


def _stochastic(bits: int) -> MacConfig:
    config = find("float12")
    acc = replace(config.accumulator, rounding=Rounding.STOCHASTIC, random_bits=bits)
    return replace(config, accumulator=acc)


def designs() -> list[Design]:
    """All rows, group by group."""
    return [
        *_float_rows(),
        *_integer_rows(),
        *_exact_rows(),
        *_policy_rows(),
        *_first_loop_rows(),
        _design(
            "others",
            "gemmini-pe",
            "int8 weights double buffered, sums of 20 bits (after Gemmini)",
            find("int20-wrap"),
            source="weight_stationary_pe.v",
        ),
    ]


def _float_rows() -> list[Design]:
    named = {"float32": "FP32, e8m23", "float16": "FP16 and M10E5, e5m10", "float12": "M7E4, e4m7"}
    rows = []
    for name, label in {**named, "float8": "8 bits, e4m3"}.items():
        for policy, how in (("", "product rounded to it"), ("-px", "exact product")):
            config = find(f"{name}{policy}")
            rows.append(_design("float", f"{name}{policy}", f"{label}, {how}", config, asap7=True))
    short = {"float32": "FP32", "float16": "FP16", "float12": "FP12, e4m7"}
    rows += [
        _design("ieee", name, f"{label}, exact product", _ieee(find(name))) for name, label in short.items()
    ]
    rows += [
        _design("e4m3", name, f"{label}, product rounded to it", _operands(find(name), "e4m3"), asap7=True)
        for name, label in short.items()
    ]
    return rows


def _integer_rows() -> list[Design]:
    return [
        _design(
            "integer",
            f"int{bits}{wrap}",
            f"{bits} bits, {how}",
            find(f"int{bits}{wrap}"),
            asap7=bits in (12, 32),
        )
        for wrap, how in (("", "saturating"), ("-wrap", "wrapping"))
        for bits in (32, 24, 20, 16, 12)
        for name in [f"int{bits}{wrap}"]
    ]


def _exact_rows() -> list[Design]:
    exact = find("exact")
    whole = exact.accumulator.format.bits
    rows = [
        _design("exact", "exact", f"exact for 4096 products, {whole} bits", exact, hardwired=True, asap7=True)
    ]
    for bits in (30, 24, 20):
        config = _fixed(bits, 0, Overflow.SATURATE)
        label = f"all product bits, {bits} bits, saturating"
        rows.append(_design("exact", f"range{bits}", label, config, hardwired=True))
    for bits in (24, 20, 16, 12):
        config = find(f"fixed{bits}")
        dropped = config.accumulator.format.lsb - exact.product_lsb
        if dropped > 0:
            label = f"{dropped} low product bits dropped, {bits} bits, saturating"
            rows.append(_design("exact", f"fixed{bits}", label, config, hardwired=True, asap7=bits == 12))
    wrapping = find("fixed16-wrap")
    dropped = wrapping.accumulator.format.lsb - exact.product_lsb
    label = f"{dropped} low product bits dropped, 16 bits, wrapping"
    rows.append(_design("exact", "fixed16-wrap", label, wrapping, hardwired=True))
    float12 = find("float12")
    rows.append(_design("exact", "float12", "M7E4 with offsets wired in", float12, hardwired=True))
    return rows


def _policy_rows() -> list[Design]:
    rows = [
        _design("alignment", name, label, find(name))
        for name, label in (
            *((f"float12-g{g}", f"g = {g}") for g in range(4)),
            ("float12", "exact"),
        )
    ]
    rows += [
        _design("rounding", name, label, find(name))
        for name, label in (("float12", "toward zero"), ("float12-rne", "nearest even, product too"))
    ]
    rows += [
        _design("rounding", f"float12-sr{bits}", f"stochastic, {bits} random bits", _stochastic(bits))
        for bits in (2, 4, 8)
    ]
    return rows


def _first_loop_rows() -> list[Design]:
    kept = {
        "float32": "FP32, product rounded to it",
        "float32_px": "FP32, exact product",
        "float16": "FP16, product rounded to it",
        "float12": "M7E4, product rounded to it",
        "float12_px": "M7E4, exact product",
        "float12_wired": "M7E4, offsets wired in",
        "float8": "8 bits, product rounded to it",
    }
    return [
        _design(
            "first-loop",
            name,
            label,
            find(name.removesuffix("_wired").replace("_", "-")),
            hardwired=name.endswith("_wired"),
            source=name,
        )
        for name, label in kept.items()
    ]


def analytic_formats() -> dict[str, tuple[FloatFormat, FloatFormat]]:
    """Key of a row -> formats of its operands and its accumulator, of rows that gates are counted for."""
    return {
        row.key: (row.config.x, row.config.accumulator.format)
        for row in designs()
        if row.group in ("float", "e4m3") and isinstance(row.config.accumulator, FloatAccumulator)
    }
