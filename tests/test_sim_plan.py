"""Where a fast way of computing is proved exact: the last case it is used for, the first it is not used for.

Where the way is wrong outside, an example shows it; some proofs are a bit on the safe side.
"""

from dataclasses import replace

import pytest
import torch

from golden import accumulate as golden
from golden.config import Encoding, FloatFormat, FloatQuantizer, MacConfig, Rounding
from sim.kernels import product
from sim.kernels.plan import plan_matmul
from sim.kernels.reach import FLOAT32, FLOAT64, Reach, reach_of_cut, reach_of_results
from tests.against_golden import assert_equals_golden, operands

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
    config = MacConfig.parse("int8_int8_p_exact_a_int27_floor_sat_c2048")
    plan, _ = plan_matmul(config, 1100)
    a = torch.full((1, 1100), 127.0, dtype=torch.float64)
    assert_wrong(replace(plan, lane=FLOAT32, additive=False), a, a.t(), config)


@pytest.mark.parametrize(("lsb", "lane"), [(8, FLOAT32), (9, FLOAT64)])
def test_lane_of_a_float_sum(lsb, lane):
    """Sums up to 61440.5 in multiples of 2**-lsb: 24 bits, then 25."""
    config = MacConfig.parse(f"int8ln{lsb}_uint1_p_exact_a_e4m3b0_rne_c{LONG}")
    assert plan_matmul(config, LONG)[0].lane is lane


def test_float32_loses_a_sticky_bit():
    """32 - 2**-20 is 32 in float32, and truncates to 31.875."""
    config = MacConfig.parse("e5m3b21_uint1_p_exact_a_e4m7b10_rz_c16")
    a = torch.tensor([[32.0, -(2.0**-20)]], dtype=torch.float64)
    b = torch.ones(2, 1, dtype=torch.float64)
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


@pytest.mark.parametrize(("bias", "corrected"), [(8, False), (9, True)])
def test_end_of_the_range_off_the_grid_of_addends(bias, corrected):
    """Integers saturate at 2**24 - 1, an integer; then at half of it, which is none."""
    config = MacConfig.parse(f"int8_uint1_p_exact_a_e5m23b{bias}_rz_c{LONG}")
    assert plan_matmul(config, LONG)[0].inner.corrected == corrected


@pytest.mark.parametrize(("chunk", "lazy"), [(7, True), (8, False)])
def test_wrapping_once_a_chunk(chunk, lazy):
    """Sums of 2**21 and what wrapping adds, in float32's 24 bits."""
    config = MacConfig.parse(f"int12_int12_p_exact_a_int12l1_rz_wrap_c{chunk}")
    plan, _ = plan_matmul(config, chunk)
    assert plan.lane is FLOAT32
    assert plan.lazy_wrap == lazy


def test_float32_cannot_wrap_late():
    config = MacConfig.parse("int12_int12_p_exact_a_int12l1_rz_wrap_c16")
    plan, _ = plan_matmul(config, 16)
    a = torch.full((1, 16), -2047.0, dtype=torch.float64)
    assert_wrong(replace(plan, lazy_wrap=True), a, a.t() + 2, config)


def test_rounding_to_nearest_grows():
    """5.125 in all, and yet each rounding up brings the sum to 8, beyond 6: it saturates."""
    config = MacConfig.parse("int8ln4_uint1_p_exact_a_e2m1_rne_c16")
    a = torch.tensor([[16, 5, 5, 10, 10, 18, 18]], dtype=torch.float64) / 16
    b = torch.ones(7, 1, dtype=torch.float64)
    assert golden.matmul(a, b, config).item() == 6
    assert_equals_golden(a, b, config)


def test_cutting_to_nearest_grows():
    """Nine products of 0.75, 6.75 in all, are cut to 1 each, and the sum saturates at 7."""
    config = MacConfig.parse("int8ln2_uint1_p_exact_a_int4_rne_sat_c16")
    a = torch.full((1, 9), 0.75, dtype=torch.float64)
    b = torch.ones(9, 1, dtype=torch.float64)
    assert golden.matmul(a, b, config).item() == 7
    assert_equals_golden(a, b, config)


def test_reach_of_results():
    """3 to nearest is 4 in e4m0, and 2 toward zero; halves are cut to at most the integer above."""

    def rounded(rounding):
        number = FloatFormat(exp_bits=4, man_bits=0, bias=7, encoding=Encoding.NORMALS)
        quantizer = FloatQuantizer(format=number, rounding=rounding, random_bits=None)
        return reach_of_results(quantizer, Reach(lsb=0, magnitude=3, significand_bits=2), 1)

    assert rounded(Rounding.NEAREST_EVEN).magnitude >= 4
    assert rounded(Rounding.TOWARD_ZERO).magnitude == 3
    assert reach_of_cut(Reach(lsb=-1, magnitude=4, significand_bits=3)).magnitude == 2
    assert reach_of_cut(Reach(lsb=-1, magnitude=5, significand_bits=3)).magnitude == 3
