"""Biases are data: equal offsets give equal codes, and beyond the stated ranges nothing changes."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from golden import arith
from golden.config import MAX_BIAS, ConfigError, FixedFormat, MacConfig, Offsets
from golden.datapath import exact_accumulator, offset_ranges, with_offsets
from golden.stimulus import mac_vectors
from tests import oracle

SMALL = [
    "e2m1_e2m1_p_e2m2_rz_a_e2m2_rz_c4",
    "e2m1_e2m1_p_e2m2_rne_a_e3m1_rne_g0_c4",
    "e2m1_e2m1_p_e3m1_rz_a_e2m2_rz_g3_c4",
    "e2m1_e2m1_p_exact_a_e2m2_rne_c4",
    "e2m1_e2m1_p_exact_a_e2m2_rz_g0_c4",
    "e2m1_e2m1_p_exact_a_e2m2_rz_g1_c4",
    "e2m1_e2m1_p_exact_a_e2m2_rne_g2_c4",
    "e2m1_e2m1_p_exact_a_e2m2_rz_g5_c4",
    "e2m1_e2m0_p_exact_a_e2m0_rne_g4_c4",
    "int3_int3_p_exact_a_e2m2_rz_c4",
    "uint2_e2m1_p_exact_a_int4_rz_sat_c4",
    "uint2_e2m1_p_exact_a_int4_rz_wrap_c4",
    "e2m1_e2m1_p_exact_a_int5_floor_sat_c4",
    "e2m1_e2m1_p_exact_a_int5_rne_wrap_c4",
    "e2m1_e2m1_p_exact_a_int5_floor_wrap_c4_o_e2m2_rz_g4",
    "e2m1_e2m1_p_exact_a_e2m2_rz_c4_o_int5_rne_sat",
    "e2m1_e2m1_p_exact_a_e2m2_rz_c4_o_e3m1_rz_g3",
    "e2m1s_e2m1fn_p_e2m2s_rne_a_e2m2s_rne_c4",
    "e2m2s_e2m1_p_e2m2fn_rz_a_e2m1s_rz_g2_c4",
    "e2m1s_e2m1s_p_e2m2_rne_a_e2m2ieee_rne_g0_c4_o_e2m2s_rz",
    "e2m1s_e2m1s_p_exact_a_e2m2s_rz_c4_o_e3m1_rz_g3",
    "e2m2s_e2m1s_p_exact_a_e1m2ieee_rne_c4",
    "e2m3s_e2m2s_p_e2m1s_rz_a_e2m1_rz_c4",
    "e2m2s_e2m1_p_exact_a_int5_floor_sat_c4_o_e2m2s_rz_g4",
    "e2m2s_e2m1s_p_exact_a_int5_rne_wrap_c4",
    "e2m2s_int3_p_exact_a_e2m2_rz_c4_o_int5_rne_sat",
    "e2m1_e2m1_p_e2m2s_sr1_a_e2m1_sr3_c4",
    "e2m1_e2m1_p_e2m2_sr3_a_e2m1s_sr2_c4",
    "e2m1s_e2m1_p_e2m1s_sr3_a_e2m1s_sr3_g1_c4",
    "e2m1_e2m1_p_exact_a_e2m2_sr4_c4_o_e2m1_sr3",
]


def beyond(bounds) -> list[int]:
    """Offsets in pairs: an end of the range, and some further out, near and far."""
    return [*range(bounds.low - 9, bounds.low), *range(bounds.high + 1, bounds.high + 10), -200, 200]


def all_codes(*formats) -> list[np.ndarray]:
    finite = (
        [code for code in range(2**number.code_bits) if oracle.is_finite(code, number)] for number in formats
    )
    return [a.ravel() for a in np.meshgrid(*finite)]


def all_words(*parts) -> itertools.product:
    """Every combination of the random words that these roundings take; None for one that takes none."""
    bits = [None if part is None else part.random_bits for part in parts]
    return itertools.product(*([None] if one is None else range(2**one) for one in bits))


def elsewhere(config: MacConfig) -> MacConfig:
    """The same offsets from other biases."""

    def moved(number, by: int):
        if isinstance(number, FixedFormat):
            return replace(number, lsb=number.lsb - by)
        return replace(number, bias=number.bias + by)

    def part(rounds):
        return None if rounds is None else replace(rounds, format=moved(rounds.format, 3))

    return replace(
        config,
        x=moved(config.x, 5),
        w=moved(config.w, -2),
        product=part(config.product),
        accumulator=part(config.accumulator),
        outer=part(config.outer),
    )


@pytest.mark.parametrize("name", SMALL)
def test_clamping_an_offset_changes_no_result(name):
    config = MacConfig.parse(name)
    ranges = offset_ranges(config)
    acc, x, w = all_codes(config.accumulator.format, config.x, config.w)
    out, s = all_codes(config.outer_accumulator.format, config.accumulator.format)
    inside = Offsets(product=1, acc=None if ranges.acc is None else 1, outer=1)

    def results(offsets: Offsets) -> tuple[list, list]:
        moved = with_offsets(config, offsets)
        assert moved.offsets == offsets
        sums = [
            arith.fmaq(acc, x, w, moved, *words).tolist()
            for words in all_words(config.product, config.accumulator)
        ]
        outs = [
            arith.chunk_add(out, s, moved, word).tolist() for (word,) in all_words(moved.outer_accumulator)
        ]
        return sums, outs

    for field in ("product", "acc", "outer"):
        bounds = getattr(ranges, field)
        if bounds is None:
            continue
        others = {f: getattr(inside, f) for f in ("product", "acc", "outer") if f != field}
        for offset in beyond(bounds):
            clamped = results(Offsets(**others, **{field: bounds.clamp(offset)}))
            assert results(Offsets(**others, **{field: offset})) == clamped, f"{field} offset {offset}"


@pytest.mark.parametrize("name", SMALL)
def test_equal_offsets_give_equal_codes(name):
    config = MacConfig.parse(name)
    acc, x, w = all_codes(config.accumulator.format, config.x, config.w)
    for product, own in itertools.product((-3, 0, 4), (-2, 1)):
        offsets = Offsets(product=product, acc=None if config.product is None else own, outer=2)
        moved = with_offsets(config, offsets)
        others = [elsewhere(moved)]
        if not config.stochastic and not re.search(r"m\d(s|fn|ieee)", name):
            others.append(moved.hardwired.config)
        for other in others:
            assert other.offsets == moved.offsets == offsets
            for words in all_words(config.product, config.accumulator):
                assert (arith.fmaq(acc, x, w, moved, *words) == arith.fmaq(acc, x, w, other, *words)).all()


@pytest.mark.parametrize("name", [*SMALL, "e8m23_e8m23_p_e8m23_rne_a_e8m23_rne_g23_c4"])
def test_every_register_value_can_be_asked_of_golden(name):
    config = MacConfig.parse(name)
    ranges = offset_ranges(config)
    ends = [
        (None,) if bounds is None else (-(2 ** (bounds.width - 1)), 2 ** (bounds.width - 1) - 1)
        for bounds in (ranges.product, ranges.acc)
    ]
    for product, acc in itertools.product(*ends):
        offsets = Offsets(product=product, acc=acc, outer=0)
        assert with_offsets(config, offsets).offsets == offsets


def test_offsets_that_no_biases_have_are_refused():
    config = MacConfig.parse(SMALL[0])
    with pytest.raises(ConfigError, match=f"bias must be an integer from -{MAX_BIAS} to {MAX_BIAS}"):
        with_offsets(config, Offsets(product=0, acc=0, outer=2 * MAX_BIAS + 1))


@pytest.mark.parametrize("length", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "operands",
    [
        ("e2m1", "e3m1b4"),
        ("int4", "e2m2"),
        ("uint3ln1", "int3"),
        ("e2m2s", "e3m1fnb4"),
        ("e3m2ieee", "int3"),
        ("e2m1ieee", "e1m2ieeeb3"),
        ("e2m0fn", "e2m1s"),
    ],
)
def test_an_exact_accumulator_is_as_wide_as_it_must_be(operands, length):
    config = MacConfig.parse(f"{operands[0]}_{operands[1]}_p_exact_a_int8_rz_sat_c4")
    accumulator = exact_accumulator(config.x, config.w, length)
    x, w = all_codes(config.x, config.w)
    exact = arith.multiply(x, w, config)
    lifted = arith.cut_to_lsb(exact, accumulator.format.lsb, accumulator.rounding)
    finer = arith.cut_to_lsb(exact, accumulator.format.lsb - 1, accumulator.rounding)
    assert (lifted * 2 == finer).all(), "no product has a bit below the lsb"
    assert (lifted % 2 == 1).any(), "and one has a bit at the lsb"
    largest = length * int(max(-lifted.min(), lifted.max()))
    assert accumulator.format.max_integer >= largest > accumulator.format.max_integer // 2


@pytest.mark.parametrize("name", ["e8m23", "e8m23ieee", "e8m7ieee", "e5m10ieee"])
def test_an_exact_accumulator_beyond_the_limit_is_refused(name):
    config = MacConfig.parse(f"{name}_{name}_p_exact_a_int8_rz_sat_c4")
    with pytest.raises(
        ConfigError, match=r"takes \d+ bits, and 62 are built; use operands with a smaller range"
    ):
        exact_accumulator(config.x, config.w, 10)


def test_vectors_at_clamped_offsets_keep_their_results():
    config = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16")
    ranges = offset_ranges(config)
    vectors = mac_vectors(config, 4000, seed=1)
    for i in np.flatnonzero(np.diff(vectors.product_offset, prepend=10**6)):
        offsets = Offsets(
            product=ranges.product.clamp(int(vectors.product_offset[i])),
            acc=ranges.acc.clamp(int(vectors.acc_offset[i])),
            outer=0,
        )
        same = (vectors.product_offset == vectors.product_offset[i]) & (
            vectors.acc_offset == vectors.acc_offset[i]
        )
        got = arith.fmaq(vectors.acc[same], vectors.x[same], vectors.w[same], with_offsets(config, offsets))
        assert (got == vectors.result[same]).all()
