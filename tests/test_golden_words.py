"""Random words: the vectors of docs/arithmetic.md, independence of schedule and type, and statistics."""

from itertools import product

import numpy as np
import pytest
import torch

from golden import arith
from golden.config import FloatQuantizer, Rounding, parse_format
from golden.random_words import RandomWords, Stage, key, mix
from tests import oracle
from tests.test_golden_contract import PAGE

HEADER = ["function", "of", "is"]
SEEDS = [(0, 0), (1, 0), (0, 1), (0xFEDCBA9876543210, 77)]


def vector_rows() -> list[tuple[str, list[int], int]]:
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    found = []
    for row in rows[rows.index(HEADER) + 2 :]:
        if len(row) != len(HEADER):
            break
        name, arguments, result = row
        found.append((name, [int(text, 0) for text in arguments.split(",")], int(result, 0)))
    return found


def of_golden(name: str, arguments: list[int]) -> int:
    match name, arguments:
        case "mix", [a]:
            return mix(a)
        case "key", [seed, call, stage, side]:
            return key(seed, call, Stage(stage), side)
        case "A", [seed, call, stage, m, k]:
            return RandomWords(seed, call).row_halves(Stage(stage), m, k)
        case "B", [seed, call, stage, n, k]:
            return RandomWords(seed, call).column_halves(Stage(stage), n, k)
        case "word", [seed, call, stage, bits, m, n, k]:
            return RandomWords(seed, call).words(Stage(stage), bits, m, n, k)
    raise ValueError(f"cannot read {name} of {arguments}")


@pytest.mark.parametrize(("name", "arguments", "result"), vector_rows(), ids=str)
def test_the_vectors_of_the_page(name, arguments, result):
    assert of_golden(name, arguments) == result
    if name == "mix":
        assert oracle.mix(*arguments) == result
    if name == "word":
        assert oracle.random_word(*arguments) == result


def test_the_table_of_vectors_was_found():
    assert {name for name, _, _ in vector_rows()} == {"mix", "key", "A", "B", "word"}


@pytest.mark.parametrize(("seed", "call"), SEEDS)
def test_words_of_ints_arrays_tensors_and_the_oracle_agree(seed, call):
    words = RandomWords(seed, call)
    rng = np.random.default_rng(0)
    m, n, k = (rng.integers(0, 2**bits, 200) for bits in (32, 32, 20))
    m[:3], n[:3], k[:3] = 2**31 - 1, 0, (0, 1, 2**31)
    before = m.copy(), n.copy(), k.copy()
    for stage, bits in product(Stage, (1, 7, 16)):
        arrays = words.words(stage, bits, m, n, k).tolist()
        assert arrays == words.words(stage, bits, *map(torch.from_numpy, (m, n, k))).tolist()
        places = list(zip(m.tolist(), n.tolist(), k.tolist(), strict=True))
        assert arrays == [words.words(stage, bits, *place) for place in places]
        assert arrays == [oracle.random_word(seed, call, stage, bits, *place) for place in places]
    assert all((a == b).all() for a, b in zip(before, (m, n, k), strict=True)), "inputs are left alone"


@pytest.mark.parametrize(("seed", "call"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**32), (0.5, 0)])
def test_a_seed_or_call_out_of_range_is_refused(seed, call):
    with pytest.raises(ValueError, match=r"^(seed|call) must be an integer from 0 to \d+, not"):
        RandomWords(seed, call)


def test_mix_loses_nothing():
    """Each line of it is invertible, so different numbers have different hashes."""
    numbers = np.random.default_rng(0).integers(0, 2**32, 1 << 20)
    assert len(np.unique(mix(numbers))) == len(np.unique(numbers))


# Statistics. Every limit is in standard errors of independent uniform words, of which pairs are what the
# sums below are made of; the seeds are fixed, so a limit either holds or does not.

ROWS, COLUMNS, LENGTH = 48, 40, 4096
LAGS = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 64, 100, 128, 256, 1000, 1024]
LIMIT = 4.5


def grid(words: RandomWords, stage: Stage, bits: int) -> np.ndarray:
    """Words of ROWS x COLUMNS outputs at LENGTH positions."""
    return words.words(
        stage, bits, *np.meshgrid(*map(np.arange, (ROWS, COLUMNS, LENGTH)), indexing="ij", sparse=True)
    )


def standardized(words: np.ndarray, bits: int) -> np.ndarray:
    """Mean 0 and variance 1, if the words are uniform."""
    return (words - (2**bits - 1) / 2) / np.sqrt((4.0**bits - 1) / 12)


@pytest.mark.parametrize(("seed", "call"), SEEDS)
def test_every_bit_of_a_word_is_balanced(seed, call):
    words = grid(RandomWords(seed, call), Stage.INNER, 16)
    for bit in range(16):
        ones = ((words >> bit) & 1).mean(dtype=np.float64)
        assert abs(ones - 0.5) < LIMIT * 0.5 / np.sqrt(words.size), f"bit {bit}"


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize(("seed", "call"), SEEDS)
def test_words_are_uniform(seed, call, bits):
    words = grid(RandomWords(seed, call), Stage.PRODUCT, bits)
    assert words.min() == 0 and words.max() == 2**bits - 1
    expected = words.size / 2**bits
    deviations = (np.bincount(words.ravel(), minlength=2**bits) - expected) / np.sqrt(
        expected * (1 - 2.0**-bits)
    )
    assert abs(deviations).max() < LIMIT + 0.5  # of up to 256
    assert abs(standardized(words, bits).mean()) < LIMIT / np.sqrt(words.size)


