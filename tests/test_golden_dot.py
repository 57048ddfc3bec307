"""Dot and matrix products: golden against the oracle, codes and events, for every kind of accumulator."""

import pytest
import torch

from golden.accumulate import FIRST_WORDS, events, matmul, matmul_codes
from golden.arith import dot
from golden.codes import decode, encode
from golden.config import FixedFormat, MacConfig
from golden.random_words import RandomWords
from tests import oracle

PAPER = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"

STOCHASTIC = "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7sb10_sr5_c4_o_e4m5b8_sr3"

#: Operands, product and inner accumulator; each meets each outer accumulator below.
INNER = [
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz",
    "e3m4_e3m4_p_e3m5b8_rne_a_e4m3b6_rne_g1",
    "e3m4_e3m4_p_exact_a_e4m7b10_rne_g0",
    "e2m3b1_e4m3_p_exact_a_e3m4b5_rz",
    "e8m23_e8m23_p_exact_a_e8m23_rne",
    "e8m23_e8m23_p_e8m23_rne_a_e8m23_rz_g23",
    "int8_int8_p_exact_a_int12_floor_sat",
    "int8_int8_p_exact_a_int14l3_rne_wrap",
    "uint8_int8_p_exact_a_int18_rz_sat",
    "int16_int16_p_exact_a_int62_floor_wrap",
    "int16_int16_p_e5m10bn7_rne_a_e5m10bn9_rz",
    "int16l2_e3m4_p_exact_a_e5m6b3_rz_g2",
    "uint4ln2_e4m3_p_exact_a_int16ln6_floor_wrap",
    "e3m4_e3m4_p_exact_a_int16ln8_rz_sat",
    "e3m4_e3m4_p_exact_a_int37ln14_rz_wrap",
    "e4m3fn_e4m3fn_p_e4m7sb12_rz_a_e4m7sb10_rne",
    "e5m2ieee_e4m3fn_p_exact_a_e5m10ieee_rne_g1",
    "e8m23ieee_e8m7ieee_p_exact_a_e8m23ieee_rne",
    "e3m4s_e5m10ieee_p_exact_a_int20ln16_floor_sat",
    "e3m4_e3m4_p_e4m7b12_sr4_a_e4m7b10_sr4",
    "e4m3fn_e4m3fn_p_e3m5fnb4_sr16_a_e4m3sb6_sr1_g1",
    "e8m23_e8m23_p_exact_a_e8m23_sr16",
]
OUTER = [
    "",
    "_o_e5m8_rne",
    "_o_e3m3b2_rz_g0",
    "_o_int10ln2_floor_sat",
    "_o_int9l3_rne_wrap",
    "_o_int62ln40_rz_sat",
    "_o_e3m3sb2_sr3",
]


