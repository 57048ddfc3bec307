"""Components of the MAC on every input, against the golden function that each implements."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.arith import (
    Unpacked,
    chunk_add,
    chunk_events,
    cut_to_lsb,
    multiply,
    quantize,
    quantize_events,
    round_significand,
)
from golden.config import (
    FixedAccumulator,
    FixedFormat,
    FloatQuantizer,
    Format,
    MacConfig,
    Offsets,
    Overflow,
    Rounding,
    Silicon,
    parse_format,
)
from golden.datapath import with_offsets
from hw.fixed import FixedAdder, FixedCut
from hw.mac import ChunkAdder
from hw.multiplier import IntegerMultiplier, Multiplier, NormalMultiplier
from hw.quantizer import Normalizer, Quantizer
from hw.rounder import SignificandRounder
from tb.sweep import sweep

#: Roundings of a magnitude, and the bits of their random words.
FLOAT_ROUNDINGS = (
    (Rounding.TOWARD_ZERO, None),
    (Rounding.NEAREST_EVEN, None),
    (Rounding.STOCHASTIC, 1),
    (Rounding.STOCHASTIC, 3),
)
ROUNDERS = list(product((1, 2, 5), FLOAT_ROUNDINGS))
OPERANDS = (
    ("e3m4", "e3m4"),
    ("e2m0", "e1m3"),
    ("int5", "e2m2"),
    ("uint4", "e3m2"),
    ("e3m2s", "e2m3"),
    ("e3m2fn", "e3m3ieee"),
)
NORMALS = (("e3m4", "e3m4"), ("e2m0", "e1m3"), ("e2m0", "e3m0"), ("e3m2", "e2m3"))
INTEGERS = (("int5", "int5"), ("uint4", "int6"), ("uint5", "uint3"))
#: Bits of the significand that comes in, and the target: rounding, keeping and padding.
TARGETS = (
    *((6, "e2m2"), (4, "e3m3"), (3, "e2m4"), (5, "e3m0")),
    *((6, "e2m2s"), (4, "e3m3s"), (3, "e2m4s"), (5, "e3m0s"), (6, "e3m2fn"), (5, "e3m2ieee")),
)
QUANTIZERS = list(product(TARGETS, FLOAT_ROUNDINGS))
EXPONENTS = range(-6, 12)
CUTS = list(product((-1, 0, 1, 3, 8), (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.FLOOR)))
ADDERS = list(product((4, 7), Overflow))

#: Inner and outer accumulator: every kind of addition, of addends finer and coarser than the sum.
CHUNKS = (
    ("e2m2_rz", "e3m3_rz"),
    ("e2m2_rz", "e3m3_rne"),
    ("e2m2_rz", "e3m3_rz_g0"),
    ("e2m2_rz", "e3m3_rne_g0"),
    ("e2m2_rz", "e3m3_rz_g1"),
    ("e2m2_rz", "e3m3_rne_g2"),
    ("e2m2_rz", "e2m0_rne"),
    ("e2m4_rz", "e3m1_rne"),
    ("e2m4_rz", "e3m1_rz_g0"),
    ("e2m4_rz", "e2m2_rz_g3"),
    ("e2m2_rz", "e3m3_sr2"),
    ("e2m2_rz", "e2m2_sr3_g1"),
    ("e3m2_rz", "e3m3s_rz"),
    ("e3m2s_rz", "e3m2s_rne"),
    ("e3m2s_rz", "e3m2_rne"),
    ("e2m3s_rz", "e3m2s_rz_g0"),
    ("e3m2_rz", "e3m2s_rne_g1"),
    ("e2m2s_rz", "e3m2s_sr2_g3"),
    ("e2m2s_rz", "e3m2s_sr2"),
    ("e3m2_rz", "e3m2fn_rne"),
    ("e3m2ieee_rz", "e3m2ieee_rne"),
    ("e3m2s_rz", "int6_rne_sat"),
    ("int5_rz_sat", "e3m2s_rne"),
    ("int5_rz_sat", "e3m2_rne"),
    ("int5_rz_sat", "e3m2_rz_g1"),
    ("e2m2_rz", "int6_rz_sat"),
    ("e2m2_rz", "int6_floor_wrap"),
    ("e3m1_rz", "int5_rne_sat"),
    ("e2m2_rz", "int5_rne_wrap"),
    ("int6_rz_sat", "int5l2_rne_sat"),
    ("int6_rz_sat", "int8ln1_rz_wrap"),
    ("int7_rz_sat", "int5l1_floor_sat"),
    ("int7_rz_sat", "int4_floor_sat"),
)


def operand_config(x: str, w: str) -> MacConfig:
    return MacConfig.parse(f"{x}_{w}_p_exact_a_int16_rz_wrap_c1")


def chunk_config(inner: str, outer: str) -> MacConfig:
    return MacConfig.parse(f"e2m1_e2m1_p_exact_a_{inner}_c1_o_{outer}")


def signed(code: np.ndarray, bits: int) -> np.ndarray:
    return code - (code >> (bits - 1) << bits)


def fixed_accumulator(bits: int, overflow: Overflow) -> FixedAccumulator:
    number = FixedFormat(bits=bits, lsb=0, signed=True)
    return FixedAccumulator(format=number, rounding=Rounding.FLOOR, overflow=overflow)


class Addition(wiring.Component):
    """A chunk adder of sums to which nothing has happened so far."""

    def __init__(self, silicon: Silicon):
        self.adder = ChunkAdder(silicon, events=True)
        members = dict(self.adder.signature.members)
        super().__init__(
            {name: members[name] for name in members if "events" not in name} | {"events": Out(2)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.adder = self.adder
        for name, member in self.signature.members.items():
            if member.flow == In:
                m.d.comb += getattr(self.adder, name).eq(getattr(self, name))
        m.d.comb += [self.result.eq(self.adder.result), self.events.eq(self.adder.result_events)]
        return m


@pytest.fixture(scope="module")
def components():
    """All components of this module, by name."""
    return (
        {
            f"rounder_{d}_{r.value}{bits}": SignificandRounder(
                width=4, discard=d, rounding=r, random_bits=bits
            )
            for d, (r, bits) in ROUNDERS
        }
        | {f"multiplier_{x}_{w}": Multiplier(operand_config(x, w)) for x, w in OPERANDS}
        | {f"normals_{x}_{w}": NormalMultiplier(operand_config(x, w)) for x, w in NORMALS}
        | {f"integers_{x}_{w}": IntegerMultiplier(operand_config(x, w)) for x, w in INTEGERS}
        | {"normalizer": Normalizer(width=7, max_shift=6)}
        | {
            f"quantizer_{width}_{target}_{r.value}{bits}": Quantizer(
                width=width,
                exponents=EXPONENTS,
                target=parse_format(target),
                rounding=r,
                random_bits=bits,
            )
            for (width, target), (r, bits) in QUANTIZERS
        }
        | {f"cut_{d}_{r.value}".replace("-", "n"): FixedCut(width=7, discard=d, rounding=r) for d, r in CUTS}
        | {f"adder_{b}_{o.value}": FixedAdder(fixed_accumulator(5, o), addend_bits=b) for b, o in ADDERS}
        | {f"chunk_{i}_{o}": Addition(chunk_config(i, o).silicon) for i, o in CHUNKS}
    )


@pytest.fixture(scope="module")
def ports(components):
    """Every input and output of every component."""
    return sweep(components, "hw_units")


def agree(ports: dict[str, np.ndarray], name: str, expected: np.ndarray, where: np.ndarray | bool = True):
    """The output is as expected on all inputs (of those that are ``where``)."""
    got = ports[name]
    wrong = np.flatnonzero((got != expected) & where)
    assert np.count_nonzero(np.broadcast_to(where, got.shape)), "no input was looked at"
    if len(wrong):
        inputs = {port: hex(values[wrong[0]]) for port, values in ports.items()}
        pytest.fail(
            f"{len(wrong)} inputs give a wrong {name}, first {inputs}, golden gives {expected[wrong[0]]:#x}"
        )


@pytest.mark.parametrize(("discard", "rounding"), ROUNDERS)
def test_rounder(ports, discard, rounding):
    mode, bits = rounding
    unit = ports[f"rounder_{discard}_{mode.value}{bits}"]
    expected = round_significand(unit["exact"], discard, mode, random_bits=bits, word=unit.get("word"))
    agree(unit, "rounded", expected)


@pytest.mark.parametrize(("x", "w"), OPERANDS)
def test_multiplier(ports, components, x, w):
    unit, config = ports[f"multiplier_{x}_{w}"], operand_config(x, w)
    exact = multiply(unit["x"], unit["w"], config)
    man_bits = components[f"multiplier_{x}_{w}"].shape.man_bits
    agree(unit, "significand", exact.significand)
    agree(unit, "negative", exact.negative, exact.significand > 0)
    exponent = exact.exponent + man_bits + config.x.bias + config.w.bias
    agree(unit, "exponent", np.broadcast_to(exponent, unit["x"].shape), exact.significand > 0)


@pytest.mark.parametrize(("x", "w"), NORMALS)
def test_normal_multiplier(ports, components, x, w):
    unit, config = ports[f"normals_{x}_{w}"], operand_config(x, w)
    component = components[f"normals_{x}_{w}"]
    exact, width = multiply(unit["x"], unit["w"], config), len(component.significand)
    nonzero = exact.significand > 0
    lower = exact.significand >> (width - 1) == 0  # the leading bit is in the lower of two places
    agree(unit, "zero", ~nonzero)
    agree(unit, "negative", exact.negative, nonzero)
    agree(unit, "significand", exact.significand << lower, nonzero)
    exponent = exact.exponent + component.shape.man_bits + config.x.bias + config.w.bias
    agree(unit, "exponent", exponent + ~lower, nonzero)
    assert (unit["significand"] >> (width - 1) == 1).all(), "the top bit of zero"


def test_multipliers_of_normal_numbers_serve_no_others():
    assert all(NormalMultiplier.serves(operand_config(*pair)) for pair in NORMALS)
    assert not any(
        NormalMultiplier.serves(operand_config(*pair)) for pair in OPERANDS[2:] if pair not in NORMALS
    )


@pytest.mark.parametrize(("x", "w"), INTEGERS)
def test_integer_multiplier(ports, components, x, w):
    unit = ports[f"integers_{x}_{w}"]
    exact = multiply(unit["x"], unit["w"], operand_config(x, w))
    value = np.where(exact.negative, -exact.significand, exact.significand)
    agree(unit, "product", value & (2 ** len(components[f"integers_{x}_{w}"].product) - 1))


def test_normalizer(ports):
    unit = ports["normalizer"]
    value = unit["significand"]
    nonzero = value > 0
    shift = np.array([7 - int(n).bit_length() for n in value])
    agree(unit, "normalized", value << shift, nonzero)
    agree(unit, "shift", shift, nonzero)
    agree(unit, "normalized", value, ~nonzero)


@pytest.mark.parametrize(("shape", "rounding"), QUANTIZERS)
def test_quantizer(ports, shape, rounding):
    (width, name), (mode, bits) = shape, rounding
    unit = ports[f"quantizer_{width}_{name}_{mode.value}{bits}"]
    target = parse_format(name)
    exponent = signed(unit["exponent"], 5)
    legal = (exponent >= EXPONENTS.start) & (exponent < EXPONENTS.stop)
    normalized = (unit["significand"] == 0) | (unit["significand"] >> (width - 1) == 1)
    exact = Unpacked(
        negative=(unit["negative"] == 1) & (unit["significand"] > 0),
        significand=unit["significand"],
        exponent=exponent - target.bias - (width - 1),
    )
    quantizer, word = FloatQuantizer(format=target, rounding=mode, random_bits=bits), unit.get("word")
    code = quantize(exact, quantizer, word)
    agree(unit, "code", code, legal & normalized)
    agree(unit, "zero", code == 0, legal & normalized)
    agree(unit, "magnitude", code & (2 ** (target.code_bits - 1) - 1), legal & normalized & (code != 0))
    events = quantize_events(exact, quantizer, word)
    agree(unit, "overflow", events.overflow, legal & normalized)
    agree(unit, "underflow", events.underflow, legal & normalized)


@pytest.mark.parametrize(("discard", "rounding"), CUTS)
def test_fixed_cut(ports, components, discard, rounding):
    name = f"cut_{discard}_{rounding.value}".replace("-", "n")
    unit = ports[name]
    exact = signed(unit["exact"], 7)
    cut = signed(unit["addend"], len(components[name].addend)) + unit["carry"]
    expected = cut_to_lsb(Unpacked(exact < 0, abs(exact), 0), discard, rounding)
    agree(unit | {"cut": cut}, "cut", expected)


@pytest.mark.parametrize(("addend_bits", "overflow"), ADDERS)
def test_fixed_adder(ports, addend_bits, overflow):
    unit = ports[f"adder_{addend_bits}_{overflow.value}"]
    addend = signed(unit["addend"], addend_bits)
    total = signed(unit["acc"], 5) + addend + unit["carry"]
    if overflow is Overflow.SATURATE:
        total = np.where(unit["huge"] == 1, np.where(addend < 0, -16, 15), total.clip(-16, 15))
    agree(unit, "result", total & 31)


@pytest.mark.parametrize(("inner", "outer"), CHUNKS)
def test_addition(ports, components, inner, outer):
    """Align, add, normalise, round or saturate: the whole addition, at every value of the offset register."""
    unit, config = ports[f"chunk_{inner}_{outer}"], chunk_config(inner, outer)
    expected, events = np.zeros_like(unit["result"]), np.zeros_like(unit["result"])
    if "outer_offset" in unit:
        offsets = signed(unit["outer_offset"], len(components[f"chunk_{inner}_{outer}"].outer_offset))
    else:
        offsets = np.full_like(unit["result"], config.offsets.outer)
    for offset in np.unique(offsets):
        here, own = offsets == offset, config.offsets
        moved = with_offsets(config, Offsets(product=own.product, acc=own.acc, outer=int(offset)))
        word = unit["outer_word"][here] if "outer_word" in unit else None
        step = (unit["acc"][here], unit["s"][here], moved, word)
        happened = chunk_events(*step)
        expected[here] = chunk_add(*step)
        events[here] = happened.overflow | (happened.underflow * 2)
    finite = finite_codes(unit["acc"], config.outer_accumulator.format) & finite_codes(
        unit["s"], config.accumulator.format
    )
    agree(unit, "result", expected, finite)
    agree(unit, "events", events, finite)


def finite_codes(codes: np.ndarray, number: Format) -> np.ndarray:
    """Where a code is neither infinity nor NaN, which never reach an adder."""
    if isinstance(number, FixedFormat):
        return np.ones(codes.shape, dtype=bool)
    return codes & (2 ** (number.code_bits - 1) - 1) <= number.max_magnitude_code


def test_a_wrong_component_is_found(ports):
    """The comparison is a test itself: the other rounding must not pass."""
    unit = ports["rounder_2_rzNone"]
    with pytest.raises(pytest.fail.Exception, match="golden gives"):
        agree(unit, "rounded", round_significand(unit["exact"], 2, Rounding.NEAREST_EVEN))
