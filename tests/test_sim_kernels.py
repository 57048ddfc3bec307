"""The vectorised CPU path: its steps, the proofs that it is exact, and equality with golden."""

import random
from fractions import Fraction

import pytest
import torch

from golden.arith import Unpacked, quantize
from golden.catalog import find
from golden.codes import decode
from golden.config import (
    Encoding,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    MacConfig,
    Overflow,
    Rounding,
)
from sim.kernels import product, steps
from sim.kernels.plan import FixedStep, RoundTo, plan_matmul
from sim.kernels.reach import FLOAT32, FLOAT64, Reach
from sim.kernels.steps import Scratch
from tests.against_golden import assert_equals_golden, operands

FLOAT_ROUNDINGS = (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN)
LANES = pytest.mark.parametrize("lane", [FLOAT32, FLOAT64], ids=["float32", "float64"])


# fmt: off
CATALOG_ROWS = [
    "float6", "float7-rne", "float8", "float8-g0", "float9-px", "float10-rne-g1", "float12",
    "float12-rne", "float12-g0", "float12-g2", "float12-px", "float12-rne-g3-px", "float14",
    "float16", "float16-g1", "float18-rne", "float22", "float27-rne-g2", "float32", "float32-px",
    "float32-rne", "float32-g0", "float32-rne-px", "fixed10", "fixed10-rne", "fixed12-wrap",
    "fixed14-rne-wrap", "fixed16", "fixed20", "fixed24-wrap", "fixed32", "exact", "int8",
    "int8-wrap", "int12", "int12-wrap", "int16", "int20", "int32", "int32-wrap",
]
# fmt: on


@pytest.mark.parametrize("name", CATALOG_ROWS)
def test_catalogue_equals_golden(name):
    config = find(name)
    generator = torch.Generator().manual_seed(len(name))
    assert_equals_golden(*operands(config, 5, 37, 6, generator), config)


@pytest.mark.parametrize(
    "name",
    [
        "e3m4b40_uint1_p_exact_a_e4m7b45_rz_g0_c16",  # numbers far below 1
        "e3m4bn30_e3m4_p_e4m7bn20_rne_a_e4m7bn22_rne_g1_c8",  # and far above
        "int8_int8_p_exact_a_int8_floor_wrap_c16_o_int20_floor_sat",
        "int8_int8_p_exact_a_int20_floor_sat_c8_o_int10l4_rne_wrap",
        "int8_int8_p_exact_a_int12_floor_sat_c8_o_e4m7bn6_rz",
        "e3m4_e3m4_p_exact_a_int12ln4_rz_wrap_c8_o_e5m4_rne_g0",
        "e3m4_e3m4_p_e4m3b6_rz_a_e4m5b4_rz_c4_o_int9ln3_floor_sat",
        "e3m4_e3m4_p_exact_a_e4m2b5_rne_c4_o_e8m23_rz",
        "e8m23_e8m23_p_e8m23_rz_a_e8m23_rne_c4_o_e8m23_rz_g2",
    ],
)
def test_kinds_combine(name):
    """Inner and outer accumulators of different kinds, and numbers at other exponents."""
    config = MacConfig.parse(name)
    generator = torch.Generator().manual_seed(0)
    assert_equals_golden(*operands(config, 5, 37, 6, generator), config)
    assert_equals_golden(*operands(config, 5, 37, 6, generator), config)


def random_config(rng):
    """Formats small enough for float lanes most of the time, with biases anywhere near each other."""

    def number(max_exp, max_man):
        exp_bits = rng.randint(1, max_exp)
        man_bits = rng.randint(1 if exp_bits == 1 else 0, max_man)
        return FloatFormat(
            exp_bits=exp_bits, man_bits=man_bits, bias=rng.randint(-6, 20), encoding=Encoding.NORMALS
        )

    def operand():
        if rng.random() < 0.3:
            return FixedFormat(bits=rng.randint(2, 9), lsb=rng.choice([0, -3, 4]), signed=rng.random() < 0.8)
        return number(4, 5) if rng.random() < 0.9 else number(8, 23)

    def accumulator():
        if rng.random() < 0.45:
            return FixedAccumulator(
                format=FixedFormat(bits=rng.randint(4, 40), lsb=rng.randint(-16, 4), signed=True),
                rounding=rng.choice([mode for mode in Rounding if mode is not Rounding.STOCHASTIC]),
                overflow=rng.choice(list(Overflow)),
            )
        return FloatAccumulator(
            format=number(6, 12) if rng.random() < 0.8 else number(8, 23),
            rounding=rng.choice(FLOAT_ROUNDINGS),
            random_bits=None,
            alignment_bits=rng.choice([None, None, 0, 1, 2, 3]),
        )

    inner, quantizer = accumulator(), None
    if isinstance(inner, FloatAccumulator) and rng.random() < 0.6:
        quantizer = FloatQuantizer(
            format=number(6, 12), rounding=rng.choice(FLOAT_ROUNDINGS), random_bits=None
        )
    return MacConfig(
        x=operand(),
        w=operand(),
        product=quantizer,
        accumulator=inner,
        chunk_size=rng.choice([1, 3, 4, 8, 16, 64]),
        outer=accumulator() if rng.random() < 0.5 else None,
    )


