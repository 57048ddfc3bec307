"""What the kernels are compared with golden on: configurations for each policy, operands, the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from golden import accumulate as golden
from golden import arith
from golden.codes import decode
from golden.config import MacConfig
from golden.random_words import RandomWords, Stage
from sim.kernels import product
from sim.kernels.cases import KINDS, draw
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Plan, ways

WORDS = RandomWords(seed=0x9E3779B97F4A7C15, call=7)

FLOAT = [
    # product way x inner way; the loops written out and those chosen step by step
    *(
        f"e3m4_e3m4_p_{product}_a_{inner}_c16"
        for product in ("exact", "e4m9b12_rz", "e4m7b12_rz", "e4m6b12_rne", "e4m7b12_sr4", "e4m7sb12_rz")
        for inner in (
            "e4m7b10_rz",
            "e4m7b10_rne",
            "e4m7b10_sr5",
            "e4m6sb10_rz",
            "e4m6sb10_rne",
            "e4m7b10_rz_g1",
        )
    ),
    # guard bits
    *(
        f"e3m4_e3m4_p_{product}_a_e4m5b10_{rounding}_g{guard}_c16"
        for guard in range(4)
        for product, rounding in (("e4m5b12_rz", "rz"), ("exact", "rne"), ("e4m5b12_sr2", "sr3"))
    ),
    "e3m4_e3m4_p_exact_a_e4m6sb10_rz_g2_c16",
    "e3m4_e3m4_p_e4m6fnb12_rne_a_e4m6ieeeb10_rne_g0_c16",
    "e5m4_e5m4_p_exact_a_e5m12_rz_g10_c16",
    "e5m4_e5m4_p_exact_a_e5m12_rz_g11_c16",
    # random bits
    *(f"e3m4_e3m4_p_exact_a_e4m5b10_sr{bits}_c16" for bits in (1, 2, 3, 4, 7, 8, 11, 14, 16)),
    *(f"e3m4_e3m4_p_e4m3b12_sr{bits}_a_e4m5b10_sr{17 - bits}_c5" for bits in (1, 5, 9, 16)),
    "e3m4_e3m4_p_e4m3sb12_sr7_a_e4m4sb10_sr3_c16",
    "e3m4_e3m4_p_exact_a_e5m13_sr10_c16",
    "e3m4_e3m4_p_exact_a_e5m14_sr10_c16",
    # widths
    *(
        f"e3m4_e3m4_p_exact_a_{number}_{rounding}_c16"
        for number in ("e1m1b1", "e2m0", "e2m3b2", "e3m0b4", "e4m9b10", "e5m10", "e6m15", "e8m20", "e8m23")
        for rounding in ("rz", "rne")
    ),
    *(
        f"e8m23_e8m23_p_e8m23_{first}_a_e8m23_{second}_c16"
        for first in ("rz", "rne")
        for second in ("rz", "rne", "sr16")
    ),
    "e8m23_e8m23_p_exact_a_e8m23_rz_g23_c16",
    "e8m23_e3m4_p_exact_a_e8m22_rne_c16",
    # encodings of operands, products and accumulators
    *(
        f"{x}_{w}_p_exact_a_e5m10_rz_c16"
        for x, w in (("e4m3fn", "e5m2ieee"), ("e3m4s", "e2m1s"), ("e5m2ieee", "int6"))
    ),
    *(
        f"e4m3fn_e4m3fn_p_e5m7{a}b17_{first}_a_e5m7{b}_{second}_c16"
        for a, b, first, second in (
            ("s", "", "rz", "rz"),
            ("fn", "s", "rne", "rne"),
            ("ieee", "fn", "rz", "rne"),
            ("", "ieee", "rne", "rz"),
            ("s", "fn", "sr4", "rz"),
            ("", "s", "rz", "sr6"),
        )
    ),
    *(
        f"{number}_{number}_p_exact_a_e8m23ieee_{rounding}_c16"
        for number, rounding in (
            ("e5m10ieee", "rz"),
            ("e8m7ieee", "rne"),
            ("e8m23ieee", "rz"),
            ("e8m23ieee", "rne"),
        )
    ),
    # biases
    "e3m4b40_uint1_p_exact_a_e4m7b45_rz_g0_c16",
    "e3m4bn30_e3m4_p_e4m7bn20_rne_a_e4m7bn22_rne_g1_c8",
    "e3m4b200_e3m4bn200_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "e3m4b512_e3m4b512_p_exact_a_e5m7b512_rz_c16",
    "e8m3bn512_e8m3bn512_p_exact_a_e8m7_rz_c16",
    "e4m3b20_e4m3b20_p_exact_a_e4m7b10_rz_c16",
    "e4m3b20_e4m3b20_p_exact_a_e4m7b10_rne_g2_c16",
    "int8_int5_p_e5m4bn6_rz_a_e5m6bn8_rz_c16",
]

FIXED = [
    # integers: bits and overflow
    *(
        f"int8_int8_p_exact_a_int{bits}_floor_{overflow}_c16"
        for bits in (2, 8, 12, 15, 16, 17, 20, 23, 24, 25, 31, 32)
        for overflow in ("sat", "wrap")
    ),
    *(
        f"int{x}_int{w}_p_exact_a_int{bits}_floor_sat_c16"
        for x, w, bits in ((4, 4, 16), (4, 5, 9), (5, 4, 8), (2, 2, 2))
    ),
    "uint8_int8_p_exact_a_int16_floor_sat_c16",
    "uint1_uint1_p_exact_a_int3_floor_sat_c16",
    "int16_int16_p_exact_a_int32_floor_sat_c16",
    "int16_int16_p_exact_a_int48_floor_wrap_c16",
    "int8l40_int8ln100_p_exact_a_int14ln60_floor_sat_c16",
    # cuts
    *(
        f"{operands}_p_exact_a_int{bits}l{lsb}_{rounding}_{overflow}_c16"
        for operands, bits, lsb in (("e3m4_e3m4", 12, "n4"), ("int8_int8", 10, "3"), ("e4m3_e4m3", 26, "n9"))
        for rounding in ("rz", "floor", "rne")
        for overflow in ("sat", "wrap")
    ),
    "e3m4_e3m4_p_exact_a_int20ln14_rz_sat_c16",
    "e3m4_e3m4_p_exact_a_int22ln14_floor_wrap_c16",
    "e3m4_e3m4_p_exact_a_int6l9_rne_sat_c16",
    "e8m23_e3m4_p_exact_a_int32ln16_rne_sat_c16",
    "e5m10ieee_e4m3fn_p_exact_a_int24ln12_floor_sat_c16",
    "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c16",  # exact
]

CHUNKS = [
    f"{mac}_c{chunk}"
    for mac in (
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz",
        "e3m4_e3m4_p_e4m6b12_rne_a_e4m6b10_rne",
        "int8_int8_p_exact_a_int14_floor_sat",
        "e3m4_e3m4_p_exact_a_int12ln4_rne_wrap",
    )
    for chunk in (1, 3, 18, 19, 1048576)
]

OUTER = [
    f"{mac}_c{chunk}_o_{outer}"
    for mac, chunk in (
        ("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz", 4),
        ("e3m4_e3m4_p_exact_a_e5m5b12_rne_g1", 16),
        ("int8_int8_p_exact_a_int12_floor_sat", 8),
        ("e3m4_e3m4_p_exact_a_int12ln4_rz_wrap", 5),
    )
    for outer in (
        "e5m10_rz",
        "e5m4sb16_rne",
        "e4m7b6_sr8",
        "e5m8_rz_g2",
        "int10ln2_floor_sat",
        "int9l3_rne_wrap",
        "int20ln8_rz_sat",
        "int40ln20_floor_wrap",
    )
]

NAMES = [*FLOAT, *FIXED, *CHUNKS, *OUTER]


@dataclass(frozen=True)
class Golden:
    """What a product is, and what happened in it: as golden's own loop has it, by column."""

    values: Tensor
    counts: Tensor  #: As :class:`sim.kernels.product.Statistics`.
    low: Tensor
    high: Tensor


