"""Method ``units``: multipliers and quantizers of the MACs on every input, against golden."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from itertools import product as crossed

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from golden.arith import Unpacked, chunk_add, multiply, quantize
from golden.catalog import default_split, float_accumulator
from golden.config import ConfigError, FixedFormat, Format, MacConfig, Rounding
from golden.datapath import offset_ranges, product_shape
from hw.mac import ChunkAdder
from hw.multiplier import IntegerMultiplier, Multiplier, NormalMultiplier
from hw.quantizer import Quantizer
from hw.verilog import verilog_text
from tb.bank import Bank
from tb.sweep import sweep
from tb.verify.rows import ARITHMETIC, Outcome, Row, Task, simulator_versions, sources

__all__ = ["METHODS", "Units", "rows"]

METHODS = {
    "units": "Parts of the MAC on every input: all pairs of codes through the multipliers, all significands, "
    "exponents and random words through the product quantizers, and every sum with every chunk sum "
    "through adders of outer sums; what comes out is compared with golden. Many units share a "
    "Verilated program. Codes of infinity and NaN, which are refused before they reach the "
    "hardware, are left out.",
}

_VERSION = "1"

Ports = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A combinational component, and golden's answer to its inputs."""

    component: wiring.Component
    check: Callable[[Ports], tuple[int, str | None, int]]  #: Compared, first difference, differences.


@dataclass(frozen=True, kw_only=True)
class Units:
    """Units of a kind, in one program."""

    subject: str
    what: str
    make: Callable[[], dict[str, Unit]]

    @cached_property
    def units(self) -> dict[str, Unit]:
        return self.make()

    def depends(self) -> str:
        bank = Bank({name: unit.component for name, unit in self.units.items()})
        return _VERSION + verilog_text(bank, "units") + sources(ARITHMETIC)

    def run(self, task: Task) -> Outcome:
        """Compare every input of every unit. There is no smaller run."""
        units = self.make()  # components are elaborated once
        outputs = sweep({name: unit.component for name, unit in units.items()}, "verify_units")
        compared = differences = 0
        details: dict = {"units": list(units)}
        for done, (name, unit) in enumerate(units.items()):
            count, first, wrong = unit.check(outputs[name])
            compared += count
            if wrong and not differences:
                details["first_difference"] = f"{name}: {first}"
            differences += wrong
            task.report((done + 1) / len(units))
        return Outcome(compared=compared, differences=differences, details=details)


def _difference(
    ports: Ports, expected: Mapping[str, NDArray], where: NDArray | bool = True
) -> tuple[int, str | None, int]:
    """Compare outputs with what is expected of them, on the inputs that are ``where``."""
    wrong = np.zeros(len(next(iter(ports.values()))), dtype=bool)
    for name, wanted in expected.items():
        wrong |= ports[name] != wanted
    looked_at = np.broadcast_to(where, wrong.shape)
    wrong &= looked_at
    if not wrong.any():
        return int(looked_at.sum()), None, 0
    i = int(np.flatnonzero(wrong)[0])
    got = {name: hex(values[i]) for name, values in ports.items()}
    wanted = {name: hex(np.broadcast_to(values, wrong.shape)[i]) for name, values in expected.items()}
    return int(looked_at.sum()), f"RTL has {got}, golden gives {wanted}", int(wrong.sum())


def _is_number(codes: NDArray, number: Format) -> NDArray | bool:
    if isinstance(number, FixedFormat):
        return True
    return (codes & (2 ** (number.code_bits - 1) - 1)) <= number.max_magnitude_code


#: Operands that are multiplied with themselves, with the next one, and with int8 and e3m4.
_OPERANDS = (
    *("e3m4", "e4m3", "e5m2", "e2m5", "e3m2", "e2m3", "e2m1", "e1m6", "e6m1", "e2m0"),
    *("e3m4s", "e4m3s", "e5m2s", "e2m1s", "e2m3s", "e4m3fn", "e5m2ieee"),
    *("int8", "uint8", "int4", "uint4", "int5ln2"),
)


def _operand_config(x: str, w: str) -> MacConfig:
    return MacConfig.parse(f"{x}_{w}_p_exact_a_int16_rz_wrap_c1")