@pytest.mark.parametrize("seed", range(8))
def test_random_configurations_equal_golden(seed):
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    compared = 0
    while compared < 15:
        config = random_config(rng)
        rows, length, columns = rng.choice([(6, 20, 5), (3, 33, 7), (8, 9, 2)])
        if plan_matmul(config, length)[0] is not None:
            assert_equals_golden(*operands(config, rows, length, columns, generator), config)
            compared += 1


@LANES
@pytest.mark.parametrize("rounding", FLOAT_ROUNDINGS)
def test_rounding_step(lane, rounding):
    """All significands of 12 bits, at the exponents of a small format and around its two ends."""
    number = FloatFormat(exp_bits=3, man_bits=4, bias=2, encoding=Encoding.NORMALS)
    quantizer = FloatQuantizer(format=number, rounding=rounding, random_bits=None)
    exact = Reach(lsb=-20, magnitude=1 << 40, significand_bits=12)
    target = RoundTo.of(quantizer, exact, lane)
    significands = torch.arange(1 << 12).repeat(14)
    exponents = torch.arange(-16, -2).repeat_interleave(1 << 12)
    for sign in (1, -1):
        values, scratch = Scratch((1, len(significands)), lane), Scratch((1, len(significands)), lane)
        values.f.copy_(sign * significands * torch.exp2(exponents.double()))
        steps.round_significand(values, target, scratch)
        steps.saturate(values.f, target.maximum)
        steps.flush(values.f, target, out=values.f)
        negative = (significands > 0) & torch.tensor(sign < 0)
        codes = quantize(Unpacked(negative, significands, exponents), quantizer)
        assert torch.equal(values.f[0].double() + 0.0, decode(codes, number))


def test_sum_rounded_to_odd():
    """Against exact rationals, on sums that float64 rounds up, down and not at all."""
    rng = random.Random(0)
    pairs = [(1.0, -(2.0**-80)), (1.0, 2.0**-80), (-1.0, 2.0**-54), (3.0, 2.0**-60), (1.5, -1.5), (0.0, 0.75)]
    pairs += [
        (rng.randint(1, 2**24) * 2.0 ** rng.randint(-80, 0), rng.randint(-(2**48), 2**48) * 2.0**-90)
        for _ in range(500)
    ]
    shape = (1, len(pairs))
    acc, addend, *scratch = (Scratch(shape, FLOAT64) for _ in range(5))
    acc.f.copy_(torch.tensor([p[0] for p in pairs], dtype=torch.float64))
    addend.f.copy_(torch.tensor([p[1] for p in pairs], dtype=torch.float64))
    steps._add_to_odd(acc, acc, addend, scratch)
    for (a, b), got in zip(pairs, acc.f[0].tolist(), strict=True):
        exact = Fraction(a) + Fraction(b)
        if Fraction(a + b) == exact:
            assert got == a + b
        else:
            odd = int(torch.tensor(got, dtype=torch.float64).view(torch.int64)) & 1
            assert odd == 1
            assert abs(Fraction(got) - exact) < Fraction(2) ** (torch.tensor(got).frexp()[1].item() - 53)


@LANES
def test_wrapping_step(lane):
    step = FixedStep(cut=None, low=-8, high=7, wrap=True)
    integers = torch.arange(-100, 101)
    values, scratch = Scratch((1, 201), lane), Scratch((1, 201), lane)
    values.f.copy_(integers)
    steps.wrap(values.f, step, scratch.f)
    assert torch.equal(values.f[0].long(), (integers + 8) % 16 - 8)


@pytest.mark.parametrize(
    "name", ["float12", "float32-rne", "float12-g1", "fixed12-wrap", "int12", "int12-wrap"]
)
@pytest.mark.parametrize("shape", [(9, 40, 4), (4, 40, 9)])
def test_tiles_fit_together(monkeypatch, name, shape):
    """The longer side of the output is cut and taken as the inner loop, and both threads work."""
    monkeypatch.setattr(product, "_TILE_COLUMNS", 4)
    monkeypatch.setattr(product, "_TILE_BYTES", 64)
    config = find(name)
    assert_equals_golden(*operands(config, *shape, torch.Generator().manual_seed(1)), config)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    config = find("float12")
    a, b = operands(config, 3, 16, 3, torch.Generator().manual_seed(0))
    assert_equals_golden(a, b, config)
    assert torch.get_num_threads() == before
