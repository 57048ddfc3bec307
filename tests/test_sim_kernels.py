"""The CPU kernels against golden: every way that is proved, on every instruction set of the machine."""

from dataclasses import fields

import pytest
import torch

from golden import accumulate as golden
from golden.catalog import find
from golden.codes import decode, encode
from golden.config import MacConfig
from golden.random_words import RandomWords
from sim.kernels.cases import KINDS, draw
from sim.kernels.lanes import Way
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Path
from sim.kernels.product import multiply
from tests import kernel_matrix, oracle
from tests.kernel_matrix import NAMES, WORDS, assert_equals_golden, by_golden, matrices, plans_of

# fmt: off
CATALOG_ROWS = [
    "float6", "float9-px", "float12", "float12-rne-g3-px", "float22", "float32-rne-px", "fixed14-rne-wrap",
    "fixed24-wrap", "exact", "int8-wrap", "int16", "int32",
]
# fmt: on


@pytest.mark.parametrize("name", NAMES)
def test_matrix_equals_golden(name):
    """Values, zeros of sign 0, and statistics by column; overflow, underflow, cancellation and thresholds."""
    config = MacConfig.parse(name)
    assert config.name == name
    assert_equals_golden(*matrices(config), config)


@pytest.mark.parametrize("name", CATALOG_ROWS)
def test_catalogue_equals_golden(name):
    config = find(name)
    a, b = draw(config, 3, 40, 35, KINDS[len(name) % len(KINDS)], torch.Generator().manual_seed(len(name)))
    assert_equals_golden(a, b, config)


def test_matrix_reaches_every_way():
    """All ways of computing, of rounding in a lane, and of pairing them, are in the matrix."""
    paths, ways = set(), set()
    for name in NAMES:
        config = MacConfig.parse(name)
        for count in (False, True):
            for isa, plan in plans_of(*matrices(config), config, count=count):
                paths.add((plan.path, isa))
                if plan.lanes is not None:
                    steps = (plan.lanes.product, plan.lanes.inner, plan.lanes.outer)
                    ways.add((plan.path, *(Way(step.way) for step in steps)))
    sets = set(instruction_sets())
    for path in Path:
        built = (
            {"generic"}
            if path is Path.SCALAR
            else sets & {"avx512fp16"}
            if path is Path.HALF
            else sets - {"generic"}
        )
        assert built <= {isa for reached, isa in paths if reached is path}, path
    if sets == {"generic"}:
        return
    for path in (Path.SINGLE, Path.DOUBLE):
        of_path = {way[1:] for way in ways if way[0] is path}
        assert {way[0] for way in of_path} >= set(Way) - _FIXED - {Way.WHOLE, Way.SUM}, path
        for place in (1, 2):
            assert {way[place] for way in of_path} >= set(Way) - {Way.NONE, Way.EXACT, Way.SUM}, (path, place)
        rounding = {Way.RZ, Way.RNE, Way.SR}
        assert {way[:2] for way in of_path} >= {(p, i) for i in rounding for p in (Way.NONE, Way.EXACT, i)}, (
            path
        )


_FIXED = {Way.FIXED_RZ, Way.FIXED_FLOOR, Way.FIXED_RNE}


@pytest.mark.parametrize(
    "name",
    [
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
        "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr5_c5_o_e4m4sb8_rne_g1",
        "e3m4_e3m4_p_exact_a_int9ln4_rne_wrap_c5_o_int12ln4_floor_sat",
    ],
)
@pytest.mark.parametrize("order", [None, "one", "each"])
def test_the_loop_here_is_goldens(name, order):
    """So statistics by column are compared with golden's arithmetic, and orders are taken by all ways."""
    config = MacConfig.parse(name)
    a, b = (operand[3] for operand in matrices(config))
    if order is not None:
        count = 1 if order == "one" else b.shape[1]
        order = torch.stack(
            [torch.randperm(len(b), generator=torch.Generator().manual_seed(i)) for i in range(count)], 1
        )
        order = order[:, 0] if count == 1 else order
    expected = by_golden(a, b, config, order)
    assert torch.equal(expected.values, golden.matmul(a, b, config, order, WORDS))
    events = golden.events(a, b, config, order, WORDS)
    totals = [events.product.overflow, events.product.underflow]
    for counts in (events.inner, events.outer):
        totals += [counts.overflow, counts.underflow, counts.swamped]
    assert expected.counts.sum(1).tolist() == totals
    _, statistics = multiply(a, b, config, order, WORDS, count=True)
    assert statistics.events == events
    kernel_matrix.assert_same_statistics(statistics, expected, name)
    values, _ = multiply(a, b, config, order, WORDS)
    kernel_matrix.assert_same_values(values, expected.values, name)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**63 + 5, 2**64 - 1])
