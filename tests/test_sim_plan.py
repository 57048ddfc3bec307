"""Where a way of computing is proved exact: the last case it is used for, the first it is not used for.

Some bounds are a little on the safe side; ``test_sim_plan_outside`` shows for others what goes wrong.
"""

import pytest
import torch

from golden.config import ConfigError, MacConfig
from sim.kernels import plan as planner
from sim.kernels.lanes import DOUBLE, HALF, SINGLE, Extent, NotExact, plan_lane
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Path, explain, plan_product, ways
from sim.kernels.product import extent_of
from tests.kernel_matrix import assert_equals_golden, assert_golden, matrices

LANES = {SINGLE: Path.SINGLE, DOUBLE: Path.DOUBLE, HALF: Path.HALF}
NATIVE = instruction_sets()[0]

#: Lane; "count" for with statistics; configurations; the last value inside, the first outside; why not there.
#: Operands span their formats.
EDGES = [
    (SINGLE, "count", "e4m11_e4m{}_p_exact_a_e5m10_rz_c4", "11", "12", "an exact product has 25"),
    (SINGLE, "count", "e3m4_e4m4b{}_p_exact_a_e4m7b10_rz_c4", "7", "8", "products as small"),
    (SINGLE, "", "int2_int2ln{}_p_exact_a_int8_floor_sat_c4", "126", "127", "products as small"),
    (SINGLE, "", "e3m4b60_e3m4b60_p_exact_a_e4m3b{}_rz_c4_o_int8_floor_sat", "126", "127", "chunk sums as"),
    (HALF, "", "e3m{}_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4", "10", "11", "operands have 12"),
    (HALF, "", "e3m4_e3m4_p_exact_a_e4m{}b10_rz_c4", "10", "11", "has 11 mantissa bits"),
    (HALF, "", "e2m1_e2m1_p_exact_a_e4m7b10_{}_c4", "rz", "rne", "not toward zero"),
    (HALF, "", "e2m1_e2m1_p_exact_a_e3m3_{}_c4", "rz", "rz_g0", "not toward zero, or aligned"),
    (HALF, "", "e3m4_e3m4_p_e4m7b12_{}_a_e4m7b10_rz_c4", "rz", "rne", "products are rounded"),
    (HALF, "", "e3m4_e3m4_p_exact_a_{}_rz_c4", "e4m7b10", "e5m7b20", "reaches"),
    (SINGLE, "", "e2m1_e2m1_p_e4m3b10_rz_a_e4m3b{}_rz_c4", "137", "138", r"factor of 2\*\*128"),
    (SINGLE, "", "e2m1b60_e2m1b60_p_e4m3b130_rz_a_e4m3b{}_rz_c4", "4", "3", r"factor of 2\*\*-127"),
    (SINGLE, "", "e2m1_e2m1_p_exact_a_e5m{}_rne_c4", "22", "23", "tells ties of 23"),
    (SINGLE, "", "e3m4_e3m4_p_exact_a_e5m{}_sr10_c4", "13", "14", "14 mantissa bits and 10 random"),
    (DOUBLE, "", "e3m4_e3m4_p_exact_a_e4m3{}_sr4_c4", "b10", "sb10", "stochastic rounding of subnormals"),
    (SINGLE, "", "e4m11_e4m{}_p_e5m7_rne_a_e5m7_rz_c4", "11", "12", "tie of exact products of 25"),
    (SINGLE, "", "int2_int2ln{}_p_e3m3s_rne_a_e5m7_rz_c4", "131", "132", "smallest product is flushed"),
    (SINGLE, "", "e5m4_e5m4_p_exact_a_e5m12_rz_g{}_c16", "10", "11", "aligned sum of 25"),
    (SINGLE, "", "e3m4_e3m4_p_exact_a_e{}m3_rz_g1_c16", "7", "8", "alignment reaches"),
    (SINGLE, "", "e4m4_e4m4_p_e5m{}_rne_a_e5m7_rne_c16", "7", "8", "tie of sums of 40"),
    (SINGLE, "", "e4m4_e4m4_p_e5m10_rne_a_e5m{}_rne_c16", "10", "11", "tie of sums of 40"),
    (DOUBLE, "", "e{}m4_e3m4_p_exact_a_e5m5s_rne_c16", "3", "8", "tie of sums"),
    (SINGLE, "", "int8_int8_p_exact_a_int{}_floor_sat_c4", "24", "25", "sums of 25 bits"),
    (SINGLE, "", "e3m4_e3m4_p_exact_a_int{}ln5_rz_wrap_c4", "24", "25", "sums of 25 bits"),
    (SINGLE, "count", "int{}_int11_p_exact_a_int23_floor_sat_c4", "11", "12", "sums of 24 bits"),
    (SINGLE, "", "e4m11_e4m{}_p_exact_a_int20ln8_floor_sat_c4", "11", "12", "product has 25 bits"),
    (SINGLE, "", "e5m1b0_e2m1_p_exact_a_int20l{}_floor_sat_c4", "5", "4", "product of 31 bits before"),
    (SINGLE, "", "int8_int8_p_exact_a_int20_floor_sat_c4_o_int{}l1_rz_sat", "24", "25", "outer sums of 25"),
    (SINGLE, "", "e5m2_e5m2_p_exact_a_e5m3b{}_rz_c4_o_int20_floor_sat", "2", "1", "chunk's sum of 31 bits"),
    (DOUBLE, "", "e3m4b{}_e3m4bn440_p_exact_a_e4m7b10_rz_c4", "440", "460", "as far out as"),
]