def by_golden(
    a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None, words: RandomWords = WORDS
) -> Golden:
    """The loop of golden.accumulate.events, with counts kept apart by column and the extremes of sums."""
    x, w, shape = golden.unpacked_operands(a, b, config, order)
    word_of = golden.words_of(words, shape, a.device)
    columns, flat = shape[-1], tuple(range(len(shape) - 1))
    counts = torch.zeros(8, columns, dtype=torch.int64)
    low, high = torch.zeros(2, 2, columns, dtype=torch.float64)

    def count(first: int, flags: Iterator) -> None:
        for i, flag in enumerate(flags):
            counts[first + i] += torch.as_tensor(flag).expand(shape).sum(flat)

    def extend(place: int, codes: Tensor, number) -> None:
        sums = decode(codes.expand(shape), number)
        low[place] = torch.minimum(low[place], sums.amin(flat))
        high[place] = torch.maximum(high[place], sums.amax(flat))

    inner, outer = config.accumulator, config.outer_accumulator
    out = torch.zeros(shape, dtype=torch.int64)
    for chunk, indices in enumerate(arith.chunks(len(x), config.chunk_size)):
        acc = torch.zeros(shape, dtype=torch.int64)
        for k in indices:
            step = (
                *(acc, x[k], w[k], config),
                arith.word_of(word_of, Stage.PRODUCT, config.product, k),
                arith.word_of(word_of, Stage.INNER, inner, k),
            )
            of_product, of_sum = arith.fmaq_events(*step)
            if of_product is not None:
                count(0, of_product[:2])
            count(2, of_sum)
            acc = arith.fmaq(*step)
            extend(0, acc, inner.format)
        word = arith.word_of(word_of, Stage.OUTER, outer, chunk)
        count(5, arith.chunk_events(out, acc, config, word))
        out = arith.chunk_add(out, acc, config, word)
        extend(1, out, outer.format)
    return Golden(values=decode(out, outer.format), counts=counts, low=low, high=high)


