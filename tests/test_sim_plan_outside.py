"""What goes wrong where a way of computing is not proved, by plans with a bound lifted; bounds of blocks."""

from dataclasses import replace

import pytest
import torch

from golden import accumulate as golden
from golden.config import MacConfig
from sim.kernels.lanes import SINGLE, Extent, plan_lane
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Path, Plan, ways
from sim.kernels.product import extent_of, multiply
from tests.kernel_matrix import WORDS, assert_equals_golden

only_with_vectors = pytest.mark.parametrize(
    "isa", [isa for isa in instruction_sets() if isa != "generic"] or ["generic"]
)


def lifted(config, a, b, **bounds):
    """A plan in single precision, made as if that had these bounds."""
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    lanes = plan_lane(config, a.shape[1], x, w, replace(SINGLE, **bounds), count=False)
    return Plan(path=Path.SINGLE, reason="not proved", lanes=lanes)


def assert_wrong(plan, config, a, b, isa):
    """Golden differs from this plan, and not from those that are used."""
    assert_equals_golden(a, b, config)
    if isa != "generic":
        values, _ = multiply(a, b, config, None, WORDS, isa=isa, plan=plan)
        assert not torch.equal(values, golden.matmul(a, b, config, None, WORDS))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@only_with_vectors
def test_tie_of_a_product_of_25_bits(isa):
    """A product a last bit above a tie is cut to the tie by 24 bits, and goes to the even neighbour below."""
    config = MacConfig.parse("e4m11_e4m12_p_e5m7_rne_a_e5m7_rz_c4")
    tie = 2**16 + 1  # below 8 significant bits of which the last is 0
    x, w = next(
        (x, w)
        for x in range(2**11 + 1, 2**12, 2)
        for w in [tie * pow(x, -1, 2**18) % 2**18]
        if 2**12 <= w < 2**13 and x * w >= 2**24
    )
    a, b = column(x * 2.0**-11), column(w * 2.0**-12)
    assert_wrong(lifted(config, a, b, bits=25), config, a, b, isa)


@only_with_vectors
def test_tie_that_a_far_addend_decides(isa):
    """1 + 2**-8 is a tie of 8 bits, and what is 2**-24 below decides it."""
    config = MacConfig.parse("e5m8_e5m8_p_e5m8_rne_a_e5m7_rne_c16")
    a, b = torch.tensor([[2.0**-12, 2.0**12 * (1 + 2.0**-8)]]).double(), column(1.0, 1.0)
    assert_wrong(lifted(config, a, b, bits=60), config, a, b, isa)


@only_with_vectors
def test_no_bit_for_a_tie(isa):
    """Rounding to nearest to as many bits as the lane has: an odd number is taken for a tie."""
    config = MacConfig.parse("e5m23_e2m1_p_exact_a_e5m23_rne_c4")
    a, b = column(1 + 2.0**-23), column(1.0)
    assert_wrong(lifted(config, a, b, bits=60), config, a, b, isa)


@only_with_vectors
def test_alignment_without_room(isa):
    """A number that is cut to as many bits as it has, plus one of as many bits, loses the last."""
    config = MacConfig.parse("e5m23_e2m1_p_exact_a_e5m12_rz_g11_c4")
    a, b = torch.tensor([[1.0, -(1 + 2.0**-12 - 2.0**-23)]]).double(), column(1.0, 1.0)
    assert_wrong(lifted(config, a, b, bits=25), config, a, b, isa)


@only_with_vectors
def test_odd_integer_above_2_to_24(isa):
    config = MacConfig.parse("int13_int13_p_exact_a_int27_floor_sat_c16")
    a, b = torch.tensor([[4095.0, 4095.0, 1.0]]).double(), column(4095.0, 4095.0, 1.0)
    assert_wrong(lifted(config, a, b, bits=28, fixed_bits=28), config, a, b, isa)


@only_with_vectors
def test_floor_of_a_product_of_25_bits(isa):
    """-(k + 2**-21) in 26 bits is cut upward to -k, whose floor is no longer -(k + 1)."""
    config = MacConfig.parse("e4m12_e4m12_p_exact_a_int8_floor_sat_c4")
    x, w = next(
        (x, w)
        for x in range(2**12 + 1, 2**13, 2)
        for w in [pow(x, -1, 2**21) % 2**21]
        if 2**12 <= w < 2**13 and x * w >= 2**25
    )
    a, b = column(-x * 2.0**-11), column(w * 2.0**-10)
    assert_wrong(lifted(config, a, b, bits=26, fixed_bits=24), config, a, b, isa)


