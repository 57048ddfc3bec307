"""The output stage against its contract in docs/tile.md, on rationals, for every code of small formats."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.config import (
    ArrayConfig,
    ConfigError,
    FixedFormat,
    MacConfig,
    Rounding,
    parse_accumulator,
    parse_format,
)
from golden.output import OutputSettings, output, output_overflow
from golden.tile import OutputStage, TileConfig, lane_bits
from tests.oracle import ZERO, add, code_of, is_finite, round_to_float, to_multiple, two_to, value_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tile.md"


def tile(outer: str, target: str, rounding: Rounding, multiplier_bits: int | None = None) -> TileConfig:
    mac = MacConfig.parse(f"e2m1_e2m1_p_exact_a_int8_rz_sat_c1_o_{outer}")
    array = ArrayConfig(silicon=mac.silicon, rows=1, cols=2, stages=0, depth=2, events=False)
    stage = OutputStage(
        target=parse_format(target), rounding=rounding, channels=4, multiplier_bits=multiplier_bits
    )
    return TileConfig(array=array, output=stage)


def codes(number) -> list[int]:
    return [code for code in range(2**number.code_bits) if is_finite(code, number)]


def grid(*axes) -> list[np.ndarray]:
    """Every combination, as columns."""
    return [column.ravel() for column in np.meshgrid(*map(np.asarray, axes), indexing="ij")]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("target", ["int4", "uint4", "int8"])
@pytest.mark.parametrize("rounding", [Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.FLOOR])
def test_to_integers(target, rounding, relu):
    config = tile("int5_rz_sat", target, rounding, multiplier_bits=3)
    outer, number = config.outer.format, config.output.target
    every = codes(outer)
    code, bias, multiplier, shift = grid(every, [0, 1, 15, 16, 31], range(8), [0, 1, 2, 3, 6, 63])
    for offset in (0, -3, 7):
        settings = OutputSettings(relu=relu, offset=offset, bias=bias, multiplier=multiplier, shift=shift)
        got = output(code, settings, config)
        overflow = output_overflow(code, settings, config)
        for i in range(len(code)):
            total = value_of(int(code[i]), outer) + value_of(int(bias[i]), outer)
            total /= two_to(outer.lsb)
            if relu:
                total = max(total, ZERO)
            exact = total * int(multiplier[i]) / two_to(int(shift[i]))
            integer = to_multiple(exact, two_to(0), rounding) + offset
            kept = max(number.min_integer, min(number.max_integer, integer))
            case = (code[i], bias[i], multiplier[i], shift[i], offset)
            assert got[i] == kept % 2**number.bits, case
            assert overflow[i] == (kept != integer), case


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("outer", "target"),
    [
        ("e3m2_rz", "e2m1"),
        ("e3m2_rne", "e3m3"),
        ("e3m2s_rne", "e2m2s"),
        ("e3m2_sr3", "e2m2"),
        ("e2m3_rne_g1", "e3m1"),
        ("int5_rz_sat", "e2m1"),
        ("int5_floor_wrap", "e3m2"),
    ],
)
@pytest.mark.parametrize("rounding", [Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN])
def test_to_floats(outer, target, rounding, relu):
    config = tile(outer, target, rounding)
    number, target_format = config.outer.format, config.output.target
    every, bounds = codes(number), config.output_offset_range
    biases = every[:: max(1, len(every) // 9)]
    code, bias, offset = grid(every, biases, [bounds.low, -1, 0, 2, bounds.high])
    for chosen in np.unique(offset):
        here = offset == chosen
        settings = OutputSettings(relu=relu, offset=int(chosen), bias=bias[here], multiplier=None, shift=None)
        got = output(code[here], settings, config)
        overflow = output_overflow(code[here], settings, config)
        # Exponent code e counts as e - offset in the target's bias.
        scale = two_to(number.bias - int(chosen) - target_format.bias)
        for i, (c, b) in enumerate(zip(code[here].tolist(), bias[here].tolist(), strict=True)):
            total = value_of(c, number) + value_of(b, number)
            if not isinstance(number, FixedFormat):
                total = add(value_of(c, number), value_of(b, number), config.bias_accumulator).value
            if relu:
                total = max(total, ZERO)
            expected = round_to_float(total * scale, target_format, rounding)
            assert got[i] == code_of(expected.value, target_format), (c, b, chosen)
            assert overflow[i] == expected.overflow, (c, b, chosen)


def test_a_stochastic_outer_accumulator_adds_the_bias_to_nearest():
    assert tile("e3m2_sr3", "e2m2", Rounding.NEAREST_EVEN).bias_accumulator.name == "e3m2_rne"
    assert tile("e3m2_rz_g1", "e2m2", Rounding.NEAREST_EVEN).bias_accumulator.name == "e3m2_rz_g1"
    assert tile("int5_rz_sat", "e2m2", Rounding.NEAREST_EVEN).bias_accumulator is None


def test_offsets_beyond_their_range_change_nothing():
    config = tile("e3m2_rz", "e2m2s", Rounding.NEAREST_EVEN)
    code, bounds = np.array(codes(config.outer.format)), config.output_offset_range

    def at(offset: int) -> list[int]:
        settings = OutputSettings(relu=False, offset=offset, bias=0 * code, multiplier=None, shift=None)
        return output(code, settings, config).tolist()

    assert at(bounds.low) == at(bounds.low - 1) == at(bounds.low - 5)
    assert at(bounds.high) == at(bounds.high + 1) == at(bounds.high + 5)
    assert at(bounds.low) != at(bounds.low + 1)


@pytest.mark.parametrize(("outer", "target", "bits"), [("int9_rz_sat", "int8", 4), ("e4m7_rz", "e3m4", None)])
def test_ints_arrays_and_tensors_agree(outer, target, bits):
    config = tile(outer, target, Rounding.NEAREST_EVEN, bits)
    code = np.random.default_rng(1).integers(0, 2**config.outer.format.code_bits, 200)
    bias, multiplier, shift = code[::-1].copy(), code % 16, code % 5
    answers = []
    for kind in (lambda a: a, torch.from_numpy):
        settings = OutputSettings(
            relu=True, offset=1, bias=kind(bias), multiplier=kind(multiplier), shift=kind(shift)
        )
        answers.append(output(kind(code), settings, config).tolist())
        answers.append(output_overflow(kind(code), settings, config).tolist())
    each = [
        OutputSettings(relu=True, offset=1, bias=b, multiplier=m, shift=s)
        for b, m, s in zip(bias.tolist(), multiplier.tolist(), shift.tolist(), strict=True)
    ]
    pairs = list(zip(code.tolist(), each, strict=True))
    assert answers[0] == answers[2] == [output(c, settings, config) for c, settings in pairs]
    assert answers[1] == answers[3] == [output_overflow(c, settings, config) for c, settings in pairs]
    assert any(answers[1]) and not all(answers[1])


def test_the_widest_integers_are_exact():
    """Sums, multipliers and shifts as wide as they come, against Python's integers."""
    config = tile("int44_rz_wrap", "int16", Rounding.NEAREST_EVEN, multiplier_bits=16)
    sums = [2**43 - 1, 2**43, 2**44 - 1, 1, 12345678901]
    for code, bias, multiplier, shift in product(sums, sums, [1, 2**16 - 1], [0, 1, 40, 59, 60, 61, 62, 63]):
        arrays = [np.array([number]) for number in (code, bias, multiplier, shift)]
        settings = OutputSettings(relu=False, offset=5, bias=arrays[1], multiplier=arrays[2], shift=arrays[3])
        total = sum(number - 2**44 if number >= 2**43 else number for number in (code, bias))
        exact = to_multiple(total * multiplier / two_to(shift), two_to(0), Rounding.NEAREST_EVEN)
        expected = max(-(2**15), min(2**15 - 1, int(exact) + 5)) % 2**16
        assert output(arrays[0], settings, config).tolist() == [expected]


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the table in docs/tile.md whose columns are these."""
    lines = PAGE.read_text().splitlines()
    start = lines.index(heading)
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append(dict(zip((name.strip() for name in heading.strip("|").split("|")), cells, strict=True)))
    assert rows
    return rows


@pytest.mark.parametrize(
    "row",
    table("| outer | target | round | acc | bias | relu | multiplier | shift | offset | y |"),
    ids=lambda row: f"{row['acc']}-{row['round']}-{row['y']}",
)
def test_worked_integers(row):
    config = tile(f"{row['outer']}_rz_sat", row["target"], Rounding(row["round"]), multiplier_bits=8)
    settings = OutputSettings(
        relu=row["relu"] == "1",
        offset=int(row["offset"]),
        bias=int(row["bias"]) % 2**16,
        multiplier=int(row["multiplier"]),
        shift=int(row["shift"]),
    )
    assert output(int(row["acc"]) % 2**16, settings, config) == int(row["y"]) % 2**8


@pytest.mark.parametrize(
    "row",
    table("| outer | target | round | acc | bias | relu | s | y |"),
    ids=lambda row: f"{row['acc']}-{row['target']}-{row['y']}",
)
def test_worked_floats(row):
    """With the biases of the table, which the silicon does not know."""
    outer, target = parse_accumulator(row["outer"]).format, parse_format(row["target"])
    config = tile(row["outer"], row["target"], Rounding(row["round"]))
    settings = OutputSettings(
        relu=row["relu"] == "1",
        offset=outer.bias - target.bias + int(row["s"]),
        bias=code_of(Fraction(row["bias"]), outer),
        multiplier=None,
        shift=None,
    )
    assert output(code_of(Fraction(row["acc"]), outer), settings, config) == code_of(
        Fraction(row["y"]), target
    )


def test_names():
    plain = TileConfig(array=tile("int5_rz_sat", "int4", Rounding.FLOOR, 3).array, output=None)
    assert plain.name == f"{plain.array.name}_tile"
    assert plain.result == plain.outer.format
    config = tile("int5_rz_sat", "int8l3", Rounding.FLOOR, 3)
    assert config.name == f"{plain.array.name}_tile_q_int8_floor_m3_n4"
    assert tile("e3m2_rz", "e3m4b9", Rounding.NEAREST_EVEN).output.name == "q_e3m4_rne_n4"


@pytest.mark.parametrize(
    ("name", "bits"), [("int8", 8), ("e4m3", 8), ("e4m4", 16), ("int17", 32), ("int37", 64), ("uint1", 8)]
)
def test_lanes(name, bits):
    assert lane_bits(parse_format(name)) == bits


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"target": "e3m4", "multiplier_bits": 8, "rounding": Rounding.NEAREST_EVEN},
            "by an exponent offset",
        ),
        ({"multiplier_bits": None}, "multiplier_bits must be an integer from 1 to 32"),
        ({"multiplier_bits": 33}, "multiplier_bits must be an integer from 1 to 32"),
        ({"channels": 0}, "channels must be an integer from 1 to"),
        ({"rounding": Rounding.STOCHASTIC}, "rz, rne or floor, not sr"),
        ({"target": "e3m4", "multiplier_bits": None, "rounding": Rounding.FLOOR}, "rz or rne, not floor"),
    ],
)
def test_what_is_not_built_is_refused(change, sentence):
    fields = {"target": "int8", "rounding": Rounding.FLOOR, "channels": 1, "multiplier_bits": 8} | change
    with pytest.raises(ConfigError, match=sentence):
        OutputStage(**fields | {"target": parse_format(fields["target"])})


def test_outer_accumulators_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="does not round e3m2_rz to int4"):
        tile("e3m2_rz", "int4", Rounding.FLOOR, 3)
    with pytest.raises(ConfigError, match="takes 62 bits, and 61 are built"):
        tile("int45_rz_sat", "int8", Rounding.FLOOR, 16)