def paths(config, length=16, x=None, w=None, *, count=False):
    extents = x or Extent.of(config.x), w or Extent.of(config.w)
    isa = NATIVE if NATIVE != "generic" else "avx2"  # proofs are the same where there is nothing to run them
    return [plan.path for plan in ways(config, length, *extents, count=count, isa=isa)[0]]


@pytest.mark.parametrize(("lane", "count", "names", "inside", "outside", "why"), EDGES)
def test_last_inside_and_first_outside(lane, count, names, inside, outside, why):
    """Both equal golden by all the ways that are left."""
    inside, outside = (MacConfig.parse(names.format(value)) for value in (inside, outside))
    count = bool(count)
    if lane is not HALF or NATIVE == "avx512fp16":
        assert LANES[lane] in paths(inside, count=count)
        assert LANES[lane] not in paths(outside, count=count)
    x, w = Extent.of(outside.x), Extent.of(outside.w)
    with pytest.raises(NotExact, match=why):
        planner._need_moderate(outside, x, w)
        plan_lane(outside, 16, x, w, lane, count=count)
    for config in (inside, outside):
        assert_equals_golden(*matrices(config, 3, 17, 34), config)


@pytest.mark.parametrize(
    ("top", "way"),
    [(124, Path.SINGLE), (125, Path.DOUBLE)],
)
def test_sums_that_fit_a_lane_though_their_format_does_not(top, way):
    """e8m7 reaches 2**128, and a sum of this one product does not."""
    config = MacConfig.parse("e8m7_uint1_p_exact_a_e8m7_rz_c1")
    a, b = torch.tensor([[2.0**top]]), torch.ones(1, 1)
    assert paths(config, 1, extent_of(a, config.x), extent_of(b, config.w))[0] is way
    assert_equals_golden(a, b, config)


@pytest.mark.parametrize(("smallest", "way"), [(-126, Path.SINGLE), (-127, Path.DOUBLE)])
def test_operands_that_span_more_than_a_lane(smallest, way):
    """From 2**smallest to 2**126: normal numbers of binary32, which a factor would push out at either end."""
    config = MacConfig.parse("e8m7_int2_p_exact_a_e5m7_rz_c4")
    x, w = Extent(largest=2.0**126, smallest=2.0**smallest), Extent(largest=1.0, smallest=1.0)
    assert next(path for path in paths(config, 4, x, w) if path is not Path.HALF) is way
    smallest = max(2.0**smallest, 2.0**-127 * (1 + 2.0**-7))
    a, b = (
        torch.tensor([[2.0**126, smallest, -(2.0**-9)]]).double(),
        torch.tensor([[0.0], [1.0], [1.0]]).double(),
    )
    assert_equals_golden(a, b, config)


@pytest.mark.parametrize(("length", "lane"), [(1024, SINGLE), (1025, DOUBLE)])
def test_plain_sums_in_a_lane(length, lane):
    """Sums of 128 * 128 up to 2**24, and one more."""
    config = MacConfig.parse("int8_int8_p_exact_a_int40_floor_wrap_c16")
    plan = ways(config, length, Extent.of(config.x), Extent.of(config.w), isa="avx2")[0][0]
    assert plan.path is Path.SUMS
    assert plan.lanes.lane is lane
    a = torch.full((2, length), -128.0)
    a[1, ::2] = 127
    assert_golden(a, a[:1].t(), config)