def _multipliers() -> dict[str, Unit]:
    pairs = [(name, name) for name in _OPERANDS]
    pairs += list(pairwise(_OPERANDS))
    pairs += [*crossed(_OPERANDS, ("int8",)), *crossed(("e3m4",), _OPERANDS)]
    return {f"{x}_{w}": _multiplier(_operand_config(x, w)) for x, w in dict.fromkeys(pairs)}


def _multiplier(config: MacConfig) -> Unit:
    component = Multiplier(config)

    def check(ports: Ports) -> tuple[int, str | None, int]:
        exact = multiply(ports["x"], ports["w"], config)
        nonzero = exact.significand > 0
        exponent = exact.exponent + component.shape.man_bits + config.x.bias + config.w.bias
        expected = {
            "significand": exact.significand,
            # Of zero, sign and exponent mean nothing.
            "negative": np.where(nonzero, exact.negative, ports["negative"]),
            "exponent": np.where(nonzero, exponent, ports["exponent"]),
        }
        where = _is_number(ports["x"], config.x) & _is_number(ports["w"], config.w)
        return _difference(ports, expected, where)

    return Unit(component=component, check=check)


def _normal_multipliers() -> dict[str, Unit]:
    """The multipliers of float accumulators, whose product comes normalised."""

    def unit(config: MacConfig) -> Unit:
        component = NormalMultiplier(config)
        width = len(component.significand)

        def check(ports: Ports) -> tuple[int, str | None, int]:
            exact = multiply(ports["x"], ports["w"], config)
            nonzero, lower = exact.significand > 0, exact.significand >> (width - 1) == 0
            exponent = exact.exponent + component.shape.man_bits + config.x.bias + config.w.bias
            expected = {
                "zero": ~nonzero,
                # Of zero, sign, significand and exponent mean nothing.
                "negative": np.where(nonzero, exact.negative, ports["negative"]),
                "significand": np.where(nonzero, exact.significand << lower, ports["significand"]),
                "exponent": np.where(nonzero, exponent + ~lower, ports["exponent"]),
            }
            return _difference(ports, expected)

        return Unit(component=component, check=check)

    configs = {f"{x}_{w}": _operand_config(x, w) for x, w in crossed(_OPERANDS, _OPERANDS)}
    return {name: unit(config) for name, config in configs.items() if NormalMultiplier.serves(config)}


def _integer_multipliers() -> dict[str, Unit]:
    def unit(config: MacConfig) -> Unit:
        component = IntegerMultiplier(config)

        def check(ports: Ports) -> tuple[int, str | None, int]:
            exact = multiply(ports["x"], ports["w"], config)
            value = np.where(exact.negative, -exact.significand, exact.significand)
            return _difference(ports, {"product": value & (2 ** len(component.product) - 1)})

        return Unit(component=component, check=check)

    names = ("int8", "uint8", "int7", "int5", "uint4", "int4", "int2", "uint1")
    return {f"{x}_{w}": unit(_operand_config(x, w)) for x, w in crossed(names, names)}


def _quantizers(operand: str, rounding: Rounding, random_bits: int | None) -> dict[str, Unit]:
    """Product quantizers of the report's widths, for products of two such operands."""
    suffix = "s" if operand.endswith("s") else ""
    policy = rounding.value + ("" if random_bits is None else str(random_bits))
    units = {}
    for bits in (6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32):
        try:
            exp_bits, man_bits = default_split(bits)
            product, _ = float_accumulator(exp_bits, man_bits, Rounding.TOWARD_ZERO, None)
            target = f"e{exp_bits}m{man_bits}{suffix}b{product.format.bias}"
            config = MacConfig.parse(f"{operand}_{operand}_p_{target}_{policy}_a_{target}_rz_c1")
        except ConfigError:
            continue
        unit, inputs = _quantizer(config)
        if inputs <= 24:
            units[target] = unit
    return units


