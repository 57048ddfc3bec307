"""Configurations: names that parse back, silicon without biases, and errors that say what would work."""

import re
from dataclasses import FrozenInstanceError, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.config import (
    MAX_EXP_BITS,
    MAX_FIXED_BITS,
    MAX_MAN_BITS,
    MAX_RANDOM_BITS,
    ArrayConfig,
    ConfigError,
    Encoding,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    MacConfig,
    Overflow,
    Rounding,
    Silicon,
    parse_accumulator,
    parse_format,
    parse_product,
)

same_examples = settings(derandomize=True, deadline=None)  # machines differ in speed, runs need not

PAPER = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"

biases = st.integers(-60, 60)  # moved to where the standard ones are, these stay within the limits


def float_formats():
    return st.builds(
        FloatFormat,
        exp_bits=st.integers(2, MAX_EXP_BITS),
        man_bits=st.integers(0, MAX_MAN_BITS),
        bias=biases,
        encoding=st.sampled_from(Encoding),
    )


def fixed_formats(most_bits: int, signed):
    return st.builds(FixedFormat, bits=st.integers(2, most_bits), lsb=biases, signed=signed)


def policies():
    """A rounding of a float format, with its random bits."""
    plain = st.sampled_from([Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN])
    stochastic = {"rounding": st.just(Rounding.STOCHASTIC), "random_bits": st.integers(1, MAX_RANDOM_BITS)}
    return st.fixed_dictionaries({"rounding": plain, "random_bits": st.none()}) | st.fixed_dictionaries(
        stochastic
    )


fixed_accumulators = st.builds(
    FixedAccumulator,
    format=fixed_formats(MAX_FIXED_BITS, st.just(True)),
    rounding=st.sampled_from([Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN, Rounding.FLOOR]),
    overflow=st.sampled_from(Overflow),
)


@st.composite
def configs(draw) -> MacConfig:
    floats = float_formats()

    def quantizer() -> FloatQuantizer:
        return FloatQuantizer(format=draw(floats), **draw(policies()))

    def accumulator() -> FloatAccumulator | FixedAccumulator:
        if draw(st.booleans()):
            return draw(fixed_accumulators)
        guard = draw(st.none() | st.integers(0, MAX_MAN_BITS))
        return FloatAccumulator(format=draw(floats), **draw(policies()), alignment_bits=guard)

    operands = floats | fixed_formats(16, st.booleans())
    inner = accumulator()
    rounds_products = isinstance(inner, FloatAccumulator) and draw(st.booleans())
    return MacConfig(
        x=draw(operands),
        w=draw(operands),
        product=quantizer() if rounds_products else None,
        accumulator=inner,
        chunk_size=draw(st.integers(1, 1 << 20)),
        outer=accumulator() if draw(st.booleans()) else None,
    )


@same_examples
@given(configs())
def test_a_name_parses_back_and_is_a_verilog_identifier(config):
    assert MacConfig.parse(config.name) == config
    assert re.fullmatch(r"[a-z][a-z0-9_]*", config.name)
    for part in (config.x, config.w):
        assert parse_format(part.name) == part


OPERAND_NAMES = ["e2m1", "e2m1b3", "int3", "uint3", "int3l2"]
ACCUMULATOR_NAMES = ["e3m2_rz", "e3m2b5_rz", "e3m2_rz_g0", "int6_rz_sat", "int6ln2_rz_sat", "int6_rz_wrap"]


def test_two_are_equal_exactly_when_their_names_are():
    outers = ["", *(f"_o_{name}" for name in ACCUMULATOR_NAMES)]
    made = [
        MacConfig.parse(f"{x}_{w}_p_exact_a_{accumulator}_c4{outer}")
        for x, w, accumulator, outer in product(OPERAND_NAMES, OPERAND_NAMES, ACCUMULATOR_NAMES, outers)
    ]
    assert len(set(made)) == len({config.name for config in made}) < len(made)
    silicon = {(config.silicon, config.silicon.name) for config in made}
    assert len(silicon) == len({one for one, _ in silicon}) == len({name for _, name in silicon}) < len(made)