@pytest.mark.parametrize(("length", "whole"), [(1, True), (2, False)])
def test_length_at_which_saturation_is_impossible(length, whole):
    """2**15 - 1 holds one product of -128 * -128 and not two."""
    config = MacConfig.parse("int8_int8_p_exact_a_int16_floor_sat_c16")
    assert (Path.SUMS in paths(config, length)) == whole
    a = torch.full((1, length), -128.0)
    assert_equals_golden(a, a.t(), config)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("int8_int8_p_exact_a_int32l1_floor_wrap_c16", "products are cut"),
        ("int8_int8_p_exact_a_int32_floor_wrap_c16_o_int31_floor_wrap", "sums are rounded"),
        ("int8_int8_p_exact_a_e8m23_rz_c16", "sums are rounded"),
        ("int8_int8_p_exact_a_int17_floor_sat_c16", "sums may saturate"),
    ],
)
def test_plain_sums_are_not_the_contract(name, why):
    config = MacConfig.parse(name)
    with pytest.raises(NotExact, match=why):
        planner._need_sums(config, 16, Extent.of(config.x), Extent.of(config.w))
    assert_equals_golden(*matrices(config, 3, 17, 34), config)


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("int4_int4_p_exact_a_int8_floor_sat_c16", 8),  # 64 * 2**8 is held, and 64 * 2**9 not
        ("int4_int4_p_exact_a_int7_floor_sat_c16", -1),
        ("int8_int8_p_exact_a_int16_floor_sat_c16", 0),
        ("int8_int8_p_exact_a_int15_floor_sat_c16", -1),
        ("uint1_int8_p_exact_a_int9_floor_sat_c16", 7),  # the weights, too, are shifted
        ("int16_uint1_p_exact_a_int16_floor_sat_c16", None),  # -2**15 is held, but not looked at apart
        ("int8_int9_p_exact_a_int16_floor_sat_c16", None),  # 128 * 256
        ("int8_int8_p_exact_a_int17_floor_sat_c16", None),
        ("int8_int8_p_exact_a_int16_floor_wrap_c16", None),
        ("int8_int8_p_exact_a_int16l1_floor_sat_c16", None),
        ("int8_int8_p_exact_a_int16ln1_floor_sat_c16", None),
        ("int8_int8_p_exact_a_int16_floor_sat_c16_o_int15_floor_sat", None),
    ],
)
def test_saturating_short_integers(name, shift):
    config = MacConfig.parse(name)
    extents = Extent.of(config.x), Extent.of(config.w)
    if shift is None:
        with pytest.raises(NotExact):
            planner._short_shift(config, *extents)
    else:
        assert planner._short_shift(config, *extents) == shift
    assert_equals_golden(*matrices(config, 3, 17, 70), config)


def test_products_of_16_bits_by_their_range():
    config = MacConfig.parse("int8_int9_p_exact_a_int16_floor_sat_c16")
    for w, short in ((255.0, True), (256.0, False)):
        a, b = torch.full((1, 5), -128.0), torch.full((5, 3), -w)
        found = [
            plan.path
            for plan in ways(config, 5, extent_of(a, config.x), extent_of(b, config.w), isa="avx2")[0]
        ]
        assert (Path.SHORT in found) == short
        assert_equals_golden(a, b, config)


# What a user is told.


def test_explanations():
    name = "int8_int8_p_exact_a_int16_floor_sat_c16"
    config = MacConfig.parse(name)
    if NATIVE != "generic":
        assert explain(config, 1).startswith("plain sums: exact in single precision in any order")
        assert explain(config, 100, x=1.0, w=100.0).startswith("plain sums")
        assert explain(config, 100).startswith("steps in 16-bit integers")
        assert "not plain sums: sums may saturate" in explain(config, 100)
    plan = plan_product(config, 100, Extent.of(config.x), Extent.of(config.w))
    assert explain(config, 100).startswith(plan.reason)


def test_an_instruction_set_without_vectors_takes_integers():
    config = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16")
    plan = plan_product(config, 16, Extent.of(config.x), Extent.of(config.w), isa="generic")
    assert plan.path is Path.SCALAR


@pytest.mark.parametrize(
    ("arguments", "why"),
    [((-1,), "not -1"), ((4, 1e9), "holds magnitudes up to"), ((4, None, -1.0), "not -1")],
)
def test_explain_refuses(arguments, why):
    with pytest.raises(ConfigError, match=why):
        explain(MacConfig.parse("int8_int8_p_exact_a_int16_floor_sat_c16"), *arguments)
