"""Codes and values: every code of small formats, refusals, and quantising tensors, against the oracle."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from golden.codes import decode, encode, quantize_values
from golden.config import ConfigError, FixedFormat, Rounding, parse_format
from tests import oracle

same_examples = settings(derandomize=True, deadline=None)  # machines differ in speed, runs need not

FORMATS = [
    "e3m4",
    "e3m4b9",
    "e4m7b10",
    "e2m0bn3",
    "e1m1",
    "e5m6b300",
    "e3m4s",
    "e3m3sb9",
    "e2m0s",
    "e1m2sb4",
    "e4m3fn",
    "e2m2fnbn3",
    "e3m0fn",
    "e1m1fn",
    "e5m2ieee",
    "e3m3ieeeb5",
    "e3m0ieee",
    "e1m2ieee",
    "int8",
    "uint8",
    "int9ln4",
    "uint5l3",
    "int2",
]
WIDE = [
    "e8m23",
    "e8m23b512",
    "e8m23bn512",
    "e8m23ieee",
    "e8m23sb512",
    "e8m23fnbn512",
    "int62ln500",
    "int62l512",
]

#: Formats of the outside world, as torch knows them.
OUTSIDE = {
    "e4m3fn": torch.float8_e4m3fn,
    "e5m2ieee": torch.float8_e5m2,
    "e5m10ieee": torch.float16,
    "e8m7ieee": torch.bfloat16,
    "e8m23ieee": torch.float32,
}


def finite_codes(number) -> np.ndarray:
    return np.array([code for code in range(2**number.code_bits) if oracle.is_finite(code, number)])


def outside_values(codes: torch.Tensor, name: str) -> torch.Tensor:
    """What torch reads in these bits."""
    integers = {8: torch.uint8, 16: torch.int16, 32: torch.int32}[parse_format(name).code_bits]
    return codes.to(integers).view(OUTSIDE[name]).double()


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_has_the_value_of_the_contract(name):
    number = parse_format(name)
    codes = finite_codes(number)
    values = decode(codes, number)
    assert [Fraction(value) for value in values.tolist()] == [
        oracle.value_of(c, number) for c in codes.tolist()
    ]
    assert not np.signbit(values[values == 0]).any()
    again = encode(values, number)
    assert again.tolist() == [oracle.code_of(Fraction(value), number) for value in values.tolist()]
    assert torch.equal(decode(torch.from_numpy(codes), number), torch.from_numpy(values))
    assert torch.equal(encode(torch.from_numpy(values), number), torch.from_numpy(again))


@pytest.mark.parametrize("name", WIDE)
def test_wide_codes_survive(name):
    number = parse_format(name)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**number.code_bits, 2000) & -(2 ** max(number.code_bits - 53, 0))
    codes[:500] &= -(2**31) | (2**23 - 1)  # floats of exponent code 0
    codes = codes[[oracle.is_finite(code, number) for code in codes.tolist()]]
    values = decode(codes, number)
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        assert Fraction(value) == oracle.value_of(code, number)
    kept = codes[values != 0]
    assert (encode(values[values != 0], number) == kept).all()


def test_zero_of_either_sign_is_code_0():
    for name in FORMATS:
        assert encode(torch.tensor([0.0, -0.0]), parse_format(name)).tolist() == [0, 0]


@same_examples
@given(
    value=st.floats(allow_nan=False, allow_infinity=False) | st.floats(-100, 100).map(round),
    name=st.sampled_from(FORMATS + WIDE),
)
@example(value=2.0**-439, name="int62ln500")
@example(value=5e-324, name="e3m4")
@example(value=2.0**-520, name="e8m23b512")
def test_encode_takes_what_the_format_holds_and_nothing_else(value, name):
    number = parse_format(name)
    if isinstance(number, FixedFormat):
        integer = Fraction(value) / oracle.two_to(number.lsb)
        is_held = integer.denominator == 1 and number.min_integer <= integer <= number.max_integer
    else:
        rounded = oracle.round_to_float(Fraction(value), number, Rounding.TOWARD_ZERO)
        is_held = rounded.value == Fraction(value)
    if is_held:
        code = encode(np.array(value), number)
        assert code == oracle.code_of(Fraction(value), number)
    else:
        with pytest.raises(ValueError, match=f"is no value of {number.name}; quantize the tensor first"):
            encode(np.array(value), number)


@same_examples
@given(
    values=st.lists(
        st.floats(-300, 300) | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20
    ),
    name=st.sampled_from(FORMATS),
    rounding=st.sampled_from([Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN]),
)
def test_quantized_values_are_rounded_once_and_saturate(values, name, rounding):
    number = parse_format(name)
    if isinstance(number, FixedFormat):
        low, high = (
            Fraction(n) * oracle.two_to(number.lsb) for n in (number.min_integer, number.max_integer)
        )
        want = [
            min(max(oracle.to_multiple(Fraction(v), oracle.two_to(number.lsb), rounding), low), high)
            for v in values
        ]
    else:
        want = [oracle.round_to_float(Fraction(v), number, rounding).value for v in values]
    got = quantize_values(torch.tensor(values, dtype=torch.float64), number, rounding)
    assert [Fraction(v) for v in got.tolist()] == want
    assert torch.equal(decode(encode(got, number), number), got)


def test_float32_and_integer_tensors_are_taken():
    number = parse_format("e4m3")
    tensor = torch.tensor([[1.5, -0.26], [3.3, 500.0]])
    want = [[1.5, -0.25], [3.25, 480.0]]
    assert quantize_values(tensor, number, Rounding.NEAREST_EVEN).tolist() == want
    assert quantize_values(tensor.T.contiguous().T, number, Rounding.NEAREST_EVEN).tolist() == want
    assert encode(torch.tensor([3, -8]), parse_format("int4")).tolist() == [3, 8]
    assert quantize_values(
        torch.tensor([0.1], dtype=torch.float32), parse_format("e8m23"), Rounding.TOWARD_ZERO
    ) == (torch.tensor([0.1], dtype=torch.float32).double())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(bad):
    values = torch.zeros(2, 3)
    values[1, 2] = bad
    for attempt in (lambda n: encode(values, n), lambda n: quantize_values(values, n, Rounding.NEAREST_EVEN)):
        for name in ("e3m4", "int8"):
            with pytest.raises(ValueError, match=rf"^{bad} at \[1, 2\] cannot become {name}: only finite"):
                attempt(parse_format(name))


@pytest.mark.parametrize("name", [name for name in OUTSIDE if parse_format(name).code_bits <= 16])
def test_every_code_of_an_outside_format_is_what_torch_reads(name):
    number = parse_format(name)
    codes = torch.arange(2**number.code_bits)
    values = outside_values(codes, name)
    finite = values.isfinite()
    assert torch.equal(decode(codes[finite], number), values[finite] + 0.0)
    nonzero = finite & (values != 0)
    assert torch.equal(encode(values[nonzero], number), codes[nonzero])
    assert values[finite].max() == number.max_value
    assert [oracle.is_finite(code, number) for code in codes.tolist()] == finite.tolist()
    refused = codes[~finite]
    for code in (refused if len(refused) < 10 else refused[:: len(refused) // 10]).tolist():
        with pytest.raises(ValueError, match=f"^{code} at \\[1\\] is a code of infinity or NaN in {name};"):
            decode(torch.tensor([0, code]), number)


def test_codes_of_binary32_are_what_torch_reads():
    number = parse_format("e8m23ieee")
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 2**32, (1 << 18,), generator=generator)
    edges = torch.arange(256).repeat_interleave(5) * 2**23 + torch.tensor([-2, -1, 0, 1, 2]).repeat(256)
    codes = torch.cat([codes, edges.clamp(0), codes & (2**23 - 1)])
    values = outside_values(codes, "e8m23ieee")
    finite = values.isfinite()
    assert torch.equal(decode(codes[finite], number), values[finite] + 0.0)
    for code in codes[~finite][:5].tolist():
        with pytest.raises(ValueError, match=f"^{code} is a code of infinity or NaN"):
            decode(torch.tensor(code), number)


@pytest.mark.parametrize("name", OUTSIDE)
def test_values_become_an_outside_format_as_in_torch(name):
    """To nearest, ties to even: at, between and next to the values of the format, and beyond its end."""
    number = parse_format(name)
    if number.code_bits <= 16:
        held = decode(torch.arange(number.max_magnitude_code + 1), number)
    else:
        generator = torch.Generator().manual_seed(1)
        first = torch.randint(0, number.max_magnitude_code, (4000,), generator=generator)
        first[:2000] &= (1 << 24) - 1
        held = decode(torch.stack([first, first + 1], dim=1).flatten(), number)
    middle = (held[:-1] + held[1:]) / 2
    if name == "e8m23ieee":  # from float64, the others from float32, which holds all of these
        near = torch.cat([middle.nextafter(middle * 2), middle.nextafter(middle * 0)])
    else:
        single = middle.float()
        near = torch.cat([single.nextafter(single * 2), single.nextafter(single * 0)]).double()
    values = torch.cat([held, middle, near])
    values = torch.cat([values, -values])
    source = values if name == "e8m23ieee" else values.float()
    assert torch.equal(source.double(), values)
    want = source.to(OUTSIDE[name]).double()
    inside = want.isfinite()
    got = quantize_values(values, number, Rounding.NEAREST_EVEN)
    assert torch.equal(got[inside], want[inside] + 0.0)
    assert torch.equal(got[~inside], number.max_value * values[~inside].sign())
    beyond = torch.tensor([number.max_value * 1.5, -(2.0**300)], dtype=torch.float64)
    assert quantize_values(beyond, number, Rounding.NEAREST_EVEN).tolist() == [
        number.max_value,
        -number.max_value,
    ]


def test_a_tensor_is_not_quantized_stochastically():
    with pytest.raises(ConfigError, match="random_bits must be an integer from 1 to 16, not None"):
        quantize_values(torch.ones(3), parse_format("e4m3"), Rounding.STOCHASTIC)


@pytest.mark.parametrize(("name", "code"), [("e3m4", 256), ("int8", -1), ("uint5", 32)])
def test_codes_out_of_range_are_refused(name, code):
    with pytest.raises(ValueError, match=rf"^{code} at \[1\] is no code of {name}"):
        decode(torch.tensor([0, code]), parse_format(name))
