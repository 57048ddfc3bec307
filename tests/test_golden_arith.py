"""One multiply-accumulate: golden against the oracle, exhaustively where formats are small."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from golden import arith
from golden.config import FloatQuantizer, MacConfig, Rounding, parse_accumulator, parse_format, parse_product
from golden.integers import floor_log2
from golden.random_words import RandomWords, Stage
from tests import oracle

GUARDS = ["", "_g0", "_g1", "_g2", "_g3"]
FLOAT_POLICIES = [f"_{rounding}{guard}" for rounding in ("rz", "rne") for guard in GUARDS]
FIXED_POLICIES = [
    f"_{rounding}_{overflow}" for rounding in ("rz", "rne", "floor") for overflow in ("sat", "wrap")
]


STOCHASTIC_POLICIES = [f"_sr{bits}{guard}" for bits in (1, 2, 3) for guard in ("", "_g0", "_g2")]


def every_code(number) -> np.ndarray:
    """All but infinity and NaN."""
    return np.array([code for code in range(2**number.code_bits) if oracle.is_finite(code, number)])


def every_word(quantizer) -> list[int | None]:
    """The random words that a rounding can get; None alone if it takes none."""
    return [None] if quantizer.random_bits is None else list(range(2**quantizer.random_bits))


def all_pairs(*formats) -> list[np.ndarray]:
    """Every combination of the formats' codes, one array for each format."""
    return [grid.ravel() for grid in np.meshgrid(*(every_code(number) for number in formats))]


class Numbers:
    """Many values of which few are distinct, so that the oracle need not be asked about each."""

    def __init__(self, values: list[Fraction]):
        self.distinct = list(dict.fromkeys(values))
        position = {value: i for i, value in enumerate(self.distinct)}
        self.index = np.array([position[value] for value in values])


def products(x: np.ndarray, w: np.ndarray, config: MacConfig) -> Numbers:
    x_values = {code: oracle.value_of(code, config.x) for code in every_code(config.x).tolist()}
    w_values = {code: oracle.value_of(code, config.w) for code in every_code(config.w).tolist()}
    return Numbers([x_values[i] * w_values[j] for i, j in zip(x.tolist(), w.tolist(), strict=True)])


def check_additions(
    acc: np.ndarray, addend: arith.Unpacked, values: Numbers, accumulator, word: int | None = None
) -> None:
    """Compare code and events of every addition; ``values`` are the addends as the oracle knows them."""
    number = accumulator.format
    pairs, inverse = np.unique(acc * len(values.distinct) + values.index, return_inverse=True)
    expected = []
    for pair in pairs.tolist():
        code, i = divmod(pair, len(values.distinct))
        want = oracle.add(oracle.value_of(code, number), values.distinct[i], accumulator, word)
        expected.append((oracle.code_of(want.value, number), *want[1:]))
    step = acc, addend, accumulator, word
    steps = [arith.add(*step), *arith.add_events(*step)]
    got = np.stack([np.broadcast_to(column, acc.shape) for column in steps], axis=1)
    wrong = np.flatnonzero((got != np.array(expected)[inverse]).any(axis=1))
    if len(wrong):
        i = wrong[0]
        sum_of = f"{oracle.value_of(int(acc[i]), number)} + {values.distinct[values.index[i]]}"
        pytest.fail(
            f"{accumulator.name}, word {word}: {sum_of}: golden {got[i]}, oracle {expected[inverse[i]]}"
        )


@pytest.mark.parametrize("policy", FLOAT_POLICIES)
@pytest.mark.parametrize(
    ("number", "addend_name"),
    [
        ("e2m2b1", "e2m2b3"),
        ("e2m2b4", "e3m2b5"),
        ("e3m2bn2", "e2m2bn3"),
        ("e3m3b3", "e3m3b5"),
        ("e2m0b2", "e3m2b4"),
        ("e1m1b0", "e2m2b3"),
        ("e2m2sb1", "e2m2b3"),
        ("e2m2sb4", "e3m2sb6"),
        ("e3m2sbn2", "e2m2sbn3"),
        ("e3m3sb3", "e3m3b6"),
        ("e2m0sb2", "e3m2b4"),
        ("e1m2sb0", "e3m1sb4"),
        ("e2m2fnb2", "e2m3sb3"),
        ("e2m0fnb2", "e3m2b5"),
        ("e1m1fnb0", "e2m3b3"),
        ("e3m2ieeeb3", "e3m2ieeeb5"),
        ("e2m0ieeeb1", "e3m2b5"),
        ("e1m2ieeeb0", "e3m2sb4"),
        ("e2m3b2", "e2m3sb4"),
    ],
)
def test_every_float_addition_of_small_formats(number, addend_name, policy):
    accumulator, addend_format = parse_accumulator(number + policy), parse_format(addend_name)
    acc, addend = all_pairs(accumulator.format, addend_format)
    values = Numbers([oracle.value_of(code, addend_format) for code in addend.tolist()])
    check_additions(acc, arith.unpack(addend, addend_format), values, accumulator)


