"""Events of policies by hand-made examples, and counts that see what vectors and jobs hold."""

from collections import Counter

import pytest

from golden.arith import add
from golden.catalog import find
from golden.config import MacConfig, parse_accumulator, parse_product
from golden.rounding import Unpacked
from golden.stimulus import mac_vectors
from tb.verify import coverage
from tb.verify.policy_events import EVENTS, Exact, add_events, quantize_events
from tb.verify.rows import Task

TASK = Task(share=0.1, seed=0, report=lambda part: None)


@pytest.mark.parametrize(
    ("name", "integer", "exponent", "word", "events"),
    [
        ("e4m7b10_rz", 1, 0, 0, "exact"),
        ("e4m7b10_rz", -511, 0, 0, "rounded down | saturates below"),
        ("e4m7b10_rne", 0b111111111, 0, 0, "tie to even, up | carry | saturates above"),
        ("e4m7b10_rne", 0b100000001, -8, 0, "tie to even, down"),
        ("e4m7b10_rne", 0b100000011, -8, 0, "tie to even, up"),
        ("e4m7b10_rne", 0b1000000111, -9, 0, "rounded up"),
        ("e4m7b10_rz", 1, -10, 0, "exact | flushed"),
        ("e4m7b10_rz", -1, -12, 0, "exact | flushed negative"),
        ("e4m7sb10_rz", -1, -17, 0, "rounded down | flushed negative"),
        ("e4m7sb10_rne", 3, -17, 0, "tie to even, up | carry | subnormal"),
        ("e4m7sb10_rne", 0b11111111, -17, 0, "tie to even, up | carry | subnormal becomes normal"),
        ("e4m7b10_sr2", 0b1000000001, -9, 3, "random word up"),
        ("e4m7b10_sr2", 0b1000000001, -9, 2, "random word down"),
        ("e4m7b10_sr2", 0b10000000001, -10, 3, "rounded down"),
        ("e4m3fn_rne", 464, 0, 0, "tie to even, down"),
        ("e4m3fn_rne", 465, 0, 0, "rounded up | saturates above"),
        ("e4m7b10_rz", 0, 0, 0, ""),
    ],
)
def test_events_of_a_rounding(name, integer, exponent, word, events):
    found = set(quantize_events(Exact(integer, exponent), parse_product(name), word))
    assert found == _set(events)


@pytest.mark.parametrize(
    ("name", "acc", "integer", "exponent", "events"),
    [
        ("int8_rz_sat", 127, 1, 0, "saturates above | swamped"),
        ("int8_rz_wrap", 0x80, -1, 0, "wraps below"),
        ("int8_rz_sat", 126, 1, 0, "reaches an end"),
        ("int8_rz_sat", 5, -5, 0, "cancels to zero"),
        ("int8_rz_wrap", 5, 1000, 0, "addend is the larger | addend beyond the range | wraps above"),
        ("int8_rz_sat", 5, 128, 0, "addend is the larger | saturates above | sum is swamped"),
        ("int8_rne_sat", 4, 1, -1, "tie to even, down | addend cut | flushed | swamped"),
        ("int8_rne_sat", 4, -3, -1, "tie to even, up | negative addend cut"),
        ("int8_floor_sat", 4, -1, -1, "negative addend cut"),
        ("int8_rz_sat", 0, 0, 0, "two zeros"),
        ("int8_rz_sat", 0, 3, 0, "zero plus addend"),
        ("int8_rz_sat", 3, 0, 0, "addend is zero"),
        ("e4m7b10_rz", 15 << 7, -1, -11, "rounded down"),  # 32 - 2**-11 is 31.875
        ("e4m7b10_rz_g0", 15 << 7, -1, -11, "negative addend cut | exact | swamped"),
        ("e4m7b10_rz", 10 << 7, -255, -8, "cancels deeply | exact"),  # 1 - (1 - 2**-8)
        ("e4m7b10_rz", 1, 63, 0, "addend is the larger | rounded down | sum is swamped"),
        ("e4m7b10_rz_g0", 1, 63, 0, "addend is the larger | sum cut | exact | sum is swamped"),
        ("e4m7b10_rz", 10 << 7, -1, 0, "cancels to zero"),
        ("e4m7sb10_rz", 1, 1, -16, "subnormal addend | exact | subnormal"),
    ],
)
def test_events_of_an_addition(name, acc, integer, exponent, events):
    accumulator, number = parse_accumulator(name), Unpacked(integer < 0, abs(integer), exponent)
    result, alone = (int(add(before, number, accumulator)) for before in (acc, 0))
    found = set(add_events(acc, Exact(integer, exponent), accumulator, 0, result, alone))
    assert found == _set(events)


def _set(events):
    return set(filter(None, events.split(" | ")))


def test_vectors_hold_what_golden_counts():
    """Overflows and underflows by sign sum up to golden's."""
    config = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rne_a_e4m7b10_rne_c16")
    vectors = mac_vectors(config, 2048, 1)
    counts = coverage.mac_counts(config, vectors)
    for place in ("product", "inner"):
        overflow = counts[f"{place} saturates above"] + counts[f"{place} saturates below"]
        underflow = counts[f"{place} flushed"] + counts[f"{place} flushed negative"]
        assert overflow == vectors.counts[f"{place}_overflow"] > 0
        assert underflow == vectors.counts[f"{place}_underflow"] > 0
    swamped = counts["inner swamped"]
    assert 0 < swamped <= vectors.counts["inner_swamped"]


def test_rows_of_all_kinds_are_complete_and_name_every_event():
    rows = {row.subject: row for row in coverage.rows()}
    names: Counter[str] = Counter()
    for subject in (
        "e3m4s_e3m4_p_e4m7sb12_rne_a_e4m7sb10_rne_c16",
        "e3m4_e3m4_p_e4m3b9_sr16_a_e4m7b10_sr2_g1_c16",
        "uint4_uint4_p_exact_a_int7l2_rne_wrap_c16 wired",
        "int8_int8_p_exact_a_int8_floor_sat_c16 wired",
        find("fixed16-wrap").name,
    ):
        outcome = rows[subject].run(TASK)
        assert outcome.green, outcome.details
        names.update(outcome.details["hit"])
    assert {name.partition(" ")[2] for name in names} == set(EVENTS)


def test_a_missing_event_is_red():
    outcome = coverage._outcome("subject", Counter({"hit": 3}), {"hit": 1, "not hit": 1})
    assert (outcome.compared, outcome.differences) == (2, 1)
    assert "not hit" in outcome.details["first_difference"]
