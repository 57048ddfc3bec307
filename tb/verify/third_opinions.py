"""Methods ``ieee`` and ``ml_dtypes``: formats, roundings and steps that others define too, against theirs.

Theirs have infinities, NaN and zeros of two signs, and ours have not: where their result is no finite number
ours has to be the largest of that sign, and zero has sign 0. Inputs are finite.
"""

from __future__ import annotations

from functools import partial

import ml_dtypes
import numpy as np
import torch

from tb.verify.ieee import Arithmetic, float32_outcome, ieee_outcome
from tb.verify.opinion import mac_verilog, step_config
from tb.verify.outside_formats import Format
from tb.verify.rows import ARITHMETIC, Row, python_versions, sources

__all__ = ["METHODS", "rows"]

METHODS = {
    "ieee": "IEEE 754 as others compute it: the RTL of a MAC whose formats are those of binary16 or "
    "bfloat16, rounding to nearest even with subnormals, adds (`acc + x * 1`) and multiplies "
    "(`0 + x * w`) all pairs of finite numbers, and PyTorch's result is what it has to give; "
    "every 64th row of pairs is compared with NumPy's float16, too. Both compute in float32 "
    "and round once more, which gives the right result for all sums, since 24 bits are at "
    "least 2 * 11 + 2; products are exact in float32, but for those of bfloat16 that are "
    "below 2^-126, which are computed in float64 and rounded on float32's own subnormal grid."
    " Random and directed pairs of float32 numbers are compared with the processor's sums and"
    " products. The RTL is flattened to gates by Yosys and evaluated 512 pairs at a time. "
    "Differences that are meant: where IEEE 754 overflows to infinity the MAC gives the "
    "largest number, and it has one zero.",
    "ml_dtypes": "Small formats as `ml_dtypes` and NumPy define them. Every code is decoded. Float32 "
    "numbers around every tie, and random ones, are rounded to nearest even by golden; all of"
    " binary16 and bfloat16 by the RTL of a MAC; the RTL adds and multiplies all pairs of "
    "codes of 8 bits and less. Where theirs overflows to infinity or NaN ours must give the "
    "largest number; zeros are equal whatever their sign; no other difference is allowed.",
}

_VERSION = "1"  # of the methods, tb/verify/aig.py included
_FILES = (
    *("tb/verify/ieee.py", "tb/verify/outside_formats.py", "tb/verify/opinion.py"),
    "tb/verify/aig.cpp",
)

_ARITHMETICS = tuple(
    Arithmetic(name=name, operation=operation, dtype=dtype)
    for name, dtype in (
        ("e5m10ieee", torch.float16),
        ("e8m7ieee", torch.bfloat16),
        ("e8m23ieee", torch.float32),
    )
    for operation in ("sum", "product")
)

_FORMATS = tuple(
    Format(name=name, dtype=dtype, missing=missing)
    for name, dtype, missing in (
        ("e4m3fn", ml_dtypes.float8_e4m3fn, 0),
        ("e5m2ieee", ml_dtypes.float8_e5m2, 0),
        ("e4m3ieee", ml_dtypes.float8_e4m3, 0),
        ("e3m4ieee", ml_dtypes.float8_e3m4, 0),
        ("e4m3sb8", ml_dtypes.float8_e4m3fnuz, 1),
        ("e5m2sb16", ml_dtypes.float8_e5m2fnuz, 1),
        ("e4m3sb11", ml_dtypes.float8_e4m3b11fnuz, 1),
        ("e3m2s", ml_dtypes.float6_e3m2fn, 0),
        ("e2m3s", ml_dtypes.float6_e2m3fn, 0),
        ("e2m1s", ml_dtypes.float4_e2m1fn, 0),
        ("e8m7ieee", ml_dtypes.bfloat16, 0),
        ("e5m10ieee", np.float16, 0),
        ("e8m23ieee", np.float32, 0),
    )
)


def rows() -> list[Row]:
    return [*map(_ieee_row, _ARITHMETICS), *map(_format_row, _FORMATS)]


def _versions() -> dict[str, str]:
    return python_versions("amaranth", "pyosys", "numpy", "torch", "ml_dtypes")


def _ieee_row(arithmetic: Arithmetic) -> Row:
    small = arithmetic.number.code_bits == 16
    run = ieee_outcome if small else float32_outcome
    what = "all pairs of finite numbers" if small else "random and directed pairs"
    return Row(
        method="ieee",
        subject=arithmetic.subject,
        what=f"gates of the RTL with PyTorch{' and NumPy' if small else ''}, {what}",
        depends=lambda: _VERSION + mac_verilog(arithmetic.config) + sources(_FILES),
        run=lambda task: run(arithmetic, task),
        versions=_versions,
        seconds=200 if small else 30,
        divides=True,
    )


def _format_row(form: Format) -> Row:
    verilog = partial(mac_verilog, step_config(form.name, form.name))
    return Row(
        method="ml_dtypes",
        subject=form.subject,
        what="golden and gates of the RTL with ml_dtypes or NumPy: codes, roundings, pairs",
        depends=lambda: _VERSION + verilog() + sources((*ARITHMETIC, "golden/codes.py", *_FILES)),
        run=form.run,
        versions=_versions,
        seconds=15,
        divides=True,
    )
