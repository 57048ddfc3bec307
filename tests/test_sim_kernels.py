"""The vectorised CPU path: its steps, the proofs that it is exact, and equality with golden."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from golden import accumulate as golden
from golden.arith import Unpacked, quantize
from golden.catalog import find
from golden.codes import decode
from golden.config import (
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

FLOAT_ROUNDINGS = (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN)
LANES = pytest.mark.parametrize("lane", [FLOAT32, FLOAT64], ids=["float32", "float64"])


def operands(config, rows, length, columns, generator):
    """Values of the operand formats: any, or of the upper half of the exponents so that sums overflow."""

    def draw(number, shape):
        codes = torch.randint(0, 2**number.code_bits, shape, generator=generator)
        if isinstance(number, FloatFormat) and torch.rand((), generator=generator) < 0.5:
            codes |= (number.max_exp_code // 2) << number.man_bits
        zero = torch.rand(shape, generator=generator) < 0.1
        return decode(torch.where(zero, 0, codes), number)

    return draw(config.x, (rows, length)), draw(config.w, (length, columns))


def assert_equals_golden(a, b, config, order=None):
    plan, _ = plan_matmul(config, a.shape[-1])
    expected = golden.matmul(a, b, config, order)
    values, _ = product.multiply(a, b, config, plan, order, count=False)
    counted_values, counted = product.multiply(a, b, config, plan, order, count=True)
    assert torch.equal(values, expected), config.name
    assert torch.equal(counted_values, expected), config.name
    assert not (values.signbit() & (values == 0)).any(), "a zero has sign 0"
    assert counted == golden.events(a, b, config, order), config.name


CATALOG_ROWS = (
    "float6 float7-rne float8 float8-g0 float9-px float10-rne-g1 float12 float12-rne float12-g0 float12-g2 "
    "float12-px float12-rne-g3-px float14 float16 float16-g1 float18-rne float22 float27-rne-g2 float32 "
    "float32-px float32-rne float32-g0 float32-rne-px fixed10 fixed10-rne fixed12-wrap fixed14-rne-wrap fixed16 "
    "fixed20 fixed24-wrap fixed32 exact int8 int8-wrap int12 int12-wrap int16 int20 int32 int32-wrap"
).split()


@pytest.mark.parametrize("name", CATALOG_ROWS)
def test_catalogue_equals_golden(name):
    config = find(name)
    generator = torch.Generator().manual_seed(len(name))
    assert_equals_golden(*operands(config, 5, 37, 6, generator), config)


def random_config(rng):
    """Formats small enough for float lanes most of the time, with biases anywhere near each other."""

    def number(max_exp, max_man):
        exp_bits = rng.randint(1, max_exp)
        man_bits = rng.randint(1 if exp_bits == 1 else 0, max_man)
        return FloatFormat(exp_bits=exp_bits, man_bits=man_bits, bias=rng.randint(-6, 20))

    def operand():
        if rng.random() < 0.3:
            return FixedFormat(bits=rng.randint(2, 9), lsb=rng.choice([0, -3, 4]), signed=rng.random() < 0.8)
        return number(4, 5) if rng.random() < 0.9 else number(8, 23)

    def accumulator():
        if rng.random() < 0.45:
            return FixedAccumulator(
                format=FixedFormat(bits=rng.randint(4, 40), lsb=rng.randint(-16, 4), signed=True),
                rounding=rng.choice(list(Rounding)),
                overflow=rng.choice(list(Overflow)),
            )
        return FloatAccumulator(
            format=number(6, 12) if rng.random() < 0.8 else number(8, 23),
            rounding=rng.choice(FLOAT_ROUNDINGS),
            alignment_bits=rng.choice([None, None, 0, 1, 2, 3]),
        )

    inner, quantizer = accumulator(), None
    if isinstance(inner, FloatAccumulator) and rng.random() < 0.6:
        quantizer = FloatQuantizer(format=number(6, 12), rounding=rng.choice(FLOAT_ROUNDINGS))
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
    number = FloatFormat(exp_bits=3, man_bits=4, bias=2)
    quantizer = FloatQuantizer(format=number, rounding=rounding)
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


# The proofs, at their edges: the last case that a way of computing is used for, and the first that it is not
# used for. Where the way is wrong outside, an example shows it; some proofs are one bit on the safe side.

LONG = 1 << 20


def assert_wrong(plan, a, b, config):
    """Golden differs from this plan, and not from the one that is used."""
    values, _ = product.multiply(a, b, config, plan, None, count=False)
    assert not torch.equal(values, golden.matmul(a, b, config))
    assert_equals_golden(a, b, config)


@pytest.mark.parametrize(("acc_bits", "lane"), [(23, FLOAT32), (24, FLOAT64)])
def test_lane_of_a_saturating_integer(acc_bits, lane):
    """An outer step adds two numbers of magnitude 2**(acc_bits - 1)."""
    config = MacConfig.parse(f"int8_int8_p_exact_a_int{acc_bits}_floor_sat_c4096")
    assert plan_matmul(config, 4096)[0].lane is lane


def test_float32_loses_an_odd_integer_above_2_to_24():
    config = MacConfig.parse("int8_int8_p_exact_a_int27_floor_sat_c4096")
    plan, _ = plan_matmul(config, 4096)
    a = torch.full((1, 4096), 127.0, dtype=torch.float64)
    assert_wrong(replace(plan, lane=FLOAT32, additive=False), a, a.t(), config)


@pytest.mark.parametrize(("lsb", "lane"), [(8, FLOAT32), (9, FLOAT64)])
def test_lane_of_a_float_sum(lsb, lane):
    """Sums up to 61440.5 in multiples of 2**-lsb: 24 bits, then 25."""
    config = MacConfig.parse(f"int8ln{lsb}_uint1_p_exact_a_e4m3b0_rne_c{LONG}")
    assert plan_matmul(config, LONG)[0].lane is lane


def test_float32_loses_a_sticky_bit():
    """32 - 2**-20 is 32 in float32, and truncates to 31.875."""
    config = MacConfig.parse("e5m3b20_e5m3b10_p_exact_a_e4m7b10_rz_c16")
    a = torch.tensor([[32.0, -(2.0**-19)]], dtype=torch.float64)
    b = torch.tensor([[1.0], [0.5]], dtype=torch.float64)
    plan, why = plan_matmul(config, 2)
    assert why == "steps along k in float64: every sum is exact"
    assert golden.matmul(a, b, config).item() == 31.875
    assert_wrong(replace(plan, lane=FLOAT32), a, b, config)


@pytest.mark.parametrize(("lsb", "corrected"), [(37, False), (38, True)])
def test_float64_sum_that_has_to_be_corrected(lsb, corrected):
    """Sums up to 61440 + 2**(7 - lsb) in multiples of 2**-lsb: 53 bits, then 54."""
    config = MacConfig.parse(f"int8ln{lsb}_uint1_p_exact_a_e4m3b0_rne_c{LONG}")
    assert plan_matmul(config, LONG)[0].inner.corrected == corrected


def test_correction_is_needed():
    """1 - 2**-60 is 1 in float64, and is cut to 1 - 2**-24 toward zero."""
    config = MacConfig.parse("e8m23b127_e8m23b127_p_exact_a_e8m23b127_rz_c16")
    a = torch.tensor([[1.0, -(2.0**-30)]], dtype=torch.float64)
    b = torch.tensor([[1.0], [2.0**-30]], dtype=torch.float64)
    plan, why = plan_matmul(config, 2)
    assert plan.inner.corrected
    assert why.endswith("rounded sums are corrected by their error")
    assert golden.matmul(a, b, config).item() == 1 - 2.0**-24
    assert_equals_golden(a, b, config)
    assert_wrong(replace(plan, inner=replace(plan.inner, corrected=False)), a, b, config)


@pytest.mark.parametrize(("length", "whole"), [(1, True), (2, False)])
def test_length_at_which_saturation_is_impossible(length, whole):
    """2**15 - 1 holds one product of -128 * -128 and not two."""
    config = MacConfig.parse("int8_int8_p_exact_a_int16_floor_sat_c16")
    plan, _ = plan_matmul(config, length)
    assert plan.one_product == whole
    a = torch.full((1, length), -128.0, dtype=torch.float64)
    assert_equals_golden(a, a.t(), config)


def test_saturation_depends_on_the_order_of_sums():
    config = MacConfig.parse("int8_int8_p_exact_a_int16_floor_sat_c16")
    plan, _ = plan_matmul(config, 3)
    a = torch.tensor([[-128.0, -128.0, 127.0]], dtype=torch.float64)
    b = torch.tensor([[-128.0], [-128.0], [-128.0]], dtype=torch.float64)
    assert golden.matmul(a, b, config).item() == 2**15 - 1 - 127 * 128
    assert_wrong(replace(plan, all_in_range=True), a, b, config)


def test_wrapping_is_one_product_while_float64_counts():
    """Sums of products of 2**30, and the half of 2**52 that wrapping adds to them, below 2**53."""
    config = MacConfig.parse("int16_int16_p_exact_a_int52_floor_wrap_c16")
    longest = (2**53 - 1 - 2**51) // 2**30
    assert plan_matmul(config, longest)[0].one_product
    plan, why = plan_matmul(config, longest + 1)
    assert not plan.one_product
    assert why == "steps along k in float64: every sum is exact"


def test_golden_steps_where_no_lane_is_exact():
    """A chunk's sum is below 2**50 and the outer accumulator takes it to 2**52, or to 2**53."""
    length = 16 * LONG
    assert (
        plan_matmul(MacConfig.parse(f"int16_int16_p_exact_a_int53_floor_sat_c{LONG}"), length)[0] is not None
    )
    plan, why = plan_matmul(MacConfig.parse(f"int16_int16_p_exact_a_int54_floor_sat_c{LONG}"), length)
    assert plan is None
    assert why.startswith("golden steps: ")
    assert why.endswith("acc + product needs 54 bits in float64")


@pytest.mark.parametrize(
    ("quantizer", "identity"),
    [
        ("e5m9", True),
        ("e5m8", False),  # products have 10 significant bits
        ("e5m9b7", True),
        ("e5m9b6", False),  # products lie above 2**-6, which would be flushed
        ("e5m9b21", True),
        ("e5m9b22", False),  # and below 2**10, where the format ends
    ],
)
def test_product_quantizer_is_skipped_where_it_changes_nothing(quantizer, identity):
    config = MacConfig.parse(f"e3m4_e3m4_p_{quantizer}_rz_a_e5m10_rz_c16")
    assert (plan_matmul(config, 16)[0].product is None) == identity
    assert_equals_golden(*operands(config, 6, 16, 6, torch.Generator().manual_seed(2)), config)


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