@pytest.mark.parametrize("policy", STOCHASTIC_POLICIES)
@pytest.mark.parametrize(
    ("number", "addend_name"),
    [
        ("e2m2b2", "e3m1b5"),
        ("e2m2sb2", "e3m1sb5"),
        ("e2m1fnb1", "e2m3sb3"),
        ("e2m2ieeeb2", "e3m1ieeeb6"),
        ("e2m0b2", "e3m1b5"),
        ("e1m2ieeeb0", "e3m1b5"),
    ],
)
def test_every_stochastic_addition_of_small_formats(number, addend_name, policy):
    """With every random word."""
    accumulator, addend_format = parse_accumulator(number + policy), parse_format(addend_name)
    acc, addend = all_pairs(accumulator.format, addend_format)
    values = Numbers([oracle.value_of(code, addend_format) for code in addend.tolist()])
    for word in every_word(accumulator):
        check_additions(acc, arith.unpack(addend, addend_format), values, accumulator, word)


@pytest.mark.parametrize(
    ("operands", "number", "policies"),
    [
        ("e2m2_e2m1", "e3m2b3", FLOAT_POLICIES),
        ("e2m1_e2m1", "e2m2b5", FLOAT_POLICIES),
        ("uint3_int3ln4", "e3m2b4", FLOAT_POLICIES),
        ("e2m2_e2m1", "int6ln3", FIXED_POLICIES),
        ("e2m2_e2m1", "int4l2", FIXED_POLICIES),
        ("e3m1b6_int3l2", "int6ln5", FIXED_POLICIES),
        ("uint3_int3ln4", "int5ln2", FIXED_POLICIES),
        ("e2m2s_e2m1fn", "e3m2sb3", FLOAT_POLICIES),
        ("e2m2ieee_e2m1", "e2m2fnb5", FLOAT_POLICIES),
        ("e2m1s_int3ln2", "e2m2ieeeb3", FLOAT_POLICIES),
        ("e2m1s_e1m2fn", "e3m1sb4", STOCHASTIC_POLICIES),
        ("e2m1_int3ln2", "e2m1b3", STOCHASTIC_POLICIES),
        ("e2m2s_e2m1fn", "int6ln3", FIXED_POLICIES),
        ("e2m1ieee_e2m2sb4", "int4l2", FIXED_POLICIES),
    ],
)
def test_every_multiply_accumulate_of_exact_products(operands, number, policies):
    for policy in policies:
        config = MacConfig.parse(f"{operands}_p_exact_a_{number}{policy}_c4")
        acc, x, w = all_pairs(config.accumulator.format, config.x, config.w)
        exact = arith.multiply(x, w, config)
        values = products(x, w, config)
        for word in every_word(config.accumulator):
            check_additions(acc, exact, values, config.accumulator, word)
            got = arith.fmaq(acc, x, w, config, acc_word=word)
            assert (got == arith.add(acc, exact, config.accumulator, word)).all()


@pytest.mark.parametrize(
    ("operands", "target"),
    [
        ("e3m4_e3m4", "e4m7b12"),
        ("e3m4_e3m4", "e4m7b3"),
        ("e3m4_e3m4", "e3m2bn1"),
        ("e3m4_e3m4", "e2m0b9"),
        ("e3m4_e3m4", "e5m10"),
        ("e3m4_e3m4", "e4m3fnb12"),
        ("e4m3fn_e4m3fn", "e4m7sb12"),
        ("e4m3fn_e4m3fn", "e3m2b2"),
        ("e5m2ieee_e4m3fn", "e3m2ieeeb2"),
        ("e5m2ieee_e4m3fn", "e5m10ieee"),
    ],
)
def test_every_product_of_fp8_is_rounded_once(operands, target):
    for rounding in ("rz", "rne", "sr1", "sr3"):
        config = MacConfig.parse(f"{operands}_p_{target}_{rounding}_a_e4m7_rz_c16")
        quantizer = config.product
        x, w = all_pairs(config.x, config.w)
        exact, values = arith.multiply(x, w, config), products(x, w, config)
        for word in every_word(quantizer)[::3]:
            wants = [
                oracle.round_to_float(
                    value, quantizer.format, quantizer.rounding, quantizer.random_bits, word
                )
                for value in values.distinct
            ]
            codes = np.array([oracle.code_of(want.value, quantizer.format) for want in wants])[values.index]
            assert (arith.quantize(exact, quantizer, word) == codes).all()
            events = arith.quantize_events(exact, quantizer, word)
            assert (events.overflow == np.array([want.overflow for want in wants])[values.index]).all()
            assert (events.underflow == np.array([want.underflow for want in wants])[values.index]).all()
            assert events.swamped is False
            addend = arith.unpack(codes, quantizer.format)
            for acc in (0, 2**11 - 1, 2**11 + 77):
                got = arith.fmaq(acc, x, w, config, word)
                assert (got == arith.add(acc, addend, config.accumulator)).all()