def _quantizer(config: MacConfig) -> tuple[Unit, int]:
    """The product quantizer that a MAC has, on every exponent that its offset register leads to."""
    shape, bounds = product_shape(config), offset_ranges(config).product
    width, quantizer = shape.significand_bits, config.product
    above = width - 1 - shape.man_bits
    register = 2 ** (bounds.width - 1)
    exponents = range(above - shape.leading_zeros - (register - 1), above + shape.max_exp_code + 1 + register)
    component = Quantizer(
        width=width,
        exponents=exponents,
        target=quantizer.format,
        rounding=quantizer.rounding,
        random_bits=quantizer.random_bits,
    )
    exponent_bits = len(component.exponent)

    def check(ports: Ports) -> tuple[int, str | None, int]:
        significand, raw = ports["significand"], ports["exponent"]
        exponent = raw - (raw >> (exponent_bits - 1) << exponent_bits)
        legal = (exponent >= exponents.start) & (exponent < exponents.stop)
        legal &= (significand == 0) | (significand >> (width - 1) == 1)
        exact = Unpacked(
            negative=(ports["negative"] == 1) & (significand > 0),
            significand=significand,
            exponent=exponent - quantizer.format.bias - (width - 1),
        )
        word = ports.get("word")
        return _difference(ports, {"code": quantize(exact, quantizer, word)}, legal)

    inputs = width + exponent_bits + 1 + (quantizer.random_bits or 0)
    return Unit(component=component, check=check), inputs


def _adders(inner: str, outers: tuple[str, ...]) -> dict[str, Unit]:
    return {outer: _adder(MacConfig.parse(f"e3m4_e3m4_p_exact_a_{inner}_c16_o_{outer}")) for outer in outers}


def _adder(config: MacConfig) -> Unit:
    def check(ports: Ports) -> tuple[int, str | None, int]:
        blocks = np.array_split(np.arange(len(ports["s"])), 1 << 8)  # what stays in the cache
        expected = np.concatenate(
            [
                chunk_add(ports["acc"][i], ports["s"][i], config, ports.get("word"))
                for i in map(_slice, blocks)
            ]
        )
        return _difference(ports, {"result": expected})

    return Unit(component=ChunkAdder(config.hardwired, events=False), check=check)


def _slice(indices: NDArray) -> slice:
    return slice(int(indices[0]), int(indices[-1]) + 1)


def _all_units() -> Iterator[Units]:
    yield Units(
        subject="multipliers",
        what=f"Verilated Multiplier with golden.arith.multiply, all pairs of codes of {', '.join(_OPERANDS)}",
        make=_multipliers,
    )
    yield Units(
        subject="normal-multipliers",
        what="Verilated NormalMultiplier with golden.arith.multiply, all pairs of codes of operands without "
        "subnormals",
        make=_normal_multipliers,
    )
    yield Units(
        subject="integer-multipliers",
        what="Verilated IntegerMultiplier with golden.arith.multiply, all pairs of codes",
        make=_integer_multipliers,
    )
    policies = ((Rounding.TOWARD_ZERO, None), (Rounding.NEAREST_EVEN, None), (Rounding.STOCHASTIC, 1))
    for operand, (rounding, random_bits) in crossed(("e3m4", "e3m4s"), policies):
        name = rounding.value + ("" if random_bits is None else str(random_bits))
        yield Units(
            subject=f"product-quantizers {operand} {name}",
            what="Verilated Quantizer with golden.arith.quantize, all significands, exponents and words",
            make=lambda operand=operand, rounding=rounding, bits=random_bits: _quantizers(
                operand, rounding, bits
            ),
        )
    for outers in (("e4m7b9_rz", "e4m7b8_rne"), ("int12ln5_rz_sat", "e4m7b10_rz_g1")):
        yield Units(
            subject=f"outer-adders e4m7b10 {' '.join(outers)}",
            what="Verilated ChunkAdder with golden.arith.chunk_add, all chunk sums and all sums",
            make=lambda outers=outers: _adders("e4m7b10_rz", outers),
        )


def rows() -> list[Row]:
    return [
        Row(
            method="units",
            subject=units.subject,
            what=units.what,
            depends=units.depends,
            run=units.run,
            versions=simulator_versions,
            seconds=60,
            divides=False,
        )
        for units in _all_units()
    ]
