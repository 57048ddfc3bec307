"""The catalogue: what the names promise."""

import pytest

from golden.catalog import BASELINE, CATALOG, EXACT_LENGTH, default_split, find
from golden.config import ConfigError, FixedAccumulator, FloatAccumulator, MacConfig
from golden.datapath import exact_accumulator


@pytest.mark.parametrize("name", CATALOG)
def test_short_and_canonical_names_find_the_same(name):
    config = find(name)
    assert find(config.name) == config == MacConfig.parse(config.name)


@pytest.mark.parametrize("bits", range(6, 33))
def test_a_width_in_a_name_is_the_accumulator_s(bits):
    for family, kind in (("float", FloatAccumulator), ("fixed", FixedAccumulator), ("int", FixedAccumulator)):
        accumulator = find(f"{family}{bits}").accumulator
        assert isinstance(accumulator, kind)
        assert accumulator.format.code_bits == bits


def test_the_paper_s_configuration():
    assert find("float12").name == "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"


def test_exact_is_exact():
    config = find("exact")
    assert config.accumulator == exact_accumulator(config.x, config.w, EXACT_LENGTH)


def test_the_baseline_is_float32():
    assert find(BASELINE).accumulator.format.name == "e8m23"


def test_fixed_point_reaches_as_far_as_the_paper_s_float():
    assert (
        find("fixed12").accumulator.format.max_integer * 2.0 ** find("fixed12").accumulator.format.lsb
        == 63.96875
    )
    assert find("float12").accumulator.format.max_value == 63.75


@pytest.mark.parametrize(
    ("bits", "split"), [(5, (3, 1)), (7, (3, 3)), (8, (4, 3)), (12, (4, 7)), (16, (5, 10)), (32, (8, 23))]
)
def test_default_split(bits, split):
    assert default_split(bits) == split


@pytest.mark.parametrize("bits", [0, 4, 33])
def test_no_default_split(bits):
    with pytest.raises(ConfigError, match=f"of {bits} bits is not built; use 5 to 32"):
        default_split(bits)


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="'flaot12'; did you mean float12"):
        find("flaot12")