@same_examples
@given(configs())
def test_silicon_holds_no_bias_unless_it_is_wired_in(config):
    silicon = config.silicon
    assert Silicon(config=silicon.config, hardwired=silicon.hardwired) == silicon
    assert config.hardwired.config.hardwired == config.hardwired
    assert config.hardwired.config.offsets == config.offsets
    assert re.fullmatch(r"[a-z][a-z0-9_]*", silicon.name)
    if not silicon.hardwired and isinstance(config.accumulator, FloatAccumulator):
        assert not re.search(r"m\d+b|int\d+l", silicon.name)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        (PAPER, "e3m4b9_e3m4bn2_p_e4m7b1_rz_a_e4m7_rz_c16"),
        ("e3m4_e3m4_p_exact_a_int16ln8_rz_sat_c16", "e3m4b5_e3m4_p_exact_a_int16ln5_rz_sat_c16"),
        ("e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c16", "e3m4b4_e3m4_p_exact_a_int37ln15_rz_wrap_c16"),
    ],
)
def test_biases_share_one_silicon(name, same):
    assert MacConfig.parse(name).silicon == MacConfig.parse(same).silicon
    assert MacConfig.parse(name) != MacConfig.parse(same)


@pytest.mark.parametrize(
    ("name", "hardwired"),
    [
        (PAPER, False),
        ("e3m4_e3m4_p_exact_a_int16ln8_rz_sat_c16", False),
        ("e3m4_e3m4_p_exact_a_int37ln14_rz_wrap_c16", True),
        ("int8_int8_p_exact_a_int12_floor_sat_c16", True),
        ("int8_int8_p_exact_a_e4m7_rz_c16", False),
    ],
)
def test_what_never_moves_is_wired_in(name, hardwired):
    assert MacConfig.parse(name).silicon.hardwired is hardwired


def test_an_outer_accumulator_like_the_inner_one_has_no_name():
    config = MacConfig.parse(PAPER)
    assert replace(config, outer=config.accumulator) == config
    assert MacConfig.parse(f"{PAPER}_o_e4m7b10_rz") == config
    assert config.outer is None and config.outer_accumulator is config.accumulator