@pytest.mark.parametrize(
    "outer",
    [
        "e8m23_rne",
        "e8m23_rz",
        "e8m23_rne_g0",
        "e8m23_rz_g23",
        "e5m10_rne",
        "e8m23ieee_rne",
        "e8m23_sr16",
        "e5m10ieee_sr16",
        "e5m10sb1_sr16",
        "e5m10sb1_rne",
        "e5m10sbn30_sr1",
        "e5m10sbn30_rne",
        "e5m10sbn46_sr16_g3",
        "e5m10sbn46_rne_g3",
    ],
)
def test_wide_sums_cancel_exactly(outer):
    """62-bit chunk results against 24-bit sums close to their negatives: no bit below may be lost."""
    config = MacConfig.parse(
        f"int8_int8_p_exact_a_int62l{'n40' if 'e5' in outer else '0'}_rz_wrap_c16_o_{outer}"
    )
    inner, target = config.accumulator.format, config.outer_accumulator.format
    rng = np.random.default_rng(1)
    s = rng.integers(-(2**61), 2**61, 3000) >> rng.integers(0, 62, 3000)
    s[:40] = [sign * (2**61 - (sign > 0) - i) for i in range(20) for sign in (-1, 1)]
    nearest = FloatQuantizer(format=target, rounding=Rounding.NEAREST_EVEN, random_bits=None)
    s &= 2**62 - 1
    negated = arith.unpack(s, inner)
    rounded = arith.quantize(negated._replace(negative=negated.negative ^ True), nearest)
    magnitude = (rounded & (2 ** (target.code_bits - 1) - 1)) + rng.integers(-2, 3, 3000)
    out = (rounded >> (target.code_bits - 1) << (target.code_bits - 1)) | np.clip(
        magnitude, 0, target.max_magnitude_code
    )
    values = Numbers([oracle.value_of(code, inner) for code in s.tolist()])
    addend, accumulator = arith.unpack(s, inner), config.outer_accumulator
    words = every_word(accumulator)
    for word in {words[0], words[len(words) // 3], words[-1]}:
        check_additions(out, addend, values, accumulator, word)
        got = arith.chunk_add(out, s, config, word)
        assert (got == arith.add(out, addend, accumulator, word)).all()


@pytest.mark.parametrize("discard", range(7))
def test_round_significand_is_the_cut_of_the_contract(discard):
    plain = [rounding for rounding in Rounding if rounding is not Rounding.STOCHASTIC]
    for rounding, exact, negative in itertools.product(plain, range(64), (False, True)):
        signed = Fraction(-exact if negative else exact, 2**discard)
        want = abs(oracle.to_multiple(signed, Fraction(1), rounding))
        assert arith.round_significand(exact, discard, rounding, negative) == want


@pytest.mark.parametrize("discard", range(7))
@pytest.mark.parametrize("bits", [1, 2, 3, 5])
def test_round_significand_takes_a_word(discard, bits):
    for exact, word in itertools.product(range(64), range(2**bits)):
        want = oracle.to_multiple(Fraction(exact, 2**discard), Fraction(1), Rounding.STOCHASTIC, bits, word)
        got = arith.round_significand(exact, discard, Rounding.STOCHASTIC, random_bits=bits, word=word)
        assert got == want
    words = np.arange(2**bits)
    ups = arith.round_significand(41, discard, Rounding.STOCHASTIC, random_bits=bits, word=words)
    below = 41 % 2**discard
    assert (ups - (41 >> discard)).sum() == (below << bits) >> discard


@pytest.mark.parametrize("policy", ["rz", "rne", "sr1", "sr16"])
def test_the_longest_significands_reach_the_subnormals(policy):
    """Sums have up to 63 bits, and the grid of the subnormals may lie far above all of them."""
    quantizer = parse_product(f"e3m2s_{policy}")
    number = quantizer.format
    words = every_word(quantizer)
    for significand in (1, 3, 2**61, 2**62 - 1, 2**62, 2**62 + 1, 2**62 + 2**61, 2**63 - 1):
        for exponent, word in itertools.product(
            range(-140, 3), {words[0], words[len(words) // 2], words[-1]}
        ):
            value = significand * oracle.two_to(exponent)
            want = oracle.round_to_float(value, number, quantizer.rounding, quantizer.random_bits, word)
            exact = arith.Unpacked(False, significand, exponent)
            assert arith.quantize(exact, quantizer, word) == oracle.code_of(want.value, number)
            array = arith.Unpacked(False, np.array([significand]), exponent)
            assert arith.quantize(array, quantizer, word).tolist() == [oracle.code_of(want.value, number)]


def test_a_stochastic_rounding_without_its_word_is_an_error():
    config = MacConfig.parse("e3m4_e3m4_p_exact_a_e4m7_sr4_c16")
    with pytest.raises(TypeError):
        arith.fmaq(0, 77, 78, config)


def test_cut_reduces_what_no_accumulator_can_hold():
    saturating, wrapping = parse_accumulator("int62_rz_sat"), parse_accumulator("int62_rz_wrap")
    for exponent in (0, 1, 20, 61, 62, 63, 200):
        exact = arith.Unpacked(True, 2**40 + 1, exponent)
        value = -(2**40 + 1) * 2**exponent
        assert arith.cut(exact, saturating) == max(value, -(2**62))
        assert (arith.cut(exact, wrapping) - value) % 2**62 == 0


def test_floor_log2_survives_the_rounding_of_float64():
    numbers = [0, 1] + [2**i + d for i in range(1, 63) for d in (-1, 0, 1)] + [2**63 - 2, 2**63 - 1]
    want = [max(n.bit_length() - 1, 0) for n in numbers]
    assert [floor_log2(n) for n in numbers] == want
    assert floor_log2(np.array(numbers)).tolist() == want
    assert floor_log2(torch.tensor(numbers)).tolist() == want


@pytest.mark.parametrize(
    "name",
    [
        "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
        "e8m23_e8m23_p_exact_a_e8m23_rne_g2_c3",
        "e3m4s_e3m4s_p_e4m7sb12_sr3_a_e4m7sb10_sr16_g1_c4",
        "e4m3s_e3m4_p_exact_a_e4m7s_rz_c16_o_e5m10_sr7",
        "uint8_int16_p_exact_a_int62ln3_floor_wrap_c2_o_e8m23_rne",
        "e3m4_int4_p_exact_a_e4m7_rne_c4_o_int40ln20_rne_sat",
    ],
)
def test_ints_arrays_and_tensors_agree(name):
    config = MacConfig.parse(name)
    rng = np.random.default_rng(2)
    x, w, acc = (
        rng.integers(0, 2**number.code_bits, (5, 40))
        for number in (config.x, config.w, config.accumulator.format)
    )
    halves = RandomWords(seed=1, call=2)

    def words(n):
        return lambda stage, bits, k: halves.words(stage, bits, 0, n, k)

    columns = np.arange(40)
    arrays = arith.dot(x, w, config, words(columns))
    tensors = arith.dot(torch.from_numpy(x), torch.from_numpy(w), config, words(torch.from_numpy(columns)))
    ints = [arith.dot(x[:, i].tolist(), w[:, i].tolist(), config, words(i)) for i in range(40)]
    assert arrays.tolist() == tensors.tolist() == ints

    def events(acc, x, w, n):
        product_word = arith.word_of(words(n), Stage.PRODUCT, config.product, 0)
        acc_word = arith.word_of(words(n), Stage.INNER, config.accumulator, 0)
        return arith.fmaq_events(acc, x, w, config, product_word, acc_word)[1]

    step = acc[0], x[0], w[0], columns
    of_arrays = events(*step)
    of_tensors = events(*map(torch.from_numpy, step))
    of_ints = [events(*(int(a[i]) for a in step)) for i in range(40)]
    for event in arith.StepEvents._fields:
        flags = getattr(of_arrays, event).tolist()
        assert flags == getattr(of_tensors, event).tolist() == [getattr(step, event) for step in of_ints]


@pytest.mark.parametrize(
    "name",
    ["e3m4b3", "e2m2b0", "e4m0", "e3m4s", "e4m3fn", "e5m2ieee", "e4m0fn", "e1m2ieee", "int7ln3", "uint5"],
)
def test_pack_undoes_unpack(name):
    number = parse_format(name)
    codes = every_code(number)
    again = arith.pack(arith.unpack(codes, number), number)
    zero_of_sign_1 = 2 ** (number.code_bits - 1) if name.startswith("e") else None
    assert again.tolist() == [0 if code == zero_of_sign_1 else code for code in codes.tolist()]
    for code in codes.tolist():
        exact = arith.unpack(code, number)
        sign = -1 if exact.negative else 1
        assert sign * exact.significand * oracle.two_to(exact.exponent) == oracle.value_of(code, number)


def test_a_zero_of_either_sign_is_zero_at_every_input():
    config = MacConfig.parse("e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16")
    one = 3 << 4
    for x, w in itertools.product((0, 128, one), (0, 128)):
        assert arith.fmaq(2**11, x, w, config) == 0
        assert arith.fmaq(2**11 | 5, x, w, config) == 2**11 | 5
    assert arith.chunk_add(2**11, 2**11, config) == 0
