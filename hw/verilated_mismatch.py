"""What a wrong product looks like: where, when, both values, and waves around the first wrong cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from golden.config import MacConfig
from golden.random_words import RandomWords
from hw.verilated_array import VerilatedArray
from hw.verilated_bench import Waves
from hw.verilated_library import BUILDS
from hw.verilated_tile import VerilatedTile

__all__ = ["Mismatch", "find_mismatch"]

Codes = NDArray[np.int64]

#: Cycles that are recorded before the first wrong result, besides the array's latency, and after it.
_BEFORE, _AFTER = 32, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """The first wrong result of a product."""

    m: int
    n: int
    k: int | None  #: Of the step after which it is wrong; None if the row alone comes out right.
    got: int
    expected: int
    cycle: int  #: In which it came, of the run.
    count: int  #: Wrong results in all.
    waves: Path  #: Around that cycle.

    def __str__(self) -> str:
        step = (
            "right on its own: look at what goes before it"
            if self.k is None
            else f"wrong from k = {self.k} on"
        )
        return (
            f"{self.count} results differ; the first in cycle {self.cycle}, m = {self.m}, n = {self.n} "
            f"({step}): RTL {self.got:#x}, expected {self.expected:#x}; waves: {self.waves}"
        )


def find_mismatch(
    hardware: VerilatedArray | VerilatedTile,
    x: Codes,
    w: Codes,
    mac: MacConfig,
    random: RandomWords,
    expected: Callable[[Codes, Codes, int], Codes],
    *,
    trace: str,
) -> Mismatch | None:
    """Compare a product of a tile without output stage, or of an array; None if it is right.

    If it is wrong, it is run again on a library that records waves, which may have to be built.

    Parameters
    ----------
    hardware : VerilatedArray or VerilatedTile
        Under test.
    x, w, mac, random
        As in its ``matmul_codes``.
    expected : callable
        Codes x[m, k], w[k, n] and the number of x's first row -> codes [m, n].
    trace : str
        vcd or fst, where the hardware was not built to record already.
    """
    product = hardware.matmul_codes(x, w, mac, random)
    wanted = expected(x, w, 0)
    wrong = np.argwhere(product.codes != wanted)
    if not len(wrong):
        return None
    m, n = min(wrong.tolist(), key=lambda place: product.stamps[tuple(place)])

    def differs(length: int) -> bool:
        row, part = x[m : m + 1, :length], w[:length]
        return bool(
            (hardware.matmul_codes(row, part, mac, random, m_base=m).codes != expected(row, part, m))[0, n]
        )

    k = next((length - 1 for length in range(1, x.shape[1] + 1) if differs(length)), None)
    cycle = int(product.stamps[m, n])
    recorder = hardware
    if hardware.bench.trace is None:
        recorder = type(hardware)(hardware.config, trace=trace, verilog=hardware.bench.design.verilog)
    folder = BUILDS / "waves"
    folder.mkdir(parents=True, exist_ok=True)
    array = hardware.config.array if isinstance(hardware, VerilatedTile) else hardware.config
    latency = array.rows * (array.stages + 1) + array.cols
    waves = Waves(
        path=folder / f"{hardware.config.name}.{recorder.bench.trace}",
        first=max(cycle - latency - _BEFORE, 0),
        last=cycle + _AFTER,
    )
    recorder.matmul_codes(x, w, mac, random, waves=waves)
    return Mismatch(
        m=m,
        n=n,
        k=k,
        got=int(product.codes[m, n]),
        expected=int(wanted[m, n]),
        cycle=cycle,
        count=len(wrong),
        waves=waves.path,
    )