def test_a_configuration_is_frozen():
    with pytest.raises(FrozenInstanceError):
        MacConfig.parse(PAPER).chunk_size = 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "'' is not a configuration; write X_W_p_PRODUCT_a_ACCUMULATOR_cCHUNK"),
        ("e3m4_e3m4_p_exact_a_e4m7_rz", "is not a configuration; write"),
        (PAPER.replace("c16", "c0"), "chunk_size must be an integer from 1 to 1048576, not 0"),
        (
            PAPER.replace("e4m7b10_rz", "e4m7b10_rzz"),
            "'rzz' is not a rounding; choose from rz, rne, floor, or sr",
        ),
        (
            PAPER.replace("e4m7b10_rz", "e4m7b10_floor"),
            "a float accumulator rounds rz, rne or sr, not 'floor'",
        ),
        (
            PAPER.replace("e4m7b12_rz", "e4m7b12_floor"),
            "the product quantizer rounds rz, rne or sr, not 'floor'",
        ),
        (PAPER.replace("e4m7b10_rz", "e4m7b10_sr"), "'sr' is not a rounding; choose from"),
        (PAPER.replace("e4m7b10_rz", "e4m7b10_rz4"), "'rz4' is not a rounding; choose from"),
        (
            PAPER.replace("e4m7b10_rz", "e4m7b10_sr0"),
            "random_bits must be an integer from 1 to 16, not 0",
        ),
        (
            PAPER.replace("e4m7b12_rz", "e4m7b12_sr17"),
            "random_bits must be an integer from 1 to 16, not 17",
        ),
        (
            "int8_int8_p_exact_a_int12_sr4_sat_c16",
            "a fixed-point accumulator cuts rz, rne or floor; only float formats round sr",
        ),
        (
            PAPER.replace("e4m7b12_rz", "int8_rz"),
            "a product is quantized to a float format, not to int8; or use exact",
        ),
        (PAPER.replace("e4m7b10_rz", "int12_rz_sat"), "takes the exact product; use product=None"),
        (PAPER.replace("e4m7b10_rz", "e4m7b10_rz_2"), "write e4m7b10_rz or e4m7b10_rne_g2"),
        (PAPER.replace("e4m7b10_rz", "e4m7b10_rz_"), "write e4m7b10_rz or e4m7b10_rne_g2"),
        (PAPER.replace("e4m7b10_rz", "e4m7b10"), "write e4m7b10_rz or e4m7b10_rne_g2"),
        (
            PAPER.replace("e4m7b10_rz", "e4m7b10_rz_g24"),
            "alignment_bits must be an integer from 0 to 23, not 24",
        ),
        (PAPER.replace("e3m4_e3m4", "e9m4_e3m4"), "exp_bits must be an integer from 1 to 8, not 9"),
        (PAPER.replace("e3m4_e3m4", "e0m4_e3m4"), "exp_bits must be an integer from 1 to 8, not 0"),
        (PAPER.replace("e3m4_e3m4", "e3m24_e3m4"), "e3m24: a mantissa has 0 to 23 bits, not 24"),
        (
            PAPER.replace("e3m4_e3m4", "e1m0_e3m4"),
            "e1m0 holds fewer than two magnitudes beside zero; use more",
        ),
        (PAPER.replace("e3m4_e3m4", "e1m1ieee_e3m4"), "e1m1ieee holds fewer than two magnitudes"),
        (PAPER.replace("e3m4_e3m4", "e4m3fnuz_e3m4"), "'e4m3fnuz' is not a number format; write e4m7"),
        (PAPER.replace("e3m4_e3m4", "e3m4b513_e3m4"), "bias must be an integer from -512 to 512, not 513"),
        (PAPER.replace("e3m4_e3m4", "fp8_e3m4"), "'fp8' is not a number format; write e4m7"),
        (
            PAPER.replace("e3m4_e3m4", "int17_e3m4"),
            "bits of operand x must be an integer from 1 to 16, not 17",
        ),
        (PAPER.replace("e3m4_e3m4", "e3m4_int1"), "bits must be an integer from 2 to 62, not 1"),
        ("int8_int8_p_exact_a_int12_floor_c16", "write int12_floor_wrap or int20ln8_rz_sat"),
        ("int8_int8_p_exact_a_int12_floor_clip_c16", "write int12_floor_wrap or int20ln8_rz_sat"),
        ("int8_int8_p_exact_a_int12_up_sat_c16", "'up' is not a rounding; choose from rz, rne, floor"),
        ("int8_int8_p_exact_a_int63_rz_sat_c16", "bits must be an integer from 2 to 62, not 63"),
        ("int8_int8_p_exact_a_uint12_rz_sat_c16", "an accumulator is signed, and uint12 is not; use int12"),
    ],
)
def test_a_wrong_name_says_what_would_work(name, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        MacConfig.parse(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FloatFormat(exp_bits=4.0, man_bits=7, bias=7, encoding=Encoding.NORMALS),
            "exp_bits must be an integer from 1 to 8, not 4.0",
        ),
        (
            lambda: FloatFormat(exp_bits=True, man_bits=7, bias=7, encoding=Encoding.NORMALS),
            "exp_bits must be an integer from 1 to 8, not True",
        ),
        (
            lambda: FloatFormat(exp_bits=4, man_bits=7, bias=7, encoding="fn"),
            "encoding must be an Encoding, not 'fn'",
        ),
        (
            lambda: FixedAccumulator(format=parse_format("int8"), rounding="rz", overflow=Overflow.WRAP),
            "rounding must be a Rounding, not 'rz'",
        ),
        (
            lambda: FixedAccumulator(format=parse_format("int8"), rounding=Rounding.FLOOR, overflow="wrap"),
            "overflow must be an Overflow, not 'wrap'",
        ),
        (
            lambda: FloatAccumulator(
                format=parse_format("e4m7"), rounding="up", random_bits=None, alignment_bits=None
            ),
            "a float accumulator rounds rz, rne or sr, not 'up'",
        ),
        (
            lambda: FloatQuantizer(
                format=parse_format("e4m7"), rounding=Rounding.STOCHASTIC, random_bits=None
            ),
            "random_bits must be an integer from 1 to 16, not None",
        ),
        (
            lambda: FloatQuantizer(
                format=parse_format("e4m7"), rounding=Rounding.NEAREST_EVEN, random_bits=4
            ),
            "the product quantizer rounds rne, which takes no random_bits; use None",
        ),
        (
            lambda: FixedAccumulator(
                format=parse_format("int8"), rounding=Rounding.STOCHASTIC, overflow=Overflow.WRAP
            ),
            "a fixed-point accumulator cuts rz, rne or floor",
        ),
    ],
)
def test_a_wrong_field_is_named(make, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "rows must be an integer from 1 to 256, not 0"),
        ({"cols": 257}, "cols must be an integer from 1 to 256, not 257"),
        ({"stages": 3}, "stages must be an integer from 0 to 2, not 3"),
        ({"depth": 0}, "depth must be an integer from 1 to 65536, not 0"),
        ({"rows": 3}, "chunk_size 16 is not a multiple of rows 3"),
    ],
)
def test_a_wrong_array_is_refused(changes, message):
    shape = {"rows": 8, "cols": 4, "stages": 1, "depth": 32, "events": False} | changes
    with pytest.raises(ConfigError, match=message):
        ArrayConfig(silicon=MacConfig.parse(PAPER).silicon, **shape)


