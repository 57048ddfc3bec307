"""Third opinions: they agree on a share, and would not on another arithmetic."""

import numpy as np
import torch

from golden.config import Rounding
from tb.verify import outside_formats, third_opinions
from tb.verify.ieee import ieee_outcome
from tb.verify.opinion import Count, mac_gates, step_config
from tb.verify.outside_formats import Format
from tb.verify.rows import Task

TASK = Task(share=0.0005, seed=1, report=lambda part: None)
SUMS = {arithmetic.subject: arithmetic for arithmetic in third_opinions._ARITHMETICS}


def test_binary16_agrees_on_some_rows():
    outcome = ieee_outcome(SUMS["e5m10ieee sum"], TASK)
    assert outcome.green
    assert outcome.compared == 33 * 63488  # rows of all numbers, and one that NumPy computes, too


def test_a_sum_of_no_subnormals_differs():
    """Of the MAC that flushes, behind the same comparison."""

    class Flushing(type(SUMS["e5m10ieee sum"])):
        @property
        def gates(self):
            return mac_gates(step_config("e5m10", "e5m10"), {"w": 15 << 10})

    flushing = Flushing(name="e5m10ieee", operation="sum", dtype=torch.float16)
    outcome = ieee_outcome(flushing, TASK)
    assert outcome.differences > 0
    assert "theirs is" in outcome.details["first_difference"]


def test_products_of_bfloat16_are_rounded_once():
    """Among the subnormals: the smallest, ones with bits below the last place, and ties."""
    a = np.array([0x0181, 0x1F81, 0x2001, 0x1F80, 0x0001, 0x1E00, 0x1E01])
    b = np.array([0x3B81, 0x1F81, 0x1F7F, 0x1D80, 0x3F01, 0x1E40, 0x1DFF])
    exact = [_bfloat16(x) * _bfloat16(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    wanted = [_round_to_grid(value, 2.0**-133) for value in exact]
    assert SUMS["e8m7ieee product"].by_torch(a, b).tolist() == wanted
    assert len(set(wanted)) > 3


def _bfloat16(code):
    return float(np.array([code << 16], dtype=np.uint32).view(np.float32)[0])


def _round_to_grid(value, unit):
    """The code of a subnormal: Python rounds half to even, and the quotient is exact."""
    assert value < 2.0**-126
    return round(value / unit)


def test_a_small_format_agrees():
    (form,) = (form for form in third_opinions._FORMATS if form.name == "e2m1s")
    outcome = form.run(TASK)
    assert outcome.green
    assert outcome.compared > 2**17


def test_another_format_differs():
    """E4M3FN taken for a format without NaN, and for one of another bias."""
    (fn,) = (form for form in third_opinions._FORMATS if form.name == "e4m3fn")
    for other, difference in (("e4m3s", "codes without a value"), ("e4m3fnb8", "value of a code")):
        count = Count()
        Format(name=other, dtype=fn.dtype, missing=0)._decode(count, np.random.default_rng(0))
        assert difference in count.outcome.details["first_difference"]


def test_another_rounding_differs(monkeypatch):
    real = outside_formats.quantize_values
    monkeypatch.setattr(
        outside_formats,
        "quantize_values",
        lambda values, number, rounding: real(values, number, Rounding.TOWARD_ZERO),
    )
    (form,) = (form for form in third_opinions._FORMATS if form.name == "e2m1s")
    outcome = form.run(TASK)
    assert "golden rounds" in outcome.details["first_difference"]


def test_rows_are_of_all_formats():
    rows = third_opinions.rows()
    assert len({row.key for row in rows}) == len(rows) == 19