@only_with_vectors
def test_product_flushed_before_a_floor(isa):
    config = MacConfig.parse("int2_int2ln140_p_exact_a_int8_floor_sat_c4")
    a, b = column(-1.0), column(2.0**-140)
    assert golden.matmul(a, b, config).item() == -1
    assert_wrong(lifted(config, a, b, min_exponent=-1000), config, a, b, isa)


def test_chunk_sum_too_small_for_a_lane_before_a_floor():
    config = MacConfig.parse("e3m4b70_e3m4b70_p_exact_a_e5m3b150_rz_c4_o_int8_floor_sat")
    a, b = column(-(2.0**-66)), column(2.0**-64)
    assert golden.matmul(a, b, config).item() == -1
    assert_equals_golden(a, b, config)


@only_with_vectors
def test_product_beyond_32_bit_integers(isa):
    config = MacConfig.parse("e6m1b20_e6m1b20_p_exact_a_int20_floor_sat_c4")
    a, b = torch.tensor([[2.0**20, 2.0**-19]]).double(), column(2.0**12, 2.0**-19)
    assert golden.matmul(a, b, config).item() == 2**19 - 1
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    small = replace(x, largest=2.0**10)
    plan = Plan(
        path=Path.SINGLE, reason="not proved", lanes=plan_lane(config, 2, small, w, SINGLE, count=False)
    )
    assert_wrong(plan, config, a, b, isa)


@only_with_vectors
def test_saturation_depends_on_the_order_of_sums(isa):
    config = MacConfig.parse("int8_int8_p_exact_a_int16_floor_sat_c16")
    a, b = torch.tensor([[-128.0, -128.0, 127.0]]), torch.full((3, 1), -128.0)
    sums = ways(config, 1, Extent.of(config.x), Extent.of(config.w), isa="avx2")[0][0]
    assert sums.path is Path.SUMS
    assert golden.matmul(a, b, config).item() == 2**15 - 1 - 127 * 128
    assert_wrong(sums, config, a, b, isa)


# Bounds of a block, which the kernel finds from its operands.


@pytest.mark.parametrize(
    "name",
    [
        "e5m7_e2m1_p_exact_a_e4m7b10_rz_c32",
        "e5m7_e2m1_p_exact_a_e4m7b10_rne_c32",
        "e5m7_e2m1_p_exact_a_e4m7b10_sr8_c32",
        "e5m7_e2m1_p_e4m7b10_rz_a_e4m8b9_rz_c32",
        "e5m7_e2m1_p_e4m7b10_rne_a_e4m8b9_rne_c32",
        "e5m7_e2m1_p_e4m9b10_rz_a_e4m9b10_rz_c32",
    ],
)
def test_sums_that_just_reach_the_largest_number(name):
    """Sixteen equal products below, at and above it, then one back; blocks find whether they may saturate."""
    config = MacConfig.parse(name)
    steps = torch.arange(-12, 12).double()
    near = 2.0 ** (config.accumulator.format.max_exponent + 1 - 4) * (
        1 + steps / torch.where(steps < 0, 256, 128)
    )
    rows = near[:, None].expand(-1, 17)
    b = torch.ones(17, 34, dtype=torch.float64)
    b[-1] = -1
    for a in (rows, rows[:1], rows[11:13], rows[-1:], 16 * rows[:, :1], 2 * rows):
        for weights in (b, b[:, :1]):
            assert_equals_golden(a, weights[: a.shape[1]], config)


def test_bound_of_a_long_chunk():
    """A float32 sum of so many squares is a percent short; the bound on these sums is not."""
    config = MacConfig.parse("e3m4_e3m4_p_exact_a_e5m23b12_rz_c1048576")
    length = 932150
    a, b = torch.full((1, length), 1.125), torch.ones(length, 1)
    b[-40:] = -1
    for isa in instruction_sets():
        for plan in ways(config, length, extent_of(a, config.x), extent_of(b, config.w), isa=isa)[0]:
            values, _ = multiply(a, b, config, None, WORDS, isa=isa, plan=plan)
            assert values.item() == config.accumulator.format.max_value - 40 * 1.125, (isa, plan.reason)