def test_an_array_knows_its_passes_and_its_name():
    silicon = MacConfig.parse(PAPER).silicon
    array = ArrayConfig(silicon=silicon, rows=4, cols=8, stages=2, depth=64, events=False)
    assert array.passes == 4
    assert array.name == "e3m4_e3m4_p_e4m7_rz_a_e4m7_rz_c16_r4x8_s2_d64"
    assert replace(array, events=True).name == f"{array.name}_ev"


@pytest.mark.parametrize(
    "name",
    [
        "e4m7b10_rz",
        "e4m7bn3_rne_g0",
        "e4m7sb10_sr4",
        "e5m2ieee_sr16_g2",
        "int12_floor_wrap",
        "int20ln8_rne_sat",
    ],
)
def test_accumulators_parse_alone(name):
    assert parse_accumulator(name).name == name


def test_product_quantizers_parse_alone():
    assert parse_product("e4m7b12_rne").name == "e4m7b12_rne"
    assert parse_product("e4m3fnb12_sr7").name == "e4m3fnb12_sr7"


def test_derived_numbers_of_formats():
    number = parse_format("e4m7b10")
    assert (number.code_bits, number.significand_bits) == (12, 8)
    assert (number.min_exponent, number.max_exponent, number.lsb_exponent) == (-10, 5, -17)
    assert (parse_format("e3m0b1").min_exponent, parse_format("e3m0b1").lsb_exponent) == (0, 0)
    assert (parse_format("int8").min_integer, parse_format("int8").max_integer) == (-128, 127)
    assert (parse_format("uint8").min_integer, parse_format("uint8").max_integer) == (0, 255)


@pytest.mark.parametrize(
    ("name", "exponents", "largest", "flush"),
    [
        # least, greatest, last bit
        ("e4m7sb10", (-16, 5, -16), 63.75, 0.0),
        ("e4m3fn", (-9, 8, -9), 448.0, 0.0),
        ("e4m3s", (-9, 8, -9), 480.0, 0.0),
        ("e4m3", (-7, 8, -10), 480.0, 2.0**-7),
        ("e5m2ieee", (-16, 15, -16), 57344.0, 0.0),
        ("e5m10ieee", (-24, 15, -24), 65504.0, 0.0),
        ("e8m7ieee", (-133, 127, -133), float(2**128 - 2**120), 0.0),
        ("e8m23ieee", (-149, 127, -149), float(2**128 - 2**104), 0.0),
        ("e3m0fn", (-2, 3, -2), 8.0, 0.0),
        ("e3m0ieee", (-2, 3, -2), 8.0, 0.0),
        ("e1m2ieee", (-1, 0, -1), 1.5, 0.0),
        ("e1m1fn", (0, 1, 0), 2.0, 0.0),
    ],
)
def test_derived_numbers_of_encodings(name, exponents, largest, flush):
    number = parse_format(name)
    assert (number.min_exponent, number.max_exponent, number.lsb_exponent) == exponents
    assert (number.max_value, number.flush_value) == (largest, flush)
    assert number.max_magnitude * 2.0**number.lsb_exponent == largest
    assert number.subnormals is (name != "e4m3")


def test_a_configuration_knows_whether_it_is_stochastic():
    for part in ("p_e4m7_sr1_a_e4m7_rz", "p_exact_a_e4m7_sr4", "p_exact_a_int9_rz_sat", "p_exact_a_e4m7_rne"):
        for outer in ("", "_o_e5m3_sr2", "_o_e5m3_rz"):
            config = MacConfig.parse(f"e3m4_e3m4_{part}_c16{outer}")
            assert config.stochastic is ("sr" in config.name)
