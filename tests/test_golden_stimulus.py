"""Stimulus: reproducible, on legal inputs, with the events it says, and able to hit all there are."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from golden import arith
from golden.config import MacConfig, Offsets
from golden.datapath import offset_ranges, with_offsets
from golden.stimulus import mac_vectors
from tests import oracle

PAPER = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"
INTEGER = "int8_int8_p_exact_a_int12_floor_sat_c16"

#: Formats from end to end of what is built; the vectors of each are given to the oracle one by one.
CONFIGS = [
    PAPER,
    INTEGER,
    "int8_int8_p_exact_a_int12_floor_wrap_c16",
    "e3m4_e3m4_p_exact_a_e4m7b10_rne_g3_c16",
    "e3m4_e3m4_p_exact_a_int16ln8_rne_sat_c16",
    "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c4096",
    "e4m3_e5m2_p_e2m0_rz_a_e5m10_rne_c16",
    "e3m4_e3m4_p_e8m23_rne_a_e8m23_rne_c16",
    "e8m23_e8m23_p_exact_a_e8m23_rne_c16",
    "e8m23_e8m23_p_exact_a_e8m23_rz_g0_c16",
    "e8m23_e8m23_p_e8m23_rz_a_e8m23_rne_g23_c16",
    "e8m23_int16_p_exact_a_int62l3_floor_wrap_c16",
    "e8m23_e8m23_p_exact_a_int62_rz_sat_c16",
    "int16_int16_p_exact_a_e3m5bn20_rz_g1_c16",
    "uint16_uint1_p_e1m1_rne_a_e2m0_rne_g2_c16",
    "e4m3fn_e4m3fn_p_e4m7sb12_rz_a_e4m7sb10_rne_c16",
    "e5m2ieee_e4m3s_p_exact_a_e5m10ieee_rne_g2_c16",
    "e8m7ieee_e8m23ieee_p_exact_a_e8m23ieee_rne_c16",
    "e4m3fn_e5m2ieee_p_exact_a_int30ln12_rne_wrap_c16",
    "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr6_c16",
    "e4m3fn_e3m4_p_e4m3fn_rz_a_e4m7s_sr16_g1_c16",
    "e3m4_e3m4_p_e4m7sb12_sr1_a_e4m7b10_rz_c16",
]


def settings(config: MacConfig, vectors):
    """The configuration at each setting of the offsets in turn, and its rows."""
    acc_offset = vectors.acc_offset if config.product else np.zeros_like(vectors.x)
    change = (np.diff(vectors.product_offset) != 0) | (np.diff(acc_offset) != 0)
    bounds = [0, *(np.flatnonzero(change) + 1).tolist(), len(vectors)]
    for start, stop in pairwise(bounds):
        offsets = Offsets(
            product=int(vectors.product_offset[start]),
            acc=int(acc_offset[start]) if config.product else None,
            outer=0,
        )
        yield with_offsets(config, offsets), slice(start, stop)


def words_of(vectors) -> list[np.ndarray]:
    """Random words of the product's and the sum's rounding, None in every row of one that takes none."""
    nothing = np.full(len(vectors), None)
    return [nothing if words is None else words for words in (vectors.product_word, vectors.acc_word)]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_oracle_gives_every_result_and_event(name):
    config = MacConfig.parse(name)
    vectors = mac_vectors(config, 1500, seed=11)
    counts = dict.fromkeys(vectors.counts, 0)
    for setting, rows in settings(config, vectors):
        number = setting.accumulator.format
        columns = (vectors.x, vectors.w, vectors.acc, vectors.result, *words_of(vectors))
        for x, w, acc, result, product_word, acc_word in zip(
            *(column[rows].tolist() for column in columns), strict=True
        ):
            addend = oracle.value_of(x, setting.x) * oracle.value_of(w, setting.w)
            if setting.product is not None:
                q = setting.product
                rounded = oracle.round_to_float(addend, q.format, q.rounding, q.random_bits, product_word)
                addend = rounded.value
                counts["product_overflow"] += rounded.overflow
                counts["product_underflow"] += rounded.underflow
            total = oracle.add(oracle.value_of(acc, number), addend, setting.accumulator, acc_word)
            assert result == oracle.code_of(total.value, number), f"{setting.name}: x={x} w={w} acc={acc}"
            counts["inner_overflow"] += total.overflow
            counts["inner_underflow"] += total.underflow
            counts["inner_swamped"] += total.swamped
    assert counts == vectors.counts


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_and_offsets_are_legal(name):
    config = MacConfig.parse(name)
    vectors = mac_vectors(config, 2000, seed=3)
    for codes, number in (
        (vectors.x, config.x),
        (vectors.w, config.w),
        (vectors.acc, config.accumulator.format),
        (vectors.result, config.accumulator.format),
    ):
        assert codes.shape == (2000,) and codes.dtype == np.int64
        assert codes.min() >= 0 and codes.max() < 2**number.code_bits
        assert all(oracle.is_finite(code, number) for code in np.unique(codes).tolist())
    ranges = offset_ranges(config)
    for offsets, bounds, own in (
        (vectors.product_offset, ranges.product, config.offsets.product),
        (vectors.acc_offset, ranges.acc, config.offsets.acc),
    ):
        if bounds is None:
            assert offsets is None and own is None
            continue
        assert (offsets == own).sum() >= 1000
        if config.always_hardwired:
            assert (offsets == own).all()
        else:
            assert {bounds.low, bounds.high} <= set(offsets.tolist())
            others = offsets[offsets != own]
            assert others.min() >= -(2 ** (bounds.width - 1)) and others.max() < 2 ** (bounds.width - 1)


@pytest.mark.parametrize("name", CONFIGS)
def test_words_reach_both_ends(name):
    config = MacConfig.parse(name)
    vectors = mac_vectors(config, 2000, seed=6)
    for words, rounds in ((vectors.product_word, config.product), (vectors.acc_word, config.accumulator)):
        bits = None if rounds is None else rounds.random_bits
        if bits is None:
            assert words is None
        else:
            assert words.shape == (2000,) and words.min() == 0 and words.max() == 2**bits - 1


def test_the_same_arguments_give_the_same_vectors():
    config = MacConfig.parse(PAPER)
    first, again, other = (mac_vectors(config, 300, seed) for seed in (7, 7, 8))
    for field in ("x", "w", "acc", "result", "product_offset", "acc_offset"):
        assert (getattr(first, field) == getattr(again, field)).all()
    assert (first.x != other.x).any()


@pytest.mark.parametrize("name", CONFIGS)
def test_a_thousand_vectors_miss_no_event(name):
    vectors = mac_vectors(MacConfig.parse(name), 1000, seed=5)
    assert vectors.missing == ()
    assert vectors.counts["inner_swamped"] > 0 or "int37" in name


def test_events_that_few_vectors_miss_are_named():
    vectors = mac_vectors(MacConfig.parse(PAPER), 1, seed=0)
    assert set(vectors.missing) == {name for name, count in vectors.counts.items() if not count} != set()


def test_events_that_cannot_happen_are_not_missed():
    vectors = mac_vectors(MacConfig.parse(INTEGER), 4000, seed=0)
    assert vectors.counts["inner_underflow"] == 0  # integers at lsb 0 lose nothing
    assert vectors.missing == ()


def test_hardwired_vectors_keep_the_offsets():
    config = MacConfig.parse(PAPER)
    vectors = mac_vectors(config, 500, seed=4, hardwired=True)
    assert (vectors.product_offset == config.offsets.product).all()
    assert (vectors.acc_offset == config.offsets.acc).all()
    assert (vectors.result == arith.fmaq(vectors.acc, vectors.x, vectors.w, config)).all()


def test_vectors_are_drawn_where_torch_cannot_be_imported():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from golden.config import MacConfig\n"
        "from golden.stimulus import mac_vectors\n"
        f"print(mac_vectors(MacConfig.parse({PAPER!r}), 300, seed=7).result.sum())"
    )
    root = Path(__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) == mac_vectors(MacConfig.parse(PAPER), 300, seed=7).result.sum()