@pytest.mark.parametrize("call", [0, 1, 2**32 - 1])
def test_random_words(seed, call):
    config = MacConfig.parse("e3m4_e3m4_p_e4m3b12_sr4_a_e4m4b10_sr6_c4_o_e4m3b9_sr2")
    a, b = draw(config, 3, 9, 34, "any", torch.Generator().manual_seed(0))
    words = RandomWords(seed=seed, call=call)
    expected = golden.matmul(a, b, config, None, words)
    for isa, plan in plans_of(a, b, config):
        values, _ = multiply(a, b, config, None, words, isa=isa, plan=plan)
        assert torch.equal(values, expected), (isa, plan.reason)


def test_random_words_of_another_product_differ():
    config = MacConfig.parse("e3m4_e3m4_p_exact_a_e4m4b10_sr6_c4")
    a, b = draw(config, 3, 9, 34, "any", torch.Generator().manual_seed(0))
    first, _ = multiply(a, b, config, None, RandomWords(seed=0, call=0))
    for other in (RandomWords(seed=1, call=0), RandomWords(seed=2**32, call=0), RandomWords(seed=0, call=1)):
        assert not torch.equal(first, multiply(a, b, config, None, other)[0])


@pytest.mark.parametrize(
    "name",
    [
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4",
        "e3m4_e3m4_p_e4m6b12_rne_a_e4m6b10_rne_c4",
        "e3m4_e3m4_p_e4m5b12_sr4_a_e4m5b10_sr5_c4_o_e4m4b9_sr3",
        "e3m4_e3m4_p_exact_a_e4m4sb10_rne_c4",
        "e4m3fn_e5m2ieee_p_e4m5ieee_rz_a_e5m5fn_rz_g1_c4",
        "e8m23ieee_e8m23ieee_p_exact_a_e8m23ieee_rne_c4",
        "e3m0_e3m0_p_exact_a_e3m0b4_rne_c4",
        "e3m4_e3m4_p_exact_a_int10ln5_rne_wrap_c4_o_e4m3b5_rne_g0",
        "int4_int4_p_exact_a_int7_floor_sat_c4_o_int9l1_rne_sat",
        "e4m3b20_e4m3b20_p_exact_a_e4m7b10_rz_c4",
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_against_rationals(name, kind):
    """Two rows and two columns of the contract in fractions, written down independently of golden."""
    config = MacConfig.parse(name)
    a, b = draw(config, 2, 11, 2, kind, torch.Generator().manual_seed(KINDS.index(kind)))
    x, w = encode(a, config.x).tolist(), encode(b, config.w).T.tolist()

    def output(m: int, n: int, tally: oracle.Tally):
        def words(stage: int, bits: int, k: int) -> int:
            return oracle.random_word(WORDS.seed, WORDS.call, stage, bits, m, n, k)

        row = [oracle.value_of(code, config.x) for code in x[m]]
        column = [oracle.value_of(code, config.w) for code in w[n]]
        return oracle.dot(row, column, config, tally, words)

    tally = oracle.Tally()
    expected = torch.tensor(
        [[float(output(m, n, tally)) for n in range(2)] for m in range(2)], dtype=torch.float64
    )
    for count in (False, True):
        for isa, plan in plans_of(a, b, config, count=count):
            values, statistics = multiply(a, b, config, None, WORDS, count=count, isa=isa, plan=plan)
            assert torch.equal(values, expected), (isa, plan.reason, values, expected)
            if count:
                for place, counts in tally.counts.items():
                    found = getattr(statistics.events, place)
                    assert {field.name: getattr(found, field.name) for field in fields(found)} == counts, (
                        isa,
                        place,
                    )


def test_float32_results_are_rounded_once():
    """Where float32 is asked for: to nearest, ties to even, also of its subnormals."""
    config = MacConfig.parse("e8m23ieee_e8m23ieee_p_exact_a_int40ln160_rz_sat_c4")
    a, b = draw(config, 5, 9, 34, "underflow", torch.Generator().manual_seed(0))
    a = decode(encode(a, config.x) & 0x80FFFFFF, config.x)
    for isa, plan in plans_of(a, b, config):
        values, _ = multiply(a, b, config, None, WORDS, isa=isa, plan=plan)
        rounded, _ = multiply(a, b, config, None, WORDS, out_dtype=torch.float32, isa=isa, plan=plan)
        assert torch.equal(rounded, values.float()), (isa, plan.reason)
