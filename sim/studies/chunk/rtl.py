"""The same gains from the RTL: products on the Verilated tile, bit for bit those of the kernels."""

from __future__ import annotations

import re
from collections.abc import Callable

from golden.config import MacConfig
from sim.backends import find_backend
from sim.calibration.walk import step_law
from sim.rtl import RtlBackend, TileSize
from sim.studies.chunk.operands import as_rows, judged, operands

__all__ = ["RTL_COLUMNS", "measure_rtl"]

SEED = 0

RTL_COLUMNS = (
    *("config", "K", "gain", "kernel_gain", "wide_gain", "step", "noise", "kernel_noise"),
    *("words", "differ", "cycles"),
)

#: 4 exponent bits, which hold K up to 1024: products to 2**4, sums to 2**8.
_CONFIGS = (
    "e4m7b12_rz_a_e4m7b8_rz_c16",
    "e4m7b12_rne_a_e4m7b8_rne_c16",
    "e4m7b12_rz_a_e4m7b8_rz_c64",
    "e4m4b12_rz_a_e4m4b8_rz_c16",
)
_LENGTHS = (64, 256, 1024)

#: A small tile: results do not depend on its size, and it is soon built.
_SIZE = TileSize(rows=4, cols=4, stages=0, depth=16)

#: The same for a quick run: silicon that tests build anyway.
_QUICK_CONFIGS, _QUICK_LENGTHS = ("e4m7b12_rz_a_e4m7b8_sr3_c4",), (64,)
_QUICK_SIZE = TileSize(rows=2, cols=2, stages=0, depth=4)

#: Members of the batch that go through the hardware.
_MEMBERS = 4


def measure_rtl(quick: bool, report: Callable[[str], None]) -> dict:
    """Gains by RTL, by the kernels on the same operands, and by the kernels with 8 exponent bits."""
    size = _QUICK_SIZE if quick else _SIZE
    rows, rtl = [], RtlBackend(size=size, compare=True)
    for name in _QUICK_CONFIGS if quick else _CONFIGS:
        for length in _QUICK_LENGTHS if quick else _LENGTHS:
            rows.append(_row(rtl, name, length))
            report(f"{rows[-1][0]}, K = {length}")
    table = as_rows(RTL_COLUMNS, rows)
    return {"seed": SEED, "n": _MEMBERS * 64, "tile": f"{size.rows}x{size.cols}", "runs": table}


def _row(rtl: RtlBackend, name: str, length: int) -> tuple:
    data = operands("normal", "e3m4", length, SEED)
    x, w = data.x[:_MEMBERS], data.w[:_MEMBERS]
    exact = x.double() @ w.double()
    config, wide = (
        MacConfig.parse(f"{data.x_format.name}_{data.w_format.name}_p_{each}")
        for each in (name, re.sub(r"e4(m\d+)b\d+", r"e8\1", name))
    )
    done = len(rtl.record)
    got = rtl.matmul(x, w, config)
    kernel = find_backend("cpu").matmul(x, w, config)
    found, by_kernel = judged(got, exact), judged(kernel, exact)
    return (
        *(config.name, length, found.gain, by_kernel.gain),
        judged(find_backend("cpu").matmul(x, w, wide), exact).gain,
        *(step_law(wide, data.products, seed=SEED).gain, found.noise, by_kernel.noise),
        *(got.numel(), int((got != kernel).sum()) + sum(each.mismatches for each in rtl.record[done:])),
        sum(each.cycles for each in rtl.record[done:]),
    )