def draw(number, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Any finite codes for half of the numbers, and three of them again and again for the others."""
    anything = torch.randint(0, 2**number.code_bits, shape, generator=generator)
    few = torch.randint(0, 2**number.code_bits, (3,), generator=generator)
    chosen = few[torch.randint(0, 3, shape, generator=generator)]
    codes = torch.where(torch.rand(shape, generator=generator) < 0.5, anything, chosen)
    if isinstance(number, FixedFormat):
        return codes
    magnitude = codes & (2 ** (number.code_bits - 1) - 1)
    return codes - magnitude + magnitude.clamp(max=number.max_magnitude_code)


def fractions(codes: torch.Tensor, number) -> list[list]:
    return [[oracle.value_of(code, number) for code in row] for row in codes.tolist()]


def by_oracle(
    x: torch.Tensor, w: torch.Tensor, config: MacConfig, order=None, seed: int = 0, call: int = 0
) -> tuple[list, dict]:
    """Result codes [m][n] and counts of events of x[m, k] @ w[k, n], both codes."""
    x_values, w_values = fractions(x, config.x), fractions(w.T, config.w)
    tally = oracle.Tally()
    number = config.outer_accumulator.format

    def output(m: int, n: int) -> int:
        def words(stage: int, bits: int, k: int) -> int:
            return oracle.random_word(seed, call, stage, bits, m, n, k)

        row, column = x_values[m], w_values[n]
        picked = range(len(row)) if order is None else order[n]
        value = oracle.dot([row[k] for k in picked], [column[k] for k in picked], config, tally, words)
        return oracle.code_of(value, number)

    codes = [[output(m, n) for n in range(len(w_values))] for m in range(len(x_values))]
    return codes, tally.counts


def check(
    config: MacConfig,
    x: torch.Tensor,
    w: torch.Tensor,
    order: torch.Tensor | None = None,
    random: RandomWords = FIRST_WORDS,
) -> None:
    columns = None
    if order is not None:
        columns = order.expand(w.shape[1], -1).tolist() if order.ndim == 1 else order.T.tolist()
    want, counts = by_oracle(x, w, config, columns, random.seed, random.call)
    a, b = decode(x, config.x), decode(w, config.w)
    got = matmul_codes(a, b, config, order, random)
    assert got.tolist() == want, f"{config.name}: {a.tolist()} @ {b.tolist()}"
    counted = events(a, b, config, order, random)
    for place in ("product", "inner", "outer"):
        step = getattr(counted, place)
        found = {event: getattr(step, event) for event in counts[place]}
        assert found == counts[place], f"{config.name}: {place}"


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("inner", INNER)
def test_any_inner_kind_feeds_any_outer_kind(inner, outer):
    generator = torch.Generator().manual_seed(len(inner) * 100 + len(outer))
    for chunk_size, length in ((4, 11), (1, 3), (16, 16)):
        config = MacConfig.parse(f"{inner}_c{chunk_size}{outer}")
        x, w = draw(config.x, (2, length), generator), draw(config.w, (length, 3), generator)
        check(config, x, w)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 47, 48])
@pytest.mark.parametrize("name", [PAPER, "e3m4_e3m4_p_exact_a_int14ln6_floor_sat_c16_o_e5m10_rne"])
def test_lengths_around_the_chunk(name, length):
    config = MacConfig.parse(name)
    generator = torch.Generator().manual_seed(length)
    check(config, draw(config.x, (2, length), generator), draw(config.w, (length, 2), generator))


@pytest.mark.parametrize("per_column", [False, True])
def test_an_order_is_applied_before_chunks_are_formed(per_column):
    config = MacConfig.parse("e3m4_e3m4_p_exact_a_e3m4b4_rz_c4")
    generator = torch.Generator().manual_seed(5)
    x, w = draw(config.x, (3, 13), generator), draw(config.w, (13, 5), generator)
    orders = [torch.randperm(13, generator=generator) for _ in range(5)]
    check(config, x, w, torch.stack(orders, dim=1) if per_column else orders[0])
    ascending = torch.arange(13)
    a, b = decode(x, config.x), decode(w, config.w)
    assert torch.equal(matmul(a, b, config, ascending), matmul(a, b, config))
    assert not torch.equal(matmul(a, b, config, ascending.flip(0)), matmul(a, b, config))


@pytest.mark.parametrize("per_column", [False, True])
def test_random_words_belong_to_the_order_of_summation(per_column):
    """Step i takes the words of position i, whichever product comes there; other words are other sums."""
    config = MacConfig.parse(STOCHASTIC)
    generator = torch.Generator().manual_seed(9)
    x, w = draw(config.x, (4, 13), generator), draw(config.w, (13, 5), generator)
    orders = [torch.randperm(13, generator=generator) for _ in range(5)]
    order = torch.stack(orders, dim=1) if per_column else orders[0]
    a, b = decode(x, config.x), decode(w, config.w)
    results = []
    for random in (RandomWords(0, 0), RandomWords(2**63 + 1, 0), RandomWords(0, 5)):
        check(config, x, w, order, random)
        results.append(matmul(a, b, config, order, random))
    assert torch.equal(results[0], matmul(a, b, config, order))
    assert not torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_random_words_count_rows_through_a_batch_and_columns_within_it():
    config = MacConfig.parse(STOCHASTIC)
    generator = torch.Generator().manual_seed(10)
    a = decode(draw(config.x, (2, 3, 4, 9), generator), config.x)
    b = decode(draw(config.w, (9, 5), generator), config.w)
    got = matmul(a, b, config, None, RandomWords(1, 1))
    assert torch.equal(got, matmul(a.reshape(24, 9), b, config, None, RandomWords(1, 1)).reshape(2, 3, 4, 5))
    same = matmul(a[:1, :1].expand(2, 3, 4, 9), b, config, None, RandomWords(1, 1))
    assert not torch.equal(same[0, 0], same[1, 2])
    each = matmul(a, b.expand(2, 3, 9, 5), config, None, RandomWords(1, 1))
    assert torch.equal(each, got)


def test_values_are_decoded_codes():
    config = MacConfig.parse(PAPER)
    generator = torch.Generator().manual_seed(6)
    x, w = draw(config.x, (4, 20), generator), draw(config.w, (20, 4), generator)
    a, b = decode(x, config.x), decode(w, config.w)
    codes = matmul_codes(a, b, config)
    values = matmul(a, b, config)
    assert values.dtype == torch.float64
    assert torch.equal(encode(values, config.accumulator.format), codes)
    assert torch.equal(codes, dot(list(x.T[:, :, None]), list(w[:, None, :]), config))


def test_leading_dimensions_broadcast():
    config = MacConfig.parse(PAPER)
    generator = torch.Generator().manual_seed(7)
    a = decode(draw(config.x, (2, 1, 3, 9), generator), config.x)
    b = decode(draw(config.w, (4, 9, 5), generator), config.w)
    order = torch.randperm(9, generator=generator)
    for chosen in (None, order, torch.stack([order.roll(n) for n in range(5)], dim=1)):
        got = matmul(a, b, config, chosen)
        assert got.shape == (2, 4, 3, 5)
        for i in range(2):
            for j in range(4):
                assert torch.equal(got[i, j], matmul(a[i, 0], b[j], config, chosen))
    counted = events(a, b, config).inner
    one_by_one = [events(a[i, 0], b[j], config).inner for i in range(2) for j in range(4)]
    assert counted.steps == sum(part.steps for part in one_by_one) == 2 * 4 * 3 * 5 * 9
    assert counted.swamped == sum(part.swamped for part in one_by_one)


def test_padding_with_zeros_changes_nothing():
    generator = torch.Generator().manual_seed(8)
    for name in (
        PAPER,
        "e3m4_e3m4_p_exact_a_e4m7b10_rne_g0_c16",
        "int8_int8_p_exact_a_int12_floor_sat_c16",
        "e4m3fn_e4m3fn_p_exact_a_e4m7sb10_rz_g0_c16",
        "e3m4_e3m4_p_e4m7b12_sr3_a_e4m7b10_sr4_g1_c16",
    ):
        config = MacConfig.parse(name)
        x, w = draw(config.x, (3, 21), generator), draw(config.w, (21, 3), generator)
        x_padded = torch.cat([x, torch.zeros(3, 11, dtype=torch.int64)], dim=1)
        w_padded = torch.cat([w, draw(config.w, (11, 3), generator)], dim=0)
        want = matmul_codes(decode(x, config.x), decode(w, config.w), config)
        got = matmul_codes(decode(x_padded, config.x), decode(w_padded, config.w), config)
        assert torch.equal(got, want)


def test_a_sum_longer_than_float64_is_available_as_a_code():
    config = MacConfig.parse("e8m23_e8m23_p_exact_a_int62ln46_rz_wrap_c4")
    one, next_one, two_to_8 = 127 << 23, (127 << 23) + 1, 135 << 23
    x, w = torch.tensor([[next_one, two_to_8]]), torch.tensor([[next_one], [one]])
    check(config, x[:, :1], w[:1])
    with pytest.raises(
        ValueError, match=r"^\d+ at \[0, 0\] is a code of int62ln46 .* more than float64's 53 bits"
    ):
        matmul(decode(x, config.x), decode(w, config.w), config)
    want, _ = by_oracle(x, w, config)
    assert matmul_codes(decode(x, config.x), decode(w, config.w), config).tolist() == want


@pytest.mark.parametrize(
    ("a", "b", "order", "message"),
    [
        ((2, 3), (4, 2), None, r"takes a\[..., m, k\] and b\[..., k, n\], not \[2, 3\] and \[4, 2\]"),
        ((3,), (3, 2), None, r"not \[3\] and \[3, 2\]"),
        (
            (2, 3),
            (3, 2),
            [0, 1],
            r"order is torch.int64 of shape \[2\]; it must be int64 of shape \[3\] or \[3, 2\]",
        ),
        ((2, 3), (3, 2), [0, 1, 1], r"order is not a permutation of 0 to 2"),
        ((2, 3), (3, 2), [[0, 1], [1, 1], [2, 2]], r"order is not a permutation"),
        ((2, 3), (3, 2), [0.0, 1.0, 2.0], r"order is torch.float32"),
    ],
)
def test_wrong_shapes_and_orders_are_refused(a, b, order, message):
    order = None if order is None else torch.tensor(order)
    with pytest.raises(ValueError, match=message):
        matmul(torch.ones(a), torch.ones(b), MacConfig.parse(PAPER), order)


def test_an_operand_that_its_format_cannot_hold_is_named():
    config = MacConfig.parse(PAPER)
    a = torch.ones(2, 3)
    b = torch.ones(3, 2)
    b[1, 0] = 1.03
    with pytest.raises(ValueError, match=r"^1\.0299\d* at \[1, 0\] is no value of e3m4; quantize"):
        matmul(a, b, config)