@pytest.mark.parametrize("bits", [1, 4, 16])
@pytest.mark.parametrize(("seed", "call"), SEEDS)
def test_words_do_not_correlate_along_k(seed, call, bits):
    z = standardized(grid(RandomWords(seed, call), Stage.INNER, bits), bits)
    for lag in LAGS:
        pairs = z[..., lag:] * z[..., :-lag]
        assert abs(pairs.mean()) < LIMIT / np.sqrt(pairs.size), f"lag {lag}"


def test_without_the_counter_s_step_they_would():
    """The reason for 0x9e3779b9, and that the tests here have the power to see such a thing."""
    k = np.arange(LENGTH)
    halves = mix(mix(key(0, 0, Stage.INNER, 0) ^ np.arange(256)[:, None]) + k)
    top = (halves >> 31) * 2.0 - 1
    assert abs((top[:, 4:] * top[:, :-4]).mean()) > 0.3


@pytest.mark.parametrize("side", ["row", "column"])
def test_halves_do_not_correlate_along_k_or_along_their_line(side):
    """All lags at once, on what words are made of: stricter than the same of words."""
    lines, length, used = 512, 1024, 1000
    for bit, (seed, call) in product((31, 30, 28, 16), SEEDS):
        halves = getattr(RandomWords(seed, call), f"{side}_halves")
        line, k = np.arange(lines)[:, None], np.arange(length)[None, :]
        for name, made in (("k", halves(Stage.INNER, line, k)), ("line", halves(Stage.INNER, k, line))):
            signs = ((made >> bit) & 1) * 2.0 - 1
            spectrum = np.abs(np.fft.rfft(signs, 2 * length, axis=1)) ** 2
            sums = np.fft.irfft(spectrum.sum(axis=0))[1:used]  # over all pairs of a lag
            scores = sums / np.sqrt(lines * (length - np.arange(1, used)))
            assert abs(scores).max() < LIMIT + 0.5, f"bit {bit}, lag {abs(scores).argmax() + 1} along {name}"
            assert abs((scores**2).mean() - 1) < 0.25


@pytest.mark.parametrize("bits", [1, 4, 16])
@pytest.mark.parametrize(("seed", "call"), SEEDS)
def test_words_do_not_correlate_between_outputs(seed, call, bits):
    """Two rows are compared by one column and over k: over columns such pairs all say the same."""
    z = standardized(grid(RandomWords(seed, call), Stage.INNER, bits), bits)
    for lag in (1, 2, 3, 4, 8, 16, 32):
        for name, a, b in (
            ("m", z[lag:, 0], z[:-lag, 0]),
            ("n", z[0, lag:], z[0, :-lag]),
            ("m and n", z[lag:, lag:][:8, :8], z[:-lag, :-lag][:8, :8]),
            ("m and k", z[lag:, 0, 1:], z[:-lag, 0, :-1]),
        ):
            pairs = a * b
            assert abs(pairs.mean()) < LIMIT / np.sqrt(pairs.size), f"lag {lag} along {name}"


def test_stages_calls_and_seeds_do_not_correlate():
    made = [
        standardized(grid(RandomWords(seed, call), stage, 8)[:8, :8], 8)
        for stage, (seed, call) in product(Stage, [*SEEDS, (2, 0), (0, 2)])
    ]
    for i in range(len(made)):
        for j in range(i):
            assert abs((made[i] * made[j]).mean()) < LIMIT / np.sqrt(made[0].size)


@pytest.mark.parametrize("name", ["e4m7b10", "e4m7sb10", "e4m3fn", "e5m2ieee"])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_stochastic_rounding_is_unbiased(name, bits):
    """Values with r bits below the last kept one have errors of mean 0, whatever those bits are."""
    quantizer = FloatQuantizer(format=parse_format(name), rounding=Rounding.STOCHASTIC, random_bits=bits)
    words = RandomWords(3, 0).words(
        Stage.PRODUCT, bits, np.arange(64)[:, None], np.arange(1024), np.arange(64)[:, None]
    )
    man_bits = quantizer.format.man_bits
    unit = -quantizer.format.bias + 3 - man_bits
    for kept in (2**man_bits, 2 ** (man_bits + 1) - 1):
        for below in {1, 2**bits // 3, 2 ** (bits - 1), 2**bits - 1} - {0}:
            significand = np.full_like(words, (kept << bits) + below)
            exact = arith.Unpacked(False, significand, unit - bits)
            rounded = arith.unpack(arith.quantize(exact, quantizer, words), quantizer.format)
            ups = (rounded.significand << (rounded.exponent - unit)) - kept
            assert set(np.unique(ups).tolist()) <= {0, 1}
            chance = below / 2**bits
            error = np.sqrt(chance * (1 - chance) / words.size)
            assert abs(ups.mean() - chance) < LIMIT * error


@pytest.mark.parametrize("name", ["e4m7sb10", "e5m2ieee"])
def test_subnormal_results_are_unbiased(name):
    number = parse_format(name)
    quantizer = FloatQuantizer(format=number, rounding=Rounding.STOCHASTIC, random_bits=8)
    words = RandomWords(4, 1).words(Stage.INNER, 8, np.arange(256)[:, None], np.arange(256), 9)
    for significand in (1, 100, 256 + 77, 3 * 256 + 255):  # in 256ths of the smallest magnitude
        exact = arith.Unpacked(False, np.full_like(words, significand), number.lsb_exponent - 8)
        codes = arith.quantize(exact, quantizer, words)  # subnormal codes count the smallest magnitude
        chance = significand / 256 % 1
        error = np.sqrt(chance * (1 - chance) / words.size)
        assert abs(codes.mean() - significand / 256) < LIMIT * error
