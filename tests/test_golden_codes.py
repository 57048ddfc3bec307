"""Codes and values: every code of small formats, refusals, and quantising tensors, against the oracle."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from golden.codes import decode, encode, quantize_values
from golden.config import FixedFormat, Rounding, parse_format
from tests import oracle

same_examples = settings(derandomize=True, deadline=None)  # machines differ in speed, runs need not

FORMATS = [
    "e3m4",
    "e3m4b9",
    "e4m7b10",
    "e2m0bn3",
    "e1m1",
    "e5m6b300",
    "int8",
    "uint8",
    "int9ln4",
    "uint5l3",
    "int2",
]
WIDE = ["e8m23", "e8m23b512", "e8m23bn512", "int62ln500", "int62l512"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_has_the_value_of_the_contract(name):
    number = parse_format(name)
    codes = np.arange(2**number.code_bits)
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
            with pytest.raises(ValueError, match=rf"^{bad} at \[1, 2\] .* {name} has no infinity and no NaN"):
                attempt(parse_format(name))


@pytest.mark.parametrize(("name", "code"), [("e3m4", 256), ("int8", -1), ("uint5", 32)])
def test_codes_out_of_range_are_refused(name, code):
    with pytest.raises(ValueError, match=rf"^{code} at \[1\] is no code of {name}"):
        decode(torch.tensor([0, code]), parse_format(name))