@cache
def matrices(config: MacConfig, rows: int = 5, length: int = 19, columns: int = 34) -> tuple[Tensor, Tensor]:
    """A batch a[kinds, rows, length], b[kinds, length, columns]: one pair of each kind."""
    pairs = []
    for seed, kind in enumerate(KINDS):
        generator = torch.Generator().manual_seed(seed)
        pairs.append(draw(config, rows, length, columns, kind, generator))
    return torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])


def plans_of(a: Tensor, b: Tensor, config: MacConfig, *, count: bool = False) -> Iterator[tuple[str, Plan]]:
    """Every way that is proved for these operands, on every instruction set of this machine."""
    x, w = product.extent_of(a, config.x), product.extent_of(b, config.w)
    for isa in instruction_sets():
        for plan in ways(config, a.shape[-1], x, w, count=count, isa=isa)[0]:
            yield isa, plan


def assert_equals_golden(
    a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None = None, words: RandomWords = WORDS
) -> set[str]:
    """Values and statistics of every way on every instruction set are golden's; the ways there were."""
    expected = by_golden(a, b, config, order, words)
    found = set()
    for count in (False, True):
        for isa, plan in plans_of(a, b, config, count=count):
            where = f"{config.name} on {isa}, count={count}: {plan.reason}"
            values, statistics = product.multiply(a, b, config, order, words, count=count, isa=isa, plan=plan)
            assert_same_values(values, expected.values, where)
            if count:
                assert_same_statistics(statistics, expected, where)
            found.add(plan.path.value)
    return found


def assert_same_values(values: Tensor, expected: Tensor, where: str) -> None:
    if not torch.equal(values, expected):
        index = tuple((values != expected).nonzero()[0].tolist())
        wrong = int((values != expected).sum())
        raise AssertionError(
            f"{where}: {values[index].item()!r} at {list(index)}, golden {expected[index].item()!r}; "
            f"{wrong} of {values.numel()} differ"
        )
    assert not (values.signbit() & (values == 0)).any(), f"{where}: a zero has its sign bit set"


def assert_same_statistics(statistics: product.Statistics, expected: Golden, where: str) -> None:
    for field in ("counts", "low", "high"):
        got, want = getattr(statistics, field), getattr(expected, field)
        assert torch.equal(got, want), f"{where}: {field}\n{got}\ngolden\n{want}"


#: One for every way: 16-bit, half, single, double, plain sums, integers one by one; and all three words.
WAYS = {
    "half": "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c4",
    "stochastic": "e3m4_e3m4_p_e4m5b12_sr4_a_e4m5b10_sr5_c4_o_e4m4b9_sr3",
    "aligned": "e4m3fn_e5m2ieee_p_exact_a_e5m7_rne_g1_c4",
    "cut": "e3m4_e3m4_p_exact_a_int12ln5_rne_sat_c4",
    "double": "e3m4_e3m4_p_exact_a_e5m20_rne_c4",
    "short": "int6_int6_p_exact_a_int12_floor_sat_c4",
    "sums": "int8_int8_p_exact_a_int12_floor_wrap_c4",
    "integers": "int16_int16_p_exact_a_int53l3_rne_wrap_c4_o_e8m23_sr16",
}
BY_WAY = pytest.mark.parametrize("config", [MacConfig.parse(name) for name in WAYS.values()], ids=list(WAYS))


def pair(config, rows=5, length=11, columns=37, seed=0):
    return draw(config, rows, length, columns, "any", torch.Generator().manual_seed(seed))


def assert_golden(a, b, config, order=None):
    """By every way on every instruction set, in float64 and rounded to float32."""
    expected = golden.matmul(a.double(), b.double(), config, order, WORDS)
    for isa, plan in plans_of(a, b, config):
        for dtype in (torch.float64, torch.float32):
            values, _ = product.multiply(a, b, config, order, WORDS, out_dtype=dtype, isa=isa, plan=plan)
            assert_same_values(values, expected.to(dtype), f"{config.name} on {isa}: {plan.reason}")
